package watchdog

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// plant makes a file of a machine.
func plant(t *testing.T, root, path, text string) {
	t.Helper()
	path = filepath.Join(root, path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestUnitProcesses reads what the kernel shows of a unit's processes.
func TestUnitProcesses(t *testing.T) {
	const well, killed = "0000000000000000", "0000000000000100"
	status := func(state, thread, shared string) string {
		return "Name:\trrtsd\nState:\t" + state + "\nSigQ:\t0/1000\nSigPnd:\t" + thread + "\nShdPnd:\t" + shared + "\nSigBlk:\t" + well + "\n"
	}
	for _, tc := range []struct {
		name    string
		threads map[string]string // PID/TID: status
		procs   string
		n       int
		doomed  bool
	}{
		{"gone", nil, "", 0, false},
		{"well", map[string]string{"7/7": status("S (sleeping)", well, well), "7/8": status("R (running)", well, well)}, "7\n", 1, false},
		{"another signal", map[string]string{"7/7": status("T (stopped)", "0000000000000400", "0000000000000020")}, "7\n", 1, false},
		{"one thread hangs", map[string]string{"7/7": status("Z (zombie)", well, well), "7/9": status("D (disk sleep)", killed, well)}, "7\n", 1, true},
		{"shared", map[string]string{"7/7": status("D (disk sleep)", well, killed)}, "7\n", 1, true},
		{"an old one beside the new", map[string]string{"7/7": status("D (disk sleep)", killed, killed), "30/30": status("S (sleeping)", well, well)}, "7\n30\n", 2, true},
		{"it ended meanwhile", map[string]string{"30/30": status("S (sleeping)", well, well)}, "7\n30\n", 2, false},
	} {
		root := t.TempDir()
		if tc.procs != "" {
			plant(t, root, "sys/fs/cgroup/system.slice/rrts@alpha.service/cgroup.procs", tc.procs)
		}
		for id, text := range tc.threads {
			pid, tid := filepath.Split(id)
			plant(t, root, "proc/"+pid+"/task/"+tid+"/status", text)
		}
		n, doomed, err := unitProcesses(root, "/system.slice/rrts@alpha.service")
		if err != nil || n != tc.n || doomed != tc.doomed {
			t.Errorf("%s: %d processes, doomed %v, %v; want %d, %v", tc.name, n, doomed, err, tc.n, tc.doomed)
		}
	}
}

// TestProcessDoomed asks this kernel: a process that is stopped is not doomed, and one
// that ended is no fault.
func TestProcessDoomed(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := strconv.Itoa(cmd.Process.Pid)
	if err := cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if doomed, err := processDoomed("", pid); doomed || err != nil {
		t.Errorf("stopped: %v, %v", doomed, err)
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	if doomed, err := processDoomed("", pid); doomed || err != nil {
		t.Errorf("ended: %v, %v", doomed, err)
	}
}

// TestFind: hardware comes first, and what it says of the last start is heard.
func TestFind(t *testing.T) {
	root := t.TempDir()
	for path, text := range map[string]string{
		"watchdog0/identity": "Software Watchdog\n", "watchdog0/bootstatus": "0\n", "watchdog0/nowayout": "0\n",
		"watchdog1/identity": "i6300ESB timer\n", "watchdog1/bootstatus": "32\n", "watchdog1/nowayout": "0\n",
		"watchdog2/identity": "stubborn\n", "watchdog2/bootstatus": "8\n", "watchdog2/nowayout": "1\n",
		"watchdog3/dev": "249:3\n",
	} {
		plant(t, root, "sys/class/watchdog/"+path, text)
	}
	got, err := Find(root)
	if err != nil {
		t.Fatal(err)
	}
	want := []Found{
		{Device: "/dev/watchdog1", Identity: "i6300ESB timer", Evidence: WasReset},
		{Device: "/dev/watchdog2", Identity: "stubborn", NoWayOut: true},
		{Device: "/dev/watchdog3"},
		{Device: "/dev/watchdog0", Identity: "Software Watchdog"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for _, tc := range []struct {
		order   Order
		held    bool
		problem string
	}{
		{Order{Device: "/dev/watchdog2", TimeoutS: 60}, false, "watchdog: /dev/watchdog2 (stubborn) could not be stopped again, so every stop would reset the machine: load its driver without nowayout"},
		{Order{Device: "/dev/watchdog7", TimeoutS: 60}, false, "watchdog: the kernel has no driver for /dev/watchdog7; see ls /sys/class/watchdog, then run rrts watchdog arm"},
		{Order{Device: "/dev/watchdog1", TimeoutS: 10}, true, "watchdog: a time-out of 10s is below the limit of 1m0s"},
	} {
		if _, err := OpenOrder(&tc.order, got, tc.held, nil, nil); err == nil || err.Error() != tc.problem {
			t.Errorf("%+v: %v", tc.order, err)
		}
	}
}
