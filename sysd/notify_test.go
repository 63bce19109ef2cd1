package sysd

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// manager is a service manager's notification socket.
type manager struct {
	t    *testing.T
	conn *net.UnixConn
}

func newManager(t *testing.T) *manager {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	t.Setenv("NOTIFY_SOCKET", path)
	return &manager{t, conn}
}

// next returns the next message, or "" when there is none.
func (m *manager) next() string {
	m.t.Helper()
	b := make([]byte, 4096)
	m.conn.SetReadDeadline(time.Now().Add(time.Millisecond)) // a Unix datagram is there when its sender returns
	n, err := m.conn.Read(b)
	if err != nil {
		return ""
	}
	return string(b[:n])
}

func TestNotify(t *testing.T) {
	m := newManager(t)
	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		do   func() error
		want string
	}{
		{"ready", func() error { return n.Ready("leader, 3 of 3") }, "READY=1\nSTATUS=leader, 3 of 3"},
		{"status", func() error { return n.Status("two\nREADY=1") }, "STATUS=two READY=1"},
		{"stopping", func() error { return n.Stopping("draining") }, "STOPPING=1\nSTATUS=draining"},
		{"extend", func() error { return n.Extend(90 * time.Second) }, "EXTEND_TIMEOUT_USEC=90000000"},
	} {
		if err := tc.do(); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if got := m.next(); got != tc.want {
			t.Errorf("%s: %q, want %q", tc.name, got, tc.want)
		}
	}
	if err := n.Reloading(); err != nil {
		t.Error(err)
	}
	var usec int64
	if got := m.next(); !strings.HasPrefix(got, "RELOADING=1\n") {
		t.Errorf("reloading: %q", got)
	} else if _, err := fmt.Sscanf(got, "RELOADING=1\nMONOTONIC_USEC=%d", &usec); err != nil || usec <= 0 {
		t.Errorf("reloading: %q: %v", got, err)
	}
}

func TestWatchdog(t *testing.T) {
	m := newManager(t)
	t.Setenv("WATCHDOG_USEC", "10000000")
	t.Setenv("WATCHDOG_PID", fmt.Sprint(os.Getpid()))
	n, err := NewNotifier()
	if err != nil {
		t.Fatal(err)
	}
	if got := n.WatchdogInterval(); got != 10*time.Second {
		t.Errorf("interval %s", got)
	}
	var pets []string
	for now := 7 * time.Second; now <= 17*time.Second; now += 100 * time.Millisecond {
		if err := n.Alive(now); err != nil {
			t.Fatal(err)
		}
		if got := m.next(); got == "WATCHDOG=1" {
			pets = append(pets, now.String())
		} else if got != "" {
			t.Errorf("at %s: %q", now, got)
		}
	}
	if got := strings.Join(pets, " "); got != "7s 9.5s 12s 14.5s 17s" {
		t.Errorf("petted at %s", got)
	}
}

func TestNoManager(t *testing.T) {
	m := newManager(t)
	t.Setenv("NOTIFY_SOCKET", "")
	for _, tc := range []struct{ usec, pid string }{{"", ""}, {"5000000", "1"}} { // another process's watchdog is not ours
		t.Setenv("WATCHDOG_USEC", tc.usec)
		t.Setenv("WATCHDOG_PID", tc.pid)
		n, err := NewNotifier()
		if err != nil {
			t.Fatal(err)
		}
		if n.WatchdogInterval() != 0 {
			t.Errorf("%+v: interval %s", tc, n.WatchdogInterval())
		}
		if err := n.Ready(""); err != nil {
			t.Error(err)
		}
		if err := n.Alive(time.Second); err != nil {
			t.Error(err)
		}
	}
	if got := m.next(); got != "" {
		t.Errorf("sent %q", got)
	}
	t.Setenv("WATCHDOG_USEC", "soon")
	if _, err := NewNotifier(); err == nil || !strings.HasPrefix(err.Error(), "sysd: watchdog: ") {
		t.Errorf("WATCHDOG_USEC=soon: %v", err)
	}
	t.Setenv("NOTIFY_SOCKET", "/nowhere/at/all")
	if err := new(Notifier).Ready(""); err == nil || !strings.HasPrefix(err.Error(), "sysd: notify: ") {
		t.Errorf("manager gone: %v", err)
	}
}
