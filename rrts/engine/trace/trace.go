// Package trace remembers when a transaction was at which step, for the operator who
// asks why one took so long. Every step of a transaction is noted on the hot path, so
// noting costs some nanoseconds and no memory but the ring's own, which is fixed: the
// oldest is forgotten. Asking is what costs.
//
// The gateway notes when a transaction came, left and was answered; the leader when it
// arrived and was answered, and every replica when its entry was appended, durable,
// committed and applied (Entries). `rrts tx trace` asks all SFUs and puts it together.
package trace

import (
	"sync"
	"time"
)

// Ring remembers the last values that were added. T should hold no pointers, so that
// the collector passes it by.
type Ring[T any] struct {
	mu    sync.Mutex
	slots []T
	next  uint64
}

// NewRing returns a Ring of so many values. Its memory is touched as it fills.
func NewRing[T any](size int) *Ring[T] { return &Ring[T]{slots: make([]T, size)} }

// Add adds values, the oldest first.
func (r *Ring[T]) Add(values ...T) {
	r.mu.Lock()
	for i := range values {
		r.slots[r.next%uint64(len(r.slots))] = values[i]
		r.next++
	}
	r.mu.Unlock()
}

// Find returns the newest value that matches.
func (r *Ring[T]) Find(matches func(*T) bool) (found T, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	size := uint64(len(r.slots))
	for n := uint64(0); n < min(r.next, size); n++ {
		if v := &r.slots[(r.next-1-n)%size]; matches(v) {
			return *v, true
		}
	}
	return found, false
}

// Stage is a step on the way of a log entry through one replica.
type Stage int

const (
	Appended  Stage = iota // handed to the thread that writes the log
	Durable                // safe on this replica's disk
	Committed              // this replica knows that it is committed
	Applied
	stages
)

// Entries remembers the times of the newest log entries.
type Entries struct {
	mu    sync.Mutex
	slots []EntryTimes
}

// EntryTimes are the times of one entry, by Stage; 0 where it was not seen.
type EntryTimes struct {
	Index uint64
	At    [stages]time.Duration
}

// NewEntries returns Entries of so many.
func NewEntries(size int) *Entries { return &Entries{slots: make([]EntryTimes, size)} }

// Note notes that entry index is at a stage now. An entry that is appended once more,
// as another leader has it, begins anew.
func (e *Entries) Note(s Stage, index uint64, now time.Duration) {
	e.mu.Lock()
	slot := &e.slots[index%uint64(len(e.slots))]
	if slot.Index != index || s == Appended {
		*slot = EntryTimes{Index: index}
	}
	slot.At[s] = now
	e.mu.Unlock()
}

// Times returns what is remembered of an entry.
func (e *Entries) Times(index uint64) (t EntryTimes, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	t = e.slots[index%uint64(len(e.slots))]
	return t, t.Index == index && index != 0
}
