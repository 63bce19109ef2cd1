// Package require says what a test needs of the machine.
//
// As a plain user a test that needs root or a tool is skipped with the cure by
// name. When RRTS_REQUIRE=all is set, as in continuous integration, the same
// skip is a failure: nothing is left untested by accident.
package require

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"golang.org/x/sys/unix"
)

// Root skips t unless it runs as root, and with the capabilities by which namespaces are
// made and file systems mounted: root of a container often has neither.
func Root(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		Skip(t, "needs root: run `sudo make test`")
	}
	hdr := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&hdr, &data[0]); err != nil {
		t.Fatal(err)
	}
	for _, need := range []struct {
		bit  int
		name string
	}{{unix.CAP_NET_ADMIN, "CAP_NET_ADMIN"}, {unix.CAP_SYS_ADMIN, "CAP_SYS_ADMIN"}} {
		if data[0].Effective&(1<<need.bit) == 0 {
			Skip(t, "needs "+need.name+": run it on a machine, or in a privileged container")
		}
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

// Skip skips t, or fails it when RRTS_REQUIRE=all. `go test` says nothing about
// skips, so the file that RRTS_SKIPPED names gets a line for each.
func Skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("RRTS_REQUIRE") == "all" {
		t.Fatal("skipped although RRTS_REQUIRE=all: " + why)
	}
	if list := os.Getenv("RRTS_SKIPPED"); list != "" {
		if err := note(list, t.Name(), why); err != nil {
			t.Fatal(err)
		}
	}
	t.Skip(why)
}

// note appends the directory of the running package, its test and the reason.
func note(list, test, why string) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	f, err := os.OpenFile(list, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s %s: %s\n", dir, test, why)
	return errors.Join(err, f.Close())
}
