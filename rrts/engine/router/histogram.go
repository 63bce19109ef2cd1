package router

import (
	"math/bits"
	"time"
)

const (
	// perOctave buckets for each doubling of time: a bucket is at most 25 % wide, so
	// that a quantile read from it is that exact.
	perOctave = 4
	// octaves from 1 µs up: the last bucket begins at 39 s and takes all that is longer.
	octaves = 26
	// Buckets is the number of buckets of a Histogram.
	Buckets = 1 + perOctave*octaves
)

// Histogram counts durations in buckets that grow by the logarithm. The zero value
// is empty.
//
//	bucket 0              less than 1 µs
//	bucket 1 + 4·o + q    from 2^o·(1 + q/4) µs up to the next one's beginning
type Histogram struct {
	Count uint64
	Sum   time.Duration
	Max   time.Duration
	Seen  [Buckets]uint64
}

// Observe counts d.
func (h *Histogram) Observe(d time.Duration) { h.ObserveMany(d, 1) }

// ObserveMany counts d n times.
func (h *Histogram) ObserveMany(d time.Duration, n int) {
	if n == 0 {
		return
	}
	h.Count += uint64(n)
	h.Sum += time.Duration(n) * d
	h.Max = max(h.Max, d)
	h.Seen[bucket(d)] += uint64(n)
}

func bucket(d time.Duration) int {
	if d < time.Microsecond {
		return 0
	}
	octave := bits.Len64(uint64(d/time.Microsecond)) - 1
	if octave >= octaves {
		return Buckets - 1
	}
	quarter := int(perOctave*d/(time.Microsecond<<octave)) - perOctave
	return 1 + octave*perOctave + quarter
}

// Above returns the shortest duration that does not fall into bucket b any more.
// The last bucket has no such bound.
func Above(b int) time.Duration {
	octave, quarter := b/perOctave, b%perOctave
	return time.Microsecond << octave * time.Duration(perOctave+quarter) / perOctave
}

// Quantile returns a bound that the fraction q (0 to 1) of the durations did not
// exceed, at most 25 % too high; 0 if there are none.
func (h *Histogram) Quantile(q float64) time.Duration {
	if h.Count == 0 {
		return 0
	}
	rest := uint64(q * float64(h.Count))
	for b, n := range h.Seen {
		if rest < n {
			return min(Above(b), h.Max)
		}
		rest -= n
	}
	return h.Max
}
