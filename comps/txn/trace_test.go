package txn_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func (c *cluster) trace(s *sfu, r *txnpb.TraceRequest) *txnpb.TraceAnswer {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	a, err := txnpb.ReplicaClient{Caller: s.engine.Caller(s.number)}.Trace(ctx, r)
	if err != nil {
		c.t.Fatal(err)
	}
	return a
}

// TestTrace: every replica knows when a transaction's entry passed its steps, in their
// order, and the leader when it came and was answered; the leader counts how long that
// took.
func TestTrace(t *testing.T) {
	c := newCluster(t)
	lead := c.leader()
	mustCommit(t, c.submit(lead, opening()))
	before := uint64(time.Now().UnixNano())
	tx := transferOf(1)
	mustCommit(t, c.submit(lead, tx))
	c.agree()
	after := uint64(time.Now().UnixNano())
	var index uint64
	for _, s := range c.sfus {
		a := c.trace(s, &txnpb.TraceRequest{Id: tx.Id})
		want := []txnpb.Step{txnpb.StepAppended, txnpb.StepDurable, txnpb.StepCommitted, txnpb.StepApplied}
		if s == lead {
			want = []txnpb.Step{txnpb.StepQueued, txnpb.StepAppended, txnpb.StepDurable, txnpb.StepCommitted, txnpb.StepApplied, txnpb.StepReplied}
		}
		var steps []txnpb.Step
		for _, m := range a.Marks {
			if m.At < before || m.At > after {
				t.Errorf("SFU %d, %v: %d is not between %d and %d", s.number, m.Step, m.At, before, after)
			}
			steps = append(steps, m.Step)
		}
		if !slices.Equal(steps, want) {
			t.Errorf("SFU %d: %v, want %v", s.number, steps, want)
		}
		// A follower may learn that an entry is committed before its own disk has it.
		at := func(step txnpb.Step) uint64 { return a.Marks[slices.Index(steps, step)].At }
		if at(txnpb.StepAppended) > at(txnpb.StepDurable) || at(txnpb.StepAppended) > at(txnpb.StepCommitted) || at(txnpb.StepCommitted) > at(txnpb.StepApplied) ||
			s == lead && (at(txnpb.StepQueued) > at(txnpb.StepAppended) || at(txnpb.StepApplied) > at(txnpb.StepReplied)) {
			t.Errorf("SFU %d: %+v: out of order", s.number, a.Marks)
		}
		if index = max(index, a.Index); a.Index != index || index == 0 {
			t.Errorf("SFU %d: entry %d", s.number, a.Index)
		}
	}
	if a := c.trace(lead, &txnpb.TraceRequest{Id: newID()}); len(a.Marks) != 0 || a.Index != 0 {
		t.Errorf("of a transaction that never was: %+v", a)
	}
	st := c.status(lead)
	count := uint64(0)
	for _, n := range st.CommitSeen {
		count += n
	}
	if count < 2 || st.CommitNanos == 0 || len(st.CommitSeen) > router.Buckets {
		t.Errorf("%d transactions were answered in %d ns", count, st.CommitNanos)
	}
}
