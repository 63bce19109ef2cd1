package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/journal"
)

// forceBytes is the length of a force record.
const forceBytes = 24

// force is the decision of a forced recovery: the entry at a point, which follows the
// record at once, is committed whoever else has it, and an epoch begins.
type force struct {
	point
	epoch uint64
}

func encodeForce(b []byte, f force) []byte {
	return binary.LittleEndian.AppendUint64(encodePoint(b, f.point), f.epoch)
}

func decodeForce(b []byte) (force, error) {
	if len(b) != forceBytes {
		return force{}, fmt.Errorf("%w: force of %d bytes, must be %d", ErrFormat, len(b), forceBytes)
	}
	p, err := decodePoint(b[:pointBytes])
	return force{p, binary.LittleEndian.Uint64(b[pointBytes:])}, err
}

// Term says which entry is the first of a term in the log, or the first of it that the
// log still holds.
type Term struct{ Term, First uint64 }

// Terms returns the newest n terms in the log, in rising order.
func (l *Log) Terms(n int) []Term {
	l.mu.Lock()
	defer l.mu.Unlock()
	var terms []Term
	for i, r := range l.recs {
		if i == 0 || r.term != l.recs[i-1].term {
			terms = append(terms, Term{r.term, l.base.index + 1 + uint64(i)})
		}
	}
	if len(l.recs) == 0 && l.base.index > 0 {
		terms = append(terms, Term{l.base.term, l.base.index})
	}
	return terms[max(0, len(terms)-n):]
}

// Force ends the log with an entry of the given data that this member alone has agreed
// to, in a term above its own and the given one, and begins an epoch: it, and so all
// before it, is committed from the next Open on. After it nothing but Close may be called.
// Either it has happened, or, after a crash, it has not. journal.ErrNoSpace: it has not;
// anything else is fatal for the process.
func (l *Log) Force(epoch, above uint64, data []byte) error {
	// In a segment of their own the records below follow each other.
	if err := l.journal.Rotate(l.journal.Epoch()); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	last := l.last()
	lastTerm, _ := l.termLocked(last) // it is in range
	at := point{last + 1, max(l.hard.term, above) + 1}
	var rec [forceBytes]byte
	if _, err := l.journal.Append(kindForce, encodeForce(rec[:0], force{at, epoch})); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	e := &raftpb.Entry{Index: &at.index, Term: &at.term, Type: raftpb.EntryNormal.Enum()}
	if _, err := l.journal.Append(kindEntry, encodeEntry(l.scratch[:0], e, lastTerm), data); err != nil {
		return fmt.Errorf("raftlog: %w", err)
	}
	if err := l.writeHard(hardState{term: at.term, commit: at.index}); err != nil {
		return err
	}
	if err := l.sync(); err != nil {
		return err
	}
	// The header of the segment says the epoch, too; if not now, then at the next start.
	if err := l.journal.Rotate(epoch); err != nil && !errors.Is(err, journal.ErrNoSpace) {
		return fmt.Errorf("raftlog: %w", err)
	}
	return nil
}

// Epoch is the epoch of the newest forced recovery in the log, or that of the journal
// where this is higher.
func (l *Log) Epoch() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.forced.epoch, l.journal.Epoch())
}

// replayForceLocked takes a record at the opening: a decision counts when its entry
// follows.
func (l *Log) replayForceLocked(kind journal.Kind, e *raftpb.Entry) {
	if kind == kindEntry && l.forcing.index > 0 && (point{e.GetIndex(), e.GetTerm()}) == l.forcing.point {
		l.forced = l.forcing
	}
	l.forcing = force{}
}
