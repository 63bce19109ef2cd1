package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// buildChild builds a program that SFUs start where others find it: it runs under a user of
// its own.
func buildChild(t *testing.T, program string, env ...string) string {
	t.Helper()
	dir, err := os.MkdirTemp("", program)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, program)
	cmd := exec.Command("go", "build", "-o", path, "virtualservicesinc.com/rrts/cmd/"+program)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// childrenOf returns the processes of a program whose parent is a process.
func childrenOf(parent int, program string) (pids []int) {
	stats, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, path := range stats {
		text, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		name, rest, ok := strings.Cut(string(text), ") ")
		fields := strings.Fields(rest)
		if !ok || len(fields) < 2 || !strings.HasSuffix(name, "("+program) || fields[1] != strconv.Itoa(parent) {
			continue
		}
		if pid, err := strconv.Atoi(strings.Fields(name)[0]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}
