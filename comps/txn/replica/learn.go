package replica

import (
	"slices"

	"go.etcd.io/raft/v3/raftpb"
)

// A member counts as a voter for itself when it has applied that it is one. A learner that
// has its promotion in the log, and was not told that it is committed, does not stand for
// election; and the voters that know may need its vote and not get it, because its log goes
// on where theirs lost, in a crash, what nobody but it had on disk. So who asks for a vote
// says what it knows to be committed, as raft-rs does, and a learner believes it.
//
//	1 votes alone, and promotes 2     1 … 40 [41]        41, not yet on its disk, is lost in a crash
//	2 knows of 39 as committed        2 … 39  40  41     40: 2 votes; 1 asks it, whose log is shorter

// tellCommitted writes into a request for a vote what is committed: the index, and its term
// in a field that such a request leaves empty.
func (r *Replica) tellCommitted(m *raftpb.Message) {
	commit := r.node.BasicStatus().GetCommit()
	term, err := r.cfg.Log.Term(commit)
	if err != nil || commit == 0 {
		return
	}
	m.Commit, m.RejectHint = new(commit), new(term)
}

// learnCommitted lets a learner learn what is committed from a request for its vote: where
// its log has an entry of that index and term, it has everything up to there. Raft is told
// by an append of nothing behind that entry, in the name of the leader that is known, or of
// who asks. Members of release 0.1.0 say nothing.
func (r *Replica) learnCommitted(m *raftpb.Message) {
	if !isVoteRequest(m) || m.GetCommit() == 0 || !slices.Contains(r.group.Conf.Learners, r.cfg.ID) {
		return
	}
	own := r.node.BasicStatus()
	if m.GetCommit() <= own.GetCommit() {
		return
	}
	if term, err := r.cfg.Log.Term(m.GetCommit()); err != nil || term != m.GetRejectHint() {
		return
	}
	from := m.GetFrom()
	if own.Lead != 0 {
		from = own.Lead
	}
	_ = r.node.Step(&raftpb.Message{ // never refused: of the term that is
		Type: raftpb.MsgApp.Enum(), From: new(from), To: new(r.cfg.ID), Term: new(own.GetTerm()),
		Index: new(m.GetCommit()), LogTerm: new(m.GetRejectHint()), Commit: new(m.GetCommit()),
	})
}

func isVoteRequest(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgVote || m.GetType() == raftpb.MsgPreVote
}
