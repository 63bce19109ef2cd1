package session

import (
	"time"

	"virtualservicesinc.com/net/wire"
)

const (
	// The congestion window of a network, in bytes under way to a peer. These networks
	// are ours alone and short, so the bounds matter more than the law between them: the
	// largest is 2 ms of a 1 Gbit/s network, which is what a frame of a higher lane may
	// find queued before it at the peer's port of the switch (at our own NIC the Pacer
	// sees to that), and fills 10 Gbit/s at 0.2 ms; the smallest still fills 1 Gbit/s at
	// 0.2 ms and rides out random loss.
	firstWindow = 64 << 10
	minWindow   = 32 << 10
	maxWindow   = 256 << 10

	// firstRTT stands in until one is measured.
	firstRTT = 5 * time.Millisecond
	// maxRTT bounds a sample: a longer one is a pause of a process, not a network.
	maxRTT = 200 * time.Millisecond
	// staleAfter is how much longer than another network one may leave a packet
	// without receipt before data keeps off it: some round trips of a LAN, and well
	// inside the 10 ms that a cut may stall the bulk lane.
	staleAfter = 2 * time.Millisecond
	// Losses are judged by age with some slack once packets taken for lost turned out
	// to be late, as on a machine that is busier than its networks. Each time it
	// doubles; each probe takes a 64th of it back. The largest keeps the stall of a
	// cut inside 10 ms.
	firstSlack = 500 * time.Microsecond
	maxSlack   = 3 * time.Millisecond
	slackDecay = 64
	// packetThreshold is how many later packets of the same network must have
	// arrived before one is lost.
	packetThreshold = 3

	// stableAfter is how long a network must have been up for its earlier failures to
	// be forgotten.
	stableAfter = 60 * time.Second
	// maxHoldLevel keeps the doubling of the hold-down from overflowing.
	maxHoldLevel = 16

	// mtuVerify is the time between two checks of an MTU above BaseMTU, or between
	// two attempts at it; when a long frame is lost, mtuRecheck is. mtuTries is how
	// many probes each makes.
	mtuVerify  = 10 * time.Second
	mtuRecheck = time.Second
	mtuTries   = 3
)

// maxStands bounds the probes in a row that other packets stand for, and those that are
// remembered. A probe of its own leaves every 200 ms at least: only they carry clocks
// and name their network.
const maxStands = 8

// stand is a packet that stands for a probe: it left on the network and wants an ack,
// which says where it arrived.
type stand struct {
	next   uint64 // its number, plus one; 0: there is none
	sentAt time.Duration
}

// path is one network as this session sees it.
type path struct {
	net     Network
	carrier bool
	pacer   *Pacer // of its NIC; nil: nothing is kept back

	// Failure detection.
	alive     bool          // probes are answered
	announced bool          // NetworkUp was the last event
	aliveAt   time.Duration // when alive last became true
	downAt    time.Duration // when alive last became false
	heldUntil time.Duration
	holdLevel int // failures in a row

	probeAt      time.Duration // next probe; never while the peer is not up
	probeDue     bool
	sequence     uint32           // of the newest probe sent
	replied      uint32           // of the newest probe answered
	stood        int              // probes in a row that a packet stood for
	newest       stand            // the last packet since the last probe that could stand for the next
	stands       [maxStands]stand // by sequence: what stood for that probe
	heardAt      time.Duration    // last authentic frame that arrived here
	replyDue     bool             // probe is to be answered with our next one
	replyNow     bool             // or at once
	probe        wire.Probe       // the newest one received
	probeArrived time.Duration    // when
	probeSize    int              // longest probe frame since the last reply
	crossed      bool             // CrossWired was told
	crossedAt    time.Duration    // when last

	// MTU.
	mtu, maxMTU int
	mtuAt       time.Duration // next check
	mtuDue      bool
	mtuSeen     time.Duration // when a frame of maxMTU last passed
	mtuLeft     int           // probes left of the attempt

	// Round trip, from acks and replies.
	srtt, rttvar, latest time.Duration

	// What is under way.
	sent         uint64 // packets sent here; the packet's sequence on this network
	largest      uint64 // highest packet number received there, plus one
	ackedSent    uint64 // its sequence, plus one
	waiting      bool   // something that wants an ack is without receipt
	waitingSince time.Duration
	stale        bool // another network delivers what this one does not
	inFlight     int
	window       int
	threshold    int    // slow start ends here
	recoverFrom  uint64 // the last reduction was for the loss of this packet,
	recoverUntil uint64 // losses of packets below are part of it,
	before       int    // and this was the window; 0: not to be restored
	slack        time.Duration
	slackUntil   uint64 // packets below being late says nothing new

	framesSent, bytesSent         uint64
	framesReceived, bytesReceived uint64
	probesMissed                  uint64
	paced                         time.Duration // for which frames waited that left here
	framesLost                    uint64        // before this connection
	lostNow                       uint64        // of this connection
}

