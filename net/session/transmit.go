package session

import (
	"time"

	"virtualservicesinc.com/net/wire"
)

const (
	// requestBacklog is how much of the request lane may wait for its first sending
	// with every frame still leaving on both networks; beyond it the lane is striped.
	requestBacklog = 64 << 10
	// bulkShare gives the bulk lane one frame after so many of the request lane, so
	// that a snapshot ends however busy the cluster is.
	bulkShare = 7
	// stripeRun is how many bytes in a row striping leaves on one network: runs keep
	// the ranges of an ack few when one network is slower.
	stripeRun = 16 << 10
	// smallestFragment keeps fragments from being cut to fill the last bytes of a
	// frame: below it the chunk's head is most of it.
	smallestFragment = 64
	// goodbyes is how many frames Close sends: one may be lost.
	goodbyes = 3
)

// Next builds the next frame to send in dst, which must have room for the longest
// MTU of the Config, and says on which networks exactly these bytes must leave. n
// is 0 when nothing is to be sent now. Call it until then, after every batch of
// other calls. Handshake frames (wire.TypeInitiation, wire.TypeResponse) should be
// broadcast: what provoked them may be a replay from another address. A failure to
// send is loss like any other and needs no report; on one network it must not keep
// the frame from the other.
func (s *Session) Next(now time.Duration, dst []byte) (n int, on Networks) {
	s.observe(now)
	s.draft, s.probing = packet{}, false
	switch {
	case s.sendInitiation:
		s.sendInitiation = false
		return s.handshakeFrame(now, dst, s.initiating.frame[:])
	case s.sendResponse:
		s.sendResponse = false
		return s.handshakeFrame(now, dst, s.responding.frame[:])
	case s.goodbyes > 0:
		s.goodbyes--
		return s.seal(now, dst, len(wire.AppendClose(dst[:wire.HeaderSize], uint8(Closed))), s.carriers())
	case !s.up || s.ring.current.sealed >= maxKeyFrames:
		return 0, None
	}
	for i := range s.path {
		if p := &s.path[i]; p.probeDue || p.replyNow {
			return s.probeFrame(now, dst, p)
		} else if p.mtuDue {
			return s.mtuFrame(now, dst, p)
		}
	}
	if n, on = s.dataFrame(now, dst); n > 0 {
		return n, on
	}
	if s.creditDue == 0 && (s.receipts.pending == 0 || now < s.receipts.due) {
		return 0, None
	}
	on = s.carriers()
	if s.creditDue == 0 && s.receipts.pending < ackEvery {
		on = s.ackRoute(now)
	}
	b := s.appendControl(now, dst[:wire.HeaderSize:s.payloadEnd(on)])
	if len(b) == wire.HeaderSize {
		return 0, None
	}
	return s.seal(now, dst, len(b), on)
}

// Probing reports whether the frame that Next has just built is a probe, which names its
// network: broadcast now and then, it tells SFUs whose networks are joined.
func (s *Session) Probing() bool { return s.probing }

// ackRoute says on which networks an ack leaves that waited for data to ride with and
// found none. Little is under way then, and nobody waits for it, so that a second copy
// is not worth a wake-up of the peer: such acks take turns. One that is lost because
// its network was just cut costs the peer a repetition of two packets, and the next one
// takes the other network. While one network is the worse, both are used: the better
// one may be the next to fail.
func (s *Session) ackRoute(now time.Duration) Networks {
	if s.path[A].grade(now) != s.path[B].grade(now) {
		return s.carriers()
	}
	s.ackedOn = 1 - s.ackedOn
	return 1 << s.ackedOn
}

// handshakeFrame copies a frame that is ready.
func (s *Session) handshakeFrame(now time.Duration, dst, frame []byte) (int, Networks) {
	on := s.carriers()
	for i := range s.path {
		if on.Has(Network(i)) {
			s.path[i].leaves(now, len(frame))
		}
	}
	return copy(dst, frame), on
}

