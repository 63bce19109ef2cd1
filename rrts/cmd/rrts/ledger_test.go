package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	osexec "os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/exec"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena/arenatest"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/embedded"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// scripts plays the scripts of a directory with rrts on the PATH and the
// given variables.
func scripts(t *testing.T, dir string, variables ...string) {
	t.Helper()
	programs := arenatest.Programs(t)
	testscript.Run(t, testscript.Params{Dir: dir, Setup: func(env *testscript.Env) error {
		env.Setenv("PATH", programs+string(os.PathListSeparator)+env.Getenv("PATH"))
		env.Vars = append(env.Vars, variables...)
		return nil
	}})
}

func TestLedgerExec(t *testing.T) { scripts(t, "testdata/ledger") }

func TestLedgerExecOnCluster(t *testing.T) {
	a := newArena(t, 1, nil)
	ctx := run(t, a)
	// The scripts run side by side, so in a test that ends after them.
	t.Run("scripts", func(t *testing.T) {
		scripts(t, "testdata/ledger-cluster", "CONFIG="+a.ConfigDir(0))
	})

	// The most events of one line are one transaction; one more is refused whole.
	op, err := a.Operator(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	var script, got bytes.Buffer
	for _, n := range []int{ledger.MaxEvents + 1, ledger.MaxEvents} {
		script.WriteString(`{"create_transfers":[`)
		for i := range n {
			fmt.Fprintf(&script, `%s{"id":%d,"debit_account_id":1,"credit_account_id":2,"amount":1,"ledger":840,"code":1}`, ","[:min(i, 1)], 1000+i)
		}
		script.WriteString("]}\n")
	}
	c := &cli{out: &term.Out{Std: &got}}
	if err := c.exec(ctx, &script, clusterLedger{op}); err == nil || err.Error() != "1 of 2 requests were not executed, the first of them in line 1; their answers say why" {
		t.Error(err)
	}
	refused, created, _ := strings.Cut(got.String(), "\n")
	if want := `{"error":"line 1: create_transfers: more than 8192 events in one line; divide them among several lines"}`; refused != want {
		t.Errorf("%.200s", refused)
	}
	if n := strings.Count(created, `{"status":"created",`); n != ledger.MaxEvents {
		t.Errorf("%d transfers created: %.200s", n, created)
	}
}

// The state of an SFU is left alone.
func TestLedgerExecOnAnSFUsState(t *testing.T) {
	a := newArena(t, 1, nil)
	run(t, a)
	if err := a.Stop(0); err != nil {
		t.Fatal(err)
	}
	before := files(t, a.StateDir(0))
	for dir, want := range map[string]string{
		a.StateDir(0):                         "is no part of a ledger; name a new or an empty directory",
		filepath.Join(a.StateDir(0), "store"): "it is damaged, or the sealed store of an SFU: name another directory",
	} {
		l, err := embedded.Open(embedded.Config{Dir: dir})
		if err == nil {
			l.Close()
		}
		if err == nil || !strings.HasSuffix(err.Error(), want) {
			t.Errorf("%s: %v", dir, err)
		}
	}
	if after := files(t, a.StateDir(0)); !maps.Equal(before, after) {
		t.Errorf("the files were\n%v\nand are\n%v", before, after)
	}
}

// files returns what is below dir.
func files(t *testing.T, dir string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Type()&(fs.ModeDir|fs.ModeSocket) != 0 {
			return err
		}
		content, err := os.ReadFile(path)
		all[path] = string(content)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

// fakeCluster answers every call with the same.
type fakeCluster struct {
	outcome *txnpb.Outcome
	err     error
	got     *txnpb.Transaction
}

func (f *fakeCluster) NewID() u128.Int { return u128.From64(7) }

func (f *fakeCluster) Submit(ctx context.Context, tx *txnpb.Transaction) (*txnpb.Outcome, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, errors.New("a call without end")
	}
	f.got = tx
	return f.outcome, f.err
}

func (f *fakeCluster) Query(ctx context.Context, _ *txnpb.Query) (*txnpb.QueryAnswer, error) {
	if _, ok := ctx.Deadline(); !ok {
		return nil, errors.New("a call without end")
	}
	return &txnpb.QueryAnswer{}, f.err
}

// What a cluster says about one line is that line's answer; what it cannot say
// ends the run.
func TestLedgerExecClusterErrors(t *testing.T) {
	id := u128.From64(7)
	for _, c := range []struct {
		name    string
		cluster fakeCluster
		create  string
		query   string
		refused bool
	}{
		{
			"refused", fakeCluster{err: &client.NotCommittedError{Outcome: &txnpb.Outcome{State: txnpb.StateRefused, Reason: "closed today"}}},
			"exec: refused: the cluster refused: refused closed today", "", true,
		},
		{
			"invalid", fakeCluster{err: message.Errorf(message.Invalid, "too much")},
			"exec: refused: the cluster refused: invalid: too much", "exec: refused: the cluster refused: invalid: too much", true,
		},
		{
			"pending", fakeCluster{err: &client.PendingError{ID: id, Cause: context.DeadlineExceeded}},
			"whether it was executed is not known (context deadline exceeded); run the lines from this one on again: what was executed answers \"exists\"", "", false,
		},
		{"closed", fakeCluster{err: client.ErrClosed}, "client: closed", "client: closed", false},
		{
			"no results", fakeCluster{outcome: &txnpb.Outcome{State: txnpb.StateCommitted}},
			"the cluster answered without results: is this software older than the cluster's?", "", false,
		},
	} {
		l := clusterLedger{&c.cluster}
		check := func(err error, want string) {
			t.Helper()
			var refused *exec.RefusedError
			if err == nil || err.Error() != want || errors.As(err, &refused) != c.refused {
				t.Errorf("%s: %T %v, want %q", c.name, err, err, want)
			}
		}
		_, err := l.Create(t.Context(), []ledgerpb.Account{{Id: id}}, nil)
		check(err, c.create)
		if tx := c.cluster.got; tx == nil || tx.Id != id || tx.Mode != txnpb.ModeIndependent || len(tx.Accounts) != 1 {
			t.Errorf("%s: submitted %v", c.name, tx)
		}
		if c.query != "" {
			_, err := l.Query(t.Context(), &txnpb.Query{})
			check(err, c.query)
		}
	}
}

// When nobody reads the answers any more, the command ends; what it has executed
// is on disk.
func TestLedgerExecAnswersUnread(t *testing.T) {
	dir := t.TempDir()
	command := func(stdin string) *osexec.Cmd {
		cmd := osexec.Command(filepath.Join(arenatest.Programs(t), "rrts"), "ledger", "exec", "--embedded", dir)
		cmd.Stdin = strings.NewReader(stdin)
		return cmd
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	r.Close()
	cmd := command(`{"create_accounts":[{"id":1,"ledger":1,"code":1}]}` + "\n" + `{"create_accounts":[{"id":2,"ledger":1,"code":1}]}`)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &said
	err = cmd.Run()
	w.Close()
	var exit *osexec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailure || !strings.Contains(said.String(), "exec: answer to line 1: write") {
		t.Errorf("%v, said %q", err, said.String())
	}
	got, err := command(`{"lookup_accounts":[1,2]}`).Output()
	if err != nil || strings.Count(string(got), `"id":`) != 1 || !strings.Contains(string(got), `"id":"1"`) {
		t.Errorf("%v, %s", err, got)
	}
}

// An interrupt ends the command while it waits for the rest of a line, after the
// answer to the line before.
func TestLedgerExecInterrupted(t *testing.T) {
	in, feed := io.Pipe()
	defer feed.Close()
	answers, out := io.Pipe()
	c := &cli{out: &term.Out{Std: out}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- c.exec(ctx, in, clusterLedger{&fakeCluster{}}) }()
	if _, err := io.WriteString(feed, `{"lookup_accounts":[1]}`+"\n"+`{"lookup`); err != nil {
		t.Fatal(err)
	}
	if got, err := bufio.NewReader(answers).ReadString('\n'); err != nil || got != `{"accounts":[]}`+"\n" {
		t.Fatalf("%q, %v", got, err)
	}
	cancel()
	select {
	case err := <-done:
		if !errors.Is(err, errInterrupted) && !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(10 * time.Second):
		t.Fatal("it waits")
	}
}
