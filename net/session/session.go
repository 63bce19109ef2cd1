package session

import (
	"errors"
	"time"
)

// Errors of Send.
var (
	ErrPeerDown       = errors.New("session: peer is not up")
	ErrLaneFull       = errors.New("session: lane is full")
	ErrRecordTooLarge = errors.New("session: record is longer than the lane allows")
	ErrNoLane         = errors.New("session: no such lane")
)

// maxKeyFrames is the hard bound on frames under one key; a key that could not be
// replaced by then seals nothing more.
const maxKeyFrames = 1 << 32

// Session is one peer. It belongs to one goroutine.
type Session struct {
	cfg Config
}

// New checks cfg and returns a session that will look for its peer from its first
// Advance on.
func New(cfg Config) (*Session, error) {
	cfg.fill()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Session{cfg: cfg}, nil
}

// Receive takes a response or data frame that arrived on net. The frame is
// decrypted in place and is the caller's again on return. It reports whether the
// frame is authentic and new on that network: then, and only then, the caller may
// learn the peer's address on net from it. Anything else costs one counter.
func (s *Session) Receive(now time.Duration, net Network, frame []byte) (authentic bool) {
	return false
}

// Accept takes an initiation that Responder.Open attributed to this peer. Nothing
// changes for the streams before the peer has confirmed the new keys.
func (s *Session) Accept(now time.Duration, in *Initiation) {}

// Send appends record to the stream of lane; the bytes are copied. Errors:
// ErrPeerDown (also while the peer was never up), ErrLaneFull (nothing of the
// record was taken; try again after the peer has acknowledged some),
// ErrRecordTooLarge, ErrNoLane. An empty record is a record.
func (s *Session) Send(now time.Duration, lane Lane, record []byte) error { return ErrPeerDown }

// Queued is the number of bytes of lane that the peer has not acknowledged, and
// Room is the longest record that Send would take now (-1: none).
func (s *Session) Queued(lane Lane) int { return 0 }
func (s *Session) Room(lane Lane) int   { return -1 }

// LinkState tells the local carrier of net. A network begins with its carrier up.
func (s *Session) LinkState(now time.Duration, net Network, up bool) {}

// SetWall tells the wall clock, in Unix nanoseconds, at now; probes carry it to
// the peer, and Stats.ClockOffset comes from it. Without it the clock is not
// compared.
func (s *Session) SetWall(now time.Duration, unixNano int64) {}

// Advance runs the timers that are due. Call it at NextTimeout or soon after; the
// first call starts the session.
func (s *Session) Advance(now time.Duration) {}

// NextTimeout is when Advance must be called next. Receive, Accept, Send, Next and
// LinkState may bring it forward.
func (s *Session) NextTimeout() time.Duration { return 0 }

// Next builds the next frame to send in dst, which must have room for the longest
// MTU of the Config, and says on which networks exactly these bytes must leave. n is 0 when
// nothing is to be sent now. Call it until then, after every batch of other calls.
// Handshake frames (wire.TypeInitiation, wire.TypeResponse) should be broadcast: what
// provoked them may be a replay from another address. A failure to send is loss
// like any other and needs no report; on one network it must not keep the frame
// from the other.
func (s *Session) Next(now time.Duration, dst []byte) (n int, on Networks) { return 0, None }

// Take returns the complete records of lane that arrived, oldest first. Records and
// slice are valid until the next Take of the same lane. Taking is what extends the
// peer's credit: a lane that is not taken holds its sender back and no other lane.
// Take every lane before Events: a Lost event ends what was not taken, and records
// of a new connection come only after Events has returned its Up.
func (s *Session) Take(lane Lane) [][]byte { return nil }

// Events returns what happened since the last call, oldest first; the slice is
// valid until the next call. Call it after every batch of other calls.
func (s *Session) Events() []Event { return nil }

// Close tells the peer that this side stops. Lost follows at once; the next three
// frames of Next say goodbye, and nothing comes after them.
func (s *Session) Close(now time.Duration) {}

// Stats fills st with the session's counters and estimates.
func (s *Session) Stats(st *Stats) {}
