package fabric

import (
	"context"
	"time"
)

// Send appends a copy of record to a lane of a peer. It does not wait; any
// goroutine may call it. Records of one goroutine keep their order within a lane.
//
// Errors: ErrPeerDown, also while the peer was never up; ErrLaneFull, then nothing
// was taken; ErrRecordTooLarge; ErrNoPeer, ErrNoLane, ErrClosed. A record that
// was taken is lost only with the peer, and PeerLost says so.
func (f *Fabric) Send(to uint16, lane Lane, record []byte) error {
	err := f.outbox.add(to, lane, record)
	if err == nil {
		f.offer(to)
	}
	return err
}

// SendBatch is Send for several records of one lane. It returns how many it took,
// and the error of the first that it did not.
func (f *Fabric) SendBatch(to uint16, lane Lane, records [][]byte) (int, error) {
	n, err := f.outbox.addBatch(to, lane, records)
	if n > 0 {
		f.offer(to)
	}
	return n, err
}

// SendWait is Send that waits while the lane is full, until ctx ends. It must not
// be called from Deliver or Event.
func (f *Fabric) SendWait(ctx context.Context, to uint16, lane Lane, record []byte) error {
	for {
		// The channel is asked for first: room that comes after that is seen.
		room, err := f.outbox.wait(to, lane)
		if err != nil {
			return err
		}
		err = f.outbox.addPatiently(to, lane, record)
		if err == nil {
			f.offer(to)
		}
		if err != ErrLaneFull {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// aloneAfter is how long after the last records to a peer one counts as alone: so much
// later that no other will come in the time that its frame takes to leave. What comes
// sooner waits for the loop, and for company.
const aloneAfter = 20 * time.Microsecond

// offer sees to it that a record to a peer leaves. Whoever holds the lock looks
// into the outbox after letting go of it.
func (f *Fabric) offer(to uint16) {
	if len(f.wake) > 0 || !f.mu.TryLock() {
		return
	}
	now := f.now()
	p := f.core.bySFU[to]
	alone := p != nil && now-p.drained > aloneAfter && !f.ended
	if alone {
		f.transmitLocked(now)
	}
	f.mu.Unlock()
	if alone {
		f.look()
	} else {
		f.wakeLoop()
	}
}
