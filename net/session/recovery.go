package session

import (
	"time"

	"virtualservicesinc.com/net/wire"
)

const (
	// maxPackets bounds the packet numbers between the oldest that is under way and
	// the newest: both networks' windows full of standard frames, and as many
	// probes and acks again.
	maxPackets = 4096
	// firstPackets is the ring's first size; it doubles when needed.
	firstPackets = 256
	// maxParts bounds the fragments of a packet; a frame rarely carries more than
	// two lanes.
	maxParts = 4

	// minProbeTimeout is the shortest wait for an ack before the oldest packets are
	// sent again; maxProbeTimeout bounds its doubling, so that a network which heals
	// is found soon.
	minProbeTimeout = 3 * time.Millisecond
	maxProbeTimeout = 50 * time.Millisecond
	// probePackets is how many packets a probe time-out sends again.
	probePackets = 2

	// Retransmissions may take a tenth of what is sent for the first time, and this
	// many bytes a second beyond it (a frame a millisecond), so that loss of any
	// kind always ends; unused budget is kept up to budgetMax.
	budgetShare = 10
	budgetRate  = 1_500_000
	budgetMax   = 64 << 10

	// lateness is how many packet numbers later a packet that was taken for lost may
	// still be acknowledged: then it was only late, and losses are judged with more
	// patience. Twice what is under way at 1 Gbit/s.
	lateness = 512

	// floorEvery is the number of packet numbers after which the peer is told which
	// ones are settled.
	floorEvery = 64
)

// part is a fragment that a packet carried.
type part struct {
	position uint64
	length   uint16
	lane     Lane
}

type packetState uint8

const (
	packetSettled packetState = iota // acknowledged, or never wanted an ack
	packetUnderWay
	packetLost     // its parts are to be sent again, or were
	packetRepeated // the same for want of any ack: it may well have arrived
)

// packet is what recovery knows of a packet number.
type packet struct {
	sentAt  time.Duration
	sent    [networks]uint64 // its sequence on each network
	part    [maxParts]part
	size    uint16
	on      Networks
	state   packetState
	parts   uint8
	credits uint8 // set of lanes whose credit it carried
	quiet   bool  // it carries nothing but records of the control lane
}

// only reports whether all fragments of the packet are of a lane.
func (p *packet) only(lane Lane) bool {
	for _, f := range p.part[:p.parts] {
		if f.lane != lane {
			return false
		}
	}
	return true
}

// recovery finds out which packets were lost. Its parts outside are the paths and
// the lanes.
type recovery struct {
	ring      []packet      // by number modulo its length, a power of two
	next      uint64        // next packet number
	oldest    uint64        // no number below is under way
	watched   uint64        // no number below may still turn out not to be lost
	underWay  int           // packets
	quiet     int           // of these, how many are quiet
	arrived   uint64        // highest number acknowledged on any network, plus one
	arrivedAt time.Duration // when that packet was sent

	lossAt   time.Duration // when the next packet is lost for its age
	waitFrom time.Duration // last sending of a packet that wants an ack, or last time-out
	timeouts uint          // probe time-outs without an ack between
	urgent   int           // packets that may be sent again whatever the budget says

	tokens   int // budget, in bytes
	exempt   int // bytes lost to a dead network, to be sent again outside of the budget
	refilled time.Duration

	told uint64 // floor that the peer was told
}

func (r *recovery) reset(now time.Duration) {
	ring := r.ring
	if ring == nil {
		ring = make([]packet, firstPackets)
	}
	clear(ring)
	*r = recovery{ring: ring, lossAt: never, tokens: budgetMax, refilled: now}
}

func (r *recovery) at(number uint64) *packet {
	return &r.ring[number&uint64(len(r.ring)-1)]
}

// remembers reports whether the ring still holds number.
func (r *recovery) remembers(number uint64) bool {
	return number < r.next && r.next-number <= uint64(len(r.ring))
}

// advance moves oldest over what is not under way, and watched over what is settled
// or was lost long ago.
func (r *recovery) advance() {
	if r.underWay == 0 {
		r.oldest = r.next
	}
	for r.oldest < r.next && r.at(r.oldest).state != packetUnderWay {
		r.oldest++
	}
	if n := uint64(len(r.ring)); r.next > n {
		r.watched = max(r.watched, r.next-n)
	}
	for r.watched < r.oldest && (r.at(r.watched).state == packetSettled || r.watched+lateness < r.arrived) {
		r.watched++
	}
}

