package journal

import (
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Damage lists the damaged ranges in order; nil when the journal is sound.
func (j *Journal) Damage() []Damage {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.damagesLocked()
}

func (j *Journal) damagesLocked() []Damage {
	var out []Damage
	for _, d := range j.damage {
		out = append(out, d.Damage)
	}
	return out
}

// lookup finds a damage of the list.
func (j *Journal) lookup(d Damage) (damage, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, have := range j.damage {
		if have.From == d.From && have.To == d.To {
			return have, nil
		}
	}
	return damage{}, fmt.Errorf("journal: no damage from %v to %v", d.From, d.To)
}

// repairable reports why the writer must not repair.
func (j *Journal) repairable() error {
	if err := j.usable(); err != nil && !IsDamage(err) {
		return err
	}
	return nil
}

// Repair puts records in the place of what was lost at d, which must be one of
// Damage's. They must be the d.Shared lost records of shared kinds, in order, as any
// replica holds them; the chain proves it, ErrMismatch when it does not. Lost
// local records stay lost: the owner has judged that later ones supersede them.
//
// It writes the segments of the range anew and reads the journal again: time for
// a pass over all of it, and free space of as many segments. ErrNoSpace leaves everything as it was.
func (j *Journal) Repair(d Damage, records []Record) error {
	if err := j.repairable(); err != nil {
		return err
	}
	dam, err := j.lookup(d)
	if err != nil {
		return err
	}
	if dam.Unknown {
		return fmt.Errorf("%w: what was lost at %v cannot be proved", ErrMismatch, dam.From)
	}
	if len(records) != dam.Shared {
		return fmt.Errorf("%w: %d records at %v, lost were %d", ErrMismatch, len(records), dam.From, dam.Shared)
	}
	st, chain := dam.before, newChainer()
	for i, r := range records {
		if r.Kind == 0 || r.Kind.Local() {
			return fmt.Errorf("%w: record %d at %v is of kind %d, not a shared one", ErrMismatch, i, dam.From, r.Kind)
		}
		chain.advance(&st, r.Kind, append(slices.Clone(st.chain[:]), r.Payload...))
	}
	if st.chain != dam.after.chain {
		return fmt.Errorf("%w: their chain from %v on does not lead to %v", ErrMismatch, dam.From, dam.To)
	}
	return j.rewrite(dam, records)
}

// Abandon gives the records lost at d up. The owner swears that it needs none
// of them, because later records or a snapshot supersede them.
func (j *Journal) Abandon(d Damage) error {
	if err := j.repairable(); err != nil {
		return err
	}
	dam, err := j.lookup(d)
	if err != nil {
		return err
	}
	j.log.Warn("journal range abandoned", "range", dam.String())
	if dam.headerless {
		return j.dropHeaderless(dam)
	}
	return j.rewrite(dam, nil)
}

// dropHeaderless removes the segments in d that no header opens.
func (j *Journal) dropHeaderless(d damage) error {
	j.spaceMu.Lock()
	defer j.spaceMu.Unlock()
	j.mu.Lock()
	segs := slices.Clone(j.segs)
	j.mu.Unlock()
	for _, seg := range segs {
		if seg.seal == nil && seg.start() >= d.From && seg.start() < d.To {
			if err := j.giveUp(seg); err != nil {
				return j.fail("give up "+fileName(seg.num, segmentSuffix), err)
			}
		}
	}
	return j.recover()
}

// rewrite writes the segments that d touches anew: their good frames where they
// were, the records in the damaged range, and a gap for what they leave missing.
// A crash between two segments leaves a smaller damage.
func (j *Journal) rewrite(d damage, records []Record) error {
	j.spaceMu.Lock()
	defer j.spaceMu.Unlock()
	lastNum := d.To.Segment()
	if d.To.Offset() <= firstFrame {
		lastNum--
	}
	w := rewriter{j: j, d: d, records: records, st: d.before, prevEnd: d.From, chain: newChainer()}
	for num := d.From.Segment(); num <= lastNum; num++ {
		if err := w.segment(num); err != nil {
			return err
		}
	}
	if len(w.records) > 0 || w.st != d.after {
		return fmt.Errorf("journal: the records do not fit from %v to %v", d.From, d.To)
	}
	return j.recover()
}

// rewriter carries a rewrite from segment to segment.
type rewriter struct {
	j       *Journal
	d       damage
	records []Record // still to be placed
	st      state    // before the next frame of the range
	prevEnd Position
	chain   chainer

	// Of the segment in work:
	seg *segment
	buf []byte
	off uint32 // where buf belongs
	n   nonce
}

// segment writes segment num anew and puts it in the place of the old one.
func (w *rewriter) segment(num uint32) error {
	j := w.j
	old := j.bySegment(num)
	size, epoch, base, prevEnd := j.cfg.SegmentBytes, j.epoch.Load(), w.st, w.prevEnd
	if old != nil && old.seal != nil {
		size, epoch = old.size, old.hdr.epoch
		if num == w.d.From.Segment() {
			base, prevEnd = old.hdr.base, old.hdr.prevEnd
		}
	} else {
		for _, r := range w.records { // a segment of another size may have held them
			size = max(size, int64(blockUp(firstFrame+frameSize(len(r.Payload))+frameSize(0)+tailBytes)))
		}
	}
	path, tmp := j.path(num, segmentSuffix), j.path(num, tmpSuffix)
	f, err := j.fill(tmp, size)
	if err != nil {
		return j.repairError(size, err)
	}
	hdr, seal, err := j.newHeader(num, size, epoch, prevEnd, base)
	w.seg = &segment{num: num, file: f, size: size, fileSize: size, hdr: hdr, seal: seal}
	if err == nil {
		err = w.content(old)
	}
	if err == nil {
		err = w.seg.writeHeader()
	}
	if err == nil {
		err = f.Sync()
	}
	if err == nil {
		err = j.cfg.FS.Rename(tmp, path)
	}
	if err != nil {
		_ = f.Close()
		_ = j.cfg.FS.Remove(tmp)
		return j.repairError(size, err)
	}
	if err := j.syncDir(); err != nil {
		return j.fail("sync of the directory", err)
	}
	j.replace(old, w.seg)
	j.log.Info("journal segment written anew", "segment", num)
	return nil
}

// content writes the frames: the good ones before the range, what was missing,
// the good ones behind it.
func (w *rewriter) content(old *segment) error {
	lo, hi := uint32(firstFrame), w.seg.room()
	if w.seg.num == w.d.From.Segment() {
		lo = w.d.From.Offset()
	}
	if w.seg.num == w.d.To.Segment() {
		hi = w.d.To.Offset()
	}
	if old != nil && old.seal != nil {
		if err := w.copy(old, firstFrame, lo); err != nil {
			return err
		}
	}
	off, err := w.place(lo, hi)
	if err != nil {
		return err
	}
	w.prevEnd = at(w.seg.num, off)
	if old != nil && old.seal != nil {
		if err := w.copy(old, hi, old.end); err != nil {
			return err
		}
		if err := w.mark(old); err != nil {
			return err
		}
	}
	return w.flush()
}

// mark carries the newest mark over. What it says stays true: positions behind
// the range do not change.
func (w *rewriter) mark(old *segment) error {
	r := reader{file: old.file}
	synced, st, ok := old.lastMark(&r)
	if !ok {
		return nil
	}
	return w.seg.writeMark(1, synced, &st)
}

// place puts as many of the records as fit from lo to hi, and the gap behind
// the last one.
func (w *rewriter) place(lo, hi uint32) (uint32, error) {
	for len(w.records) > 0 {
		r := w.records[0]
		if size := uint32(frameSize(len(r.Payload))); size > hi-lo {
			return lo, nil
		}
		f := frame{n: len(r.Payload), typ: typeRecord, kind: r.Kind}
		b, err := w.frame(lo, &f, &w.st)
		if err != nil {
			return lo, err
		}
		linked := b[frameClear : frameClear+sha256.Size+f.n]
		copy(linked, w.st.chain[:])
		copy(payloadOf(linked), r.Payload)
		w.chain.advance(&w.st, r.Kind, linked)
		w.seg.seal.seal(&w.n, b, lo, &f)
		lo += uint32(f.size())
		w.records = w.records[1:]
	}
	if w.st == w.d.after || hi-lo < frameOverhead {
		return lo, nil
	}
	base := &w.seg.hdr.base
	f := frame{
		typ: typeGap, sharedSynced: uint32(w.d.after.shared - base.shared), localSynced: uint32(w.d.after.local - base.local),
	}
	b, err := w.frame(lo, &f, &w.st)
	if err != nil {
		return lo, err
	}
	copy(b[frameClear:], w.d.after.chain[:])
	w.seg.seal.seal(&w.n, b, lo, &f)
	w.st = w.d.after
	return lo + uint32(f.size()), nil
}

// copy seals the old segment's good frames from lo to hi again. Counts are of
// the segment, so they change with its base.
func (w *rewriter) copy(old *segment, lo, hi uint32) error {
	r := reader{file: old.file}
	return old.walk(&r, lo, hi, func(off uint32, f *frame, linked []byte) error {
		was, base := &old.hdr.base, &w.seg.hdr.base
		to := *f
		before := state{shared: was.shared + uint64(f.shared), local: was.local + uint64(f.local)}
		to.sharedSynced = rebase(was.shared+uint64(f.sharedSynced), base.shared)
		to.localSynced = rebase(was.local+uint64(f.localSynced), base.local)
		b, err := w.frame(off, &to, &before)
		if err != nil {
			return err
		}
		copy(b[frameClear:], linked)
		w.seg.seal.seal(&w.n, b, off, &to)
		return nil
	})
}

// rebase is count relative to base. What was synced when the frame was sealed
// may lie before the new base: all before a segment is synced.
func rebase(count, base uint64) uint32 { return uint32(max(count, base) - base) }

// frame makes room for a frame at off in the buffer.
func (w *rewriter) frame(off uint32, f *frame, before *state) ([]byte, error) {
	base := &w.seg.hdr.base
	f.shared, f.local = uint32(before.shared-base.shared), uint32(before.local-base.local)
	if off != w.off+uint32(len(w.buf)) || len(w.buf) > readAhead {
		if err := w.flush(); err != nil {
			return nil, err
		}
		w.off = off
	}
	from := len(w.buf)
	w.buf = slices.Grow(w.buf, f.size())[:from+f.size()]
	return w.buf[from:], nil
}

func (w *rewriter) flush() error {
	if len(w.buf) == 0 {
		return nil
	}
	_, err := w.seg.file.WriteAt(w.buf, int64(w.off))
	w.buf = w.buf[:0]
	if err != nil {
		return err
	}
	return w.seg.file.SyncData() // in small parts: a commit may wait for the same disk
}

// repairError is what a repair answers that could not write.
func (j *Journal) repairError(size int64, err error) error {
	if vfs.IsNoSpaceError(err) {
		return &NoSpaceError{NeedBytes: size}
	}
	return fmt.Errorf("journal: repair: %w", err)
}

func (j *Journal) bySegment(num uint32) *segment {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, s := range j.segs {
		if s.num == num {
			return s
		}
	}
	return nil
}

// replace puts seg into the list, in the place of old when there is one. The old
// file has lost its name; its last reader closes it.
func (j *Journal) replace(old, seg *segment) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if old == nil {
		i, _ := slices.BinarySearchFunc(j.segs, seg.num, func(s *segment, num uint32) int { return int(s.num) - int(num) })
		j.segs = slices.Insert(j.segs, i, seg)
		return
	}
	j.segs[slices.Index(j.segs, old)] = seg
	if old.refs > 0 {
		old.doomed = true
		return
	}
	_ = old.file.Close()
}
