package sealfs

import (
	"crypto/cipher"
	"errors"
	"fmt"
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// writePages is how many sealed pages are written at once.
const writePages = 16

// writer is a file that is being written.
type writer struct {
	inner vfs.File
	name  string
	aead  cipher.AEAD
	nonce nonce

	// out holds sealed pages, and behind them the content of the current one,
	// in its place in a page. A full page stays open until more comes: it may be the last one.
	out    []byte
	sealed int   // bytes of out that are sealed
	number int64 // of the current page
	ended  int64 // pages up to the last sync
	cur    page
	err    error // of a write or sync; what the file holds is not known then
}

var _ vfs.File = (*writer)(nil)

func newWriter(fs *FS, inner vfs.File, name string) (*writer, error) {
	fileKey := make([]byte, 32)
	if _, err := io.ReadFull(fs.rand, fileKey); err != nil {
		return nil, fmt.Errorf("sealfs: key of %s: %w", name, err)
	}
	aead, err := newGCM(fileKey)
	if err != nil {
		return nil, fmt.Errorf("sealfs: key of %s: %w", name, err)
	}
	header, err := fs.wrap(fileKey)
	if err != nil {
		return nil, err
	}
	for range dataStart / pageBytes {
		// Write may change its argument.
		if _, err := inner.Write(append([]byte(nil), header...)); err != nil {
			return nil, err
		}
	}
	if err := inner.SyncData(); err != nil {
		return nil, err
	}
	return &writer{inner: inner, name: name, aead: aead}, nil
}

// Write implements vfs.File.
func (w *writer) Write(p []byte) (int, error) {
	if w.err != nil {
		return 0, w.err
	}
	if w.out == nil {
		w.out = make([]byte, writePages*pageBytes)
	}
	done := 0
	for done < len(p) {
		if w.cur.n == pageData {
			if err := w.seal(false); err != nil {
				return done, err
			}
		}
		n := copy(w.out[w.sealed+pageClear+w.cur.n:][:pageData-w.cur.n], p[done:])
		w.cur.n += n
		done += n
	}
	return done, nil
}

// seal seals the current page, and writes what is sealed when no page more fits.
func (w *writer) seal(end bool) error {
	if end {
		w.cur.group = w.number + 1 - w.ended
		w.ended = w.number + 1
	}
	sealPage(w.aead, &w.nonce, w.out[w.sealed:w.sealed+pageBytes], w.number, w.cur)
	w.sealed += pageBytes
	w.number++
	w.cur = page{start: w.cur.start + int64(w.cur.n)}
	if w.sealed == len(w.out) {
		return w.flush()
	}
	return nil
}

func (w *writer) flush() error {
	if w.sealed == 0 {
		return nil
	}
	_, err := w.inner.Write(w.out[:w.sealed])
	if w.sealed = 0; err != nil {
		w.err = fmt.Errorf("sealfs: write %s: %w", w.name, err)
	}
	return w.err
}

// finish brings everything written to the inner file and ends it there.
func (w *writer) finish() error {
	if w.err != nil {
		return w.err
	}
	if w.cur.n > 0 {
		if err := w.seal(true); err != nil {
			return err
		}
	}
	return w.flush()
}

// Sync implements vfs.File.
func (w *writer) Sync() error { return w.sync(w.inner.Sync) }

// SyncData implements vfs.File.
func (w *writer) SyncData() error { return w.sync(w.inner.SyncData) }

func (w *writer) sync(inner func() error) error {
	if err := w.finish(); err != nil {
		return err
	}
	if err := inner(); err != nil {
		w.err = fmt.Errorf("sealfs: sync %s: %w", w.name, err)
	}
	return w.err
}

// SyncTo implements vfs.File. It covers whole pages that were written, and
// promises nothing.
func (w *writer) SyncTo(length int64) (fullSync bool, err error) {
	if w.err != nil {
		return false, w.err
	}
	_, err = w.inner.SyncTo(dataStart + length/pageData*pageBytes)
	return false, err
}

// Close implements vfs.File.
func (w *writer) Close() error { return errors.Join(w.finish(), w.inner.Close()) }

// Stat implements vfs.File.
func (w *writer) Stat() (vfs.FileInfo, error) {
	info, err := w.inner.Stat()
	if err != nil {
		return nil, err
	}
	return fileInfo{info, w.cur.start + int64(w.cur.n)}, nil
}

// Preallocate implements vfs.File.
func (w *writer) Preallocate(offset, length int64) error {
	from := offset / pageData * pageBytes
	to := (offset + length + pageData - 1) / pageData * pageBytes
	return w.inner.Preallocate(dataStart+from, to-from)
}

// Fd implements vfs.File. Callers use it for advice on the file's blocks only.
func (w *writer) Fd() uintptr { return w.inner.Fd() }

// Prefetch implements vfs.File: what is being written is not read.
func (w *writer) Prefetch(int64, int64) error { return nil }

// WriteAt implements vfs.File: it is refused.
func (w *writer) WriteAt([]byte, int64) (int, error) {
	return 0, fmt.Errorf("%w: WriteAt of %s", ErrWriteOnce, w.name)
}

// Read implements vfs.File: it is refused.
func (w *writer) Read([]byte) (int, error) { return 0, w.notOpen() }

// ReadAt implements vfs.File: it is refused.
func (w *writer) ReadAt([]byte, int64) (int, error) { return 0, w.notOpen() }

func (w *writer) notOpen() error {
	return fmt.Errorf("sealfs: read of %s, which is being written: %w", w.name, errors.ErrUnsupported)
}
