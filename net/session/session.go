package session

import (
	"crypto/ecdh"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/net/wire"
)

// Errors of Send.
var (
	ErrPeerDown       = errors.New("session: peer is not up")
	ErrLaneFull       = errors.New("session: lane is full")
	ErrRecordTooLarge = errors.New("session: record is longer than the lane allows")
	ErrNoLane         = errors.New("session: no such lane")
)

// Session is one peer. It belongs to one goroutine.
type Session struct {
	cfg    Config
	toPeer *mac // of handshake frames
	toUs   *mac
	up     bool
	closed bool

	// Handshake and keys.
	ring           keyring
	initiating     *initiating
	responding     *responding
	sendInitiation bool
	sendResponse   bool
	goodbyes       int
	attempt        uint64        // of our newest initiation
	retry          time.Duration // time between the last two
	retryAt        time.Duration
	seen           struct{ incarnation, attempt uint64 } // newest authentic initiation

	// The connection: from Up to Lost.
	connection  uint64
	incarnation uint64 // the peer's
	pool        pool
	window      window
	receipts    receipts
	recovery    recovery
	path        [networks]path
	send        [lanes]sendLane
	receive     [lanes]receiveLane
	creditDue   uint8 // set of lanes whose credit the peer must be told
	maxRecord   [lanes]int
	draft       packet // of the frame being built
	probing     bool   // it is a probe
	decoder     wire.Decoder

	budgetBlocked bool          // a retransmission waits for the budget
	held          Networks      // a frame waits for the queue of one of their NICs
	heldSince     time.Duration // since when one does; never: none
	striped       Network       // of the last frame that left on one network only
	ackedOn       Network       // of the last ack that did
	requestRun    int           // frames of the request lane since the last of the bulk lane

	// Failure detection.
	observed  time.Duration // last time seen
	heard     time.Duration // last new frame of the peer
	suspected bool
	stretch   int
	stretchAt time.Duration
	resumedAt time.Duration // end of our last pause

	// Clocks.
	wall       int64         // Unix nanoseconds at time 0; 0: not known
	peerWall   int64         // the same of the peer's clock
	clockError time.Duration // of peerWall at clockAt; 0: it is not known
	clockAt    time.Duration

	events []Event
	told   []Event // the batch that the caller has
	untold bool    // an Up or Lost is among events
	stats  Stats   // the counters; the rest is filled in by Stats
}

// NewKeyPair returns the key pair of an X25519 private key: 32 random bytes.
func NewKeyPair(private [32]byte) (KeyPair, error) {
	key, err := ecdh.X25519().NewPrivateKey(private[:])
	if err != nil {
		return KeyPair{}, fmt.Errorf("session: private key: %w", err)
	}
	return KeyPair{Private: private, Public: [32]byte(key.PublicKey().Bytes())}, nil
}

// New checks cfg and returns a session that looks for its peer from its first
// Advance on.
func New(cfg Config) (*Session, error) {
	cfg.fill()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	s := &Session{
		cfg:    cfg,
		toPeer: newMAC(&cfg.PSK, &cfg.Peer.Public),
		toUs:   newMAC(&cfg.PSK, &cfg.Key.Public),
	}
	for i := range s.path {
		s.path[i] = path{net: Network(i), carrier: true, pacer: cfg.Pacer[i], maxMTU: cfg.MTU[i]}
	}
	for i, n := range cfg.LaneBytes {
		s.send[i] = sendLane{buf: buffer{pool: &s.pool}, limit: n}
		s.receive[i] = receiveLane{buf: buffer{pool: &s.pool}, window: n}
	}
	return s, nil
}

