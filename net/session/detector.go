package session

import (
	"math"
	"time"

	"virtualservicesinc.com/net/wire"
)

const (
	// never is a time that does not come.
	never = time.Duration(math.MaxInt64)

	// pauseTolerance is how much longer than a probe's interval no call may have come
	// before this process counts as paused: longer than a busy machine keeps a goroutine
	// waiting, and with the interval shorter than what the peer's silence is judged by.
	pauseTolerance = 60 * time.Millisecond
	// maxStretch bounds the factor by which a process that was paused stretches its
	// judgement; each pause doubles it, each stretchDecay without one halves it.
	maxStretch   = 8
	stretchDecay = time.Second
)

// CrossWiredAgain is the time between two CrossWired of one network: probes that stray
// arrive many times a second.
const CrossWiredAgain = 10 * time.Second

// observe is called first by everything that takes the time. A long time without
// any call is this process's own pause: the peer's silence in it proves nothing.
func (s *Session) observe(now time.Duration) {
	gap := now - s.observed
	if gap <= 0 {
		return
	}
	s.observed = now
	if !s.up || gap <= s.cfg.ProbeInterval+pauseTolerance {
		return
	}
	s.heard += gap
	s.stretch = min(2*s.stretchNow(now), maxStretch)
	s.stretchAt = now
	s.resumedAt = now
}

// stretchNow is the factor by which silence is stretched now.
func (s *Session) stretchNow(now time.Duration) int {
	if s.stretch <= 1 {
		return 1
	}
	halvings := (now - s.stretchAt) / stretchDecay
	return max(1, s.stretch>>min(halvings, maxStretch))
}

// suspectAt and deadAt are when the peer's silence means something.
func (s *Session) suspectAt(now time.Duration) time.Duration {
	return s.heard + s.cfg.Suspect*time.Duration(s.stretchNow(now))
}

func (s *Session) deadAt(now time.Duration) time.Duration {
	return s.heard + s.cfg.Dead*time.Duration(s.stretchNow(now))
}

// hear notes a new authentic frame of the peer.
func (s *Session) hear(now time.Duration) {
	s.heard = max(s.heard, now)
	if s.suspected {
		s.suspected = false
		s.event(Event{Kind: Recovered})
	}
}

// judge looks at the peer's silence.
func (s *Session) judge(now time.Duration) {
	if now >= s.deadAt(now) {
		s.lose(now, Silence)
		return
	}
	if !s.suspected && now >= s.suspectAt(now) {
		s.suspected = true
		s.event(Event{Kind: Suspect})
	}
}

// early is how long before its time a probe may leave: less than half of the interval,
// so that from one probe to the one after the next it is always longer than the peer may
// keep a reply.
func (s *Session) early() time.Duration { return s.cfg.ProbeInterval * 2 / 5 }

// tick looks at the probes of a network and makes the next one due, or lets a packet
// stand for it.
func (s *Session) tick(now time.Duration, p *path) {
	p.prove()
	// The newest probe may still be on its way: replies travel with the peer's own
	// probes.
	if missed := int(p.sequence-p.replied) - 1; missed > 0 {
		p.probesMissed++
		if p.alive && missed >= s.cfg.ProbeMisses {
			// While the peer is silent everywhere, it is not this network's fault.
			s.fail(now, p, now-s.heard <= 2*s.cfg.ProbeInterval)
		}
	}
	if p.alive && p.holdLevel > 0 && now-p.aliveAt >= stableAfter {
		p.holdLevel = 0
	}
	p.slack -= p.slack / slackDecay
	if p.mayStand() {
		p.stood++
		p.count(p.newest)
		p.prove()
		p.replyNow = p.replyDue
	} else {
		p.stood = 0
		p.probeDue = true
	}
	p.newest = stand{}
	p.tickMTU(now)
	// Multiples of the interval: all sessions of a process wake it together. After a
	// pause probes do not pile up.
	due := (now + s.cfg.ProbeInterval/2) / s.cfg.ProbeInterval * s.cfg.ProbeInterval
	if now < p.probeAt {
		due = p.probeAt // it was early
	}
	p.probeAt = due + s.cfg.ProbeInterval
}

// stand lets a packet that has just left on a network stand for its next probe at once, if
// that is due soon and all is well: nobody need wake for it.
func (s *Session) stand(now time.Duration, p *path) {
	if now >= p.probeAt || now < p.probeAt-s.cfg.ProbeInterval*4/5 {
		return
	}
	if p.prove(); p.mayStand() {
		s.tick(now, p)
	}
}

// standsSoon reports whether a packet that is about to leave will stand for the next probe.
func (s *Session) standsSoon(p *path) bool {
	return s.send[LaneControl].fresh() > 0 && p.carrier && p.standable()
}

// mayStand reports whether the last packet may stand for the next probe. Only while all is
// well: what is not answered is asked for in so many words.
func (p *path) mayStand() bool { return p.standable() && p.newest.next > 0 }

