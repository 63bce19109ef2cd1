package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/sim/require"
)

// build builds what the shop runs.
func build(t *testing.T) string {
	t.Helper()
	require.Tool(t, "gcc", "gcc")
	if _, err := os.Stat("/usr/include/sql.h"); err != nil {
		require.Skip(t, "needs unixODBC's headers: run `apt install unixodbc-dev`")
	}
	if found, _ := filepath.Glob("/usr/lib/*/odbc/libsqlite3odbc.so"); len(found) == 0 {
		require.Skip(t, "needs SQLite's ODBC driver: run `apt install libsqliteodbc`")
	}
	dir, err := os.MkdirTemp("", "rrts-shop-programs-") // others must find it: the drivers have a user of their own
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for program, cgo := range map[string]string{"rrtsd": "0", "rrts-odbc": "1"} {
		cmd := exec.Command("go", "build", "-o", dir+"/", "virtualservicesinc.com/rrts/cmd/"+program)
		cmd.Env = append(os.Environ(), "CGO_ENABLED="+cgo)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
	}
	return dir
}

// TestShop runs the shop in small: every story happens, one SFU is killed, and the books
// agree. Where one of them says something else, it says so.
func TestShop(t *testing.T) {
	programs := build(t)
	var out bytes.Buffer
	if err := run(t.Context(), options{programs: programs, checkouts: 2 * len(stories), kill: true, out: &out}); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	for _, want := range []string{"killing SFU alpha", "CHECK constraint failed", "payment capture: sandbox: the card was declined", `user "Bert" has no address`, "mailbox   8 receipts", "the books agree"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, &out)
		}
	}
	stories[0].mailed, stories[1].paid = false, true
	t.Cleanup(func() { stories[0].mailed, stories[1].paid = true, false })
	out.Reset()
	err := run(t.Context(), options{programs: programs, checkouts: 2, out: &out})
	if err == nil || err.Error() != "the books differ in 4 places" {
		t.Errorf("%v\n%s", err, &out)
	}
}
