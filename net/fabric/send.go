package fabric

import "context"

// Send appends a copy of record to a lane of a peer. It does not wait; any
// goroutine may call it. Records of one goroutine keep their order within a lane.
//
// Errors: ErrPeerDown, also while the peer was never up; ErrLaneFull, then nothing
// was taken; ErrRecordTooLarge; ErrNoPeer, ErrNoLane, ErrClosed. A record that
// was taken is lost only with the peer, and PeerLost says so.
func (f *Fabric) Send(to uint16, lane Lane, record []byte) error {
	if f.turn.TryLock() {
		sent, err := f.sendNow(to, lane, record)
		f.pass()
		if sent || err != nil {
			return err
		}
	}
	if err := f.outbox.add(to, lane, record); err != nil {
		return err
	}
	f.offer()
	return nil
}

// SendBatch is Send for several records of one lane. It returns how many it took,
// and the error of the first that it did not.
func (f *Fabric) SendBatch(to uint16, lane Lane, records [][]byte) (int, error) {
	n, err := f.outbox.addBatch(to, lane, records)
	if n > 0 {
		f.offer()
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
		if err := f.Send(to, lane, record); err != ErrLaneFull {
			return err
		}
		select {
		case <-room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// sendNow transmits a record from this goroutine, which has the turn, if the lane
// is idle. Otherwise records gather while the lane's earlier ones are under way.
func (f *Fabric) sendNow(to uint16, lane Lane, record []byte) (sent bool, err error) {
	p := f.core.bySFU[to]
	if f.over || p == nil || lane >= lanes || p.session.Queued(lane) > 0 || f.outbox.pending() {
		return false, nil
	}
	now := f.now()
	if err := f.core.Send(now, to, lane, record); err != nil {
		return false, err
	}
	f.finish(now)
	return true, nil
}

// offer sees to it that somebody empties the outbox: whoever has the turn does
// when he passes it on, and if nobody has, Run's goroutine is woken.
func (f *Fabric) offer() {
	if f.turn.TryLock() {
		f.turn.Unlock()
		f.nudge()
	}
}
