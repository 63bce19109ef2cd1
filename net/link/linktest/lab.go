package linktest

import (
	"fmt"
	"net"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Lab is a set of machines joined by Ethernet networks, made of network
// namespaces: every host has one NIC per network, named net0, net1 and so on,
// and each network is a bridge in a namespace of its own.
//
//	host 0          host 1          host 2
//	net0  net1      net0  net1      net0  net1
//	  |     |         |     |         |     |
//	  |     +---------|-----+---------|-----+---- bridge br1
//	  +---------------+---------------+---------- bridge br0
//
// The namespaces have no name and vanish with the test, however it ends.
type Lab struct {
	t        testing.TB
	hosts    []*namespace
	networks int
	patch    *namespace // where the bridges are
}

// NewLab builds a lab. It needs root: the caller has made sure of that.
func NewLab(t testing.TB, hosts, networks int) *Lab {
	t.Helper()
	l := &Lab{t: t, networks: networks, patch: newNamespace(t)}
	for n := range networks {
		l.patch.do(t, func() error {
			bridge := &netlink.Bridge{LinkAttrs: attrs(bridgeName(n))}
			// Ports are cut and joined at will: none is to be held back.
			bridge.MTU = 9216
			if err := netlink.LinkAdd(bridge); err != nil {
				return fmt.Errorf("bridge: %w", err)
			}
			return netlink.LinkSetUp(bridge)
		})
	}
	for h := range hosts {
		l.hosts = append(l.hosts, newNamespace(t))
		for n := range networks {
			l.Plug(h, n)
		}
	}
	return l
}

// Namespace returns the path of a host's namespace, for PacketConfig.
func (l *Lab) Namespace(host int) string { return l.hosts[host].path() }

// Interface returns the name of every host's NIC on a network.
func Interface(network int) string { return fmt.Sprintf("net%d", network) }

func bridgeName(network int) string     { return fmt.Sprintf("br%d", network) }
func portName(host, network int) string { return fmt.Sprintf("p%dn%d", host, network) }

// MAC returns the address of a host's NIC on a network.
func MAC(host, network int) net.HardwareAddr {
	return net.HardwareAddr{0x02, 0x52, 0x52, 0, byte(host), byte(network)}
}

// Plug gives a host its NIC on a network.
func (l *Lab) Plug(host, network int) {
	l.t.Helper()
	l.patch.do(l.t, func() error {
		port := &netlink.Veth{
			LinkAttrs:        attrs(portName(host, network)),
			PeerName:         Interface(network),
			PeerHardwareAddr: MAC(host, network),
			PeerNamespace:    netlink.NsFd(int(l.hosts[host].file.Fd())),
		}
		if err := netlink.LinkAdd(port); err != nil {
			return fmt.Errorf("veth: %w", err)
		}
		return setUp(portName(host, network), true)
	})
	l.SetNIC(host, network, true)
	l.hosts[host].do(l.t, func() error { return waitCarrier(Interface(network)) })
	l.patch.do(l.t, func() error {
		// The bridge forwards at once only for a port that has its carrier.
		if err := waitCarrier(portName(host, network)); err != nil {
			return err
		}
		return join(portName(host, network), bridgeName(network))
	})
}

// Unplug takes a host's NIC on a network out of the machine.
func (l *Lab) Unplug(host, network int) {
	l.t.Helper()
	l.hosts[host].do(l.t, func() error {
		nic, err := netlink.LinkByName(Interface(network))
		if err != nil {
			return err
		}
		return netlink.LinkDel(nic)
	})
}

// SetNIC sets a host's own NIC up or down, as `ip link set` does.
func (l *Lab) SetNIC(host, network int, up bool) {
	l.t.Helper()
	l.hosts[host].do(l.t, func() error { return setUp(Interface(network), up) })
}

// SetMTU sets the MTU of a host's NIC and of the port that it is plugged into.
func (l *Lab) SetMTU(host, network, mtu int) {
	l.t.Helper()
	for ns, name := range map[*namespace]string{
		l.hosts[host]: Interface(network),
		l.patch:       portName(host, network),
	} {
		ns.do(l.t, func() error {
			nic, err := netlink.LinkByName(name)
			if err != nil {
				return err
			}
			return netlink.LinkSetMTU(nic, mtu)
		})
	}
}

// SetRate bounds what a host's NIC on a network sends, to bytes a second, with a queue
// of two full frames: what finds it full is refused with ENOBUFS. 0 takes the bound away.
func (l *Lab) SetRate(host, network int, rate uint64) {
	l.t.Helper()
	l.shape(host, network, netlink.Tbf{Rate: rate, Buffer: 3000, Limit: 3000})
}

// SetSpeed makes a host's NIC on a network one of so many Mbit/s, with Linux's usual queue
// of 1,000 frames before it. What the NIC says of its speed stays.
func (l *Lab) SetSpeed(host, network, mbits int) {
	l.t.Helper()
	// What leaves at once, 64 kB, is counted in the kernel's ticks of 64 ns. With less, its
	// timers would be too late for that speed on a machine that is busy.
	burst := (64 << 10) * 8 * time.Microsecond / time.Duration(mbits)
	l.shape(host, network, netlink.Tbf{Rate: uint64(mbits) * 1e6 / 8, Buffer: uint32(burst / 64), Limit: 1000 * 1514})
}

// shape gives a NIC the queue q, or, if that has no rate, takes its queue away.
func (l *Lab) shape(host, network int, q netlink.Tbf) {
	l.t.Helper()
	l.hosts[host].do(l.t, func() error {
		nic, err := netlink.LinkByName(Interface(network))
		if err != nil {
			return err
		}
		q.QdiscAttrs = netlink.QdiscAttrs{LinkIndex: nic.Attrs().Index, Parent: netlink.HANDLE_ROOT, Handle: netlink.MakeHandle(1, 0)}
		if q.Rate == 0 {
			return netlink.QdiscDel(&q)
		}
		return netlink.QdiscReplace(&q)
	})
}

// SetCable takes a host's carrier on a network away or gives it back: the far
// end of its cable is pulled.
func (l *Lab) SetCable(host, network int, in bool) {
	l.t.Helper()
	l.patch.do(l.t, func() error { return setUp(portName(host, network), in) })
}

// SetJoined takes a host's port out of its network or puts it back. The host
// keeps its carrier and cannot tell: frames just go nowhere.
func (l *Lab) SetJoined(host, network int, joined bool) {
	l.t.Helper()
	l.patch.do(l.t, func() error {
		if joined {
			return join(portName(host, network), bridgeName(network))
		}
		port, err := netlink.LinkByName(portName(host, network))
		if err != nil {
			return err
		}
		return netlink.LinkSetNoMaster(port)
	})
}

// Cross exchanges the cables of a host's NICs on two networks.
func (l *Lab) Cross(host, a, b int) {
	l.t.Helper()
	l.patch.do(l.t, func() error {
		if err := join(portName(host, a), bridgeName(b)); err != nil {
			return err
		}
		return join(portName(host, b), bridgeName(a))
	})
}

// Bridge joins two networks, as a cable between their switches does.
func (l *Lab) Bridge(a, b int) {
	l.t.Helper()
	name := func(n int) string { return fmt.Sprintf("x%dx%d", a, b) + string(rune('a'+n)) }
	l.patch.do(l.t, func() error {
		if err := netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs(name(0)), PeerName: name(1)}); err != nil {
			return fmt.Errorf("veth: %w", err)
		}
		for n := range 2 {
			if err := setUp(name(n), true); err != nil {
				return err
			}
		}
		for n, network := range []int{a, b} {
			// The bridge forwards at once only for a port that has its carrier.
			if err := waitCarrier(name(n)); err != nil {
				return err
			}
			if err := join(name(n), bridgeName(network)); err != nil {
				return err
			}
		}
		return nil
	})
}

