// Package marker keeps the marker of a witness, which is all that it has beside its log,
// in a file:
//
//	marker        the encoded txnpb.Marker
//	marker.new    the next one, until it takes the other's name
//
// The file system is to seal what is written, and to find out when it was changed. After
// a crash the file holds some marker that was set, at least that of the last Flush.
package marker

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	fileName = "marker"
	newName  = "marker.new"
)

// File is a marker in memory and on the disk. It may be used on any goroutine.
type File struct {
	fs  vfs.FS
	dir string

	flushing sync.Mutex // held while the file is written; taken before mu

	mu      sync.Mutex
	now     *txnpb.Marker // nil until one is set
	flushed uint64        // where the file's stands
}

// Open reads the marker in a directory, which is made if need be in one that is there.
func Open(files vfs.FS, dir string) (*File, error) {
	f := &File{fs: files, dir: dir}
	err := files.MkdirAll(dir, 0o700)
	if err == nil {
		err = syncDir(files, files.PathDir(dir))
	}
	if err != nil {
		return nil, fmt.Errorf("marker: %w", err)
	}
	raw, err := read(files, files.PathJoin(dir, fileName))
	if errors.Is(err, fs.ErrNotExist) {
		return f, nil
	}
	if err == nil {
		f.now = &txnpb.Marker{}
		err = f.now.Parse(raw)
	}
	if err != nil {
		return nil, fmt.Errorf("marker: %s: %w; if it stays so, give the SFU a new identity with `rrts sfu replace`", files.PathJoin(dir, fileName), err)
	}
	f.flushed = f.now.AppliedIndex
	return f, nil
}

func read(files vfs.FS, path string) ([]byte, error) {
	in, err := files.Open(path)
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(in)
	return raw, errors.Join(err, in.Close())
}

// Marker is the one that was set last; nil when there is none. It must not be changed.
func (f *File) Marker() *txnpb.Marker {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.now
}

// Set makes m the marker, without writing it. It must not be changed afterwards.
func (f *File) Set(m *txnpb.Marker) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.now = m
}

// Applied is where the marker stands, Flushed where that of the file does: after a crash
// now it is the one.
func (f *File) Applied() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return appliedOf(f.now)
}

// Flushed is explained at Applied.
func (f *File) Flushed() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.flushed
}

// Flush makes the marker durable that is set when it is called.
func (f *File) Flush() error {
	f.flushing.Lock()
	defer f.flushing.Unlock()
	m := f.Marker()
	if m == nil {
		return nil
	}
	if err := f.write(message.Marshal(m)); err != nil {
		return fmt.Errorf("marker: %w", err)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.flushed = m.AppliedIndex
	return nil
}

func (f *File) write(raw []byte) error {
	path := f.fs.PathJoin(f.dir, newName)
	out, err := f.fs.Create(path, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if _, err = out.Write(raw); err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err != nil {
		return err
	}
	if err := f.fs.Rename(path, f.fs.PathJoin(f.dir, fileName)); err != nil {
		return err
	}
	return syncDir(f.fs, f.dir)
}

func syncDir(files vfs.FS, path string) error {
	dir, err := files.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// Close implements what a store has; nothing is open.
func (f *File) Close() error { return nil }

func appliedOf(m *txnpb.Marker) uint64 {
	if m == nil {
		return 0
	}
	return m.AppliedIndex
}
