// Package fabric joins an SFU to the others: the sessions of package session,
// bound to the links of package link and to a clock.
//
//	f, err := fabric.New(fabric.Config{
//		Session: session.Config{Local: 1, Key: key, PSK: psk, ClusterHash: hash, Incarnation: n, Rand: rand.Reader},
//		Peers:   []fabric.Peer{{SFU: 2, Public: theirs}},
//		Links:   fabric.Links{fabric.PortA: a, fabric.PortB: b},
//		Deliver: func(batch []fabric.Record) { … },
//		Event:   func(e fabric.Event) { … },
//	})
//	go f.Run(ctx)
//	err = f.Send(2, fabric.LaneRequest, record)
//
// What a lane takes arrives at the peer once and in order, or the peer is lost:
// then PeerLost says so, once, and everything under way is gone. Nobody is told
// where its peers are: handshakes are broadcast on every network, and an address
// is learned from frames that a session has authenticated, and forgotten when
// the network to that peer goes down.
//
// All sessions are one state machine, [Core], behind one lock: whoever has work for
// it does the work, instead of handing it to somebody. What one system call brought is
// opened, delivered and answered on the goroutine that received it; a record that is
// sent alone leaves on its sender's goroutine. Only where records follow each other
// closely, and for timers, does Run's own goroutine work, so that many records make few
// frames. Every hand-over that is saved is a thread that is not woken: on an idle
// machine that costs more than sealing a frame.
//
// All sessions share the queues of the NICs. Where the speed of one is known, frames of the
// request and bulk lanes are spread over time, so that a control or commit record finds a
// millisecond of them in the queue at most, and the NIC refuses none; see session.Pacer.
// The peers that wait for a NIC take turns.
//
// Deliver and Event are called with that lock held, by one goroutine at a time, and
// never from Send.
package fabric

import (
	"context"
	"errors"
	"sync"
	"time"

	"virtualservicesinc.com/net/link"
)

// Fabric is a Core on real links.
type Fabric struct {
	cfg    Config
	origin time.Time
	outbox outbox
	wake   chan struct{} // a token: the outbox holds records, and it is the loop's turn
	asks   chan func(now time.Duration)
	closed chan struct{} // closed when the loop has ended
	poller *link.Poller  // nil: there is no link that it can wait for
	timer  *time.Timer   // used when there is no poller, which has a timer
	alone  []Port        // the links that it cannot wait for
	stray  []Port        // those whose NICs may hear another network

	// mu is held by whoever works on what follows. Who lets go of it looks into the
	// outbox afterwards: a sender that finds it taken goes away.
	mu    sync.Mutex
	core  *Core
	armed time.Duration          // when the timer fires; never if it does not
	given map[uint16]*[lanes]int // bytes of records moved from the outbox and not published
	ended bool                   // nothing is received any more

	// Of the loop, and of the poller's goroutine.
	changed [Ports]<-chan struct{} // of the links
	polled  [Ports]link.Pollable
	frames  []link.Frame
}

// New returns a fabric that does nothing before Run.
func New(cfg Config) (*Fabric, error) {
	f := &Fabric{
		cfg:    cfg,
		origin: time.Now(),
		wake:   make(chan struct{}, 1),
		asks:   make(chan func(time.Duration)),
		closed: make(chan struct{}),
		armed:  never,
		given:  make(map[uint16]*[lanes]int),
	}
	event := cfg.Event
	if event != nil {
		cfg.Event = func(e Event) {
			if e.Kind == PeerUp || e.Kind == PeerLost {
				f.outbox.setUp(e.Peer, e.Kind == PeerUp, f.core.bySFU[e.Peer].session)
			}
			event(e)
		}
	}
	var err error
	f.core, err = NewCore(cfg, f.transmit)
	if err != nil {
		return nil, err
	}
	if err := f.pollLinks(); err != nil {
		return nil, err
	}
	f.timer = time.NewTimer(time.Hour)
	f.timer.Stop()
	f.notePeers(cfg.Peers)
	return f, nil
}

// now is the time since New, by the monotonic clock.
func (f *Fabric) now() time.Duration { return time.Since(f.origin) }

// transmit is the core's way out. Links count what they lose; to the sessions it
// is loss like any other, and a fault of one link is none of the other's.
func (f *Fabric) transmit(port Port, frames []link.Frame) {
	f.cfg.Links[port].Send(frames)
}

// Run works until ctx ends, then says goodbye to the peers and closes the links.
// It returns when all its goroutines have ended. It is called once.
func (f *Fabric) Run(ctx context.Context) error {
	var readers sync.WaitGroup
	for _, port := range f.alone {
		l := f.cfg.Links[port]
		readers.Go(func() { f.read(l, newFrames(link.BatchSize), func(frames []link.Frame) { f.arrive(port, frames) }) })
	}
	for _, port := range f.stray {
		l := f.cfg.Links[port].(straying).Stray()
		readers.Go(func() { f.read(l, newFrames(1), func(frames []link.Frame) { f.goneAstray(port, frames) }) })
	}
	if f.poller != nil {
		readers.Go(func() { f.poller.Run(f.drainLinks) })
	}
	f.loop(ctx)
	close(f.closed)
	var faults []error
	if f.poller != nil {
		faults = append(faults, f.poller.Close())
	}
	for _, l := range f.cfg.Links {
		if l != nil {
			faults = append(faults, l.Close())
		}
	}
	readers.Wait()
	return errors.Join(faults...)
}
