package cluster

import (
	"errors"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// nextVersion is the apply version of the software that is newer than what nodes begin
// with. It has the same rules: what counts is who takes its entries.
const nextVersion = entry.ApplyVersion + 1

// installs puts newer or older software on a node that has the other.
func (n *node) installs(e *Event) bool {
	version := uint32(nextVersion)
	if e.Kind == Older {
		version = entry.ApplyVersion
	}
	if n.software == version {
		return false
	}
	n.software = version
	n.again(e.For)
	return true
}

// again ends a node's process and starts it.
func (n *node) again(after time.Duration) {
	if n.life != nil && !n.lost && !n.gone {
		n.crash(false)
		n.w.restartAfter(n, after)
	}
}

// activate asks a node once.
func (w *world) activate(n *node) bool {
	l := n.life
	c := &replica.Change{Wish: txnpb.RosterChange{Activate: nextVersion}, Deadline: w.Now() + operatorPatience}
	c.Origin = func(c *replica.Change) {
		switch {
		case c.Failed != nil:
		case c.Refused != "":
			w.trace("activation refused: %s", c.Refused)
		case c.Group.Version != nextVersion:
			w.fail("version %d was activated, node %d says %d is", nextVersion, n.id, c.Group.Version)
		default:
			w.report.Activated++
		}
	}
	n.run(l, func() { l.replica.Change(c) })
	return true
}

// halt is what becomes of a node with software that is too old: it applies nothing until it
// has newer one.
func (n *node) halt(cause error) {
	l := n.life
	if l.halted {
		return
	}
	n.w.trace("node %d: %v", n.id, cause)
	n.w.report.Halted++
	l.halted = true
	l.replica.Halt()
	n.w.After(time.Duration(n.rng.IntN(int(300*time.Millisecond))), func() {
		n.software = nextVersion
		if n.life == l {
			n.again(tryAgain)
		}
	})
}

// meets holds what halts a node against what its software knows.
func (n *node) meets(err error) (halts bool) {
	var version *machine.VersionError
	if !errors.As(err, &version) {
		return false
	}
	if version.Version > nextVersion || version.Version <= n.software && version.Know == n.software {
		n.w.fail("node %d: %v", n.id, err)
	}
	return true
}

// checkActive halts a node that is told of an active version that it does not know.
func (n *node) checkActive(version uint32) {
	if version > n.life.newest {
		n.halt(&machine.VersionError{Version: version, Know: n.life.newest})
	}
}

// checkNamed sees to it that no entry names a version before it was activated.
func (n *node) checkNamed(e *raftpb.Entry) {
	if e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
		return
	}
	var p txnpb.Entry
	if err := p.Parse(e.GetData()); err != nil {
		n.w.fail("node %d applies an entry that is not one: %v", n.id, err)
		return
	}
	active := max(n.machine.Group().Version, entry.BaseVersion)
	if p.Change != nil {
		active = max(active, p.Change.Activate)
	}
	if p.ApplyVersion > active {
		n.w.fail("entry %d names apply version %d, %d is active", e.GetIndex(), p.ApplyVersion, active)
	}
}
