package link

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
)

const (
	// defaultUDP4 and defaultUDP6 are what UDP holds in an Ethernet packet of
	// 1500 bytes.
	defaultUDP4 = 1500 - 20 - 8
	defaultUDP6 = 1500 - 40 - 8
	// maxUDPPeers bounds a broadcast. A cluster has at most a few dozen SFUs.
	maxUDPPeers = 256
)

// UDPConfig describes a link over UDP.
type UDPConfig struct {
	// Listen is the address and port to receive on, and the source of what is
	// sent. Port 0 takes a free one.
	Listen netip.AddrPort
	// Peers are the addresses that a broadcast goes to, of the same family as
	// Listen; SetPeers replaces them. Frames from elsewhere are received too: the
	// session knows who it talks to.
	Peers []netip.AddrPort
	// MTU is the longest frame in bytes; 0 means 1472 over IPv4 and 1452 over
	// IPv6, what one Ethernet packet holds. At most MaxFrame.
	MTU int
	// Buffer is the size in bytes asked for each socket buffer; 0 means
	// DefaultBuffer.
	Buffer int
}

func (c *UDPConfig) validate() error {
	var faults []error
	listen := c.Listen.Addr().Unmap()
	switch {
	case !listen.IsValid():
		faults = append(faults, errors.New("link: UDPConfig.Listen is no address"))
	case listen.Zone() != "":
		faults = append(faults, fmt.Errorf("link: UDPConfig.Listen %v has a zone", c.Listen))
	}
	faults = append(faults, validatePeers(listen, c.Peers))
	if c.MTU < 0 || c.MTU > MaxFrame {
		faults = append(faults, fmt.Errorf("link: UDPConfig.MTU %d is not between 0 and %d", c.MTU, MaxFrame))
	}
	if c.Buffer < 0 {
		faults = append(faults, fmt.Errorf("link: UDPConfig.Buffer %d is negative", c.Buffer))
	}
	return errors.Join(faults...)
}

// validatePeers checks the peers of a link that listens at an address.
func validatePeers(listen netip.Addr, peers []netip.AddrPort) error {
	var faults []error
	if len(peers) > maxUDPPeers {
		faults = append(faults, fmt.Errorf("link: UDPConfig.Peers has %d addresses of at most %d", len(peers), maxUDPPeers))
	}
	for _, p := range peers {
		ip := p.Addr().Unmap()
		if !ip.IsValid() || p.Port() == 0 || ip.Zone() != "" || ip.Is4() != listen.Is4() {
			faults = append(faults, fmt.Errorf("link: UDPConfig.Peers: %v is not an address and port of Listen's family", p))
		}
	}
	return errors.Join(faults...)
}

// UDPLink is a Link over UDP.
type UDPLink struct {
	*datagram
	listen netip.Addr
	peers  atomic.Pointer[[]Addr]
}

var _ Link = (*UDPLink)(nil)

// SetPeers replaces the addresses that a broadcast goes to, at any time. After an
// error they are as before.
func (l *UDPLink) SetPeers(peers []netip.AddrPort) error {
	if err := validatePeers(l.listen, peers); err != nil {
		return err
	}
	list := make([]Addr, len(peers))
	for i, p := range peers {
		list[i] = UDP(p)
	}
	l.peers.Store(&list)
	return nil
}

// OpenUDP opens a link over UDP.
func OpenUDP(cfg UDPConfig) (*UDPLink, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	ip := cfg.Listen.Addr().Unmap()
	family, mtu := "udp4", defaultUDP4
	if ip.Is6() {
		family, mtu = "udp6", defaultUDP6
	}
	if cfg.MTU != 0 {
		mtu = cfg.MTU
	}
	conn, err := net.ListenUDP(family, net.UDPAddrFromAddrPort(netip.AddrPortFrom(ip, cfg.Listen.Port())))
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	l := &UDPLink{listen: ip}
	if l.datagram, err = newUDP(conn, cfg, udpCodec{v6: ip.Is6()}); err == nil {
		err = l.SetPeers(cfg.Peers)
	}
	if err != nil {
		conn.Close()
		return nil, err
	}
	l.everybody = func() []Addr { return *l.peers.Load() }
	l.status.MTU = mtu
	return l, nil
}

func newUDP(conn *net.UDPConn, cfg UDPConfig, c udpCodec) (*datagram, error) {
	rc, err := conn.SyscallConn()
	if err != nil {
		return nil, fmt.Errorf("link: %w", err)
	}
	want := cfg.Buffer
	if want == 0 {
		want = DefaultBuffer
	}
	granted, err := setBuffers(rc, want)
	if err != nil {
		return nil, err
	}
	d := &datagram{
		conn: conn,
		rc:   rc,
		status: Status{
			Up:            true,
			Local:         UDP(conn.LocalAddr().(*net.UDPAddr).AddrPort()),
			ReceiveBuffer: granted.receive,
			SendBuffer:    granted.send,
			Small:         granted.small,
		},
		changed: make(chan struct{}, 1),
	}
	d.batch = newBatch(rc, c, &d.count)
	return d, nil
}
