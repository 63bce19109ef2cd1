package session

import (
	"encoding/binary"
	"time"

	"github.com/flynn/noise"

	"virtualservicesinc.com/net/wire"
)

const (
	// firstRetry and maxRetry bound the time between two initiations; it doubles,
	// and a quarter of it is random, so that two sides do not keep colliding. The
	// longest costs an absent peer 0.1 % of a core, and is what a cluster may wait for
	// after both networks were gone.
	firstRetry = 100 * time.Millisecond
	maxRetry   = 400 * time.Millisecond
	// tieBreak is how long our own initiation stands against the peer's when ours
	// goes first: many round trips, and far less than a retry.
	tieBreak = 50 * time.Millisecond
	// confirmWithin is how long an answered handshake waits for the peer's first
	// frame.
	confirmWithin = 5 * time.Second
	// yieldTo is how long an answered initiation keeps us from making our own.
	yieldTo = 100 * time.Millisecond
	// stopping is how long a peer that said goodbye is left alone.
	stopping = time.Second
	// responderSlack is how much later than the initiator of a key its responder
	// sees to its renewal, so that only one of them does.
	responderSlack = 10 * time.Second
)

// initiating is a handshake that we began.
type initiating struct {
	state   *noise.HandshakeState
	attempt uint64
	resume  uint64
	phase   uint8
	began   time.Duration
	frame   [wire.InitiationSize]byte
}

// responding is a handshake that we answered and that the peer has not confirmed.
// Its keys are keyring.pending. Until it is confirmed it may be a replay, and
// nothing else changes.
type responding struct {
	hello  wire.Hello // the peer's
	resume bool       // the streams go on
	id     uint64     // of the connection, if they do not
	began  time.Duration
	frame  [wire.ResponseSize]byte
}

// ciphers is what we offer.
func (s *Session) ciphers() wire.Cipher {
	if s.cfg.NoAES {
		return wire.CipherChaChaPoly
	}
	return wire.CipherAESGCM | wire.CipherChaChaPoly
}

// choose takes the best of the offered ciphers for both sides.
func (s *Session) choose(offered wire.Cipher) wire.Cipher {
	if both := offered & s.ciphers(); both&wire.CipherAESGCM != 0 {
		return wire.CipherAESGCM
	}
	return wire.CipherChaChaPoly
}

// hello is our side of a handshake.
func (s *Session) hello(attempt, resume uint64, phase uint8, ciphers wire.Cipher) wire.Hello {
	h := wire.Hello{
		Incarnation: s.cfg.Incarnation,
		Attempt:     attempt,
		Resume:      resume,
		SFU:         s.cfg.Local,
		Slot:        s.cfg.Slot,
		Phase:       phase,
		Ciphers:     ciphers,
	}
	for i, n := range s.cfg.LaneBytes {
		h.Credit[i] = uint32(n)
	}
	return h
}

// rekeyAt is when the current keys are to be replaced.
func (s *Session) rekeyAt() time.Duration {
	k := s.ring.current
	if k.sealed >= s.cfg.RekeyFrames {
		return k.installed
	}
	if k.initiator {
		return k.installed + s.cfg.RekeyAfter
	}
	return k.installed + s.cfg.RekeyAfter + responderSlack
}

// initiateAt is when the next initiation is to leave.
func (s *Session) initiateAt() time.Duration {
	if s.up {
		return max(s.rekeyAt(), s.retryAt)
	}
	return s.retryAt
}