// attrs names an interface. The rest of netlink's defaults stay.
func attrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

func setUp(name string, up bool) error {
	nic, err := netlink.LinkByName(name)
	if err != nil {
		return err
	}
	if up {
		return netlink.LinkSetUp(nic)
	}
	return netlink.LinkSetDown(nic)
}

// waitCarrier waits until an interface is up as the kernel sees it, which is up
// to a second after it was raised.
func waitCarrier(name string) error {
	for range 1000 {
		nic, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		if nic.Attrs().OperState == netlink.OperUp {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
	return fmt.Errorf("interface %s got no carrier", name)
}

func join(port, bridge string) error {
	p, err := netlink.LinkByName(port)
	if err != nil {
		return err
	}
	b, err := netlink.LinkByName(bridge)
	if err != nil {
		return err
	}
	return netlink.LinkSetMaster(p, b)
}

// namespace is a network namespace that lives as long as its file.
type namespace struct{ file *os.File }

func newNamespace(t testing.TB) *namespace {
	t.Helper()
	var file *os.File
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("new network namespace: %w", err)
		}
		file, err = os.Open("/proc/thread-self/ns/net")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return &namespace{file: file}
}

func (n *namespace) path() string { return fmt.Sprintf("/proc/%d/fd/%d", os.Getpid(), n.file.Fd()) }

// do runs fn on a thread in the namespace.
func (n *namespace) do(t testing.TB, fn func() error) {
	t.Helper()
	err := onThread(func() error {
		if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter network namespace: %w", err)
		}
		return fn()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// onThread runs fn on a thread that is thrown away afterwards, because it is
// left in another namespace.
func onThread(fn func() error) error {
	result := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		result <- fn()
	}()
	return <-result
}
