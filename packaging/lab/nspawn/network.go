package nspawn

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// ip runs ip commands, one a string, until one fails.
func ip(commands ...string) error {
	for _, c := range commands {
		out, err := exec.Command("ip", strings.Fields(c)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("nspawn: ip %s: %s: %w", c, strings.TrimSpace(string(out)), err)
		}
	}
	return nil
}

func (s *Site) addBridges() error {
	ns := s.Namespace()
	if err := ip("netns add "+ns, "-n "+ns+" link set dev lo up"); err != nil {
		return err
	}
	for name, address := range s.cfg.Bridges {
		// Without an address of its own a bridge must not speak IPv6 either: an
		// interconnect network carries nothing but ours.
		err := ip("-n "+ns+" link add name "+name+" type bridge forward_delay 0",
			"-n "+ns+" link set dev "+name+" addrgenmode none up")
		if err == nil && address != "" {
			err = ip("-n " + ns + " addr add " + address + " dev " + name)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// SetBridge switches a bridge off or on: off, the machines' NICs keep their carrier
// and frames vanish.
func (s *Site) SetBridge(name string, on bool) error { return s.setLink(name, on) }

func (s *Site) setLink(name string, on bool) error {
	state := "down"
	if on {
		state = "up"
	}
	return ip("-n " + s.Namespace() + " link set dev " + name + " " + state)
}

// Listen listens for TCP in the namespace of the bridges: at the address of one.
func (s *Site) Listen(ctx context.Context, address string) (net.Listener, error) {
	var l net.Listener
	err := s.within(func() (err error) {
		l, err = new(net.ListenConfig).Listen(ctx, "tcp", address)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("nspawn: listening at %s: %w", address, err)
	}
	return l, nil
}

// within runs f on a thread that is in the namespace of the bridges. What f opens
// stays there.
func (s *Site) within(f func() error) error {
	runtime.LockOSThread()
	own, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer unix.Close(own)
	there, err := unix.Open("/run/netns/"+s.Namespace(), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err == nil {
		err = unix.Setns(there, unix.CLONE_NEWNET)
		unix.Close(there)
	}
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := unix.Setns(own, unix.CLONE_NEWNET); back != nil {
		return back // the thread stays locked, and ends with the goroutine
	}
	runtime.UnlockOSThread()
	return err
}
