package store

import (
	"testing"

	"github.com/cockroachdb/pebble/v2"
)

// compacting stands in for a database with compactions to run.
type compacting struct {
	allowed, waiting, started int
	asked                     func() // once, when it is asked what waits
}

func (d *compacting) GetAllowedWithoutPermission() int { return d.allowed }

func (d *compacting) GetWaitingCompaction() (bool, pebble.WaitingCompaction) {
	waits := d.waiting > 0
	if f := d.asked; f != nil {
		d.asked = nil
		f()
	}
	return waits, pebble.WaitingCompaction{}
}

func (d *compacting) Schedule(pebble.CompactionGrantHandle) bool {
	if d.waiting == 0 {
		return false
	}
	d.waiting--
	d.started++
	return true
}

// want is what Pebble does when it has picked a compaction.
func (d *compacting) want(s *compactions) {
	if ok, _ := s.TrySchedule(); ok {
		d.started++
	} else {
		d.waiting++
	}
}

// TestCompactions: never more than allowed, and none waits that may run.
func TestCompactions(t *testing.T) {
	d := &compacting{allowed: 1}
	s := &compactions{}
	s.Register(2, d)
	expect := func(what string, started, waiting int) {
		t.Helper()
		s.grants.Wait()
		if d.started != started || d.waiting != waiting {
			t.Fatalf("%s: %d started, %d wait; want %d, %d", what, d.started, d.waiting, started, waiting)
		}
	}
	d.want(s)
	d.want(s)
	d.want(s)
	expect("one allowed", 1, 2)
	s.UpdateGetAllowedWithoutPermission()
	expect("a flush changed nothing", 1, 2)
	d.allowed = 2
	s.UpdateGetAllowedWithoutPermission()
	expect("a flush, now two allowed", 2, 1)
	s.Done()
	expect("one ended", 3, 0)
	s.Done()
	s.Done()
	expect("all ended", 3, 0)

	// Both places are taken while the database is asked, one by the question itself: who is
	// refused for that must not wait for an end that never comes.
	d.want(s)
	d.asked = func() { d.want(s) }
	s.UpdateGetAllowedWithoutPermission()
	expect("refused during the look", 5, 0)

	d.want(s)
	s.Unregister()
	s.Done()
	s.UpdateGetAllowedWithoutPermission()
	expect("closed", 5, 1)
}
