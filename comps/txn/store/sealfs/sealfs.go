// Package sealfs is a file system whose files are encrypted at rest: the one that
// the store's Pebble lies on.
//
//	fs := sealfs.New(vfs.Default, ring, rand.Reader)
//	db, err := pebble.Open(dir, &pebble.Options{FS: fs, DisableWAL: true, …})
//
// # What a file may do
//
// Files are written once, from front to back: Create, Write, Sync, Close; after
// that they are read, renamed, linked and removed. That is all that Pebble does with its
// tables, blobs, manifests, options and markers. A file that exists cannot be written again
// (ErrWriteOnce), so no place in a file ever holds two contents, and a page's number
// is its nonce. ReuseForWrite begins a new file, as its contract allows.
//
// Sizes and offsets are those of the plaintext. What was written is visible to
// handles opened after a Sync or a Close of it.
//
// # Promises
//
//   - Nothing of a file's content, and none of its key, is on the disk in clear. Names,
//     sizes and times are.
//   - What a Sync covered is there after a crash. No later write touches its pages: a
//     Sync ends its last page, and what follows begins the next one.
//   - A changed page, a page in another place or of another file, and a file cut short
//     are answered with ErrCorrupt, never with wrong bytes. Three things are beyond it: a
//     whole file put back as it was at an earlier Sync; what the last of several Syncs wrote, which
//     is taken for torn when it does not open (Pebble reads its manifests so itself); and a file
//     of one page that does not open, which is taken for one that was never synced and reads as empty
//     (Pebble compares a table's size with its manifest's).
//   - Node keys rotate without rewriting files: Rewrap seals the files' own keys anew.
//
// # File format, version 1
//
// All numbers are little-endian.
//
//	0       header, 4096 bytes
//	4096    header, second copy
//	8192    page 0, 4096 bytes
//	12288   page 1 …
//
// Header: zero behind byte 100.
//
//	 0    8  magic "rrtsseal"
//	 8    2  format version, 1
//	10    2  0
//	12    4  node key id
//	16   32  salt, random
//	48   48  the file's random key, sealed: AES-256-GCM, key = HKDF-SHA256(node key, salt,
//	         "rrts sealed file 1"), nonce 0, additional data bytes 0..48
//	96    4  CRC-32C of bytes 0..96, which tells rot from a wrong node key
//
// Page:
//
//	 0    8  place of the page's first byte in the plaintext
//	 8    2  n, bytes of content, at most 4064
//	10    1  flags: bit 0: a Sync or the Close ended here
//	11    1  0
//	12    4  with bit 0: how many pages that Sync or Close wrote, this one included; else 0
//	16 4064  sealed: n bytes of content, then zeros
//	4080 16  tag: AES-256-GCM under the file's key, nonce = 0 (4 bytes) ‖ page number (8 bytes),
//	         additional data bytes 0..16
//
// A file ends with its last page that has bit 0 set; pages behind it are what a
// crash left of an unsynced tail. So are the pages that this last one counts, when
// one of them does not open and others stand before them: then the file ends with those.
// Pages hold 4064 bytes each, but for those that a Sync ended.
package sealfs

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// KeyRing gives the node keys. Its methods may be called from any goroutine.
type KeyRing interface {
	// Current is the key that new files are sealed under.
	Current() (id uint32, key [32]byte)
	// Key is the key of that id.
	Key(id uint32) (key [32]byte, ok bool)
}

var (
	// ErrCorrupt says that a file is not what was written to it.
	ErrCorrupt = errors.New("sealfs: file is corrupt")

	// ErrUnknownKey says that the ring does not hold the key that a file is sealed under.
	ErrUnknownKey = errors.New("sealfs: key is not in the ring")

	// ErrWriteOnce says that a file exists and cannot be written again, or not there.
	ErrWriteOnce = errors.New("sealfs: files are written once, from front to back")
)

// FS is the encrypted file system over another one. It is safe for concurrent use.
type FS struct {
	inner vfs.FS
	keys  KeyRing
	rand  io.Reader

	creating sync.RWMutex // held for reading from the choice of a key until the header is durable
}

