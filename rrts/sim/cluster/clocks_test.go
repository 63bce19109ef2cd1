package cluster

import (
	"testing"
	"time"

	"virtualservicesinc.com/comps/txn/machine"
)

// TestClockJumps sets clocks in quiet clusters. One that is wrong never makes a stamp, on
// the leader least of all, and transactions go on; when all are set alike they are right.
func TestClockJumps(t *testing.T) {
	leader := func(w *world, n *node) bool { return n.life != nil && n.leads() }
	follower := func(w *world, n *node) bool { // the first that is none
		for _, o := range w.nodes {
			if !leader(w, o) {
				return o == n
			}
		}
		return false
	}
	for _, c := range []struct {
		name string
		jump time.Duration
		who  func(w *world, n *node) bool
		all  bool
	}{
		{"leader forwards", maxJump, leader, false},
		{"leader back", -maxJump, leader, false},
		{"leader by a second", time.Second, leader, false},
		{"follower forwards", maxJump, follower, false},
		{"follower back", -maxJump, follower, false},
		{"all forwards", maxJump, func(*world, *node) bool { return true }, true},
		{"all back", -maxJump, func(*world, *node) bool { return true }, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			for seed := uint64(1); seed <= 5; seed++ {
				before := 0
				during := func(w *world) {
					w.After(time.Second, func() {
						before = w.report.Committed
						for _, n := range w.nodes {
							if c.who(w, n) {
								n.setClock(c.jump)
							}
						}
					})
					w.After(2900*time.Millisecond, func() {
						if w.report.Committed < before+20 {
							t.Errorf("seed %d: %d transactions in the second before, %d in two after", seed, before, w.report.Committed-before)
						}
						for _, n := range w.nodes {
							ahead := time.Duration(n.machine.(*machine.Machine).Stamp()) - epoch - w.Now()
							if c.all {
								ahead -= max(c.jump, 0)
							} else if n.leads() && n.skew() == c.jump {
								t.Errorf("seed %d: node %d leads with a clock that is wrong", seed, n.id)
							}
							if ahead > time.Second || !c.all && ahead < -time.Second {
								t.Errorf("seed %d: node %d: ledger time is %v ahead", seed, n.id, ahead)
							}
						}
					})
				}
				if _, err := Run(Config{Seed: seed, Nodes: 3, Events: []Event{}, during: during}); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}
