package netbench

import (
	"time"

	"golang.org/x/sys/unix"
)

const (
	// Times are kept to 100 ns up to a tenth of a second and to 1 ms beyond, so that
	// millions of them cost four megabytes and no allocation.
	fineUnit   = 100 * time.Nanosecond
	fineEnd    = 100 * time.Millisecond
	coarseUnit = time.Millisecond
	coarseEnd  = 30 * time.Second
)

// histogram is times, counted.
type histogram struct {
	fine   [fineEnd / fineUnit]uint32
	coarse [coarseEnd / coarseUnit]uint32
	count  int
	max    time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	h.count++
	h.max = max(h.max, d)
	if d < fineEnd {
		h.fine[d/fineUnit]++
		return
	}
	h.coarse[min(d, coarseEnd-1)/coarseUnit]++
}

// at is the time that the share q of all stayed below; 0 if there are none.
func (h *histogram) at(q float64) time.Duration {
	left := int(q * float64(h.count))
	for i, n := range h.fine {
		if left -= int(n); left < 0 {
			return time.Duration(i) * fineUnit
		}
	}
	for i, n := range h.coarse {
		if left -= int(n); left < 0 {
			return time.Duration(i) * coarseUnit
		}
	}
	return h.max
}

// micros and millis are times as reports give them.
func micros(d time.Duration) float64 { return float64(d/100) / 10 }
func millis(d time.Duration) float64 { return float64(d/time.Microsecond) / 1000 }

// cpuTime is what this process has used, in its own code and in the kernel.
func cpuTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
