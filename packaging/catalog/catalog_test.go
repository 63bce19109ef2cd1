// Package catalog holds the journal's explanations of RRTS's alarms and events to the
// ids that they are logged under.
package catalog

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/sim/require"
	"virtualservicesinc.com/sysd"
)

func TestCatalog(t *testing.T) {
	data, err := os.ReadFile("rrts.catalog")
	if err != nil {
		t.Fatal(err)
	}
	kinds := map[string]bool{}
	entries := regexp.MustCompile(`(?m)^# (alarm|event): `).Split(string(data), -1)[1:]
	for _, e := range entries {
		kind, e, _ := strings.Cut(e, "\n")
		id, e, _ := strings.Cut(e, "\n")
		if want := "-- " + sysd.MessageID(kind); id != want {
			t.Errorf("%s: %q, want %q", kind, id, want)
		}
		if kinds[kind] {
			t.Errorf("%s: explained twice", kind)
		}
		kinds[kind] = true
		for _, part := range []string{"Subject: ", "\nDefined-By: RRTS\n\n", "\n\nWhat was done: ", "\n\nWhat to do: "} {
			if !strings.Contains(e, part) {
				t.Errorf("%s: has no %q", kind, strings.TrimSpace(part))
			}
		}
	}
	if n := strings.Count(string(data), "\n-- "); n != len(kinds) || n == 0 {
		t.Errorf("%d entries, %d alarms", n, len(kinds))
	}
}

// TestJournalctlReadsIt compiles the catalog as an installation does.
func TestJournalctlReadsIt(t *testing.T) {
	require.Tool(t, "journalctl", "systemd")
	root := t.TempDir()
	dir := filepath.Join(root, "usr/lib/systemd/catalog")
	for _, d := range []string{dir, filepath.Join(root, "var/lib/systemd/catalog")} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	data, err := os.ReadFile("rrts.catalog")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "rrts.catalog"), data, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("journalctl", "--root", root, "--update-catalog").CombinedOutput(); err != nil || len(out) > 0 {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.Command("journalctl", "--root", root, "--dump-catalog", sysd.MessageID("peer-lost")).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Subject: An SFU is silent\n") {
		t.Errorf("%v\n%s", err, out)
	}
}
