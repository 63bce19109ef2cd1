package link_test

import (
	"net/netip"
	"slices"
	"testing"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/link/linktest"
)

// nobody is a station that is not there.
var nobody = link.Ethernet([6]byte{2, 0, 0, 0, 0, 99})

// openPackets opens one packet link per host on a network of its own.
func openPackets(plain bool) func(testing.TB, int) []link.Link {
	return func(t testing.TB, n int) []link.Link {
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
	linktest.Run(t, linktest.Carrier{
		Open:     openPackets(false),
		Queued:   200,
		Stranger: nobody,
		Foreign:  link.Local(1),
	})
}

func TestPacketPlain(t *testing.T) {
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
