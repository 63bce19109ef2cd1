package raftlog

import (
	"cmp"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/journal"
)

// InitialState implements raft.Storage.
func (l *Log) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	h := l.hard
	return &raftpb.HardState{Term: &h.term, Vote: &h.vote, Commit: &h.commit}, l.conf, nil
}

// FirstIndex implements raft.Storage.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.shownLocked() + 1, nil
}

// LastIndex implements raft.Storage.
func (l *Log) LastIndex() (uint64, error) { return l.last(), nil }

// Term implements raft.Storage.
func (l *Log) Term(i uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if i < l.shownLocked() {
		return 0, raft.ErrCompacted
	}
	return l.termLocked(i)
}

func (l *Log) termLocked(i uint64) (uint64, error) {
	switch {
	case i < l.base.index:
		return 0, raft.ErrCompacted
	case i == l.base.index:
		return l.base.term, nil
	case i > l.lastLocked():
		return 0, raft.ErrUnavailable
	}
	return l.recs[i-l.base.index-1].term, nil
}

// Snapshot implements raft.Storage.
func (l *Log) Snapshot() (*raftpb.Snapshot, error) { return l.snapshot() }

// Entries implements raft.Storage. An error that is not raft's says that the
// journal cannot be read any more: the process must end, and the next one finds
// the damage.
func (l *Log) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	var out []*raftpb.Entry
	size := uint64(0)
	for i := lo; i < hi; i++ {
		e, err := l.entry(i)
		if errors.Is(err, raft.ErrCompacted) && len(out) > 0 {
			break // meanwhile; what was read is a whole answer, if a short one
		} else if err != nil {
			return nil, err
		}
		size += uint64(len(e.GetData())) + entryHeaderBytes
		if len(out) > 0 && size > maxSize {
			break
		}
		out = append(out, e)
	}
	return out, nil
}

// entry returns entry i from memory or from the journal.
func (l *Log) entry(i uint64) (*raftpb.Entry, error) {
	l.mu.Lock()
	if _, err := l.termLocked(i); err != nil || i <= l.shownLocked() {
		l.mu.Unlock()
		return nil, cmp.Or(err, raft.ErrCompacted)
	}
	if n := len(l.tail); n > 0 && i >= l.tail[0].GetIndex() {
		e := l.tail[i-l.tail[0].GetIndex()]
		l.mu.Unlock()
		return e, nil
	}
	pos := l.recs[i-l.base.index-1].pos
	l.mu.Unlock()

	kind, payload, err := l.journal.ReadAt(pos, l.buf)
	if errors.Is(err, journal.ErrTrimmed) {
		return nil, raft.ErrCompacted
	} else if err != nil {
		return nil, fmt.Errorf("raftlog: entry %d: %w", i, err)
	}
	l.buf = payload[:0]
	if kind != kindEntry {
		return nil, fmt.Errorf("%w: kind %d where entry %d should be", ErrFormat, kind, i)
	}
	e, _, err := decodeEntry(payload)
	return e, err
}

// entryOverhead is what an entry takes in memory beside its data, in bytes: the
// message, its numbers, and what the allocator rounds up.
const entryOverhead = 200

func weight(e *raftpb.Entry) int { return len(e.GetData()) + entryOverhead }

// cacheLocked adds an entry to the cached tail.
func (l *Log) cacheLocked(e *raftpb.Entry) {
	l.tail = append(l.tail, e)
	l.cached += weight(e)
}

// shrinkLocked keeps the cached tail within its bound.
func (l *Log) shrinkLocked() {
	n, over := 0, l.cached-l.cacheBytes
	for ; over > 0 && n < len(l.tail); n++ {
		over -= weight(l.tail[n])
	}
	l.dropLocked(n)
}

// dropLocked lets go of the first n cached entries.
func (l *Log) dropLocked(n int) {
	for _, e := range l.tail[:n] {
		l.cached -= weight(e)
	}
	clear(l.tail[:n]) // the array is given up only when it is full
	l.tail = l.tail[n:]
}

// truncateLocked forgets entry i, which the log holds, and all above.
func (l *Log) truncateLocked(i uint64) {
	gone := len(l.recs) - int(i-l.base.index-1)
	l.recs = l.recs[:len(l.recs)-gone]
	keep := max(0, len(l.tail)-gone)
	for _, e := range l.tail[keep:] {
		l.cached -= weight(e)
	}
	clear(l.tail[keep:])
	l.tail = l.tail[:keep]
}
