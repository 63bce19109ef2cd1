// Package raftlog keeps a raft log in a journal: it is raft's Storage, and the
// place where the append thread writes.
//
// What is durable here is what raft may rely on: memory follows the journal, so
// nothing that a crash could take back is ever shown to raft as stored. A change
// of the commit index alone is not written; it travels with the next entries.
//
// # Records in the journal
//
// All numbers are little-endian.
//
//	entry (1, shared)       0  8 index   8  8 term   16  8 term of index-1   24  1 type   25 … data
//	hard state (128)        0  8 term    8  8 vote   16  8 commit
//	base (129)              0  8 index   8  8 term      where the log begins: in every segment's head, and when a cut leaves no entry
//	install (130)           0  8 index   8  8 term      a snapshot replaced everything before
//	intent (131)            0  8 index   8  8 term      the state is about to be replaced by such a snapshot
//
// An entry replaces whatever was written before at its index and above. The term
// of the entry before it stands in each, so that the log may begin anywhere that
// the journal was cut.
package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/journal"
)

// The kinds of the journal's records. Append-only.
const (
	kindEntry   journal.Kind = 1
	kindHard    journal.Kind = 128
	kindBase    journal.Kind = 129
	kindInstall journal.Kind = 130
	kindIntent  journal.Kind = 131
)

const (
	entryHeaderBytes = 25
	hardBytes        = 24
	pointBytes       = 16

	// DefaultCacheBytes is the newest part of the log that stays in memory: what a
	// follower that blinked asks for. Older entries are read from the journal.
	DefaultCacheBytes = 16 << 20
)

// ErrFormat is returned for a journal that holds something else than a raft log.
var ErrFormat = errors.New("raftlog: unknown record in the journal")

// record is what memory keeps of every entry.
type record struct {
	pos  journal.Position
	term uint64
}

// point is a place in the log.
type point struct{ index, term uint64 }

// Log is a raft log in a journal. Append, Install and Compact belong to one
// goroutine, the append thread; the methods of raft.Storage to another.
type Log struct {
	journal      *journal.Journal
	cacheBytes   int
	segmentBytes int64
	snapshot     func() (*raftpb.Snapshot, error)

	// What the next segment's head repeats; written by the append thread alone.
	head    struct{ hard, base [32]byte } // encoded for the next segment's head
	scratch []byte

	mu     sync.Mutex
	hard   raftpb.HardState
	conf   *raftpb.ConfState
	base   point    // the entry before the first
	intent point    // the newest snapshot whose installation began
	cut    bool     // base is where the journal was cut, as far as replay has seen
	recs   []record // recs[i] is entry base.index+1+i
	tail   []*raftpb.Entry
	cached int // bytes of data in tail
	buf    []byte
}

var _ raft.Storage = (*Log)(nil)

// Config says where the log lies.
type Config struct {
	// Journal is the journal's own; its Head is set here.
	Journal journal.Config
	// CacheBytes bounds the entries kept in memory; 0 means DefaultCacheBytes.
	CacheBytes int
	// Snapshot answers raft when a peer needs what the log no longer holds.
	Snapshot func() (*raftpb.Snapshot, error)
}

// Open opens the log. When the journal is damaged the error is journal.IsDamage:
// this member must neither vote nor acknowledge until it is repaired.
func Open(cfg Config) (*Log, error) {
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = DefaultCacheBytes
	}
	if cfg.Journal.SegmentBytes == 0 {
		cfg.Journal.SegmentBytes = journal.DefaultSegmentBytes
	}
	l := &Log{cacheBytes: cfg.CacheBytes, segmentBytes: cfg.Journal.SegmentBytes, snapshot: cfg.Snapshot, conf: raftpb.EnsureConfState(nil)}
	cfg.Journal.Head = l.segmentHead
	j, err := journal.Open(cfg.Journal)
	if err != nil {
		return nil, fmt.Errorf("raftlog: %w", err)
	}
	l.journal = j
	if d := j.Damage(); d != nil {
		return nil, errors.Join(&journal.DamageError{Ranges: d}, j.Close())
	}
	if err := j.Replay(0, l.replay); err != nil {
		return nil, errors.Join(fmt.Errorf("raftlog: %w", err), j.Close())
	}
	return l, nil
}

