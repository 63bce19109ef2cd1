package replica

import (
	"fmt"
	"strings"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// change and reconfigure are the machine's.
func (s *state) change(t *testing.T, e *raftpb.Entry, c *txnpb.RosterChange, cc *raftpb.ConfChangeV2) roster.Applied {
	a := roster.Applied{Index: e.GetIndex(), Term: e.GetTerm(), Change: c, Group: cc, State: s.group}
	if a.Refused = s.group.Check(c); a.Refused != nil {
		a.Group = nil
		return a
	}
	var err error
	if s.group, err = s.group.After(c, cc); err != nil {
		t.Fatal(err)
	}
	a.State = s.group
	return a
}

func (s *state) reconfigure(t *testing.T, e *raftpb.Entry) roster.Applied {
	cc := &raftpb.ConfChangeV2{}
	if err := proto.Unmarshal(e.GetData(), cc); err != nil {
		t.Fatal(err)
	}
	if !cc.LeaveJoint() {
		c := &txnpb.RosterChange{}
		if err := c.Parse(cc.GetContext()); err != nil {
			t.Fatal(err)
		}
		return s.change(t, e, c, cc)
	}
	if !s.group.Joint() {
		return roster.Applied{Index: e.GetIndex(), Term: e.GetTerm(), State: s.group}
	}
	var err error
	if s.group, err = s.group.Left(); err != nil {
		t.Fatal(err)
	}
	return roster.Applied{Index: e.GetIndex(), Term: e.GetTerm(), Group: cc, State: s.group}
}

func appliedLine(a *roster.Applied) string {
	if a.Refused != nil {
		return fmt.Sprintf("change at %d refused: %v", a.Index, a.Refused)
	}
	return fmt.Sprintf("at %d %s", a.Index, groupLine(a.State))
}

// groupLine is such as "roster 2: 1 2 3; voters 1 2, outgoing 1 2 3, learners 4".
func groupLine(s roster.State) string {
	var words []string
	if r := s.Roster; r != nil {
		words = append(words, fmt.Sprintf("roster %d:", r.Version))
		for i := range r.Members {
			word := fmt.Sprint(r.Members[i].Number)
			if r.Members[i].Leaving {
				word += "-"
			}
			words = append(words, word)
		}
	}
	for _, list := range []struct {
		name string
		ids  []uint64
	}{{"voters", s.Conf.Voters}, {"outgoing", s.Conf.VotersOutgoing}, {"learners", s.Conf.Learners}, {"to learn", s.Conf.LearnersNext}} {
		if len(list.ids) > 0 {
			words = append(words, list.name, strings.Trim(fmt.Sprint(list.ids), "[]"))
		}
	}
	return strings.Join(words, " ")
}

func changeLine(c *Change) string {
	switch {
	case c.Failed != nil:
		return fmt.Sprintf("change %v: %v", c.Origin, c.Failed)
	case c.Refused != "":
		return fmt.Sprintf("change %v refused: %s", c.Origin, c.Refused)
	}
	return fmt.Sprintf("change %v done, added %d: %s", c.Origin, c.Added, groupLine(c.Group))
}

// record makes up a member.
func record(name, kind, machine string, voter bool) *txnpb.Member {
	key := make([]byte, 32)
	copy(key, name)
	return &txnpb.Member{Name: name, Type: kind, Machine: machine, PublicKey: key, Carrier: "ethernet", Voter: voter}
}

// founding is a roster of n voters on machines of their own.
func founding(n uint64) *txnpb.Roster {
	r := &txnpb.Roster{LastNumber: uint32(n)}
	for i := uint32(1); i <= uint32(n); i++ {
		m := record(fmt.Sprint("sfu", i), "all", fmt.Sprint("pc", i), true)
		m.Number = i
		r.Members = append(r.Members, *m)
	}
	return r
}

// join begins a member that holds nothing.
func (g *group) join(id uint64) {
	m := &member{id: id, software: entry.ApplyVersion, log: raft.NewMemoryStorage(), state: state{rows: map[u128.Int]row{}, group: roster.State{Conf: raftpb.EnsureConfState(nil)}}}
	g.members[id] = m
	g.start(m)
}
