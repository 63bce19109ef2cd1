package session

import (
	"time"

	"virtualservicesinc.com/net/wire"
)

// maxNumber bounds packet numbers, so that arithmetic on them cannot overflow; no
// connection lives to send as many.
const maxNumber = 1 << 62

// Receive takes a response or data frame that arrived on net. The frame is
// decrypted in place and is the caller's again on return. It reports whether the
// frame is authentic and new on that network: then, and only then, the caller may
// learn the peer's address on net from it. Anything else costs one counter.
func (s *Session) Receive(now time.Duration, net Network, frame []byte) (authentic bool) {
	s.observe(now)
	h, err := wire.ParseHeader(frame)
	if err != nil || s.closed || h.Cluster != s.cfg.ClusterHash || h.SFU != s.cfg.Local || h.Slot != s.cfg.Slot ||
		net >= networks || !s.path[net].exists() {
		s.stats.FramesRefused++
		return false
	}
	frame = frame[:h.Length]
	switch h.Type {
	case wire.TypeResponse:
		return s.answer(now, &h, frame)
	case wire.TypeData:
		return s.data(now, net, &h, frame)
	}
	s.stats.FramesRefused++ // an initiation goes to the Responder
	return false
}

// data takes a data frame.
func (s *Session) data(now time.Duration, net Network, h *wire.Header, frame []byte) bool {
	k := s.ring.phase[h.Phase]
	if k == nil || h.Number >= maxNumber {
		s.stats.FramesRefused++
		return false
	}
	fresh := k == s.ring.pending && !s.responding.resume // its streams and numbers begin with this frame
	if !fresh && (s.window.old(h.Number) || s.window.seen(net, h.Number)) {
		s.stats.FramesReplayed++
		return false
	}
	payload, ok := k.openFrame(frame, h.Number)
	if !ok {
		s.stats.FramesForged++
		return false
	}
	if k == s.ring.pending {
		s.confirmed(now)
	}
	if !s.acceptable(payload) {
		s.stats.FramesMalformed++
		return false
	}
	other := s.window.seen(1-net, h.Number)
	s.window.mark(net, h.Number)
	s.receipts.arrived(net, h.Number, now)
	s.path[net].heardAt = now
	s.path[net].framesReceived++
	s.path[net].bytesReceived += uint64(h.Length)
	if other {
		s.stats.FramesDuplicate++
		s.secondCopy(now, net, payload, h.Length)
		return true
	}
	s.hear(now)
	s.chunks(now, net, payload, h.Length)
	return true
}

// secondCopy looks for a probe in a copy. A probe leaves on one network only: if it
// arrives on both, the networks are joined somewhere, and the copy on the right one
// is the one to answer.
func (s *Session) secondCopy(now time.Duration, net Network, payload []byte, n int) {
	d := &s.decoder
	d.Reset(payload)
	for d.Next() {
		if d.Type == wire.ChunkProbe {
			s.probed(now, net, &d.Probe, n)
		}
	}
}

// acceptable reports whether a payload is a valid sequence of chunks, all of which
// can be taken. A frame is taken as a whole or not at all: what is acknowledged
// must have been kept.
func (s *Session) acceptable(payload []byte) bool {
	d := &s.decoder
	d.Reset(payload)
	for d.Next() {
		if d.Type == wire.ChunkFragment && !s.receive[d.Fragment.Lane].fits(d.Fragment.Position, len(d.Fragment.Data)) {
			return false
		}
	}
	return d.Err() == nil
}

// chunks takes an acceptable payload of a frame of n bytes.
func (s *Session) chunks(now time.Duration, net Network, payload []byte, n int) {
	d := &s.decoder
	d.Reset(payload)
	expects, quiet := false, true
	for d.Next() {
		switch d.Type {
		case wire.ChunkFragment:
			expects = true
			l := &s.receive[d.Fragment.Lane]
			quiet = quiet && d.Fragment.Lane == LaneControl && d.Fragment.Position == l.next
			l.add(d.Fragment.Position, d.Fragment.Data)
		case wire.ChunkAck:
			s.acked(now, &d.Ack)
		case wire.ChunkCredit:
			expects, quiet = true, false
			l := &s.send[d.Credit.Lane]
			l.credit = max(l.credit, d.Credit.Position)
		case wire.ChunkFloor:
			s.receipts.forget(min(d.Floor, s.window.top))
		case wire.ChunkProbe:
			s.probed(now, net, &d.Probe, n)
		case wire.ChunkReply:
			s.answered(now, &d.Reply)
		case wire.ChunkClose:
			s.lose(now, Closed)
			s.retryAt = now + stopping
			return
		}
	}
	switch {
	case expects && quiet:
		s.receipts.expect(now, quietAckDelay)
	case expects:
		s.receipts.expect(now, ackDelay)
	}
	for i := range s.receive {
		if s.receive[i].broken {
			s.lose(now, Protocol)
			return
		}
	}
}
