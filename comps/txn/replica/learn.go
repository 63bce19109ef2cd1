package replica

import (
	"slices"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
)

// Raft's rule that nobody votes for a log that is shorter than its own keeps what is
// committed. It would also keep a group without a leader for ever, where the one with the
// longest log does not stand for election, because it counts as no voter for itself, and
// another needs its vote, because it does not know that. The group is that of the changes
// that are applied, and a change is applied when it is known to be committed: one of the two
// has in its log all that it takes, and lacks nothing but that knowledge. So who asks for a
// vote says what it knows to be committed, and who answers does where it does not stand
// itself, as in raft-rs; and who has that entry believes it. Nobody votes against the rule.
//
// Who does not stand learns from who asks: a learner that has its promotion in the log, and
// was not told that it is committed. Those that know need its vote, and its log goes on where
// theirs lost, in a crash, what nobody but it had on disk.
//
//	1 votes alone, and promotes 2     1 … 40 [41]        41, not yet on its disk, is lost in a crash
//	2 knows of 39 as committed        2 … 39  40  41     40: 2 votes; 1 asks it, whose log is shorter
//
// Who asks learns from who does not stand: a voter that has the end of a change in its log,
// and asks one that was made a learner or removed by it. That one's log may go on with
// entries in vain: its own, of when it led, or some that the others lost. It does not stand
// because it knows that the change is committed.
//
//	2 and 3 vote, 2 leads and is to go     2 … 124 [125] 126    125: it votes no more; 126 is in vain
//	3 has 125 from it, and restarts        3 … 124  125         asks 2, whose log is longer

// stands reports whether this member stands for election when its time comes: by the group
// that it has applied it is a voter, and it is not halted.
func (r *Replica) stands() bool {
	conf := r.group.Conf
	return !r.halted && (slices.Contains(conf.Voters, r.cfg.ID) || slices.Contains(conf.VotersOutgoing, r.cfg.ID))
}

// tellCommitted writes into a request for a vote, or into the answer to one, what is
// committed: the index, and its term in a field that such messages leave empty.
func (r *Replica) tellCommitted(m *raftpb.Message) {
	commit := r.node.BasicStatus().GetCommit()
	term, err := r.cfg.Log.Term(commit)
	if err != nil || commit == 0 {
		return
	}
	m.Commit, m.RejectHint = new(commit), new(term)
}

// learnCommitted learns from a request for a vote, or from the answer to one, what is
// committed: where the log has an entry of that index and term, it has everything up to
// there. Raft is told by an append of nothing behind that entry, in the name of the leader
// that is known, or of the other one. Members of release 0.1.0 say nothing.
func (r *Replica) learnCommitted(m *raftpb.Message) {
	if m.GetCommit() == 0 || !isVoteResponse(m) && (!isVoteRequest(m) || r.stands()) {
		return
	}
	own := r.node.BasicStatus()
	if own.RaftState == raft.StateLeader || m.GetCommit() <= own.GetCommit() {
		return
	}
	if term, err := r.cfg.Log.Term(m.GetCommit()); err != nil || term != m.GetRejectHint() {
		return
	}
	from := own.Lead
	if from == 0 {
		from = m.GetFrom()
	}
	_ = r.node.Step(&raftpb.Message{ // never refused: of the term that is
		Type: raftpb.MsgApp.Enum(), From: new(from), To: new(r.cfg.ID), Term: new(own.GetTerm()),
		Index: new(m.GetCommit()), LogTerm: new(m.GetRejectHint()), Commit: new(m.GetCommit()),
	})
	if own.Lead == 0 {
		_ = r.node.ForgetLeader() // the other one leads nobody
	}
}

func isVoteRequest(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgVote || m.GetType() == raftpb.MsgPreVote
}

func isVoteResponse(m *raftpb.Message) bool {
	return m.GetType() == raftpb.MsgVoteResp || m.GetType() == raftpb.MsgPreVoteResp
}
