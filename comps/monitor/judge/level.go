package judge

import "time"

// level is a condition with hysteresis: it stands when it was seen for raiseAfter,
// and ends when it was not seen for clearAfter.
type level struct {
	raiseAfter, clearAfter time.Duration

	stands bool
	seen   bool
	since  time.Duration // when seen last changed
}

// change is what a look at a level says.
type change int

const (
	same change = iota
	raised
	cleared
)

// look takes in what is seen now. Between the two levels of a value, neither bad
// nor good, nothing changes: then it is not called.
func (l *level) look(now time.Duration, bad bool) change {
	if bad != l.seen {
		l.seen, l.since = bad, now
	}
	switch held := now - l.since; {
	case bad && !l.stands && held >= l.raiseAfter:
		l.stands = true
		return raised
	case !bad && l.stands && held >= l.clearAfter:
		l.stands = false
		return cleared
	}
	return same
}
