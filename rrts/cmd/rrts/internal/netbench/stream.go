package netbench

import "time"

// windowKind is what a window of a stream shows.
type windowKind int

const (
	noWindow    windowKind = iota
	windowUncut            // nothing happens
	windowCut              // a network is cut as it begins
	windowIdle             // a NIC that carries nothing goes down as it begins
	windowKinds = iota
)

// windowLength is how much of a stream a cut has to do with. The longest gap in it is
// compared with that in as long a piece of the same stream without a cut: on a machine
// that has pauses of its own, one gap alone says nothing.
const windowLength = 50 * time.Millisecond

// stream checks numbered records.
type stream struct {
	next      uint64 // number expected
	received  uint64
	reordered uint64
	last      time.Time
	gaps      *histogram
	open      windowKind
	until     time.Time     // end of the open window
	longest   time.Duration // gap in it
	windows   [windowKinds][]time.Duration
}

func newStream() stream { return stream{gaps: new(histogram), open: noWindow} }

func (s *stream) arrived(number uint64, now time.Time) {
	if s.gaps == nil {
		return // of a measurement that was given up
	}
	s.received++
	if number < s.next {
		s.reordered++
	} else {
		s.next = number + 1
	}
	if !s.last.IsZero() {
		gap := now.Sub(s.last)
		s.gaps.add(gap)
		s.longest = max(s.longest, gap)
	}
	s.last = now
	// The gap that the end of the window is in belongs to it.
	if s.open != noWindow && !now.Before(s.until) {
		s.windows[s.open] = append(s.windows[s.open], s.longest)
		s.open = noWindow
	}
}

// window begins one. The gap that its begin is in belongs to it.
func (s *stream) window(kind windowKind, now time.Time) {
	s.open, s.until, s.longest = kind, now.Add(windowLength), 0
}

func (s *stream) answer() answer {
	a := answer{Received: s.received, Reordered: s.reordered, Windows: s.windows}
	if s.gaps != nil {
		a.Longest, a.GapP99 = s.gaps.max, s.gaps.at(0.99)
	}
	return a
}
