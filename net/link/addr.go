package link

import (
	"fmt"
	"net/netip"
)

// kind tells the families of addresses apart.
type kind uint8

const (
	kindNone kind = iota
	kindBroadcast
	kindEthernet
	kindUDP4
	kindUDP6
	kindLocal
)

// Addr is where a frame goes to or came from: a MAC address, an IP address and
// port, or the number of an SFU on this machine. It is a plain value: it can be
// compared with == and used as a map key. The zero Addr is no address.
type Addr struct {
	kind kind
	// num is the UDP port, or the number of a local SFU.
	num uint16
	// raw is the MAC in the first 6 bytes, an IPv4 address in the first 4, or
	// an IPv6 address.
	raw [16]byte
}

// Broadcast reaches everybody on a link but the sender: all stations on
// Ethernet, all SFUs on the machine, all configured peers over UDP.
var Broadcast = Addr{kind: kindBroadcast}

// Ethernet returns the address of a station on Ethernet.
func Ethernet(mac [6]byte) Addr {
	a := Addr{kind: kindEthernet}
	copy(a.raw[:], mac[:])
	return a
}

// UDP returns the address of a UDP socket. An IPv4 address mapped into IPv6 is
// the same as the IPv4 address, and a zone is left out. An invalid ap gives the
// zero Addr.
func UDP(ap netip.AddrPort) Addr {
	ip := ap.Addr().Unmap()
	switch {
	case ip.Is4():
		a := Addr{kind: kindUDP4, num: ap.Port()}
		b := ip.As4()
		copy(a.raw[:], b[:])
		return a
	case ip.Is6():
		return Addr{kind: kindUDP6, num: ap.Port(), raw: ip.As16()}
	}
	return Addr{}
}

// Local returns the address of an SFU on this machine, and of a node on a
// network in memory.
func Local(sfu uint16) Addr { return Addr{kind: kindLocal, num: sfu} }

// IsValid reports whether a is an address at all.
func (a Addr) IsValid() bool { return a.kind != kindNone }

// mac returns the MAC address of an Ethernet address.
func (a Addr) mac() [6]byte { return [6]byte(a.raw[:6]) }

// addrPort returns the UDP address; it is invalid for other kinds.
func (a Addr) addrPort() netip.AddrPort {
	switch a.kind {
	case kindUDP4:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(a.raw[:4])), a.num)
	case kindUDP6:
		return netip.AddrPortFrom(netip.AddrFrom16(a.raw), a.num)
	}
	return netip.AddrPort{}
}

// String returns a as an operator would write it.
func (a Addr) String() string {
	switch a.kind {
	case kindBroadcast:
		return "broadcast"
	case kindEthernet:
		m := a.mac()
		return fmt.Sprintf("%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5])
	case kindUDP4, kindUDP6:
		return a.addrPort().String()
	case kindLocal:
		return fmt.Sprintf("sfu %d", a.num)
	}
	return "none"
}
