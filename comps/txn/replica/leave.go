package replica

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// removed reports whether this member has applied that it is in the group no more. A number
// is never given again: one that is greater than all that were given comes yet.
func (r *Replica) removed() bool {
	s := r.group
	return s.Roster != nil && r.cfg.ID <= uint64(s.Roster.LastNumber) &&
		s.Member(uint32(r.cfg.ID)) == nil && !slices.Contains(s.Members(), r.cfg.ID)
}

// voteRemoved gives a member that was removed a vote where one is yet asked for: by a voter
// that has its removal in the log and does not know that it is committed. Raft alone would
// refuse a voter whose log is shorter than this one's, and nobody else could stand: this log
// may go on with entries that its last leader, which was to go, or not yet had them itself,
// appended in vain. What matters is what is committed, up to what is applied here. A voter
// that has it, and most of those that are left behind it, has everything.
//
// That holds where the voters were even in number. Of 2n of them n+1 elect, so n without
// this one, and any n+1 that have committed an entry are n without it: two such sets of the
// 2n-1 others have a member in common, which neither votes twice nor for a log that lacks
// what it has. Of 2n+1, n+1 elect and commit, and this one may be all that two sets have in
// common: it leaves the answer to raft. Nor is its vote needed there: those that are most of
// the voters that are left are most of all. It reports whether it answered.
//
//	2 and 3 vote, 2 leads and is to go     2 … 124 [125] 126    125: it is out; 126 is in vain
//	3 has 125 from it, and restarts        3 … 124  125         asks 2, which by its log would say no
func (r *Replica) voteRemoved(m *raftpb.Message) bool {
	answer := raftpb.MsgVoteResp
	switch m.GetType() {
	case raftpb.MsgPreVote:
		answer = raftpb.MsgPreVoteResp
	case raftpb.MsgVote:
	default:
		return false
	}
	if !r.removed() || r.electorate == 0 || r.electorate%2 != 0 {
		return false
	}
	term, err := r.cfg.Log.Term(r.applied)
	if err != nil || m.GetLogTerm() < term || m.GetLogTerm() == term && m.GetIndex() < r.applied {
		return false
	}
	r.votes = append(r.votes, &raftpb.Message{Type: &answer, To: new(m.GetFrom()), From: new(r.cfg.ID), Term: new(m.GetTerm())})
	return true
}