// reset begins a connection.
func (p *path) reset(now time.Duration) {
	p.framesLost += p.lostNow
	*p = path{
		net: p.net, carrier: p.carrier, pacer: p.pacer, maxMTU: p.maxMTU, holdLevel: p.holdLevel,
		framesSent: p.framesSent, bytesSent: p.bytesSent, framesReceived: p.framesReceived, bytesReceived: p.bytesReceived,
		probesMissed: p.probesMissed, paced: p.paced, framesLost: p.framesLost,
		downAt: now, heldUntil: p.heldUntil, heardAt: now, probeAt: now, mtu: min(p.maxMTU, BaseMTU), mtuAt: now, mtuLeft: mtuTries,
		window: firstWindow, threshold: maxWindow,
	}
}

// exists reports whether the Config has this network.
func (p *path) exists() bool { return p.maxMTU != 0 }

// well reports whether there is no reason to think that frames get lost here.
func (p *path) well() bool { return p.exists() && p.carrier && p.alive && !p.stale }

// held reports whether the network is kept out of use after a failure.
func (p *path) held(now time.Duration) bool { return now < p.heldUntil }

// deadSince reports whether the network went down after the time at.
func (p *path) deadSince(at time.Duration) bool { return !p.alive && at < p.downAt }

// sample notes a measured round trip.
func (p *path) sample(rtt time.Duration) {
	if rtt < 0 {
		return
	}
	rtt = min(rtt, maxRTT)
	p.latest = rtt
	if p.srtt == 0 {
		p.srtt, p.rttvar = rtt, rtt/2
		return
	}
	p.rttvar += (max(p.srtt-rtt, rtt-p.srtt) - p.rttvar) / 4
	p.srtt += (rtt - p.srtt) / 8
}

// lossDelay is how long after its sending a packet is lost when a later one has
// arrived: 9/8 of the round trip, with its variation and the peer's delay.
func (p *path) lossDelay() time.Duration {
	if p.srtt == 0 {
		return firstRTT + ackDelay
	}
	return max(max(p.srtt, p.latest)*9/8, p.srtt+4*p.rttvar) + ackDelay + p.slack
}

// probeTimeout is how long to wait for any ack.
func (p *path) probeTimeout() time.Duration {
	if p.srtt == 0 {
		return firstRTT + ackDelay
	}
	return max(p.srtt+4*p.rttvar+ackDelay, minProbeTimeout)
}

// room is how many bytes of a lane may be put under way now: what the window leaves, and
// for the lower lanes also what the NIC may be given.
func (p *path) room(now time.Duration, lane Lane) int {
	n := p.window - p.inFlight
	if lane >= LaneRequest {
		n = min(n, p.pacer.room(now))
	}
	return n
}

// arrived notes that n bytes were acknowledged, and grows the window if it was
// what held the sender back.
func (p *path) arrived(n int) {
	limited := p.inFlight >= p.window/2
	p.inFlight -= n
	if !limited {
		return
	}
	if p.window < p.threshold {
		p.window += n
	} else {
		p.window += max(1, p.mtu*n/p.window)
	}
	p.window = min(p.window, maxWindow)
}

// lost notes that a packet of n bytes was lost here; next is the number of the
// next packet. A loss that says nothing about congestion leaves the window.
func (p *path) lost(number, next uint64, n int, congestion bool) {
	p.inFlight -= n
	if !congestion || number < p.recoverUntil {
		return
	}
	p.recoverFrom, p.recoverUntil, p.before = number, next, p.window
	p.window = max(p.window/2, minWindow)
	p.threshold = p.window
}

// late notes that a packet taken for lost has arrived: what was concluded from it
// is taken back.
func (p *path) late(number, next uint64) {
	if p.before > 0 && number >= p.recoverFrom && number < p.recoverUntil {
		p.window, p.threshold = max(p.window, p.before), max(p.threshold, p.before)
		p.before = 0
	}
	if number >= p.slackUntil {
		p.slack = min(max(2*p.slack, firstSlack), maxSlack)
		p.slackUntil = next
	}
}

// leaves notes that a frame of n bytes is given to the NIC.
func (p *path) leaves(now time.Duration, n int) {
	p.framesSent++
	p.bytesSent += uint64(n)
	p.pacer.sent(now, n)
}

// sending notes a data frame of n bytes.
func (p *path) sending(now time.Duration, number uint64, n int, wantsAck bool) {
	p.sent++
	p.leaves(now, n)
	if wantsAck {
		p.newest = stand{next: number + 1, sentAt: now}
		p.inFlight += n
		if !p.waiting {
			p.waiting, p.waitingSince = true, now
		}
	}
}
