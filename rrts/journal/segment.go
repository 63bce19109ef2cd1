package journal

import (
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// segment is one segment's file. What is below end never changes.
type segment struct {
	num  uint32
	file vfs.File
	size int64 // what the header says; fileSize is what is there
	hdr  header
	seal *sealer // nil when no header opened: nothing of it can be read

	fileSize int64

	// Guarded by Journal.mu:
	end     uint32 // where the readable frames end
	refs    int    // readers
	trimmed bool   // no new readers; its file is given up
	doomed  bool   // the last reader closes the file
}

// start is the position of the segment's first frame.
func (s *segment) start() Position { return at(s.num, firstFrame) }

// room is where the segment's frames must end.
func (s *segment) room() uint32 { return uint32(s.size - tailBytes) }

// markOffset is where the mark of that number belongs, when it speaks of the
// position at offset end: in the other half.
func (s *segment) markOffset(number uint64, end uint32) uint32 {
	turn := uint32(number%2) * BlockBytes
	if int64(end) < s.size/2 {
		return s.room() + turn
	}
	return BlockBytes + turn
}

func at(num, off uint32) Position { return Position(num)<<32 | Position(off) }

func blockUp(n int) int { return (n + BlockBytes - 1) &^ (BlockBytes - 1) }

const (
	segmentSuffix = ".seg"
	spareSuffix   = ".spare"
	tmpSuffix     = ".tmp"
	lockName      = "LOCK"
)

func (j *Journal) path(num uint32, suffix string) string {
	return j.cfg.FS.PathJoin(j.cfg.Dir, fileName(num, suffix))
}

func fileName(num uint32, suffix string) string { return fmt.Sprintf("%010d%s", num, suffix) }

// parseName tells the number of a file's name with that suffix.
func parseName(name, suffix string) (num uint32, ok bool) {
	digits, ok := strings.CutSuffix(name, suffix)
	if !ok || len(digits) != 10 {
		return 0, false
	}
	n, err := strconv.ParseUint(digits, 10, 32)
	return uint32(n), err == nil && n > 0
}

// syncDir makes the directory's names durable.
func (j *Journal) syncDir() error {
	dir, err := j.cfg.FS.OpenDir(j.cfg.Dir)
	if err != nil {
		return err
	}
	err = dir.Sync()
	if cerr := dir.Close(); err == nil {
		err = cerr
	}
	return err
}

// zeroChunk is how much is written at once when a file is filled, so that a
// commit waits for no more than that at the disk.
const zeroChunk = 1 << 20

// fill makes a new file of size zero bytes under path, durable but for its name.
func (j *Journal) fill(path string, size int64) (vfs.File, error) {
	if err := removeIfThere(j.cfg.FS, path); err != nil {
		return nil, err
	}
	f, err := j.cfg.FS.OpenReadWrite(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return nil, err
	}
	if err := fillFile(f, size); err != nil {
		_ = f.Close()
		_ = j.cfg.FS.Remove(path)
		return nil, err
	}
	return f, nil
}

func fillFile(f vfs.File, size int64) error {
	// A full disk answers here at once. Where preallocation is not supported the writes decide.
	if err := f.Preallocate(0, size); vfs.IsNoSpaceError(err) {
		return err
	}
	zero := make([]byte, min(size, zeroChunk))
	for off := int64(0); off < size; off += int64(len(zero)) {
		part := zero[:min(int64(len(zero)), size-off)]
		if _, err := f.WriteAt(part, off); err != nil {
			return err
		}
		if err := f.SyncData(); err != nil {
			return err
		}
	}
	return f.Sync()
}

// writeHeader puts both copies of the header into the segment's file, sealed
// under its fresh salt. The caller syncs.
func (s *segment) writeHeader() error {
	block := s.hdr.appendTo(make([]byte, 0, BlockBytes), s.seal)
	if _, err := s.file.WriteAt(block, 0); err != nil {
		return err
	}
	_, err := s.file.WriteAt(block, s.size-BlockBytes)
	return err
}

// writeMark writes the mark of that number: everything below synced is durable, and
// st is what stands there. The caller syncs, before and after.
func (s *segment) writeMark(number uint64, synced Position, st *state) error {
	f := frame{
		typ: typeMark, synced: synced,
		shared: uint32(st.shared - s.hdr.base.shared), local: uint32(st.local - s.hdr.base.local),
		sharedSynced: uint32(number), localSynced: uint32(number >> 32),
	}
	block, off := make([]byte, BlockBytes), s.markOffset(number, synced.Offset())
	copy(block[frameClear:], st.chain[:])
	s.seal.seal(new(nonce), block[:frameSize(0)], off, &f)
	_, err := s.file.WriteAt(block, int64(off))
	return err
}

// lastMark is the newest mark that opens, if any does.
func (s *segment) lastMark(r *reader) (synced Position, st state, ok bool) {
	for _, off := range [4]uint32{BlockBytes, 2 * BlockBytes, s.room(), s.room() + BlockBytes} {
		var f frame
		linked, good := s.frameAt(r, off, off+BlockBytes, &f)
		good = good && f.typ == typeMark && f.synced >= s.start() && f.synced <= at(s.num, s.room())
		if good && (!ok || f.synced > synced) {
			synced, ok = f.synced, true
			st.shared, st.local = s.hdr.base.shared+uint64(f.shared), s.hdr.base.local+uint64(f.local)
			copy(st.chain[:], linked)
		}
	}
	return synced, st, ok
}

// newHeader makes the header of a new segment under the current key and a fresh salt.
func (j *Journal) newHeader(num uint32, size int64, epoch uint64, prevEnd Position, base state) (header, *sealer, error) {
	id, key := j.cfg.Keys.Current()
	h := header{keyID: id, cluster: j.cfg.Cluster, epoch: epoch, num: num, size: uint32(size), prevEnd: prevEnd, base: base}
	if _, err := io.ReadFull(j.cfg.Rand, h.salt[:]); err != nil {
		return h, nil, fmt.Errorf("journal: salt: %w", err)
	}
	s, err := newSealer(key, h.salt, h.cluster)
	return h, s, err
}