// carriers is the networks worth sending on when a frame leaves on all of them.
// What probes say does not matter here: a network that is held down, or wrongly
// taken for dead, may be the one that is left.
func (s *Session) carriers() Networks {
	var with, all Networks
	for i := range s.path {
		if p := &s.path[i]; p.exists() {
			all |= 1 << i
			if p.carrier {
				with |= 1 << i
			}
		}
	}
	if with == None {
		return all
	}
	return with
}

// payloadEnd is where the payload of a frame for these networks must end.
func (s *Session) payloadEnd(on Networks) int {
	end := wire.MaxFrame
	for i := range s.path {
		if on.Has(Network(i)) {
			end = min(end, s.path[i].mtu)
		}
	}
	return end - wire.TagSize
}

// probeFrame builds a network's probe, with the reply to the peer's.
func (s *Session) probeFrame(now time.Duration, dst []byte, p *path) (int, Networks) {
	b := dst[:wire.HeaderSize]
	if p.replyDue {
		wall := int64(0)
		if s.wall != 0 {
			wall = s.wall + int64(now)
		}
		b = wire.AppendReply(b, &wire.Reply{
			Network:   uint8(p.net),
			Sequence:  p.probe.Sequence,
			SentNanos: p.probe.SentNanos,
			HeldNanos: int64(max(0, now-p.probeArrived)),
			WallNanos: wall,
			Size:      uint16(p.probeSize),
		})
		p.replyDue, p.probeSize = false, 0
	}
	p.replyNow = false
	if p.probeDue {
		p.probeDue = false
		p.count(stand{})
		probe := p.newProbe(now)
		b = wire.AppendProbe(b, &probe)
		s.probing = true
	}
	if s.receipts.pending > 0 && s.receipts.due > now+ackDelay { // nobody waits for it, should it be lost
		b = s.receipts.appendTo(b, now)
	}
	return s.seal(now, dst, len(b), 1<<p.net)
}

// mtuFrame builds a probe as long as the network's longest frame. It comes beside
// the ordinary probe and repeats its number, so that its loss is no miss.
func (s *Session) mtuFrame(now time.Duration, dst []byte, p *path) (int, Networks) {
	p.mtuDue = false
	probe := p.newProbe(now)
	b := wire.AppendProbe(dst[:wire.HeaderSize], &probe)
	end := p.maxMTU - wire.TagSize
	clear(dst[len(b):end])
	return s.seal(now, dst, end, 1<<p.net)
}

func (p *path) newProbe(now time.Duration) wire.Probe {
	return wire.Probe{Network: uint8(p.net), Want: !p.alive, Sequence: p.sequence, SentNanos: int64(now)}
}

// tickMTU decides with every probe whether to try the longest MTU.
func (p *path) tickMTU(now time.Duration) {
	if p.maxMTU <= BaseMTU || !p.alive || now < p.mtuAt {
		return
	}
	if p.mtuLeft == 0 {
		p.mtu, p.mtuAt, p.mtuLeft = BaseMTU, now+mtuVerify, mtuTries
		return
	}
	p.mtuLeft--
	p.mtuDue = true
}

// appendControl appends what rides in front of data: ack, credits, floor.
func (s *Session) appendControl(now time.Duration, b []byte) []byte {
	if s.receipts.pending > 0 {
		b = s.receipts.appendTo(b, now)
	}
	for lane := range s.receive {
		if s.creditDue>>lane&1 != 0 {
			l := &s.receive[lane]
			l.limit, _ = l.credit()
			b = wire.AppendCredit(b, wire.Credit{Lane: uint8(lane), Position: l.limit})
			s.draft.credits |= 1 << lane
			s.draft.state = packetUnderWay
		}
	}
	s.creditDue = 0
	if r := &s.recovery; r.watched-r.told >= floorEvery {
		r.told = r.watched
		b = wire.AppendFloor(b, r.told)
	}
	return b
}

