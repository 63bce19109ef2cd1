package txn_test

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/engine/timer"
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
