package roster

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// MaxTerms bounds the terms that a forced recovery names: each is an election. What
// another replica holds of older ones counts as overruled where it has anything that is.
const MaxTerms = 64

// EpochOf is the epoch that began with the newest forced recovery that a roster knows
// of; 0 where there was none.
func EpochOf(r *txnpb.Roster) uint32 {
	if r == nil || r.Force == nil {
		return 0
	}
	return r.Force.Epoch
}

// Newer reports whether a is newer than b, which may be nil. Versions count within an
// epoch: two halves of a cluster may have gone on from the same one.
func Newer(a, b *txnpb.Roster) bool {
	if b == nil {
		return true
	}
	if x, y := EpochOf(a), EpochOf(b); x != y {
		return x > y
	}
	return a.Version > b.Version
}

// Overruled lists the members that wait to be replaced or removed.
func Overruled(r *txnpb.Roster) []*txnpb.Member {
	var all []*txnpb.Member
	if r != nil {
		for i := range r.Members {
			if m := &r.Members[i]; m.Overruled {
				all = append(all, m)
			}
		}
	}
	return all
}

// checkForce allows a forced recovery at any time: also in the middle of a change of
// the members, whose second step nobody is there to agree to.
func (s State) checkForce(f *txnpb.Force) error {
	switch m := s.Member(f.By); {
	case s.Roster == nil:
		return fmt.Errorf("the cluster has no roster yet")
	case f.Epoch <= EpochOf(s.Roster):
		return fmt.Errorf("epoch %d is not above %d", f.Epoch, EpochOf(s.Roster))
	case m == nil || m.Overruled:
		return fmt.Errorf("there is no SFU %d", f.By)
	case !Replicates(m.Type):
		return fmt.Errorf("SFU %s has no replica", m.Name)
	}
	return nil
}

// Forced returns the state after a forced recovery: who goes on is the only voter,
// what other replica there was is overruled. csn is that of the state.
func (s State) Forced(f *txnpb.Force, csn uint64) State {
	out := State{Roster: clone(s.Roster), Conf: raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{uint64(f.By)}}), Version: s.Version}
	r := out.Roster
	r.Version++
	force := *f
	force.Csn = csn
	r.Force = &force
	self := s.Member(f.By)
	for i := range r.Members {
		m := &r.Members[i]
		switch {
		case m.Number == f.By:
			m.Voter, m.Leaving = true, false
			continue
		case m.Voter && m.Machine == self.Machine:
			m.Voter = false // the machine's vote is with who goes on
		}
		if Replicates(m.Type) {
			m.Overruled, m.Leaving = true, false
		}
	}
	return out
}

// checkMove allows a seat to move from a voter to a learner of the same machine.
func (s State) checkMove(from, to uint32) error {
	if err := s.checkPromote(to, 1); err != nil {
		return err
	}
	a, b := s.Member(from), s.Member(to)
	switch {
	case a == nil || a.Leaving:
		return fmt.Errorf("there is no SFU %d", from)
	case s.Seat(from) != txnpb.SeatVoter:
		return fmt.Errorf("SFU %s does not vote", a.Name)
	case a.Machine != b.Machine:
		return fmt.Errorf("SFU %s is on %s, SFU %s on %s: a seat moves within its machine", a.Name, a.Machine, b.Name, b.Machine)
	}
	return nil
}

// Successor returns the learner that a voter's seat can move to, as far as there says
// which can take it: one of the same machine, that of the lowest number.
func (s State) Successor(from uint32, there func(id uint64) bool) (to uint32, ok bool) {
	m := s.Member(from)
	if m == nil || s.Seat(from) != txnpb.SeatVoter {
		return 0, false
	}
	for _, id := range s.Conf.Learners { // ascending
		o := s.Member(uint32(id))
		if o != nil && o.Machine == m.Machine && o.Type != typeWitness && !o.Leaving && there(id) {
			return o.Number, true
		}
	}
	return 0, false
}
