package fabric

import (
	"errors"
	"time"

	"virtualservicesinc.com/net/link"
)

// pollLinks gives the links to a poller, as far as it can wait for them.
func (f *Fabric) pollLinks() error {
	p, err := link.NewPoller()
	if err != nil {
		return err
	}
	for port, l := range f.cfg.Links {
		if l == nil {
			continue
		}
		if s, ok := l.(straying); ok && s.Stray() != nil {
			f.stray = append(f.stray, Port(port))
		}
		polled, err := p.Add(l)
		switch {
		case err != nil:
			return errors.Join(err, p.Close())
		case polled:
			f.polled[port] = l.(link.Pollable)
			f.poller = p
		default:
			f.alone = append(f.alone, Port(port))
		}
	}
	if f.poller == nil {
		return p.Close()
	}
	f.frames = newFrames(link.BatchSize)
	return nil
}

// straying is a link whose NIC may hear what was sent for another network.
type straying interface {
	// Stray is closed with the link; nil if nobody listens.
	Stray() link.Link
}

// newFrames is what one system call is received into.
func newFrames(n int) []link.Frame {
	frames := make([]link.Frame, n)
	for i := range frames {
		frames[i].Data = make([]byte, link.MaxFrame)
	}
	return frames
}

// drainLinks takes in what has arrived by the links of the poller, and does what is due. Each batch is
// worked off before the next one is looked for: what came first by one network is
// answered while its copy is still on its way by the other, and the copy needs no
// wake-up of its own.
func (f *Fabric) drainLinks() {
	some := false
	for more := true; more; {
		more = false
		for port, l := range f.polled {
			if l == nil {
				continue
			}
			n, left := l.Poll(f.frames)
			if n > 0 {
				f.arrive(Port(port), f.frames[:n])
				some = true
			}
			more = more || left
		}
	}
	if !some { // otherwise that was done with what arrived
		f.fire()
	}
}

// read takes in what arrives by one link, until that is closed.
func (f *Fabric) read(l link.Link, frames []link.Frame, take func(frames []link.Frame)) {
	for {
		n, err := l.Receive(frames)
		if err != nil {
			return // only ever because the link was closed
		}
		take(frames[:n])
	}
}

// goneAstray is arrive for what a NIC heard of another network.
func (f *Fabric) goneAstray(port Port, frames []link.Frame) {
	f.mu.Lock()
	if !f.ended {
		clock := time.Now()
		f.core.ReceiveStray(clock.Sub(f.origin), port, frames)
		f.stepAtLocked(clock)
	}
	f.mu.Unlock()
	f.look()
}

// arrive works on what one system call brought.
func (f *Fabric) arrive(port Port, frames []link.Frame) {
	f.mu.Lock()
	if !f.ended {
		clock := time.Now()
		f.core.Receive(clock.Sub(f.origin), port, frames)
		f.stepAtLocked(clock)
	}
	f.mu.Unlock()
	f.look()
}
