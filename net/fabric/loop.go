package fabric

import (
	"context"
	"time"
)

// drainRounds bounds how often one step empties the outbox: what is sent from
// Deliver leaves in the same step, but a flood of senders must not keep the loop
// from what arrives.
const drainRounds = 2

// loop owns the core until ctx ends.
func (f *Fabric) loop(ctx context.Context) {
	for port := range Port(ports) {
		f.look(port)
	}
	for f.step(); f.wait(ctx); f.step() {
	}
	f.outbox.close()
	f.step() // what was taken before is still sent
	f.core.Close(f.now())
	f.core.Flush(f.now())
	f.timer.Stop()
}

// wait waits for something to do and takes it in; it returns false when ctx has
// ended.
func (f *Fabric) wait(ctx context.Context) bool {
	// A sender that sees the loop awake leaves its record to the look that
	// comes after this line.
	f.asleep.Store(true)
	if f.outbox.pending() {
		f.asleep.Store(false)
		return true
	}
	var (
		came batch
		ask  func(now time.Duration)
		port = Port(ports)
	)
	select {
	case <-ctx.Done():
		return false
	case came = <-f.batches:
	case <-f.wake:
	case <-f.timer.C:
		f.armed = never
	case ask = <-f.asks:
	case <-f.changed[PortA]:
		port = PortA
	case <-f.changed[PortB]:
		port = PortB
	case <-f.changed[PortMachine]:
		port = PortMachine
	}
	f.asleep.Store(false)
	switch {
	case came.frames != nil:
		f.arrive(came)
		// The other network's copies are often there too.
		for range len(f.batches) {
			f.arrive(<-f.batches)
		}
	case ask != nil:
		ask(f.now())
	case port < ports:
		f.look(port)
	}
	return true
}

// arrive takes in what a reader brought and gives it the buffers back.
func (f *Fabric) arrive(b batch) {
	f.core.Receive(f.now(), b.port, b.frames)
	b.home <- b.frames
}

// look tells the core a link's status.
func (f *Fabric) look(port Port) {
	l := f.cfg.Links[port]
	if l == nil {
		return
	}
	f.changed[port] = l.Changed()
	f.core.SetLink(f.now(), port, l.Status())
}

// step runs the timers that are due, gives the records of the outbox to their
// sessions, and what the sessions have to its owners and to the links.
func (f *Fabric) step() {
	clock := time.Now()
	now := clock.Sub(f.origin)
	f.core.Advance(now, clock.UnixNano())
	for round := 0; ; round++ {
		f.drain(now)
		f.core.Flush(now)
		f.publish()
		if round+1 == drainRounds || !f.outbox.pending() {
			break
		}
	}
	if next := f.core.NextTimeout(); next < f.armed {
		f.armed = next
		f.timer.Reset(next - now)
	}
}

// drain gives the records of the outbox to their sessions.
func (f *Fabric) drain(now time.Duration) {
	records, bytes := f.outbox.take()
	for i := range records {
		r := &records[i]
		data := bytes[:r.size]
		bytes = bytes[r.size:]
		given := f.given[r.to]
		if given == nil {
			continue // the peer is gone, and so is its account
		}
		given[r.lane] += r.size + recordHeader
		if f.outbox.current(r) {
			// It fails only if the peer was lost and its event is still to come.
			f.core.Send(now, r.to, r.lane, data)
		}
		f.core.touch(f.core.bySFU[r.to])
	}
}

// publish tells senders how much room there is now.
func (f *Fabric) publish() {
	for _, p := range f.core.flushed {
		if given := f.given[p.sfu]; given != nil {
			f.outbox.publish(p.sfu, p.session, *given)
			*given = [lanes]int{}
		}
	}
}

// ask runs fn on the loop's goroutine and waits for it.
func (f *Fabric) ask(fn func(now time.Duration)) error {
	done := make(chan struct{})
	select {
	case f.asks <- func(now time.Duration) {
		fn(now)
		close(done)
	}:
		<-done
		return nil
	case <-f.ended:
		return ErrClosed
	}
}
