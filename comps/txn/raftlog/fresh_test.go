package raftlog

import (
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"
)

// TestFresh: a log is fresh until a term is durable in it, which an answer to a pre-vote
// does not need and a term that nothing is promised in does not get.
func TestFresh(t *testing.T) {
	m := newMember(t, 10)
	m.close()
	fs := vfs.NewCrashableMem()
	m.cfg.Journal.FS = fs
	m.open()
	term := uint64(1)
	prevote := &raftpb.Message{Type: raftpb.MsgStorageAppend.Enum(), Responses: []*raftpb.Message{{Type: raftpb.MsgPreVoteResp.Enum()}}}
	heard := &raftpb.Message{Type: raftpb.MsgStorageAppend.Enum(), Term: &term, Vote: new(uint64(0)), Commit: new(uint64(0))}
	voted := &raftpb.Message{Type: raftpb.MsgStorageAppend.Enum(), Term: &term, Vote: &term, Commit: new(uint64(0)), Responses: []*raftpb.Message{{Type: raftpb.MsgVoteResp.Enum()}}}
	for _, step := range []struct {
		name  string
		msg   *raftpb.Message
		fresh bool
	}{{"answered a pre-vote", prevote, true}, {"heard of a term", heard, true}, {"voted", voted, false}, {"answered another pre-vote", prevote, false}} {
		if err := m.log.Append([]*raftpb.Message{step.msg}); err != nil {
			t.Fatal(err)
		}
		if m.log.Fresh() != step.fresh {
			t.Fatalf("%s: fresh %v", step.name, m.log.Fresh())
		}
		fs = fs.CrashClone(vfs.CrashCloneCfg{})
		m.cfg.Journal.FS = fs
		m.open()
		if m.log.Fresh() != step.fresh {
			t.Fatalf("%s, after a crash: fresh %v", step.name, m.log.Fresh())
		}
	}
	m.close()
}
