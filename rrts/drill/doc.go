// Package drill is how a cluster is put to the proof: real payments, clients that
// remember what they were told, and the audit that holds the stores of all SFUs
// against it.
//
//	payments, err := drill.ReadPayments("payments.csv")
//	told, err := drill.OpenAccounts(ctx, operator, payments, user)
//	t, err := drill.Submit(ctx, client, tx) // for each payment, while machines and networks fail
//	a := drill.NewAuditor(append(told, t…))
//	s, err := drill.OpenStore("/etc/rrts", "alpha", "/var/lib/rrts/alpha") // for each SFU, stopped
//	err = a.Store("alpha", s)
//	verdict := a.Verdict() // lost, duplicated, and what is wrong
//
// `rrts demo` does it with processes of one machine, `make lab` with machines.
//
// The audit promises: a transaction that a client was told of stands in every store
// with that outcome and CSN; every transfer of a committed one is there as it was
// submitted; no store holds a transfer that no client was told of, or one twice;
// balances are the sums of the transfers, all debits equal all credits; the stores
// end at the same CSN in the same state.
package drill
