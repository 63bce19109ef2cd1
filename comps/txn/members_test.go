package txn_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// members calls the service that changes the roster, through an SFU's engine, until it
// answers.
func (c *cluster) members(at *sfu, call func(context.Context, txnpb.MembersClient) (*txnpb.MembersAnswer, error)) *txnpb.MembersAnswer {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		answer, err := call(ctx, txnpb.MembersClient{Caller: at.engine.Caller(0)})
		cancel()
		if err == nil {
			return answer
		}
		if time.Now().After(deadline) {
			c.t.Fatal(err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// add adds a member and starts it; replaces is the number of the one it replaces.
func (c *cluster) add(at *sfu, m *txnpb.Member, replaces uint32) *sfu {
	c.t.Helper()
	answer := c.members(at, func(ctx context.Context, mc txnpb.MembersClient) (*txnpb.MembersAnswer, error) {
		return mc.Add(ctx, &txnpb.AddMember{Member: m, Replaces: replaces})
	})
	if answer.Refused != "" {
		c.t.Fatal(answer.Refused)
	}
	s := &sfu{number: uint16(answer.Added), fs: vfs.NewMem(), seed: answer.Roster, witness: m.Type == "witness"}
	s.journal = s.fs
	c.sfus = append(c.sfus, s)
	c.start(s)
	return s
}

// voters waits until the group has these voters and no others.
func (c *cluster) voters(at *sfu, want ...uint32) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	var got []uint32
	for time.Now().Before(deadline) {
		if st := c.status(at); st != nil {
			if got = st.Voters; equal(got, want) {
				return
			}
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatalf("SFU %d sees the voters %d, want %d", at.number, got, want)
}

func equal(a, b []uint32) bool {
	for i := range a {
		if len(a) != len(b) || a[i] != b[i] {
			return false
		}
	}
	return len(a) == len(b)
}

// drop stops an SFU for good.
func (c *cluster) drop(s *sfu) {
	c.t.Helper()
	c.stop(s)
	for i, o := range c.sfus {
		if o == s {
			c.sfus = append(c.sfus[:i], c.sfus[i+1:]...)
			return
		}
	}
}

// TestGrowsAndShrinks: one SFU becomes three, each of which begins with nothing; one
// is replaced, and the leader itself is removed. Nothing that was committed is lost.
func TestGrowsAndShrinks(t *testing.T) {
	c := newClusterOf(t, 1, func(_ uint16, fs *vfs.MemFS) vfs.FS { return fs })
	first := c.leader()
	mustCommit(t, c.submit(first, opening()))
	second := c.add(first, record("sfu2", "pc2", 2), 0)
	c.voters(first, 1, 2)
	mustCommit(t, c.submit(second, transferOf(1)))
	c.add(first, record("sfu3", "pc3", 3), 0)
	c.voters(first, 1, 2, 3)
	if d := c.agree(); d.Csn != 2 {
		t.Fatalf("%d commits, want 2", d.Csn)
	}

	refused := c.members(first, func(ctx context.Context, mc txnpb.MembersClient) (*txnpb.MembersAnswer, error) {
		return mc.Add(ctx, &txnpb.AddMember{Member: record("sfu4", "pc1", 4)})
	})
	if !strings.Contains(refused.Refused, "has a voter already") || refused.Added != 0 {
		t.Fatalf("a second voter of a machine: %+v", refused)
	}

	c.drop(second) // its disk is lost
	fourth := c.add(first, record("sfu2", "pc2", 5), 2)
	if fourth.number != 4 {
		t.Fatalf("the new one has number %d, want 4", fourth.number)
	}
	c.voters(fourth, 1, 3, 4)
	mustCommit(t, c.submit(fourth, transferOf(1)))

	lead := c.leader()
	answer := c.members(fourth, func(ctx context.Context, mc txnpb.MembersClient) (*txnpb.MembersAnswer, error) {
		return mc.Remove(ctx, &txnpb.RemoveMember{Number: uint32(lead.number)})
	})
	if answer.Refused != "" || len(answer.Roster.Members) != 2 {
		t.Fatalf("removing the leader: %+v", answer)
	}
	c.drop(lead)
	mustCommit(t, c.submit(c.leader(), transferOf(1)))
	list := c.members(c.sfus[0], func(ctx context.Context, mc txnpb.MembersClient) (*txnpb.MembersAnswer, error) {
		return mc.List(ctx, &txnpb.ListMembers{})
	})
	if len(list.Seats) != 2 || list.Seats[0] != txnpb.SeatVoter || list.Seats[1] != txnpb.SeatVoter || list.Roster.LastNumber != 4 {
		t.Fatalf("%+v", list)
	}
	if d := c.agree(); d.Csn != 4 {
		t.Fatalf("%d commits, want 4", d.Csn)
	}
}

// TestOneOfTwoStops: the leader of two that stops gives up its vote also when it hears
// late who leads now, and the other decides alone; when it is back, it votes again.
func TestOneOfTwoStops(t *testing.T) {
	c := newClusterOf(t, 1, func(_ uint16, fs *vfs.MemFS) vfs.FS { return fs })
	first := c.leader()
	mustCommit(t, c.submit(first, opening()))
	second := c.add(first, record("sfu2", "pc2", 2), 0)
	c.voters(first, 1, 2)
	if c.leader() != first {
		t.Fatal("the first one does not lead any more")
	}
	c.delay(first, 20*time.Millisecond)
	c.stop(first)
	mustCommit(t, c.submit(second, transferOf(1)))
	c.voters(second, 2)
	c.start(first)
	c.voters(second, 1, 2)
}

// TestJoinerIsNotRevived: a member that joined and lost its state must not begin again
// with what its configuration lists.
func TestJoinerIsNotRevived(t *testing.T) {
	c := newClusterOf(t, 1, func(_ uint16, fs *vfs.MemFS) vfs.FS { return fs })
	first := c.leader()
	second := c.add(first, record("sfu2", "pc2", 2), 0)
	c.voters(first, 1, 2)
	c.stop(second)
	if err := second.fs.RemoveAll("store"); err != nil {
		t.Fatal(err)
	}
	c.start(second)
	select {
	case err := <-second.done:
		if err == nil || !strings.Contains(err.Error(), "its disk was lost") {
			t.Fatal(err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it runs with a lost state")
	}
	second.cancel = nil
}