// initiate begins a handshake.
func (s *Session) initiate(now time.Duration) {
	var random [8]byte
	s.random(random[:])
	s.retry = min(max(2*s.retry, firstRetry), maxRetry)
	s.retryAt = now + s.retry + time.Duration(binary.BigEndian.Uint64(random[:])%uint64(s.retry/4))

	// Attempts must rise within an incarnation, also if the caller made a new session
	// for the peer; so they follow the monotonic clock.
	s.attempt = max(s.attempt+1, uint64(now/time.Millisecond))
	in := &initiating{attempt: s.attempt, began: now}
	if s.up {
		in.resume = s.connection
	}
	s.initiating = nil // frees its phase
	in.phase = s.ring.freePhase(-1)
	head := wire.Header{Type: wire.TypeInitiation, Length: wire.InitiationSize, Cluster: s.cfg.ClusterHash, SFU: s.cfg.Peer.SFU, Number: in.attempt}
	head.Put(in.frame[:])
	state, err := handshakeState(true, &s.cfg.Key, &s.cfg.PSK, s.cfg.Peer.Public[:], in.frame[:], s.cfg.Rand)
	if err == nil {
		hello := s.hello(in.attempt, in.resume, in.phase, s.ciphers())
		_, _, _, err = state.WriteMessage(in.frame[:wire.HeaderSize], hello.AppendTo(nil))
	}
	if err != nil {
		// Only a broken source of randomness, or a peer key that is no point of the
		// curve; trying again later is all there is to do.
		s.stats.HandshakesFailed++
		return
	}
	s.toPeer.put(in.frame[:])
	in.state = state
	s.initiating = in
	s.sendInitiation = true
}

// random fills b. A source that fails leaves zeros, which only lessens the jitter.
func (s *Session) random(b []byte) {
	if _, err := s.cfg.Rand.Read(b); err != nil {
		clear(b)
	}
}

// Accept takes an initiation that Responder.Open attributed to this peer. Nothing
// changes for the streams before the peer has confirmed the new keys.
func (s *Session) Accept(now time.Duration, in *Initiation) {
	s.observe(now)
	h := &in.hello
	if s.closed || in.Peer != s.cfg.Peer.SFU || in.state == nil {
		return
	}
	newer := h.Incarnation > s.seen.incarnation ||
		h.Incarnation == s.seen.incarnation && h.Attempt > s.seen.attempt
	switch {
	case newer:
		s.seen.incarnation, s.seen.attempt = h.Incarnation, h.Attempt
	case h.Incarnation == s.seen.incarnation:
		return // a replay, or overtaken by a later attempt
	case s.responding != nil:
		// An older life: a replay, or a peer that was set back. If it confirms, it is
		// the latter; until then it takes nobody's place.
		return
	}
	if newer && s.initiating != nil {
		// Both sides began. The lower number's handshake wins unless it got lost.
		if s.cfg.Local < s.cfg.Peer.SFU && now-s.initiating.began < tieBreak {
			return
		}
		s.initiating = nil
		s.sendInitiation = false
	}
	if newer {
		s.retryAt = max(s.retryAt, now+yieldTo)
	}
	s.respond(now, in)
}

// respond answers an initiation.
func (s *Session) respond(now time.Duration, in *Initiation) {
	s.ring.drop(s.ring.pending)
	s.responding, s.sendResponse = nil, false
	taken := -1
	if s.initiating != nil {
		taken = int(s.initiating.phase)
	}
	r := &responding{hello: in.hello, began: now}
	r.resume = s.up && r.hello.Resume == s.connection && r.hello.Incarnation == s.incarnation
	resume := uint64(0)
	if r.resume {
		resume = s.connection
	}
	phase := s.ring.freePhase(taken)
	cipher := s.choose(r.hello.Ciphers)
	head := wire.Header{Type: wire.TypeResponse, Phase: r.hello.Phase, Length: wire.ResponseSize, Cluster: s.cfg.ClusterHash,
		SFU: s.cfg.Peer.SFU, Slot: r.hello.Slot, Number: r.hello.Attempt}
	head.Put(r.frame[:])
	hello := s.hello(r.hello.Attempt, resume, phase, cipher)
	state := in.state
	in.state = nil
	_, toUs, toPeer, err := state.WriteMessage(r.frame[:wire.HeaderSize], hello.AppendTo(nil))
	if err != nil {
		s.stats.HandshakesFailed++ // the peer's ephemeral key is no point of the curve, or no randomness
		return
	}
	s.toPeer.put(r.frame[:])
	r.id = connectionID(state)
	s.responding, s.sendResponse = r, true
	s.ring.pending = s.newKeys(now, &r.hello, phase, cipher, toPeer, toUs)
}

