package journal

import (
	"errors"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// maxDamage bounds the list of damaged ranges: with more of them the last one
// grows over the rest, and nobody repairs such a disk piece by piece.
const maxDamage = 1024

// load opens the files of the directory: segments with their headers, spares.
func (j *Journal) load() error {
	names, err := j.cfg.FS.List(j.cfg.Dir)
	if err != nil {
		return err
	}
	slices.Sort(names)
	for _, name := range names {
		path := j.cfg.FS.PathJoin(j.cfg.Dir, name)
		if _, ok := parseName(name, tmpSuffix); ok {
			if err := j.cfg.FS.Remove(path); err != nil {
				return err
			}
		} else if num, ok := parseName(name, spareSuffix); ok {
			j.lastSpare = max(j.lastSpare, num)
			if err := j.loadSpare(path); err != nil {
				return err
			}
		} else if num, ok := parseName(name, segmentSuffix); ok {
			seg, err := j.loadSegment(num, path)
			if err != nil {
				return err
			}
			j.segs = append(j.segs, seg)
			j.lastNum = num
		}
	}
	return nil
}

// loadSpare keeps a spare file that can serve, and removes any other.
func (j *Journal) loadSpare(path string) error {
	f, size, err := j.openSized(path)
	if err != nil {
		return err
	}
	if size == j.cfg.SegmentBytes && len(j.spares) < maxSpares {
		j.spares = append(j.spares, &spare{path: path, file: f, size: size})
		return nil
	}
	_ = f.Close()
	return j.cfg.FS.Remove(path)
}

func (j *Journal) openSized(path string) (vfs.File, int64, error) {
	f, err := j.cfg.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, 0, err
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return nil, 0, err
	}
	return f, info.Size(), nil
}

// loadSegment opens a segment. A header that rotted in both copies is no error:
// the segment has no seal then.
func (j *Journal) loadSegment(num uint32, path string) (*segment, error) {
	f, size, err := j.openSized(path)
	if err != nil {
		return nil, err
	}
	seg := &segment{num: num, file: f, size: size, fileSize: size}
	r := reader{file: f}
	offs := [2]int64{0, max(size-BlockBytes, 0)}
	var errs [2]error
	for i, off := range offs {
		h, s, err := parseHeader(r.window(off, BlockBytes, off+BlockBytes), j.cfg.Cluster, j.cfg.Keys)
		if err == nil && h.num != num {
			err = errHeader
		}
		if errs[i] = err; err == nil && seg.seal == nil {
			seg.hdr, seg.seal, seg.size = h, s, int64(h.size)
		}
	}
	switch {
	case seg.seal == nil:
		// What both copies say is no rot. The plainest case is a wrong key ring.
		for _, known := range []error{ErrVersion, ErrForeign, ErrUnknownKey} {
			if errors.Is(errs[0], known) && errors.Is(errs[1], known) {
				_ = f.Close()
				return nil, errs[0]
			}
		}
		j.log.Error("journal segment has no readable header", "segment", num)
	case errs[0] != nil || errs[1] != nil && size == seg.size:
		// The good copy's bytes over the bad one's: the same plaintext under the same nonce.
		err := seg.writeHeader()
		if err == nil {
			err = f.SyncData()
		}
		j.log.Warn("journal segment had one readable header of two", "segment", num, "rewrite", err)
	}
	return seg, nil
}

// damage is a damaged range with what stands before and behind it.
type damage struct {
	Damage
	before, after state
	headerless    bool // whole segments without a header at an end of the log
}

// scan reads all segments and decides what the log holds: where it ends, what
// of it is damaged. It is a pure function of what the files hold.
type scan struct {
	chain  chainer
	reader reader

	known bool // a good header came
	st    state
	end   Position // where the last good frame ends
	last  *segment // the last one with a good header

	// The highest word on what was synced.
	synced      Position
	syncedTotal uint64

	breaks []damage
	cut    *damage // the tail that was cut
}

func (s *scan) raise(pos Position, total uint64) {
	if total >= s.syncedTotal {
		s.synced, s.syncedTotal = max(s.synced, pos), total
	}
}

// found notes that a frame or a segment stands at to that goes on from the
// state next; whatever lies between it and what came before is missing.
//
// unproved says that next's chain is not known.
func (s *scan) found(to Position, next *state, cause string, unproved bool) {
	if *next == s.st {
		return
	}
	if s.reader.unreadable {
		cause = "sectors do not read"
	}
	s.add(damage{Damage: Damage{From: s.end, To: to, Cause: cause, Unknown: unproved}, before: s.st, after: *next})
	s.st = *next
}

func (s *scan) add(d damage) {
	if n := len(s.breaks); n == maxDamage {
		last := &s.breaks[n-1]
		last.To, last.after, last.Unknown = d.To, d.after, last.Unknown || d.Unknown
		last.count()
		return
	}
	d.count()
	s.breaks = append(s.breaks, d)
}

// count fills in the lost records from the states.
func (d *damage) count() {
	if d.after.shared < d.before.shared || d.after.local < d.before.local || d.after.total() == d.before.total() {
		d.Unknown = true
	}
	if d.Unknown {
		d.Shared, d.Local = 0, 0
		return
	}
	d.Shared, d.Local = int(d.after.shared-d.before.shared), int(d.after.local-d.before.local)
}

