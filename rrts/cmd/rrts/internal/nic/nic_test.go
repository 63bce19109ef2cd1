package nic

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"virtualservicesinc.com/net/link/linktest"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/sim/require"
)

var (
	key    = Key{1, 2, 3}
	source = [16]byte{7}
)

func TestBeacon(t *testing.T) {
	b := Beacon{Port: PortA, Source: source}
	frame := b.append(nil, &key)
	padded := append(bytes.Clone(frame), 0, 0, 0)
	for _, f := range [][]byte{frame, padded} {
		if got, err := parseBeacon(f, &key); err != nil || got != b {
			t.Errorf("parse: %+v, %v", got, err)
		}
	}
	if _, err := parseBeacon(frame, &Key{9}); !errors.Is(err, errBeacon) {
		t.Errorf("another key: %v", err)
	}
	for i := range frame {
		bad := bytes.Clone(frame)
		bad[i] ^= 1
		if _, err := parseBeacon(bad, &key); !errors.Is(err, errBeacon) {
			t.Errorf("byte %d changed: %v", i, err)
		}
		if _, err := parseBeacon(frame[:i], &key); !errors.Is(err, errBeacon) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
	}
}

func TestAssign(t *testing.T) {
	own := func(nic string, port byte) Heard { return Heard{nic, Beacon{Port: port, Source: source}} }
	peer := func(nic string, port byte) Heard { return Heard{nic, Beacon{Port: port, Source: [16]byte{8}}} }
	for _, tc := range []struct {
		name  string
		nics  string
		heard []Heard
		want  string
	}{
		{"none", "", nil, " "},
		{"one", "e0", nil, "e0 "},
		{"two", "e0 e1", nil, "e0 e1"},
		{"three", "e0 e1 e2", nil, "nic: 3 NICs are free (e0, e1, e2); name the two: --nic-a e0 --nic-b e1"},
		{"one network", "e0 e1", []Heard{own("e1", 1), own("e0", 2)}, "nic: what leaves on e0 arrives on e1: both are plugged into one network; plug them into two switches that nothing joins"},
		{"an echo of its own NIC", "e0 e1", []Heard{own("e0", 1)}, "e0 e1"},
		{"peers", "e0 e1", []Heard{peer("e1", PortA), peer("e0", PortB)}, "e1 e0"},
		{"peers choose among three", "e0 e1 e2", []Heard{peer("e2", PortA), peer("e0", PortB)}, "e2 e0"},
		{"only network A", "e0 e1", []Heard{peer("e1", PortA)}, "e1 "},
		{"only network B", "e0 e1", []Heard{peer("e1", PortB)}, "nic: e1 hears network B, and none hears network A; check the cable and the switch of network A"},
		{"joined networks", "e0 e1", []Heard{peer("e0", PortA), peer("e0", PortB)}, "nic: e0 hears network A and network B: the two are joined somewhere; they need a switch each, and nothing between"},
		{"both into A", "e0 e1", []Heard{peer("e0", PortA), peer("e1", PortA)}, "nic: e0, e1 are all plugged into network A; plug one of them into network B"},
		{"both into B", "e0 e1", []Heard{peer("e0", PortB), peer("e1", PortB)}, "nic: e0, e1 are all plugged into network B; plug one of them into network A"},
		{"another that joins, too", "e0 e1", []Heard{peer("e0", 1), peer("e1", 2)}, "e0 e1"},
	} {
		a, b, err := Assign(strings.Fields(tc.nics), source, tc.heard)
		got := a + " " + b
		if err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s:\ngot  %s\nwant %s", tc.name, got, tc.want)
		}
	}
}

// survey runs on a host of a lab for long enough to hear everybody.
func survey(t *testing.T, l *linktest.Lab, host int, source byte, nics []string, ports []byte, results chan<- []Heard) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	s := &Survey{NICs: nics, EtherTypes: [2]uint16{0x88b5, 0x88b6}, Key: key, Source: [16]byte{source}, Ports: ports, Namespace: l.Namespace(host)}
	heard, err := s.Run(ctx)
	if err != nil {
		t.Error(err)
	}
	results <- heard
}