// answer takes a response to our initiation. It reports whether it is authentic.
func (s *Session) answer(now time.Duration, h *wire.Header, frame []byte) bool {
	in := s.initiating
	if in == nil && h.Number == s.attempt {
		s.stats.FramesDuplicate++ // the copy from the other network
		return false
	}
	if in == nil || h.Phase != in.phase || h.Number != in.attempt {
		s.stats.FramesRefused++
		return false
	}
	if !s.toUs.check(frame) {
		s.stats.FramesForged++
		return false
	}
	s.initiating = nil
	var hello wire.Hello
	payload, toPeer, toUs, err := in.state.ReadMessage(nil, frame[wire.HeaderSize:len(frame)-wire.TagSize])
	if err != nil || hello.Parse(payload) != nil || hello.SFU != s.cfg.Peer.SFU || hello.Attempt != in.attempt ||
		hello.Resume != 0 && hello.Resume != in.resume ||
		hello.Ciphers != wire.CipherAESGCM && hello.Ciphers != wire.CipherChaChaPoly {
		s.stats.HandshakesFailed++ // the next attempt comes by itself
		return false
	}
	k := s.newKeys(now, &hello, in.phase, hello.Ciphers, toPeer, toUs)
	k.initiator = true
	s.install(now, k, &hello, hello.Resume != 0, connectionID(in.state))
	return true
}

// confirmed installs the pending keys: the peer has sent a frame under them.
func (s *Session) confirmed(now time.Duration) {
	s.install(now, s.ring.pending, &s.responding.hello, s.responding.resume, s.responding.id)
}

// newKeys makes the keys of a handshake and puts them into the ring.
func (s *Session) newKeys(now time.Duration, peer *wire.Hello, phase uint8, cipher wire.Cipher, toPeer, toUs *noise.CipherState) *keys {
	k := &keys{
		seal:        newAEAD(cipher, toPeer.UnsafeKey()),
		open:        newAEAD(cipher, toUs.UnsafeKey()),
		cipher:      cipher,
		localPhase:  phase,
		remotePhase: peer.Phase,
		remoteSlot:  peer.Slot,
		installed:   now,
	}
	s.ring.phase[phase] = k
	return k
}

// install makes k the current keys: of the streams that go on, or of new ones.
func (s *Session) install(now time.Duration, k *keys, peer *wire.Hello, resume bool, id uint64) {
	s.initiating, s.sendInitiation = nil, false
	if s.ring.pending != k {
		s.ring.drop(s.ring.pending)
	}
	s.ring.pending, s.responding, s.sendResponse = nil, nil, false
	s.retry, s.retryAt = 0, now
	k.installed = now
	if resume {
		s.ring.drop(s.ring.previous)
		s.ring.previous, s.ring.previousUntil = s.ring.current, now+s.cfg.KeepPrevious
		s.ring.current = k
		s.stats.Rekeys++
		return
	}
	s.lose(now, Replaced)
	s.ring.current = k
	s.begin(now, peer, id)
}

// expire drops what a handshake left behind.
func (s *Session) expire(now time.Duration) {
	if s.ring.previous != nil && now >= s.ring.previousUntil {
		s.ring.drop(s.ring.previous)
	}
	if s.responding != nil && now >= s.responding.began+confirmWithin {
		s.ring.drop(s.ring.pending)
		s.responding, s.sendResponse = nil, false
	}
}

// connectionID names the streams that a handshake begins: 64 bits of its hash,
// never 0.
func connectionID(state *noise.HandshakeState) uint64 {
	return binary.BigEndian.Uint64(state.ChannelBinding()) | 1
}
