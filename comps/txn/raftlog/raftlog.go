// Package raftlog keeps a raft log in a journal: it is raft's Storage, and the
// place where the append thread writes.
//
// What is durable here is what raft may rely on: memory follows the journal, so
// nothing that a crash could take back is ever shown to raft as stored. A change
// of the commit index alone is not written; it travels with the next entries.
//
// # Use
//
//	l, err := raftlog.Open(cfg)             // journal.IsDamage(err): neither vote nor acknowledge; see Mend
//	err = l.Begin(conf, applied, term)      // once, before raft starts
//	for msgs := range work {                // MsgStorageAppend, on the append thread
//		err = l.Append(msgs)                // one sync; then their responses may go
//	}
//	err = l.Intend(snapshot)                // a state came from another member:
//	…                                       // replace the state, durably,
//	err = l.Install(snapshot)               // and begin the log behind it
//	err = l.Compact(l.CompactTo(flushed, keepBytes))
//
// # Records in the journal
//
// All numbers are little-endian.
//
//	entry (1, shared)       0  8 index   8  8 term   16  8 term of index-1   24  1 type   25 … data
//	hard state (128)        0  8 term    8  8 vote   16  8 commit
//	base (129)              0  8 index   8  8 term      where the log begins: in every segment's head
//	install (130)           0  8 index   8  8 term      a snapshot replaced everything before
//	intent (131)            0  8 index   8  8 term      the state is about to be replaced by such a snapshot
//	force (132)             0  8 index   8  8 term   16  8 epoch    the entry there, the next record, is committed by a forced recovery
//
// An entry replaces whatever was written before at its index and above. The term
// of the entry before it stands in each, so that the log may begin anywhere that
// the journal was cut.
//
// # What a crash leaves
//
// The journal keeps a prefix of what was appended, at least up to the last sync. A
// vote is written before the entries of its term and a commit index behind the
// entries that it speaks of, so every prefix is a log that raft can start from.
// An installation that a crash cut short after the state was replaced is
// completed by Begin; one that it cut short before has not happened. A forced recovery
// has happened when its entry is there behind the record that announces it.
package raftlog

import (
	"errors"
	"fmt"
	"sync"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/journal"
)

// DefaultCacheBytes is the newest part of the log that stays in memory: what a
// follower that blinked asks for. Older entries are read from the journal.
const DefaultCacheBytes = 16 << 20

// Config says where the log lies.
type Config struct {
	// Journal is the journal's own; its Head is set here.
	Journal journal.Config
	// CacheBytes bounds the entries kept in memory; 0 means DefaultCacheBytes.
	CacheBytes int
	// Snapshot answers raft when a peer needs what the log no longer holds.
	Snapshot func() (*raftpb.Snapshot, error)
}

// hardState is raft's, by value.
type hardState struct{ term, vote, commit uint64 }

// point is a place in the log.
type point struct{ index, term uint64 }

func pointOf(s *raftpb.Snapshot) point {
	return point{s.GetMetadata().GetIndex(), s.GetMetadata().GetTerm()}
}

// record is what memory keeps of every entry.
type record struct {
	pos  journal.Position
	term uint64
}

// Log is a raft log in a journal. Append, Intend, Install and Compact belong to one
// goroutine, the append thread; the methods of raft.Storage to another.
type Log struct {
	journal      *journal.Journal
	cacheBytes   int
	segmentBytes int64
	snapshot     func() (*raftpb.Snapshot, error)

	// The append thread's.
	head struct { // what the next segment begins with, encoded
		hard [hardBytes]byte
		base [pointBytes]byte
	}
	scratch []byte
	kept    bool   // a term or an entry is durable
	commit  uint64 // the newest commit index, which may not be durable

	// The other thread's.
	buf []byte

	// mu is held for moments only, never over I/O. The append thread alone changes
	// what it guards, so it reads without it.
	mu     sync.Mutex
	hard   hardState
	conf   *raftpb.ConfState
	base   point // the entry before the first
	intent point // the newest snapshot whose installation began
	cut    bool  // base is where the journal was cut, or some of it given up, as far as replay has seen
	hole   bool  // replay has met entries that were given up, and none since
	gaveUp bool  // replay has met some
	forced force // the newest forced recovery
	// forcing is one whose entry has not been replayed yet.
	forcing force
	grown   bool     // the members are not those of the beginning any more
	recs    []record // recs[i] is entry base.index+1+i
	tail    []*raftpb.Entry
	cached  int // weight of tail, in bytes
}

var _ raft.Storage = (*Log)(nil)

// Open opens the log. When the journal is damaged the error is journal.IsDamage:
// this member must neither vote nor acknowledge until it is repaired. A journal that
// holds something else than a raft log is ErrFormat.
func Open(cfg Config) (*Log, error) {
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = DefaultCacheBytes
	}
	if cfg.Journal.SegmentBytes == 0 {
		cfg.Journal.SegmentBytes = journal.DefaultSegmentBytes
	}
	l := &Log{
		cacheBytes: cfg.CacheBytes, segmentBytes: cfg.Journal.SegmentBytes,
		snapshot: cfg.Snapshot, conf: raftpb.EnsureConfState(nil),
	}
	cfg.Journal.Head = l.segmentHead
	j, err := journal.Open(cfg.Journal)
	if err != nil {
		return nil, fmt.Errorf("raftlog: %w", err)
	}
	l.journal = j
	if d := j.Damage(); d != nil {
		return nil, errors.Join(fmt.Errorf("raftlog: %w", &journal.DamageError{Ranges: d}), j.Close())
	}
	if lost, err := voteLost(&cfg.Journal); err != nil || lost {
		if err == nil {
			err = ErrVoteLost
		}
		return nil, errors.Join(err, j.Close())
	}
	if err := j.Replay(0, l.replay); err != nil {
		return nil, errors.Join(fmt.Errorf("raftlog: %w", err), j.Close())
	}
	l.shrinkLocked() // nobody else has it yet
	l.synced()
	return l, nil
}

