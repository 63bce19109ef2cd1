package roster

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestReleased: who was removed goes when most of the voters that are left say so, and not
// on anybody else's word.
func TestReleased(t *testing.T) {
	list := func(numbers ...uint32) *txnpb.Roster {
		r := &txnpb.Roster{}
		for _, n := range numbers {
			r.Members = append(r.Members, txnpb.Member{Number: n})
		}
		return r
	}
	forced := list(1, 2, 3)
	forced.Members[0].Overruled, forced.Members[1].Overruled = true, true
	for _, test := range []struct {
		name   string
		voters []uint64 // by the group as 1 has applied it
		roster *txnpb.Roster
		outBy  []uint32
		want   bool
	}{
		{"nobody says so", []uint64{1, 2}, list(2), nil, false},
		{"the voter that is left", []uint64{1, 2}, list(2), []uint32{2}, true},
		{"a learner", []uint64{1, 2}, list(2, 4), []uint32{4}, false},
		{"one of two, and a learner", []uint64{1, 2, 3}, list(2, 3, 4), []uint32{2, 4}, false},
		{"both of two", []uint64{1, 2, 3}, list(2, 3), []uint32{2, 3}, true},
		{"two of three", []uint64{2, 3, 4}, list(2, 3, 4), []uint32{2, 4}, true},
		{"one that has left, too", []uint64{1, 2, 3}, list(2), []uint32{3}, false},
		{"a forced recovery by one", []uint64{1, 2, 3}, forced, []uint32{3}, true},
		{"all whom it knew have left", []uint64{1, 2}, list(5), []uint32{5}, true},
	} {
		outBy := map[uint32]bool{}
		for _, n := range test.outBy {
			outBy[n] = true
		}
		s := State{Conf: &raftpb.ConfState{Voters: test.voters}}
		if got := s.Released(1, test.roster, outBy); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}
