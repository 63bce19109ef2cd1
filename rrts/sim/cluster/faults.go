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

var (
	// errPower is the failure of a disk whose power goes in the middle of a write.
	errPower = errors.New("cluster: power failure")
	// errSync is the failure of a sync.
	errSync = errors.New("cluster: failed sync")
)

// armed is an event that waits for an operation of its node's disk.
type armed struct {
	Event
	left int // operations until it strikes
}

// disturb makes the schedule's events happen.
func (w *world) disturb() {
	for i := range w.cfg.Events {
		e := &w.cfg.Events[i]
		w.At(e.At, func() {
			if !w.calm {
				w.inflict(e)
			}
		})
	}
}

// inflict makes one event happen.
func (w *world) inflict(e *Event) {
	switch e.Kind {
	case Cut:
		w.report.Cuts++
		w.networks[e.Net&1].Cut(int(e.Node), int(e.To), true)
	case Isolate:
		w.report.Cuts++
		for _, net := range w.networks {
			for _, m := range w.nodes {
				net.Cut(int(e.Node), int(m.id), true)
				net.Cut(int(m.id), int(e.Node), true)
			}
		}
	case Heal:
		for _, net := range w.networks {
			net.Heal()
		}
	case Storm:
		weather := &w.networks[e.Net&1].Weather
		weather.Loss, weather.Double, weather.Corrupt, weather.Jitter = e.Loss, e.Double, e.Corrupt, e.Jitter
	case Add, Remove, Demote, Lose:
		w.operator.wants(e)
		return // it traces what it does
	default:
		n := w.node(e.Node)
		if n == nil || !n.inflict(e) {
			return
		}
	}
	w.trace("%s", e.what())
}

// inflict makes an event of one node happen; it reports whether it meant anything.
func (n *node) inflict(e *Event) bool {
	w := n.w
	switch e.Kind {
	case Power, PowerState, FailedSync:
		n.armed = append(n.armed, armed{*e, e.Op})
	case Full:
		n.disk.SetCapacity(n.disk.Used() + e.Bytes)
		w.After(e.For, func() { n.disk.SetCapacity(0) })
	case Slow:
		n.delay, n.slowUntil = e.Delay, w.Now()+e.For
		w.report.Slow++
	case RotRows:
		return !n.witness && w.maySpare() && n.rows.Rot(e.Pick)
	case Clock:
		n.setClock(e.Off)
	case Newer, Older:
		return n.installs(e)
	case Activate:
		return n.life != nil && w.activate(n)
	case Pause:
		if n.life == nil {
			return false
		}
		w.report.Pauses++
		n.pause(e.For)
	case HandOver:
		if n.life == nil || n.paused > w.Now() {
			return false
		}
		n.run(n.life, func() { n.replica.HandOver() })
	case Crash, Rot, Unreadable:
		if n.life == nil {
			return false
		}
		n.crash(false)
		if e.Kind != Crash {
			n.rot(e)
		}
		w.restartAfter(n, e.For)
	}
	return true
}

// strikes returns the armed event that the operation makes happen, or nil.
func (n *node) strikes(counts func(*armed) bool) *Event {
	if n.w.calm {
		return nil
	}
	var hit *Event
	n.armed = slices.DeleteFunc(n.armed, func(a armed) bool {
		if hit != nil || !counts(&a) {
			return false
		}
		hit = &a.Event
		return true
	})
	return hit
}

// beforeDisk lets power or disk fail in the middle of a disk operation.
func (n *node) beforeDisk(op disk.Op) error {
	if op.Kind == disk.OpRead || op.Kind == disk.OpOpen {
		return nil
	}
	for i := range n.armed {
		if a := &n.armed[i]; a.Kind == Power || a.Kind == FailedSync && op.Kind == disk.OpSync {
			a.left--
		}
	}
	e := n.strikes(func(a *armed) bool { return (a.Kind == Power || a.Kind == FailedSync) && a.left < 0 })
	if e == nil {
		return nil
	}
	n.w.trace("node %d: %s strikes in a %v of %s", n.id, e.Kind, op.Kind, op.Name)
	n.w.restartAfter(n, e.For)
	if e.Kind == FailedSync {
		n.w.report.FailedSyncs++
		return errSync
	}
	return errPower
}

