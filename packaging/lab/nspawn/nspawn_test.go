package nspawn

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/sim/require"
)

// root is a root file system for the machines, or skips the test.
func root(t *testing.T) string {
	t.Helper()
	require.Root(t)
	require.Tool(t, "systemd-nspawn", "systemd-container")
	require.Tool(t, "mmdebstrap", "mmdebstrap")
	dir := "/var/cache/rrts-lab/lab-bookworm"
	if out, err := exec.Command("../make-root", "bookworm", dir, "curl").CombinedOutput(); err != nil {
		t.Fatalf("make-root: %v\n%s", err, out)
	}
	return dir
}

// TestSite goes through the life of a machine: up, reachable, its cable pulled,
// rebooted, killed and up again with its disk as it was; and nothing is left of it.
func TestSite(t *testing.T) {
	base := root(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	dir := t.TempDir()
	s, err := New(Config{Name: "test", Root: base, Dir: dir, Bridges: map[string]string{"lan": "10.79.0.1/24", "netA": ""}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	m, err := s.Machine(Spec{Name: "pc1", NICs: []NIC{{Name: "eno1", Bridge: "lan", Address: "10.79.0.11/24"}, {Name: "enp2s0", Bridge: "netA"}}})
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now()
	if err := m.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	t.Logf("up after %v", time.Since(begin))

	l, err := s.Listen(ctx, "10.79.0.1:80")
	if err != nil {
		t.Fatal(err)
	}
	go http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	defer l.Close()
	run := func(want string, args ...string) {
		t.Helper()
		if out, err := m.Output(ctx, args...); err != nil || strings.TrimSpace(out) != want {
			t.Fatalf("%q: %q, %v, want %q", args, out, err, want)
		}
	}
	run("pc1", "hostname")
	run("hello", "bash", "-c", `exec 3<>/dev/tcp/10.79.0.1/80; printf 'GET / HTTP/1.0\r\n\r\n' >&3; tail -n 1 <&3`)

	// A pulled cable is seen by the machine; another NIC keeps its own.
	if err := m.SetCable("enp2s0", false); err != nil {
		t.Fatal(err)
	}
	run("", "ip", "link", "set", "enp2s0", "up")
	run("0", "cat", "/sys/class/net/enp2s0/carrier")
	run("1", "cat", "/sys/class/net/eno1/carrier")
	if err := m.SetCable("enp2s0", true); err != nil {
		t.Fatal(err)
	}
	run("1", "cat", "/sys/class/net/enp2s0/carrier")

	// The journal is read from outside, by field, up or down.
	run("", "systemd-cat", "-t", "probe", "echo", "before the crash")
	run("", "sync")
	if err := m.Reboot(ctx); err != nil {
		t.Fatal(err)
	}
	run("", "touch", "/root/kept")
	if err := m.Kill(); err != nil {
		t.Fatal(err)
	}
	if m.Leader() != 0 {
		t.Error("a killed machine has an init")
	}
	entries, err := m.Journal(ctx, begin, "SYSLOG_IDENTIFIER=probe")
	if err != nil || len(entries) != 1 || entries[0].Message() != "before the crash" || entries[0].Time.Before(begin) {
		t.Errorf("the journal has %+v, %v", entries, err)
	}
	if err := m.Boot(ctx); err != nil {
		t.Fatal(err)
	}
	run("/root/kept", "ls", "/root/kept")

	// A disk that was taken is gone, with what was on it.
	if err := m.Wipe(); err == nil {
		t.Error("the disk was taken from a machine that is up")
	}
	if err := errors.Join(m.Kill(), m.Wipe(), m.Boot(ctx)); err != nil {
		t.Fatal(err)
	}
	run("pc1", "hostname")
	if _, err := m.Output(ctx, "ls", "/root/kept"); err == nil {
		t.Error("a wiped disk holds a file")
	}

	// A run that still goes on is nobody else's to remove.
	found, err := Find(dir)
	if err != nil || len(found) != 1 || found[0].Owner != os.Getpid() || found[0].Machines["pc1"] != m.Leader() {
		t.Errorf("found %+v, %v", found, err)
	}
	if _, err := New(s.cfg); err == nil || !strings.Contains(err.Error(), "labctl down test") {
		t.Errorf("a second site of the name: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "test")); !os.IsNotExist(err) {
		t.Errorf("the site's directory is left: %v", err)
	}
	if _, err := os.Stat("/run/netns/" + s.Namespace()); !os.IsNotExist(err) {
		t.Errorf("the site's namespace is left: %v", err)
	}
	groups, err := hierarchies()
	if err != nil {
		t.Fatal(err)
	}
	for _, g := range groups {
		if _, err := os.Stat(filepath.Join(g, groupOf("test"))); !os.IsNotExist(err) {
			t.Errorf("a control group is left: %v", err)
		}
	}
}
