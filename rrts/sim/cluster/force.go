package cluster

import (
	"errors"
	"time"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// forcing is a forced recovery from the loss of one of two nodes to the other one's
// return under a new identity.
type forcing struct {
	w    *world
	dead *node // switched off until the other one has gone on
	by   *node
	done bool // all of it
}

const (
	// forceGrace is how long the operator waits before he gives a node up: no leader of
	// before leads any more.
	forceGrace = 400 * time.Millisecond
	// forceRetry is how often he looks whether it can be done, or was.
	forceRetry = 5 * time.Millisecond
)

// planForce lets the seed choose who is lost, and when.
func (w *world) planForce() {
	f := &forcing{w: w, dead: w.nodes[w.rng.IntN(2)]}
	w.forcing = f
	for _, n := range w.nodes {
		if n != f.dead {
			f.by = n
		}
	}
	w.After(time.Duration(700+w.rng.IntN(900))*time.Millisecond, func() {
		if w.group.Roster == nil { // not founded: there is nothing to go on from
			w.After(forceRetry, w.planForce)
			return
		}
		w.trace("node %d: is lost, and switched off", f.dead.id)
		f.dead.off = true
		f.dead.crash(w.rng.IntN(2) == 0)
		w.After(forceGrace, f.try)
	})
}

// try lets the survivor go on, as often as it takes: its power may fail in the middle.
func (f *forcing) try() {
	w, n := f.w, f.by
	l := n.life
	switch {
	case l == nil || l.paused > w.Now() || l.writing || len(l.append) > 0:
	case l.epoch > 1:
		f.decide()
		return
	case l.replica.Status().Role == "leader":
		w.fail("node %d leads without the other one", n.id)
		return
	default:
		f.force(l)
		return
	}
	w.After(forceRetry, f.try)
}

// force is what the Component does on its append thread.
func (f *forcing) force(l *life) {
	w, n := f.w, f.by
	last, _ := l.log.LastIndex()
	force := &txnpb.Force{Epoch: 2, By: uint32(n.id), At: n.wall(), LastIndex: last}
	for _, t := range l.log.Terms(roster.MaxTerms) {
		force.Terms = append(force.Terms, txnpb.LogTerm{Term: t.Term, FirstIndex: t.First})
	}
	e := txnpb.Entry{ApplyVersion: max(entry.VersionForce, l.machine.Group().Version), Epoch: 2, Proposed: force.At, Change: &txnpb.RosterChange{Force: force}}
	w.trace("node %d: is to go on alone behind entry %d", n.id, last)
	err := l.log.Force(2, l.replica.Status().Term, message.Marshal(&e))
	switch {
	case errors.Is(err, journal.ErrNoSpace):
	case err != nil:
		n.diskFailed(err)
	default:
		n.crash(w.rng.IntN(2) == 0)
		w.restart(n)
	}
	w.After(forceRetry, f.try)
}

// decide is the rest: the other one may return, and is replaced before or after that.
func (f *forcing) decide() {
	w := f.w
	w.report.Forced++
	w.trace("node %d: goes on alone", f.by.id)
	back, replace := time.Duration(w.rng.IntN(400))*time.Millisecond, time.Duration(w.rng.IntN(400))*time.Millisecond
	w.After(back, func() {
		w.trace("node %d: is switched on again", f.dead.id)
		f.dead.off = false
		w.restart(f.dead)
	})
	w.After(replace, f.replace)
}

// replace puts a new node into the place of the one that is overruled, once the group
// knows that it is.
func (f *forcing) replace() {
	w := f.w
	for _, m := range roster.Overruled(w.group.Roster) {
		if m.Number == uint32(f.dead.id) {
			w.operator.begin(txnpb.RosterChange{Add: w.operator.record(m.Machine, &Event{Voter: m.Voter, Replica: true}), Remove: m.Number})
			f.done = true
			return
		}
	}
	w.After(forceRetry, f.replace)
}
