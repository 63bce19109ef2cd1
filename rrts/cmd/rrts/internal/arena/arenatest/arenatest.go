// Package arenatest gives tests the programs that an arena runs.
package arenatest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// built is where the programs of this test process are.
var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "rrts-programs-")
	if err != nil {
		return "", err
	}
	out, err := exec.Command("go", "build", "-o", dir+"/", "virtualservicesinc.com/rrts/cmd/rrts", "virtualservicesinc.com/rrts/cmd/rrtsd").CombinedOutput()
	if err != nil {
		return "", &buildError{strings.TrimSpace(string(out)), err}
	}
	return dir, nil
})

type buildError struct {
	output string
	err    error
}

func (e *buildError) Error() string { return "go build: " + e.err.Error() + "\n" + e.output }

// Programs returns the directory that holds rrts and rrtsd as they are in the
// tree. They are built once in a test process; call Remove at its end.
func Programs(t testing.TB) string {
	t.Helper()
	dir, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// Rrtsd returns the path of rrtsd.
func Rrtsd(t testing.TB) string {
	t.Helper()
	return filepath.Join(Programs(t), "rrtsd")
}

// Remove removes what Programs built. TestMain calls it after the tests.
func Remove() {
	if dir, err := built(); err == nil {
		os.RemoveAll(dir)
	}
}
