package gateway

import (
	"sync"
	"sync/atomic"
	"time"
)

// counters counts since the gateway started.
type counters struct {
	requests, submits, batches, retries, pending, overloaded   atomic.Uint64
	turnedAway, failedHandshakes, badFrames, slowReaders, mute atomic.Uint64
}

// quiet lets a bounded number of lines through in each second.
type quiet struct {
	mu     sync.Mutex
	second time.Duration
	lines  int
	held   uint64 // not let through since the last one that was
}

// ask reports whether a line may be written now, and how many were held back
// before it.
func (q *quiet) ask(now time.Duration) (held uint64, ok bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if s := now.Truncate(time.Second); s != q.second {
		q.second, q.lines = s, 0
	}
	if q.lines == logLines {
		q.held++
		return 0, false
	}
	q.lines++
	held, q.held = q.held, 0
	return held, true
}
