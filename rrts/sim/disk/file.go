package disk

import (
	"errors"
	"io"
	"io/fs"
	"path"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// file is an open handle.
type file struct {
	d     *Disk
	n     *node
	name  string
	life  int
	pos   int64
	write bool
}

var _ vfs.File = (*file)(nil)

func (f *file) aliveLocked() error {
	if f.life != f.d.life {
		return pathError("use", f.name, ErrDead)
	}
	if f.n == nil {
		return pathError("use", f.name, fs.ErrClosed)
	}
	return nil
}

// Close implements vfs.File. Closing a handle of before a crash is allowed.
func (f *file) Close() error {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if f.life != f.d.life {
		return nil
	}
	if err := f.aliveLocked(); err != nil {
		return err
	}
	f.d.unlinkLocked(f.n)
	f.n = nil
	return nil
}

// Read implements vfs.File.
func (f *file) Read(p []byte) (int, error) {
	n, err := f.ReadAt(p, f.pos)
	f.pos += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// ReadAt implements vfs.File.
func (f *file) ReadAt(p []byte, off int64) (int, error) {
	if err := f.d.before(Op{Kind: OpRead, Name: f.name, Offset: off, Bytes: len(p)}); err != nil {
		return 0, err
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.aliveLocked(); err != nil {
		return 0, err
	}
	if f.n.isDir() {
		return 0, pathError("read", f.name, syscall.EISDIR)
	}
	if off >= int64(len(f.n.data)) {
		return 0, io.EOF
	}
	n := copy(p, f.n.data[off:])
	if len(f.n.bad) > 0 {
		for s := off / SectorBytes; s*SectorBytes < off+int64(n); s++ {
			if f.n.bad[s] {
				return int(max(s*SectorBytes-off, 0)), pathError("read", f.name, syscall.EIO)
			}
		}
	}
	if n < len(p) {
		return n, io.EOF
	}
	return n, nil
}

// Write implements vfs.File.
func (f *file) Write(p []byte) (int, error) {
	n, err := f.WriteAt(p, f.pos)
	f.pos += int64(n)
	return n, err
}

// WriteAt implements vfs.File.
func (f *file) WriteAt(p []byte, off int64) (int, error) {
	failed := f.d.before(Op{Kind: OpWrite, Name: f.name, Offset: off, Bytes: len(p)})
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.aliveLocked(); err != nil {
		return 0, err
	}
	if !f.write || f.n.isDir() {
		return 0, pathError("write", f.name, syscall.EBADF)
	}
	if errors.Is(failed, ErrPower) {
		return 0, failed
	}
	if failed != nil {
		p = p[:f.d.cfg.RNG.IntN(len(p)+1)]
	}
	if grow := off + int64(len(p)) - int64(len(f.n.data)); grow > 0 {
		if room := f.d.capacity - f.d.used; f.d.capacity > 0 && grow > room {
			failed = pathError("write", f.name, syscall.ENOSPC)
			p = p[:max(0, min(int64(len(p)), int64(len(f.n.data))+max(room, 0)-off))]
		}
	}
	f.putLocked(p, off)
	return len(p), failed
}

// putLocked stores p at off and remembers what the platter holds there.
func (f *file) putLocked(p []byte, off int64) {
	n, end := f.n, off+int64(len(p))
	if len(p) == 0 {
		return
	}
	for s := min(off, int64(len(n.data))) / SectorBytes; s*SectorBytes < end; s++ {
		delete(n.bad, s)
		if _, ok := n.dirty[s]; ok {
			continue
		}
		if old, ok := n.stuck[s]; ok {
			n.dirty[s] = old
			delete(n.stuck, s)
			continue
		}
		from := min(s*SectorBytes, int64(len(n.data)))
		to := min((s+1)*SectorBytes, int64(len(n.data)))
		n.dirty[s] = append([]byte(nil), n.data[from:to]...)
	}
	if grow := end - int64(len(n.data)); grow > 0 {
		n.data = append(n.data, make([]byte, grow)...)
		f.d.used += grow
	}
	copy(n.data[off:], p)
}

// Sync implements vfs.File.
func (f *file) Sync() error {
	f.d.mu.Lock()
	if err := f.aliveLocked(); err != nil {
		f.d.mu.Unlock()
		return err
	}
	op := Op{Kind: OpSync, Name: f.name, Bytes: len(f.n.dirty) * SectorBytes}
	if f.n.isDir() {
		op.Kind, op.Bytes = OpSyncDir, 0
	}
	f.d.mu.Unlock()

	failed := f.d.before(op)
	if errors.Is(failed, ErrPower) {
		return failed
	}
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.aliveLocked(); err != nil {
		return err
	}
	if f.n.isDir() {
		if failed == nil {
			for _, op := range f.n.pending {
				apply(f.n.synced, op)
			}
			f.n.pending = nil
		}
		return failed
	}
	if failed != nil {
		for s, old := range f.n.dirty {
			f.n.stuck[s] = old
		}
		clear(f.n.dirty)
		return failed
	}
	f.n.settle()
	if f.d.cfg.Ordered {
		nameLocked(f.d.root, f.n)
	}
	return nil
}

// SyncData implements vfs.File.
func (f *file) SyncData() error { return f.Sync() }

// SyncTo implements vfs.File. It promises nothing, and does nothing.
func (f *file) SyncTo(int64) (bool, error) { return false, nil }

// Preallocate implements vfs.File.
func (f *file) Preallocate(_, _ int64) error { return nil }

// Prefetch implements vfs.File.
func (f *file) Prefetch(_, _ int64) error { return nil }

// Fd implements vfs.File.
func (f *file) Fd() uintptr { return vfs.InvalidFd }

// Stat implements vfs.File.
func (f *file) Stat() (vfs.FileInfo, error) {
	f.d.mu.Lock()
	defer f.d.mu.Unlock()
	if err := f.aliveLocked(); err != nil {
		return nil, err
	}
	return info(f.name, f.n), nil
}

func info(name string, n *node) fileInfo {
	return fileInfo{name: path.Base(name), size: int64(len(n.data)), dir: n.isDir()}
}

type fileInfo struct {
	name string
	size int64
	dir  bool
}

func (i fileInfo) Name() string           { return i.name }
func (i fileInfo) Size() int64            { return i.size }
func (i fileInfo) IsDir() bool            { return i.dir }
func (i fileInfo) ModTime() time.Time     { return time.Time{} }
func (i fileInfo) Sys() any               { return nil }
func (i fileInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
func (i fileInfo) Mode() fs.FileMode {
	if i.dir {
		return fs.ModeDir | 0o755
	}
	return 0o644
}
