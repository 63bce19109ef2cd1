package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/message"
)

// tryQuarantine lets an order kill the component in Python, whose program is at path, and
// does what the alarm says, as an operator on the first SFU.
func tryQuarantine(ctx context.Context, t *testing.T, a *arena.Arena, c *client.Client, path string) {
	t.Helper()
	rrts := func(args ...string) (out string, status int) {
		t.Helper()
		cmd := exec.CommandContext(ctx, filepath.Join(filepath.Dir(a.Rrtsd()), "rrts"), append([]string{"--config", a.ConfigDir(0)}, args...)...)
		b, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		t.Logf("rrts %s\n%s", strings.Join(args, " "), b)
		return string(b), cmd.ProcessState.ExitCode()
	}
	expect := func(status int, want string, args ...string) string {
		t.Helper()
		out, got := rrts(args...)
		if got != status || !strings.Contains(out, want) {
			t.Errorf("rrts %s: status %d, want %d with %q in\n%s", strings.Join(args, " "), got, status, want, out)
		}
		return out
	}
	expect(0, "no requests in quarantine", "quarantine", "list")

	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const check = "        if not 1 <= request.pieces <= 1000:\n"
	bomb := bytes.Replace(program, []byte(check), []byte("        if request.pieces == 666:\n            import os\n            os._exit(66)\n"+check), 1)
	if bytes.Equal(bomb, program) {
		t.Fatalf("%q is not in %s", check, path)
	}
	if err := os.WriteFile(path, bomb, 0o755); err != nil {
		t.Fatal(err)
	}
	expect(0, "stock runs anew on alpha", "component", "restart", "stock")
	if _, _, err := placeOrder(ctx, c, c.NewID(), 1001, 2001, 666); !errors.Is(err, &message.Error{Code: message.Quarantined}) {
		t.Fatalf("a request that kills: %v", err)
	}

	out := expect(0, `"component":"stock"`, "--json", "quarantine", "list")
	var held struct {
		ID, SFU, Name, Reason string
		Crashes               int
		BodyBytes             int `json:"body_bytes"`
	}
	if err := json.Unmarshal([]byte(out), &held); err != nil || held.SFU != "alpha" || !strings.HasSuffix(held.Name, ".Place") || held.Crashes != 3 ||
		!strings.Contains(held.Reason, "exit status 66") || held.BodyBytes == 0 {
		t.Fatalf("%v: %+v in\n%s", err, held, out)
	}
	expect(0, held.ID+"  alpha  stock ", "quarantine", "list", "alpha")
	expect(0, "no requests in quarantine", "quarantine", "list", "bravo")
	expect(0, "bytes, which are not shown", "quarantine", "show", held.ID)
	expect(1, "requests-quarantined", "alarms") // its status is that one stands

	expect(2, "32 hex digits", "quarantine", "show", "3")
	expect(2, `no SFU "delta"`, "quarantine", "list", "delta")
	expect(1, "rrts quarantine list shows those that are held", "quarantine", "discard", strings.Repeat("0", 32))
	expect(1, "it stays in quarantine at alpha: quarantined", "quarantine", "retry", held.ID)
	expect(0, "is discarded at alpha", "quarantine", "discard", held.ID)
	expect(0, "no requests in quarantine", "quarantine", "list")
	if out := expect(1, "component-failed@stock", "alarms"); strings.Contains(out, "requests-quarantined") {
		t.Errorf("the alarm stands still:\n%s", out)
	}
	log, err := os.ReadFile(a.LogFile(0))
	if want := "Request was discarded from quarantine"; err != nil || !bytes.Contains(log, []byte(want)) {
		t.Errorf("%v: %q is not in the log of alpha", err, want)
	}

	if err := a.Kill(2); err != nil {
		t.Fatal(err)
	}
	if out := expect(1, "carol does not answer", "quarantine", "list"); strings.Contains(out, "no requests") {
		t.Errorf("nobody knows what carol holds:\n%s", out)
	}
}
