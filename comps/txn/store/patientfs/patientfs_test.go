package patientfs

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// tight is a file system whose files have room for some bytes together.
type tight struct {
	vfs.FS
	mu   sync.Mutex
	room int
}

// take takes up to n bytes of room; make makes room.
func (t *tight) take(n int) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	n = min(n, t.room)
	t.room -= n
	return n
}

func (t *tight) make(room int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.room = room
}

type tightFile struct {
	vfs.File
	fs *tight
}

func (t *tight) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	if t.take(1) == 0 {
		return nil, syscall.ENOSPC
	}
	f, err := t.FS.Create(name, c)
	return &tightFile{f, t}, err
}

func (f *tightFile) Write(b []byte) (int, error) {
	n := f.fs.take(len(b))
	if m, err := f.File.Write(bytes.Clone(b[:n])); err != nil {
		return m, err
	}
	if n < len(b) {
		return n, syscall.ENOSPC
	}
	return n, nil
}

// TestWaits: a write that finds no space goes on, behind what was written, when
// there is some.
func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		disk := &tight{FS: vfs.NewMem(), room: 10}
		fs := New(disk, slog.New(slog.DiscardHandler))
		f, err := fs.Create("x", vfs.WriteCategoryUnspecified)
		if err != nil {
			t.Fatal(err)
		}
		want := []byte("twenty-five bytes of data")
		go func() {
			time.Sleep(time.Second)
			if !fs.Full() {
				t.Error("a second later it does not say that it waits")
			}
			disk.make(3)
			time.Sleep(time.Second)
			disk.make(100)
		}()
		began := time.Now()
		if n, err := f.Write(bytes.Clone(want)); n != len(want) || err != nil {
			t.Fatalf("wrote %d: %v", n, err)
		}
		if d := time.Since(began); d < 2*time.Second || d > 2*time.Second+retryInterval {
			t.Errorf("it took %v", d)
		}
		if fs.Full() {
			t.Error("it still says that it waits")
		}
		r, err := fs.Open("x")
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("the file holds %q, %v", got, err)
		}
	})
}

// TestStop: what waits gets its error, and so does what comes later.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fs := New(&tight{FS: vfs.NewMem()}, slog.New(slog.DiscardHandler))
		go func() {
			time.Sleep(time.Minute)
			fs.Stop()
			fs.Stop()
		}()
		for range 2 {
			if _, err := fs.Create("x", vfs.WriteCategoryUnspecified); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("error %v", err)
			}
		}
	})
}
