// Package roster holds the rules by which the cluster's roster changes, and the
// members of the transaction group with it.
//
// The roster says who is in the cluster; raft's ConfState says who of them votes
// and who learns. Both are replicated state: a RosterChange in the log changes them
// in one step, by the rules here, on every replica alike. Each change of the group
// goes through joint consensus: from the old voters to both sets together, and from
// there, by an entry that the leader adds by itself, to the new ones alone. A member
// that is removed is leaving in between, and gone from the roster with the second
// step: until then its acknowledgement may be needed.
//
// A seat moves between two SFUs of one machine in one change: in between both have to
// agree, and no machine ever has two voices against another one.
//
// A forced recovery goes through nothing: it makes one replica the only voter, in a
// higher epoch, and the others overruled, by an entry that this one alone has agreed to.
//
// A member's number is its raft id. Numbers rise and are never given again.
package roster

import (
	"bytes"
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/confchange"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// MaxMembers bounds a cluster: every SFU keeps a session with every other.
	MaxMembers = 64
	// MaxVoters bounds a group: past seven, every commit waits for more disks and
	// survives no more failures than a shop ever sees.
	MaxVoters = 7
	// maxNumber is the greatest number of an SFU: it has 16 bits in frames.
	maxNumber = 1<<16 - 1
	// keyBytes is the length of an X25519 public key.
	keyBytes = 32
)

// State is the roster and the members of the group at one place of the log. Its
// content is never changed: a change makes another one.
type State struct {
	// Roster is nil until the cluster is founded.
	Roster *txnpb.Roster
	Conf   *raftpb.ConfState
	// Version is the apply version that was activated last; 0 where none was.
	Version uint32
}

// Members lists the raft ids of the group, ascending: voters and learners, those of both
// sets where it is between two.
func (s State) Members() []uint64 {
	all := slices.Concat(s.Conf.Voters, s.Conf.VotersOutgoing, s.Conf.Learners, s.Conf.LearnersNext)
	slices.Sort(all)
	return slices.Compact(all)
}

// Replicates reports whether SFUs of a type run a replica.
func Replicates(kind string) bool { return kind == "all" || kind == "core" || kind == typeWitness }

// Founders is the group with which a cluster of this roster begins.
func Founders(r *txnpb.Roster) *raftpb.ConfState {
	conf := raftpb.EnsureConfState(nil)
	for i := range r.Members {
		switch m := &r.Members[i]; {
		case m.Voter:
			conf.Voters = append(conf.Voters, uint64(m.Number))
		case Replicates(m.Type):
			conf.Learners = append(conf.Learners, uint64(m.Number))
		}
	}
	return conf
}

// Member returns the member of a number, or nil. It must not be changed.
func (s State) Member(number uint32) *txnpb.Member {
	if s.Roster != nil {
		for i := range s.Roster.Members {
			if m := &s.Roster.Members[i]; m.Number == number {
				return m
			}
		}
	}
	return nil
}

// Seat is what a member is in the group.
func (s State) Seat(number uint32) txnpb.Seat {
	id := uint64(number)
	switch {
	case slices.Contains(s.Conf.Voters, id):
		return txnpb.SeatVoter
	case slices.Contains(s.Conf.Learners, id), slices.Contains(s.Conf.LearnersNext, id):
		return txnpb.SeatLearner
	case slices.Contains(s.Conf.VotersOutgoing, id):
		return txnpb.SeatVoter
	}
	return txnpb.SeatNone
}

// Joint reports whether the group is between two sets of voters.
func (s State) Joint() bool { return len(s.Conf.VotersOutgoing) > 0 }

// Check reports in one line why a change breaks a rule; nil when it breaks none.
func (s State) Check(c *txnpb.RosterChange) error {
	switch {
	case c.Found != nil:
		return nil // nothing is changed where there is a roster
	case c.Force != nil:
		return s.checkForce(c.Force)
	case s.Roster == nil:
		return fmt.Errorf("the cluster has no roster yet: try again in a moment")
	case s.Joint():
		return fmt.Errorf("another change of the members is under way: try again in a moment")
	case c.Promote != 0 && c.Demote != 0:
		return s.checkMove(c.Demote, c.Promote)
	case c.Activate != 0:
		if c.Activate <= s.Version {
			return fmt.Errorf("apply version %d is active already", s.Version)
		}
		return nil
	case c.Promote != 0:
		return s.checkPromote(c.Promote, 0)
	case c.Demote != 0:
		return s.checkDemote(c.Demote)
	case c.Remove != 0 || c.Add != nil:
		if err := s.checkRemove(c); err != nil || c.Add == nil {
			return err
		}
		return s.checkAdd(c)
	}
	return fmt.Errorf("the change says nothing")
}