// full reports whether the ring must give up its oldest packet before the next.
func (r *recovery) full() bool {
	if r.next-r.oldest < uint64(len(r.ring)) {
		return false
	}
	if len(r.ring) == maxPackets {
		return true
	}
	grown := make([]packet, 2*len(r.ring))
	for n := r.next - uint64(len(r.ring)); n < r.next; n++ {
		grown[n&uint64(len(grown)-1)] = *r.at(n)
	}
	r.ring = grown
	return false
}

// leave notes that a packet is no longer under way.
func (r *recovery) leave(p *packet) {
	r.underWay--
	if p.quiet {
		r.quiet--
	}
}

// refill adds what time gives to the budget.
func (r *recovery) refill(now time.Duration) {
	if now <= r.refilled {
		return
	}
	if r.tokens < budgetMax {
		add := min(now-r.refilled, time.Second) * budgetRate / time.Second
		if add == 0 {
			return // keeps the fraction
		}
		r.tokens = min(r.tokens+int(add), budgetMax)
	}
	r.refilled = now
}

// mayResend reports whether a retransmission is inside the budget.
func (r *recovery) mayResend(now time.Duration) bool {
	r.refill(now)
	return r.urgent > 0 || r.exempt > 0 || r.tokens > 0
}

// resent takes n retransmitted bytes from the budget.
func (r *recovery) resent(n int) {
	if r.exempt > 0 {
		r.exempt -= min(n, r.exempt)
		return
	}
	r.tokens -= n
}

// first adds the share of n bytes sent for the first time.
func (r *recovery) first(n int) {
	r.tokens = min(r.tokens+n/budgetShare, budgetMax)
}

// budgetAt is when the budget allows a retransmission again.
func (r *recovery) budgetAt() time.Duration {
	if r.tokens > 0 {
		return r.refilled
	}
	return r.refilled + time.Duration(1-r.tokens)*time.Second/budgetRate + 1
}

// acked takes an ack of the peer.
func (s *Session) acked(now time.Duration, ack *wire.Ack) {
	r := &s.recovery
	if ack.Ranges[0].Last >= r.next {
		s.stats.FramesMalformed++ // it acknowledges what was never sent
		return
	}
	for i := range s.path {
		s.receipted(now, &s.path[i], &ack.Network[i])
	}
	r.advance() // frames that want no ack moved next
	progress := false
	for _, a := range ack.Ranges {
		if a.Last < r.watched {
			break
		}
		for n := max(a.First, r.watched); n <= a.Last; n++ {
			p := r.at(n)
			if p.state == packetSettled {
				continue
			}
			s.arrivedPacket(n, p)
			progress = true
		}
		if a.Last >= r.arrived {
			r.arrived = a.Last + 1
			r.arrivedAt = r.at(a.Last).sentAt
		}
	}
	if progress {
		r.timeouts = 0
		r.advance()
	}
	s.judgeStale()
	s.detectLosses(now)
}

// receipted takes what an ack says of one network.
func (s *Session) receipted(now time.Duration, p *path, receipt *wire.Receipt) {
	r := &s.recovery
	if receipt.Next == 0 || receipt.Next > r.next {
		return
	}
	number := receipt.Next - 1
	if receipt.Next <= p.largest || !r.remembers(number) {
		return
	}
	k := r.at(number)
	if !k.on.Has(p.net) {
		return // the peer's networks are crossed; its probes tell
	}
	p.largest = receipt.Next
	p.ackedSent = k.sent[p.net] + 1
	if k.sentAt >= s.resumedAt {
		p.sample(now - k.sentAt - time.Duration(receipt.DelayMicros)*time.Microsecond)
	}
	p.lostNow = uint64(max(0, int32(uint32(p.ackedSent)-receipt.Received)))
	p.stale = false
	p.waiting, p.waitingSince = p.ackedSent < p.sent && p.inFlight > 0, now
}

