package journal

import (
	"crypto/sha256"
	"errors"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// readAhead is how much of a segment is read at once while it is scanned.
	readAhead = 1 << 20

	// sectorBytes is the smallest piece that a disk fails to read.
	sectorBytes = 512
)

// reader reads a file in windows. What does not read is zero in them.
type reader struct {
	file       vfs.File
	buf        []byte
	off        int64
	unreadable bool // something did not read
	nonce      nonce
}

func (r *reader) reset(f vfs.File) { r.file, r.buf, r.unreadable = f, r.buf[:0], false }

// window returns the n bytes at off, which the caller may change; it reads ahead up to limit.
func (r *reader) window(off int64, n int, limit int64) []byte {
	if off < r.off || off+int64(n) > r.off+int64(len(r.buf)) {
		want := max(n, int(min(readAhead, limit-off)))
		if cap(r.buf) < want {
			r.buf = make([]byte, want)
		}
		r.buf, r.off = r.buf[:want], off
		r.fill(r.buf, off)
	}
	return r.buf[off-r.off:][:n]
}

// rest returns what the window holds from off on, which is before limit; it is filled
// anew only when that is nothing.
func (r *reader) rest(off, limit int64) []byte {
	n := r.off + int64(len(r.buf)) - off
	if off < r.off || n < frameAlign {
		n = min(readAhead, limit-off)
	}
	return r.window(off, int(min(n, limit-off)), limit)
}

func (r *reader) fill(b []byte, off int64) {
	n, err := r.file.ReadAt(b, off)
	if err == nil || errors.Is(err, io.EOF) {
		clear(b[n:])
		return
	}
	// Sector by sector, so that what a bad one takes along does not depend on the window.
	for i := 0; i < len(b); {
		next := min(len(b), i+int(sectorBytes-(off+int64(i))%sectorBytes))
		part := b[i:next]
		if n, err := r.file.ReadAt(part, off+int64(i)); err != nil {
			clear(part[n:])
			r.unreadable = r.unreadable || !errors.Is(err, io.EOF)
		}
		i = next
	}
}

// walk calls fn for each frame from offset from up to limit that opens, in
// order, and stops with fn's error. linked is the chain before the frame and the payload,
// valid during fn.
func (s *segment) walk(r *reader, from, limit uint32, fn func(off uint32, f *frame, linked []byte) error) error {
	var f frame
	for off := from; int64(off)+frameOverhead <= int64(limit); {
		linked, ok := s.frameAt(r, off, limit, &f)
		if !ok {
			off = s.search(r, off+frameAlign, limit)
			continue
		}
		if err := fn(off, &f, linked); err != nil {
			return err
		}
		off += uint32(f.size())
	}
	return nil
}

// frameAt opens the frame at off, if one is there.
func (s *segment) frameAt(r *reader, off, limit uint32, f *frame) (linked []byte, ok bool) {
	b := r.window(int64(off), frameClear, int64(limit))
	if s.seal.parse(f, b, int(limit-off)) != nil {
		return nil, false
	}
	linked, err := s.seal.open(&r.nonce, r.window(int64(off), f.size(), int64(limit)), off, f)
	if err != nil {
		return nil, false // its bytes in the window are wiped; no other frame lies in them
	}
	return linked, true
}

// search is the next offset from off on at which a frame may begin, or limit.
func (s *segment) search(r *reader, off, limit uint32) uint32 {
	for off < limit {
		b := r.rest(int64(off), int64(limit))
		if i := s.seal.find(b); i >= 0 {
			return off + uint32(i)
		}
		off += uint32(len(b))
	}
	return limit
}

// payloadOf is the payload of what a record's frame holds.
func payloadOf(linked []byte) []byte { return linked[sha256.Size:] }
