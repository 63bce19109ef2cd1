package main

import (
	"context"
	"errors"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func TestTx(t *testing.T) {
	a := newArena(t, 1, nil)
	run(t, a)
	t.Run("scripts", func(t *testing.T) {
		scripts(t, "testdata/tx", "CONFIG="+a.ConfigDir(0))
	})
}

// TestExactlyOnceToTheEnd: what an id was told first it is told ever after, through
// every gateway, by the next leader and after a restart of all SFUs: committed,
// resolved before it came, used for something else, too far ahead, too old.
func TestExactlyOnceToTheEnd(t *testing.T) {
	a := newArena(t, 3, nil)
	ctx := run(t, a)
	c := newUser(ctx, t, a)
	paid := pay(c, 5)
	first, err := c.Submit(ctx, paid)
	if err != nil {
		t.Fatal(err)
	}
	late := pay(c, 7) // resolved before it is submitted
	if o, err := c.Resolve(ctx, late.Id); err != nil || o.State != txnpb.StateAborted || o.Reason != "cancelled" {
		t.Fatalf("resolve: %v, %v", o, err)
	}
	other := *paid
	other.Memo = "something else"
	future, old := *paid, *paid
	millis := uint64(time.Now().UnixMilli())
	future.Id = u128.Int{Hi: (millis+600_000)<<16 | 0x7000, Lo: 1 << 63}
	old.Id = u128.Int{Hi: (millis-8*24*3_600_000)<<16 | 0x7000, Lo: 1 << 63}

	told := func(ctx context.Context, c *client.Client, tx *txnpb.Transaction) (txnpb.State, uint64) {
		t.Helper()
		o, err := c.Submit(ctx, tx)
		var no *client.NotCommittedError
		if errors.As(err, &no) {
			o, err = no.Outcome, nil
		}
		if err != nil {
			t.Fatal(err)
		}
		return o.State, o.Csn
	}
	again := func(when string) {
		t.Helper()
		for i := range a.SFUs() { // each by its own gateway, as the same user
			kit := a.Kit()
			c, err := client.Open(ctx, client.Config{Gateways: kit.Gateways[i : i+1], RootCAs: kit.Pool(), ClusterID: [16]byte(kit.ID), LoginKey: kit.Signer(), Token: c.Token(), SingleConnection: true})
			if err != nil {
				t.Fatalf("%s, gateway %d: %v", when, i, err)
			}
			for _, x := range []struct {
				what  string
				tx    *txnpb.Transaction
				state txnpb.State
				csn   uint64
			}{
				{"committed", paid, txnpb.StateCommitted, first.Csn},
				{"resolved", late, txnpb.StateAborted, 0},
				{"other content", &other, txnpb.StateIdReused, 0},
				{"from the future", &future, txnpb.StateIdFromFuture, 0},
				{"too old", &old, txnpb.StateExpired, 0},
			} {
				if state, csn := told(ctx, c, x.tx); state != x.state || csn != x.csn {
					t.Errorf("%s, gateway %d, %s: %v csn %d, want %v csn %d", when, i, x.what, state, csn, x.state, x.csn)
				}
			}
			if o, err := c.Resolve(ctx, paid.Id); err != nil || o.State != txnpb.StateCommitted || o.Csn != first.Csn {
				t.Errorf("%s, gateway %d: resolve of what was committed: %v, %v", when, i, o, err)
			}
			accounts, err := c.LookupAccounts(ctx, u128.From64(2))
			if err != nil || len(accounts) != 1 || accounts[0].CreditsPosted != u128.From64(5) {
				t.Errorf("%s, gateway %d: %v, %v, want 5 credits", when, i, accounts, err)
			}
			c.Close()
		}
	}
	again("at once")

	leader, err := a.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Kill(leader); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(leader); err != nil {
		t.Fatal(err)
	}
	if err := a.WaitControl(ctx, leader); err != nil {
		t.Fatal(err)
	}
	again("by the next leader")

	for i := range a.SFUs() {
		if err := a.Kill(i); err != nil {
			t.Fatal(err)
		}
	}
	// Nobody is there: the outcome is not known, which is no failure.
	unknown := pay(c, 1)
	short, cancel := context.WithTimeout(ctx, 300*time.Millisecond)
	defer cancel()
	var pending *client.PendingError
	if _, err := c.Submit(short, unknown); !errors.As(err, &pending) || pending.ID != unknown.Id {
		t.Errorf("without a cluster: %v", err)
	}
	for i := range a.SFUs() {
		if err := a.Start(i); err != nil {
			t.Fatal(err)
		}
	}
	for i := range a.SFUs() {
		if err := a.WaitControl(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	again("after a restart of all")
}
