package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/message"
)

// hub joins engines in memory: records arrive in order, after a millisecond, on a
// goroutine for each receiver.
type hub struct {
	mu     sync.Mutex
	ports  map[uint16]*port
	refuse atomic.Bool         // Send says ErrFull
	sent   func(record []byte) // if not nil, sees what is sent
	life   map[[2]uint16]int   // of the connection of a pair; odd while it is cut
}

func pair(a, b uint16) [2]uint16 { return [2]uint16{min(a, b), max(a, b)} }

// port is one engine's end, and its Component that stands for the Connector.
type port struct {
	hub   *hub
	sfu   uint16
	inlet Inlet
	in    chan delivery
}

type delivery struct {
	from   uint16
	lane   message.Lane
	record []byte
	life   int
	event  func(Inlet)
}

func (h *hub) port(sfu uint16) *port {
	h.mu.Lock()
	defer h.mu.Unlock()
	p := &port{hub: h, sfu: sfu, in: make(chan delivery, 1<<16)}
	h.ports[sfu] = p
	return p
}

// Send implements Transport.
func (p *port) Send(to uint16, lane message.Lane, record []byte) error {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	peer := p.hub.ports[to]
	if peer == nil {
		return errors.New("hub: no such SFU")
	}
	if p.hub.refuse.Load() {
		return ErrFull
	}
	life := p.hub.life[pair(p.sfu, to)]
	if life%2 == 1 {
		return errors.New("hub: cut")
	}
	if p.hub.sent != nil {
		p.hub.sent(record)
	}
	peer.in <- delivery{from: p.sfu, lane: lane, record: bytes.Clone(record), life: life}
	return nil
}

func (p *port) pump(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case d := <-p.in:
			time.Sleep(time.Millisecond)
			if d.event != nil {
				d.event(p.inlet)
			} else if p.hub.lives(p.sfu, d) {
				p.inlet.Deliver(d.from, d.lane, [][]byte{d.record})
			}
		}
	}
}

// lives reports whether the connection that d came by is still there.
func (h *hub) lives(sfu uint16, d delivery) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.life[pair(sfu, d.from)] == d.life
}

// change cuts the connection of two SFUs, or makes a new one. What is on the way is
// lost.
func (h *hub) change(a, b uint16) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.life[pair(a, b)]++
	up := h.life[pair(a, b)]%2 == 0
	for _, p := range [][2]uint16{{a, b}, {b, a}} {
		if port := h.ports[p[0]]; port != nil {
			port.in <- delivery{event: func(i Inlet) {
				if up {
					i.PeerUp(p[1], 1)
				} else {
					i.PeerLost(p[1])
				}
			}}
		}
	}
}

// connector is a Component that joins its engine to h.
func (h *hub) connector(sfu uint16) stub {
	return stub{name: "connector", start: func(s *stub) error {
		p := h.port(sfu)
		p.inlet = s.host.Connect(p)
		s.host.Go("pump", p.pump)
		return nil
	}, stop: func(*stub) { h.remove(sfu) }}
}

// join makes all see each other.
func (h *hub) join(incarnation uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for a, p := range h.ports {
		for b := range h.ports {
			if a != b {
				p.in <- delivery{event: func(i Inlet) { i.PeerUp(b, incarnation) }}
			}
		}
	}
}

// remove takes an SFU off: the others lose it.
func (h *hub) remove(sfu uint16) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.ports, sfu)
	for _, p := range h.ports {
		p.in <- delivery{event: func(i Inlet) { i.PeerLost(sfu) }}
	}
}

// tell tells all others of an SFU.
func (h *hub) tell(sfu uint16, event func(Inlet)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for n, p := range h.ports {
		if n != sfu {
			p.in <- delivery{event: event}
		}
	}
}

// settle lets what is on the way arrive.
func settle() { time.Sleep(20 * time.Millisecond); synctest.Wait() }

// cluster starts three engines with the same Components.
func cluster(t *testing.T, components func(sfu uint16) []stub, options ...option) (*hub, []*fixture) {
	h := &hub{ports: make(map[uint16]*port), life: make(map[[2]uint16]int)}
	var all []*fixture
	for sfu := uint16(1); sfu <= 3; sfu++ {
		cs := []func() (Component, error){made(h.connector(sfu))}
		for _, c := range components(sfu) {
			cs = append(cs, made(c))
		}
		self := func(c *Config) { c.SFU, c.Name, c.Type = sfu, fmt.Sprint("sfu", sfu), "core" }
		all = append(all, newFixture(t, cs, append([]option{self}, options...)...).begin())
	}
	h.join(1)
	settle()
	return h, all
}

// answering is a Component that says who it is.
func answering(sfu uint16, name string, d *message.ServiceDescriptor) stub {
	return stub{name: name, services: provides(d), serve: func(_ *stub, r message.Request) {
		b := raw(fmt.Sprintf("%s from %d", r.Envelope().Body, sfu))
		r.Reply(&b)
	}}
}

func endAll(all []*fixture) {
	for _, f := range all {
		f.end(nil)
	}
}
