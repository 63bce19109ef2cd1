package hardware

import (
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// fake is a machine's /proc and /sys as a test writes them.
type fake struct {
	t                   *testing.T
	proc, sys, dir      string
	user, idle          int // ticks of 10 ms
	writes, writeMillis int
}

func newFake(t *testing.T) *fake {
	f := &fake{t: t, proc: t.TempDir(), sys: t.TempDir(), dir: t.TempDir()}
	f.write(f.proc, "meminfo", "MemTotal:       8000000 kB\nMemFree:          100000 kB\nMemAvailable:    2000000 kB\n")
	return f
}

func (f *fake) write(dir, name, text string) {
	f.t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		f.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		f.t.Fatal(err)
	}
}

// counters writes what rises.
func (f *fake) counters() {
	f.t.Helper()
	f.write(f.proc, "stat", fmt.Sprintf("cpu  %d 0 0 %d 0 0 0 0 0 0\ncpu0 %d 0 0 %d 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\nintr 0\nctxt 0\nbtime 0\n", f.user, f.idle, f.user, f.idle))
	var st unix.Stat_t
	if err := unix.Stat(f.dir, &st); err != nil {
		f.t.Fatal(err)
	}
	f.write(f.proc, "diskstats", fmt.Sprintf("%d %d sdx1 5 0 40 7 %d 0 800 %d 0 9 9 0 0 0 0 0 0\n", unix.Major(st.Dev), unix.Minor(st.Dev), f.writes, f.writeMillis))
}

func TestRead(t *testing.T) {
	f := newFake(t)
	f.user, f.idle, f.writes, f.writeMillis = 100, 100, 50, 1000
	f.counters()
	f.write(f.sys, "class/hwmon/hwmon0/name", "k10temp\n")
	f.write(f.sys, "class/hwmon/hwmon0/temp1_input", "61500\n")
	f.write(f.sys, "class/hwmon/hwmon0/temp1_label", "Tctl\n")
	for _, n := range []string{"1", "2"} {
		f.write(f.sys, "class/hwmon/hwmon"+n+"/name", "nvme\n")
		f.write(f.sys, "class/hwmon/hwmon"+n+"/temp1_input", "3"+n+"000\n")
	}
	r := New(f.proc, f.sys, []string{f.dir, filepath.Join(f.dir, ".."), filepath.Join(f.dir, "missing")})
	first, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	if !math.IsNaN(first.CPU) || len(first.Disks) != 1 || !math.IsNaN(first.Disks[0].Latency) {
		t.Errorf("%+v: nothing has passed yet", first)
	}
	f.user, f.idle, f.writes, f.writeMillis = 175, 125, 70, 1500
	f.counters()
	m, err := r.Read()
	if err != nil {
		t.Fatal(err)
	}
	if m.Processors != 2 || m.CPU != 75 || m.Memory != 8_000_000<<10 || m.MemoryLeft != 2_000_000<<10 {
		t.Errorf("%+v", m)
	}
	d := m.Disks[0]
	if d.Dir != f.dir || d.Device != "sdx1" || d.Latency != 0.025 || d.Free == 0 || d.Bytes < d.Free {
		t.Errorf("%+v", d)
	}
	if got := fmt.Sprint(m.Sensors); got != "[{k10temp.Tctl 61.5} {nvme.temp1 31} {nvme.temp1#2 32}]" {
		t.Errorf("sensors %s", got)
	}
	f.writes, f.writeMillis = 72, 9999 // two writes say nothing
	f.counters()
	if m, err = r.Read(); err != nil || !math.IsNaN(m.Disks[0].Latency) {
		t.Errorf("%+v, %v", m.Disks, err)
	}
}

// TestReadPart: what is missing is said, the rest is there.
func TestReadPart(t *testing.T) {
	f := newFake(t)
	f.counters()
	if err := os.Remove(filepath.Join(f.proc, "stat")); err != nil {
		t.Fatal(err)
	}
	m, err := New(f.proc, f.sys, []string{f.dir}).Read()
	if err == nil || !strings.Contains(err.Error(), "stat") || m.Memory == 0 || len(m.Disks) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestRealMachine reads the one that the test runs on.
func TestRealMachine(t *testing.T) {
	m, err := New("", "", []string{t.TempDir()}).Read()
	if err != nil || m.Processors < 1 || m.Memory < m.MemoryLeft || m.MemoryLeft == 0 || len(m.Disks) != 1 {
		t.Errorf("%+v, %v", m, err)
	}
}

// TestBusyMachine: one that has not been idle for a moment is 100 % busy, whatever
// rounding makes of its counters, and one that took some waiting back is too.
func TestBusyMachine(t *testing.T) {
	f := newFake(t)
	r := New(f.proc, f.sys, nil)
	f.counters() // of disks
	stat := func(user, iowait int) {
		f.write(f.proc, "stat", fmt.Sprintf("cpu  %d 468674 764710 1420037 %d 0 70594 2928 0 0\ncpu0 0 0 0 0 0 0 0 0 0 0\n", user, iowait))
	}
	for i, x := range []struct {
		user, iowait int
		want         float64
	}{{2328757, 34983, math.NaN()}, {2328999, 34983, 100}, {2329050, 34982, 100}} {
		stat(x.user, x.iowait)
		m, err := r.Read()
		if err != nil || m.CPU != x.want && !(math.IsNaN(m.CPU) && math.IsNaN(x.want)) {
			t.Errorf("reading %d: %v %%, %v; want %v", i, m.CPU, err, x.want)
		}
	}
}
