package machine

import (
	"testing"
	"time"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// BenchmarkApply applies entries of a thousand transfers, each a transaction of its
// own or all of them one, to a state in memory.
func BenchmarkApply(b *testing.B) {
	const transfers = 1000
	for _, c := range []struct {
		name           string
		perTransaction int
	}{{"single", 1}, {"batched", transfers}} {
		b.Run(c.name, func(b *testing.B) {
			m, err := Open(memstore.New(), Config{}, testMembers)
			if err != nil {
				b.Fatal(err)
			}
			now, next := uint64(1_790_000_000*time.Second), uint64(0)
			next1000 := func() []byte {
				e := txnpb.Entry{ApplyVersion: entry.ApplyVersion, Proposed: now}
				for range transfers / c.perTransaction {
					next++
					tx := txnpb.Transaction{Id: idAt(next, now/uint64(time.Millisecond))}
					for range c.perTransaction {
						next++
						tx.Transfers = append(tx.Transfers, ledgerpb.Transfer{Id: idAt(next, now/uint64(time.Millisecond)),
							DebitAccountId: u128.From64(1 + next%1000), CreditAccountId: u128.From64(1 + (next+7)%1000),
							Amount: u128.From64(10), Ledger: 1, Code: 1})
					}
					e.Submissions = append(e.Submissions, txnpb.Submission{Transaction: message.Marshal(&tx), Principal: 1, Role: uint32(message.RoleOperator)})
				}
				return message.Marshal(&e)
			}
			tx := txnpb.Transaction{Id: idAt(1<<40, now/uint64(time.Millisecond))}
			for i := range uint64(1000) {
				tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: u128.From64(i + 1), Ledger: 1, Code: 1})
			}
			open := txnpb.Entry{ApplyVersion: entry.ApplyVersion, Proposed: now, Submissions: []txnpb.Submission{{Transaction: message.Marshal(&tx), Role: uint32(message.RoleOperator)}}}
			index := uint64(1)
			var results []entry.Result
			if _, err := m.Apply(index, 1, message.Marshal(&open), nil); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				b.StopTimer()
				data := next1000()
				b.StartTimer()
				index++
				if results, err = m.Apply(index, 1, data, results[:0]); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/transfers, "ns/transfer")
		})
	}
}
