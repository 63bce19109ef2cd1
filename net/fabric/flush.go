package fabric

import (
	"time"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/net/wire"
)

// maxRounds bounds how often one Flush collects records and events: a connection
// that ends and one that begins take two rounds, and what comes later waits for
// the next frame or timer.
const maxRounds = 4

// Flush delivers the records and events of all sessions that something was done
// to, and transmits what they have to send.
func (c *Core) Flush(now time.Duration) {
	for range maxRounds {
		c.deliver()
		if !c.events() {
			break
		}
	}
	c.Transmit(now)
}

// Transmit is the part of Flush that calls neither Deliver nor Event: for records that
// were sent since the last Flush, when nothing was received and no timer has run.
func (c *Core) Transmit(now time.Duration) {
	admitted := false
	for _, p := range c.peers {
		// Probes leave with whatever leaves shortly before them, and all in one go: each
		// saves a wake-up here, and another where they arrive.
		if p.early <= now {
			p.session.Early(now)
			c.touch(p)
		}
		// Who keeps frames back for a NIC that has room again has a share of it: those to
		// which something was just done are not to take all.
		if p.held && p.session.Held() <= now {
			c.touch(p)
			admitted = true
		}
	}
	if admitted {
		c.turn++
	}
	c.pump(now)
	for _, p := range c.touched {
		p.touched = false
		p.next, p.early = p.session.NextTimeout(), p.session.EarlyFrom()
		p.held = p.session.Held() != never
	}
	c.touched, c.flushed = c.flushed[:0], c.touched
}

// deliver hands over the records that arrived, all sessions' urgent lanes first.
func (c *Core) deliver() {
	c.batch = c.batch[:0]
	for lane := range Lane(lanes) {
		for _, p := range c.touched {
			for _, data := range p.session.Take(lane) {
				c.batch = append(c.batch, Record{Peer: p.SFU, Lane: lane, Data: data})
			}
		}
	}
	if len(c.batch) > 0 {
		c.cfg.Deliver(c.batch)
		clear(c.batch)
	}
}

// events hands over what happened to the sessions and reports whether anything did.
func (c *Core) events() bool {
	some := false
	// Event may touch more sessions by sending to them: they are seen too.
	for i := 0; i < len(c.touched); i++ {
		p := c.touched[i]
		for _, e := range p.session.Events() {
			some = true
			switch e.Kind {
			case session.NetworkDown:
				// The peer may have another NIC now: it is looked for.
				p.addr[e.Network] = link.Addr{}
			case session.Lost:
				p.addr = [2]link.Addr{}
			}
			c.emit(fromSession(p.SFU, e))
		}
	}
	return some
}

// turnFrames is how many frames a session sends before it is another's turn: fewer than a
// NIC that was full takes at once, so that several have a share of that.
const turnFrames = 8

// pump transmits what the touched sessions have to send, some frames of each in turn,
// so that one with much to send does not keep the others waiting. Where they wait for a
// NIC, each time another one is first.
func (c *Core) pump(now time.Duration) {
	for more := true; more; {
		more = false
		for i := range c.touched {
			p := c.touched[(c.turn+i)%len(c.touched)]
			for range turnFrames {
				if !c.frame(now, p) {
					break
				}
				more = true
			}
		}
	}
	c.flushFrames()
}

// shoutEvery is the time between two probes of a network to a peer that are broadcast.
const shoutEvery = session.CrossWiredAgain / 2

// frame builds and queues one frame of a session; it returns false when the
// session has nothing to send.
func (c *Core) frame(now time.Duration, p *peer) bool {
	buf := c.buffers[c.used]
	n, on := p.session.Next(now, buf)
	if n == 0 {
		return false
	}
	data := buf[:n]
	c.used++
	h, _ := wire.ParseHeader(data) // our own frame
	for i, port := range p.by {
		network := Network(i)
		if !on.Has(network) || !c.links[port].there {
			continue
		}
		// What provoked a handshake frame may be a replay from elsewhere.
		to := p.addr[network]
		if h.Type == wire.TypeData && to.IsValid() && p.session.Probing() && now >= p.shout[network] {
			// A switch brings what is addressed to where it belongs, however the networks
			// are joined; a broadcast goes astray.
			to, p.shout[network] = link.Broadcast, now+shoutEvery
		} else if h.Type != wire.TypeData || !to.IsValid() {
			to = link.Broadcast
			// By UDP a peer may have no address that was configured here. A replay only
			// brings an answer to who made it, which means nothing to it.
			if p.asked[network].IsValid() {
				c.out[port] = append(c.out[port], link.Frame{Addr: p.asked[network], Data: data})
			}
		}
		c.out[port] = append(c.out[port], link.Frame{Addr: to, Data: data})
	}
	if c.used == len(c.buffers) {
		c.flushFrames()
	}
	return true
}

// flushFrames hands the queued frames to the links.
func (c *Core) flushFrames() {
	for port := range c.out {
		if len(c.out[port]) > 0 {
			c.transmit(Port(port), c.out[port])
			c.out[port] = c.out[port][:0]
		}
	}
	c.used = 0
}
