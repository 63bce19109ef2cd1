package journal

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxSpares bounds the recycled files kept for later segments: segments are
// trimmed in bursts, when the store has flushed, and used one by one.
const maxSpares = 4

// spare is a file of a segment's size whose content means nothing.
type spare struct {
	path string
	file vfs.File
	size int64
}

// takeSpare gives the writer a file for the next segment, and makes one if
// there is none.
func (j *Journal) takeSpare() (*spare, error) {
	for {
		j.mu.Lock()
		if n := len(j.spares); n > 0 {
			sp := j.spares[n-1]
			j.spares = j.spares[:n-1]
			j.rest = capacity(sp.size)
			j.mu.Unlock()
			return sp, nil
		}
		j.mu.Unlock()
		if err := j.Reserve(); err != nil {
			return nil, err
		}
	}
}

// Reserved reports whether the next segment stands ready on the disk.
func (j *Journal) Reserved() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return len(j.spares) > 0
}

// capacity is how many bytes of frames a segment takes.
func capacity(size int64) int64 { return size - tailBytes - firstFrame }

// Holds reports whether records with payloads of these sizes in bytes, appended in this
// order, surely fit the current segment and those that stand ready behind it. What was
// appended and not yet written may count twice: the answer errs on the safe side.
func (j *Journal) Holds(payloads []int) bool {
	j.mu.Lock()
	rest, spares := j.rest, len(j.spares)
	j.mu.Unlock()
	for _, n := range payloads {
		size := int64(blockUp(frameSize(n)))
		if size > rest {
			if spares == 0 {
				return false
			}
			spares--
			rest = capacity(j.cfg.SegmentBytes) - maxHead(j.cfg.SegmentBytes)
		}
		rest -= size
	}
	return true
}

// Reserve makes the next segment ready: it does nothing when a recycled one is
// there, else it fills a new file with zeros. Error: ErrNoSpace, as a *NoSpaceError.
func (j *Journal) Reserve() error {
	j.spaceMu.Lock()
	defer j.spaceMu.Unlock()
	if j.Reserved() {
		return nil
	}
	num := j.spareNumber()
	tmp := j.path(num, tmpSuffix)
	f, err := j.fill(tmp, j.cfg.SegmentBytes)
	if vfs.IsNoSpaceError(err) {
		return &NoSpaceError{NeedBytes: j.cfg.SegmentBytes}
	} else if err != nil {
		return fmt.Errorf("journal: reserve a segment: %w", err)
	}
	sp := &spare{path: j.path(num, spareSuffix), file: f, size: j.cfg.SegmentBytes}
	if err := j.cfg.FS.Rename(tmp, sp.path); err != nil { // durable with the next name that counts
		_ = f.Close()
		return fmt.Errorf("journal: reserve a segment: %w", err)
	}
	j.mu.Lock()
	j.spares = append(j.spares, sp)
	j.mu.Unlock()
	return nil
}

// spareNumber is a number that no spare file has. Under spaceMu.
func (j *Journal) spareNumber() uint32 {
	j.lastSpare++
	return j.lastSpare
}

// TrimBefore gives up the segments that end at or before pos; the newest
// segment stays. Their files are kept as spares or removed, oldest first.
// It takes a directory sync for each.
func (j *Journal) TrimBefore(pos Position) error {
	j.spaceMu.Lock()
	defer j.spaceMu.Unlock()
	for {
		j.mu.Lock()
		if len(j.segs) < 2 || !j.endsByLocked(0, pos) {
			j.mu.Unlock()
			return nil
		}
		seg := j.segs[0]
		j.mu.Unlock()
		if err := j.giveUp(seg); err != nil {
			return j.fail("give up "+fileName(seg.num, segmentSuffix), err)
		}
	}
}

// endsByLocked reports whether segment i and every damage that touches it end
// at or before pos.
func (j *Journal) endsByLocked(i int, pos Position) bool {
	next := j.segs[i+1]
	if next.start() > pos && (next.seal == nil || next.hdr.prevEnd > pos) {
		return false
	}
	for _, d := range j.damage {
		if d.From < next.start() && d.To > next.start() {
			return false
		}
	}
	return true
}

// giveUp takes the segment out of the journal. Its file loses its name durably, and
// only then may its bytes change. Under spaceMu.
func (j *Journal) giveUp(seg *segment) error {
	j.mu.Lock()
	seg.trimmed = true
	recycle := seg.refs == 0 && seg.seal != nil && seg.size == j.cfg.SegmentBytes && len(j.spares) < maxSpares
	j.mu.Unlock()

	path := j.path(seg.num, segmentSuffix)
	sp := &spare{file: seg.file, size: seg.size}
	if recycle {
		sp.path = j.path(j.spareNumber(), spareSuffix)
		if err := j.cfg.FS.Rename(path, sp.path); err != nil {
			return err
		}
	} else if err := removeIfThere(j.cfg.FS, path); err != nil {
		return err
	}
	if err := j.syncDir(); err != nil {
		return err
	}

	j.mu.Lock()
	defer j.mu.Unlock()
	for i, s := range j.segs {
		if s == seg {
			j.segs = append(j.segs[:i:i], j.segs[i+1:]...)
			break
		}
	}
	j.forgetDamageLocked()
	switch {
	case recycle:
		j.spares = append(j.spares, sp)
	case seg.refs > 0:
		seg.doomed = true
	default:
		_ = seg.file.Close()
	}
	return nil
}

// forgetDamageLocked drops the ranges that lie wholly before the first segment.
func (j *Journal) forgetDamageLocked() {
	for len(j.damage) > 0 && (len(j.segs) == 0 || j.damage[0].To <= j.segs[0].start()) {
		j.damage = j.damage[1:]
	}
	j.hurt.Store(len(j.damage) > 0)
}

func removeIfThere(files vfs.FS, path string) error {
	if err := files.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// First is the position of the oldest segment's first frame: no record stands
// before it. It is 0 in an empty journal.
func (j *Journal) First() Position {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.segs) == 0 {
		return 0
	}
	return j.segs[0].start()
}

// KeysInUse lists the ids of the node keys that segments are sealed under, in
// rising order. A key that is neither here nor current may leave the ring.
func (j *Journal) KeysInUse() []uint32 {
	j.mu.Lock()
	defer j.mu.Unlock()
	var ids []uint32
	for _, s := range j.segs {
		if s.seal != nil {
			ids = append(ids, s.hdr.keyID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}
