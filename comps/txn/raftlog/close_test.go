package raftlog

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"
)

// TestCloseMarks: after an end in order nothing of the log can be taken for a torn tail.
func TestCloseMarks(t *testing.T) {
	m := newMember(t, 9)
	index, term := uint64(1), uint64(1)
	msg := &raftpb.Message{Type: raftpb.MsgStorageAppend.Enum(), Term: &term, Vote: &term, Commit: new(uint64(0)), Responses: []*raftpb.Message{{}},
		Entries: []*raftpb.Entry{{Index: &index, Term: &term, Data: []byte("one")}}}
	if err := m.log.Append([]*raftpb.Message{msg}); err != nil {
		t.Fatal(err)
	}
	if !m.log.Journal().NeedsMark() {
		t.Fatal("the last records are marked already: the test tests nothing")
	}
	m.close()
	m.open()
	if m.log.Journal().NeedsMark() {
		t.Error("the last records are not marked")
	}
	if last, _ := m.log.LastIndex(); last != 1 {
		t.Errorf("the log ends at entry %d", last)
	}
	m.close()
}
