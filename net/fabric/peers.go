package fabric

import (
	"cmp"
	"slices"
	"time"

	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/net/wire"
)

// SetPeers replaces the peers. The sessions of those that stay as they were go
// on; the others end, with their PeerLost, before SetPeers returns. After an
// error everything is as before.
func (c *Core) SetPeers(now time.Duration, peers []Peer) error {
	if err := c.cfg.validatePeers(peers); err != nil {
		return err
	}
	var kept, made []*peer
	known := make([]session.Peer, 0, len(peers))
	for _, p := range peers {
		known = append(known, session.Peer{SFU: p.SFU, Public: p.Public})
		if old := c.bySFU[p.SFU]; old != nil && old.Public == p.Public && old.Via == p.Via && old.OnlyA == p.OnlyA {
			old.Spare = p.Spare
			kept = append(kept, old)
			continue
		}
		fresh, err := c.newPeer(p)
		if err != nil {
			return err
		}
		made = append(made, fresh)
	}
	if err := c.responder.SetPeers(known); err != nil {
		return err
	}
	for _, p := range c.peers {
		if !slices.Contains(kept, p) {
			p.session.Close(now)
			c.touch(p)
		}
	}
	c.Flush(now)
	c.peers = append(kept, made...)
	slices.SortFunc(c.peers, func(a, b *peer) int { return cmp.Compare(a.SFU, b.SFU) })
	c.bySFU = make(map[uint16]*peer)
	c.bySlot = make(map[uint16]*peer)
	for _, p := range c.peers {
		c.bySFU[p.SFU] = p
		c.bySlot[p.slot] = p
	}
	for _, p := range made {
		c.tellLinks(now, p)
	}
	for port := range Port(Ports) {
		c.checkBuffers(port)
	}
	c.checkRedundancy()
	return nil
}

// newPeer makes the session for a peer; it starts at the next Advance.
func (c *Core) newPeer(p Peer) (*peer, error) {
	cfg := c.cfg.Session
	cfg.Peer = session.Peer{SFU: p.SFU, Public: p.Public}
	cfg.Slot = c.freeSlot()
	for n, port := range p.ports() {
		cfg.MTU[n] = c.mtu(port)
		cfg.Pacer[n] = &c.links[port].pacer
	}
	s, err := session.New(cfg)
	if err != nil {
		return nil, err
	}
	return &peer{Peer: p, by: p.ports(), session: s, slot: cfg.Slot}, nil
}

// freeSlot returns a slot number that was not used lately, so that late frames
// of a session that ended find nobody.
func (c *Core) freeSlot() uint16 {
	for {
		c.lastSlot++
		if c.lastSlot != 0 && c.bySlot[c.lastSlot] == nil {
			return c.lastSlot
		}
	}
}

// mtu returns the longest frame of a link, 0 if there is no such link. A NIC that
// has not come yet will carry at least the common size.
func (c *Core) mtu(port Port) int {
	l := &c.links[port]
	switch {
	case !l.there:
		return 0
	case l.mtu == 0:
		return session.BaseMTU
	}
	return min(l.mtu, wire.MaxFrame)
}