// checkPromote looks at a learner that is to vote, while so many voters lose their vote
// to it.
func (s State) checkPromote(number uint32, fewer int) error {
	switch m := s.Member(number); {
	case m == nil || m.Leaving:
		return fmt.Errorf("there is no SFU %d", number)
	case s.Seat(number) != txnpb.SeatLearner:
		return fmt.Errorf("SFU %s learns nothing: only a learner can become a voter", m.Name)
	case len(s.Conf.Voters)-fewer >= MaxVoters:
		return fmt.Errorf("%d SFUs vote, which is the bound", len(s.Conf.Voters))
	}
	return nil
}

func (s State) checkDemote(number uint32) error {
	switch m := s.Member(number); {
	case m == nil || m.Leaving:
		return fmt.Errorf("there is no SFU %d", number)
	case s.Seat(number) != txnpb.SeatVoter:
		return fmt.Errorf("SFU %s does not vote", m.Name)
	case len(s.Conf.Voters) == 1:
		return fmt.Errorf("SFU %s is the only one that votes", m.Name)
	}
	return nil
}

func (s State) checkRemove(c *txnpb.RosterChange) error {
	if c.Remove == 0 {
		return nil
	}
	switch m := s.Member(c.Remove); {
	case m == nil || m.Leaving:
		return fmt.Errorf("there is no SFU %d", c.Remove)
	case s.Seat(c.Remove) == txnpb.SeatVoter && len(s.Conf.Voters) == 1:
		return fmt.Errorf("SFU %s is the only one that votes: add another and let it catch up first", m.Name)
	}
	return nil
}

func (s State) checkAdd(c *txnpb.RosterChange) error {
	a := c.Add
	members, voters := 1, 0
	for i := range s.Roster.Members {
		m := &s.Roster.Members[i]
		switch {
		case bytes.Equal(m.PublicKey, a.PublicKey): // not even of the one that it replaces
			return fmt.Errorf("SFU %s has this public key: make a new one", m.Name)
		case m.Number == c.Remove:
			continue
		case m.Name == a.Name:
			return fmt.Errorf("there is an SFU %s already: give the new one another name, or replace that one", m.Name)
		case m.Voter && a.Voter && m.Machine == a.Machine:
			return fmt.Errorf("machine %s has a voter already, SFU %s: add the new one without a vote", a.Machine, m.Name)
		}
		members++
		if m.Voter {
			voters++
		}
	}
	switch {
	case a.Number <= s.Roster.LastNumber:
		return fmt.Errorf("number %d was given before, the next one is %d", a.Number, s.Roster.LastNumber+1)
	case a.Number > maxNumber:
		return fmt.Errorf("number %d is beyond %d: all numbers were given", a.Number, maxNumber)
	case a.Name == "" || a.Machine == "":
		return fmt.Errorf("the new SFU needs a name and a machine")
	case len(a.PublicKey) != keyBytes:
		return fmt.Errorf("the public key has %d bytes, must be %d", len(a.PublicKey), keyBytes)
	case a.Leaving:
		return fmt.Errorf("a new SFU cannot be leaving")
	case a.Voter && !Replicates(a.Type):
		return fmt.Errorf("an SFU of type %q orders no transactions: add it without a vote", a.Type)
	case members > MaxMembers:
		return fmt.Errorf("the cluster has %d SFUs, which is the bound", MaxMembers)
	case a.Voter && voters >= MaxVoters:
		return fmt.Errorf("%d SFUs vote, which is the bound: add the new one without a vote", voters)
	}
	return nil
}

// ConfChange is what a change does to the group; nil when it leaves it alone: then
// the change is a normal entry.
func (s State) ConfChange(c *txnpb.RosterChange) *raftpb.ConfChangeV2 {
	var changes []*raftpb.ConfChangeSingle
	add := func(kind raftpb.ConfChangeType, number uint32) {
		changes = append(changes, &raftpb.ConfChangeSingle{Type: kind.Enum(), NodeId: new(uint64(number))})
	}
	if c.Promote != 0 {
		add(raftpb.ConfChangeAddNode, c.Promote)
	}
	if c.Demote != 0 {
		add(raftpb.ConfChangeAddLearnerNode, c.Demote)
	}
	if c.Remove != 0 && s.Seat(c.Remove) != txnpb.SeatNone {
		add(raftpb.ConfChangeRemoveNode, c.Remove)
	}
	if c.Add != nil && Replicates(c.Add.Type) {
		add(raftpb.ConfChangeAddLearnerNode, c.Add.Number)
	}
	if len(changes) == 0 {
		return nil
	}
	transition := raftpb.ConfChangeTransitionJointImplicit
	if c.Promote != 0 && c.Demote != 0 { // who leads passes that on in between
		transition = raftpb.ConfChangeTransitionJointExplicit
	}
	return &raftpb.ConfChangeV2{Transition: transition.Enum(), Changes: changes}
}

