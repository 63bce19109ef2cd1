// Package require says what a test needs of the machine.
//
// As a plain user a test that needs root or a tool is skipped with the cure by
// name. When RRTS_REQUIRE=all is set, as in continuous integration, the same
// skip is a failure: nothing is left untested by accident.
package require

import (
	"os"
	"os/exec"
	"testing"
)

// Root skips t unless it runs as root.
func Root(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		Skip(t, "needs root: run `sudo make test`")
	}
}

// Tool skips t unless the named program is installed; pkg is the Debian package
// that holds it.
func Tool(t testing.TB, name, pkg string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		Skip(t, "needs "+name+": run `apt install "+pkg+"`")
	}
}

// Skip skips t, or fails it when RRTS_REQUIRE=all.
func Skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("RRTS_REQUIRE") == "all" {
		t.Fatal("skipped although RRTS_REQUIRE=all: " + why)
	}
	t.Skip(why)
}
