package watchdog

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// Device is a hardware watchdog that is running.
type Device interface {
	// Identity is the driver's name for itself.
	Identity() string
	// Timeout is the time without Keepalive after which the machine is reset, as
	// the driver really set it.
	Timeout() time.Duration
	// Keepalive starts the time-out again.
	Keepalive() error
	// Disarm stops the watchdog and gives the device back. When the driver cannot
	// stop it (nowayout) the machine will be reset, and the error says so.
	Disarm() error
}

var _ Device = (*Hardware)(nil)

// MinTimeout is the shortest time-out that Open accepts: a busy machine must not be
// taken for a dead one.
const MinTimeout = 60 * time.Second

// ErrHeld is why Open fails when somebody else, mostly systemd, has the device.
var ErrHeld = errors.New("another process feeds this watchdog")

// Hardware is a Device of the kernel: /dev/watchdogN.
type Hardware struct {
	path     string
	file     driver
	identity string
	canStop  bool
	timeout  time.Duration
}

// driver is what the kernel offers on an open watchdog.
type driver interface {
	info() (identity string, options uint32, err error)
	setTimeout(seconds int) error
	timeout() (seconds int, err error)
	keepalive() error
	write(b []byte) error
	close() error
}

// Open takes a device and starts it with a time-out of at least MinTimeout. If it
// fails the watchdog does not run.
func Open(path string, timeout time.Duration) (*Hardware, error) {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	switch {
	case errors.Is(err, unix.EBUSY):
		return nil, fmt.Errorf("watchdog: %s: %w; if systemd does, leave it to systemd (RuntimeWatchdogSec) and do not name it here", path, ErrHeld)
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("watchdog: %s is missing: no driver is loaded; see ls /sys/class/watchdog", path)
	case errors.Is(err, os.ErrPermission):
		return nil, fmt.Errorf("watchdog: %s: permission denied; it is root's alone", path)
	case err != nil:
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	return open(path, (*kernel)(f), timeout)
}

func open(path string, d driver, timeout time.Duration) (*Hardware, error) {
	h := &Hardware{path: path, file: d}
	err := h.start(timeout)
	if err != nil {
		if stop := h.Disarm(); stop != nil {
			err = errors.Join(err, stop)
		}
		return nil, err
	}
	return h, nil
}

func (h *Hardware) start(timeout time.Duration) error {
	if timeout < MinTimeout {
		return fmt.Errorf("watchdog: a time-out of %s is below the limit of %s", timeout, MinTimeout)
	}
	identity, options, err := h.file.info()
	if err != nil {
		return fmt.Errorf("watchdog: %s is not a watchdog: %w", h.path, err)
	}
	h.identity, h.canStop = identity, options&unix.WDIOF_MAGICCLOSE != 0
	if options&unix.WDIOF_SETTIMEOUT != 0 {
		if err := h.file.setTimeout(int(timeout / time.Second)); err != nil {
			return fmt.Errorf("watchdog: %s (%s) refuses a time-out of %s: %w", h.path, identity, timeout, err)
		}
	}
	// What was asked for is not what counts: drivers round and clamp.
	seconds, err := h.file.timeout()
	if err != nil {
		return fmt.Errorf("watchdog: %s (%s) does not tell its time-out: %w", h.path, identity, err)
	}
	h.timeout = time.Duration(seconds) * time.Second
	if h.timeout < MinTimeout {
		return fmt.Errorf("watchdog: %s (%s) resets after %s at most, below the limit of %s: do not use it", h.path, identity, h.timeout, MinTimeout)
	}
	return h.Keepalive()
}

// Identity implements Device.
func (h *Hardware) Identity() string { return h.identity }

// Timeout implements Device.
func (h *Hardware) Timeout() time.Duration { return h.timeout }

// Keepalive implements Device.
func (h *Hardware) Keepalive() error {
	if err := h.file.keepalive(); err != nil {
		return fmt.Errorf("watchdog: %s: keepalive: %w", h.path, err)
	}
	return nil
}

// Disarm implements Device. Closing without it leaves the watchdog running.
func (h *Hardware) Disarm() error {
	err := h.file.write([]byte{'V'}) // the driver stops at a close that follows a V
	if err == nil && !h.canStop && h.identity != "" {
		err = errors.New("the driver cannot stop it")
	}
	if closing := h.file.close(); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("watchdog: %s (%s) is still armed and will reset the machine: %w", h.path, h.identity, err)
	}
	return nil
}

// kernel is the driver's side of an open file.
type kernel os.File

func (k *kernel) fd() int { return int((*os.File)(k).Fd()) }

func (k *kernel) info() (string, uint32, error) {
	i, err := unix.IoctlGetWatchdogInfo(k.fd())
	if err != nil {
		return "", 0, err
	}
	name, _, _ := bytes.Cut(i.Identity[:], []byte{0})
	return string(name), i.Options, nil
}

func (k *kernel) setTimeout(seconds int) error {
	return unix.IoctlSetPointerInt(k.fd(), unix.WDIOC_SETTIMEOUT, seconds)
}

func (k *kernel) timeout() (int, error) {
	return unix.IoctlGetInt(k.fd(), unix.WDIOC_GETTIMEOUT)
}

func (k *kernel) keepalive() error { return unix.IoctlWatchdogKeepalive(k.fd()) }

func (k *kernel) write(b []byte) error {
	_, err := (*os.File)(k).Write(b)
	return err
}

func (k *kernel) close() error { return (*os.File)(k).Close() }