// Close releases the journal. What was not synced is given up.
func (l *Log) Close() error { return l.journal.Close() }

// Journal is the journal below, for its upkeep (Reserve, Mark) by the append thread.
func (l *Log) Journal() *journal.Journal { return l.journal }

// Begin joins the log and the state, which is applied up to an index of a term
// with the members conf, once, before raft starts. What was applied was
// committed; an installation that a crash cut short after the state was replaced
// is completed.
func (l *Log) Begin(conf *raftpb.ConfState, applied, term uint64) error {
	l.mu.Lock()
	interrupted := l.intent == point{applied, term} && l.base != l.intent
	l.mu.Unlock()
	if interrupted {
		meta := &raftpb.SnapshotMetadata{Index: new(applied), Term: new(term), ConfState: conf}
		if err := l.Install(&raftpb.Snapshot{Metadata: meta}); err != nil {
			return err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conf = raftpb.EnsureConfState(conf)
	if have, err := l.termLocked(applied); err != nil || have != term && applied > 0 {
		return fmt.Errorf("raftlog: the state is applied up to entry %d of term %d but the log holds entries %d to %d: they are not of one life; "+
			"give this SFU a fresh disk and a new identity", applied, term, l.base.index+1, l.lastLocked())
	}
	if l.hard.GetCommit() < applied {
		l.setHardLocked(l.hard.GetTerm(), l.hard.GetVote(), applied)
	}
	return nil
}

// Fresh reports whether nothing was ever written to the log.
func (l *Log) Fresh() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastLocked() == 0 && l.hard.GetTerm() == 0
}

// Append makes the entries and hard states of the given MsgStorageAppend messages
// durable, with at most one sync; the snapshot of one is Intend's and Install's. An
// error is fatal for the process, unless it is journal.ErrNoSpace: then the same
// messages may be given again once there is space.
func (l *Log) Append(msgs []*raftpb.Message) error {
	var recs []record
	var ents []*raftpb.Entry
	durable := false
	last, commit := l.last(), l.hard.GetCommit()
	for _, m := range msgs {
		durable = durable || len(m.GetResponses()) > 0
		if term, vote := m.GetTerm(), m.GetVote(); m.Term != nil {
			// A vote is written before the entries of its term, a commit index behind the
			// entries that it speaks of: a crash may come between any two records.
			if term != l.hard.GetTerm() || vote != l.hard.GetVote() {
				if err := l.writeHard(term, vote, l.hard.GetCommit()); err != nil {
					return err
				}
			}
			commit = max(commit, m.GetCommit())
		}
		for _, e := range m.GetEntries() {
			if i := e.GetIndex(); i <= last { // a newer leader overrules what it does not have
				recs, ents = l.truncate(i, recs, ents)
			}
			prev := l.termBefore(e.GetIndex(), recs)
			l.scratch = encodeEntry(l.scratch[:0], e, prev)
			pos, err := l.journal.Append(kindEntry, l.scratch, e.GetData())
			if err != nil {
				return fmt.Errorf("raftlog: %w", err)
			}
			recs = append(recs, record{pos, e.GetTerm()})
			ents = append(ents, e)
			last = e.GetIndex()
		}
	}
	if !durable && len(ents) == 0 {
		return nil // it travels with what is next
	}
	if commit > l.hard.GetCommit() {
		if err := l.writeHard(l.hard.GetTerm(), l.hard.GetVote(), commit); err != nil {
			return err
		}
	}
	if err := l.journal.Sync(); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	l.mu.Lock()
	l.recs = append(l.recs, recs...)
	for _, e := range ents {
		l.tail = append(l.tail, e)
		l.cached += len(e.GetData())
	}
	l.shrinkLocked()
	l.mu.Unlock()
	return nil
}

// writeHard appends a hard state, which later segments begin with.
func (l *Log) writeHard(term, vote, commit uint64) error {
	var rec [hardBytes]byte
	if _, err := l.journal.Append(kindHard, encodeHard(rec[:0], term, vote, commit)); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.setHardLocked(term, vote, commit)
	return nil
}

// truncate forgets entry i and all above, in memory or in what is being added.
func (l *Log) truncate(i uint64, recs []record, ents []*raftpb.Entry) ([]record, []*raftpb.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if have := l.lastLocked(); i > have {
		return recs[:i-have-1], ents[:i-have-1]
	}
	l.recs = l.recs[:i-l.base.index-1]
	for len(l.tail) > 0 && l.tail[len(l.tail)-1].GetIndex() >= i {
		l.cached -= len(l.tail[len(l.tail)-1].GetData())
		// A new array: slices of the old one were handed to raft.
		l.tail = slices.Clone(l.tail[:len(l.tail)-1])
	}
	return recs[:0], ents[:0]
}

// termBefore returns the term of entry i-1.
func (l *Log) termBefore(i uint64, adding []record) uint64 {
	if len(adding) > 0 {
		return adding[len(adding)-1].term
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	term, err := l.termLocked(i - 1)
	if err != nil {
		panic(fmt.Sprintf("raftlog: entry %d appended to a log that ends at %d", i, l.lastLocked()))
	}
	return term
}

// Intend notes durably that the state is about to be replaced by that of the
// snapshot. After it the owner replaces the state, durably, and calls Install.
func (l *Log) Intend(s *raftpb.Snapshot) error {
	p := point{s.GetMetadata().GetIndex(), s.GetMetadata().GetTerm()}
	if err := l.writePoint(kindIntent, p); err != nil {
		return err
	}
	if err := l.journal.Sync(); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.intent = p
	return nil
}

// Install makes a snapshot, whose state stands and is durable already, the
// beginning of the log.
func (l *Log) Install(s *raftpb.Snapshot) error {
	p := point{s.GetMetadata().GetIndex(), s.GetMetadata().GetTerm()}
	if err := l.writePoint(kindInstall, p); err != nil {
		return err
	}
	l.mu.Lock()
	l.resetLocked(p)
	l.mu.Unlock()
	if l.hard.GetCommit() < p.index {
		if err := l.writeHard(max(l.hard.GetTerm(), p.term), l.hard.GetVote(), p.index); err != nil {
			return err
		}
	}
	if err := l.journal.Sync(); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conf = raftpb.EnsureConfState(s.GetMetadata().GetConfState())
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

// Compact forgets the entries up to index and gives the journal's segments below
// them back. The owner keeps index at or below what its state has flushed.
func (l *Log) Compact(index uint64) error {
	l.mu.Lock()
	if index <= l.base.index || index > l.lastLocked() {
		l.mu.Unlock()
		return nil
	}
	term, _ := l.termLocked(index) // it is in range
	n := index - l.base.index
	l.recs = slices.Clone(l.recs[n:])
	for len(l.tail) > 0 && l.tail[0].GetIndex() <= index {
		l.cached -= len(l.tail[0].GetData())
		l.tail = l.tail[1:]
	}
	l.setBaseLocked(point{index, term})
	var keep journal.Position
	if len(l.recs) > 0 {
		keep = l.recs[0].pos
	}
	l.mu.Unlock()
	if keep == 0 { // no entry is left that says where the log begins
		keep = l.journal.Synced()
		if err := l.writePoint(kindBase, point{index, term}); err != nil {
			return err
		}
		if err := l.journal.Sync(); err != nil {
			return fmt.Errorf("raftlog: %w", err)
		}
	}
	if err := l.journal.TrimBefore(keep); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	return nil
}

// CompactTo returns the highest index that can be forgotten while at least
// keepBytes of the journal stay for peers that lag, and not above limit.
func (l *Log) CompactTo(limit uint64, keepBytes int64) uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	end := l.journal.Synced()
	to := l.base.index
	for i, r := range l.recs {
		index := l.base.index + 1 + uint64(i)
		if index > limit {
			break
		}
		distance := int64(end.Segment()-r.pos.Segment())*l.segmentBytes + int64(end.Offset()) - int64(r.pos.Offset())
		if distance <= keepBytes {
			break
		}
		to = index
	}
	return to
}

// InitialState implements raft.Storage.
func (l *Log) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &raftpb.HardState{Term: new(l.hard.GetTerm()), Vote: new(l.hard.GetVote()), Commit: new(l.hard.GetCommit())}, l.conf, nil
}

// Entries implements raft.Storage.
func (l *Log) Entries(lo, hi, maxSize uint64) ([]*raftpb.Entry, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if lo <= l.base.index {
		return nil, raft.ErrCompacted
	}
	if hi > l.lastLocked()+1 {
		return nil, raft.ErrUnavailable
	}
	var out []*raftpb.Entry
	size := uint64(0)
	for i := lo; i < hi; i++ {
		e, err := l.entryLocked(i)
		if err != nil {
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

// Term implements raft.Storage.
func (l *Log) Term(i uint64) (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.termLocked(i)
}

// LastIndex implements raft.Storage.
func (l *Log) LastIndex() (uint64, error) { return l.last(), nil }

// FirstIndex implements raft.Storage.
func (l *Log) FirstIndex() (uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.base.index + 1, nil
}

// Snapshot implements raft.Storage.
func (l *Log) Snapshot() (*raftpb.Snapshot, error) { return l.snapshot() }

func (l *Log) last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lastLocked()
}

func (l *Log) lastLocked() uint64 { return l.base.index + uint64(len(l.recs)) }

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

// entryLocked returns entry i from memory or from the journal.
func (l *Log) entryLocked(i uint64) (*raftpb.Entry, error) {
	if n := len(l.tail); n > 0 && i >= l.tail[0].GetIndex() {
		return l.tail[i-l.tail[0].GetIndex()], nil
	}
	kind, payload, err := l.journal.ReadAt(l.recs[i-l.base.index-1].pos, l.buf)
	if err != nil {
		return nil, fmt.Errorf("raftlog: entry %d: %w", i, err)
	}
	l.buf = payload[:0]
	if kind != kindEntry {
		return nil, fmt.Errorf("%w: kind %d where entry %d should be", ErrFormat, kind, i)
	}
	e, _, err := decodeEntry(payload)
	return e, err
}

// shrinkLocked keeps the cached tail within its bound.
func (l *Log) shrinkLocked() {
	n := 0
	for n < len(l.tail) && l.cached > l.cacheBytes {
		l.cached -= len(l.tail[n].GetData())
		n++
	}
	if n > 0 {
		l.tail = slices.Clone(l.tail[n:]) // lets go of what was dropped
	}
}

func (l *Log) setHardLocked(term, vote, commit uint64) {
	l.hard = raftpb.HardState{Term: new(term), Vote: new(vote), Commit: new(commit)}
	encodeHard(l.head.hard[:0], term, vote, commit)
}

func (l *Log) setBaseLocked(p point) {
	l.base = p
	encodePoint(l.head.base[:0], p)
}

func (l *Log) resetLocked(p point) {
	l.setBaseLocked(p)
	l.cut = false
	l.recs, l.tail, l.cached = nil, nil, 0
}

// segmentHead is what the journal repeats at the start of each segment.
func (l *Log) segmentHead() []journal.Record {
	return []journal.Record{{Kind: kindBase, Payload: l.head.base[:pointBytes]}, {Kind: kindHard, Payload: l.head.hard[:hardBytes]}}
}

// replay takes one record of the journal at the opening.
func (l *Log) replay(pos journal.Position, kind journal.Kind, payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch kind {
	case kindEntry:
		return l.replayEntryLocked(pos, payload)
	case kindHard:
		if len(payload) != hardBytes {
			return fmt.Errorf("%w: hard state of %d bytes at %v", ErrFormat, len(payload), pos)
		}
		le := binary.LittleEndian
		l.setHardLocked(le.Uint64(payload), le.Uint64(payload[8:]), le.Uint64(payload[16:]))
	case kindBase, kindInstall, kindIntent:
		if len(payload) != pointBytes {
			return fmt.Errorf("%w: point of %d bytes at %v", ErrFormat, len(payload), pos)
		}
		p := point{binary.LittleEndian.Uint64(payload), binary.LittleEndian.Uint64(payload[8:])}
		switch {
		case kind == kindIntent:
			l.intent = p
		case kind == kindInstall || len(l.recs) == 0 && p.index > l.base.index:
			l.resetLocked(p)
		}
	default:
		return fmt.Errorf("%w: kind %d at %v", ErrFormat, kind, pos)
	}
	return nil
}

func (l *Log) replayEntryLocked(pos journal.Position, payload []byte) error {
	e, prev, err := decodeEntry(payload)
	if err != nil {
		return fmt.Errorf("%w at %v", err, pos)
	}
	i := e.GetIndex()
	switch {
	case len(l.recs) == 0 && i > l.base.index+1, i <= l.base.index && l.cut:
		// The journal was cut before it. What the first segment begins with may have
		// been overruled within it, by an entry of a lower index.
		l.resetLocked(point{i - 1, prev})
		l.cut = true
	case i > l.lastLocked()+1 || i <= l.base.index:
		return fmt.Errorf("%w: entry %d at %v in a log of %d to %d", ErrFormat, i, pos, l.base.index+1, l.lastLocked())
	case i <= l.lastLocked():
		l.recs = l.recs[:i-l.base.index-1]
		for len(l.tail) > 0 && l.tail[len(l.tail)-1].GetIndex() >= i {
			l.cached -= len(l.tail[len(l.tail)-1].GetData())
			l.tail = l.tail[:len(l.tail)-1]
		}
	}
	l.recs = append(l.recs, record{pos, e.GetTerm()})
	l.tail = append(l.tail, e)
	l.cached += len(e.GetData())
	if l.cached > 2*l.cacheBytes { // not at every entry: dropping copies
		l.shrinkLocked()
	}
	return nil
}

func encodeHard(b []byte, term, vote, commit uint64) []byte {
	b = binary.LittleEndian.AppendUint64(b, term)
	b = binary.LittleEndian.AppendUint64(b, vote)
	return binary.LittleEndian.AppendUint64(b, commit)
}

func encodePoint(b []byte, p point) []byte {
	b = binary.LittleEndian.AppendUint64(b, p.index)
	return binary.LittleEndian.AppendUint64(b, p.term)
}

// encodeEntry appends an entry's header; its data follows in the record.
func encodeEntry(b []byte, e *raftpb.Entry, prevTerm uint64) []byte {
	b = binary.LittleEndian.AppendUint64(b, e.GetIndex())
	b = binary.LittleEndian.AppendUint64(b, e.GetTerm())
	b = binary.LittleEndian.AppendUint64(b, prevTerm)
	return append(b, byte(e.GetType()))
}

// decodeEntry returns the entry of a record; its data is a copy.
func decodeEntry(b []byte) (e *raftpb.Entry, prevTerm uint64, err error) {
	if len(b) < entryHeaderBytes {
		return nil, 0, fmt.Errorf("%w: entry of %d bytes", ErrFormat, len(b))
	}
	le := binary.LittleEndian
	e = &raftpb.Entry{Index: new(le.Uint64(b)), Term: new(le.Uint64(b[8:])), Type: raftpb.EntryType(b[24]).Enum()}
	if len(b) > entryHeaderBytes {
		e.Data = slices.Clone(b[entryHeaderBytes:])
	}
	return e, le.Uint64(b[16:]), nil
}
