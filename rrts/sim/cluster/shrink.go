package cluster

import (
	"slices"
	"time"
)

// Shrink cuts a failing run down to a small one that fails, too: fewer events, a
// shorter safety phase, fewer clients. It tries at most that many runs. What it returns
// fails with the error it returns, and not any more when one further event is left
// out, unless the runs did not suffice. The failure may be another symptom than the
// first one. err is nil if the run that it is given does not fail.
func Shrink(c Config, runs int) (small Config, err error) {
	s := shrinker{left: runs}
	c.Trace = nil
	if c = Plan(c); !s.fails(c) {
		return c, nil
	}
	s.cut()
	for s.events() || s.clients() {
	}
	return s.best, s.err
}

// shrinker holds the smallest run so far that fails.
type shrinker struct {
	best Config
	err  error
	end  time.Duration // virtual time at which it failed
	left int           // runs
}

// fails runs c, and keeps it if it fails.
func (s *shrinker) fails(c Config) bool {
	if s.left--; s.left < 0 {
		return false
	}
	report, err := Run(c)
	if err != nil {
		s.best, s.err, s.end = c, err, report.Virtual
	}
	return err != nil
}

// afterLast is how much of the safety phase may follow its last event when the run
// fails only later.
const afterLast = 50 * time.Millisecond

// cut ends the safety phase, and with it the events, where the run fails, or soon after
// the last event.
func (s *shrinker) cut() {
	c := s.best
	c.Events = slices.DeleteFunc(slices.Clone(c.Events), func(e Event) bool { return e.At > s.end })
	end := s.end
	if n := len(c.Events); s.end > c.Safety && n > 0 {
		end = c.Events[n-1].At + afterLast
	}
	if end < c.Safety {
		c.Safety = end
		s.fails(c)
	}
}

// events leaves events out, half of them at a time, then quarters, and so on to single
// ones: delta debugging. It reports whether any was left out.
func (s *shrinker) events() (some bool) {
	for size := (len(s.best.Events) + 1) / 2; size > 0; size /= 2 {
		for from := 0; from < len(s.best.Events) && s.left > 0; {
			c := s.best
			c.Events = slices.Delete(slices.Clone(c.Events), from, min(from+size, len(c.Events)))
			if s.fails(c) {
				some = true
				s.cut()
			} else {
				from += size
			}
		}
	}
	return some
}

// clients takes clients away, and reports whether it could.
func (s *shrinker) clients() bool {
	for n := 1; n < s.best.Clients; n++ {
		c := s.best
		if c.Clients = n; s.fails(c) {
			s.cut()
			return true
		}
	}
	return false
}
