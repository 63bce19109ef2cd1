// Package gateway is the Component through which clients come in: TCP with TLS 1.3
// only, and a Unix socket for the operators of the machine.
//
// # The protocol
//
// Frames are those of rrts/message/frame; bodies are the messages of gateway.proto
// and of the services behind it. Every request has a call number that the client
// chose, and gets one answer with that number, a Reply or a Failure, in any order.
//
//	client                              gateway
//	  │── TLS 1.3 ────────────────────────│
//	  │── Hello(protocol, agent) ────────▶│
//	  │◀──────── (cluster, ledger time, ──│
//	  │           gateways, window)       │
//	  │── Schema ────────────────────────▶│ ── service login, on any SFU
//	  │◀──────── (login schema) ──────────│
//	  │── Enter(sealed name, password) ──▶│ ── service login, on the schema's SFU
//	  │◀──────── (session token) ─────────│
//	  │   or Resume(session token) ──────▶│ opened here: any gateway can
//	  │                                   │
//	  │── requests, up to window at once ▶│ ── the service, by number
//	  │◀──────── answers, in any order ───│
//	  │── Ping, when idle ───────────────▶│
//	  │◀──────── Moved ───────────────────│ the gateway is about to stop
//	  │◀──────── Closed(why) ─────────────│ the last word before it hangs up
//
// Events are asked for like everything else, behind a position, and asked for again: the
// question waits at a replica while nothing happens, and neither the gateway nor the
// cluster keeps anything of a stream. A stopping gateway does not wait for such questions.
// A client that offers so in its Hello gets frames that are packed; see package pack.
//
// At the Unix socket there is no TLS and no login: root, the SFU's own user and
// the members of one group are operators.
//
// # The way of a transaction
//
// Submit carries one transaction. The gateway does not decode it: its bytes go,
// with the user's number and role, into the batch that is being filled, and the
// batches of all connections go to the transaction service. There is no timer:
// while batches are on their way, what arrives fills the next one. So a lone
// client waits for nobody, and ten thousand share one message.
//
//	reader of each connection ──▶ open batch ──▶ sender ──▶ engine ──▶ service txn
//	                                                                       │
//	connections ◀── many answers in one TLS record ◀── outcomes split ◀────┘
//
// A batch that could not be executed, or whose fate is not known because an SFU
// was lost, is sent again, with the same ids, until each transaction is answered
// or its client's deadline comes; then the answer is PENDING, never that it failed.
//
// # Services of the site
//
// A service with a number from 1000 on is one that the site added (rrts/engine/child). Its
// methods pass for the roles that the configuration of the SFU that answers it grants; the
// gateway learns them as its engine does, and puts the user's number and role into the
// request. A service of policy KEY is sticky by user.
//
// # Bounds
//
// Everything a client can make the gateway hold has a named bound in limits.go:
// requests and bytes in flight by connection, by user and in all, answers that
// wait for a slow reader, connections, and those that have not logged in yet. What
// is over a bound is answered Overloaded at once; who does not read or speak, or
// breaks the framing, is cut off, with a reason where it can still be read.
package gateway
