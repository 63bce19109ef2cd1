package fabric_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"virtualservicesinc.com/net/fabric"
)

func TestNextIncarnation(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "incarnation")
	for want := uint64(1); want <= 3; want++ {
		got, err := fabric.NextIncarnation(path)
		if err != nil || got != want {
			t.Fatalf("got %d, %v, want %d", got, err, want)
		}
		b, err := os.ReadFile(path)
		if err != nil || strings.TrimSpace(string(b)) == "" {
			t.Fatalf("the file holds %q, %v", b, err)
		}
	}
	// What a crash between writing and renaming leaves is no obstacle.
	if err := os.WriteFile(path+".new", []byte("9999999999999"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := fabric.NextIncarnation(path); got != 4 || err != nil {
		t.Fatalf("after a crash: %d, %v", got, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Fatalf("left behind: %v, %v", entries, err)
	}
}

func TestNextIncarnationDamaged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "incarnation")
	for _, content := range []string{"", "0\n", "-1\n", "7 8\n", "\x00\x00", "18446744073709551615\n", "18446744073709551616\n"} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if n, err := fabric.NextIncarnation(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q gives %d, %v", content, n, err)
		}
		if b, err := os.ReadFile(path); err != nil || string(b) != content {
			t.Errorf("%q was replaced by %q, %v", content, b, err)
		}
	}
	if _, err := fabric.NextIncarnation(filepath.Join(path, "no-directory")); err == nil {
		t.Error("a path below a file gave a number")
	}
}
