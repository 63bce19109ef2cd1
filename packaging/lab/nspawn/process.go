package nspawn

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// startTime returns when a process started, in clock ticks since boot, and 0 when
// there is none or it has ended and nobody has asked how: a process id is used again,
// the two together are not.
func startTime(pid int) uint64 {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is the name in parentheses and may hold anything.
	f := strings.Fields(string(data[strings.LastIndexByte(string(data), ')')+1:]))
	if len(f) < 20 || f[0] == "Z" || f[0] == "X" {
		return 0
	}
	t, err := strconv.ParseUint(f[19], 10, 64)
	if err != nil {
		return 0
	}
	return t
}

// initOf returns the init of the machine that a systemd-nspawn process runs: its
// child that is process 1 in a namespace of its own and has become systemd. 0: not
// yet.
func initOf(nspawn int) int {
	children, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", nspawn, nspawn))
	if err != nil {
		return 0
	}
	for _, f := range strings.Fields(string(children)) {
		pid, err := strconv.Atoi(f)
		if err != nil {
			continue
		}
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if err == nil && strings.TrimSpace(string(name)) == "systemd" && isInit(pid) {
			return pid
		}
	}
	return 0
}

// isInit reports whether a process is number 1 in a namespace of its own.
func isInit(pid int) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(data)) {
		if v, ok := strings.CutPrefix(line, "NSpid:"); ok {
			ids := strings.Fields(v)
			return len(ids) > 1 && ids[len(ids)-1] == "1"
		}
	}
	return false
}

// isInitBelow reports whether a process is the init of a machine whose root is
// below dir. It keeps us from killing somebody else's process under an old number.
func isInitBelow(pid int, dir string) bool {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", pid))
	if err != nil || !isInit(pid) {
		return false
	}
	return strings.Contains(string(data), "upperdir="+filepath.Clean(dir)+"/")
}

// waitGone waits until a process that was killed has ended.
func waitGone(pid int) error {
	for range 1000 {
		if startTime(pid) == 0 {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("nspawn: process %d was killed and does not end", pid)
}
