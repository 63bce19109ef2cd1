package session

import "time"

// Stats is a snapshot of a session. Counters begin at 0 with the session and
// never go back.
type Stats struct {
	Up          bool
	Suspected   bool
	Incarnation uint64 // the peer's, of the last Up
	Cipher      string // of the current keys: "AES-256-GCM" or "ChaCha20-Poly1305"
	Stretch     int    // by how much silence is stretched because this process was paused: 1–8

	// ClockOffset is the peer's wall clock less this one's, right to within
	// ClockError; ClockError 0 means that it is not known.
	ClockOffset, ClockError time.Duration

	Ups, Losses, Rekeys uint64

	FramesRefused   uint64 // malformed, other cluster, unknown key phase
	FramesForged    uint64 // authentication failed
	FramesReplayed  uint64 // seen before on the same network, or older than the window
	FramesDuplicate uint64 // authentic second copies, from the other network
	FramesMalformed uint64 // authentic, but no valid sequence of chunks, or beyond the credit

	FragmentsResent uint64 // retransmissions
	BytesResent     uint64

	Network [networks]NetworkStats
	Lane    [lanes]LaneStats
}

// NetworkStats is one network's part of Stats.
type NetworkStats struct {
	Configured, Carrier, Up, Held bool

	FramesSent, BytesSent         uint64
	FramesReceived, BytesReceived uint64 // authentic, copies included
	FramesLost                    uint64 // sent here and not received there, as the peer counts
	ProbesMissed                  uint64
	RTT                           time.Duration // smoothed, 0 when unknown
	MTU                           int           // frame length in use, in bytes
	Window, InFlight              int           // congestion window and what is under way, in bytes
}

// LaneStats is one lane's part of Stats.
type LaneStats struct {
	RecordsSent, BytesSent         uint64
	RecordsReceived, BytesReceived uint64
	Queued                         int // bytes that the peer has not acknowledged
	Untaken                        int // bytes that the caller has not taken
}
