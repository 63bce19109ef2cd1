package fabric_test

import (
	"errors"
	"fmt"
	"io/fs"
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
		// The release before reads the number alone.
		b, err := os.ReadFile(path)
		if err != nil || string(b) != fmt.Sprintf("%d\n", want) {
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
	if err != nil || len(entries) != 2 {
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
	if err := os.Remove(path + ".copy"); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a copy was made: %v", err)
	}
	if _, err := fabric.NextIncarnation(filepath.Join(path, "no-directory")); err == nil {
		t.Error("a path below a file gave a number")
	}
}

// TestIncarnationRots flips every bit of either file: the number never goes back, and
// both files are whole again. Damage to the copy is found by its check sum; of the file
// the number may be taken forward.
func TestIncarnationRots(t *testing.T) {
	path := filepath.Join(t.TempDir(), "incarnation")
	if err := os.WriteFile(path, []byte("4095\n"), 0o600); err != nil { // as older software wrote it
		t.Fatal(err)
	}
	last, err := fabric.NextIncarnation(path)
	if err != nil || last != 4096 {
		t.Fatal(last, err)
	}
	for _, hurt := range []string{path, path + ".copy"} {
		whole, err := os.ReadFile(hurt)
		if err != nil {
			t.Fatal(err)
		}
		for bit := range 8 * len(whole) {
			b, err := os.ReadFile(hurt)
			if err != nil {
				t.Fatal(err)
			}
			b[bit/8] ^= 1 << (bit % 8)
			if err := os.WriteFile(hurt, b, 0o600); err != nil {
				t.Fatal(err)
			}
			n, err := fabric.NextIncarnation(path)
			if err != nil || n <= last || hurt != path && n != last+1 {
				t.Fatalf("with %q after %d: %d, %v", b, last, n, err)
			}
			last = n
		}
	}
}