// begin starts a connection.
func (s *Session) begin(now time.Duration, peer *wire.Hello, id uint64) {
	restarted := s.stats.Ups > 0 && peer.Incarnation != s.incarnation
	s.up = true
	s.connection, s.incarnation = id, peer.Incarnation
	s.window.reset()
	s.receipts.reset()
	s.recovery.reset(now)
	for i := range s.path {
		s.path[i].reset(now)
	}
	for i := range s.send {
		credit := min(int(peer.Credit[i]), MaxLaneBytes)
		s.send[i].reset(uint64(credit))
		s.receive[i].reset(false)
		s.maxRecord[i] = longestRecord(min(credit, s.cfg.LaneBytes[i]))
	}
	s.creditDue = 0
	s.held, s.heldSince = None, never
	s.heard, s.suspected = now, false
	s.stretch, s.resumedAt = 1, now
	s.clockError = 0
	s.untold = true
	s.stats.Ups++
	s.event(Event{Kind: Up, Incarnation: peer.Incarnation, Restarted: restarted})
}

// lose ends the connection, if there is one.
func (s *Session) lose(now time.Duration, reason Reason) {
	if !s.up {
		return
	}
	s.up = false
	s.ring.drop(s.ring.current)
	s.ring.drop(s.ring.previous)
	if s.responding != nil && s.responding.resume {
		s.ring.drop(s.ring.pending)
		s.responding, s.sendResponse = nil, false
	}
	s.initiating, s.sendInitiation = nil, false
	s.retry, s.retryAt = 0, now
	for i := range s.send {
		s.send[i].reset(0)
		// Records of a connection whose Up was not told yet would come out of turn.
		s.receive[i].reset(!s.untold)
	}
	s.untold = true
	s.stats.Losses++
	s.event(Event{Kind: Lost, Incarnation: s.incarnation, Reason: reason})
}

func (s *Session) event(e Event) { s.events = append(s.events, e) }

// Send appends record to the stream of lane; the bytes are copied. Errors:
// ErrPeerDown (also while the peer was never up), ErrLaneFull (nothing of the
// record was taken; try again after the peer has acknowledged some),
// ErrRecordTooLarge, ErrNoLane. An empty record is a record.
func (s *Session) Send(now time.Duration, lane Lane, record []byte) error {
	s.observe(now)
	if lane >= lanes {
		return ErrNoLane
	}
	if !s.up {
		return ErrPeerDown
	}
	if len(record) > s.maxRecord[lane] {
		return ErrRecordTooLarge
	}
	l := &s.send[lane]
	if len(record) > s.Room(lane) {
		return ErrLaneFull
	}
	l.write(record)
	s.stats.Lane[lane].RecordsSent++
	s.stats.Lane[lane].BytesSent += uint64(len(record))
	return nil
}

// Queued is the number of bytes of lane that the peer has not acknowledged.
func (s *Session) Queued(lane Lane) int {
	return int(s.send[lane].end - s.send[lane].floor)
}

// Room is the longest record that Send would take now; negative: none.
func (s *Session) Room(lane Lane) int {
	if !s.up {
		return -1
	}
	return min(s.send[lane].limit-s.Queued(lane)-recordHead, s.maxRecord[lane])
}

// LinkState tells the local carrier of net. A network begins with its carrier up.
func (s *Session) LinkState(now time.Duration, net Network, up bool) {
	s.observe(now)
	if net >= networks || s.path[net].carrier == up {
		return
	}
	p := &s.path[net]
	p.carrier = up
	switch {
	case !s.up && up:
		s.retryAt = min(s.retryAt, now+firstRetry)
	case s.up && up:
		p.probeAt = now
	case s.up:
		s.fail(now, p, true)
	}
}

// SetWall tells the wall clock, in Unix nanoseconds, at now; probes carry it to
// the peer, and Stats.ClockOffset comes from it. Without it the clock is not
// compared.
func (s *Session) SetWall(now time.Duration, unixNano int64) {
	s.wall = unixNano - int64(now)
}

