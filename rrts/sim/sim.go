// Package sim is a world on virtual time: a scheduler and a network that lose,
// delay, double and cut from a seed. With rrts/sim/disk it holds the cores of
// RRTS (net/session, comps/txn/replica, comps/ledger) as the real world does, and
// worse; rrts/sim/cluster wires whole clusters on it.
//
// Everything runs on one goroutine, in the order of virtual time and, at equal
// times, of scheduling. Equal seeds give equal worlds: a failing seed replays
// exactly.
package sim

import (
	"container/heap"
	"time"
)

// Scheduler runs functions at virtual times.
type Scheduler struct {
	now   time.Duration
	seq   uint64
	queue events
}

type event struct {
	at  time.Duration
	seq uint64
	run func()
}

// Now is the virtual time.
func (s *Scheduler) Now() time.Duration { return s.now }

// At runs f at time t, or as soon as possible when that is past.
func (s *Scheduler) At(t time.Duration, f func()) {
	s.seq++
	heap.Push(&s.queue, event{max(t, s.now), s.seq, f})
}

// After runs f after d.
func (s *Scheduler) After(d time.Duration, f func()) { s.At(s.now+d, f) }

// Step runs what is next; it reports false when nothing is left.
func (s *Scheduler) Step() bool {
	if len(s.queue) == 0 {
		return false
	}
	e := heap.Pop(&s.queue).(event)
	s.now = e.at
	e.run()
	return true
}

// RunUntil runs everything up to time t.
func (s *Scheduler) RunUntil(t time.Duration) {
	for len(s.queue) > 0 && s.queue[0].at <= t {
		s.Step()
	}
	s.now = max(s.now, t)
}

// events is a heap ordered by time and then by sequence.
type events []event

func (e events) Len() int { return len(e) }
func (e events) Less(i, j int) bool {
	return e[i].at < e[j].at || e[i].at == e[j].at && e[i].seq < e[j].seq
}
func (e events) Swap(i, j int) { e[i], e[j] = e[j], e[i] }
func (e *events) Push(x any)   { *e = append(*e, x.(event)) }
func (e *events) Pop() any {
	old := *e
	x := old[len(old)-1]
	old[len(old)-1] = event{}
	*e = old[:len(old)-1]
	return x
}
