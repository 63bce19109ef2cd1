package txn_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/message"
)

// firing counts how often a timer fires.
type firing struct {
	timer.Timer
	count *atomic.Int64
}

func (f firing) Run(fire func()) {
	f.Timer.Run(func() {
		f.count.Add(1)
		fire()
	})
}

// TestIdleGroupSleeps: while nobody wants anything, a leader's timer fires for its
// heartbeats, and a follower's hardly ever: each heartbeat puts it off, where it arrives.
func TestIdleGroupSleeps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fired := map[uint16]*atomic.Int64{1: {}, 2: {}, 3: {}}
		c := newClusterOf(t, 3, func(_ uint16, fs *vfs.MemFS) vfs.FS { return fs }, func(c *cluster) {
			c.timer = func(sfu uint16) (timer.Timer, error) { return firing{timer.Runtime(), fired[sfu]}, nil }
		})
		c.submit(c.leader(), opening())
		c.agree()
		time.Sleep(time.Second)
		lead := c.leader().number
		for _, n := range fired {
			n.Store(0)
		}
		time.Sleep(10 * time.Second)
		for sfu, count := range fired {
			n := count.Load()
			if sfu == lead && (n < 330 || n > 350) || sfu != lead && n > 60 {
				t.Errorf("SFU %d, leading %v: its timer fired %d times in 10 s", sfu, sfu == lead, n)
			}
		}
	})
}

// TestHeartbeatsKeepTime: answers that come late, from members whose machines are busy, do not
// put the next heartbeat off.
func TestHeartbeatsKeepTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.submit(c.leader(), opening())
		c.agree()
		lead := c.leader()
		c.delay(lead, 15*time.Millisecond)
		time.Sleep(time.Second)
		var mu sync.Mutex
		var last, longest time.Duration
		count, began := 0, time.Now()
		seen := func(from, to uint16, lane message.Lane) {
			if from == lead.number && to == lead.number%3+1 && lane == message.LaneControl {
				mu.Lock()
				now := time.Since(began)
				count, last, longest = count+1, now, max(longest, now-last)
				mu.Unlock()
			}
		}
		c.wire.seen.Store(&seen)
		time.Sleep(3 * time.Second)
		c.wire.seen.Store(nil)
		mu.Lock()
		defer mu.Unlock()
		if count < 95 || count > 105 || longest > 31*time.Millisecond {
			t.Errorf("%d heartbeats in 3 s, up to %v apart; want one each 30 ms", count, longest)
		}
	})
}

// failing is a timer that panics once it is told to.
type failing struct {
	timer.Timer
	now *atomic.Bool
}

func (f failing) Run(fire func()) {
	f.Timer.Run(func() {
		if f.now.CompareAndSwap(true, false) {
			panic("it was told to")
		}
		fire()
	})
}

// TestNoTimer: a member that gets no timer for its next life, because the process has too
// many files open, closes what it has opened, and lives when there is one.
func TestNoTimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Bool
		timers := 0
		c := newClusterOf(t, 1, func(_ uint16, fs *vfs.MemFS) vfs.FS { return fs }, func(c *cluster) {
			c.timer = func(uint16) (timer.Timer, error) {
				if timers++; timers == 2 {
					return nil, errors.New("too many open files")
				}
				return failing{timer.Runtime(), &now}, nil
			}
		})
		mustCommit(t, c.submit(c.sfus[0], opening()))
		now.Store(true)
		time.Sleep(5 * time.Second)
		mustCommit(t, c.submit(c.sfus[0], transferOf(1)))
		if timers != 3 {
			t.Errorf("%d timers were asked for, want 3", timers)
		}
	})
}
