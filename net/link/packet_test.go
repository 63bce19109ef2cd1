package link_test

import (
	"encoding/binary"
	"errors"
	"net"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/link/linktest"
	"virtualservicesinc.com/rrts/sim/require"
)

// carriers runs a test over both kinds of packet socket.
func carriers(t *testing.T, run func(t *testing.T, plain bool)) {
	require.Root(t)
	t.Run("fast", func(t *testing.T) { run(t, false) })
	t.Run("plain", func(t *testing.T) { run(t, true) })
}

func openPacket(t testing.TB, cfg link.PacketConfig) *link.Packet {
	t.Helper()
	if cfg.EtherType == 0 {
		cfg.EtherType = link.EtherTypeA
	}
	if cfg.Interface == "" && cfg.MAC == nil {
		cfg.Interface = linktest.Interface(0)
	}
	p, err := link.OpenPacket(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

// waitStatus waits until the link's status is as wanted, listening to Changed.
func waitStatus(t testing.TB, l link.Link, what string, ok func(link.Status) bool) link.Status {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		s := l.Status()
		if ok(s) {
			return s
		}
		select {
		case <-l.Changed():
		case <-deadline:
			t.Fatalf("not %s: %+v", what, s)
		}
	}
}

func up(s link.Status) bool { return s.Up }

// pass sends frames from one link to another until one gets through.
func pass(t testing.TB, from, to link.Link) {
	t.Helper()
	came := make(chan error, 1)
	go func() {
		_, err := to.Receive([]link.Frame{{Data: make([]byte, link.MaxFrame)}})
		came <- err
	}()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for {
		from.Send([]link.Frame{{Addr: link.Broadcast, Data: make([]byte, 100)}})
		select {
		case err := <-came:
			if err != nil {
				t.Fatal(err)
			}
			return
		case <-tick.C:
		case <-deadline:
			t.Fatalf("nothing passes: %+v %+v to %+v %+v", from.Status(), from.Counters(), to.Status(), to.Counters())
		}
	}
}

func TestPacketCarrier(t *testing.T) {
	carriers(t, func(t *testing.T, plain bool) {
		lab := linktest.NewLab(t, 2, 1)
		a := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(0), Plain: plain})
		b := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(1), Plain: plain})
		waitStatus(t, a, "up", up)
		pass(t, a, b)

		lab.SetCable(0, 0, false)
		s := waitStatus(t, a, "down", func(s link.Status) bool { return !s.Up })
		if s.Why != "no carrier" {
			t.Errorf("cable pulled: %+v", s)
		}
		lab.SetCable(0, 0, true)
		waitStatus(t, a, "up again", up)
		pass(t, a, b)
		pass(t, b, a)

		lab.SetNIC(0, 0, false)
		s = waitStatus(t, a, "down", func(s link.Status) bool { return !s.Up })
		if s.Why != "interface is down" {
			t.Errorf("interface set down: %+v", s)
		}
		n, err := a.Send([]link.Frame{{Addr: link.Broadcast, Data: make([]byte, 100)}})
		if n != 0 || !errors.Is(err, link.ErrDown) {
			t.Errorf("Send with the interface down: %d, %v", n, err)
		}
		lab.SetNIC(0, 0, true)
		waitStatus(t, a, "up again", up)
		pass(t, b, a)
		if got := a.Counters().Reopened; got != 0 {
			t.Errorf("Reopened is %d although the NIC never went", got)
		}
	})
}

func TestPacketHotplug(t *testing.T) {
	carriers(t, func(t *testing.T, plain bool) {
		lab := linktest.NewLab(t, 2, 1)
		a := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(0), Plain: plain})
		b := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(1), Plain: plain})
		pass(t, a, b)

		lab.Unplug(0, 0)
		// On its way out it may be seen down before it is seen gone.
		s := waitStatus(t, a, "gone", func(s link.Status) bool { return !s.Up && strings.Contains(s.Why, "no interface net0") })
		if s.Local.IsValid() || s.MTU != 0 {
			t.Errorf("NIC gone: %+v", s)
		}
		n, err := a.Send([]link.Frame{{Addr: link.Broadcast, Data: make([]byte, 100)}})
		if n != 0 || !errors.Is(err, link.ErrDown) {
			t.Errorf("Send without a NIC: %d, %v", n, err)
		}
		lab.Plug(0, 0)
		waitStatus(t, a, "back", up)
		pass(t, b, a)
		pass(t, a, b)
		if got := a.Counters().Reopened; got != 1 {
			t.Errorf("Reopened is %d, want 1", got)
		}
	})
}

