package cluster

import (
	"errors"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/sim"
	"virtualservicesinc.com/rrts/sim/disk"
)

// power lets the power of a node fail in the middle of a disk operation.
func (w *world) power(n *node, op disk.Op) error {
	if w.calm || w.Now() == 0 || op.Kind == disk.OpRead || op.Kind == disk.OpOpen {
		return nil
	}
	if n.rng.IntN(400) == 0 {
		w.trace("node %d: power fails in a %v of %s", n.id, op.Kind, op.Name)
		w.restartLater(n)
		return errPower
	}
	return nil
}

// diskDelay is how long a disk takes for one sync: short as a rule, long at times.
func (w *world) diskDelay(rng *rand.Rand) time.Duration {
	d := 100*time.Microsecond + time.Duration(rng.Int64N(int64(400*time.Microsecond)))
	if !w.calm && rng.IntN(50) == 0 {
		d += time.Duration(rng.Int64N(int64(80 * time.Millisecond)))
	}
	return d
}

// maxJump is how far a clock may jump, either way.
const maxJump = 10 * time.Minute

// faults lets the seed plan what goes wrong in the safety phase.
func (w *world) faults() {
	var again func()
	again = func() {
		if w.calm {
			return
		}
		w.fault()
		w.After(time.Duration(10+w.rng.IntN(150))*time.Millisecond, again)
	}
	w.After(500*time.Millisecond, again) // a quiet start, so that every run commits something
}

func (w *world) fault() {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	other := w.nodes[w.rng.IntN(len(w.nodes))]
	net := w.networks[w.rng.IntN(len(w.networks))]
	switch w.rng.IntN(11) {
	case 0:
		if n.life != nil {
			power := w.rng.IntN(2) == 0
			w.trace("node %d: crash, power fails: %v", n.id, power)
			n.crash(power)
			w.rot(n)
			w.restartLater(n)
		}
	case 1, 2:
		w.report.Cuts++
		w.trace("one network: %d → %d cut", n.id, other.id)
		net.Cut(int(n.id), int(other.id), true)
	case 3:
		w.report.Cuts++
		w.trace("both networks: %d cut off", n.id)
		for _, net := range w.networks {
			for _, m := range w.nodes {
				net.Cut(int(n.id), int(m.id), true)
				net.Cut(int(m.id), int(n.id), true)
			}
		}
	case 4:
		for _, net := range w.networks {
			net.Heal()
		}
		w.trace("networks healed")
	case 5:
		net.Weather.Loss = w.rng.Float64() * w.rng.Float64()
		net.Weather.Double = w.rng.Float64() * 0.2
		net.Weather.Corrupt = w.rng.Float64() * 0.05
		net.Weather.Jitter = time.Duration(w.rng.Int64N(int64(2*time.Millisecond)) + 1)
		w.trace("weather %+v", net.Weather)
	case 6:
		d := time.Duration(w.rng.Int64N(int64(600 * time.Millisecond)))
		w.report.Pauses++
		w.trace("node %d: paused for %v", n.id, d)
		n.pause(d)
	case 7:
		if n.life != nil && n.paused <= w.Now() {
			w.trace("node %d: hands over", n.id)
			n.run(n.life, func() { n.replica.HandOver() })
		}
	case 8:
		n.skew += time.Duration(w.rng.Int64N(int64(200*time.Millisecond))) - 100*time.Millisecond
		w.trace("node %d: clock is %v off", n.id, n.skew)
	case 9:
		n.skew = time.Duration(w.rng.Int64N(int64(2*maxJump))) - maxJump
		w.trace("node %d: clock jumps, it is %v off", n.id, n.skew)
	case 10:
		more := w.rng.Int64N(2 * segmentBytes)
		w.trace("node %d: disk has %d bytes left", n.id, more)
		n.disk.SetCapacity(n.disk.Used() + more)
		w.After(time.Duration(w.rng.Int64N(int64(time.Second))), func() { n.disk.SetCapacity(0) })
	}
}

// rot changes some bytes of a node's journal that were synced long enough ago, while
// it is down. One node at a time: what a majority has lost is lost.
func (w *world) rot(n *node) {
	if !w.maySpare() {
		return
	}
	names, err := n.disk.List("journal")
	if err != nil {
		w.fail("%v", err)
		return
	}
	names = slices.DeleteFunc(names, func(name string) bool {
		num, err := strconv.ParseUint(strings.TrimSuffix(name, ".seg"), 10, 32)
		return err != nil || uint32(num) > n.proven.Segment()
	})
	if len(names) == 0 {
		return
	}
	name := names[w.rng.IntN(len(names))]
	num, _ := strconv.ParseUint(strings.TrimSuffix(name, ".seg"), 10, 32)
	end := int64(segmentBytes)
	if uint32(num) == n.proven.Segment() {
		end = int64(n.proven.Offset())
	}
	at, size := w.rng.Int64N(end), 1+w.rng.IntN(64)
	if w.rng.IntN(4) > 0 {
		// Most of a segment is the zeros behind small groups, which mean nothing: a group
		// begins with its block.
		at = at&^(journal.BlockBytes-1) + int64(w.rng.IntN(64))
	}
	size = min(size, max(int(end-at), 1))
	w.trace("node %d: %d bytes of %s rot at %d", n.id, size, name, at)
	n.rotten = true
	if err := n.disk.Rot("journal/"+name, at, size); err != nil {
		w.fail("%v", err)
	}
}

// restartLater starts a node again after some time.
func (w *world) restartLater(n *node) {
	w.After(time.Duration(5+w.rng.IntN(800))*time.Millisecond, func() { w.restart(n) })
}

func (w *world) restart(n *node) {
	if n.life != nil || n.lost || n.gone {
		return
	}
	w.trace("node %d: starts", n.id)
	err := n.start()
	switch {
	case err == nil:
	case errors.Is(err, errPower):
		n.forget(true)
		if w.calm {
			w.restart(n)
		} // else power planned the next start already
	case errors.Is(err, journal.ErrNoSpace): // an installation to complete, and no room for it
		n.forget(false)
		w.restartLater(n)
	case n.rotten && (journal.IsDamage(err) || errors.Is(err, raftlog.ErrVoteLost)):
		w.trace("node %d: %v", n.id, err)
		w.mend(n)
	default:
		w.fail("%v", err)
	}
}

// heal begins the liveness phase.
func (w *world) heal() {
	w.trace("everything is healed")
	w.calm = true
	for _, net := range w.networks {
		net.Heal()
		net.Weather = sim.Weather{Delay: 50 * time.Microsecond, Jitter: 100 * time.Microsecond}
	}
	for _, n := range w.nodes {
		n.disk.SetCapacity(0)
		n.skew = 2 * maxJump // no clock was ahead of this: what pends by ledger time expires
		w.restart(n)
	}
}
