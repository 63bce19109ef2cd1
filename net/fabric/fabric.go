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
// # The turn
//
// All sessions are one state machine ([Core]) and one goroutine at a time works
// on it: the one that has the turn. A reader that has received a batch of frames
// takes the turn and works on them itself; so does Run's goroutine when a timer
// is due. Nothing is handed from goroutine to goroutine on the way in, which
// costs more here than the work itself.
//
// Send copies the record into the outbox, a list that whoever has the turn
// empties in one go; if nobody has it, Run's goroutine is woken. Under load many
// records cross in one batch. Only when the lane is idle and the turn is free
// does the sender take it and transmit by itself: that is a lone request, for
// which every wake-up counts.
package fabric

import (
	"context"
	"errors"
	"net"
	"sync"
	"time"

	"virtualservicesinc.com/net/link"
)

// Fabric is a Core on real links.
type Fabric struct {
	cfg    Config
	origin time.Time
	wake   chan struct{} // a token: the outbox holds records
	outbox outbox

	// turn guards all below. It is never held over anything that waits.
	turn  sync.Mutex
	core  *Core
	timer *time.Timer
	armed time.Duration // when timer fires; never if it does not
	given map[uint16]*[lanes]int
	over  bool
}

// New returns a fabric that does nothing before Run.
func New(cfg Config) (*Fabric, error) {
	f := &Fabric{
		cfg:    cfg,
		origin: time.Now(),
		wake:   make(chan struct{}, 1),
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
	f.drive(ctx)
	f.stop()
	var faults []error
	for _, l := range f.cfg.Links {
		if l != nil {
			faults = append(faults, l.Close())
		}
	}
	readers.Wait()
	return errors.Join(faults...)
}

// read works on what arrives by one link until it is closed.
func (f *Fabric) read(port Port, l link.Link) {
	frames := make([]link.Frame, link.BatchSize)
	for i := range frames {
		frames[i].Data = make([]byte, link.MaxFrame)
	}
	for {
		n, err := l.Receive(frames)
		if errors.Is(err, net.ErrClosed) {
			return
		}
		f.take(func(now time.Duration) { f.core.Receive(now, port, frames[:n]) })
	}
}

// drive runs the timers, follows the links and empties the outbox.
func (f *Fabric) drive(ctx context.Context) {
	var changed [ports]<-chan struct{}
	look := func(port Port) {
		if l := f.cfg.Links[port]; l != nil {
			changed[port] = l.Changed()
			s := l.Status()
			f.take(func(now time.Duration) { f.core.SetLink(now, port, s) })
		}
	}
	for port := range Port(ports) {
		look(port)
	}
	for {
		f.take(func(now time.Duration) {
			f.armed = never
			f.core.Advance(now, time.Now().UnixNano())
		})
		select {
		case <-ctx.Done():
			return
		case <-f.timer.C:
		case <-f.wake:
		case <-changed[PortA]:
			look(PortA)
		case <-changed[PortB]:
			look(PortB)
		case <-changed[PortMachine]:
			look(PortMachine)
		}
	}
}

// stop ends the sessions.
func (f *Fabric) stop() {
	f.take(func(now time.Duration) {
		f.drain(now)
		f.core.Flush(now)
		f.over = true
		f.outbox.close()
		f.core.Close(now)
	})
	f.turn.Lock()
	f.timer.Stop()
	f.turn.Unlock()
}
