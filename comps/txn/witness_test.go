package txn_test

import (
	"context"
	"testing"
	"time"

	"virtualservicesinc.com/comps/txn/marker"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// pay commits so many transfers, through one SFU's engine.
func (c *cluster) pay(at *sfu, n int) {
	c.t.Helper()
	for range n {
		mustCommit(c.t, c.submit(at, transferOf(1)))
	}
}

// reach waits until a witness has read as much as an SFU has applied.
func (c *cluster) reach(witness, at *sfu) {
	c.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		if w, s := c.status(witness), c.status(at); w != nil && s != nil && w.AppliedIndex >= s.AppliedIndex && w.Role == "witness" {
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
	c.t.Fatalf("the witness does not keep up: %+v, the other one %+v", c.status(witness), c.status(at))
}

// TestWitness takes two members and a witness through what only a witness can save:
// what one member committed with it while the other was away for long, and is gone
// before the other is back. Upkeep cuts logs as early as it may meanwhile.
func TestWitness(t *testing.T) {
	c := newClusterWithWitness(t)
	wit := c.sfus[2]
	first := c.leader()
	second := c.sfus[2-first.number]
	mustCommit(t, c.submit(wit, opening())) // its engine finds the leader

	c.stop(second)
	c.pay(first, 400) // several segments of the journal
	time.Sleep(700 * time.Millisecond)
	c.pay(first, 20)
	c.stop(first)
	c.start(second)
	o := c.submit(second, transferOf(1))
	mustCommit(t, o)
	if o.Csn != 422 {
		t.Fatalf("the survivor goes on with CSN %d, want 422: it was not brought up to date", o.Csn)
	}
	c.start(first)
	if d := c.agree(); d.Csn != 422 {
		t.Fatalf("%d commits, want 422", d.Csn)
	}

	// Where the witness was away for longer than the others' logs reach, a marker brings
	// it forward, and it votes again.
	c.stop(wit)
	c.pay(first, 400)
	time.Sleep(700 * time.Millisecond)
	c.pay(first, 20)
	c.start(wit)
	c.reach(wit, first)
	if entries := c.entries(wit, 2); entries {
		t.Error("the witness holds what it never got: no marker was sent")
	}
	c.stop(c.leader())
	survivor := first
	if survivor.cancel == nil {
		survivor = second
	}
	c.pay(survivor, 10)
	c.stop(wit)
	m, err := marker.Open(wit.fs, "marker")
	if err != nil || m.Marker() == nil || m.Marker().Roster == nil {
		t.Fatalf("the marker on the disk: %+v, %v", m, err)
	}
	c.start(wit)
	c.pay(survivor, 10)
	for _, s := range c.sfus {
		if s.cancel == nil {
			c.start(s)
		}
	}
	if d := c.agree(); d.Csn != 862 {
		t.Fatalf("%d commits, want 862", d.Csn)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if d, err := (txnpb.ReplicaClient{Caller: wit.engine.Caller(wit.number)}).Digest(ctx, &txnpb.DigestRequest{}); err == nil {
		t.Errorf("the witness has a state: %v", d)
	}
}

// entries reports whether a member gives an entry of its log to others.
func (c *cluster) entries(s *sfu, first uint64) bool {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	from := c.sfus[0]
	if from == s {
		from = c.sfus[1]
	}
	_, err := txnpb.ReplicaClient{Caller: from.engine.Caller(s.number)}.Entries(ctx, &txnpb.EntriesRequest{First: first, Count: 1})
	return err == nil
}

// TestWitnessJoins: one SFU grows by a witness that begins with nothing, and by a second
// SFU; the first is then replaced.
func TestWitnessJoins(t *testing.T) {
	c := newEmptyCluster(t)
	c.sfus = []*sfu{newSFU(1)}
	c.begin()
	first := c.leader()
	mustCommit(t, c.submit(first, opening()))
	r := record("wit", "box", 2)
	r.Type = "witness"
	wit := c.add(first, r, 0)
	c.voters(first, 1, 2)
	c.pay(wit, 1)
	second := c.add(first, record("sfu3", "pc3", 3), 0)
	c.voters(first, 1, 2, 3)
	answer := c.members(second, func(ctx context.Context, mc txnpb.MembersClient) (*txnpb.MembersAnswer, error) {
		return mc.Remove(ctx, &txnpb.RemoveMember{Number: 1})
	})
	if answer.Refused != "" {
		t.Fatal(answer.Refused)
	}
	c.drop(first)
	c.pay(second, 1)
	refused := c.members(second, func(ctx context.Context, mc txnpb.MembersClient) (*txnpb.MembersAnswer, error) {
		return mc.Remove(ctx, &txnpb.RemoveMember{Number: 3})
	})
	if refused.Refused == "" {
		t.Fatalf("a witness is left alone: %+v", refused)
	}
	if st := c.status(wit); st == nil || st.Role != "witness" || st.Csn != 0 {
		t.Errorf("the witness says %+v", st)
	}
}

// TestDamagedWitness: a witness whose journal rotted gets what it lost from the others,
// and then votes again.
func TestDamagedWitness(t *testing.T) {
	c := newClusterWithWitness(t)
	wit := c.sfus[2]
	first := c.leader()
	mustCommit(t, c.submit(first, opening()))
	c.keep = 1 << 30
	for _, s := range c.sfus {
		c.stop(s)
		c.start(s)
	}
	first = c.leader()
	c.pay(first, 50)
	c.reach(wit, first)
	time.Sleep(marked)
	c.stop(wit) // first: all that it has acknowledged is on its disk, and what rots is told from it
	c.stop(c.sfus[0])
	c.stop(c.sfus[1])
	wit.rot(t, false, 300)
	c.start(wit)
	c.raised(wit, "journal-damaged")
	c.start(c.sfus[0])
	c.start(c.sfus[1])
	c.role(wit, "witness")
	first = c.leader()
	c.pay(first, 10)
	c.stop(first)
	c.pay(c.sfus[2-first.number], 10)
}
