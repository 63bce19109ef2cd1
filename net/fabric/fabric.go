// Package fabric joins an SFU to the others: the sessions of package session,
// bound to the links of package link and to a clock.
//
//	f, err := fabric.New(fabric.Config{
//		Session: session.Config{Local: 1, Key: key, PSK: psk, ClusterHash: hash, Incarnation: n, Rand: rand.Reader},
//		Peers:   []fabric.Peer{{SFU: 2, Public: theirs}},
//		Links:   [3]link.Link{fabric.PortA: a, fabric.PortB: b},
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
// One goroutine, Run's, owns all sessions ([Core]), and everything crosses to it in
// batches. A reader per link hands over what one system call brought. Send copies
// records into the outbox, a list that the loop empties in one go; a sender wakes
// the loop only when it sleeps.
//
// (Tried: letting the reader, and the sender of a lone record, work on the sessions
// themselves under a lock. Between two processes the round trip was the same within
// the noise: a goroutine that hands work over and then waits costs little more than
// a switch on its own thread.)
package fabric

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/net/link"
)

// Fabric is a Core on real links.
type Fabric struct {
	cfg     Config
	origin  time.Time
	outbox  outbox
	wake    chan struct{} // a token: the outbox holds records
	asleep  atomic.Bool   // the loop waits, or is about to: it must be woken
	batches chan batch
	asks    chan func(now time.Duration)
	ended   chan struct{} // closed when the loop has ended

	// Owned by the loop.
	core    *Core
	timer   *time.Timer
	armed   time.Duration          // when timer fires; never if it does not
	given   map[uint16]*[lanes]int // bytes of records moved from the outbox and not published
	changed [ports]<-chan struct{} // of the links
}

// New returns a fabric that does nothing before Run.
func New(cfg Config) (*Fabric, error) {
	f := &Fabric{
		cfg:     cfg,
		origin:  time.Now(),
		wake:    make(chan struct{}, 1),
		batches: make(chan batch, ports*readerSets),
		asks:    make(chan func(time.Duration)),
		ended:   make(chan struct{}),
		armed:   never,
		given:   make(map[uint16]*[lanes]int),
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
	for port, l := range f.cfg.Links {
		if l != nil {
			readers.Go(func() { f.read(Port(port), l) })
		}
	}
	f.loop(ctx)
	close(f.ended)
	var faults []error
	for _, l := range f.cfg.Links {
		if l != nil {
			faults = append(faults, l.Close())
		}
	}
	readers.Wait()
	return errors.Join(faults...)
}
