package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/comps/ledger/exec"
	"virtualservicesinc.com/comps/txn/overruled"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// forceAt runs `rrts quorum force` at an SFU and returns what it prints.
func forceAt(ctx context.Context, a *arena.Arena, i int) (string, error) {
	var out bytes.Buffer
	c := &cli{dir: a.ConfigDir(i), json: true, out: &term.Out{Std: &out, Err: io.Discard, JSON: true}}
	err := c.force(ctx, &forceFlags{otherIsOff: true, yes: true})
	return out.String(), err
}

// suspended waits until an SFU says that nobody leads.
func suspended(ctx context.Context, t *testing.T, a *arena.Arena, i int) {
	t.Helper()
	for {
		log, err := os.ReadFile(a.LogFile(i))
		if err == nil && strings.Contains(string(log), "alarm=no-leader") {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not say that nobody leads: %v", a.Name(i), err)
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// overruledAt starts an SFU that was overruled, and waits until it has said so and ended;
// it returns the transactions that only it has.
func overruledAt(t *testing.T, a *arena.Arena, i int) []overruled.Row {
	t.Helper()
	if err := a.Start(i); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.Exited(i):
	case <-time.After(20 * time.Second):
		t.Fatalf("%s runs on", a.Name(i))
	}
	if err := a.Stop(i); err == nil || !strings.Contains(err.Error(), "exit status 78") {
		t.Errorf("%s ended with %v", a.Name(i), err)
	}
	log, err := os.ReadFile(a.LogFile(i))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"alarm=overruled", "bring it back under a new identity: `rrts sfu replace " + a.Name(i) + "`"} {
		if !strings.Contains(string(log), want) {
			t.Errorf("%s does not say %q", a.Name(i), want)
		}
	}
	data, err := os.ReadFile(filepath.Join(a.StateDir(i), "overruled-epoch-2.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	var rows []overruled.Row
	for line := range strings.Lines(string(data)) {
		var r overruled.Row
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatal(err)
		}
		rows = append(rows, r)
	}
	return rows
}

// TestQuorumForce: of two SFUs one dies while payments run. They wait; the operator says
// that it is off, and they go on. The other one returns, is overruled, and comes back as
// another. No payment failed, and both hold the same.
func TestQuorumForce(t *testing.T) {
	a := newArena(t, 3, func(c *arena.Config) { c.Founders = 2 })
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	const alpha, bravo, again = 0, 1, 2
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
	start(bravo)
	user, login := newLogin(ctx, t, a)
	if _, err := forceAt(ctx, a, alpha); err == nil || !strings.Contains(err.Error(), "nothing has to be forced") {
		t.Fatalf("forced while a quorum is there: %v", err)
	}
	l := startLoad(ctx, t, a, user, login)
	time.Sleep(300 * time.Millisecond) // payments
	if err := a.Kill(bravo); err != nil {
		t.Fatal(err)
	}
	suspended(ctx, t, a, alpha)
	began := time.Now()
	out, err := forceAt(ctx, a, alpha)
	if err != nil || !strings.Contains(out, `"overruled":["bravo"]`) || !strings.Contains(out, `"epoch":2`) {
		t.Fatalf("%s%v", out, err)
	}
	if _, err := user.Submit(ctx, pay(user, 1)); err != nil {
		t.Fatal(err)
	}
	t.Logf("the first payment came %v after the order", time.Since(began).Round(time.Millisecond))
	time.Sleep(200 * time.Millisecond)

	overruledAt(t, a, bravo) // what it has, alpha has, too: both had to have it
	overruledAt(t, a, bravo) // it says so at every start

	op, err := a.Operator(ctx, alpha)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	if err := a.Join(ctx, op, again, bravo); err != nil {
		t.Fatal(err)
	}
	start(again)
	if err := a.WaitVoters(ctx, op, 2); err != nil {
		t.Fatal(err)
	}
	paid := l.end(t) + 1
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
	balance(ctx, t, user, paid)

	// The survivor goes, too, and the new one goes on without it: in its epoch.
	if err := a.Stop(alpha); err != nil {
		t.Fatal(err)
	}
	last, stop := context.WithTimeout(ctx, 20*time.Second)
	defer stop()
	if _, err := user.Submit(last, pay(user, 1)); err != nil {
		t.Fatal(err)
	}
}

// balance holds the accounts against the payments that were made.
func balance(ctx context.Context, t *testing.T, user *client.Client, paid int) {
	t.Helper()
	accounts, err := user.LookupAccounts(ctx, u128.From64(1), u128.From64(2))
	if err != nil || len(accounts) != 2 {
		t.Fatal(accounts, err)
	}
	if want := u128.From64(uint64(paid)); accounts[0].DebitsPosted != want || accounts[1].CreditsPosted != want {
		t.Fatalf("debits %v, credits %v, and %d payments were made", accounts[0].DebitsPosted, accounts[1].CreditsPosted, paid)
	}
}

// TestQuorumForceLoses: the SFU that goes on had given up its vote, and the other one had
// gone on alone and committed. That one, when it is back, commits nothing more although it
// could decide alone, and what only it has can be read and submitted again.
func TestQuorumForceLoses(t *testing.T) {
	a := newArena(t, 2, nil)
	ctx := run(t, a)
	const alpha, bravo = 0, 1
	user := newUser(ctx, t, a)
	payments := func(n int) {
		t.Helper()
		for range n {
			if _, err := user.Submit(ctx, pay(user, 1)); err != nil {
				t.Fatal(err)
			}
		}
	}
	payments(5)
	if err := a.Stop(bravo); err != nil {
		t.Fatal(err)
	}
	payments(7)
	if err := a.Kill(alpha); err != nil {
		t.Fatal(err)
	}
	if err := a.Start(bravo); err != nil {
		t.Fatal(err)
	}
	if err := a.WaitControl(ctx, bravo); err != nil {
		t.Fatal(err)
	}
	out, err := forceAt(ctx, a, bravo)
	if err != nil || !strings.Contains(out, "what the others committed without it is not here") {
		t.Fatalf("%s%v", out, err)
	}
	payments(2)
	rows := overruledAt(t, a, alpha)
	var lost []*txnpb.Transaction
	csn := uint64(0)
	for _, r := range rows {
		if csn++; csn == 1 {
			csn = r.CSN
		}
		tx, err := exec.ParseTransaction(r.Transaction)
		if err != nil || r.State != "committed" || r.CSN != csn {
			t.Fatalf("%+v, %v", r, err)
		}
		lost = append(lost, tx)
	}
	if len(lost) != 7 {
		t.Fatalf("%d transactions are overruled, want 7", len(lost))
	}
	balance(ctx, t, user, 7)
	file := filepath.Join(a.StateDir(alpha), "overruled-epoch-2.jsonl")
	var report bytes.Buffer
	c := &cli{dir: a.ConfigDir(bravo), json: true, out: &term.Out{Std: &report, Err: io.Discard, JSON: true}}
	if err := c.txOverruled(ctx, file); err == nil || !strings.Contains(err.Error(), "7 transactions that had been committed are not known") {
		t.Errorf("%v\n%s", err, report.String())
	}
	op, err := a.Operator(ctx, bravo)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	for _, tx := range lost {
		if _, err := op.Submit(ctx, tx); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.txOverruled(ctx, file); err != nil {
		t.Error(err)
	}
	balance(ctx, t, user, 14)
}