// arrivedPacket settles a packet that the peer has.
func (s *Session) arrivedPacket(number uint64, p *packet) {
	if p.state == packetUnderWay {
		s.recovery.leave(p)
	}
	for i := range s.path {
		switch {
		case !p.on.Has(Network(i)):
		case p.state == packetUnderWay:
			s.path[i].arrived(int(p.size))
		case p.state == packetLost:
			s.path[i].late(number, s.recovery.next)
		}
	}
	p.state = packetSettled
	for _, f := range p.part[:p.parts] {
		s.send[f.lane].ack(f.position, f.position+uint64(f.length))
	}
}

// judgeStale finds networks that leave packets without receipt although later ones
// arrived over the other: data keeps off them until something arrives there.
func (s *Session) judgeStale() {
	for i := range s.path {
		p := &s.path[i]
		if p.waiting && !p.stale && s.recovery.arrivedAt > p.waitingSince+max(staleAfter, p.lossDelay()) {
			p.stale = true
		}
	}
}

// detectLosses declares packets lost, for their age or because later ones arrived,
// and sets lossAt.
func (s *Session) detectLosses(now time.Duration) {
	r := &s.recovery
	r.lossAt = never
	any := false
	for n := r.oldest; n < r.arrived; n++ {
		p := r.at(n)
		if p.state != packetUnderWay {
			continue
		}
		lost, dead := true, false
		for i := range s.path {
			path := &s.path[i]
			if !p.on.Has(path.net) {
				continue
			}
			switch {
			case path.stale || path.deadSince(p.sentAt):
				dead = true
			case path.ackedSent > p.sent[i]+packetThreshold:
			case now >= p.sentAt+path.lossDelay():
			default:
				r.lossAt = min(r.lossAt, p.sentAt+path.lossDelay())
				lost = false
			}
		}
		if lost {
			s.losePacket(now, n, dead)
			any = true
		}
	}
	if any {
		r.advance()
	}
}

// loseDown declares lost what was under way only on networks that are down, without
// waiting for an ack.
func (s *Session) loseDown(now time.Duration) {
	r := &s.recovery
	for n := r.oldest; n < r.next; n++ {
		p := r.at(n)
		if p.state != packetUnderWay {
			continue
		}
		lost := true
		for i := range s.path {
			if p.on.Has(Network(i)) && !s.path[i].deadSince(p.sentAt) {
				lost = false
			}
		}
		if lost {
			s.losePacket(now, n, true)
		}
	}
	r.advance()
}

// losePacket puts what a packet carried back to be sent again. dead says that the
// network is to blame, not congestion.
func (s *Session) losePacket(now time.Duration, n uint64, dead bool) {
	r := &s.recovery
	p := r.at(n)
	p.state = packetLost
	r.leave(p)
	if dead {
		r.exempt += int(p.size)
	}
	avoid := A
	for i := range s.path {
		if p.on.Has(Network(i)) {
			s.path[i].lost(n, r.next, int(p.size), !dead)
			if p.size > BaseMTU {
				// Perhaps such frames do not pass any more.
				s.path[i].mtuAt = min(s.path[i].mtuAt, max(now, s.path[i].mtuSeen+mtuRecheck))
			}
			avoid = Network(i)
		}
	}
	for _, f := range p.part[:p.parts] {
		s.send[f.lane].lose(avoid, f.position, f.position+uint64(f.length))
	}
	s.creditDue |= p.credits
}

// probeTimeout is when the oldest packets are sent again for want of any ack.
func (s *Session) probeTimeout() time.Duration {
	r := &s.recovery
	if r.underWay == 0 {
		return never
	}
	wait := time.Duration(0)
	for i := range s.path {
		if s.path[i].exists() {
			wait = max(wait, s.path[i].probeTimeout())
		}
	}
	wait = min(wait<<min(r.timeouts, 8), max(wait, maxProbeTimeout))
	if r.quiet == r.underWay && s.path[A].well() && s.path[B].well() {
		wait += quietAckDelay
	}
	return r.waitFrom + wait
}

// timedOut sends the oldest packets again.
func (s *Session) timedOut(now time.Duration) {
	r := &s.recovery
	r.timeouts++
	r.waitFrom = now
	left := probePackets
	for n := r.oldest; n < r.next && left > 0; n++ {
		if r.at(n).state == packetUnderWay {
			s.losePacket(now, n, true)
			r.at(n).state = packetRepeated
			left--
		}
	}
	r.urgent = probePackets
	r.advance()
}