// syncDelay is how long the disk takes for one sync.
func (n *node) syncDelay() time.Duration {
	d := 100*time.Microsecond + time.Duration(n.rng.Int64N(int64(400*time.Microsecond)))
	if n.w.Now() < n.slowUntil && !n.w.calm {
		d += time.Duration(n.rng.Int64N(int64(n.delay)))
	}
	return d
}

// rot spoils some of the node's journal that was synced long enough ago, while the node
// is down. One node at a time: what a majority has lost is lost.
func (n *node) rot(e *Event) {
	w := n.w
	if !w.maySpare() {
		return
	}
	rng := rand.New(rand.NewPCG(e.Pick, 0))
	names, err := n.disk.List("journal")
	if err != nil {
		w.fail("%v", err)
		return
	}
	number := func(name string) uint32 {
		num, err := strconv.ParseUint(strings.TrimSuffix(name, ".seg"), 10, 32)
		if err != nil {
			return ^uint32(0) // no segment
		}
		return uint32(num)
	}
	names = slices.DeleteFunc(names, func(name string) bool { return number(name) > n.proven.Segment() })
	if len(names) == 0 {
		return
	}
	name := names[rng.IntN(len(names))]
	end := int64(segmentBytes)
	if number(name) == n.proven.Segment() {
		end = int64(n.proven.Offset())
	}
	at, size := rng.Int64N(end), 1+rng.IntN(64)
	if rng.IntN(4) > 0 {
		// Most of a segment is the zeros behind small groups, which mean nothing: a group
		// begins with its block.
		at = at&^(journal.BlockBytes-1) + int64(rng.IntN(64))
	}
	size = min(size, max(int(end-at), 1))
	n.rotten = true
	if e.Kind == Unreadable {
		w.trace("node %d: the sector at %d of %s cannot be read", n.id, at, name)
		err = n.disk.Unreadable("journal/"+name, at)
	} else {
		w.trace("node %d: %d bytes of %s rot at %d", n.id, size, name, at)
		err = n.disk.Rot("journal/"+name, at, size)
	}
	if err != nil {
		w.fail("%v", err)
	}
}

// tryAgain is the pause before a node that could not start tries again.
const tryAgain = 100 * time.Millisecond

// restartAfter starts a node again after some time.
func (w *world) restartAfter(n *node, d time.Duration) { w.After(d, func() { w.restart(n) }) }

func (w *world) restart(n *node) {
	if n.life != nil || n.lost || n.gone || n.off {
		return
	}
	w.trace("node %d: starts", n.id)
	if n.fenced && !w.rebuild(n) {
		return
	}
	err := n.start()
	switch {
	case err == nil:
	case n.struck(err):
	case n.meets(err):
		w.trace("node %d: %v", n.id, err)
		w.report.Halted++
		n.software = nextVersion
		n.forget(false)
		w.restartAfter(n, tryAgain)
	case errors.Is(err, journal.ErrNoSpace): // an installation to complete, and no room for it
		n.forget(false)
		w.restartAfter(n, tryAgain)
	case n.rotten && (journal.IsDamage(err) || errors.Is(err, raftlog.ErrVoteLost)):
		w.trace("node %d: %v", n.id, err)
		w.mend(n)
	default:
		w.fail("%v", err)
	}
}

// struck reports whether an error is one that the schedule arranged, and then does to
// the disk what it does. Whoever arranged it starts the node again later.
func (n *node) struck(err error) bool {
	power := errors.Is(err, errPower)
	if !power && !errors.Is(err, errSync) {
		return false
	}
	n.forget(power)
	return true
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
		n.setRight()
		w.restart(n)
	}
}