// run scans the segments in order and sets their ends.
func (s *scan) run(segs []*segment, ends []uint32) {
	for i, seg := range segs {
		if seg.seal == nil {
			continue
		}
		limit := seg.room()
		if i+1 < len(segs) && segs[i+1].seal != nil && segs[i+1].hdr.prevEnd.Segment() == seg.num {
			limit = min(limit, segs[i+1].hdr.prevEnd.Offset())
		}
		if !s.known && i > 0 {
			s.add(damage{Damage: Damage{From: segs[0].start(), To: seg.start(), Unknown: true, Cause: "no segment header"}, headerless: true})
			s.st = seg.hdr.base
		} else if s.known {
			s.found(seg.start(), &seg.hdr.base, "records before the segment are missing", false)
		}
		s.known, s.last, s.st, s.end = true, seg, seg.hdr.base, seg.start()
		s.raise(seg.hdr.prevEnd, seg.hdr.base.total())
		s.reader.reset(seg.file)
		s.segment(seg, limit)
		ends[i] = limit
	}
	if n := len(segs); n > 0 && segs[n-1] != s.last {
		from := s.end
		if !s.known {
			from = segs[0].start()
		}
		s.add(damage{Damage: Damage{From: from, To: at(segs[n-1].num+1, firstFrame), Unknown: true, Cause: "no segment header"}, headerless: true})
	} else if s.last != nil && s.last.fileSize < s.last.size {
		s.add(damage{
			Damage: Damage{From: s.end, To: at(s.last.num, s.last.room()), Unknown: true, Cause: "file is cut short"},
			before: s.st, after: s.st,
		})
	}
	s.decide()
	for i, seg := range segs {
		if seg == s.last {
			ends[i] = s.end.Offset()
		}
	}
}

// segment visits the good frames of one segment, and its newest mark.
func (s *scan) segment(seg *segment, limit uint32) {
	base := &seg.hdr.base
	_ = seg.walk(&s.reader, firstFrame, limit, func(off uint32, f *frame, linked []byte) error {
		before := state{shared: base.shared + uint64(f.shared), local: base.local + uint64(f.local)}
		copy(before.chain[:], linked)
		pos := at(seg.num, off)
		behind := state{shared: base.shared + uint64(f.sharedSynced), local: base.local + uint64(f.localSynced)}
		unproved := false
		if f.typ == typeGap {
			behind.chain = before.chain
			if f.shared != f.sharedSynced { // the chain is not the one before the gap
				unproved = before.shared != s.st.shared || before.local != s.st.local
				before.chain = s.st.chain
			}
		}
		s.found(pos, &before, "bytes changed", unproved)
		s.reader.unreadable = false
		switch f.typ {
		case typeGap:
			s.st = behind
		case typeRecord:
			s.raise(min(f.synced, pos), behind.total())
			s.chain.advance(&s.st, f.kind, linked)
		}
		s.end = at(seg.num, off+uint32(f.size()))
		return nil
	})
	if synced, st, ok := seg.lastMark(&s.reader); ok {
		s.raise(synced, st.total())
		if st.total() > s.st.total() {
			s.found(synced, &st, "bytes changed", false)
			s.end = synced
		}
	}
}

// decide tells the torn tail from damage. A break is a torn tail when nothing
// that was synced is missing at it; that can be only in the last segment, as each
// segment begins with everything before it synced.
func (s *scan) decide() {
	for k := range s.breaks {
		d := &s.breaks[k]
		torn := d.before.total() >= s.syncedTotal && s.last != nil &&
			d.From.Segment() == s.last.num && d.To.Segment() == s.last.num
		if torn && !slices.ContainsFunc(s.breaks[k:], func(d damage) bool { return d.Unknown }) {
			s.cut, s.end, s.st = d, d.From, d.before
			s.breaks = s.breaks[:k]
			return
		}
	}
}

// recover scans the loaded segments and takes over what it found.
func (j *Journal) recover() error {
	j.mu.Lock()
	segs := slices.Clone(j.segs)
	j.mu.Unlock()
	s := scan{chain: newChainer()}
	ends := make([]uint32, len(segs))
	s.run(segs, ends)
	if s.last != nil {
		if err := s.settleTail(); err != nil {
			return fmt.Errorf("journal: sync of the recovered tail: %w", err)
		}
		j.epoch.Store(max(j.epoch.Load(), s.last.hdr.epoch))
	}
	if s.cut != nil {
		j.log.Info("journal cut a torn tail", "segment", s.cut.From.Segment(), "offset", s.cut.From.Offset(), "synced", s.synced.String())
	}
	for _, d := range s.breaks {
		j.log.Error("journal is damaged", "range", d.String())
	}
	j.st, j.stSynced, j.marked, j.recordsEnd = s.st, s.st, s.synced, s.synced
	if s.st.total() > s.syncedTotal {
		j.recordsEnd = s.end
	}
	j.synced.Store(uint64(s.end))
	j.mu.Lock()
	defer j.mu.Unlock()
	for i, seg := range segs {
		seg.end = ends[i]
	}
	j.damage = s.breaks
	j.hurt.Store(len(j.damage) > 0)
	return nil
}

// settleTail makes durable what counts from here on although nothing says that it
// was synced. It writes the same bytes again: after a sync that failed, the page cache shows
// what the disk does not hold and takes it for clean.
func (s *scan) settleTail() error {
	from, to := int64(firstFrame), int64(blockUp(int(s.end.Offset())))
	if s.synced.Segment() == s.last.num {
		from = int64(s.synced.Offset()) &^ (BlockBytes - 1)
	}
	s.reader.reset(s.last.file)
	for off := from; off < to; off += readAhead {
		n := int(min(readAhead, to-off))
		if _, err := s.last.file.WriteAt(s.reader.window(off, n, to), off); err != nil {
			return err
		}
	}
	return s.last.file.SyncData()
}
