package raftlog

import (
	"fmt"
	"slices"
	"sort"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/journal"
)

// addition is what one Append adds, until it is durable.
type addition struct {
	after uint64 // the last entry of the log that stays
	recs  []record
	ents  []*raftpb.Entry
}

func (a *addition) last() uint64 { return a.after + uint64(len(a.recs)) }

// Append makes the entries and hard states of the given MsgStorageAppend messages
// durable, with at most one sync; the snapshot of one is Intend's and Install's. An
// error is fatal for the process, unless it is journal.ErrNoSpace: then the same
// messages must be given again once there is space; only Compact may come between.
func (l *Log) Append(msgs []*raftpb.Message) error {
	add := addition{after: l.last()}
	durable, commit := false, l.hard.commit
	for _, m := range msgs {
		durable = durable || len(m.GetResponses()) > 0
		if m.Term != nil {
			if term, vote := m.GetTerm(), m.GetVote(); term != l.hard.term || vote != l.hard.vote {
				if err := l.writeHard(hardState{term, vote, l.hard.commit}); err != nil {
					return err
				}
			}
			commit = max(commit, m.GetCommit())
			l.commit = max(l.commit, commit)
		}
		for _, e := range m.GetEntries() {
			if err := l.writeEntry(e, &add); err != nil {
				return err
			}
		}
	}
	if !durable && len(add.recs) == 0 {
		return nil // it travels with what is next
	}
	if commit > l.hard.commit {
		if commit > add.last() {
			panic(fmt.Sprintf("raftlog: commit index %d of a log that ends at %d", commit, add.last()))
		}
		if err := l.writeHard(hardState{l.hard.term, l.hard.vote, commit}); err != nil {
			return err
		}
	}
	if err := l.sync(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.recs = append(l.recs, add.recs...)
	for _, e := range add.ents {
		l.cacheLocked(e)
	}
	l.shrinkLocked()
	return nil
}

// writeEntry appends one entry, which follows the last one or overrules some.
func (l *Log) writeEntry(e *raftpb.Entry, add *addition) error {
	i := e.GetIndex()
	if i <= l.base.index || i > add.last()+1 {
		panic(fmt.Sprintf("raftlog: entry %d in a log of %d to %d", i, l.base.index+1, add.last()))
	}
	if keep := int64(i) - int64(add.after) - 1; keep >= 0 {
		add.recs, add.ents = add.recs[:keep], add.ents[:keep]
	} else { // a newer leader overrules what it does not have
		l.mu.Lock()
		l.truncateLocked(i)
		l.mu.Unlock()
		*add = addition{after: i - 1}
	}
	prev := uint64(0)
	if n := len(add.recs); n > 0 {
		prev = add.recs[n-1].term
	} else {
		prev, _ = l.termLocked(i - 1) // it is in range
	}
	l.scratch = encodeEntry(l.scratch[:0], e, prev)
	pos, err := l.journal.Append(kindEntry, l.scratch, e.GetData())
	if err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	add.recs = append(add.recs, record{pos, e.GetTerm()})
	add.ents = append(add.ents, e)
	return nil
}

// writeHard appends a hard state, which later segments begin with.
func (l *Log) writeHard(h hardState) error {
	var rec [hardBytes]byte
	if _, err := l.journal.Append(kindHard, encodeHard(rec[:0], h)); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setHardLocked(h)
	return nil
}

// writePoint appends a point.
func (l *Log) writePoint(kind journal.Kind, p point) error {
	var rec [pointBytes]byte
	if _, err := l.journal.Append(kind, encodePoint(rec[:0], p)); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	return nil
}

func (l *Log) sync() error {
	if err := l.journal.Sync(); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	l.synced()
	return nil
}

// Intend notes durably that the state is about to be replaced by that of the
// snapshot. After it the owner replaces the state, durably, and calls Install.
// journal.ErrNoSpace: it may be called again.
func (l *Log) Intend(s *raftpb.Snapshot) error {
	p := pointOf(s)
	if err := l.writePoint(kindIntent, p); err != nil {
		return err
	}
	if err := l.sync(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.intent = p
	return nil
}

// Install makes a snapshot, whose state stands and is durable already, the
// beginning of the log. journal.ErrNoSpace: it may be called again.
func (l *Log) Install(s *raftpb.Snapshot) error {
	p := pointOf(s)
	if err := l.writePoint(kindInstall, p); err != nil {
		return err
	}
	l.mu.Lock()
	l.resetLocked(p)
	l.mu.Unlock()
	h := l.hard
	h.commit = max(h.commit, p.index)
	if h.term < p.term { // nobody had this member's vote in a term that it had not heard of
		h.term, h.vote = p.term, 0
	}
	if h != l.hard {
		if err := l.writeHard(h); err != nil {
			return err
		}
	}
	if err := l.sync(); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conf = raftpb.EnsureConfState(s.GetMetadata().GetConfState())
	return nil
}

// Compact forgets the entries up to index and gives the journal's segments below
// them back. The owner keeps index at or below what its state has flushed. The last
// entry stays: it says where the log ends, without a record that would need room on a
// disk that is full.
func (l *Log) Compact(index uint64) error {
	last := l.last()
	if index = min(index, last-min(last, 1)); index <= l.base.index {
		return nil
	}
	term, _ := l.termLocked(index) // it is in range
	n := index - l.base.index
	keep := l.recs[n].pos
	l.mu.Lock()
	l.recs = slices.Clone(l.recs[n:])
	l.dropLocked(max(0, len(l.tail)-len(l.recs)))
	l.setBaseLocked(point{index, term})
	l.mu.Unlock()
	if err := l.journal.TrimBefore(keep); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	return nil
}

// CompactTo returns the highest index that can be forgotten while at least
// keepBytes of the journal stay for peers that lag, and not above limit. It may
// run on any goroutine.
func (l *Log) CompactTo(limit uint64, keepBytes int64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.journal.Synced()
	n := sort.Search(len(l.recs), func(i int) bool { // positions rise
		at := l.recs[i].pos
		distance := int64(end.Segment()-at.Segment())*l.segmentBytes + int64(end.Offset()) - int64(at.Offset())
		return distance <= keepBytes
	})
	return min(l.base.index+uint64(n), max(limit, l.base.index))
}
