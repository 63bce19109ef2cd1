package session

import (
	"math"
	"time"
)

const (
	// pacerDepth is how much of the request and bulk lanes may stand in a NIC's queue, in
	// time: what a frame of a higher lane may find before it, and what the NIC has to do
	// while this process is not given a processor.
	pacerDepth = time.Millisecond
	// pacerBatch is how much room a NIC that was full must have before it is given more: a
	// wake-up for a batch of frames (20 full ones at 1 Gbit/s) and not for each. The queue
	// keeps three times that for when the wake-up comes late.
	pacerBatch = pacerDepth / 4
	// pacerDebt bounds how long the queue is thought to be. The higher lanes do not wait
	// for room, and what they send beyond this a NIC's queue has refused: the usual one of
	// 1,000 frames lasts 12 ms at 1 Gbit/s.
	pacerDebt = 10 * time.Millisecond
	// pacerMargin is the part of a NIC's speed that is left to it, so that a queue never
	// grows because two clocks differ, and shrinks again after what others sent.
	pacerMargin = 64
	// wireOverhead and wireLeast are what Ethernet puts around a frame, in bytes: preamble,
	// header, checksum and gap; and the payload that shorter frames are padded to.
	wireOverhead = 8 + 14 + 4 + 12
	wireLeast    = 46

	// FastNIC is the speed, in Mbit/s, from which frames are not spread: sealing them takes
	// a processor longer than such a NIC takes to send them.
	FastNIC = 10_000
)

// Pacer spreads the frames that all sessions of a process send by one NIC over time. It
// is the NIC's queue as this process must think it to be: what was given to the NIC, less
// what a wire of its speed has carried since. While that is a millisecond's worth, frames
// of the request and bulk lanes wait in their sessions, where they can still leave on the
// other network, and where those of the control and commit lanes pass them. These, acks and
// probes never wait; they lengthen the queue for the others.
//
// The zero Pacer knows no speed and keeps nothing back. The sessions that share one belong
// to the same goroutine, and so does it. See Session.Held.
type Pacer struct {
	rate  int64         // bytes a second on the wire; 0: nothing is kept back
	empty time.Duration // when the NIC has sent all that it was given
	shut  bool          // it was full, and has no room for a batch yet
}

// SetSpeed tells the NIC's speed in Mbit/s; 0 or less says that it is not known.
func (p *Pacer) SetSpeed(mbits int) {
	p.rate = 0
	if mbits > 0 && mbits < FastNIC {
		p.rate = int64(mbits) * 1e6 / 8 * (pacerMargin - 1) / pacerMargin
	}
}

// room is how many bytes of request and bulk frames the NIC may be given now. It may be
// asked of a nil Pacer.
func (p *Pacer) room(now time.Duration) int {
	if p == nil || p.rate == 0 {
		return math.MaxInt
	}
	if p.shut && now < p.opensAt() {
		return 0
	}
	p.shut = false
	free := pacerDepth - max(p.empty-now, 0)
	return int((int64(free)*p.rate + int64(time.Second) - 1) / int64(time.Second))
}

// easy reports whether half of what the queue may hold is free.
func (p *Pacer) easy(now time.Duration) bool {
	return p == nil || p.rate == 0 || p.empty-now <= pacerDepth/2
}

// opensAt is when a Pacer that is shut has room again, if nothing is sent until then.
func (p *Pacer) opensAt() time.Duration { return p.empty - (pacerDepth - pacerBatch) }

// sent notes a frame of n bytes.
func (p *Pacer) sent(now time.Duration, n int) {
	if p == nil || p.rate == 0 {
		return
	}
	wire := int64(max(n, wireLeast) + wireOverhead)
	p.empty = min(max(p.empty, now)+time.Duration(wire*int64(time.Second)/p.rate), now+pacerDebt)
	if p.empty-now >= pacerDepth {
		p.shut = true
	}
}
