package fabric

import (
	"context"
	"log/slog"
	"time"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/wire"
)

// SetLink tells the core the status of a link. A link counts as up until then.
func (c *Core) SetLink(now time.Duration, port Port, s link.Status) {
	l := &c.links[port]
	if !l.there {
		return
	}
	l.why = s.Small
	c.checkBuffers(port)
	l.mtu = s.MTU
	l.pacer.SetSpeed(s.Speed)
	if s.Up != l.up {
		l.up = s.Up
		kind := LinkDown
		if s.Up {
			kind = LinkUp
		}
		c.emit(Event{Kind: kind, Port: port, Why: s.Why})
		for _, p := range c.peers {
			c.tellLinks(now, p)
		}
	}
	c.checkRedundancy()
}

// tellLinks tells a session the state of its links.
func (c *Core) tellLinks(now time.Duration, p *peer) {
	for n, port := range p.by {
		if c.links[port].there {
			p.session.LinkState(now, Network(n), c.links[port].up)
		}
	}
	c.touch(p)
}

// checkBuffers tells once that the buffers of a link are smaller than asked for, if
// there is a peer that it reaches.
func (c *Core) checkBuffers(port Port) {
	l := &c.links[port]
	if l.why == "" || l.small {
		return
	}
	for _, p := range c.peers {
		if _, ok := p.network(port); ok {
			l.small = true
			c.emit(Event{Kind: BuffersSmall, Port: port, Why: l.why})
			return
		}
	}
}

// checkRedundancy raises or clears the standing condition that this SFU has
// fewer than two networks to reach some other machine by.
func (c *Core) checkRedundancy() {
	redundant := true
	for _, p := range c.peers {
		if p.Via != ViaMachine && !p.Spare {
			redundant = redundant && !p.OnlyA && c.links[p.Via.Port(A)].up && c.links[p.Via.Port(B)].up
		}
	}
	if redundant == c.redundant {
		return
	}
	c.redundant = redundant
	kind := NotRedundant
	if redundant {
		kind = Redundant
	}
	c.emit(Event{Kind: kind})
}

// emit logs an event and hands it on.
func (c *Core) emit(e Event) {
	level := slog.LevelInfo
	switch e.Kind {
	case PeerLost, PeerSuspect, PathDown, CrossWired, LinkDown, NotRedundant, BuffersSmall:
		level = slog.LevelWarn
	}
	if e.Again {
		level = slog.LevelDebug
	}
	c.log.Log(context.Background(), level, "interconnect", "event", e.String())
	c.cfg.Event(e)
}

// Match returns the filter for the packet links of an SFU: it keeps the frames of other
// clusters on the same wire, and broadcasts for other SFUs, out of the sockets.
func Match(clusterHash uint32, sfu uint16) link.Match {
	return link.Match{Offset: wire.ClusterOffset, Value: clusterHash, Behind: sfu}
}