// Does reports whether cc, nil where there is none, is what a change does to the
// group.
func (s State) Does(c *txnpb.RosterChange, cc *raftpb.ConfChangeV2) bool {
	want := s.ConfChange(c)
	if want == nil || cc == nil {
		return want == nil && cc == nil
	}
	return cc.GetTransition() == want.GetTransition() && slices.EqualFunc(cc.Changes, want.Changes, func(a, b *raftpb.ConfChangeSingle) bool {
		return a.GetType() == b.GetType() && a.GetNodeId() == b.GetNodeId()
	})
}

// After returns the state after a change that Check lets pass, and cc, which is its
// ConfChange or nil. A forced recovery changes the group otherwise: see Forced.
func (s State) After(c *txnpb.RosterChange, cc *raftpb.ConfChangeV2) (State, error) {
	out := s
	if c.Found != nil {
		if s.Roster == nil {
			out.Roster = clone(c.Found)
			out.Roster.Version++
			out.Version = max(s.Version, c.Activate)
		}
		return out, nil
	}
	if c.Activate != 0 {
		out.Version = c.Activate
		return out, nil
	}
	if cc != nil {
		conf, err := reconfigure(s.Conf, func(ch confchange.Changer) (tracker.Config, tracker.ProgressMap, error) {
			auto, _ := cc.EnterJoint()
			return ch.EnterJoint(auto, cc.Changes...)
		})
		if err != nil {
			return s, err
		}
		out.Conf = conf
	}
	moves := c.Promote != 0 && c.Demote != 0
	if c.Remove == 0 && c.Add == nil && !moves {
		return out, nil
	}
	out.Roster = clone(s.Roster)
	r := out.Roster
	r.Version++
	if moves {
		for i := range r.Members {
			switch m := &r.Members[i]; m.Number {
			case c.Promote:
				m.Voter = true
			case c.Demote:
				m.Voter = false
			}
		}
		return out, nil
	}
	if at := slices.IndexFunc(r.Members, func(m txnpb.Member) bool { return m.Number == c.Remove }); at >= 0 {
		if s.Seat(c.Remove) == txnpb.SeatNone {
			r.Members = slices.Delete(r.Members, at, at+1)
		} else {
			r.Members[at].Leaving = true
		}
	}
	if c.Add != nil {
		r.Members = append(r.Members, *c.Add)
		r.LastNumber = c.Add.Number
	}
	return out, nil
}

// Left returns the state after the second step of a change of the group.
func (s State) Left() (State, error) {
	conf, err := reconfigure(s.Conf, confchange.Changer.LeaveJoint)
	if err != nil {
		return s, err
	}
	out := State{Roster: s.Roster, Conf: conf, Version: s.Version}
	leaving := func(m txnpb.Member) bool { return m.Leaving }
	if s.Roster != nil && slices.ContainsFunc(s.Roster.Members, leaving) {
		out.Roster = clone(s.Roster)
		out.Roster.Version++
		out.Roster.Members = slices.DeleteFunc(out.Roster.Members, leaving)
	}
	return out, nil
}

// reconfigure does a step of raft's on a group.
func reconfigure(conf *raftpb.ConfState, step func(confchange.Changer) (tracker.Config, tracker.ProgressMap, error)) (*raftpb.ConfState, error) {
	ch := confchange.Changer{Tracker: tracker.MakeProgressTracker(1, 0), LastIndex: 1} // of which only who is in it counts
	var err error
	if ch.Tracker.Config, ch.Tracker.Progress, err = confchange.Restore(ch, conf); err != nil {
		return nil, fmt.Errorf("roster: the group %v: %w", conf, err)
	}
	if ch.Tracker.Config, ch.Tracker.Progress, err = step(ch); err != nil {
		return nil, fmt.Errorf("roster: a change of the group %v: %w", conf, err)
	}
	return raftpb.EnsureConfState(ch.Tracker.ConfState()), nil
}

// Quorum reports whether the voters can decide when only those that are there take
// part.
func (s State) Quorum(there func(id uint64) bool) bool {
	n := 0
	for _, id := range s.Conf.Voters {
		if there(id) {
			n++
		}
	}
	return n > len(s.Conf.Voters)/2
}

// Applied is what became of one change, or of the second step of one, when its entry
// was applied.
type Applied struct {
	Index, Term uint64
	// Change is nil for the second step.
	Change *txnpb.RosterChange
	// Refused says why the change broke a rule and changed nothing.
	Refused error
	// Group is what raft has to apply; nil where there is nothing.
	Group *raftpb.ConfChangeV2
	// State is as it is afterwards.
	State State
}

// Forced reports whether it was a forced recovery.
func (a *Applied) Forced() bool { return a.Change != nil && a.Change.Force != nil && a.Refused == nil }

// Regroups reports whether the members of the group are others afterwards.
func (a *Applied) Regroups() bool { return a.Group != nil || a.Forced() }

func clone(r *txnpb.Roster) *txnpb.Roster {
	out := *r
	out.Members = slices.Clone(r.Members)
	return &out
}
