package journal

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Reseal writes the oldest segment that is sealed under another key than the current one
// anew, under that, and says how many such segments are left. Positions stay what they
// are. The newest segment is not touched: Rotate first, so that it is under the current
// key. When it returns 0 and nil no segment needs any other key.
//
// It needs the free space of one segment while it works. ErrNoSpace leaves everything as
// it was, and so does a crash. An error for which IsDamage holds says that the segment
// does not read back as it was written: then the owner opens the journal anew, which lists
// the damage for repair.
func (j *Journal) Reseal() (left int, err error) {
	old, next, left := j.outdated()
	if old == nil {
		return left, nil
	}
	defer j.done(old)
	j.spaceMu.Lock()
	num := j.spareNumber() // beside a Reserve: the file has a number of its own
	j.spaceMu.Unlock()
	tmp := j.path(num, tmpSuffix)
	seg, err := j.resealed(old, next, tmp)
	if err != nil {
		return left, err
	}
	j.spaceMu.Lock()
	defer j.spaceMu.Unlock()
	j.mu.Lock()
	trimmed := old.trimmed
	j.mu.Unlock()
	if trimmed {
		_ = seg.file.Close()
		_ = j.cfg.FS.Remove(tmp)
		return left - 1, nil
	}
	if err := j.cfg.FS.Rename(tmp, j.path(old.num, segmentSuffix)); err != nil {
		return left, j.fail("rename of "+tmp, err)
	}
	if err := j.syncDir(); err != nil {
		return left, j.fail("sync of the directory", err)
	}
	j.replace(old, seg)
	j.log.Debug("journal segment sealed anew", "segment", old.num, "key", seg.hdr.keyID)
	return left - 1, nil
}

// outdated returns the oldest segment under another key than the current one, taken for
// reading, the one behind it, and how many such there are. The newest is none of them.
func (j *Journal) outdated() (old, next *segment, count int) {
	current, _ := j.cfg.Keys.Current()
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, s := range j.segs[:max(len(j.segs), 1)-1] {
		if s.trimmed || s.seal == nil || s.hdr.keyID == current {
			continue
		}
		if count++; count == 1 {
			old, next = s, j.segs[i+1]
			old.refs++
		}
	}
	return old, next, count
}

// resealed writes the content of a segment into tmp, under the current key and a fresh
// salt, durably but for its name.
func (j *Journal) resealed(old, next *segment, tmp string) (seg *segment, err error) {
	f, err := j.fill(tmp, old.size)
	if err != nil {
		return nil, resealError(old, err)
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = j.cfg.FS.Remove(tmp)
		}
	}()
	hdr, seal, err := j.newHeader(old.num, old.size, old.hdr.epoch, old.hdr.prevEnd, old.hdr.base)
	if err != nil {
		return nil, err
	}
	seg = &segment{num: old.num, file: f, size: old.size, fileSize: old.size, hdr: hdr, seal: seal, end: old.end}
	w := rewriter{j: j, seg: seg}
	err = w.copy(old, firstFrame, old.end)
	if err == nil {
		err = w.mark(old)
	}
	if err == nil {
		err = w.flush()
	}
	if err == nil {
		err = seg.writeHeader()
	}
	if err == nil {
		err = f.Sync()
	}
	if err != nil {
		return nil, resealError(old, err)
	}
	if !seg.leadsTo(&next.hdr.base) {
		err = readDamage(old, firstFrame, int(old.end-firstFrame), "records no longer open")
		return nil, resealError(old, err)
	}
	return seg, nil
}

// leadsTo reports whether the segment reads back with all records between its base and
// that of the next one.
func (s *segment) leadsTo(next *state) bool {
	at, base, whole := s.hdr.base, &s.hdr.base, true
	r := reader{file: s.file}
	_ = s.walk(&r, firstFrame, s.end, func(_ uint32, f *frame, _ []byte) error {
		whole = whole && at.shared == base.shared+uint64(f.shared) && at.local == base.local+uint64(f.local)
		switch {
		case f.typ == typeGap:
			at.shared, at.local = base.shared+uint64(f.sharedSynced), base.local+uint64(f.localSynced)
		case f.typ == typeRecord && f.kind.Local():
			at.local++
		case f.typ == typeRecord:
			at.shared++
		}
		return nil
	})
	return whole && at.shared == next.shared && at.local == next.local
}

func resealError(old *segment, err error) error {
	if vfs.IsNoSpaceError(err) {
		return &NoSpaceError{NeedBytes: old.size}
	}
	return fmt.Errorf("journal: seal segment %d anew: %w", old.num, err)
}
