// Package patientfs is a file system that waits when the disk is full.
//
// A store in the background writes what was committed long ago; it has no way to
// refuse, and an error would end the process. So a write that finds no space is
// tried again until there is some: new work is refused elsewhere meanwhile, reads
// go on, and the store continues where it was. Give up with Stop.
package patientfs

import (
	"errors"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// retryInterval is how often a full disk is tried again.
const retryInterval = 200 * time.Millisecond

// FS waits when the disk is full.
type FS struct {
	vfs.FS
	log     *slog.Logger
	waiting atomic.Int32
	once    sync.Once
	stop    chan struct{}
}

// New returns fs with patience. log is told when waiting begins and ends.
func New(fs vfs.FS, log *slog.Logger) *FS {
	return &FS{FS: fs, log: log, stop: make(chan struct{})}
}

// Stop ends all waiting, now and later: what waits gets its error.
func (f *FS) Stop() { f.once.Do(func() { close(f.stop) }) }

// Full reports whether something waits for space.
func (f *FS) Full() bool { return f.waiting.Load() > 0 }

// retry calls op until it does not fail for want of space.
func (f *FS) retry(name string, op func() error) error {
	err := op()
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	if f.waiting.Add(1) == 1 {
		f.log.Error("the disk is full: the store waits for space", "file", name, "err", err)
	}
	defer func() {
		if f.waiting.Add(-1) == 0 && err == nil {
			f.log.Info("the disk has space again: the store goes on")
		}
	}()
	ticker := time.NewTicker(retryInterval)
	defer ticker.Stop()
	for errors.Is(err, syscall.ENOSPC) {
		select {
		case <-f.stop:
			return err
		case <-ticker.C:
			err = op()
		}
	}
	return err
}

// Create implements vfs.FS.
func (f *FS) Create(name string, c vfs.DiskWriteCategory) (file vfs.File, err error) {
	err = f.retry(name, func() error {
		file, err = f.FS.Create(name, c)
		return err
	})
	return f.wrap(name, file, err)
}

// OpenReadWrite implements vfs.FS.
func (f *FS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (file vfs.File, err error) {
	err = f.retry(name, func() error {
		file, err = f.FS.OpenReadWrite(name, c, o...)
		return err
	})
	return f.wrap(name, file, err)
}

// ReuseForWrite implements vfs.FS.
func (f *FS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (file vfs.File, err error) {
	err = f.retry(name, func() error {
		file, err = f.FS.ReuseForWrite(old, name, c)
		return err
	})
	return f.wrap(name, file, err)
}

// Link implements vfs.FS.
func (f *FS) Link(old, name string) error {
	return f.retry(name, func() error { return f.FS.Link(old, name) })
}

// MkdirAll implements vfs.FS.
func (f *FS) MkdirAll(name string, mode os.FileMode) error {
	return f.retry(name, func() error { return f.FS.MkdirAll(name, mode) })
}

// Unwrap implements vfs.FS.
func (f *FS) Unwrap() vfs.FS { return f.FS }

func (f *FS) wrap(name string, file vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return &patientFile{File: file, fs: f, name: name}, nil
}

// patientFile is a file that is written to.
type patientFile struct {
	vfs.File
	fs   *FS
	name string
}

// Write goes on behind what was written before the disk was full.
func (p *patientFile) Write(b []byte) (n int, err error) {
	err = p.fs.retry(p.name, func() error {
		m, err := p.File.Write(b[n:])
		n += m
		return err
	})
	return n, err
}

func (p *patientFile) WriteAt(b []byte, off int64) (n int, err error) {
	err = p.fs.retry(p.name, func() error {
		m, err := p.File.WriteAt(b[n:], off+int64(n))
		n += m
		return err
	})
	return n, err
}

func (p *patientFile) Sync() error     { return p.fs.retry(p.name, p.File.Sync) }
func (p *patientFile) SyncData() error { return p.fs.retry(p.name, p.File.SyncData) }

func (p *patientFile) Preallocate(off, length int64) error {
	return p.fs.retry(p.name, func() error { return p.File.Preallocate(off, length) })
}