func TestPacketBeforeItsNIC(t *testing.T) {
	require.Root(t)
	lab := linktest.NewLab(t, 2, 1)
	lab.Unplug(0, 0)
	a := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(0), MAC: linktest.MAC(0, 0)})
	if s := a.Status(); s.Up || !strings.Contains(s.Why, linktest.MAC(0, 0).String()) {
		t.Fatalf("without a NIC: %+v", s)
	}
	lab.Plug(0, 0)
	waitStatus(t, a, "up", up)
	pass(t, openPacket(t, link.PacketConfig{Namespace: lab.Namespace(1)}), a)
}

func TestPacketMTU(t *testing.T) {
	require.Root(t)
	lab := linktest.NewLab(t, 2, 1)
	a := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(0)})
	b := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(1)})
	jumbo := link.Frame{Addr: b.Status().Local, Data: make([]byte, 9000)}
	if n, err := a.Send([]link.Frame{jumbo}); n != 0 || !errors.Is(err, link.ErrSize) {
		t.Fatalf("jumbo frame at MTU 1500: %d, %v", n, err)
	}
	for host, l := range []link.Link{a, b} {
		lab.SetMTU(host, 0, 9000)
		waitStatus(t, l, "at MTU 9000", func(s link.Status) bool { return s.MTU == 9000 })
	}
	if n, err := a.Send([]link.Frame{jumbo}); n != 1 || err != nil {
		t.Fatalf("jumbo frame at MTU 9000: %d, %v", n, err)
	}
	in := []link.Frame{{Data: make([]byte, link.MaxFrame)}}
	if n, err := b.Receive(in); n != 1 || err != nil || len(in[0].Data) != 9000 {
		t.Fatalf("received %d, %v, %d bytes", n, err, len(in[0].Data))
	}
}

// A station hears what its bridge floods to every port; none of that is ours.
// The speed is the driver's while there is a carrier (10 Gbit/s is what a virtual pair
// says), and the configured one where there is one.
func TestPacketSpeed(t *testing.T) {
	carriers(t, func(t *testing.T, plain bool) {
		lab := linktest.NewLab(t, 1, 1)
		p := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(0), Plain: plain})
		q := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(0), Plain: plain, EtherType: link.EtherTypeB, Speed: 1000})
		for range 2 {
			waitStatus(t, p, "10 Gbit/s fast", func(s link.Status) bool { return s.Up && s.Speed == 10_000 })
			if s := q.Status(); s.Speed != 1000 {
				t.Errorf("configured as 1000 Mbit/s: %+v", s)
			}
			lab.SetCable(0, 0, false)
			waitStatus(t, p, "without a carrier and a speed", func(s link.Status) bool { return !s.Up && s.Speed == 0 })
			lab.SetCable(0, 0, true)
		}
	})
}

func TestPacketFilter(t *testing.T) {
	carriers(t, func(t *testing.T, plain bool) {
		lab := linktest.NewLab(t, 2, 1)
		const offset, ours, us, strange = 4, 0x11223344, 0x5566, 0x88B7
		a := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(0), Plain: plain})
		b := openPacket(t, link.PacketConfig{
			Namespace: lab.Namespace(1),
			Plain:     plain,
			Match:     link.Match{Offset: offset, Value: ours, Behind: us},
			Stray:     strange,
		})
		stray := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(0), Plain: plain, EtherType: strange})
		other := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(0), Plain: plain, EtherType: link.EtherTypeB})
		frame := func(cluster uint32, mark byte) []byte {
			f := make([]byte, 100)
			binary.BigEndian.PutUint32(f[offset:], cluster)
			binary.BigEndian.PutUint16(f[offset+4:], us)
			f[99] = mark
			return f
		}
		to := b.Status().Local
		send := func(l link.Link, to link.Addr, data []byte) {
			t.Helper()
			if _, err := l.Send([]link.Frame{{Addr: to, Data: data}}); err != nil {
				t.Fatal(err)
			}
		}
		send(a, nobody, frame(ours, 1))      // for somebody else
		send(a, to, frame(ours+1, 2))        // another cluster
		send(a, link.Broadcast, frame(0, 3)) // another cluster
		send(a, to, []byte{1, 2, 3})         // too short to tell
		send(other, to, frame(ours, 4))      // another EtherType
		them := frame(ours, 7)
		them[offset+5]++
		send(a, link.Broadcast, them)           // another SFU
		send(stray, link.Broadcast, them)       // the same, of the other network
		send(stray, to, frame(ours, 8))         // of the other network
		send(a, to, frame(ours, 5))             // ours
		send(a, link.Broadcast, frame(ours, 6)) // ours
		in := []link.Frame{{Data: make([]byte, link.MaxFrame)}}
		for _, want := range []byte{5, 6} {
			if _, err := b.Receive(in); err != nil {
				t.Fatal(err)
			}
			if got := in[0].Data[99]; got != want {
				t.Errorf("frame %d came through, want %d", got, want)
			}
		}
		if _, err := b.Stray().Receive(in); err != nil {
			t.Fatal(err)
		}
		if got := in[0].Data[99]; got != 8 {
			t.Errorf("frame %d strayed, want 8", got)
		}
	})
}

