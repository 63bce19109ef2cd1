// Package effects is what a Component that does effects is built on: data sources, mail,
// payments, and what an owner adds. It is no Component itself.
//
// A committed transaction owes effects; they stand in the replicated outbox, in queues, one
// for each service and target ("sql" of "shop", "mail"). A Component says how one effect
// is done:
//
//	type mailer struct{ … }
//
//	func (m *mailer) Do(ctx context.Context, batch []effects.Attempt) []effects.Result {
//		return effects.Each(ctx, batch, func(ctx context.Context, a *effects.Attempt) effects.Result {
//			to, err := a.Args.Text("to")
//			if err != nil {
//				return effects.Quarantine(err)
//			}
//			…
//			return effects.Done("")
//		})
//	}
//
// and lets a Runner, from Start to Stop, do the rest:
//
//	r := effects.NewRunner(effects.Config{Service: "mail", Do: m, …}, host)
//	host.Go("mail", r.Run)     // in Start
//
// # What the Runner promises
//
//   - One SFU at a time holds a queue. It takes it in the log, which gives it a fence: a
//     number that rises with every taking, for all times (the cluster's epoch stands in its
//     upper half). Nobody reports under an older fence; Attempt.Fence is there to shut
//     older ones out of the world outside, too, as data sources do.
//   - An attempt is counted in the log before it is made. One whose report is missing, because
//     its SFU died or lost the queue, is made again: Attempt.InDoubt says that it may have
//     been done. A Doer must find that out, or make it harmless; Attempt.Key is the same
//     for all attempts, and no other effect of any cluster has it.
//   - Effects with the same key are done one after the other, in the order in which they
//     were owed: one that is put off or in quarantine holds up those behind it. Effects
//     without a key are done in any order. A batch never holds two with the same key.
//   - What is reported, what follows in the ledger and that the effect is done are one
//     transaction.
//   - ctx ends when the queue is lost, when the time for an attempt is over and when the
//     Component stops. What is returned then, or too late, is not believed: the effect is
//     in doubt.
//
// # What a Doer answers
//
//	Done        it is done; a short reference, such as a provider's number, is kept
//	Retry       not this time: it is tried again, later and later, up to Config.Attempts
//	Quarantine  it makes no sense to try again: an operator looks at it
//	Fail        the answer is no, as a matter of business: what the transaction said
//	            should follow a failure happens
//
// A panic in a Doer is the Component's failure, as everywhere.
//
// # The parts
//
//	Core    one queue as a state machine without I/O
//	Runner  gives Cores a clock, the transaction service and goroutines
package effects
