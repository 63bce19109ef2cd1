package txn_test

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// hungDisk is a file system whose syncs may not come back.
type hungDisk struct {
	vfs.FS
	mu sync.RWMutex // held while it hangs
}

func (d *hungDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return &hungFile{f, d}, err
}

func (d *hungDisk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(old, name, c)
	return &hungFile{f, d}, err
}

func (d *hungDisk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, c, o...)
	return &hungFile{f, d}, err
}

type hungFile struct {
	vfs.File
	d *hungDisk
}

func (f *hungFile) answer() {
	f.d.mu.RLock()
	defer f.d.mu.RUnlock()
}

func (f *hungFile) Sync() error     { f.answer(); return f.File.Sync() }
func (f *hungFile) SyncData() error { f.answer(); return f.File.SyncData() }

// TestHungDisk: an SFU whose disk does not answer ends, so that it is started anew where
// that can help, and its machine reset where it cannot; an idle one lives on.
func TestHungDisk(t *testing.T) {
	var d *hungDisk
	c := newClusterOf(t, 1, func(_ uint16, fs *vfs.MemFS) vfs.FS {
		d = &hungDisk{FS: fs}
		return d
	})
	s := c.leader()
	mustCommit(t, c.submit(s, opening()))
	c.stop(s)
	c.hungAfter, c.stopWithin = 3*time.Second, time.Second
	c.start(s)
	mustCommit(t, c.submit(s, transferOf(1)))
	select {
	case err := <-s.done:
		t.Fatalf("an idle SFU ended: %v", err)
	case <-time.After(2 * c.hungAfter):
	}
	mustCommit(t, c.submit(s, transferOf(1)))
	d.mu.Lock()
	defer d.mu.Unlock()
	c.overloaded(s) // asks for a write
	select {
	case err := <-s.done:
		if err == nil || !strings.Contains(err.Error(), "no heartbeat of log on disk for more than 3s") {
			t.Fatal(err)
		}
		s.cancel = nil
	case <-time.After(time.Minute):
		t.Fatal("it waits for its disk still")
	}
}
