package cluster

import (
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// clockSet is a moment at which a node's wall clock was set.
type clockSet struct {
	at   time.Duration
	skew time.Duration // from then on
}

// setClock sets a node's wall clock.
func (n *node) setClock(skew time.Duration) {
	n.clock = append(n.clock, clockSet{n.w.Now(), skew})
}

// setRight sets it to about the right time. In the healed cluster that is beyond what any
// clock ever was: what pends by ledger time expires.
func (n *node) setRight() {
	if n.w.calm {
		n.setClock(2 * maxJump)
		return
	}
	n.setClock(time.Duration(n.rng.Int64N(int64(400*time.Millisecond))) - 200*time.Millisecond)
}

// skew is how far a node's wall clock is off.
func (n *node) skew() time.Duration { return n.clock[len(n.clock)-1].skew }

func (n *node) wall() uint64 { return uint64(epoch + n.w.Now() + n.skew()) }

// tellClocks tells the replica what the sessions know of the others' clocks.
func (n *node) tellClocks() {
	var told []replica.Clock
	for _, peer := range n.w.nodes {
		if s := n.sessions[peer.id]; s != nil {
			if wall, within := s.PeerWall(n.w.Now()); within != 0 {
				told = append(told, replica.Clock{ID: peer.id, Wall: uint64(wall), Err: within})
			}
		}
	}
	n.replica.Clocks(n.w.Now(), n.wall(), told)
	if state, lasting, _ := n.replica.Clock(n.w.Now()); state != replica.ClockAgrees && lasting == 0 && n.leads() {
		n.w.report.ClocksApart++
	}
}

func (n *node) leads() bool { return n.replica.Status().Role == "leader" }

const (
	// clockNews is how long it may take until a leader hears that another node's clock was
	// set: a probe, and the interval at which the replica is told.
	clockNews = 100 * time.Millisecond
	// clockError is by how much a leader may take a clock for another than it is.
	clockError = 20 * time.Millisecond
)

// checkStamps holds the clock that a leader puts into new entries against those of the
// voters: a majority's must be near it, as they are or as they were when this leader can
// have heard of them last.
func (n *node) checkStamps(msgs []*raftpb.Message) {
	if !n.leads() {
		return
	}
	term := n.replica.Status().Term
	for _, m := range msgs {
		for _, e := range m.GetEntries() {
			if e.GetTerm() != term || e.GetType() != raftpb.EntryNormal || len(e.GetData()) == 0 {
				continue
			}
			var p txnpb.Entry
			if err := p.Parse(e.GetData()); err != nil {
				n.w.fail("node %d proposes an entry that is not one: %v", n.id, err)
				return
			}
			if p.Proposed != 0 && !n.w.nearClocks(time.Duration(p.Proposed)-epoch-n.w.Now(), n.replica.Group().Conf.Voters) {
				n.w.fail("node %d stamps entry %d with a clock that no majority agrees with: it is %v off", n.id, e.GetIndex(), n.skew())
			}
		}
	}
}

// nearClocks reports whether a majority of voters have, or had of late, a clock that is as
// much off as another, give or take what is allowed between two and their median.
func (w *world) nearClocks(skew time.Duration, voters []uint64) bool {
	near := 0
	for _, id := range voters {
		n := w.nodes[slices.IndexFunc(w.nodes, func(n *node) bool { return n.id == id })]
		for i, c := range n.clock {
			over := i+1 < len(n.clock) && n.clock[i+1].at < w.Now()-replica.ClockAge-clockNews
			if !over && (c.skew-skew).Abs() <= 2*replica.MaxClockSkew+clockError {
				near++
				break
			}
		}
	}
	return near > len(voters)/2
}
