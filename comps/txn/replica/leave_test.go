package replica

import (
	"fmt"
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/roster"
)

// TestRemovedVotes: a member that was removed, whose log is the longer one, gives its vote
// beside raft to who has what is committed, where the voters were even in number; and never
// where they were odd, for there two sets that elect or commit may meet in it alone.
func TestRemovedVotes(t *testing.T) {
	for _, test := range []struct {
		voters uint64 // before the last of them was removed
		index  uint64 // of the candidate's last entry; 4 are applied
		votes  bool
	}{{2, 4, true}, {2, 3, false}, {3, 4, false}, {4, 4, true}, {4, 3, false}, {5, 4, false}} {
		t.Run(fmt.Sprintf("of %d for %d", test.voters, test.index), func(t *testing.T) {
			g := newGroup(t, 1, test.voters)
			m := g.members[test.voters]
			var entries []*raftpb.Entry
			for i := uint64(1); i <= 6; i++ { // 5 and 6 are in vain
				entries = append(entries, &raftpb.Entry{Index: new(i), Term: new(uint64(1))})
			}
			if err := m.log.Append(entries); err != nil {
				t.Fatal(err)
			}
			left := &raftpb.ConfState{}
			for id := uint64(1); id < test.voters; id++ {
				left.Voters = append(left.Voters, id)
			}
			r := founding(test.voters)
			r.Members = r.Members[:test.voters-1]
			m.Installed(4, 0, roster.State{Roster: r, Conf: raftpb.EnsureConfState(left)})
			m.Step(&raftpb.Message{Type: raftpb.MsgVote.Enum(), From: new(uint64(1)), To: new(m.id), Term: new(uint64(2)), LogTerm: new(uint64(1)), Index: new(test.index)})
			if got := len(m.votes) > 0; got != test.votes {
				t.Errorf("it votes: %t, want %t", got, test.votes)
			}
		})
	}
}
