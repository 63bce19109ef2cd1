package machine

import (
	"encoding/binary"
	"fmt"
	"slices"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// maxOutboxFindings bounds what AuditOutbox says.
const maxOutboxFindings = 100

// AuditOutbox holds the outbox against itself and against the transactions: every effect in
// it stands in its queue, which counts it, was owed by a transaction that is committed
// at its CSN, as far as its row is still kept, and is one of those that the transaction's
// completion says are owed; and no completion owes more. It returns what is wrong, a line
// each. s is a store.State that does not change meanwhile; what it holds in memory is some
// bytes for each transaction that owes something.
func AuditOutbox(s interface {
	outboxReader
	metaReader
	transactionReader
}) (findings []string, err error) {
	find := func(format string, args ...any) {
		if len(findings) < maxOutboxFindings {
			findings = append(findings, fmt.Sprintf(format, args...))
		}
	}
	meta, err := Reached(s)
	if err != nil {
		return nil, err
	}
	queues, err := readQueues(s, nil)
	if err != nil {
		return nil, err
	}
	if uint64(len(queues)) != meta.OutboxQueues {
		find("the outbox has %d queues, and says %d", len(queues), meta.OutboxQueues)
	}
	owed := map[uint64]owedOf{} // by CSN
	for i := range queues {
		q := &queues[i]
		var n, quarantined uint64
		from := queueKey(outboxEffect, q.Service, q.Target)
		s.OutboxRows(from, behind(from), func(key, raw []byte) bool {
			var e txnpb.OwedEffect
			if err = e.Parse(slices.Clone(raw)); err != nil {
				err = fmt.Errorf("machine: the row %q of the outbox: %w", key, err)
				return false
			}
			n++
			of := owed[e.Csn]
			of.effects++
			if e.State == txnpb.EffectStateQuarantined {
				quarantined++
				of.quarantined++
			}
			owed[e.Csn] = of
			if e.Sequence == 0 || e.Sequence > q.Last || string(key) != string(effectKey(q.Service, q.Target, e.Sequence)) || e.Effect == nil ||
				e.Effect.Service != q.Service || e.Effect.Target != q.Target {
				find("the effect %s/%s:%d is not one of its queue, which ends at %d", q.Service, q.Target, e.Sequence, q.Last)
			}
			row, lookup := Lookup(s, e.TransactionId)
			switch {
			case lookup != nil:
				err = lookup
				return false
			case row != nil && (row.Outcome.State != txnpb.StateCommitted || row.Outcome.Csn != e.Csn):
				find("the effect %s/%s:%d is owed by transaction %v at CSN %d, which is %v at CSN %d", q.Service, q.Target, e.Sequence, e.TransactionId, e.Csn, row.Outcome.State, row.Outcome.Csn)
			case e.Csn == 0 || e.Csn > meta.Csn:
				find("the effect %s/%s:%d is owed since CSN %d, the state ends at CSN %d", q.Service, q.Target, e.Sequence, e.Csn, meta.Csn)
			}
			return true
		})
		if err != nil {
			return nil, err
		}
		if n != q.Effects || quarantined != q.Quarantined {
			find("the queue %s/%s has %d effects, %d of them in quarantine, and says %d and %d", q.Service, q.Target, n, quarantined, q.Effects, q.Quarantined)
		}
	}
	s.OutboxRows([]byte{outboxCompletion}, []byte{outboxCompletion + 1}, func(key, raw []byte) bool {
		var c txnpb.Completion
		if err = c.Parse(slices.Clone(raw)); err != nil || len(key) != 9 {
			err = fmt.Errorf("machine: the row %q of the outbox is no completion: %v", key, err)
			return false
		}
		csn := binary.BigEndian.Uint64(key[1:])
		of := owed[csn]
		delete(owed, csn)
		if c.Owed-c.Done-c.Failed-c.Discarded != of.effects || c.Quarantined != of.quarantined {
			find("the transaction at CSN %d owes %d effects, %d of them in quarantine, and its completion says %d of %d and %d",
				csn, of.effects, of.quarantined, c.Owed-c.Done-c.Failed-c.Discarded, c.Owed, c.Quarantined)
		}
		return true
	})
	for csn, of := range owed {
		find("the transaction at CSN %d owes %d effects, and has no completion", csn, of.effects)
	}
	slices.Sort(findings)
	return findings, err
}

// owedOf is what a transaction owes.
type owedOf struct{ effects, quarantined uint32 }
