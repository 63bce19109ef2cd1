package session

import (
	"time"

	"virtualservicesinc.com/net/wire"
)

const (
	// ackEvery is the number of frames with data after which an ack leaves at once:
	// few enough that the sender's window never runs dry, enough that acks cost
	// little.
	ackEvery = 10
	// ackDelay is how long an ack may wait for more frames or for data to ride
	// with. It is part of every time-out that waits for an ack.
	ackDelay = time.Millisecond
	// quietAckDelay is the same for records of the control lane alone. They are small
	// and few, leave on both networks, and most are heartbeats: longer than those are
	// apart, so that the ack of one rides with the next and wakes nobody. The sender
	// counts on it only while both networks are well; if it doubts, it repeats, and a
	// repetition is acknowledged as soon as anything.
	quietAckDelay = 50 * time.Millisecond
	// maxRanges bounds the ranges of packet numbers that are remembered; older ones
	// were reported many times before.
	maxRanges = 2 * wire.MaxRanges
)

// receipts is what arrived and must be acknowledged.
type receipts struct {
	got     spans  // packet numbers received on either network
	floor   uint64 // the peer waits for no number below
	pending int    // frames with data since the last ack
	due     time.Duration
	network [networks]struct {
		next     uint64 // highest number, plus one
		at       time.Duration
		received uint32
	}
	ack wire.Ack // reused
	buf [wire.MaxRanges]wire.Range
}

func (r *receipts) reset() {
	*r = receipts{got: r.got[:0], due: never}
}

// arrived notes a frame.
func (r *receipts) arrived(net Network, number uint64, now time.Duration) {
	n := &r.network[net]
	n.received++
	if number >= n.next {
		n.next, n.at = number+1, now
	}
	if number >= r.floor {
		r.got.add(number, number+1)
		if len(r.got) > maxRanges {
			r.got.remove(0, r.got[0].hi)
		}
	}
}

// expect notes that the frame wants an ack, after a delay at the latest.
func (r *receipts) expect(now, delay time.Duration) {
	r.pending++
	r.due = min(r.due, now+delay)
	if r.pending >= ackEvery {
		r.due = now
	}
}

// forget drops what the peer no longer waits for.
func (r *receipts) forget(floor uint64) {
	if floor > r.floor {
		r.floor = floor
		r.got.remove(0, floor)
	}
}

// appendTo appends the ack that is pending and notes that it is sent.
func (r *receipts) appendTo(b []byte, now time.Duration) []byte {
	r.pending, r.due = 0, never
	if len(r.got) == 0 {
		return b
	}
	for i := range r.network {
		n := &r.network[i]
		r.ack.Network[i] = wire.Receipt{Next: n.next, Received: n.received}
		if n.next > 0 {
			r.ack.Network[i].DelayMicros = uint32(min((now-n.at)/time.Microsecond, 1<<32-1))
		}
	}
	count := min(len(r.got), len(r.buf))
	for i := range count {
		s := r.got[len(r.got)-1-i]
		r.buf[i] = wire.Range{First: s.lo, Last: s.hi - 1}
	}
	r.ack.Ranges = r.buf[:count]
	return wire.AppendAck(b, &r.ack)
}
