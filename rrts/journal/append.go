package journal

import "fmt"

const (
	// firstBufBytes holds a usual group.
	firstBufBytes = 64 << 10

	// flushBytes is what Append holds in memory before it writes: far above a
	// group of many small records, so that those stay one write.
	flushBytes = 4 << 20

	// keepBufBytes is the largest buffer kept after a write; a larger record's is given back.
	keepBufBytes = 8 << 20
)

// usable reports why the writer must not write.
func (j *Journal) usable() error {
	if f := j.failed.Load(); f != nil {
		return f
	}
	if j.closed {
		return ErrClosed
	}
	if j.hurt.Load() {
		return &DamageError{Ranges: j.Damage()}
	}
	return nil
}

// fail makes the journal dead.
func (j *Journal) fail(op string, err error) error {
	f := &FailedError{Op: op, Err: err}
	if !j.failed.CompareAndSwap(nil, f) {
		return j.failed.Load()
	}
	j.log.Error("journal is dead", "op", op, "err", err)
	return f
}

// MaxPayload is the largest payload that Append takes, in bytes.
func (j *Journal) MaxPayload() int { return maxPayload(j.cfg.SegmentBytes) }

// maxPayload leaves room for headers and marks, the head records, and the frame.
func maxPayload(segmentBytes int64) int {
	room := segmentBytes - firstFrame - tailBytes - maxHead(segmentBytes) - frameOverhead - frameAlign
	return int(min(room, MaxRecordBytes))
}

// maxHead is how much the head records may take of a segment, frames included.
func maxHead(segmentBytes int64) int64 { return segmentBytes / 4 }

// Append seals one record, the concatenation of the payload slices, behind
// what was appended before, and returns its position. It copies; the caller keeps
// the slices. The record is durable, and readable, after the next Sync.
//
// Append does no I/O, but for: the first one after Open and one that finds the
// segment full (the old segment is synced, the next one begun, a few milliseconds), and
// one that finds more than 4 MiB not yet written (they are written, not synced).
//
// Errors: ErrTooLarge and ErrNoSpace leave the journal as it was; ErrNoSpace
// comes only when the record does not fit the current segment and no segment is
// reserved. IsDamage: repair first. IsFailed: the end.
func (j *Journal) Append(kind Kind, payload ...[]byte) (Position, error) {
	if err := j.usable(); err != nil {
		return 0, err
	}
	n := 0
	for _, p := range payload {
		n += len(p)
	}
	if n > j.MaxPayload() {
		return 0, fmt.Errorf("%w: %d bytes, the limit is %d", ErrTooLarge, n, j.MaxPayload())
	}
	if kind == 0 {
		return 0, fmt.Errorf("journal: append of kind 0: kinds are 1 to 255")
	}
	if len(j.buf) > 0 && len(j.buf)+frameSize(n) > flushBytes {
		if err := j.flush(); err != nil {
			return 0, err
		}
	}
	if j.cur == nil || !j.fits(frameSize(n)) {
		if err := j.roll(j.epoch.Load()); err != nil {
			return 0, err
		}
	}
	return j.seal(kind, n, payload), nil
}

// fits reports whether a frame of size bytes fits the current segment.
func (j *Journal) fits(size int) bool {
	return int64(j.at)+int64(blockUp(len(j.buf)+size)) <= int64(j.cur.room())
}

// seal appends a record's frame to the buffer.
func (j *Journal) seal(kind Kind, n int, payload [][]byte) Position {
	from, size := len(j.buf), frameSize(n)
	j.grow(size)
	b := j.buf[from : from+size]
	copy(b[frameClear:], j.st.chain[:])
	linked := b[frameClear : frameClear+len(j.st.chain)+n]
	to := linked[len(j.st.chain):]
	for _, p := range payload {
		to = to[copy(to, p):]
	}
	base := &j.cur.hdr.base
	f := frame{
		n: n, typ: typeRecord, kind: kind, synced: Position(j.synced.Load()),
		shared: uint32(j.st.shared - base.shared), local: uint32(j.st.local - base.local),
		sharedSynced: uint32(j.stSynced.shared - base.shared), localSynced: uint32(j.stSynced.local - base.local),
	}
	j.chain.advance(&j.st, kind, linked)
	off := j.at + uint32(from)
	j.cur.seal.seal(&j.nonce, b, off, &f)
	j.mu.Lock()
	j.rest = int64(j.cur.room()) - int64(j.at) - int64(blockUp(len(j.buf)))
	j.mu.Unlock()
	return at(j.cur.num, off)
}

// grow makes the buffer size bytes longer.
func (j *Journal) grow(size int) {
	need := len(j.buf) + size
	if need > cap(j.buf) {
		bigger := make([]byte, len(j.buf), max(blockUp(need), 2*cap(j.buf), firstBufBytes))
		copy(bigger, j.buf)
		j.buf = bigger
	}
	j.buf = j.buf[:need]
}

// flush writes the buffer, padded to whole blocks, and does not sync.
func (j *Journal) flush() error {
	if len(j.buf) == 0 {
		return nil
	}
	used := len(j.buf)
	j.grow(blockUp(used) - used)
	clear(j.buf[used:])
	if _, err := j.cur.file.WriteAt(j.buf, int64(j.at)); err != nil {
		return j.fail("write "+fileName(j.cur.num, segmentSuffix), err)
	}
	j.at += uint32(len(j.buf))
	j.unsynced = true
	if j.buf = j.buf[:0]; cap(j.buf) > keepBufBytes {
		j.buf = nil
	}
	return nil
}

