package session

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/flynn/noise"

	"virtualservicesinc.com/net/wire"
)

const (
	// InitiationRate and InitiationBurst bound the initiations that are opened and
	// answered: at some 500 µs each, a flood of recorded ones costs 3 % of a
	// core, and a cluster of a hundred SFUs may start at once.
	InitiationRate  = 64 // per second
	InitiationBurst = 128

	// recentInitiations is how many initiations are remembered to tell copies: every
	// one comes over two networks, and all peers may begin at once.
	recentInitiations = 64
)

// Errors of Responder.Open. None of them names a peer: an initiation is nobody's
// until it is opened.
var (
	ErrInitiation  = errors.New("session: initiation not for us or not authentic")
	ErrCopy        = errors.New("session: copy of an initiation already opened")
	ErrRateLimited = errors.New("session: too many initiations")
)

// Responder finds out who sends an initiation. The first message of the handshake
// hides its sender, so it cannot be given to a session before it is opened with
// this SFU's key. One Responder serves all sessions of an SFU; it belongs to the
// goroutine that receives.
//
//	in, err := responder.Open(now, frame) // frame of wire.TypeInitiation
//	if err == nil {
//		sessions[in.Peer].Accept(now, in)
//	}
//
// A frame that is not from somebody who knows the pre-shared key costs one hash.
// One that is (or a recorded one) costs curve arithmetic, at most InitiationRate
// times a second.
type Responder struct {
	cfg   ResponderConfig
	mac   *mac
	peers map[[32]byte]uint16

	recent [recentInitiations][wire.TagSize]byte
	newest int // index into recent

	credit   time.Duration // one initiation costs a second divided by InitiationRate
	credited time.Duration
}

// ResponderConfig is what a Responder needs. All fields but Peers must be set;
// they mean what they mean in Config.
type ResponderConfig struct {
	Local       uint16
	Key         KeyPair
	PSK         [32]byte
	ClusterHash uint32
	Rand        io.Reader
	Peers       []Peer
}

// Initiation is an opened initiation: authentic, but perhaps recorded earlier, so
// it is no proof that the peer is alive. It is for one call of Session.Accept.
type Initiation struct {
	Peer  uint16 // who sent it
	hello wire.Hello
	state *noise.HandshakeState // nil when used
}

// NewResponder checks the configuration and returns a Responder.
func NewResponder(cfg ResponderConfig) (*Responder, error) {
	var faults []error
	check := func(ok bool, name string) {
		if !ok {
			faults = append(faults, fmt.Errorf("session: %s must be set", name))
		}
	}
	check(cfg.Local != 0, "Local")
	check(cfg.Key.Private != [32]byte{} && cfg.Key.Public != [32]byte{}, "Key")
	check(cfg.PSK != [32]byte{}, "PSK")
	check(cfg.Rand != nil, "Rand")
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}
	r := &Responder{cfg: cfg, mac: newMAC(&cfg.PSK, &cfg.Key.Public), credit: InitiationBurst * initiationCost}
	return r, r.SetPeers(cfg.Peers)
}

// SetPeers replaces the peers whose initiations are opened.
func (r *Responder) SetPeers(peers []Peer) error {
	m := make(map[[32]byte]uint16, len(peers))
	for _, p := range peers {
		if p.SFU == 0 || p.SFU == r.cfg.Local {
			return fmt.Errorf("session: peer number %d must not be 0 or our own", p.SFU)
		}
		if other, twice := m[p.Public]; twice {
			return fmt.Errorf("session: peers %d and %d have the same key", other, p.SFU)
		}
		m[p.Public] = p.SFU
	}
	r.peers = m
	return nil
}

const initiationCost = time.Second / InitiationRate

// allow takes the cost of one initiation, if there is credit for it.
func (r *Responder) allow(now time.Duration) bool {
	r.credit = min(r.credit+max(0, now-r.credited), InitiationBurst*initiationCost)
	r.credited = now
	if r.credit < initiationCost {
		return false
	}
	r.credit -= initiationCost
	return true
}

// Open authenticates and decrypts an initiation. It keeps nothing of frame. The
// errors are ErrInitiation, ErrCopy and ErrRateLimited.
func (r *Responder) Open(now time.Duration, frame []byte) (*Initiation, error) {
	h, err := wire.ParseHeader(frame)
	if err != nil || h.Type != wire.TypeInitiation || h.SFU != r.cfg.Local || h.Cluster != r.cfg.ClusterHash {
		return nil, ErrInitiation
	}
	frame = frame[:h.Length]
	if !r.mac.check(frame) {
		return nil, ErrInitiation
	}
	tag := [wire.TagSize]byte(frame[len(frame)-wire.TagSize:])
	for i := range r.recent {
		if r.recent[i] == tag {
			return nil, ErrCopy
		}
	}
	if !r.allow(now) {
		return nil, ErrRateLimited
	}
	r.newest = (r.newest + 1) % len(r.recent)
	r.recent[r.newest] = tag

	state, err := handshakeState(false, &r.cfg.Key, &r.cfg.PSK, nil, frame, r.cfg.Rand)
	if err != nil {
		return nil, ErrInitiation
	}
	in := &Initiation{state: state}
	payload, _, _, err := state.ReadMessage(nil, frame[wire.HeaderSize:len(frame)-wire.TagSize])
	if err != nil || in.hello.Parse(payload) != nil || in.hello.Attempt != h.Number {
		return nil, ErrInitiation
	}
	in.Peer = r.peers[[32]byte(state.PeerStatic())]
	if in.Peer == 0 || in.Peer != in.hello.SFU {
		return nil, ErrInitiation
	}
	return in, nil
}