var _ vfs.FS = (*FS)(nil)

// New returns the encrypted file system over inner. rand gives keys and salts and
// must be safe for concurrent use, as crypto/rand is.
func New(inner vfs.FS, keys KeyRing, rand io.Reader) *FS {
	return &FS{inner: inner, keys: keys, rand: rand}
}

// Create implements vfs.FS. The new file's header is durable when it returns, so
// that a bad header is never mistaken for one that a crash prevented.
func (fs *FS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	inner, err := fs.inner.Create(name, category)
	if err != nil {
		return nil, err
	}
	fs.creating.RLock()
	w, err := newWriter(fs, inner, name)
	fs.creating.RUnlock()
	if err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return w, nil
}

// Open implements vfs.FS.
func (fs *FS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	inner, err := fs.inner.Open(name, opts...)
	if err != nil {
		return nil, err
	}
	r, err := newReader(fs, inner, name)
	if err != nil {
		return nil, errors.Join(err, inner.Close())
	}
	return r, nil
}

// OpenReadWrite implements vfs.FS for a file that does not exist.
func (fs *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, _ ...vfs.OpenOption) (vfs.File, error) {
	if _, err := fs.inner.Stat(name); err == nil {
		return nil, fmt.Errorf("%w: %s exists", ErrWriteOnce, name)
	}
	return fs.Create(name, category)
}

// ReuseForWrite implements vfs.FS: it removes the old file and begins a new one.
func (fs *FS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := fs.inner.Remove(oldname); err != nil {
		return nil, err
	}
	return fs.Create(newname, category)
}

// Stat implements vfs.FS. The size is the plaintext's.
func (fs *FS) Stat(name string) (vfs.FileInfo, error) {
	info, err := fs.inner.Stat(name)
	if err != nil || info.IsDir() {
		return info, err
	}
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	info, err = f.Stat()
	return info, errors.Join(err, f.Close())
}

// Link implements vfs.FS.
func (fs *FS) Link(oldname, newname string) error { return fs.inner.Link(oldname, newname) }

// OpenDir implements vfs.FS.
func (fs *FS) OpenDir(name string) (vfs.File, error) { return fs.inner.OpenDir(name) }

// Remove implements vfs.FS.
func (fs *FS) Remove(name string) error { return fs.inner.Remove(name) }

// RemoveAll implements vfs.FS.
func (fs *FS) RemoveAll(name string) error { return fs.inner.RemoveAll(name) }

// Rename implements vfs.FS.
func (fs *FS) Rename(oldname, newname string) error { return fs.inner.Rename(oldname, newname) }

// MkdirAll implements vfs.FS.
func (fs *FS) MkdirAll(dir string, perm os.FileMode) error { return fs.inner.MkdirAll(dir, perm) }

// Lock implements vfs.FS. Lock files hold nothing.
func (fs *FS) Lock(name string) (io.Closer, error) { return fs.inner.Lock(name) }

// List implements vfs.FS.
func (fs *FS) List(dir string) ([]string, error) { return fs.inner.List(dir) }

// PathBase implements vfs.FS.
func (fs *FS) PathBase(path string) string { return fs.inner.PathBase(path) }

// PathJoin implements vfs.FS.
func (fs *FS) PathJoin(elem ...string) string { return fs.inner.PathJoin(elem...) }

// PathDir implements vfs.FS.
func (fs *FS) PathDir(path string) string { return fs.inner.PathDir(path) }

// GetDiskUsage implements vfs.FS.
func (fs *FS) GetDiskUsage(path string) (vfs.DiskUsage, error) { return fs.inner.GetDiskUsage(path) }

// Unwrap implements vfs.FS.
func (fs *FS) Unwrap() vfs.FS { return fs.inner }

// fileInfo is the inner file's with the plaintext's size.
type fileInfo struct {
	vfs.FileInfo
	size int64
}

func (i fileInfo) Size() int64 { return i.size }