// TestSurvey lets a new machine find its networks beside one that knows them, on
// real packet sockets. Its NICs are plugged in the other order.
func TestSurvey(t *testing.T) {
	require.Root(t)
	l := linktest.NewLab(t, 2, 2)
	results := make(chan []Heard, 2)
	go survey(t, l, 0, 1, []string{linktest.Interface(1), linktest.Interface(0)}, []byte{PortA, PortB}, make(chan []Heard, 1))
	nics := []string{linktest.Interface(0), linktest.Interface(1)}
	survey(t, l, 1, 2, nics, []byte{1, 2}, results)
	a, b, err := Assign(nics, [16]byte{2}, <-results)
	if err != nil || a != linktest.Interface(1) || b != linktest.Interface(0) {
		t.Errorf("A is %q, B is %q, %v", a, b, err)
	}
}

// TestSurveyOneNetwork finds two NICs that share a network.
func TestSurveyOneNetwork(t *testing.T) {
	require.Root(t)
	l := linktest.NewLab(t, 1, 2)
	results := make(chan []Heard, 1)
	nics := []string{linktest.Interface(0), linktest.Interface(1)}
	survey(t, l, 0, 1, nics, []byte{1, 2}, results)
	if _, _, err := Assign(nics, [16]byte{1}, <-results); err != nil {
		t.Errorf("two networks: %v", err)
	}
	l.Bridge(0, 1)
	survey(t, l, 0, 1, nics, []byte{1, 2}, results)
	if _, _, err := Assign(nics, [16]byte{1}, <-results); err == nil || !strings.Contains(err.Error(), "plugged into one network") {
		t.Errorf("one network: %v", err)
	}
}