// dataFrame builds a frame for the first lane that has something to send and a
// network to send it on.
func (s *Session) dataFrame(now time.Duration, dst []byte) (int, Networks) {
	r := &s.recovery
	s.budgetBlocked, s.held = false, None
	order := [lanes]Lane{LaneControl, LaneCommit, LaneRequest, LaneBulk}
	if s.requestRun >= bulkShare {
		order[2], order[3] = LaneBulk, LaneRequest
	}
	for _, lane := range order {
		l := &s.send[lane]
		avoid, lost := l.lostFirst()
		resend := lost && r.mayResend(now)
		s.budgetBlocked = s.budgetBlocked || lost && !resend
		if !resend && l.fresh() == 0 {
			continue
		}
		on := s.route(now, lane, avoid, resend)
		if on == None {
			s.hold(now, lane)
			continue
		}
		switch lane {
		case LaneRequest:
			s.requestRun++
		case LaneBulk:
			s.requestRun = 0
		}
		if lane >= LaneRequest {
			s.release(now, on)
		}
		return s.fill(now, dst, lane, on)
	}
	r.urgent = 0
	if s.held == None {
		s.heldSince = never // what was kept back need not leave any more, or waits for an ack
	}
	return 0, None
}

// hold notes by which networks a frame of lane would leave now but for their NICs' queues.
func (s *Session) hold(now time.Duration, lane Lane) {
	if lane < LaneRequest {
		return
	}
	ga, gb := s.path[A].grade(now), s.path[B].grade(now)
	for i := range s.path {
		if p := &s.path[i]; p.grade(now) == max(ga, gb) && p.window > p.inFlight {
			s.held |= 1 << i
		}
	}
	if s.held != None && s.heldSince == never {
		s.heldSince = now
	}
}

// release counts for how long the frame that leaves now was kept back.
func (s *Session) release(now time.Duration, on Networks) {
	if s.heldSince == never {
		return
	}
	for i := range s.path {
		if on.Has(Network(i)) {
			s.path[i].paced += now - s.heldSince
		}
	}
	s.heldSince = never
}

// Held is when a frame may leave that Next did not build because the NICs' queues were
// full, as their Pacers stand now: what other sessions send puts it off. It is a time that
// does not come if there is no such frame, or if it waits for an ack. NextTimeout is not
// later. Who has several sessions on one NIC lets all that wait take turns then.
func (s *Session) Held() time.Duration {
	at := never
	for i := range s.path {
		if p := &s.path[i]; s.up && s.held.Has(Network(i)) {
			at = min(at, p.pacer.opensAt())
		}
	}
	return at
}

// route says on which networks the next frame of lane leaves; None: there is no
// room. A retransmission keeps off the network to avoid if it can.
func (s *Session) route(now time.Duration, lane Lane, avoid Network, resend bool) Networks {
	if lane == LaneControl || resend && s.recovery.urgent > 0 {
		return s.carriers()
	}
	best, ok := s.best(now, lane, avoid, resend)
	switch {
	case !ok:
		return None
	case lane == LaneCommit || lane == LaneRequest && s.duplicates(now):
		return s.carriers()
	}
	s.striped = best
	return 1 << best
}

// grade orders the networks by how well they serve a single copy.
func (p *path) grade(now time.Duration) int {
	switch {
	case !p.exists():
		return -1
	case !p.carrier:
		return 0
	case p.stale:
		return 1
	case !p.alive:
		return 2
	case p.held(now):
		return 3
	}
	return 4
}

// best is the network for a frame that leaves on one only, and whether it has room:
// of those of the highest grade another than the one to avoid, or the one that the
// last such frame left on, unless the other has a run more of room.
func (s *Session) best(now time.Duration, lane Lane, avoid Network, avoiding bool) (best Network, ok bool) {
	ga, gb := s.path[A].grade(now), s.path[B].grade(now)
	roomOf := func(n Network) int { return s.path[n].room(now, lane) }
	best = s.striped
	switch {
	case ga > gb:
		best = A
	case gb > ga:
		best = B
	case avoiding && roomOf(1-avoid) > 0:
		best = 1 - avoid
	case roomOf(best) <= 0 || roomOf(1-best)-stripeRun >= roomOf(best):
		best = 1 - best
	}
	return best, roomOf(best) > 0
}

