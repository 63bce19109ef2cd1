package main

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestMembersChange takes a cluster of one SFU to three, replaces one that lost its
// disk and removes the one with which all began, while payments run: none fails, none
// is lost, and those that are left agree.
func TestMembersChange(t *testing.T) {
	a := newArena(t, 4, func(c *arena.Config) { c.Founders = 1 })
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	const alpha, bravo, carol, delta = 0, 1, 2, 3
	start := func(i int) {
		t.Helper()
		if err := a.Start(i); err != nil {
			t.Fatal(err)
		}
		if err := a.WaitControl(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	start(alpha)
	user := newUser(ctx, t, a)
	l := startLoad(ctx, t, a, user)
	grow := func(op *client.Client, i, instead, voters int) {
		t.Helper()
		began := time.Now()
		if err := a.Join(ctx, op, i, instead); err != nil {
			t.Fatal(err)
		}
		start(i)
		if err := a.WaitVoters(ctx, op, voters); err != nil {
			t.Fatal(err)
		}
		t.Logf("%s votes %v after it was added", a.Name(i), time.Since(began).Round(time.Millisecond))
		time.Sleep(200 * time.Millisecond) // payments meanwhile
	}
	op, err := a.Operator(ctx, alpha)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	grow(op, bravo, -1, 2)
	grow(op, carol, -1, 3)

	if err := a.Kill(bravo); err != nil {
		t.Fatal(err)
	}
	grow(op, delta, bravo, 3)

	// A cluster begins with the newest apply version that its software knows, and all of
	// these have the same software.
	if a, err := (txnpb.MembersClient{Caller: op}).Activate(ctx, &txnpb.ActivateVersion{}); err != nil || a.Refused != "" || a.ApplyVersion != entry.ApplyVersion {
		t.Fatalf("%v: %v", err, a)
	}

	// A planned removal of the founder, which is told so and stops by itself.
	other, err := a.Operator(ctx, carol)
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if err := a.Remove(ctx, other, alpha); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.Exited(alpha):
	case <-time.After(20 * time.Second):
		t.Fatal("an SFU that was removed runs on")
	}
	log, err := os.ReadFile(a.LogFile(alpha))
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(log), "it was removed from the cluster; to bring it back under a new identity") {
		t.Errorf("%s does not say why it stopped", a.Name(alpha))
	}
	if err := a.WaitVoters(ctx, other, 2); err != nil {
		t.Fatal(err)
	}
	time.Sleep(200 * time.Millisecond)

	paid := l.end(t)
	for {
		equal, detail, err := a.Agree(ctx)
		if err == nil && equal {
			break
		}
		if ctx.Err() != nil {
			t.Fatalf("%s, %v", detail, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
	accounts, err := user.LookupAccounts(ctx, u128.From64(1), u128.From64(2))
	if err != nil || len(accounts) != 2 {
		t.Fatal(accounts, err)
	}
	if want := u128.From64(uint64(paid)); accounts[0].DebitsPosted != want || accounts[1].CreditsPosted != want {
		t.Fatalf("debits %v, credits %v, and %d payments were made", accounts[0].DebitsPosted, accounts[1].CreditsPosted, paid)
	}

	// It stays away: its own state says that it is out.
	if err := a.Stop(alpha); err != nil && !strings.Contains(err.Error(), "exit status 78") {
		t.Fatal(err)
	}
	refusesToStart(t, a, alpha, "SFU alpha, number 1, is not in the cluster")

	// One that was dead while it was replaced knows nothing of that, and nobody on the
	// interconnect speaks to it: a gateway tells it.
	refusesToStart(t, a, bravo, "SFU bravo, number 2, is not in the cluster", "rrts sfu remove bravo --files")

	// The others start from what they were told, not from what they began with.
	for _, i := range []int{carol, delta} {
		if err := a.Stop(i); err != nil {
			t.Fatal(err)
		}
	}
	start(carol)
	start(delta)
	if err := caughtUp(ctx, a); err != nil {
		t.Fatal(err)
	}
	again, err := a.Operator(ctx, carol)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	if err := a.WaitVoters(ctx, again, 2); err != nil {
		t.Fatal(err)
	}
}
