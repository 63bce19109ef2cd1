package raftlog

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"

	"virtualservicesinc.com/rrts/journal"
)

// ErrVoteLost is returned by Open for a log that was mended and whose member may have
// voted in a term that it does not know any more: OpenDamaged, then Outbid.
var ErrVoteLost = errors.New("raftlog: a vote may be lost")

// voteLostName is a file beside the segments. It stands from before the first repair of a
// log that may have lost a vote until the vote does not matter: once the damage is
// repaired nothing else tells.
const voteLostName = "VOTE-LOST"

// ErrBeyondRepair is returned for a damaged log that other members' entries cannot
// make whole.
var ErrBeyondRepair = errors.New("raftlog: beyond repair")

// Gap is a place where entries are lost: Count of them, from First on. Count may be 0
// where nothing was lost but hard states. (If a leader overruled entries there, some of
// them have lower indexes; none has a higher one.)
type Gap struct {
	First, Count uint64
	damage       journal.Damage
}

// Mend is a damaged log that is being made whole with the entries of other members.
// What they send is proved: the journal's chain leads through the lost entries to the
// ones behind them, and through no others.
//
//	m, err := raftlog.OpenDamaged(cfg)      // after Open said journal.IsDamage
//	for gap, ok := m.Gap(); ok; gap, ok = m.Gap() {
//		ok, err = m.Abandon(gap, flushed)   // the state may hold what was lost
//		err = m.Fill(gap, records)          // or else what another's Records returned
//	}
//	if m.VoteLost() {
//		err = m.Outbid(term)                // above the terms of all others
//	}
//	err = m.Close()                         // and Open again
type Mend struct {
	cfg     journal.Config
	journal *journal.Journal
	gaps    []Gap
	hard    hardState // the newest that was read
	// term is the greatest that was read anywhere.
	term     uint64
	voteLost bool
}

// OpenDamaged opens a log that Open refuses as damaged, or with ErrVoteLost. The error wraps
// ErrBeyondRepair where entries cannot help.
func OpenDamaged(cfg Config) (*Mend, error) {
	m := &Mend{}
	if cfg.Journal.SegmentBytes == 0 {
		cfg.Journal.SegmentBytes = journal.DefaultSegmentBytes
	}
	// A segment that begins meanwhile, for a hard state, says where the log begins only
	// if no other does: the older ones do.
	cfg.Journal.Head = func() []journal.Record { return nil }
	var err error
	if m.journal, err = journal.Open(cfg.Journal); err != nil {
		return nil, fmt.Errorf("raftlog: %w", err)
	}
	m.cfg = cfg.Journal
	if err = m.look(); err == nil {
		err = m.remember()
	}
	if err != nil {
		return nil, errors.Join(err, m.journal.Close())
	}
	return m, nil
}

// look finds out which entries are lost, from those around them. Each repair may move the
// bounds of what is left.
func (m *Mend) look() error {
	damages := m.journal.Damage()
	m.gaps = m.gaps[:0]
	var last uint64    // the newest entry that was appended, or the base
	first := true      // last is not known
	var open []int     // gaps whose first entry the next one tells
	localLost := false // a hard state may be among what is lost, and none came since
	from := journal.Position(0)
	visit := func(pos journal.Position, kind journal.Kind, payload []byte) error {
		switch kind {
		case journal.Missing:
			first = true // how many entries is not known
		case kindEntry:
			e, _, err := decodeEntry(payload)
			if err != nil {
				return err
			}
			last, first = e.GetIndex(), false
			m.term = max(m.term, e.GetTerm())
			next := last
			for _, gap := range slices.Backward(open) { // no entry lies between them
				next -= min(next, m.gaps[gap].Count)
				m.gaps[gap].First = next
			}
			open = nil
		case kindHard:
			h, err := decodeHard(payload)
			if err != nil {
				return err
			}
			m.hard, m.term, localLost = h, max(m.term, h.term), false
		case kindBase, kindInstall:
			p, err := decodePoint(payload)
			if err != nil {
				return err
			}
			if kind == kindInstall || first {
				// A base tells where the log began when its segment did. If segments before it
				// were given up since, the entries behind it went with them.
				last, first = p.index, kind == kindBase && pos.Segment() > 1
			}
			m.term = max(m.term, p.term)
		}
		return nil
	}
	for _, d := range damages {
		err := m.journal.Replay(from, visit)
		if err != nil && !journal.IsDamage(err) {
			return fmt.Errorf("raftlog: %w", err)
		}
		if d.Unknown {
			return fmt.Errorf("%w: %v", ErrBeyondRepair, d)
		}
		m.gaps = append(m.gaps, Gap{First: last + 1, Count: uint64(d.Shared), damage: d})
		if first {
			open = append(open, len(m.gaps)-1)
		}
		last += uint64(d.Shared)
		localLost = localLost || d.Local > 0
		from = d.To
	}
	if err := m.journal.Replay(from, visit); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	if i := slices.IndexFunc(open, func(i int) bool { return m.gaps[i].Count > 0 }); i >= 0 {
		return fmt.Errorf("%w: which entries are lost is not known, %v", ErrBeyondRepair, m.gaps[open[i]].damage)
	}
	m.voteLost = m.voteLost || localLost // a repair leaves no trace of it
	return nil
}

