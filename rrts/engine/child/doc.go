// Package child is the Component that runs another program as a Component: a child
// process of the engine, in any language, that answers services of the site and calls
// others. What cannot be part of rrtsd, such as drivers in C, runs the same way.
//
// # The socket
//
// The child is given one end of a pair of Unix stream sockets as file descriptor 3; its
// number stands in the environment as RRTS_SOCKET. On it go the frames of package
// rrts/message/frame, as between client and gateway, without TLS:
//
//	0                 4                 4+n
//	+--------+--------+--------- ... ---+
//	| n, uint32, big- | one Envelope of | 1 ≤ n ≤ MaxFrame
//	| endian          | n bytes         |
//	+-----------------+-----------------+
//
// Both ends send requests and notices, and answer the other's requests by a Reply or a
// Failure with the same call number, in any order. Each end numbers its own requests. A
// frame that is malformed, or that has no place in the life below, is the end of the
// child.
//
// # The life of a child
//
//	child                                     engine
//	  │                                         │ socketpair, fork, limits, user, exec
//	  │── Hello(protocol, services) ───────────▶│ within StartWithin; what the
//	  │◀── (component, sfu, heartbeat, …) ──────│ configuration grants, or a Failure
//	  │── Became(ready) ───────────────────────▶│ only now do others find it
//	  │                                         │
//	  │◀── requests, at most InFlight ──────────│ service, method, principal, role
//	  │── answers ─────────────────────────────▶│
//	  │── requests of its own ─────────────────▶│ what the configuration grants
//	  │◀── answers ─────────────────────────────│
//	  │◀── Ping ────────────────────────────────│ every Heartbeat
//	  │── (a sign of life) ────────────────────▶│ within Silent
//	  │── Observe(condition) ──────────────────▶│ an alarm, or its end
//	  │                                         │
//	  │◀── Drain ───────────────────────────────│ the SFU stops
//	  │── (finished) ──────────────────────────▶│
//	  │◀── end of the stream ───────────────────│ and SIGTERM; SIGKILL after stopGrace
//
// A child ends itself when the stream ends: its engine is gone. The kernel sees to it
// too (PR_SET_PDEATHSIG).
//
// # What a child may do
//
// Nothing of the engine's environment, descriptors, capabilities or secrets reaches it.
// It runs under a user of its own with the limits of its configuration, and cannot gain
// privileges. It answers services whose numbers are granted to it, and calls methods
// that are granted to it by name.
//
// A request carries the number and the role of the user on whose behalf it came. While
// the child has such a request and has not answered it, it may call in that user's name:
// it sets principal in the envelope of its own request. With principal 0 it calls in the
// name of its own user, which the configuration names. Other principals are refused.
//
// # Supervision
//
// The end of a child, a missed heartbeat and a breach of the protocol are the failure of
// that Component alone: the engine starts it again with back-off, gives requests again
// whose methods are idempotent, and puts those aside that have crashed it thrice. The
// reason that the engine's alarm tells is the last line that the child wrote.
//
// What a child writes to its standard output and error goes to the journal, line by
// line, under the Component's name; "<3>" in front of a line is its priority, as for
// sd-daemon(3).
package child
