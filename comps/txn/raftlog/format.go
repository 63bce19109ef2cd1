package raftlog

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

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
	kindForce   journal.Kind = 132
)

// Lengths of the records, in bytes; an entry's data follows its header.
const (
	entryHeaderBytes = 25
	hardBytes        = 24
	pointBytes       = 16
)

// ErrFormat is returned for a journal that holds something else than a raft log.
var ErrFormat = errors.New("raftlog: not a record of a raft log")

func encodeHard(b []byte, h hardState) []byte {
	b = binary.LittleEndian.AppendUint64(b, h.term)
	b = binary.LittleEndian.AppendUint64(b, h.vote)
	return binary.LittleEndian.AppendUint64(b, h.commit)
}

func decodeHard(b []byte) (hardState, error) {
	if len(b) != hardBytes {
		return hardState{}, fmt.Errorf("%w: hard state of %d bytes, must be %d", ErrFormat, len(b), hardBytes)
	}
	le := binary.LittleEndian
	return hardState{le.Uint64(b), le.Uint64(b[8:]), le.Uint64(b[16:])}, nil
}

func encodePoint(b []byte, p point) []byte {
	b = binary.LittleEndian.AppendUint64(b, p.index)
	return binary.LittleEndian.AppendUint64(b, p.term)
}

func decodePoint(b []byte) (point, error) {
	if len(b) != pointBytes {
		return point{}, fmt.Errorf("%w: point of %d bytes, must be %d", ErrFormat, len(b), pointBytes)
	}
	return point{binary.LittleEndian.Uint64(b), binary.LittleEndian.Uint64(b[8:])}, nil
}

// encodeEntry appends an entry's header; its data follows in the record.
func encodeEntry(b []byte, e *raftpb.Entry, prevTerm uint64) []byte {
	b = binary.LittleEndian.AppendUint64(b, e.GetIndex())
	b = binary.LittleEndian.AppendUint64(b, e.GetTerm())
	b = binary.LittleEndian.AppendUint64(b, prevTerm)
	return append(b, byte(e.GetType()))
}

// decodeEntry returns the entry of a record and the term of the one before it. The
// entry's data is a copy.
func decodeEntry(b []byte) (e *raftpb.Entry, prevTerm uint64, err error) {
	if len(b) < entryHeaderBytes {
		return nil, 0, fmt.Errorf("%w: entry of %d bytes, must be %d or more", ErrFormat, len(b), entryHeaderBytes)
	}
	le := binary.LittleEndian
	e = &raftpb.Entry{Index: new(le.Uint64(b)), Term: new(le.Uint64(b[8:])), Type: raftpb.EntryType(b[24]).Enum()}
	if e.GetIndex() == 0 {
		return nil, 0, fmt.Errorf("%w: entry 0: entries count from 1", ErrFormat)
	}
	if len(b) > entryHeaderBytes {
		e.Data = slices.Clone(b[entryHeaderBytes:])
	}
	return e, le.Uint64(b[16:]), nil
}

// segmentHead is what the journal repeats at the start of each segment, so that
// older ones can be given up.
func (l *Log) segmentHead() []journal.Record {
	return []journal.Record{{Kind: kindBase, Payload: l.head.base[:]}, {Kind: kindHard, Payload: l.head.hard[:]}}
}

// replay takes one record of the journal at the opening.
func (l *Log) replay(pos journal.Position, kind journal.Kind, payload []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := l.replayLocked(pos, kind, payload)
	if err != nil {
		return fmt.Errorf("%w (at %v)", err, pos)
	}
	return nil
}

func (l *Log) replayLocked(pos journal.Position, kind journal.Kind, payload []byte) error {
	if kind != kindEntry {
		l.replayForceLocked(kind, nil)
	}
	switch kind {
	case journal.Missing:
		l.hole, l.gaveUp = true, true
		return nil
	case kindEntry:
		e, prev, err := decodeEntry(payload)
		if err != nil {
			return err
		}
		l.replayForceLocked(kind, e)
		hole := l.hole
		l.hole = false
		return l.replayEntryLocked(pos, e, prev, hole)
	case kindHard:
		h, err := decodeHard(payload)
		if err != nil {
			return err
		}
		l.setHardLocked(h)
		return nil
	case kindForce:
		f, err := decodeForce(payload)
		if err != nil {
			return err
		}
		l.forcing = f
		return nil
	case kindBase, kindInstall, kindIntent:
		p, err := decodePoint(payload)
		if err != nil {
			return err
		}
		switch {
		case kind == kindIntent:
			l.intent = p
		case kind == kindInstall || len(l.recs) == 0 && p.index > l.base.index:
			l.resetLocked(p)
		}
		return nil
	}
	return fmt.Errorf("%w: kind %d", ErrFormat, kind)
}

// followsLocked reports whether an entry may stand where it says, behind one of term prev.
func (l *Log) followsLocked(i, prev uint64) bool {
	before, err := l.termLocked(i - 1)
	return err == nil && before == prev
}

func (l *Log) replayEntryLocked(pos journal.Position, e *raftpb.Entry, prev uint64, hole bool) error {
	i := e.GetIndex()
	switch {
	case hole && !l.followsLocked(i, prev):
		// What was given up, the state holds: see Mend.Abandon. The entries behind it may be
		// overruled further on, by one of a lower index, or have overruled some before it.
		l.resetLocked(point{i - 1, prev})
		l.cut = true
	case len(l.recs) == 0 && i > l.base.index+1, i <= l.base.index && l.cut:
		// The journal was cut before it. What the first segment begins with may have
		// been overruled within it, by an entry of a lower index.
		l.resetLocked(point{i - 1, prev})
		l.cut = true
	case i > l.lastLocked()+1 || i <= l.base.index:
		return fmt.Errorf("%w: entry %d in a log of %d to %d", ErrFormat, i, l.base.index+1, l.lastLocked())
	case i <= l.lastLocked():
		l.truncateLocked(i)
	}
	if before, _ := l.termLocked(i - 1); before != prev { // it is in range
		return fmt.Errorf("%w: entry %d says that the one before it is of term %d, it is of term %d", ErrFormat, i, prev, before)
	}
	l.recs = append(l.recs, record{pos, e.GetTerm()})
	l.cacheLocked(e)
	l.shrinkLocked()
	return nil
}
