package link_test

import (
	"net/netip"
	"slices"
	"testing"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/link/linktest"
	"virtualservicesinc.com/rrts/sim/require"
)

// nobody is a station that is not there.
var nobody = link.Ethernet([6]byte{2, 0, 0, 0, 0, 99})

// openPackets opens one packet link per host on a network of its own.
func openPackets(plain bool) func(testing.TB, int) []link.Link {
	return func(t testing.TB, n int) []link.Link {
		require.Root(t)
		lab := linktest.NewLab(t, n, 1)
		links := make([]link.Link, n)
		for i := range links {
			p, err := link.OpenPacket(link.PacketConfig{
				Interface: linktest.Interface(0),
				EtherType: link.EtherTypeA,
				Plain:     plain,
				Namespace: lab.Namespace(i),
			})
			if err != nil {
				t.Fatal(err)
			}
			links[i] = p
		}
		return links
	}
}

func TestPacket(t *testing.T) {
	require.Root(t)
	linktest.Run(t, linktest.Carrier{
		Open:     openPackets(false),
		Queued:   200,
		Stranger: nobody,
		Foreign:  link.Local(1),
	})
}

func TestPacketPlain(t *testing.T) {
	require.Root(t)
	linktest.Run(t, linktest.Carrier{
		Open:      openPackets(true),
		Queued:    50,
		Allocates: true,
		Stranger:  nobody,
		Foreign:   link.Local(1),
	})
}

func TestUDP(t *testing.T) {
	for _, ip := range []string{"127.0.0.1", "::1"} {
		t.Run(ip, func(t *testing.T) {
			addr := netip.MustParseAddr(ip)
			linktest.Run(t, linktest.Carrier{
				Open:     func(t testing.TB, n int) []link.Link { return openUDP(t, addr, n) },
				Queued:   200,
				Stranger: link.UDP(netip.AddrPortFrom(addr, 1)),
				Foreign:  nobody,
			})
		})
	}
}

// openUDP opens links that know each other, on ports that were free a moment ago.
func openUDP(t testing.TB, ip netip.Addr, n int) []link.Link {
	t.Helper()
	ports := make([]netip.AddrPort, n)
	probes := make([]link.Link, n)
	for i := range ports {
		l, err := link.OpenUDP(link.UDPConfig{Listen: netip.AddrPortFrom(ip, 0)})
		if err != nil {
			t.Fatal(err)
		}
		probes[i] = l
		ports[i] = netip.MustParseAddrPort(l.Status().Local.String())
	}
	links := make([]link.Link, n)
	for i := range links {
		if err := probes[i].Close(); err != nil {
			t.Fatal(err)
		}
		l, err := link.OpenUDP(link.UDPConfig{
			Listen: ports[i],
			Peers:  slices.Concat(ports[:i], ports[i+1:]),
		})
		if err != nil {
			t.Fatal(err)
		}
		links[i] = l
	}
	return links
}

func TestUnix(t *testing.T) {
	linktest.Run(t, linktest.Carrier{
		Open:     openUnix,
		Queued:   5,
		Stranger: link.Local(99),
		Foreign:  nobody,
	})
}

func openUnix(t testing.TB, n int) []link.Link {
	t.Helper()
	dir := t.TempDir()
	links := make([]link.Link, n)
	for i := range links {
		l, err := link.OpenUnix(link.UnixConfig{Dir: dir, SFU: uint16(i + 1)})
		if err != nil {
			t.Fatal(err)
		}
		links[i] = l
	}
	return links
}

func TestMemory(t *testing.T) {
	linktest.Run(t, linktest.Carrier{
		Open: func(t testing.TB, n int) []link.Link {
			network := link.NewNetwork(link.NetworkConfig{})
			links := make([]link.Link, n)
			for i := range links {
				links[i] = network.Link(uint16(i + 1))
			}
			return links
		},
		Queued:    200,
		Allocates: true,
		Stranger:  link.Local(99),
		Foreign:   nobody,
	})
}

// BenchmarkCarrier is full batches of 1,450 bytes to a reader that keeps up as it
// can: frames that arrive, per second.
func BenchmarkCarrier(b *testing.B) {
	loopback := netip.MustParseAddr("127.0.0.1")
	for _, c := range []struct {
		name string
		open func(testing.TB, int) []link.Link
	}{
		{"packet", openPackets(false)},
		{"plain", openPackets(true)},
		{"udp", func(t testing.TB, n int) []link.Link { return openUDP(t, loopback, n) }},
		{"unix", openUnix},
	} {
		b.Run(c.name, func(b *testing.B) {
			links := c.open(b, 2)
			defer links[0].Close()
			defer links[1].Close()
			go func() {
				frames := make([]link.Frame, link.BatchSize)
				for i := range frames {
					frames[i].Data = make([]byte, link.MaxFrame)
				}
				for {
					if _, err := links[1].Receive(frames); err != nil {
						return
					}
				}
			}()
			batch := make([]link.Frame, link.BatchSize)
			for i := range batch {
				batch[i] = link.Frame{Addr: links[1].Status().Local, Data: make([]byte, 1450)}
			}
			for b.Loop() {
				links[0].Send(batch)
			}
			b.ReportMetric(float64(links[1].Counters().ReceivedFrames)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}
