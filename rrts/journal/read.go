package journal

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
)

// acquire takes the segments for reading; their files stay open until release.
func (j *Journal) acquire() []*segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	segs := make([]*segment, 0, len(j.segs))
	for _, s := range j.segs {
		if !s.trimmed {
			s.refs++
			segs = append(segs, s)
		}
	}
	return segs
}

func (j *Journal) done(seg *segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if seg.refs--; seg.refs == 0 && seg.doomed {
		_ = seg.file.Close()
	}
}

// Replay calls fn for each record at or after from, in order, up to Synced at
// the time of the call, and with Missing where a repair left records out. The payload is
// valid only during fn. It stops with fn's error,
// or at a damaged range with an error for which IsDamage holds; the owner
// may go on from the range's To.
func (j *Journal) Replay(from Position, fn func(pos Position, kind Kind, payload []byte) error) error {
	segs := j.acquire()
	defer func() {
		for _, s := range segs {
			j.done(s)
		}
	}()
	j.mu.Lock()
	damage := slices.DeleteFunc(j.damagesLocked(), func(d Damage) bool { return d.To <= from })
	ends := make([]uint32, len(segs))
	for i, s := range segs {
		ends[i] = s.end
	}
	j.mu.Unlock()

	var r reader
	for i, seg := range segs {
		if seg.seal == nil || from >= at(seg.num+1, 0) {
			continue
		}
		r.reset(seg.file)
		start := uint32(firstFrame)
		if from.Segment() == seg.num {
			start = max(start, uint32((from.Offset()+frameAlign-1)&^(frameAlign-1)))
		}
		err := seg.walk(&r, start, ends[i], func(off uint32, f *frame, linked []byte) error {
			pos := at(seg.num, off)
			if len(damage) > 0 && damage[0].To <= pos {
				return &DamageError{Ranges: damage[:1]}
			}
			switch f.typ {
			case typeGap:
				return fn(pos, Missing, nil)
			case typeRecord:
				return fn(pos, f.kind, payloadOf(linked))
			}
			return nil // a mark where none belongs
		})
		if err != nil {
			return err
		}
	}
	if len(damage) > 0 {
		return &DamageError{Ranges: damage[:1]}
	}
	return nil
}

// scratch is what one ReadAt needs beside its buffer.
type scratch struct {
	nonce nonce
	frame frame
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

// firstRead is how much ReadAt reads before it knows the record's length.
const firstRead = 16 << 10

// ReadAt reads the record at pos, which an Append returned and a Sync covered,
// or a Replay reported. The payload lies at the start of buf, or of a larger slice when buf's
// capacity is too small: pass payload[:0] as the next buf. Errors: ErrTrimmed,
// ErrNotFound, and IsDamage when the record no longer opens: then the owner
// opens the journal anew, which lists the damage for repair.
func (j *Journal) ReadAt(pos Position, buf []byte) (Kind, []byte, error) {
	seg, end, err := j.find(pos)
	if err != nil {
		return 0, nil, err
	}
	defer j.done(seg)
	sc := scratches.Get().(*scratch)
	defer scratches.Put(sc)
	off, f := pos.Offset(), &sc.frame
	room := int(end - off)

	buf = slices.Grow(buf[:0], min(room, BlockBytes))
	buf = buf[:min(cap(buf), room, firstRead)]
	if readFull(seg, buf, off) != nil { // perhaps only behind the record
		buf = buf[:frameClear]
		if err := readFull(seg, buf, off); err != nil {
			return 0, nil, readDamage(seg, off, len(buf), err.Error())
		}
	}
	if err := seg.seal.parse(f, buf, room); err != nil {
		return 0, nil, fmt.Errorf("%w: %v", ErrNotFound, pos)
	}
	if have := len(buf); f.size() > have {
		buf = slices.Grow(buf, f.size()-have)[:f.size()]
		if err := readFull(seg, buf[have:], off+uint32(have)); err != nil {
			return 0, nil, readDamage(seg, off, f.size(), err.Error())
		}
	}
	linked, err := seg.seal.open(&sc.nonce, buf[:f.size()], off, f)
	if err != nil {
		return 0, nil, readDamage(seg, off, f.size(), "bytes changed")
	}
	if f.typ != typeRecord {
		return 0, nil, fmt.Errorf("%w: %v", ErrNotFound, pos)
	}
	return f.kind, buf[:copy(buf, payloadOf(linked))], nil
}

// readFull reads b from the segment's file at off. What the file does not hold
// stays as it is: nothing in b is trusted.
func readFull(seg *segment, b []byte, off uint32) error {
	_, err := seg.file.ReadAt(b, int64(off))
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

func readDamage(seg *segment, off uint32, size int, cause string) error {
	return &DamageError{Ranges: []Damage{{
		From: at(seg.num, off), To: at(seg.num, off+uint32(size)), Unknown: true, Cause: cause,
	}}}
}

// find returns the segment of a readable position, taken for reading.
func (j *Journal) find(pos Position) (*segment, uint32, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	i, ok := slices.BinarySearchFunc(j.segs, pos.Segment(), func(s *segment, num uint32) int { return int(s.num) - int(num) })
	switch {
	case ok && j.segs[i].trimmed, !ok && (len(j.segs) == 0 || pos < j.segs[0].start()):
		return nil, 0, fmt.Errorf("%w: %v", ErrTrimmed, pos)
	case !ok || j.segs[i].seal == nil || pos.Offset() < firstFrame || pos.Offset()%frameAlign != 0,
		int64(pos.Offset())+frameOverhead > int64(j.segs[i].end):
		return nil, 0, fmt.Errorf("%w: %v", ErrNotFound, pos)
	}
	j.segs[i].refs++
	return j.segs[i], j.segs[i].end, nil
}
