package txn_test

import (
	"bytes"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// rot flips bits in n bytes of an SFU's journal, in the middle of its newest segment or
// at the end of what stands there.
func (s *sfu) rot(t *testing.T, tail bool, n int) {
	t.Helper()
	names, err := s.fs.List("journal")
	if err != nil {
		t.Fatal(err)
	}
	var segments []string
	for _, name := range names {
		if strings.HasSuffix(name, ".seg") {
			segments = append(segments, name)
		}
	}
	f, err := s.fs.OpenReadWrite(s.fs.PathJoin("journal", slices.Max(segments)), vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	const frames, marks = 12288, 12288 // before and behind the frames of a segment
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	b := make([]byte, info.Size())
	if _, err := f.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	end := len(b) - marks
	for b[end-1] == 0 {
		end--
	}
	at := end - n
	if !tail {
		// Where what one write carried begins: all frames of a segment begin with the same
		// four bytes. What is between them may be zeros that mean nothing.
		for at = (frames + end) / 2 &^ 4095; !bytes.Equal(b[at:at+4], b[frames:frames+4]); {
			at -= 4096
		}
	}
	for i := at; i < at+n; i++ {
		b[i] ^= 0x55
	}
	if _, err := f.WriteAt(b[at:at+n], int64(at)); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil { // copies of the disk have it, too
		t.Fatal(err)
	}
}

// role waits until an SFU has a role.
func (c *cluster) role(s *sfu, want string) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	var st *txnpb.ReplicaStatus
	for time.Now().Before(deadline) {
		if st = c.status(s); st != nil && st.Role == want {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatalf("SFU %d is not %s within 20 s: %+v", s.number, want, st)
}

// TestDamagedJournal: a member whose journal rotted, in the middle or at the end, takes
// no part until it is whole again; then it is as good as any.
func TestDamagedJournal(t *testing.T) {
	t.Run("middle", func(t *testing.T) {
		c := newKeepingCluster(t)
		hurt, second, third := c.payAndStop()
		hurt.rot(t, false, 300)
		c.start(hurt)
		c.role(hurt, "damaged") // its state does not hold what is lost
		if !hurt.alarmed("journal-damaged") {
			t.Error("no alarm says that the journal is damaged")
		}
		c.start(second)
		c.role(hurt, "follower") // one other is enough
		if hurt.alarmed("journal-damaged") {
			t.Error("the journal is mended, and the alarm stands")
		}
		c.start(third)
		c.goesOn(second, third)
		c.saw.Proves(t)
	})
	t.Run("middle, the state holds it", func(t *testing.T) {
		c := newClusterOf(t, 1, func(_ uint16, fs *vfs.MemFS) vfs.FS { return fs })
		uno := c.sfus[0]
		mustCommit(t, c.submit(c.leader(), opening()))
		for range 50 {
			mustCommit(t, c.submit(uno, transferOf(1)))
		}
		c.stop(uno) // flushed
		uno.rot(t, false, 300)
		c.start(uno)
		mustCommit(t, c.submit(c.leader(), transferOf(1)))
		c.stop(uno)
		c.start(uno)
		mustCommit(t, c.submit(c.leader(), transferOf(1)))
	})
	t.Run("middle, nobody keeps it", func(t *testing.T) {
		c := newKeepingCluster(t)
		hurt, second, third := c.payAndStop()
		hurt.rot(t, false, 300)
		c.keep = 0
		c.start(second)
		c.start(third)
		for n := range uint64(20) { // some segments
			mustCommit(t, c.submit(second, manyAccounts(1000*(n+1))))
		}
		time.Sleep(flushed)
		c.start(hurt)
		c.role(hurt, "follower") // with the state of another
		c.stop(third)
		mustCommit(t, c.submit(second, transferOf(1)))
		c.start(third)
		if after := c.agree(); after.Csn != 72 {
			t.Errorf("CSN %d, want 72", after.Csn)
		}
	})
	t.Run("end", func(t *testing.T) {
		c := newKeepingCluster(t)
		hurt, second, third := c.payAndStop()
		hurt.rot(t, true, 2000) // some entries, and a hard state among them
		c.start(hurt)
		c.role(hurt, "damaged")
		c.start(second)
		c.role(second, "candidate")
		c.role(hurt, "damaged") // its newest vote is among what is lost: it has to hear everybody
		c.start(third)
		c.goesOn(second, third)
	})
}

// flushed is well after upkeep has flushed the state because a segment began.
const flushed = 1200 * time.Millisecond

// newKeepingCluster returns a cluster of three that keeps its log and flushes nothing.
func newKeepingCluster(t *testing.T) *cluster {
	t.Helper()
	c := newCluster(t)
	mustCommit(t, c.submit(c.leader(), opening()))
	// A segment that begins has the state flushed. On a slow machine fifty payments fill a
	// small one: each is written by itself, and then marked.
	c.keep, c.segment = 1<<30, 4*segmentBytes
	for _, s := range c.sfus {
		c.stop(s)
		c.start(s)
	}
	return c
}

// marked is well after an idle journal has marked its last records: rot there is damage
// then, and no torn tail.
const marked = 500 * time.Millisecond

// payAndStop makes some log and stops all members: the first one as by a power failure,
// so that its state holds what was flushed.
func (c *cluster) payAndStop() (first, second, third *sfu) {
	c.t.Helper()
	at := c.leader()
	mustCommit(c.t, c.submit(at, transferOf(1)))
	time.Sleep(flushed)
	for range 49 {
		mustCommit(c.t, c.submit(at, transferOf(1)))
	}
	for applied := uint64(0); c.agree().AppliedIndex != applied; { // until nobody is elected meanwhile
		applied = c.agree().AppliedIndex
		time.Sleep(marked)
	}
	first = c.sfus[0]
	left := first.fs.CrashClone(vfs.CrashCloneCfg{})
	for _, s := range c.sfus {
		c.stop(s)
	}
	first.fs, first.journal = left, left
	return first, c.sfus[1], c.sfus[2]
}

// goesOn checks that all members take part, the mended one's vote too.
func (c *cluster) goesOn(second, third *sfu) {
	c.t.Helper()
	mustCommit(c.t, c.submit(second, transferOf(1)))
	if after := c.agree(); after.Csn != 52 {
		c.t.Errorf("CSN %d, want 52", after.Csn)
	}
	c.stop(third)
	mustCommit(c.t, c.submit(second, transferOf(1)))
}

// manyAccounts opens a thousand accounts from a number on.
func manyAccounts(first uint64) *txnpb.Transaction {
	tx := &txnpb.Transaction{Id: newID()}
	for n := range uint64(1000) {
		tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: u128.From64(first + n), Ledger: 1, Code: 1})
	}
	return tx
}
