package watchdog

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// unitProcesses looks at the processes of a control group: how many there are, and
// whether one was sent SIGKILL and is there still. root stands before /proc and /sys.
func unitProcesses(root, group string) (processes int, doomed bool, err error) {
	b, err := os.ReadFile(filepath.Join(root+"/sys/fs/cgroup", group, "cgroup.procs"))
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV) {
		return 0, false, nil // it ended
	}
	if err != nil {
		return 0, false, err
	}
	for pid := range strings.FieldsSeq(string(b)) {
		d, err := processDoomed(root, pid)
		if err != nil {
			return 0, false, err
		}
		processes++
		doomed = doomed || d
	}
	return processes, doomed, nil
}

// processDoomed reports whether a thread of the process has SIGKILL pending. A thread
// that can die takes it at once, so only one that hangs in the kernel shows it; its
// process may be called a zombie already, when the first thread could die.
func processDoomed(root, pid string) (bool, error) {
	threads, err := os.ReadDir(root + "/proc/" + pid + "/task")
	if err != nil {
		return false, ended(err)
	}
	for _, t := range threads {
		b, err := os.ReadFile(root + "/proc/" + pid + "/task/" + t.Name() + "/status")
		if err != nil {
			if err := ended(err); err != nil {
				return false, err
			}
			continue
		}
		pending, err := signals(string(b), "SigPnd:", "ShdPnd:")
		if err != nil {
			return false, fmt.Errorf("process %s: %w", pid, err)
		}
		if pending&(1<<(unix.SIGKILL-1)) != 0 {
			return true, nil
		}
	}
	return false, nil
}

// ended lets pass that a process is no more.
func ended(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
		return nil
	}
	return err
}

// signals returns the sets of signals on some lines of /proc/PID/status.
func signals(status string, names ...string) (uint64, error) {
	var all uint64
	for _, name := range names {
		_, after, found := strings.Cut(status, "\n"+name)
		if !found {
			return 0, fmt.Errorf("its status has no %s", name)
		}
		line, _, _ := strings.Cut(after, "\n")
		set, err := strconv.ParseUint(strings.TrimSpace(line), 16, 64)
		if err != nil {
			return 0, err
		}
		all |= set
	}
	return all, nil
}