// Sync makes everything appended so far durable, with one write and one
// fdatasync. With nothing appended it does nothing.
func (j *Journal) Sync() error {
	if err := j.usable(); err != nil {
		return err
	}
	if err := j.flush(); err != nil || !j.unsynced {
		return err
	}
	if err := j.cur.file.SyncData(); err != nil {
		return j.fail("sync "+fileName(j.cur.num, segmentSuffix), err)
	}
	j.unsynced = false
	j.marked = Position(j.synced.Load()) // what the frames just synced say
	now := at(j.cur.num, j.at)
	if j.st.total() > j.stSynced.total() {
		j.recordsEnd = now
	}
	j.stSynced = j.st
	j.mu.Lock()
	j.cur.end = j.at
	j.mu.Unlock()
	j.synced.Store(uint64(now))
	return nil
}

// NeedsMark reports whether the last synced records stand without a durable
// word that they were synced. The owner calls Mark within 10 ms of idleness then.
func (j *Journal) NeedsMark() bool { return j.marked < j.recordsEnd }

// Mark syncs, and then writes durably how far the journal is synced, unless
// that is known already. The first one after Open begins a new segment.
func (j *Journal) Mark() error {
	if err := j.Sync(); err != nil || !j.NeedsMark() {
		return err
	}
	if j.cur == nil {
		// The new header says it, of all but its own head records.
		if err := j.Rotate(j.epoch.Load()); err != nil || !j.NeedsMark() {
			return err
		}
	}
	j.marks++
	err := j.cur.writeMark(j.marks, j.Synced(), &j.stSynced)
	if err == nil {
		err = j.cur.file.SyncData()
	}
	if err != nil {
		return j.fail("mark "+fileName(j.cur.num, segmentSuffix), err)
	}
	j.marked = j.Synced()
	return nil
}

// Rotate syncs, and begins a new segment under the ring's current key and the
// given epoch, which must not be lower than the journal's. It serves key
// rotation and a forced recovery.
func (j *Journal) Rotate(epoch uint64) error {
	if err := j.usable(); err != nil {
		return err
	}
	if now := j.epoch.Load(); epoch < now {
		return fmt.Errorf("journal: epoch %d is lower than the journal's %d", epoch, now)
	}
	if err := j.roll(epoch); err != nil {
		return err
	}
	return j.Sync()
}

// roll syncs the current segment and begins the next one. ErrNoSpace leaves
// everything as it was.
func (j *Journal) roll(epoch uint64) error {
	head, err := j.head()
	if err != nil {
		return err
	}
	sp, err := j.takeSpare()
	if err != nil {
		return err
	}
	if err := j.Sync(); err != nil {
		return err
	}
	seg, err := j.begin(sp, epoch)
	if err != nil {
		return j.fail("begin segment "+sp.path, err)
	}
	j.mu.Lock()
	j.segs = append(j.segs, seg)
	j.mu.Unlock()
	j.log.Debug("journal segment begun", "segment", seg.num, "key", seg.hdr.keyID, "epoch", epoch)
	j.epoch.Store(epoch)
	j.cur, j.at, j.marks = seg, firstFrame, 0
	j.marked = seg.hdr.prevEnd
	j.stSynced = j.st
	j.synced.Store(uint64(seg.start()))
	for _, r := range head {
		j.seal(r.Kind, len(r.Payload), [][]byte{r.Payload})
	}
	return nil
}

// head asks the owner for the head records.
func (j *Journal) head() ([]Record, error) {
	if j.cfg.Head == nil {
		return nil, nil
	}
	head, total := j.cfg.Head(), int64(0)
	for i, r := range head {
		if !r.Kind.Local() {
			return nil, fmt.Errorf("journal: head record %d is of kind %d: local kinds begin at %d", i, r.Kind, LocalKinds)
		}
		total += int64(frameSize(len(r.Payload)))
	}
	if limit := maxHead(j.cfg.SegmentBytes); total > limit {
		return nil, fmt.Errorf("%w: head records take %d bytes, the limit is %d", ErrTooLarge, total, limit)
	}
	return head, nil
}

// begin turns a spare file into the segment after the last one: its header is
// durable before its name is, and its name before anything in it counts.
func (j *Journal) begin(sp *spare, epoch uint64) (*segment, error) {
	num := j.lastNum + 1
	hdr, seal, err := j.newHeader(num, sp.size, epoch, Position(j.synced.Load()), j.st)
	if err != nil {
		return nil, err
	}
	seg := &segment{num: num, file: sp.file, size: sp.size, fileSize: sp.size, hdr: hdr, seal: seal, end: firstFrame}
	if err := seg.writeHeader(); err != nil {
		return nil, err
	}
	if err := seg.file.SyncData(); err != nil {
		return nil, err
	}
	if err := j.cfg.FS.Rename(sp.path, j.path(num, segmentSuffix)); err != nil {
		return nil, err
	}
	if err := j.syncDir(); err != nil {
		return nil, err
	}
	j.lastNum = num
	return seg, nil
}
