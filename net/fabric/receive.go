package fabric

import (
	"errors"
	"time"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/net/wire"
)

// Dropped counts frames that reached no session, by reason. What sessions drop is
// in their own statistics.
type Dropped struct {
	Malformed    uint64 // no frame of ours, or damaged
	OtherCluster uint64
	OtherSFU     uint64 // for somebody else: a handshake broadcast to all
	NoSession    uint64 // for a session that we do not have, or have elsewhere
	Initiation   uint64 // an initiation that is not authentic or from no peer
	Copy         uint64 // second copies of an initiation, from the other network
	RateLimited  uint64 // initiations beyond what is opened in a second
}

// Receive takes frames that arrived by a link. They are decrypted in place and are
// the caller's again on return.
func (c *Core) Receive(now time.Duration, port Port, frames []link.Frame) {
	for i := range frames {
		c.receive(now, port, &frames[i], false)
	}
}

// ReceiveStray is Receive for frames that arrived by the link's NIC and were sent for
// another network. They serve as long as nothing better arrives, but nobody is answered
// where they came from.
func (c *Core) ReceiveStray(now time.Duration, port Port, frames []link.Frame) {
	for i := range frames {
		c.receive(now, port, &frames[i], true)
	}
}

func (c *Core) receive(now time.Duration, port Port, f *link.Frame, stray bool) {
	h, err := wire.ParseHeader(f.Data)
	switch {
	case err != nil:
		c.dropped.Malformed++
		return
	case h.Cluster != c.cfg.Session.ClusterHash:
		c.dropped.OtherCluster++
		return
	case h.SFU != c.cfg.Session.Local:
		c.dropped.OtherSFU++
		return
	case h.Type == wire.TypeInitiation:
		c.initiation(now, port, f)
		return
	}
	p := c.bySlot[h.Slot]
	if p == nil {
		c.dropped.NoSession++
		return
	}
	network, ok := p.network(port)
	if !ok {
		c.dropped.NoSession++
		return
	}
	// Only what is authentic may say where the peer is.
	if p.session.Receive(now, network, f.Data) && !stray {
		p.addr[network] = f.Addr
	}
	c.touch(p)
}

// initiation finds the peer that wants a handshake.
func (c *Core) initiation(now time.Duration, port Port, f *link.Frame) {
	in, err := c.responder.Open(now, f.Data)
	switch {
	case err == nil:
	case errors.Is(err, session.ErrCopy):
		c.dropped.Copy++
		return
	case errors.Is(err, session.ErrRateLimited):
		c.dropped.RateLimited++
		return
	default:
		c.dropped.Initiation++
		return
	}
	p := c.bySFU[in.Peer]
	if p == nil {
		c.dropped.Initiation++
		return
	}
	if network, ok := p.network(port); ok && p.Via == ViaUDP {
		p.asked[network] = f.Addr
	}
	p.session.Accept(now, in)
	c.touch(p)
}
