package sysd

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// watchdogShare is the part of the watchdog's time after which it is petted again:
// a quarter leaves room for three late ones.
const watchdogShare = 4

// Notifier speaks to the service manager. Without one (NOTIFY_SOCKET is not set)
// every call does nothing and succeeds. Alive belongs to one goroutine; the other
// methods may be called from any.
type Notifier struct {
	interval time.Duration // 0: the manager asks for no sign of life
	petted   time.Duration
	once     bool
}

// NewNotifier reads what the service manager asks for from the environment.
func NewNotifier() (*Notifier, error) {
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		return nil, fmt.Errorf("sysd: watchdog: %w", err)
	}
	return &Notifier{interval: interval}, nil
}

// Ready says that the service is up, or that a reload is done.
func (n *Notifier) Ready(status string) error {
	return notify(daemon.SdNotifyReady, statusLine(status))
}

// Status replaces the one line that systemctl status shows.
func (n *Notifier) Status(status string) error { return notify(statusLine(status)) }

// Reloading says that a reload has begun; Ready ends it.
func (n *Notifier) Reloading() error {
	return notify(daemon.SdNotifyReloading, strings.TrimSpace(daemon.SdNotifyMonotonicUsec()))
}

// Stopping says that the service goes down by its own will.
func (n *Notifier) Stopping(status string) error {
	return notify(daemon.SdNotifyStopping, statusLine(status))
}

// Extend asks for at least d more, from now, for the start, reload or stop that is
// going on. Ask again before it is over.
func (n *Notifier) Extend(d time.Duration) error {
	return notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", d.Microseconds()))
}

// WatchdogInterval is the time after which the service manager takes silence for a
// hang; 0 when it does not watch.
func (n *Notifier) WatchdogInterval() time.Duration { return n.interval }

// Alive shows that the caller made progress at now (monotonic, since any origin).
// It may be called at every step: it speaks to the service manager only as often as
// the watchdog needs. Nothing else pets the watchdog, so a loop that stands still
// is noticed.
func (n *Notifier) Alive(now time.Duration) error {
	if n.interval == 0 || n.once && now-n.petted < n.interval/watchdogShare {
		return nil
	}
	n.once, n.petted = true, now
	return notify(daemon.SdNotifyWatchdog)
}

func statusLine(s string) string {
	return "STATUS=" + strings.ReplaceAll(s, "\n", " ") // a newline would begin another assignment
}

func notify(assignments ...string) error {
	if _, err := daemon.SdNotify(false, strings.Join(assignments, "\n")); err != nil {
		return fmt.Errorf("sysd: notify: %w", err)
	}
	return nil
}

// watched reports whether a service manager listens to us.
func watched() bool { return os.Getenv("NOTIFY_SOCKET") != "" }

// storeFile hands a copy of a file to the service manager, to get it back in the
// next life of the service.
func storeFile(name string, f *os.File) error {
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_DGRAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("sysd: notify: %w", err)
	}
	defer syscall.Close(fd)
	to := &syscall.SockaddrUnix{Name: os.Getenv("NOTIFY_SOCKET")}
	// Not by f.Fd(), which would make the socket block.
	raw, err := f.SyscallConn()
	if err != nil {
		return fmt.Errorf("sysd: notify: %w", err)
	}
	controlErr := raw.Control(func(stored uintptr) {
		err = syscall.Sendmsg(fd, []byte("FDSTORE=1\nFDNAME="+name), syscall.UnixRights(int(stored)), to, 0)
	})
	if err := errors.Join(controlErr, err); err != nil {
		return fmt.Errorf("sysd: notify: %w", err)
	}
	return nil
}
