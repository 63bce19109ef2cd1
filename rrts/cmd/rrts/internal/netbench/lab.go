package netbench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// NICs of a Lab's hosts: networks A and B, the one that TCP uses, and one for Host.Idle.
	nicA, nicB, nicTCP, nicIdle = "netA", "netB", "tcp", "idle"
	// MTU is that of a cheap switch, in bytes; JumboMTU that of one that passes long frames.
	MTU, JumboMTU = 1500, 9000
	// labPort is where the serving side answers TCP.
	labAddress1, labAddress2, labPort = "10.77.8.1", "10.77.8.2", "7411"
	// stopWithin bounds how long the serving process may take to end.
	stopWithin = 5 * time.Second
)

// Lab is two hosts on this machine: network namespaces joined by four veth pairs.
// They have no name and are gone when the Lab is closed and their processes have
// ended, however that happens.
type Lab struct {
	hosts [2]*os.File // namespaces
	mtu   int
	// Apart gives each host a processor of its own, as machines have. Otherwise it is
	// chance whether the kernel keeps the two sides on one, and a round trip takes four
	// times as long where it does not, whatever carries it.
	Apart bool
}

// NewLab makes a Lab whose networks have an MTU, in bytes; it needs root. The caller closes
// it.
func NewLab(mtu int) (*Lab, error) {
	if os.Getuid() != 0 {
		return nil, errors.New("netbench: network namespaces need root: run it with sudo")
	}
	l := &Lab{mtu: mtu}
	for i := range l.hosts {
		if err := onThread(func() (err error) {
			if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("netbench: new network namespace: %w", err)
			}
			l.hosts[i], err = os.Open("/proc/thread-self/ns/net")
			return err
		}); err != nil {
			l.Close()
			return nil, err
		}
	}
	nics := []string{nicA, nicB, nicTCP, nicIdle}
	for _, nic := range nics {
		if err := l.join(nic); err != nil {
			l.Close()
			return nil, fmt.Errorf("netbench: %s: %w", nic, err)
		}
	}
	for host := range l.hosts {
		if err := l.in(host, func() error { return awaitCarriers(nics) }); err != nil {
			l.Close()
			return nil, err
		}
	}
	return l, nil
}

// carrierWithin bounds the wait for a carrier: the kernel tells of one up to a second
// after both ends are up, and until then a network counts as cut.
const carrierWithin = 5 * time.Second

func awaitCarriers(nics []string) error {
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		waiting := ""
		for _, nic := range nics {
			l, err := netlink.LinkByName(nic)
			if err != nil {
				return fmt.Errorf("netbench: %s: %w", nic, err)
			}
			if l.Attrs().OperState != netlink.OperUp {
				waiting = nic
			}
		}
		switch {
		case waiting == "":
			return nil
		case time.Since(began) > carrierWithin:
			return fmt.Errorf("netbench: %s got no carrier within %v", waiting, carrierWithin)
		}
	}
}

// Close lets go of the namespaces.
func (l *Lab) Close() {
	for _, h := range l.hosts {
		if h != nil {
			h.Close()
		}
	}
}

// join makes a veth pair whose ends are the NICs of that name.
func (l *Lab) join(nic string) error {
	err := l.in(0, func() error {
		a := netlink.NewLinkAttrs()
		a.Name, a.MTU = nic, l.mtu
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: a, PeerName: nic, PeerMTU: uint32(l.mtu), PeerNamespace: netlink.NsFd(int(l.hosts[1].Fd()))})
	})
	if err != nil {
		return err
	}
	for host, address := range []string{labAddress1, labAddress2} {
		err := l.in(host, func() error {
			end, err := netlink.LinkByName(nic)
			if err != nil {
				return err
			}
			if nic == nicTCP {
				a, err := netlink.ParseAddr(address + "/30")
				if err != nil {
					return err
				}
				if err := netlink.AddrAdd(end, a); err != nil {
					return err
				}
			}
			return netlink.LinkSetUp(end)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// in runs fn on a thread in a host's namespace. Processes that fn starts stay there.
func (l *Lab) in(host int, fn func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(l.hosts[host].Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("netbench: enter network namespace: %w", err)
		}
		if l.Apart {
			if err := ownProcessor(host); err != nil {
				return err
			}
		}
		return fn()
	})
}

// ownProcessor keeps the thread, and the processes that it starts, on one of the processors
// that this process may use: another one for each host, if there are two.
func ownProcessor(host int) error {
	var ours, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &ours); err != nil {
		return fmt.Errorf("netbench: processors: %w", err)
	}
	left := host % ours.Count()
	for cpu := 0; ; cpu++ {
		if !ours.IsSet(cpu) {
			continue
		}
		if left == 0 {
			one.Set(cpu)
			break
		}
		left--
	}
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("netbench: processor: %w", err)
	}
	return nil
}

// onThread runs fn on a thread that is thrown away afterwards, because it is left in
// another namespace.
func onThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- fn()
	}()
	return <-result
}

// Run starts the serving side on host 2, and runs this program with args on host 1
// behind the words that make it the measuring side. Its standard streams are ours.
func (l *Lab) Run(ctx context.Context, program string, args []string) error {
	nics := []string{"--nic-a", nicA, "--nic-b", nicB, "--nic-idle", nicIdle}
	stop, err := l.serve(program, append([]string{"bench", "net", "--serve", labAddress2 + ":" + labPort, "--with-parent"}, nics...))
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, program, append(append(args, nics...), "--peer", labAddress2+":"+labPort)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = stopWithin
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err = l.in(0, cmd.Start); err == nil {
		err = cmd.Wait()
	}
	return errors.Join(err, stop())
}

// serve starts the serving side; the function that it returns ends it.
func (l *Lab) serve(program string, args []string) (stop func() error, err error) {
	cmd := exec.Command(program, args...)
	cmd.Stderr = os.Stderr
	cmd.WaitDelay = stopWithin
	var in io.Closer // it serves until this is closed, as it is if we die
	if in, err = cmd.StdinPipe(); err != nil {
		return nil, err
	}
	if err := l.in(1, cmd.Start); err != nil {
		return nil, err
	}
	return func() error {
		in.Close()
		if err := cmd.Wait(); err != nil {
			return fmt.Errorf("netbench: the serving side: %w", err)
		}
		return nil
	}, nil
}
