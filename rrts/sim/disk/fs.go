package disk

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func pathError(op, name string, err error) error {
	return &os.PathError{Op: op, Path: name, Err: err}
}

// Create implements vfs.FS.
func (d *Disk) Create(name string, _ vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.before(Op{Kind: OpCreate, Name: name}); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.createLocked(name)
}

func (d *Disk) createLocked(name string) (vfs.File, error) {
	dir, elem, err := d.walkLocked("create", name)
	if err != nil {
		return nil, err
	}
	if old := dir.children[elem]; old != nil {
		if old.isDir() {
			return nil, pathError("create", name, syscall.EISDIR)
		}
		d.unlinkLocked(old)
	}
	n := newFile()
	n.links = 1
	dir.change(dirOp{to: elem, n: n})
	return d.handleLocked(name, n, true), nil
}

func (d *Disk) handleLocked(name string, n *node, write bool) *file {
	n.links++
	return &file{d: d, n: n, name: name, life: d.life, write: write}
}

// Link implements vfs.FS.
func (d *Disk) Link(oldname, newname string) error {
	if err := d.before(Op{Kind: OpCreate, Name: newname}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.fileLocked("link", oldname)
	if err != nil {
		return err
	}
	dir, elem, err := d.walkLocked("link", newname)
	if err != nil {
		return err
	}
	if dir.children[elem] != nil {
		return &os.LinkError{Op: "link", Old: oldname, New: newname, Err: fs.ErrExist}
	}
	n.links++
	dir.change(dirOp{to: elem, n: n})
	return nil
}

// Open implements vfs.FS.
func (d *Disk) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.open(name, false, opts)
}

// OpenDir implements vfs.FS.
func (d *Disk) OpenDir(name string) (vfs.File, error) { return d.open(name, false, nil) }

// OpenReadWrite implements vfs.FS.
func (d *Disk) OpenReadWrite(name string, _ vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	return d.open(name, true, opts)
}

func (d *Disk) open(name string, write bool, opts []vfs.OpenOption) (vfs.File, error) {
	if err := d.before(Op{Kind: OpOpen, Name: name}); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.findLocked("open", name)
	if err != nil {
		if write && errors.Is(err, fs.ErrNotExist) {
			return d.createLocked(name)
		}
		return nil, err
	}
	f := d.handleLocked(name, n, write)
	for _, o := range opts {
		o.Apply(f)
	}
	return f, nil
}

// Remove implements vfs.FS.
func (d *Disk) Remove(name string) error {
	if err := d.before(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.removeLocked(name, false)
}

// RemoveAll implements vfs.FS.
func (d *Disk) RemoveAll(name string) error {
	if err := d.before(Op{Kind: OpRemove, Name: name}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.removeLocked(name, true); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (d *Disk) removeLocked(name string, all bool) error {
	dir, elem, err := d.walkLocked("remove", name)
	if err != nil {
		return err
	}
	n := dir.children[elem]
	if n == nil {
		return notExist("remove", name)
	}
	if len(n.children) > 0 && !all {
		return pathError("remove", name, syscall.ENOTEMPTY)
	}
	for _, child := range sortedKeys(n.children) {
		if err := d.removeLocked(name+"/"+child, true); err != nil {
			return err
		}
	}
	dir.change(dirOp{from: elem, n: n})
	d.unlinkLocked(n)
	return nil
}

// Rename implements vfs.FS.
func (d *Disk) Rename(oldname, newname string) error {
	if err := d.before(Op{Kind: OpRename, Name: newname}); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	from, oldElem, err := d.walkLocked("rename", oldname)
	if err != nil {
		return err
	}
	n := from.children[oldElem]
	if n == nil {
		return notExist("rename", oldname)
	}
	to, newElem, err := d.walkLocked("rename", newname)
	if err != nil {
		return err
	}
	old := to.children[newElem]
	if old == n {
		return nil
	}
	if old != nil {
		d.unlinkLocked(old)
	}
	if from == to {
		from.change(dirOp{from: oldElem, to: newElem, n: n})
		return nil
	}
	to.change(dirOp{to: newElem, n: n})
	from.change(dirOp{from: oldElem, n: n})
	return nil
}

// ReuseForWrite implements vfs.FS.
func (d *Disk) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if err := d.Rename(oldname, newname); err != nil {
		return nil, err
	}
	return d.OpenReadWrite(newname, category)
}

// MkdirAll implements vfs.FS.
func (d *Disk) MkdirAll(name string, _ os.FileMode) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	dir := d.root
	for elem := range strings.SplitSeq(strings.Trim(path.Clean("/"+name), "/"), "/") {
		if elem == "" {
			continue
		}
		next := dir.children[elem]
		if next == nil {
			next = newDir()
			next.links = 1
			dir.change(dirOp{to: elem, n: next})
		} else if !next.isDir() {
			return pathError("mkdir", name, syscall.ENOTDIR)
		}
		dir = next
	}
	return nil
}

// Lock implements vfs.FS.
func (d *Disk) Lock(name string) (io.Closer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.locks[name] {
		return nil, pathError("lock", name, syscall.EAGAIN)
	}
	f, err := d.createLocked(name)
	if err != nil {
		return nil, err
	}
	d.locks[name] = true
	return &lock{File: f, d: d, name: name, life: d.life}, nil
}

type lock struct {
	vfs.File
	d    *Disk
	name string
	life int
}

func (l *lock) Close() error {
	l.d.mu.Lock()
	if l.life == l.d.life {
		delete(l.d.locks, l.name)
	}
	l.d.mu.Unlock()
	return l.File.Close()
}

// List implements vfs.FS. The names are sorted.
func (d *Disk) List(name string) ([]string, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.findLocked("list", name)
	if err != nil {
		return nil, err
	}
	if !n.isDir() {
		return nil, pathError("list", name, syscall.ENOTDIR)
	}
	return sortedKeys(n.children), nil
}

// Stat implements vfs.FS.
func (d *Disk) Stat(name string) (vfs.FileInfo, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	n, err := d.findLocked("stat", name)
	if err != nil {
		return nil, err
	}
	return info(name, n), nil
}

// PathBase implements vfs.FS.
func (*Disk) PathBase(p string) string { return path.Base(p) }

// PathJoin implements vfs.FS.
func (*Disk) PathJoin(elem ...string) string { return path.Join(elem...) }

// PathDir implements vfs.FS.
func (*Disk) PathDir(p string) string { return path.Dir(p) }

// GetDiskUsage implements vfs.FS.
func (d *Disk) GetDiskUsage(string) (vfs.DiskUsage, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	total := uint64(d.capacity)
	if d.capacity == 0 {
		total = 1 << 50
	}
	return vfs.DiskUsage{
		AvailBytes: total - min(total, uint64(d.used)),
		TotalBytes: total,
		UsedBytes:  uint64(d.used),
	}, nil
}

// Unwrap implements vfs.FS.
func (*Disk) Unwrap() vfs.FS { return nil }
