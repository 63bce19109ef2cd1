package replica

import (
	"errors"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/roster"
)

// othersTurn is how many election times a witness leaves to the other voters that are
// there, to find a leader among themselves, before it leads to catch one of them up.
const othersTurn = 3

// unaskedTurn is after how many election times without a leader, and without anybody who
// asks for its vote, a witness stands unasked: later than for one that asks.
const unaskedTurn = 2 * othersTurn

var errNobodyLeads = errors.New("only witnesses would vote, and they cannot lead: add an SFU of type all or core that votes, and let it catch up first")

// witness is what a replica that applies nothing does in its own way. It never stands
// for election on its own account: raft's clock, which makes members campaign, stands
// still while it follows.
type witness struct {
	lifting bool // it leads, to catch a voter up and to hand over
	silent  int  // ticks since a leader was heard
	unasked int  // ticks since a leader was heard, or another asked for its vote
}

// isWitness reports whether a member applies nothing. Until the cluster is founded the
// roster that it is founded with tells.
func (r *Replica) isWitness(id uint64) bool {
	if id == r.cfg.ID {
		return r.cfg.Witness
	}
	s := r.group
	if s.Roster == nil {
		s = roster.State{Roster: r.cfg.Found, Conf: s.Conf}
	}
	return s.Witness(id)
}

// Witness reports whether a member, 0 for none, is known to apply nothing: while it
// leads, nothing is decided.
func (r *Replica) Witness(id uint64) bool { return id != 0 && r.isWitness(id) }

// tickWitness advances a witness by one tick.
func (r *Replica) tickWitness() {
	w := &r.witness
	if w.lifting {
		r.tickRaft()
		r.lift()
		return
	}
	if w.silent++; w.silent == r.cfg.Election {
		_ = r.node.ForgetLeader() // who stands now may have its vote
	}
	if w.unasked++; w.unasked >= unaskedTurn*r.cfg.Election {
		w.unasked = 0
		r.standUnasked()
	}
}

// standUnasked stands for a voter that does not, because it does not know that it is one: the
// leader that made it one is lost, and this witness alone has that. A voter that applies
// nothing, because its software is too old, is left alone: it would not lead either.
//
//	1 and 2 vote, 2 is a witness     1 … 29  30  31     30 promotes 3, 31 ends that; 1 is lost
//	                                 2 … 29  30  31     nobody asks it
//	3 learns, as far as it knows     3 … 29             asks nobody
func (r *Replica) standUnasked() {
	for id := range r.node.Status().Config.Voters.IDs() {
		if id != r.cfg.ID && !r.suspects[id] && !r.isWitness(id) && r.knowsActive(id) {
			_ = r.node.Campaign() // refused where it does not vote itself, or has a membership change to apply
			return
		}
	}
}

// lift hands over, as soon as a voter that holds the state is there. Raft completes its
// log first, and has it campaign in the moment in which it lacks nothing; what takes
// longer than an election time is begun anew.
func (r *Replica) lift() {
	if r.witness.lifting {
		r.HandOver()
	}
}

// witnessed takes note of a message that raft has had. A voter that asks for a vote,
// and lacks what is in the log here, cannot win: nobody but this witness may hold what
// was committed with its acknowledgement. So it stands itself, where it can give that
// voter all that it lacks.
func (r *Replica) witnessed(m *raftpb.Message) {
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgHeartbeat, raftpb.MsgSnap:
		r.witness.silent, r.witness.unasked = 0, 0
	case raftpb.MsgAppResp:
		r.lift()
	case raftpb.MsgPreVote, raftpb.MsgVote:
		r.witness.unasked = 0
		if !r.isWitness(m.GetFrom()) && r.lacks(m) && r.isWanted(m.GetFrom()) {
			_ = r.node.Campaign() // refused with a membership change to apply: it will ask again
		}
	}
}

// lacks reports whether a voter that asks for a vote lacks entries that this log holds,
// and nothing before them. What is not durable here yet does not count.
func (r *Replica) lacks(m *raftpb.Message) bool {
	first, err := r.cfg.Log.FirstIndex()
	if err != nil || m.GetIndex()+1 < first {
		return false // it needs the state, which no witness has
	}
	last, err := r.cfg.Log.LastIndex()
	if err != nil {
		return false
	}
	term, err := r.cfg.Log.Term(last)
	return err == nil && (m.GetLogTerm() < term || m.GetLogTerm() == term && m.GetIndex() < last)
}

// isWanted reports whether nobody leads, nor is likely to without this witness: no other
// voter is there, or they have had their time.
func (r *Replica) isWanted(asker uint64) bool {
	status := r.node.Status()
	if status.Lead != 0 {
		return false
	}
	for id := range status.Config.Voters.IDs() {
		if id != asker && id != r.cfg.ID && !r.suspects[id] && !r.isWitness(id) {
			return r.witness.silent >= othersTurn*r.cfg.Election
		}
	}
	return true
}

// isWhole reports whether a learner lacks nothing that a witness may have been brought
// over by a marker: what is missing of it then could come from the leader alone, and the
// group with the new voter must not depend on that one. Without a witness nothing is
// asked.
func (r *Replica) isWhole(id uint64) bool {
	status := r.node.Status()
	for v := range status.Config.Voters.IDs() {
		if r.isWitness(v) {
			return status.Progress[id].Match >= status.GetCommit()
		}
	}
	return true
}
