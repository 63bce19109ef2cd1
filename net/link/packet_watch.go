package link

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	// reopenFirst and reopenMost bound the back-off when a socket cannot be
	// opened or netlink cannot be heard: quick for a NIC that is just being
	// set up, and no load when it is broken.
	reopenFirst = 100 * time.Millisecond
	reopenMost  = 5 * time.Second
	// netlinkBuffer is in bytes: a few thousand messages, for machines where
	// something makes and removes interfaces all the time.
	netlinkBuffer = 1 << 20
)

// nic is what the kernel says of a NIC. The zero nic is none.
type nic struct {
	index   int
	name    string
	mac     [6]byte
	mtu     int // bytes, at most MaxFrame
	speed   int // Mbit/s; 0 while unknown
	up      bool
	carrier bool
}

// forSocket returns what the packet libraries ask of an interface.
func (n nic) forSocket() *net.Interface {
	return &net.Interface{Index: n.index, Name: n.name, HardwareAddr: n.mac[:]}
}

// nicOf reads a NIC from netlink's words.
func nicOf(a *netlink.LinkAttrs) nic {
	n := nic{
		index:   a.Index,
		name:    a.Name,
		mtu:     min(a.MTU, MaxFrame),
		up:      a.RawFlags&unix.IFF_UP != 0,
		carrier: a.RawFlags&unix.IFF_LOWER_UP != 0 && a.RawFlags&unix.IFF_RUNNING != 0,
	}
	if len(a.HardwareAddr) == len(n.mac) {
		n.mac = [6]byte(a.HardwareAddr)
	}
	return n
}

// nicNow is nicOf with what netlink does not tell. It runs in the NIC's namespace.
func (p *Packet) nicNow(a *netlink.LinkAttrs) nic {
	n := nicOf(a)
	if n.carrier { // before, nothing is negotiated
		var err error
		if n.speed, err = speedOf(n.name); err != nil {
			p.cfg.Log.Warn("speed of the interface is not known", "interface", p.cfg.name(), "error", err)
		}
	}
	return n
}

// ours reports whether l is the configured NIC.
func (p *Packet) ours(l netlink.Link) bool {
	a := l.Attrs()
	if p.cfg.Interface != "" {
		return a.Name == p.cfg.Interface
	}
	permanent := a.PermHWAddr
	// What is stacked on a NIC (VLAN, bridge, bond) shares its address.
	if kind := l.Type(); len(permanent) == 0 && (kind == "device" || kind == "veth") {
		permanent = a.HardwareAddr
	}
	return bytes.Equal(permanent, p.cfg.MAC)
}

// look reads the NIC's state; the zero nic if there is none.
func (p *Packet) look() (nic, error) {
	var found nic
	err := inNamespace(p.cfg.Namespace, func() error {
		var links []netlink.Link
		var err error
		for range lookTries {
			links, err = netlink.LinkList()
			if !errors.Is(err, netlink.ErrDumpInterrupted) {
				break
			}
		}
		if err != nil {
			return fmt.Errorf("link: list of interfaces: %w", err)
		}
		for _, l := range links {
			if p.ours(l) {
				found = p.nicNow(l.Attrs())
			}
		}
		return nil
	})
	return found, err
}

// lookTries bounds how often the list of interfaces is asked for when it changes
// while it is read.
const lookTries = 10

// watch follows the NIC until the link is closed.
func (p *Packet) watch() {
	wait := backoff{}
	for {
		updates, cancel, err := p.subscribe()
		if err == nil {
			// What happened before the subscription is seen by looking after it.
			var now nic
			if now, err = p.look(); err == nil {
				p.become(now)
				err = p.follow(updates, &wait)
			}
			cancel()
		}
		if err == nil {
			return
		}
		p.cfg.Log.Warn("netlink lost", "interface", p.cfg.name(), "error", err)
		select {
		case <-p.closing:
			return
		case <-time.After(wait.next()):
		}
	}
}

// subscribe asks netlink for what happens to all interfaces from now on. cancel
// ends it and returns when its goroutines no longer send.
func (p *Packet) subscribe() (updates chan netlink.LinkUpdate, cancel func(), err error) {
	updates = make(chan netlink.LinkUpdate, BatchSize)
	end := make(chan struct{})
	err = inNamespace(p.cfg.Namespace, func() error {
		return netlink.LinkSubscribeWithOptions(updates, end, netlink.LinkSubscribeOptions{
			ReceiveBufferSize: netlinkBuffer,
		})
	})
	cancel = func() {
		close(end)
		for range updates {
		}
	}
	if err != nil {
		close(end)
	}
	return updates, cancel, err
}

// follow acts on updates and keeps a socket open while there is a NIC. It
// returns nil when the link is closed.
func (p *Packet) follow(updates <-chan netlink.LinkUpdate, wait *backoff) error {
	var retry <-chan time.Time
	for {
		s, _, _ := p.current()
		if s == nil && p.nic.index != 0 && retry == nil {
			if err := p.reopen(); err == nil {
				p.count.reopened.Add(1)
			} else {
				p.cfg.Log.Warn("packet socket not opened", "interface", p.cfg.name(), "error", err)
				retry = time.After(wait.next())
			}
		}
		select {
		case <-p.closing:
			return nil
		case u, ok := <-updates:
			if !ok {
				return errors.New("link: subscription ended")
			}
			// Bridges tell of their ports in the same words.
			if u.Family == unix.AF_BRIDGE {
				continue
			}
			before := p.nic.index
			p.observe(u.Header.Type, u.Link)
			if p.nic.index != before {
				// Another NIC deserves a try at once.
				retry, *wait = nil, backoff{}
			}
		case <-p.broken:
			p.closeFailing()
			retry = time.After(wait.next())
		case <-retry:
			retry = nil
		}
	}
}

// observe takes in what netlink says of one interface.
func (p *Packet) observe(kind uint16, l netlink.Link) {
	switch {
	case kind == unix.RTM_NEWLINK && p.ours(l):
		// It is told each time that the carrier comes, and so after each negotiation.
		var now nic
		if err := inNamespace(p.cfg.Namespace, func() error {
			now = p.nicNow(l.Attrs())
			return nil
		}); err == nil { // otherwise the namespace is gone, and the NIC with it
			p.become(now)
		}
	case l.Attrs().Index == p.nic.index:
		// It was ours until it went, or got another name.
		p.become(nic{})
	}
}

// become notes what the NIC is now. Only watch calls it, so it may read p.nic
// without the lock.
func (p *Packet) become(now nic) {
	old := p.nic
	if now == old {
		return
	}
	p.mu.Lock()
	s := p.socket
	p.nic = now
	p.mu.Unlock()
	if now.index != old.index {
		p.giveUp(s)
		p.closeFailing()
	}
	token(p.changed)
	p.cfg.Log.Info("interface changed", "interface", p.cfg.name(),
		"index", now.index, "up", now.up, "carrier", now.carrier, "mtu", now.mtu, "speed", now.speed)
}

// transient reports whether an error of a packet socket says nothing about its
// future: the NIC was taken down and may come up again under the same socket.
func transient(err error) bool {
	return errors.Is(err, unix.ENETDOWN) || errors.Is(err, unix.ENOBUFS)
}

// backoff doubles from reopenFirst to reopenMost.
type backoff struct{ last time.Duration }

func (b *backoff) next() time.Duration {
	b.last = min(max(2*b.last, reopenFirst), reopenMost)
	return b.last
}
