package fabric

import "time"

// drainRounds bounds how often one turn empties the outbox: what is sent from
// Deliver leaves in the same turn, but a flood of other senders must not keep a
// reader from its socket. What is left is for Run's goroutine.
const drainRounds = 2

// take waits for the turn, works, and passes it on.
func (f *Fabric) take(work func(now time.Duration)) {
	f.turn.Lock()
	now := f.now()
	if !f.over {
		work(now)
		f.finish(now)
	}
	f.pass()
}

// finish does what every turn ends with: the records of the outbox go to their
// sessions, what the sessions have goes to its owners and to the links, and the
// timer is set.
func (f *Fabric) finish(now time.Duration) {
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

// pass gives the turn up. A record that came too late for this turn, from a sender
// that saw it taken, is left to Run's goroutine.
func (f *Fabric) pass() {
	f.turn.Unlock()
	if f.outbox.pending() {
		f.nudge()
	}
}

// nudge wakes Run's goroutine.
func (f *Fabric) nudge() {
	select {
	case f.wake <- struct{}{}:
	default:
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
		given := f.given[p.sfu]
		if given == nil {
			continue
		}
		f.outbox.publish(p.sfu, p.session, *given)
		*given = [lanes]int{}
	}
}
