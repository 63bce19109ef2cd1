package ledger

import "virtualservicesinc.com/rrts/message/u128"

// window is the part of a set that a filter asks for.
type window struct {
	min, max uint64 // inclusive
	limit    int
	reversed bool
}

// newWindow returns the window of a filter's bounds; ok is false when they are
// not valid.
func newWindow(min, max uint64, limit uint32, reversed bool) (w window, ok bool) {
	if min > MaxTimestamp || max > MaxTimestamp || max != 0 && min > max || limit == 0 {
		return window{}, false
	}
	w = window{min: min, max: max, limit: MaxResults, reversed: reversed}
	if w.max == 0 {
		w.max = MaxTimestamp
	}
	if limit < MaxResults {
		w.limit = int(limit)
	}
	return w, true
}

// each calls f for the timestamps of times that lie in the window.
func (w window) each(times Times, f func(ts uint64)) {
	bound := w.min
	if w.reversed {
		bound = w.max
	}
	for n := 0; n < w.limit; n++ {
		ts, ok := times.Seek(bound)
		if !ok || ts < w.min || ts > w.max {
			return
		}
		f(ts)
		if w.reversed {
			bound = ts - 1 // 0 is before all timestamps
		} else {
			bound = ts + 1
		}
	}
}

// union iterates over the timestamps of any of its parts, of which no two share
// one.
type union []Times

func (u union) Seek(bound uint64) (ts uint64, ok bool) {
	for _, part := range u {
		at, found := part.Seek(bound)
		// The nearest to the bound comes first, whichever the direction.
		if found && (!ok || distance(at, bound) < distance(ts, bound)) {
			ts, ok = at, true
		}
	}
	return ts, ok
}

func distance(a, b uint64) uint64 {
	if a < b {
		return b - a
	}
	return a - b
}

func (u union) Close() {
	for _, part := range u {
		part.Close()
	}
}

// intersection iterates over the timestamps that are in all of its parts.
type intersection []Times

// with adds the rows whose field has the given value; 0 adds no condition.
func (x intersection) with(h History, set Set, field Field, value u128.Int, reversed bool) intersection {
	if value.IsZero() {
		return x
	}
	return append(x, h.Scan(set, field, value, reversed))
}

func (x intersection) Seek(bound uint64) (ts uint64, ok bool) {
	// Each part moves the bound on; it is in all parts once none does any more.
	for agreed := 0; agreed < len(x); {
		for _, part := range x {
			if ts, ok = part.Seek(bound); !ok {
				return 0, false
			}
			if ts == bound {
				agreed++
			} else {
				agreed = 1
			}
			bound = ts
			if agreed >= len(x) {
				break
			}
		}
	}
	return bound, true
}

func (x intersection) Close() {
	for _, part := range x {
		part.Close()
	}
}
