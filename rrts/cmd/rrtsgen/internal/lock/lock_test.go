package lock

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"virtualservicesinc.com/rrts/cmd/rrtsgen/internal/schema"
)

const preamble = `syntax = "proto3";
package site;
option go_package = "site/sitepb";
import "rrts/schema/rrtspb/options.proto";
`

// contract compiles what follows the preamble.
func contract(t *testing.T, text string) *Lock {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "site.proto"), []byte(preamble+text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := schema.Source{Root: dir}.Load(t.Context(), []string{"site.proto"})
	if err != nil {
		t.Fatal(err)
	}
	return Of(s)
}

// TestCompare plays testdata/compare: "old" gives a schema and prints its lock
// file, "new" another one and prints what it breaks.
func TestCompare(t *testing.T) {
	var old *Lock
	datadriven.RunTest(t, "testdata/compare", func(t *testing.T, d *datadriven.TestData) string {
		switch d.Cmd {
		case "old":
			text := contract(t, d.Input).String()
			var err error
			if old, err = Read(strings.NewReader(text)); err != nil {
				t.Fatal(err)
			}
			if old.String() != text {
				t.Fatalf("read and written again it is\n%s, it was\n%s", old, text)
			}
			return strings.TrimPrefix(text, head)
		case "new":
			now := contract(t, d.Input)
			lines := Compare(old, now)
			if again := Compare(now, now); len(again) > 0 {
				t.Fatalf("it breaks itself: %q", again)
			}
			if len(lines) == 0 {
				return "ok"
			}
			return strings.Join(lines, "\n")
		default:
			t.Fatalf("unknown command %s", d.Cmd)
			return ""
		}
	})
}

func TestReadRefuses(t *testing.T) {
	for _, text := range []string{
		"  1 id uint64",
		"massage x.M",
		"message",
		"message x.M extra",
		"message x.M\nmessage x.M",
		"service x.S 1",
		"message x.M\n  id uint64",
		"message x.M\n  1",
		"message x.M\n  1 id",
		"message x.M\n  1 id uint64\n  1 id uint64",
		"message x.M\n  1 id uint64 max_items x",
		"message x.M\n  reserved",
		"message x.M\n  reserved a",
		"message x.M\n  reserved 1 to b",
		"enum x.E\n  0 NONE what",
		"service x.S 1 any\n  1 M in",
		"service x.S 1 any\n  1 M in out",
		"service x.S 1 any\n  1 M in out idempotently max_bytes 5",
	} {
		_, err := Read(strings.NewReader(text))
		if err == nil || !strings.HasPrefix(err.Error(), "rrtsgen: schema.lock:") {
			t.Errorf("%q: error is %v", text, err)
		}
	}
}
