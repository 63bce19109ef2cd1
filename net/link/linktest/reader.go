package linktest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/net/link"
)

// reader receives all that comes to a link until the link is closed.
type reader struct {
	t    testing.TB
	link link.Link

	mu    sync.Mutex
	got   []arrival
	fault error
}

// read starts a reader.
func read(t testing.TB, l link.Link) *reader {
	r := &reader{t: t, link: l}
	go func() {
		frames := buffers(link.BatchSize)
		for {
			n, err := l.Receive(frames)
			if err != nil {
				return
			}
			r.mu.Lock()
			for _, f := range frames[:n] {
				number, err := check(f.Data)
				if err != nil && r.fault == nil {
					r.fault = err
				}
				r.got = append(r.got, arrival{number, f.Addr})
			}
			r.mu.Unlock()
		}
	}()
	return r
}

// until waits for enough and returns what has come since the last call.
func (r *reader) until(what string, enough func(got []arrival) bool) []arrival {
	r.t.Helper()
	for began := time.Now(); ; time.Sleep(100 * time.Microsecond) {
		r.mu.Lock()
		got, fault := r.got, r.fault
		done := enough(got)
		if done {
			r.got = nil
		}
		r.mu.Unlock()
		switch {
		case fault != nil:
			r.t.Fatal(fault)
		case done:
			return got
		case time.Since(began) > patience:
			r.t.Fatalf("waited for %s, got %d frames; %+v", what, len(got), r.link.Counters())
		}
	}
}

// next returns the next n frames.
func (r *reader) next(n int) []arrival {
	r.t.Helper()
	got := r.until(fmt.Sprintf("%d frames", n), func(got []arrival) bool { return len(got) >= n })
	if len(got) > n {
		r.t.Fatalf("%d frames came instead of %d", len(got), n)
	}
	return got
}

// settle waits until every one of n frames from sender has come or is counted as
// lost on one of the two sides, and checks that those that came are in order and
// at least as many as a queue holds.
func (r *reader) settle(sender link.Link, n uint32, queued int) {
	r.t.Helper()
	got := r.until(fmt.Sprintf("%d frames in all", n), func(got []arrival) bool {
		return uint64(len(got))+sender.Counters().SendLost+r.link.Counters().Overrun >= uint64(n)
	})
	if len(got) > int(n) || len(got) < min(int(n), queued) {
		r.t.Fatalf("%d of %d frames came", len(got), n)
	}
	for i, a := range got {
		if a.number >= n || i > 0 && a.number <= got[i-1].number {
			r.t.Fatalf("frame %d of %d came in place %d", a.number, n, i)
		}
	}
}
