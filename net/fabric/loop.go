package fabric

import (
	"context"
	"time"
)

// drainRounds bounds how often one step empties the outbox: what is sent from
// Deliver leaves in the same step, but a flood of senders must not keep the loop
// from what arrives.
const drainRounds = 2

// drainBytes bounds what one of these takes from the outbox, in bytes: some hundred
// microseconds of copying and sealing, during which nothing that arrived is looked at.
const drainBytes = 256 << 10

// loop works when nobody else does, until ctx ends: on timers, on records that follow
// each other closely, on links that change.
func (f *Fabric) loop(ctx context.Context) {
	f.mu.Lock()
	for port := range Port(Ports) {
		f.statusLocked(port)
	}
	f.stepLocked()
	f.mu.Unlock()
	for f.wait(ctx) {
	}
	f.outbox.close()
	f.mu.Lock()
	defer f.mu.Unlock()
	for f.stepLocked(); f.outbox.pending(); {
		f.stepLocked() // what was taken before is still sent
	}
	f.core.Close(f.now())
	f.core.Flush(f.now())
	f.ended = true
	f.timer.Stop()
}

// wait waits for something to do and does it; it returns false when ctx has ended.
func (f *Fabric) wait(ctx context.Context) bool {
	var (
		ask  func(now time.Duration)
		port = Port(Ports)
	)
	if !f.outbox.pending() {
		select {
		case <-ctx.Done():
			return false
		case <-f.wake:
		case <-f.timer.C:
		case ask = <-f.asks:
		case <-f.changed[PortA]:
			port = PortA
		case <-f.changed[PortB]:
			port = PortB
		case <-f.changed[PortMachine]:
			port = PortMachine
		case <-f.changed[PortUDPA]:
			port = PortUDPA
		case <-f.changed[PortUDPB]:
			port = PortUDPB
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if ask != nil {
		ask(f.now())
	}
	if port < Ports {
		f.statusLocked(port)
	}
	f.stepLocked()
	return true
}

// look sees to it that records are sent that came while the lock was held. It is
// called by everybody who let go of the lock, but for the loop, which looks anyway.
func (f *Fabric) look() {
	if f.outbox.pending() {
		f.wakeLoop()
	}
}

func (f *Fabric) wakeLoop() {
	select {
	case f.wake <- struct{}{}:
	default:
	}
}

// statusLocked tells the core a link's status. Only the loop calls it.
func (f *Fabric) statusLocked(port Port) {
	l := f.cfg.Links[port]
	if l == nil {
		return
	}
	f.changed[port] = l.Changed()
	f.core.SetLink(f.now(), port, l.Status())
}

// stepLocked runs the timers that are due, gives the records of the outbox to their
// sessions, and what the sessions have to its owners and to the links.
func (f *Fabric) stepLocked() { f.stepAtLocked(time.Now()) }

// stepAtLocked is stepLocked for who has just read the clock.
func (f *Fabric) stepAtLocked(clock time.Time) {
	now := clock.Sub(f.origin)
	if f.armed <= now {
		f.armed = never // it has fired, or is about to, for what is done here
	}
	f.core.Advance(now, clock.UnixNano())
	for round := 0; ; round++ {
		f.drainLocked(now)
		f.core.Flush(now)
		f.publishLocked()
		if round+1 == drainRounds || !f.outbox.pending() {
			break
		}
	}
	f.armLocked(now)
}

// transmitLocked is the part of stepLocked that a sender may do: nothing is delivered
// and no event told, because it may hold locks that those wait for.
func (f *Fabric) transmitLocked(now time.Duration) {
	f.drainLocked(now)
	f.core.Transmit(now)
	f.publishLocked()
	f.armLocked(now)
}

// soon is how shortly before it fires the timer is put off, if there is nothing to do
// then any more. With every ack that makes a time-out pointless it would cost more than it
// saves; but a wake-up for nothing, under traffic, is at the expense of somebody's turn.
const soon = 300 * time.Microsecond

// calm is how long nothing is to do where the timer is put off at once: no ack is waited
// for, and a firing in vain would be a wake-up from sleep.
const calm = 10 * time.Millisecond

// armLocked sets the timer, if it is to fire sooner than it would, or would in vain.
func (f *Fabric) armLocked(now time.Duration) {
	next := f.core.NextTimeout()
	if next < f.armed || next > f.armed && (f.armed < now+soon && next > now+soon || next > now+calm) {
		f.armed = next
		if f.poller != nil {
			f.poller.Arm(next - now)
		} else {
			f.timer.Reset(next - now)
		}
	}
}

// fire does what is due, if the timer has fired.
func (f *Fabric) fire() {
	f.mu.Lock()
	if clock := time.Now(); f.armed <= clock.Sub(f.origin) && !f.ended {
		f.stepAtLocked(clock)
	}
	f.mu.Unlock()
	f.look()
}

// drainLocked gives the records of the outbox to their sessions.
func (f *Fabric) drainLocked(now time.Duration) {
	records, bytes := f.outbox.take(drainBytes)
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
		p := f.core.bySFU[r.to]
		p.drained = now
		f.core.touch(p)
	}
}

// publishLocked tells senders how much room there is now.
func (f *Fabric) publishLocked() {
	for _, p := range f.core.flushed {
		if given := f.given[p.SFU]; given != nil {
			f.outbox.publish(p.SFU, p.session, *given)
			*given = [lanes]int{}
		}
	}
}

// peek runs fn, which changes nothing, between the steps of others.
func (f *Fabric) peek(fn func(now time.Duration)) error {
	f.mu.Lock()
	ended := f.ended
	if !ended {
		fn(f.now())
	}
	f.mu.Unlock()
	f.look()
	if ended {
		return ErrClosed
	}
	return nil
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
	case <-f.closed:
		return ErrClosed
	}
}
