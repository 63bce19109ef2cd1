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
	HandshakesFailed    uint64 // authentic, but came to nothing

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
	Paced                         time.Duration // in which request or bulk frames waited for the NIC
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

// Stats fills st with the session's counters and estimates.
func (s *Session) Stats(st *Stats) {
	*st = s.stats
	st.Up, st.Suspected, st.Incarnation = s.up, s.up && s.suspected, s.incarnation
	if k := s.ring.current; s.up {
		st.Cipher = k.cipher.String()
	}
	st.Stretch = s.stretchNow(s.observed)
	if s.up && s.clockError != 0 {
		st.ClockOffset, st.ClockError = time.Duration(s.peerWall-s.wall), s.clockError
	}
	for i := range s.path {
		p := &s.path[i]
		st.Network[i] = NetworkStats{
			Configured: p.exists(), Carrier: p.carrier, Up: s.up && p.alive && !p.held(s.observed), Held: s.up && p.held(s.observed),
			FramesSent: p.framesSent, BytesSent: p.bytesSent, FramesReceived: p.framesReceived, BytesReceived: p.bytesReceived,
			FramesLost: p.framesLost + p.lostNow, ProbesMissed: p.probesMissed, Paced: p.paced,
			RTT: p.srtt, MTU: p.mtu, Window: p.window, InFlight: p.inFlight,
		}
	}
	for i := range st.Lane {
		l := &s.receive[i]
		st.Lane[i].RecordsReceived, st.Lane[i].BytesReceived = l.records, l.bytes
		st.Lane[i].Queued = s.Queued(Lane(i))
		st.Lane[i].Untaken = int(l.next - l.taken)
	}
}
