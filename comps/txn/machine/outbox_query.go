package machine

import (
	"bytes"
	"fmt"
	"slices"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Bounds of one list of effects.
const (
	maxListed      = 1024
	maxListedBytes = 4 << 20
)

// metaReader is what says how far a state reaches.
type metaReader interface{ Meta(key string) []byte }

// Outbox answers which effects are owed. s is a store.State or a store.View.
func Outbox(s interface {
	outboxReader
	metaReader
}, f *txnpb.OutboxFilter) (*txnpb.OutboxAnswer, error) {
	meta, err := Reached(s)
	if err != nil {
		return nil, err
	}
	a := &txnpb.OutboxAnswer{Held: meta.OutboxHeld, Stamp: meta.Stamp, Version: meta.OutboxVersion}
	if a.Queues, err = readQueues(s, f); err != nil || f.Limit == 0 {
		return a, err
	}
	limit, size := min(int(f.Limit), maxListed), 0
	for i := range a.Queues {
		q := &a.Queues[i]
		from := queueKey(outboxEffect, q.Service, q.Target)
		to := behind(from)
		if !f.AnyTarget && f.Service != "" {
			from = effectKey(q.Service, q.Target, f.Sequence)
		}
		s.OutboxRows(from, to, func(key, raw []byte) bool {
			var e txnpb.OwedEffect
			if err = e.Parse(slices.Clone(raw)); err != nil {
				err = fmt.Errorf("machine: the row %q of the outbox: %w", key, err)
				return false
			}
			if f.Quarantined && e.State != txnpb.EffectStateQuarantined {
				return true
			}
			if size += len(raw); len(a.Effects) == limit || size > maxListedBytes && len(a.Effects) > 0 {
				a.More = true
				return false
			}
			a.Effects = append(a.Effects, e)
			return true
		})
		if err != nil || a.More {
			break
		}
	}
	return a, err
}

// Completion returns how far the effects of a committed transaction are. s is a store.State
// or a store.View.
func Completion(s outboxReader, o *txnpb.Outcome) (*txnpb.Completion, error) {
	c, err := readOutbox[txnpb.Completion](s, completionKey(o.Csn))
	if err == nil && c == nil { // all done, and nothing to tell of any
		c = &txnpb.Completion{Owed: o.Effects, Done: o.Effects}
	}
	return c, err
}

// behind returns the first key that does not begin with a prefix, which ends in 0.
func behind(prefix []byte) []byte {
	b := bytes.Clone(prefix)
	b[len(b)-1]++
	return b
}

// readQueues returns the queues that a filter is about; nil is about all.
func readQueues(s outboxReader, f *txnpb.OutboxFilter) (out []txnpb.EffectQueue, err error) {
	from, to := []byte{outboxQueue}, []byte{outboxQueue + 1}
	switch {
	case f == nil || f.Service == "":
	case f.AnyTarget:
		from = append(append([]byte{outboxQueue}, f.Service...), 0)
		to = behind(from)
	default:
		from = queueKey(outboxQueue, f.Service, f.Target)
		to = behind(from)
	}
	s.OutboxRows(from, to, func(key, raw []byte) bool {
		var q txnpb.EffectQueue
		if err = q.Parse(slices.Clone(raw)); err != nil {
			err = fmt.Errorf("machine: the row %q of the outbox: %w", key, err)
			return false
		}
		out = append(out, q)
		return true
	})
	return out, err
}
