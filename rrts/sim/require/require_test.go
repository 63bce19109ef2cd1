package require

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestSkip sees that a skipped test is named, and why.
func TestSkip(t *testing.T) {
	list := filepath.Join(t.TempDir(), "skipped")
	if err := os.WriteFile(list, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("RRTS_REQUIRE", "")
	t.Setenv("RRTS_SKIPPED", list)
	t.Run("one", func(t *testing.T) { Skip(t, "it is too warm") })
	t.Run("two", func(t *testing.T) { Tool(t, "no-such-program", "no-such-package") })
	got, err := os.ReadFile(list)
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"rrts/sim/require TestSkip/one: it is too warm",
		"rrts/sim/require TestSkip/two: needs no-such-program: run `apt install no-such-package`",
		"",
	}
	lines := strings.Split(string(got), "\n")
	if len(lines) != len(want) {
		t.Fatalf("%q, want %q", lines, want)
	}
	for i, w := range want {
		if !strings.HasSuffix(lines[i], w) {
			t.Errorf("line %d is %q, want the end %q", i, lines[i], w)
		}
	}
}

// fatal is a test that only notes that it failed.
type fatal struct {
	testing.TB
	said []any
}

func (f *fatal) Helper()          {}
func (f *fatal) Fatal(say ...any) { f.said = say; panic(f) }

// TestRequired sees that a skip is a failure where nothing may be skipped.
func TestRequired(t *testing.T) {
	t.Setenv("RRTS_REQUIRE", "all")
	f := &fatal{}
	func() {
		defer func() {
			if recover() != f {
				t.Error("Skip did not fail the test")
			}
		}()
		Skip(f, "it is too warm")
	}()
	if len(f.said) != 1 || !strings.HasSuffix(f.said[0].(string), "it is too warm") {
		t.Errorf("Skip said %q", f.said)
	}
}
