package journal

import (
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// countingFS counts the bytes that are read from files opened for both.
type countingFS struct {
	vfs.FS
	read atomic.Int64
}

func (c *countingFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := c.FS.OpenReadWrite(name, category, opts...)
	if err != nil {
		return nil, err
	}
	return &countingFile{File: f, fs: c}, nil
}

type countingFile struct {
	vfs.File
	fs *countingFS
}

func (f *countingFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	f.fs.read.Add(int64(n))
	return n, err
}

// TestReadsOnce: recovery reads each segment once, and so does a replay, however many
// small groups it holds. (It once read the whole window anew behind each group.)
func TestReadsOnce(t *testing.T) {
	fs := &countingFS{FS: vfs.NewMem()}
	cfg := testConfig(t, fs)
	cfg.SegmentBytes = 8 << 20
	j := mustOpen(t, cfg)
	const groups = 1500 // of one block each: nearly a segment
	for range groups {
		mustAppend(t, j, kindEntry, "a small record")
		check(t, j.Sync())
	}
	check(t, j.Close())

	once := cfg.SegmentBytes + 2*readAhead // headers and marks come with windows of their own
	fs.read.Store(0)
	j = mustOpen(t, cfg)
	if n := fs.read.Load(); n > once {
		t.Errorf("recovery reads %d bytes, want %d at most", n, once)
	}
	fs.read.Store(0)
	records := 0
	check(t, j.Replay(0, func(Position, Kind, []byte) error { records++; return nil }))
	if n := fs.read.Load(); n > once || records != groups {
		t.Errorf("replay of %d records reads %d bytes, want %d and %d at most", records, n, groups, once)
	}
	check(t, j.Close())
}
