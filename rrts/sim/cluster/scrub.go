package cluster

import (
	"errors"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/rrts/journal"
)

const (
	// scrubInterval is the pause between two looks through the rows, and scrubTime how long
	// one takes, beside everything else: the Component's, shortened like the runs are.
	scrubInterval = 150 * time.Millisecond
	scrubTime     = 30 * time.Millisecond
)

// scrub looks through the rows as they are at one CSN. What it finds is known a while later.
func (n *node) scrub() {
	l := n.life
	if !n.rows.Rotten() || n.w.cfg.Bug == IgnoreRot {
		return
	}
	d := n.machine.Digest()
	n.w.After(scrubTime, func() {
		n.run(l, func() {
			if n.rows.Rotten() { // no other state was installed meanwhile
				n.fence(d.Csn)
			}
		})
	})
}

// fence takes the node out of service until it has another's state.
func (n *node) fence(csn uint64) {
	n.w.trace("node %d: its rows at CSN %d are not those that were written", n.id, csn)
	n.w.report.Fenced++
	n.fenced = true
	n.again(0)
}

// takes reports whether the node takes a state: one that is what its sum says.
func (n *node) takes(holds bool) bool { return holds || n.w.cfg.Bug == TrustRotten }

// rebuild puts the state of another node in the place of the one that must not be used, as
// the Component does. It reports whether the node may start; otherwise that is tried again
// later.
func (w *world) rebuild(n *node) bool {
	log, err := raftlog.Open(n.logConfig())
	least, intend := uint64(0), func(*raftpb.Snapshot) error { return nil }
	if err == nil {
		var first uint64
		first, err = log.FirstIndex()
		least, intend = first-1, log.Intend
	} else if n.rotten && (journal.IsDamage(err) || errors.Is(err, raftlog.ErrVoteLost)) {
		err = nil // the start will mend it; then what it needs is in its log, or in any state
	}
	given := false
	if err == nil {
		given, err = w.takeState(n, least, intend)
	}
	switch {
	case err == nil:
		n.forget(false)
	case n.struck(err): // whoever arranged it starts the node again
		return false
	case errors.Is(err, journal.ErrNoSpace):
		n.forget(false)
	default:
		w.fail("node %d: %v", n.id, err)
		return false
	}
	if !given {
		w.restartAfter(n, tryAgain)
	}
	return given
}

// takeState takes the state of the first node that gives one that has come to entry least.
func (w *world) takeState(n *node, least uint64, intend func(*raftpb.Snapshot) error) (given bool, err error) {
	for _, o := range w.nodes {
		if o == n || o.life == nil || o.witness || o.halted || !n.takes(!o.rows.Rotten()) {
			continue
		}
		index, term := o.machine.Applied()
		if index < least {
			continue
		}
		rows := o.rows.Clone()
		if err := intend(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &index, Term: &term}}); err != nil {
			return false, err
		}
		n.switchTo(rows)
		n.fenced = false
		w.report.Rebuilt++
		w.trace("node %d: has the state of node %d at entry %d", n.id, o.id, index)
		return true, nil
	}
	return false, nil
}
