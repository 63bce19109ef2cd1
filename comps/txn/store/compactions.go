package store

import (
	"sync"

	"github.com/cockroachdb/pebble/v2"
)

// compactions is Pebble's scheduler of compactions: as many run at a time as Pebble allows.
// The one that Pebble brings looks ten times a second whether more are allowed meanwhile;
// this one sleeps with the store, and looks when that may have changed: when a compaction is
// wanted, when one ends, and when a flush has.
//
// Pebble calls TrySchedule and UpdateGetAllowedWithoutPermission with its own locks held, and
// Unregister and Done without; GetWaitingCompaction and Schedule take them.
type compactions struct {
	db     pebble.DBForCompaction // of Register, before anything else
	grants sync.WaitGroup         // calls of grant on goroutines of their own

	// granting is held by who calls the database; it comes before Pebble's locks.
	granting sync.Mutex

	// mu comes behind Pebble's locks.
	mu      sync.Mutex
	running int
	refused bool // somebody, since the last look for one that waits
	closed  bool
}

var (
	_ pebble.CompactionScheduler   = (*compactions)(nil)
	_ pebble.CompactionGrantHandle = (*compactions)(nil)
)

// Register implements pebble.CompactionScheduler.
func (s *compactions) Register(_ int, db pebble.DBForCompaction) { s.db = db }

// Unregister implements pebble.CompactionScheduler.
func (s *compactions) Unregister() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.grants.Wait()
	s.granting.Lock() // whoever is at it has done
	defer s.granting.Unlock()
}

// TrySchedule implements pebble.CompactionScheduler. Who is refused waits for a grant.
func (s *compactions) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.reserveLocked() {
		return true, s
	}
	s.refused = true
	return false, nil
}

// reserveLocked counts one more, if it may run.
func (s *compactions) reserveLocked() bool {
	if s.closed || s.running >= s.db.GetAllowedWithoutPermission() {
		return false
	}
	s.running++
	return true
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler.
func (s *compactions) UpdateGetAllowedWithoutPermission() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.running < s.db.GetAllowedWithoutPermission() {
		s.grants.Go(s.grant)
	}
}

// Done implements pebble.CompactionGrantHandle.
func (s *compactions) Done() {
	s.mu.Lock()
	s.running--
	s.mu.Unlock()
	s.grant()
}

// grant starts what waits, as far as it may run.
func (s *compactions) grant() {
	s.granting.Lock()
	defer s.granting.Unlock()
	for {
		s.mu.Lock()
		s.refused = false
		ok := s.reserveLocked()
		s.mu.Unlock()
		if !ok {
			return
		}
		if waits, _ := s.db.GetWaitingCompaction(); waits && s.db.Schedule(s) {
			continue
		}
		// One that was refused for this reservation's sake is looked for again.
		s.mu.Lock()
		s.running--
		again := s.refused
		s.mu.Unlock()
		if !again {
			return
		}
	}
}

// Started, MeasureCPU and CumulativeStats implement pebble.CompactionGrantHandle.
func (s *compactions) Started()                                          {}
func (s *compactions) MeasureCPU(pebble.CompactionGoroutineKind)         {}
func (s *compactions) CumulativeStats(pebble.CompactionGrantHandleStats) {}
