package txn_test

import (
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/engine"
)

// slowDisk is a file system whose syncs take long.
type slowDisk struct {
	vfs.FS
	by atomic.Int64 // nanoseconds
}

func (d *slowDisk) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.Create(name, c)
	return &slowFile{f, d}, err
}

func (d *slowDisk) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.FS.ReuseForWrite(old, name, c)
	return &slowFile{f, d}, err
}

func (d *slowDisk) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := d.FS.OpenReadWrite(name, c, o...)
	return &slowFile{f, d}, err
}

type slowFile struct {
	vfs.File
	d *slowDisk
}

func (f *slowFile) Sync() error { time.Sleep(time.Duration(f.d.by.Load())); return f.File.Sync() }
func (f *slowFile) SyncData() error {
	time.Sleep(time.Duration(f.d.by.Load()))
	return f.File.SyncData()
}

// TestSlowDisk: a leader whose disk is slow, or answers no more at all, lets another member
// lead, and payments go on as if it were not there; when all are slow the lead stays.
func TestSlowDisk(t *testing.T) {
	disks := map[uint16]*slowDisk{}
	c := newClusterOf(t, 3, func(n uint16, fs *vfs.MemFS) vfs.FS {
		disks[n] = &slowDisk{FS: fs}
		return disks[n]
	})
	slow := func(s *sfu, by time.Duration) { disks[s.number].by.Store(int64(by)) }
	mustCommit(t, c.submit(c.leader(), opening()))
	pay := func() time.Duration {
		t.Helper()
		began := time.Now()
		mustCommit(t, c.submit(c.sfus[0], transferOf(1)))
		return time.Since(began)
	}
	moved := func(from *sfu) {
		t.Helper()
		worst := time.Duration(0)
		c.eventually("another SFU leads", func() bool {
			worst = max(worst, pay())
			return c.leader() != from
		})
		after := time.Duration(0)
		for range 20 {
			after = max(after, pay())
		}
		t.Logf("the slowest payment took %v, and %v once another SFU led", worst, after)
		if after >= slowest {
			t.Errorf("a payment took %v after the lead had moved", after)
		}
		c.alarm(from, "disk-slow@journal", true)
	}
	first := c.leader()
	slow(first, slowest)
	moved(first)
	slow(first, 0)

	second := c.leader()
	slow(second, 3*time.Second) // each sync
	moved(second)

	third := c.leader() // the only one whose disk is good
	slow(third, slowest)
	c.eventually("it is slow, too", func() bool { pay(); return c.alarmed(third, "disk-slow@journal") })
	for range 5 {
		pay()
	}
	if c.leader() != third {
		t.Error("the lead moved from one slow disk to another")
	}
	for _, s := range c.sfus {
		slow(s, 0)
	}
	c.agree()
}

// slowest is above what makes a disk slow.
const slowest = 300 * time.Millisecond

// alarmed reports whether an alarm stands at an SFU.
func (c *cluster) alarmed(s *sfu, name string) bool {
	return slices.ContainsFunc(s.engine.Alarms(), func(a engine.Alarm) bool { return a.Name == name })
}