// duplicates reports whether there is room for the request lane on both networks.
func (s *Session) duplicates(now time.Duration) bool {
	a, b := &s.path[A], &s.path[B]
	return a.grade(now) == b.grade(now) && s.send[LaneRequest].fresh() <= requestBacklog &&
		a.inFlight <= a.window/2 && b.inFlight <= b.window/2 && a.pacer.easy(now) && b.pacer.easy(now)
}

// rides reports whether a lane may use what is left of a frame of a higher one.
func (s *Session) rides(now time.Duration, lane Lane, on Networks) bool {
	if on == Both {
		return lane <= LaneCommit || lane == LaneRequest && s.duplicates(now)
	}
	return lane <= LaneCommit || on == OnA && s.path[A].room(now, lane) > 0 || on == OnB && s.path[B].room(now, lane) > 0
}

// fill builds a data frame that begins with lane.
func (s *Session) fill(now time.Duration, dst []byte, lane Lane, on Networks) (int, Networks) {
	r := &s.recovery
	b := s.appendControl(now, dst[:wire.HeaderSize:s.payloadEnd(on)])
	d := &s.draft
	d.state = packetUnderWay
	resent := 0
	for first := lane; lane < lanes && d.parts < maxParts; lane++ {
		if lane != first && !s.rides(now, lane, on) {
			break
		}
		l := &s.send[lane]
		resend := r.mayResend(now)
		for d.parts < maxParts {
			var position, length uint64
			net, lost := l.lostFirst()
			lost = lost && resend
			if lost {
				position, length = l.lost[net][0].lo, l.lost[net][0].hi-l.lost[net][0].lo
			} else {
				position, length = l.next, l.fresh()
			}
			if length == 0 || cap(b)-len(b) < wire.FragmentOverhead+int(min(length, smallestFragment)) {
				break
			}
			var n int
			b, n = l.fragment(b, lane, position, length)
			end := position + uint64(n)
			d.part[d.parts] = part{position: position, length: uint16(n), lane: lane}
			d.parts++
			if lost {
				l.lost[net].remove(position, end)
				resent += n
				s.stats.FragmentsResent++
			} else {
				l.next = end
				r.first(n)
			}
		}
	}
	if resent > 0 {
		s.stats.BytesResent += uint64(resent)
		r.urgent = max(r.urgent-1, 0)
		r.resent(resent)
	}
	return s.seal(now, dst, len(b), on)
}

// seal finishes the frame in dst, whose payload stands behind room for the header
// and ends at end, and remembers it as s.draft says.
func (s *Session) seal(now time.Duration, dst []byte, end int, on Networks) (int, Networks) {
	r := &s.recovery
	k := s.ring.current
	if r.full() {
		s.losePacket(now, r.oldest, false)
		r.advance()
	}
	number := r.next
	size := end + wire.TagSize
	frame := dst[:size]
	head := wire.Header{Type: wire.TypeData, Phase: k.remotePhase, Length: size, Cluster: s.cfg.ClusterHash,
		SFU: s.cfg.Peer.SFU, Slot: k.remoteSlot, Number: number}
	head.Put(frame)
	k.sealFrame(frame, number)

	d := &s.draft
	wantsAck := d.state == packetUnderWay
	d.sentAt, d.size, d.on = now, uint16(size), on
	for i := range s.path {
		if on.Has(Network(i)) {
			d.sent[i] = s.path[i].sent
			s.path[i].sending(now, number, size, wantsAck)
			if wantsAck {
				s.stand(now, &s.path[i])
			}
		}
	}
	d.quiet = d.credits == 0 && d.only(LaneControl)
	r.next++
	*r.at(number) = *d
	if wantsAck {
		r.underWay++
		if d.quiet {
			r.quiet++
		}
		r.waitFrom = now
	} else if r.underWay == 0 {
		r.oldest = r.next
	}
	return size, on
}