func (p *path) standable() bool {
	return p.alive && p.sequence-p.replied <= 1 && p.stood+1 < maxStands
}

// count numbers the next probe, or what stands for it.
func (p *path) count(s stand) {
	p.sequence++
	p.stands[p.sequence%maxStands] = s
}

// prove takes as answered what stood for a probe and arrived there, once the peer was
// heard on this network since it left: the ack itself may have come by the other.
func (p *path) prove() {
	for n := p.sequence; n != p.replied && p.sequence-n < maxStands; n-- {
		if s := p.stands[n%maxStands]; s.next > 0 && s.next <= p.largest && p.heardAt >= s.sentAt {
			p.replied = n
			return
		}
	}
}

// fail takes a network down. atFault says that it will be held down when it comes
// back.
func (s *Session) fail(now time.Duration, p *path, atFault bool) {
	if !p.alive {
		return
	}
	p.alive, p.downAt = false, now
	p.window, p.threshold = firstWindow, maxWindow
	if atFault {
		p.holdLevel = min(p.holdLevel+1, maxHoldLevel)
	}
	if p.announced {
		p.announced = false
		s.event(Event{Kind: NetworkDown, Network: p.net})
	}
	s.loseDown(now)
}

// answered takes the reply to a probe.
func (s *Session) answered(now time.Duration, r *wire.Reply) {
	p := &s.path[r.Network]
	if int(r.Size) >= p.maxMTU && p.maxMTU > BaseMTU {
		p.mtu, p.mtuSeen, p.mtuAt, p.mtuLeft = p.maxMTU, now, now+mtuVerify, mtuTries
	}
	if !p.exists() || p.sequence-r.Sequence >= maxStands { // not sent yet, or long ago
		return
	}
	// What stood for a later probe may have been acked already: then the reply proves nothing
	// new, but it tells the time.
	late := r.Sequence-p.replied-1 >= p.sequence-p.replied // not between replied and sequence
	if !late {
		p.replied = r.Sequence
	}
	sent := time.Duration(r.SentNanos)
	rtt := now - sent - time.Duration(r.HeldNanos)
	if sent < p.downAt && !p.alive || rtt < 0 {
		return
	}
	if sent >= s.resumedAt {
		p.sample(rtt)
		s.compareClocks(now, rtt, r.WallNanos)
	}
	if late {
		return
	}
	p.stale = false
	if p.waiting {
		p.waitingSince = now
	}
	if !p.alive && p.carrier {
		p.alive, p.aliveAt = true, now
		p.heldUntil = now
		if p.holdLevel > 0 {
			p.heldUntil += min(s.cfg.HoldDown<<(p.holdLevel-1), s.cfg.HoldDownMax)
		}
		s.announce(now, p)
	}
}

// announce tells that a network is up once its hold-down is over.
func (s *Session) announce(now time.Duration, p *path) {
	if p.alive && !p.announced && !p.held(now) {
		p.announced = true
		s.event(Event{Kind: NetworkUp, Network: p.net})
	}
}

// probed takes a probe of the peer that arrived on net in a frame of n bytes.
func (s *Session) probed(now time.Duration, net Network, q *wire.Probe, n int) {
	if Network(q.Network) != net {
		if p := &s.path[net]; !p.crossed || now-p.crossedAt >= CrossWiredAgain {
			s.event(Event{Kind: CrossWired, Network: net, Again: p.crossed})
			p.crossed, p.crossedAt = true, now
		}
		return
	}
	p := &s.path[net]
	p.probeSize = max(p.probeSize, n)
	if p.replyDue && int32(q.Sequence-p.probe.Sequence) < 0 {
		return // overtaken
	}
	p.probe, p.probeArrived, p.replyDue = *q, now, true
	p.replyNow = p.replyNow || q.Want
}

// compareClocks keeps the best estimate of the peer's wall clock. An estimate is
// right to within half its round trip when made, and gets worse with its age by
// what clocks may drift. One that is certain to be wrong by now, because the peer's
// clock was set, gives way at once.
func (s *Session) compareClocks(now, rtt time.Duration, peerWall int64) {
	const drift = 10_000 // 100 ppm
	if peerWall == 0 || s.wall == 0 {
		return
	}
	estimate := peerWall + int64(rtt/2-now)
	if s.clockError != 0 {
		within := s.clockError + (now-s.clockAt)/drift
		off := time.Duration(estimate - s.peerWall)
		if rtt/2 > within && max(off, -off) <= within+rtt/2 {
			return
		}
	}
	s.clockAt = now
	s.clockError = max(rtt/2, 1)
	s.peerWall = estimate
}

// PeerWall returns the peer's wall clock at now, in Unix nanoseconds, and how far off
// that may be; 0 while it is not known.
func (s *Session) PeerWall(now time.Duration) (unixNano int64, within time.Duration) {
	if !s.up || s.clockError == 0 {
		return 0, 0
	}
	return s.peerWall + int64(now), s.clockError
}
