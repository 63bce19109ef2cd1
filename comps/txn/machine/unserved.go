package machine

import (
	"fmt"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// unservedRows bounds the effects of one queue, and unservedBytes those of all queues
	// together, that Unserved looks at: where the first ones of a queue all wait behind
	// others of their keys, the alarm of those in quarantine stands already.
	unservedRows  = 256
	unservedBytes = 8 << 20
)

// UnservedQueue is a queue that nobody works on.
type UnservedQueue struct {
	Service, Target string
	// Since is the ledger time from which one of its effects could have been done.
	Since uint64
}

// Unserved returns the queues with an effect that could have been done for longer than
// after, in nanoseconds, and that nobody has taken, kept or claimed from since. now is
// ledger time, or that of a clock near it. s is a store.State or a store.View.
func Unserved(s interface {
	outboxReader
	metaReader
}, now, after uint64) (out []UnservedQueue, err error) {
	meta, err := Reached(s)
	if err != nil || meta.OutboxHeld { // the alarm of a restored outbox stands
		return nil, err
	}
	queues, err := readQueues(s, nil)
	if err != nil {
		return nil, err
	}
	bytes := 0
	for i := range queues {
		q := &queues[i]
		if q.Effects == q.Quarantined || q.Until+after > now {
			continue
		}
		from := queueKey(outboxEffect, q.Service, q.Target)
		rows, held := 0, map[string]bool{}
		s.OutboxRows(from, behind(from), func(key, raw []byte) bool {
			var e txnpb.OwedEffect
			if err = e.Parse(raw); err != nil {
				err = fmt.Errorf("machine: the row %q of the outbox: %w", key, err)
				return false
			}
			rows++
			bytes += len(raw)
			waits := e.Effect.Key != "" && held[e.Effect.Key]
			since := max(e.Owed, e.Due, q.Until)
			if !waits && e.State != txnpb.EffectStateQuarantined && since+after <= now {
				out = append(out, UnservedQueue{q.Service, q.Target, since})
				return false
			}
			held[e.Effect.Key] = true
			return rows < unservedRows && bytes < unservedBytes
		})
		if err != nil || bytes >= unservedBytes {
			break
		}
	}
	return out, err
}
