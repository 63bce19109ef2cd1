package txn

import (
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestUnserved: effects that no SFU does are an alarm after a while, which ends when one
// takes their queue. A queue whose holder has nothing to do now is none: its effects are
// not due, in quarantine, or behind one that is.
func TestUnserved(t *testing.T) {
	const second = uint64(time.Second)
	now := 1_700_000_000 * second
	state := memstore.New()
	m, err := machine.Open(state, machine.Config{}, &raftpb.ConfState{Voters: []uint64{1}})
	if err != nil {
		t.Fatal(err)
	}
	ids := uint64(0)
	submit := func(role message.Role, tx *txnpb.Transaction) {
		t.Helper()
		ids++
		tx.Id = u128.Int{Hi: now / uint64(time.Millisecond) << 16, Lo: ids}
		e := txnpb.Entry{ApplyVersion: entry.ApplyVersion, Epoch: 1, Proposed: now, Submissions: []txnpb.Submission{
			{Transaction: message.Marshal(tx), Role: uint32(role)}}}
		index, _ := m.Applied()
		out, err := m.Apply(index+1, 1, message.Marshal(&e), nil)
		if err != nil || out[0].Outcome.State != txnpb.StateCommitted || out[0].Outcome.Results != nil && len(out[0].Outcome.Results.Exceptions) > 0 {
			t.Fatalf("%v, %v", out, err)
		}
	}
	change := func(x txnpb.EffectChange) {
		t.Helper()
		role := message.RoleSFU
		if x.Action >= txnpb.EffectActionRequeue {
			role = message.RoleOperator
		}
		x.Service, x.Target = "sql", "shop"
		submit(role, &txnpb.Transaction{Mode: txnpb.ModeIndependent, EffectChanges: []txnpb.EffectChange{x}})
	}
	var u unserved
	var book alarmBook
	after := func(d uint64, want ...string) {
		t.Helper()
		now += d * second
		queues, err := machine.Unserved(state, now, uint64(unservedAfter))
		if err != nil {
			t.Fatal(err)
		}
		before := len(book)
		u.look(&book, queues)
		if got := book[before:]; !slices.Equal(got, want) {
			t.Fatalf("%d s on: alarms:\n%s\nwant:\n%s", d, strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	}
	effect := txnpb.Effect{Service: "sql", Target: "shop", Operation: "order", Key: "anna"}
	submit(message.RoleClient, &txnpb.Transaction{Effects: []txnpb.Effect{effect, effect}})
	after(89)
	after(2) // it may have been set free just now
	after(10, "raise effects-unserved@sql/shop: no SFU does the effects of sql/shop: the first of them waits since 2023-11-14T22:13:20Z; see rrts effects queues")
	after(100) // once
	take := txnpb.EffectChange{Action: txnpb.EffectActionTake, Holder: 1, Token: 7, LeaseMillis: 6000}
	fence := uint64(1<<32 + 1)
	change(take)
	after(1, "clear effects-unserved@sql/shop")
	claim := txnpb.EffectChange{Action: txnpb.EffectActionClaim, Sequence: 1, Fence: fence, LeaseMillis: 6000}
	change(claim)
	after(1)
	change(txnpb.EffectChange{Action: txnpb.EffectActionRetry, Sequence: 1, Fence: fence, DelayMillis: 3600_000, Reason: "away"})
	after(3601)
	change(claim)
	change(txnpb.EffectChange{Action: txnpb.EffectActionQuarantine, Sequence: 1, Fence: fence, Reason: "no such table"})
	after(3600) // the second waits behind it
	change(txnpb.EffectChange{Action: txnpb.EffectActionRequeue, Sequence: 1})
	after(1)
	after(10, "raise effects-unserved@sql/shop: no SFU does the effects of sql/shop: the first of them waits since 2023-11-14T23:16:50Z; see rrts effects queues")
	u.look(&book, nil) // another one leads
	book.seen().Proves(t)
}
