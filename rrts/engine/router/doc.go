// Package router decides where calls go. It knows which SFU answers which
// service, who holds the services that have one holder, and every call that was
// sent and not yet answered. It is a state machine: calls, answers, announcements,
// what became of peers, and the time go in; envelopes to deliver or send, and
// answers to hand back, come out. It does no I/O, starts no goroutine, reads no
// clock, and the order of its outputs depends on nothing but the order of its
// inputs. It is not safe for concurrent use: the engine gives it one owner at a
// time.
//
// # The life of a call
//
//	           no instance                  answer
//	Call ──────────────────▶ parked ◀─────────────────┐ not executed there
//	  │                        │  change, or pause over │
//	  │ instance found         ▼                        │
//	  └───────────────────▶ in flight ─────────────────┘
//	                           │
//	                           ├─ answer ──────────────────────────▶ Done
//	                           ├─ deadline ────────────────────────▶ Done(Expired)
//	                           └─ instance lost: idempotent ───────▶ parked or in flight elsewhere
//	                                             otherwise ────────▶ Done(Unknown)
//
// A holder that nothing is heard of counts as lost, for idempotent calls, as soon as
// another holds the service: an election is over long before an SFU is given up.
//
// A call is done exactly once. One that was never given to an instance when its
// time is over is Unavailable: nothing was executed. Once an instance was lost
// with it, no later answer says "not executed": such an answer becomes Unknown.
//
// # Choosing an instance
//
//	named   the SFU of the call's Target, or nobody
//	leader  the holder of the highest term that anybody told
//	key     the highest hash of (key, SFU) among the ready
//	any     the ready one with the fewest calls of ours; this SFU's own first, then
//	        the one that was not chosen for longest
//
// Suspected and draining SFUs are chosen only if there is no other; a holder is
// asked whatever its SFU intends, until it names another.
package router
