package sealfs

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"
	"sort"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// reader is a file that is read.
type reader struct {
	inner vfs.File
	name  string
	aead  cipher.AEAD // nil when the file is empty
	size  int64       // of the plaintext
	pages int64
	// starts are the places of the pages' content when some page in the middle is not
	// full; nil when page i begins at i*pageData.
	starts []int64
	pos    int64
}

var _ vfs.File = (*reader)(nil)

// readPages is how many pages are read at once.
const readPages = 16

// scratch is what a read needs.
type scratch struct {
	buf   [readPages * pageBytes]byte
	nonce nonce
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func newReader(fs *FS, inner vfs.File, name string) (*reader, error) {
	info, err := inner.Stat()
	if err != nil {
		return nil, err
	}
	r := &reader{inner: inner, name: name}
	if info.IsDir() {
		return r, nil
	}
	fileKey, err := fs.fileKey(inner)
	if err != nil {
		// The header was durable before any page was written: a crash in between left no content.
		if errors.Is(err, ErrCorrupt) && info.Size() <= dataStart {
			return r, nil
		}
		return nil, fmt.Errorf("%w: %s", err, name)
	}
	if r.aead, err = newGCM(fileKey); err != nil {
		return nil, fmt.Errorf("sealfs: key of %s: %w", name, err)
	}
	if err := r.findEnd((info.Size() - dataStart) / pageBytes); err != nil {
		return nil, err
	}
	return r, nil
}

// fileKey opens a header, of two.
func (fs *FS) fileKey(inner vfs.File) ([]byte, error) {
	b := readHeaders(inner)
	_, fileKey, err := fs.unwrap(b[:pageBytes])
	if err != nil {
		if _, second, err2 := fs.unwrap(b[pageBytes:]); err2 == nil {
			return second, nil
		}
	}
	return fileKey, err
}

// readHeaders reads both headers. What does not read is zero.
func readHeaders(inner vfs.File) []byte {
	b := make([]byte, dataStart)
	if n, err := inner.ReadAt(b, 0); err != nil {
		clear(b[n:])
		if n < pageBytes { // the second copy may read alone
			_, _ = inner.ReadAt(b[pageBytes:], pageBytes)
		}
	}
	return b
}

// findEnd finds the last page that a Sync or the Close ended with, and the places of
// the pages.
func (r *reader) findEnd(pages int64) error {
	sc := scratches.Get().(*scratch)
	defer scratches.Put(sc)
	valid := false
	for i := pages - 1; i >= 0; i-- {
		p, ok, err := r.page(sc, i)
		if err != nil {
			return err
		}
		valid = valid || ok
		if !ok || p.group == 0 {
			continue
		}
		whole, err := r.group(sc, i, p.group)
		if err != nil {
			return err
		}
		if whole {
			r.size, r.pages = p.start+int64(p.n), i+1
			if p.start != i*pageData {
				return r.index(sc)
			}
			return nil
		}
	}
	// A single page that does not open is what a crash left of a file that was
	// never synced. More than that was a file.
	if valid || pages > 1 {
		return fmt.Errorf("%w: %s is cut short", ErrCorrupt, r.name)
	}
	return nil
}

// group reports whether the pages that page i ended, count with it, came to the
// disk whole. Those at the front of a file are taken for whole, so that one bad page
// of a table spoils that page only; nobody refers to a file before its first sync.
func (r *reader) group(sc *scratch, i, count int64) (bool, error) {
	if count > i {
		return true, nil
	}
	for i--; count > 1; i, count = i-1, count-1 {
		if _, ok, err := r.page(sc, i); err != nil || !ok {
			return false, err
		}
	}
	return true, nil
}

// page opens page i alone.
func (r *reader) page(sc *scratch, i int64) (p page, ok bool, err error) {
	b := sc.buf[:pageBytes]
	n, err := r.inner.ReadAt(b, dataStart+i*pageBytes)
	if n < pageBytes {
		if err != nil && !errors.Is(err, io.EOF) {
			return p, false, fmt.Errorf("sealfs: read %s: %w", r.name, err)
		}
		return p, false, nil
	}
	p, ok = openPage(r.aead, &sc.nonce, b, i)
	return p, ok, nil
}

// index reads where each page's content begins. What it finds is proved when the
// page is read.
func (r *reader) index(sc *scratch) error {
	r.starts = make([]int64, 0, r.pages)
	next := int64(0)
	for i := int64(0); i < r.pages; i += readPages {
		b := sc.buf[:min(readPages, r.pages-i)*pageBytes]
		if n, err := r.inner.ReadAt(b, dataStart+i*pageBytes); n < len(b) {
			return fmt.Errorf("sealfs: read %s: %w", r.name, err)
		}
		for ; len(b) > 0; b = b[pageBytes:] {
			p, ok := parsePage(b)
			if !ok || p.start != next {
				return fmt.Errorf("%w: %s, page %d does not go on from byte %d", ErrCorrupt, r.name, len(r.starts), next)
			}
			r.starts = append(r.starts, p.start)
			next += int64(p.n)
		}
	}
	return nil
}

// locate is the page that holds the byte at off.
func (r *reader) locate(off int64) (number, start int64) {
	if r.starts == nil {
		return off / pageData, off / pageData * pageData
	}
	i := sort.Search(len(r.starts), func(i int) bool { return r.starts[i] > off }) - 1
	return int64(i), r.starts[i]
}

// ReadAt implements vfs.File. It may be called from many goroutines.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, fmt.Errorf("sealfs: read of %s at %d", r.name, off)
	}
	want := int(min(int64(len(p)), max(r.size-off, 0)))
	sc := scratches.Get().(*scratch)
	done, err := r.read(sc, p[:want], off)
	scratches.Put(sc)
	if err == nil && done < len(p) {
		err = io.EOF
	}
	return done, err
}

