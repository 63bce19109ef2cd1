package cluster

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// body is what a node gives committed entries to: a machine, or a witness.
type body interface {
	Applied() (index, term uint64)
	Group() roster.State
	GroupIndex() uint64
	NextExpiry() uint64
	Digest() txnpb.StateDigest
	Apply(index, term uint64, data []byte, out []entry.Result) ([]entry.Result, error)
	Reconfigure(index, term uint64, data []byte) error
	TakeChanges() []roster.Applied
}

// open begins a body with what the disk holds, and with the given members if that is
// nothing.
func (n *node) open(members *raftpb.ConfState, newest uint32) (body, error) {
	if !n.witness {
		return machine.Open(n.state, machine.Config{Ledger: smallCaches, Newest: newest}, members)
	}
	return machine.NewWitness(n.marker, members, newest)
}

// keptUpTo is the entry up to which a crash leaves what a node has made of the log.
func (n *node) keptUpTo() uint64 {
	if n.witness {
		if n.marker == nil {
			return 0
		}
		return n.marker.AppliedIndex
	}
	return n.state.Flushed()
}

// keepMarker makes a witness' marker durable.
func (n *node) keepMarker(m *txnpb.Marker) {
	n.marker = &txnpb.Marker{}
	if err := n.marker.Parse(message.Marshal(m)); err != nil { // nothing is shared with what goes on
		n.w.fail("node %d: its marker: %v", n.id, err)
	}
}

// holders are the voters of a group that have the state.
func holders(s roster.State) []uint64 {
	all := slices.Concat(s.Conf.Voters, s.Conf.VotersOutgoing)
	return slices.DeleteFunc(all, s.Witness)
}

// needed is the entry, at most limit, above which some voter may need the log of a
// witness: those that run say it at once, so that it cuts as much as it ever may.
func (n *node) needed(limit uint64) uint64 {
	if n.w.cfg.Bug == CutEarly {
		return limit
	}
	for _, id := range holders(n.machine.Group()) {
		if o := n.w.node(id); o != nil && o.life != nil {
			n.heard[id] = max(n.heard[id], o.flushed)
		}
		limit = min(limit, n.heard[id])
	}
	return limit
}

// patientWitness is how long a witness may lead in a healed cluster: some elections, and
// what a voter lacks.
const patientWitness = time.Second

// watchWitness is called at every tick of one.
func (n *node) watchWitness() {
	l := n.life
	if l.replica.Status().Role != "leader" {
		l.leads = 0
		return
	}
	if l.leads == 0 {
		l.leads = n.w.Now()
	}
	if n.w.calm && n.w.Now()-max(l.leads, n.w.healed) > patientWitness {
		n.w.fail("node %d is a witness, and leads for %v", n.id, n.w.Now()-l.leads)
	}
}

// replicas are the members that take part and have the state.
func (w *world) replicas() []*node {
	return slices.DeleteFunc(slices.Clone(w.there()), func(n *node) bool { return n.witness })
}

// abandon gives lost entries of a witness' log up where no other member keeps them in
// its log any more: then all have them in their states.
func (w *world) abandon(n *node, m *raftlog.Mend, gap raftlog.Gap) (bool, error) {
	for _, o := range w.there() {
		if o != n && o.life == nil {
			return false, nil // it may keep them
		}
	}
	return m.Abandon(gap, n.keptUpTo())
}