// remember makes it durable that a vote may be lost, before anything is repaired.
func (m *Mend) remember() error {
	lost, err := voteLost(&m.cfg)
	if err != nil || lost || !m.voteLost {
		m.voteLost = m.voteLost || lost
		return err
	}
	fs := m.cfg.FS
	f, err := fs.Create(fs.PathJoin(m.cfg.Dir, voteLostName), vfs.WriteCategoryUnspecified)
	if err == nil {
		err = errors.Join(f.Sync(), f.Close())
	}
	if err == nil {
		err = syncDir(fs, m.cfg.Dir)
	}
	if err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	return nil
}

// voteLost reports whether remember was called and Outbid was not.
func voteLost(cfg *journal.Config) (bool, error) {
	_, err := cfg.FS.Stat(cfg.FS.PathJoin(cfg.Dir, voteLostName))
	switch {
	case err == nil:
		return true, nil
	case errors.Is(err, fs.ErrNotExist):
		return false, nil
	}
	return false, fmt.Errorf("raftlog: %w", err)
}

func syncDir(fs vfs.FS, dir string) error {
	f, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// Gap returns a gap that is still open; false when there is none.
func (m *Mend) Gap() (Gap, bool) {
	if len(m.gaps) == 0 {
		return Gap{}, false
	}
	return m.gaps[0], true
}

// Fill puts the lost entries of a gap in their place: as many records as it counts, as
// another member's Records returned them. The error is journal.ErrMismatch when they are
// not the lost ones: ask somebody else.
func (m *Mend) Fill(g Gap, records [][]byte) error {
	in := make([]journal.Record, len(records))
	for i, r := range records {
		in[i] = journal.Record{Kind: kindEntry, Payload: r}
	}
	if err := m.journal.Repair(g.damage, in); err != nil {
		return fmt.Errorf("raftlog: entries %d to %d: %w", g.First, g.First+g.Count-1, err)
	}
	return m.look()
}

// Abandon gives the lost entries of a gap up, if the state holds them: it is applied,
// durably, up to entry applied. The log then begins behind them. It reports whether it did.
func (m *Mend) Abandon(g Gap, applied uint64) (bool, error) {
	if g.First+g.Count > applied+1 {
		return false, nil
	}
	if err := m.journal.Abandon(g.damage); err != nil {
		return false, fmt.Errorf("raftlog: entries %d to %d: %w", g.First, g.First+g.Count-1, err)
	}
	return true, m.look()
}

// VoteLost reports whether this member may have voted in a term that it does not know
// any more.
func (m *Mend) VoteLost() bool { return m.voteLost }

// Outbid makes a term, in which this member has not voted, its term. Whoever it voted
// for in the term that was lost had that term on disk before it asked: the caller has
// heard the terms of all other members, and term is above them.
func (m *Mend) Outbid(term uint64) error {
	h := hardState{term: max(term, m.term+1), commit: m.hard.commit}
	var rec [hardBytes]byte
	if _, err := m.journal.Append(kindHard, encodeHard(rec[:0], h)); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	if err := m.journal.Sync(); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	fs := m.cfg.FS
	if err := fs.Remove(fs.PathJoin(m.cfg.Dir, voteLostName)); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	if err := syncDir(fs, m.cfg.Dir); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	m.voteLost = false
	return nil
}

// Close releases the journal.
func (m *Mend) Close() error { return m.journal.Close() }

// Records returns entries from first on, at most count, as they stand in every member's
// journal, for one whose own copy is damaged: at least one, and no more than maxBytes
// unless the first alone is longer. raft.ErrCompacted: they are not kept any more. It
// belongs to the goroutine of raft.Storage's methods.
func (l *Log) Records(first, count uint64, maxBytes int) ([][]byte, error) {
	var out [][]byte
	size := 0
	for i := first; i < first+count; i++ {
		e, err := l.entry(i)
		if err != nil && len(out) > 0 {
			break // what was read is an answer, if a short one
		}
		if err != nil {
			return nil, err
		}
		l.mu.Lock()
		prev, err := l.termLocked(i - 1)
		l.mu.Unlock()
		if err != nil {
			return out, raft.ErrCompacted
		}
		r := append(encodeEntry(make([]byte, 0, entryHeaderBytes+len(e.GetData())), e, prev), e.GetData()...)
		if size += len(r); len(out) > 0 && size > maxBytes {
			break
		}
		out = append(out, r)
	}
	return out, nil
}