// Close ends the log in order: what is known to be committed is written, the last records
// are marked as synced, so that damage to them is told from a torn tail, and the journal is
// released. On a disk without room they stand without a mark, and after a failed write
// nothing more is written.
func (l *Log) Close() error {
	var err error
	if l.commit > l.hard.commit && l.commit <= l.last() {
		err = l.writeHard(hardState{l.hard.term, l.hard.vote, l.commit})
	}
	if err == nil {
		err = l.journal.Mark()
	}
	if errors.Is(err, journal.ErrNoSpace) || journal.IsFailed(err) {
		err = nil
	}
	return errors.Join(err, l.journal.Close())
}

// Journal is the journal below, for its upkeep (Reserve, Mark) by the append thread.
func (l *Log) Journal() *journal.Journal { return l.journal }

// Holds reports whether entries of these sizes in bytes surely fit what the journal has
// ready, in this order. Any goroutine. The sizes are changed.
func (l *Log) Holds(entries []int) bool {
	for i := range entries {
		entries[i] += entryHeaderBytes
	}
	return l.journal.Holds(entries)
}

// ErrStateBehind says that the state lacks entries that the log has given up since the state
// held them: it is an older one than was durable once. Nothing that was promised is lost, the
// state of another member serves as well.
var ErrStateBehind = errors.New("raftlog: the state is older than the log")

// Begin joins the log and the state, which is applied up to an index of a term
// with the members conf, once, before raft starts. What was applied was
// committed; an installation that a crash cut short after the state was replaced
// is completed. An error that is neither the journal's nor ErrStateBehind says that the two
// are not of one life.
func (l *Log) Begin(conf *raftpb.ConfState, applied, term uint64) error {
	at := point{applied, term}
	// The log alone does not tell a replaced state from one that grew to the very
	// same entry after an installation that never happened: but then it holds the entry.
	interrupted := applied > 0 && l.intent == at && !l.holds(at)
	// And where a part of a damaged log was given up, the state holds it, and may go beyond
	// all of the log where it is another member's: see Mend.Abandon.
	if interrupted || l.gaveUp && applied > l.last() {
		if err := l.Install(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &applied, Term: &term}}); err != nil {
			return err
		}
	}
	if applied < l.base.index {
		return fmt.Errorf("%w: it is applied up to entry %d, and the log begins behind entry %d", ErrStateBehind, applied, l.base.index)
	}
	if !l.holds(at) && (applied > 0 || l.base.index > 0) {
		return fmt.Errorf("raftlog: the state is applied up to entry %d of term %d but the log holds entries %d to %d: they are not of one life; "+
			"give this SFU a fresh disk and a new identity", applied, term, l.base.index+1, l.last())
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conf = raftpb.EnsureConfState(conf)
	commit := max(l.hard.commit, applied)
	if term, err := l.termLocked(l.forced.index); err == nil && term == l.forced.term {
		commit = max(commit, l.forced.index)
	}
	if l.hard.commit < commit {
		l.setHardLocked(hardState{max(l.hard.term, l.forced.term), l.hard.vote, commit})
	}
	return nil
}

// Grown tells that the members of the group are not those with which it began. A new
// member must begin with the state, which names them, and never with the first entry:
// from now on raft is shown a log that has been compacted.
func (l *Log) Grown() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.grown = true
}

// shownLocked is the entry before the first that raft is shown.
func (l *Log) shownLocked() uint64 {
	if l.grown && l.base.index == 0 && len(l.recs) > 0 {
		return 1
	}
	return l.base.index
}

// holds reports whether the entry at p, or the place where the log begins, is p's.
func (l *Log) holds(p point) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	have, err := l.termLocked(p.index)
	return err == nil && have == p.term
}

// Fresh reports whether the log would be found empty after a crash: no term and no entry
// was ever made durable in it. The append thread's.
func (l *Log) Fresh() bool { return !l.kept }

// synced takes note that all that was written is durable.
func (l *Log) synced() { l.kept = l.kept || l.last() > 0 || l.hard.term > 0 }

func (l *Log) last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastLocked()
}

func (l *Log) lastLocked() uint64 { return l.base.index + uint64(len(l.recs)) }

func (l *Log) setHardLocked(h hardState) {
	l.hard = h
	encodeHard(l.head.hard[:0], h)
}

func (l *Log) setBaseLocked(p point) {
	l.base = p
	encodePoint(l.head.base[:0], p)
}

// resetLocked makes p the place where the log begins, and the log empty.
func (l *Log) resetLocked(p point) {
	l.setBaseLocked(p)
	l.cut = false
	l.recs, l.tail, l.cached = nil, nil, 0
}
