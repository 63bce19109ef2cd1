package cluster

import (
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/sim"
)

// lateFS is the seeded bug "acknowledged before synced": its files say that they
// are synced at once, and sync later.
type lateFS struct {
	vfs.FS
	clock *sim.Scheduler
}

// syncLag is how much later.
const syncLag = 20 * time.Millisecond

func (l lateFS) late(f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		return nil, err
	}
	return lateFile{f, l.clock}, nil
}

func (l lateFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return l.late(l.FS.Create(name, c))
}

func (l lateFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return l.late(l.FS.OpenReadWrite(name, c, o...))
}

func (l lateFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return l.late(l.FS.ReuseForWrite(old, name, c))
}

type lateFile struct {
	vfs.File
	clock *sim.Scheduler
}

func (f lateFile) Sync() error { return f.SyncData() }
func (f lateFile) SyncData() error {
	f.clock.After(syncLag, func() { _ = f.File.SyncData() }) // dead by then: that is the bug
	return nil
}