// within runs fn on a thread in a network namespace.
func within(t *testing.T, path string, fn func()) {
	t.Helper()
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // the thread ends with the goroutine
		f, err := os.Open(path)
		if err == nil {
			err = unix.Setns(int(f.Fd()), unix.CLONE_NEWNET)
			f.Close()
		}
		if err == nil {
			fn()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func unfit(all []NIC) map[string]string {
	m := map[string]string{}
	for _, n := range all {
		m[n.Name] = n.Unfit
	}
	return m
}

func TestList(t *testing.T) {
	require.Root(t)
	l := linktest.NewLab(t, 1, 4)
	within(t, l.Namespace(0), func() {
		address := func(name, cidr string) {
			nic, err := netlink.LinkByName(name)
			if err != nil {
				t.Error(err)
				return
			}
			a, err := netlink.ParseAddr(cidr)
			if err == nil {
				err = netlink.AddrAdd(nic, a)
			}
			if err != nil {
				t.Error(err)
			}
		}
		address("net1", "192.168.7.1/24")
		address("net2", "169.254.1.1/16")
		uplink, err := netlink.LinkByName("net3")
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{LinkIndex: uplink.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Scope: netlink.SCOPE_LINK})
		}
		if err != nil {
			t.Error(err)
		}
		all, err := List()
		if err != nil {
			t.Error(err)
			return
		}
		got := unfit(all)
		for name, want := range map[string]string{
			"lo": "it is the loopback", "net0": "", "net1": "it has the IP address 192.168.7.1/24", "net2": "", "net3": "the machine's default route goes through it",
		} {
			if got[name] != want {
				t.Errorf("%s: %q, want %q", name, got[name], want)
			}
		}
		var fit []string
		for _, n := range Fit(all) {
			fit = append(fit, n.Name)
			if !n.Carrier || !n.Up {
				t.Errorf("%v: up %v, carrier %v", n, n.Up, n.Carrier)
			}
		}
		if !slices.Equal(fit, []string{"net0", "net2"}) {
			t.Errorf("fit: %v", fit)
		}
		if _, err := Find(all, config.NIC{MAC: linktest.MAC(0, 2)}); err != nil {
			t.Error(err)
		}
		_, err = Find(all, config.NIC{Name: "eth9"})
		if want := fmt.Sprintf("nic: there is no eth9; free NICs are net0 (%s), net2 (%s), or correct machine.toml", linktest.MAC(0, 0), linktest.MAC(0, 2)); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
}

func TestUp(t *testing.T) {
	require.Root(t)
	l := linktest.NewLab(t, 1, 2)
	l.SetNIC(0, 0, false)
	root := t.TempDir()
	// What systemd makes for networkd at every boot does not say that it runs.
	for _, dir := range []string{"/run/systemd/netif/links", "/proc/sys/net/ipv6/conf/net0"} {
		if err := os.MkdirAll(root+dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var told []string
	o := &Owner{Root: root, Run: func(_ context.Context, command []string) error {
		switch line := strings.Join(command, " "); line {
		case "systemctl is-active --quiet NetworkManager.service":
		case "systemctl is-active --quiet systemd-networkd.service":
			return errors.New("exit status 3")
		default:
			told = append(told, line)
		}
		return nil
	}}
	m := &config.Machine{Name: "pc1", NetworkA: config.NIC{MAC: linktest.MAC(0, 0), MTU: 9000}, NetworkB: config.NIC{Name: "net1", MTU: 1500}}
	within(t, l.Namespace(0), func() {
		for range 2 { // the second time changes nothing and tells nobody
			done, err := o.Up(t.Context(), m)
			if err != nil {
				t.Error(err)
				return
			}
			if len(done) != 2 || done[0].Name != "net0" || !done[0].Up || done[0].MTU != 9000 || done[1].MTU != 1500 {
				t.Errorf("done: %+v", done)
			}
		}
		if want := []string{"nmcli general reload conf"}; !slices.Equal(told, want) {
			t.Errorf("told %q, want %q", told, want)
		}
		// One that is gone does not keep the other from working.
		m.NetworkA.MAC[4]++
		if done, err := o.Up(t.Context(), m); err == nil || !strings.Contains(err.Error(), "network a: nic: there is no") || len(done) != 1 {
			t.Errorf("a missing NIC: %+v, %v", done, err)
		}
		// A machine's way to the world is never taken.
		uplink, err := netlink.LinkByName("net1")
		if err == nil {
			err = netlink.RouteAdd(&netlink.Route{LinkIndex: uplink.Attrs().Index, Dst: &net.IPNet{IP: net.IPv4zero, Mask: net.CIDRMask(0, 32)}, Scope: netlink.SCOPE_LINK})
		}
		if err != nil {
			t.Error(err)
		}
		if done, err := o.Up(t.Context(), m); err == nil || !strings.Contains(err.Error(), "is left alone: the machine's default route") || len(done) != 0 {
			t.Errorf("the default route: %+v, %v", done, err)
		}
	})
	for path, want := range map[string]string{
		"/run/NetworkManager/conf.d/80-rrts-a.conf": remark + "[keyfile]\nunmanaged-devices+=mac:02:52:52:00:01:00\n",
		"/run/NetworkManager/conf.d/80-rrts-b.conf": remark + "[keyfile]\nunmanaged-devices+=interface-name:net1\n",
		"/run/systemd/network/05-rrts-b.network":    remark + "[Match]\nName=net1\n[Link]\nUnmanaged=yes\n",
		"/proc/sys/net/ipv6/conf/net0/disable_ipv6": "1\n",
	} {
		got, err := os.ReadFile(filepath.Join(root, path))
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v, want %q", path, got, err, want)
		}
	}
}

func FuzzBeacon(f *testing.F) {
	f.Add(Beacon{Port: 1, Source: source}.append(nil, &key))
	f.Fuzz(func(t *testing.T, frame []byte) {
		b, err := parseBeacon(frame, &key)
		if err == nil && !bytes.Equal(b.append(nil, &key), frame[:beaconBytes]) {
			t.Errorf("%x: parsed as %+v", frame, b)
		}
	})
}