func TestPacketBuffers(t *testing.T) {
	require.Root(t)
	lab := linktest.NewLab(t, 1, 1)
	s := openPacket(t, link.PacketConfig{Namespace: lab.Namespace(0), Buffer: 1 << 20}).Status()
	if s.ReceiveBuffer < 1<<20 || s.SendBuffer < 1<<20 || s.Small != "" {
		t.Errorf("root asked for 1 MiB: %+v", s)
	}
	// More than the kernel's own limit is never granted, and that is told.
	s = openPacket(t, link.PacketConfig{Namespace: lab.Namespace(0), Buffer: 2 << 30}).Status()
	if !strings.Contains(s.Small, "net.core.rmem_max") {
		t.Errorf("asked for 2 GiB: %+v", s)
	}
}

// Without CAP_NET_RAW a packet link cannot be opened, and says what it needs.
func TestPacketPermission(t *testing.T) {
	require.Root(t)
	done := make(chan error, 1)
	go func() {
		// The thread keeps its lost capability: it is never unlocked.
		runtime.LockOSThread()
		var data [2]unix.CapUserData
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		if err := unix.Capget(&header, &data[0]); err != nil {
			done <- err
			return
		}
		data[0].Effective &^= 1 << unix.CAP_NET_RAW
		if err := unix.Capset(&header, &data[0]); err != nil {
			done <- err
			return
		}
		p, err := link.OpenPacket(link.PacketConfig{Interface: "lo", EtherType: link.EtherTypeA})
		if err == nil {
			p.Close()
		}
		done <- err
	}()
	err := <-done
	if !errors.Is(err, os.ErrPermission) || !strings.Contains(err.Error(), "CAP_NET_RAW") {
		t.Fatalf("OpenPacket without CAP_NET_RAW: %v", err)
	}
}

func TestPacketConfig(t *testing.T) {
	for _, test := range []struct {
		cfg  link.PacketConfig
		want string
	}{
		{link.PacketConfig{EtherType: 0x88B5}, "either Interface or MAC"},
		{link.PacketConfig{Interface: "eth0", MAC: make(net.HardwareAddr, 6), EtherType: 0x88B5}, "either Interface or MAC"},
		{link.PacketConfig{MAC: make(net.HardwareAddr, 8), EtherType: 0x88B5}, "8 bytes instead of 6"},
		{link.PacketConfig{Interface: "eth0", EtherType: 0x05ff}, "EtherType 0x05ff is less than 0x0600"},
		{link.PacketConfig{Interface: "eth0", EtherType: 0x88B5, Stray: 0x88B5}, "Stray 0x88b5"},
		{link.PacketConfig{Interface: "eth0", EtherType: 0x88B5, Stray: 0x0100}, "Stray 0x0100"},
		{link.PacketConfig{Interface: "eth0", EtherType: 0x88B5, Match: link.Match{Offset: 10000}}, "Offset 10000"},
		{link.PacketConfig{Interface: "eth0", EtherType: 0x88B5, Buffer: -1}, "Buffer -1"},
		{link.PacketConfig{Interface: "eth0", EtherType: 0x88B5, Speed: -1}, "Speed -1"},
	} {
		_, err := link.OpenPacket(test.cfg)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%+v: %v, want %q", test.cfg, err, test.want)
		}
	}
}
