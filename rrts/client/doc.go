// Package client is the Go SDK of RRTS: what an application outside the cluster
// uses to submit transactions and to read the ledger.
//
//	kit, err := client.ReadKit("client-kit.toml")
//	…
//	config := kit.Config()
//	config.LoginName, config.Password = "shop-till-1", password
//	c, err := client.Open(ctx, config)
//	…
//	defer c.Close()
//	outcome, err := c.Submit(ctx, c.Transfer(from, to, u128.From64(1999), ledger, code))
//
// A Client is for the whole life of an application and for any number of
// goroutines: all of them share one connection, and their requests leave together.
// Many requests in flight: Submit from many goroutines, or Go, which returns a
// [Future].
//
// # What it promises
//
// A transaction has the id that the application gave it, by [Client.NewID], and is
// executed at most once whatever happens. Until the caller's context ends, Submit
// sends it again, under the same id, through any gateway, whenever a connection is
// lost, a gateway stops, there is no leader, or nobody answers. So Submit returns
//
//   - the outcome and no error: COMMITTED, on the disks of a majority;
//   - an outcome and a [*NotCommittedError]: final too, for example ABORTED or REFUSED;
//   - a [*PendingError] when the context ended first: the transaction may have been
//     executed or not, or may yet be. It holds the id: ask again with
//     [Client.Status], submit the same transaction again, or make it final with
//     [Client.Resolve].
//
// There is no fourth case: an unknown outcome is never called a failure.
//
// What is committed comes as a stream, by [Client.Events], which moves between gateways in
// the same way: from a position that the application keeps, each event once and in order.
//
// # How it keeps its connection
//
//	Open     several gateways are tried at once, a moment apart; the first to answer wins
//	         TLS 1.3 → Hello → Resume (with the session token) or Login → requests
//	steady   one connection carries everything; a second one to another gateway stands
//	         ready and idle
//	Moved    the gateway is about to stop: the Client changes to the other connection
//	         and lets the first one finish what is in flight
//	lost     what was in flight goes at once through the other connection
//	silent   requests wait and nothing is heard: the gateway is asked to show life; if
//	         it does not, its requests go through the other connection as well
//
// The login happens once: every further connection resumes the session by its
// token, until that expires.
package client
