package txn

import (
	"testing"
	"time"
)

// TestDiskSpeed: writes of the log, one after the other, and whether the disk is slow then.
func TestDiskSpeed(t *testing.T) {
	const ms = time.Millisecond
	for _, c := range []struct {
		name   string
		writes []time.Duration
		every  time.Duration
		want   bool
	}{
		{"good", repeat(50, ms), 10 * ms, false},
		{"three slow ones", repeat(3, 300*ms), 10 * ms, false},
		{"four slow ones", repeat(4, 300*ms), 10 * ms, true},
		{"slow ones between good ones", []time.Duration{300 * ms, 300 * ms, ms, 300 * ms, 300 * ms}, 10 * ms, false},
		{"one that hung", []time.Duration{2 * time.Second}, 10 * ms, true},
		{"good again, for a moment", append(repeat(4, 300*ms), repeat(50, ms)...), 10 * ms, true},
		{"good again, for long", append(repeat(4, 300*ms), repeat(50, ms)...), 300 * ms, false},
		{"good again, and too few writes", append(repeat(4, 300*ms), repeat(5, ms)...), 5 * time.Second, true},
		{"neither", append(repeat(4, 300*ms), repeat(50, 200*ms)...), 300 * ms, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			var s diskSpeed
			now := time.Second
			for _, w := range c.writes {
				s.begin(now)
				now += w
				s.end(now, true)
				now += c.every
				s.begin(now) // nothing to write: it says nothing
				s.end(now, false)
			}
			if got, _ := s.look(now); got != c.want {
				t.Errorf("slow: %v, want %v", got, c.want)
			}
		})
	}
	var s diskSpeed
	s.begin(time.Second)
	for _, look := range []struct {
		after time.Duration
		want  bool
	}{{0, false}, {999 * ms, false}, {time.Second, true}} {
		if got, took := s.look(time.Second + look.after); got != look.want || got && took != look.after {
			t.Errorf("a write that is under way for %v: slow: %v, %v", look.after, got, took)
		}
	}
}

func repeat(n int, d time.Duration) []time.Duration {
	all := make([]time.Duration, n)
	for i := range all {
		all[i] = d
	}
	return all
}