func (r *reader) read(sc *scratch, p []byte, off int64) (done int, err error) {
	for done < len(p) {
		number, start := r.locate(off)
		// As many pages as the rest may need, and one more for where it begins.
		count := min((int64(len(p)-done)+off-start+pageData-1)/pageData, readPages, r.pages-number)
		b := sc.buf[:count*pageBytes]
		if n, err := r.inner.ReadAt(b, dataStart+number*pageBytes); n < len(b) {
			if errors.Is(err, io.EOF) {
				err = fmt.Errorf("%w: %s is cut short", ErrCorrupt, r.name)
			}
			return done, fmt.Errorf("sealfs: read %s: %w", r.name, err)
		}
		for ; len(b) > 0 && done < len(p); b = b[pageBytes:] {
			pg, ok := openPage(r.aead, &sc.nonce, b, number)
			if !ok || pg.start != start {
				return done, fmt.Errorf("%w: %s, page %d", ErrCorrupt, r.name, number)
			}
			if off-start > int64(pg.n) {
				return done, fmt.Errorf("%w: %s, page %d is short", ErrCorrupt, r.name, number)
			}
			n := copy(p[done:], b[pageClear+off-start:pageClear+pg.n])
			done += n
			off += int64(n)
			number++
			start += int64(pg.n)
		}
	}
	return done, nil
}

// Read implements vfs.File.
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadAt(p, r.pos)
	r.pos += int64(n)
	if n > 0 && errors.Is(err, io.EOF) {
		err = nil
	}
	return n, err
}

// Close implements vfs.File.
func (r *reader) Close() error { return r.inner.Close() }

// Stat implements vfs.File.
func (r *reader) Stat() (vfs.FileInfo, error) {
	info, err := r.inner.Stat()
	if err != nil || info.IsDir() {
		return info, err
	}
	return fileInfo{info, r.size}, nil
}

// Prefetch implements vfs.File.
func (r *reader) Prefetch(offset, length int64) error {
	if length <= 0 || offset >= r.size {
		return nil
	}
	from, _ := r.locate(offset)
	to, _ := r.locate(min(offset+length, r.size) - 1)
	return r.inner.Prefetch(dataStart+from*pageBytes, (to-from+1)*pageBytes)
}

// Fd implements vfs.File. Callers use it for advice on the file's blocks only.
func (r *reader) Fd() uintptr { return r.inner.Fd() }

// Sync implements vfs.File: what is read is durable or not, as it was.
func (r *reader) Sync() error { return r.inner.Sync() }

// SyncData implements vfs.File.
func (r *reader) SyncData() error { return r.inner.SyncData() }

// SyncTo implements vfs.File.
func (r *reader) SyncTo(int64) (bool, error) { return false, nil }

// Preallocate implements vfs.File: it is refused.
func (r *reader) Preallocate(_, _ int64) error { return r.writeOnce() }

// Write implements vfs.File: it is refused.
func (r *reader) Write([]byte) (int, error) { return 0, r.writeOnce() }

// WriteAt implements vfs.File: it is refused.
func (r *reader) WriteAt([]byte, int64) (int, error) { return 0, r.writeOnce() }

func (r *reader) writeOnce() error { return fmt.Errorf("%w: %s", ErrWriteOnce, r.name) }
