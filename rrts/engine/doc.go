// Package engine is the Message Engine: it starts, watches and stops Components
// and carries every message between them, in this process and across SFUs.
//
// # For those who write a Component
//
// A Component implements [Component]. The engine makes it with the function given
// to Engine.Add and leads it through its life:
//
//	New → Provision → Validate → Start → Ready → Draining → Stopped
//
// Everything that the engine calls while a Component runs (Serve, the Done of a
// Call, a watcher of peers) runs on one goroutine that belongs to the Component
// alone. A Component may therefore keep its state without a lock, as long as
// only these functions touch it. The price is that none of them may block: no
// disk, no network, no waiting for another call. What takes long goes to a
// goroutine started with Host.Go. A Component that is a Hearer is called for notices of the
// control lane on other goroutines, too, and guards what it touches there.
//
// Provision, Validate, Start, Drain and Stop are called one after the other, on
// another goroutine than Serve. Serve is never called before Start has returned
// and never after Stop was called (unless it hangs); it is called while Drain runs.
//
// A panic in any of these, or in a goroutine started with Host.Go, and a missed
// heartbeat are the failure of that Component alone: it is stopped, thrown away
// and made anew, later and later when it fails again and again. Requests that
// still waited in its mailbox stay there. Requests that it had been given and had
// not answered are given again if their method is idempotent, and answered with
// Unknown if not. A request that was in three crashes is put into quarantine. A
// Component that wants to be made anew says so: Host.Renew.
//
// # Calls
//
// Host.Call finds an instance of the service by the policy of its descriptor, in
// this engine or in another. While there is no instance to be found (no leader is
// known, the only one restarts) the call waits in the engine, until its deadline.
// A call that an instance refused without executing anything (NotLeader,
// Unavailable, Draining), or that was lost together with its SFU, moves to another
// instance; after a loss only if its method is idempotent: otherwise the caller
// gets Unknown. Every call is answered exactly once.
//
// # For those who run an engine
//
//	e, err := engine.New(engine.Config{SFU: 1, Registry: registry, …})
//	err = e.Add(func() (engine.Component, error) { return connector.New(…) })
//	err = e.Add(func() (engine.Component, error) { return txn.New(…) })
//	err = e.Run(ctx) // until ctx ends, or Shutdown
//
// Components are started in the order of Add and stopped in the reverse order: the
// Cluster Connector goes first. A clean stop is announced to the cluster; then each
// Component in turn refuses new work, finishes or hands over what it has, and is
// stopped; before the interconnect is cut, every peer has had its answers.
//
// Other parts: package router decides where calls go; package quarantine keeps
// requests that crash their Component. A Component that cannot be stopped, that
// hangs again and again, or that says so (Host.Fatal) ends Run with an error: the
// process must be started anew. Progress is what a watchdog may be fed by.
//
// # Threads
//
// The router has one owner at a time: whoever brings it work, for the length of one
// step; a goroutine of its own would cost two more switches a call. What a step
// decides is done by the same goroutine after it has left the router: put into a
// mailbox, sent, completed. A Component's goroutine takes all that waits for it at
// once; what comes from the interconnect enters mailboxes and router in batches.
package engine
