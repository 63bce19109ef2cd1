package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/sim/require"
)

// clientKit writes the arena's client-kit.toml.
func clientKit(t *testing.T, a *arena.Arena) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "client-kit.toml")
	if err := os.WriteFile(path, a.Kit().Marshal(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// newPython makes a command of packaging/examples/python.
func newPython(ctx context.Context, t *testing.T, args ...string) *exec.Cmd {
	t.Helper()
	require.Tool(t, "python3", "python3")
	cmd := exec.CommandContext(ctx, "python3", append([]string{"-B"}, args...)...)
	cmd.Dir = "../../../packaging/examples/python"
	return cmd
}

// TestPythonClient: a client that was written from the protocol's page pays while its
// gateways are killed and stopped, packed and plain; nothing is lost and nothing is twice.
func TestPythonClient(t *testing.T) {
	a := newArena(t, 3, nil)
	ctx := run(t, a)
	c := newUser(ctx, t, a)
	kit := clientKit(t, a)
	const count = 300
	for _, way := range [][]string{nil, {"--plain"}} {
		args := append([]string{"pay.py", kit, "arena-login-1", "1", "2", "300"}, way...)
		cmd := newPython(ctx, t, args...)
		cmd.Env = append(os.Environ(), "RRTS_PASSWORD=arena-password-1")
		var out bytes.Buffer
		cmd.Stdout = &out
		progress, err := cmd.StderrPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := bytes.Buffer{}
		for lines, n := bufio.NewScanner(progress), 0; lines.Scan(); n++ {
			said.WriteString(lines.Text() + "\n")
			if way != nil || n > 2 { // in the middle of the first one each SFU goes once
				continue
			}
			end := a.Kill
			if n == 2 {
				end = a.Stop
			}
			if err := end(n); err != nil {
				t.Error(err)
			}
			if err := a.StartLevel(ctx, n); err != nil {
				t.Error(err)
			}
		}
		if err := cmd.Wait(); err != nil {
			t.Fatalf("%v\n%s%s", err, out.String(), said.String())
		}
		var got struct {
			Paid, Payments, Events, Gateways int
			PublicName                       string `json:"public_name"`
		}
		if err := json.Unmarshal(out.Bytes(), &got); err != nil || got.Paid != count || got.Payments != count || got.Events != count || got.PublicName != "client 1" {
			t.Errorf("%v: %s", err, out.String())
		}
		if way == nil && got.Gateways < 2 {
			t.Error("its gateway was never lost: the test does not test")
		}
	}
	accounts, err := c.LookupAccounts(ctx, u128.From64(1))
	if err != nil || accounts[0].DebitsPosted != u128.From64(2*count) {
		t.Errorf("%v, %v: want %d paid", accounts, err, 2*count)
	}
}

// TestPythonRefusals: what is wrong is said so, at once.
func TestPythonRefusals(t *testing.T) {
	a := newArena(t, 1, nil)
	ctx, cancel := context.WithTimeout(run(t, a), 60*time.Second)
	defer cancel()
	newUser(ctx, t, a)
	kit := clientKit(t, a)
	cmd := newPython(ctx, t, "-c", `
import rrts, sys
def refused(code, f):
    try:
        f()
    except rrts.Refused as r:
        if r.code != code: sys.exit(f"{r}: want code {code}")
        return
    sys.exit(f"it was not refused: want code {code}")
kit = sys.argv[1]
refused(7, lambda: rrts.connect(kit, "arena-login-1", "not this one"))
c = rrts.connect(kit, "arena-login-1", "arena-password-1")
refused(7, lambda: list(c.statement(99)))
refused(6, lambda: c.call(2, 99))
refused(8, lambda: list(c.events((0, 77, 5, 1))))
o = c.submit(c.transfer(99, 2, 1, ledger=1, code=1))
if o["state"] != 9 or "account 99" not in o["reason"]: sys.exit(f"{o}")
o = c.submit(c.transaction(accounts=[{"id": 500 + i, "ledger": 1, "code": 1, "flags": 2} for i in range(300)]))
if o["state"] != 1: sys.exit(f"{o}")
if len(c.accounts(*range(1, 1000))) != 302: sys.exit("accounts are missing")
`, kit)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
