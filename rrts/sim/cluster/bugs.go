package cluster

import (
	"maps"
	"slices"

	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// Bug is a fault that the simulation plants around the code under test, to see
// that its checks would find it. The code itself has no switch for any of them.
type Bug int

const (
	// NoBug: the code as it is.
	NoBug Bug = iota
	// AckBeforeSync: a disk says that it has synced, and does so some milliseconds later.
	AckBeforeSync
	// SkipDedupe: the machine finds no row of an earlier transaction.
	SkipDedupe
	// SplitApplied: a crash takes the applied index back to the last flush and leaves
	// the rows that were committed since.
	SplitApplied
	// DuplicateRecords: a record now and then comes out of a session twice.
	DuplicateRecords
	// LeaveEarly: a change of the group is not made durable before others hear of it,
	// and a member that finds itself removed is gone without being told.
	LeaveEarly
	// StaleReads: a read is answered from the state of whoever is asked, without a word
	// with the leader.
	StaleReads
	// CutEarly: a witness cuts its log without a look at what voters lack.
	CutEarly
	// HoldOn: what a witness says when it hands over does not arrive.
	HoldOn
	// TrustClock: no leader compares its clock with others'.
	TrustClock
	// ApplyDiffers: one replica reads another balance than it wrote.
	ApplyDiffers
	// OtherRows: one replica stores other rows of history than it was given; nothing that
	// is applied reads them again.
	OtherRows
	// LeaveAtOnce: a member that was removed goes when the first one tells it so.
	LeaveAtOnce
	// ForgetClaims: who does effects is not told that they were claimed before.
	ForgetClaims
	// IgnoreRot: a member whose scrub finds that rows have rotted goes on with them.
	IgnoreRot
	// TrustRotten: a state is taken without a look at its sum.
	TrustRotten
)

// state is what the machine sees of a node's rows.
func (b Bug) state(id uint64, rows *memstore.Store) store.State {
	switch b {
	case ApplyDiffers:
		if id == 2 {
			return differing{rows}
		}
	case OtherRows:
		if id == 2 {
			return careless{rows}
		}
	case SkipDedupe:
		return amnesiac{rows}
	case ForgetClaims:
		return unclaimed{rows}
	case SplitApplied:
		return &split{Store: rows, flushed: map[string][]byte{}}
	}
	return rows
}

// differing reads balances that are a little higher than they are.
type differing struct{ *memstore.Store }

func (d differing) Account(id u128.Int, a *ledgerpb.Account) bool {
	found := d.Store.Account(id, a)
	a.DebitsPosted.Lo++
	return found
}

// careless stores other balances in the history than it was given.
type careless struct{ *memstore.Store }

func (c careless) Commit(b *store.Batch) {
	if b.Changes != nil {
		own, changes := *b, *b.Changes
		changes.Events = slices.Clone(changes.Events)
		for i := range changes.Events {
			changes.Events[i].Debit.CreditsPosted.Lo++
		}
		own.Changes = &changes
		b = &own
	}
	c.Store.Commit(b)
}

// amnesiac knows no transaction.
type amnesiac struct{ *memstore.Store }

func (amnesiac) Txn(u128.Int) ([]byte, bool) { return nil, false }

// split keeps its rows over a crash, and of the meta rows what was flushed.
type split struct {
	*memstore.Store
	flushed map[string][]byte
	stale   map[string][]byte // what is shown between a crash and the next commit
	keys    []string
}

func (s *split) Meta(key string) []byte {
	if s.stale != nil {
		return s.stale[key]
	}
	return s.Store.Meta(key)
}

func (s *split) Commit(b *store.Batch) {
	s.stale, s.keys = nil, s.keys[:0]
	for _, m := range b.Metas {
		s.keys = append(s.keys, m.Key)
	}
	s.Store.Commit(b)
}

func (s *split) Flush() error {
	s.Switched()
	return nil
}

func (s *split) Crash() { s.stale = maps.Clone(s.flushed) }

// Switched takes over the meta rows as they are now.
func (s *split) Switched() {
	for _, key := range s.keys {
		s.flushed[key] = s.Store.Meta(key)
	}
	s.stale = nil
}
