package link

import (
	"fmt"
	"net"
	"net/netip"
	"sync"
)

// LateUDP is a Link over UDP that has no address of its own: it opens its socket, at
// any free port, when there is a peer to send to, and learns nothing from a broadcast
// that it cannot hear. It is for an SFU that reaches another one at that one's address
// and is answered where it sent from. Until then it takes nothing and costs nothing.
type LateUDP struct {
	buffer  int
	changed chan struct{}
	opened  chan struct{} // closed when link is set
	closed  chan struct{} // closed by Close

	mu    sync.Mutex
	link  *UDPLink // nil until there was a peer
	ended bool
}

var _ Link = (*LateUDP)(nil)

// NewLateUDP returns a link that has opened nothing. buffer is UDPConfig.Buffer.
func NewLateUDP(buffer int) *LateUDP {
	return &LateUDP{buffer: buffer, changed: make(chan struct{}, 1), opened: make(chan struct{}), closed: make(chan struct{})}
}

// SetPeers replaces the addresses that a broadcast goes to, at any time; the first ones
// say whether it is a link over IPv4 or IPv6. After an error they are as before.
func (l *LateUDP) SetPeers(peers []netip.AddrPort) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.ended:
		return net.ErrClosed
	case l.link != nil:
		return l.link.SetPeers(peers)
	case len(peers) == 0:
		return nil
	}
	all := netip.IPv4Unspecified()
	if peers[0].Addr().Unmap().Is6() {
		all = netip.IPv6Unspecified()
	}
	link, err := OpenUDP(UDPConfig{Listen: netip.AddrPortFrom(all, 0), Peers: peers, Buffer: l.buffer})
	if err != nil {
		return err
	}
	l.link = link
	close(l.opened)
	l.changed <- struct{}{}
	return nil
}

func (l *LateUDP) now() *UDPLink {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.link
}

// Send implements Link.
func (l *LateUDP) Send(frames []Frame) (int, error) {
	if link := l.now(); link != nil {
		return link.Send(frames)
	}
	select {
	case <-l.closed:
		return 0, net.ErrClosed
	default:
		return 0, fmt.Errorf("%w: no peer is reached by UDP", ErrDown)
	}
}

// Receive implements Link.
func (l *LateUDP) Receive(frames []Frame) (int, error) {
	select {
	case <-l.opened:
		return l.now().Receive(frames)
	case <-l.closed:
		return 0, net.ErrClosed
	}
}

// Status implements Link: a link that nobody needs yet is well.
func (l *LateUDP) Status() Status {
	if link := l.now(); link != nil {
		return link.Status()
	}
	select {
	case <-l.closed:
		return Status{Why: "closed"}
	default:
		return Status{Up: true, MTU: defaultUDP6} // what either family carries
	}
}

// Changed implements Link.
func (l *LateUDP) Changed() <-chan struct{} { return l.changed }

// Counters implements Link.
func (l *LateUDP) Counters() Counters {
	if link := l.now(); link != nil {
		return link.Counters()
	}
	return Counters{}
}

// Close implements Link.
func (l *LateUDP) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return nil
	}
	l.ended = true
	close(l.closed)
	if l.link == nil {
		return nil
	}
	return l.link.Close()
}