// Advance runs the timers that are due. Call it at NextTimeout or soon after; the
// first call starts the session.
func (s *Session) Advance(now time.Duration) {
	s.observe(now)
	if s.closed {
		return
	}
	s.expire(now)
	if s.up {
		s.judge(now)
	}
	if s.up {
		for i := range s.path {
			if p := &s.path[i]; p.exists() {
				if now >= p.probeAt {
					s.tick(now, p)
				}
				s.announce(now, p)
			}
		}
		if now >= s.recovery.lossAt {
			s.detectLosses(now)
		}
		if now >= s.probeTimeout() {
			s.timedOut(now)
		}
	}
	if now >= s.initiateAt() {
		s.initiate(now)
	}
}

// Early is Advance for what is due soon: for a caller that is awake for another reason
// and sends anyway. It saves the wake-up a little later; of sessions that share a clock
// the probes are due at the same times.
func (s *Session) Early(now time.Duration) {
	if !s.up {
		return
	}
	s.observe(now)
	for i := range s.path {
		if p := &s.path[i]; p.exists() && now >= p.probeAt-s.early() && !s.standsSoon(p) {
			s.tick(now, p)
		}
	}
}

// EarlyFrom is when Early has something to do, if it is not called before: at most
// NextTimeout.
func (s *Session) EarlyFrom() time.Duration {
	at := never
	for i := range s.path {
		if p := &s.path[i]; s.up && p.exists() {
			at = min(at, p.probeAt-s.early())
		}
	}
	return at
}

// NextTimeout is when Advance must be called next. Receive, Accept, Send, Next and
// LinkState may bring it forward.
func (s *Session) NextTimeout() time.Duration {
	if s.closed {
		return never
	}
	at := s.initiateAt()
	if s.ring.previous != nil {
		at = min(at, s.ring.previousUntil)
	}
	if s.responding != nil {
		at = min(at, s.responding.began+confirmWithin)
	}
	if !s.up {
		return at
	}
	at = min(at, s.Held(), s.deadAt(s.observed), s.receipts.due, s.recovery.lossAt, s.probeTimeout())
	if !s.suspected {
		at = min(at, s.suspectAt(s.observed))
	}
	if s.budgetBlocked {
		at = min(at, s.recovery.budgetAt())
	}
	for i := range s.path {
		p := &s.path[i]
		if !p.exists() {
			continue
		}
		at = min(at, p.probeAt)
		if p.alive && !p.announced {
			at = min(at, p.heldUntil)
		}
	}
	return at
}

// Take returns the complete records of lane that arrived, oldest first. Records and
// slice are valid until the next Take of the same lane. Taking is what extends the
// peer's credit: a lane that is not taken holds its sender back and no other lane.
// Take every lane before Events: a Lost event ends what was not taken, and records
// of a new connection come only after Events has returned its Up (so after an Up,
// Take again); a connection that began and ended in between leaves none.
func (s *Session) Take(lane Lane) [][]byte {
	l := &s.receive[lane]
	records := l.take(s.untold)
	if _, tell := l.credit(); tell && s.up {
		s.creditDue |= 1 << lane
	}
	return records
}

// Events returns what happened since the last call, oldest first; the slice is
// valid until the next call. Call it after every batch of other calls.
func (s *Session) Events() []Event {
	s.told, s.events = s.events, s.told[:0]
	if s.untold {
		s.untold = false
		for i := range s.receive {
			s.receive[i].orphan = nil
		}
	}
	return s.told
}

// Close tells the peer that this side stops. Lost follows at once; the next frames
// of Next say goodbye, and nothing comes after them.
func (s *Session) Close(now time.Duration) {
	s.observe(now)
	if s.closed {
		return
	}
	s.closed = true
	if k := s.ring.current; k != nil {
		s.lose(now, Local)
		s.ring.current = k // for the goodbyes
		s.goodbyes = goodbyes
	}
	s.initiating, s.sendInitiation = nil, false
	s.responding, s.sendResponse = nil, false
}
