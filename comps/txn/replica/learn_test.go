package replica

import (
	"slices"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestLearnCommitted: one counts as no voter for itself, and the others need its vote as far
// as they know. They find a leader, who goes on from what is committed.
func TestLearnCommitted(t *testing.T) {
	const ( // entries
		before = 1
		enters = 2 // the change
		leaves = 3 // its second step
		vain   = 5
	)
	type knows struct{ last, commit uint64 }
	for _, test := range []struct {
		name    string
		voters  uint64 // from 1 on; the last of them is the one that goes
		learner bool   // the next number learns, on the machine of the last voter
		witness uint64 // which of the voters is one, if any
		change  txnpb.RosterChange
		members map[uint64]knows // of those that are there
		want    []uint64         // voters in the end
	}{
		{"one of two is made a learner", 2, false, 0, txnpb.RosterChange{Demote: 2},
			map[uint64]knows{1: {leaves, enters}, 2: {vain, leaves}}, []uint64{1, 2}}, // it catches up
		{"one of two is removed", 2, false, 0, txnpb.RosterChange{Remove: 2},
			map[uint64]knows{1: {leaves, enters}, 2: {vain, leaves}}, []uint64{1}},
		{"one of four is made a learner, another is away", 4, false, 0, txnpb.RosterChange{Demote: 4},
			map[uint64]knows{1: {leaves, enters}, 2: {leaves, enters}, 4: {vain, leaves}}, []uint64{1, 2, 3, 4}},
		{"one of four is removed, another is away", 4, false, 0, txnpb.RosterChange{Remove: 4},
			map[uint64]knows{1: {leaves, enters}, 2: {leaves, enters}, 4: {vain, leaves}}, []uint64{1, 2, 3}},
		{"who has the change in its log knows of none of it", 2, false, 0, txnpb.RosterChange{Demote: 2},
			map[uint64]knows{1: {leaves, before}, 2: {vain, leaves}}, []uint64{1, 2}},
		{"the only seat moves", 1, true, 0, txnpb.RosterChange{Demote: 1, Promote: 2},
			map[uint64]knows{1: {vain, leaves}, 2: {leaves, enters}}, []uint64{2}},
		{"one of three seats moves, another voter is away", 3, true, 0, txnpb.RosterChange{Demote: 3, Promote: 4},
			map[uint64]knows{1: {leaves, enters}, 3: {vain, leaves}, 4: {leaves, enters}}, []uint64{1, 2, 4}},
		{"a learner is made the second voter", 1, true, 0, txnpb.RosterChange{Promote: 2},
			map[uint64]knows{1: {enters, enters}, 2: {vain, before}}, []uint64{1, 2}},
		{"a learner is made a voter, which a witness alone knows", 2, true, 2, txnpb.RosterChange{Promote: 3},
			map[uint64]knows{2: {leaves, leaves}, 3: {before, before}}, []uint64{1, 2, 3}},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := roster.State{Roster: founding(test.voters), Conf: raftpb.EnsureConfState(nil)}
			for id := uint64(1); id <= test.voters; id++ {
				s.Conf.Voters = append(s.Conf.Voters, id)
			}
			if test.witness > 0 {
				s.Roster.Members[test.witness-1].Type = "witness"
			}
			if test.learner {
				m := s.Roster.Members[test.voters-1]
				m.Number, m.Type = m.Number+1, "all"
				s.Roster.Members, s.Roster.LastNumber = append(s.Roster.Members, m), m.Number
				s.Conf.Learners = []uint64{test.voters + 1}
			}
			log := make([]*raftpb.Entry, vain)
			for i := range log {
				log[i] = &raftpb.Entry{Index: new(uint64(i + 1)), Term: new(uint64(1))}
			}
			test.change.ApplyVersion, test.change.Epoch = entry.ApplyVersion, 1
			first := s.ConfChange(&test.change)
			first.Context = message.Marshal(&test.change)
			for i, cc := range []*raftpb.ConfChangeV2{first, {}} {
				raw, err := proto.Marshal(cc)
				if err != nil {
					t.Fatal(err)
				}
				log[enters-1+i].Type, log[enters-1+i].Data = raftpb.EntryConfChangeV2.Enum(), raw
			}

			g := newGroup(t, 1, 0)
			for id, k := range test.members { // in any order: each begins alone
				m := &member{id: id, light: id == test.witness, software: entry.ApplyVersion, log: raft.NewMemoryStorage(), state: state{rows: map[u128.Int]row{}, group: s}}
				if err := m.log.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{ConfState: s.Conf}}); err != nil {
					t.Fatal(err)
				}
				if err := m.log.Append(log[:k.last]); err != nil {
					t.Fatal(err)
				}
				if err := m.log.SetHardState(&raftpb.HardState{Term: new(uint64(1)), Commit: new(k.commit)}); err != nil {
					t.Fatal(err)
				}
				g.members[id] = m
			}
			for _, id := range g.ids() {
				g.start(g.members[id])
			}
			g.settle()
			g.tick(150)
			lead := g.leader()
			if lead == nil {
				for _, id := range g.ids() {
					t.Logf("%d: %+v", id, g.members[id].Status())
				}
				t.Fatal("nobody leads")
			}
			if st := lead.Status(); !slices.Equal(st.Voters, test.want) || st.Commit <= leaves {
				t.Errorf("%+v, want the voters %v and more than %d entries", st, test.want, leaves)
			}
		})
	}
}
