package session

import (
	"errors"
	"time"

	"virtualservicesinc.com/net/wire"
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
// One that is (or a recorded one) costs two curve operations, at most
// InitiationRate times a second.
type Responder struct{}

// ResponderConfig is what a Responder needs; its fields mean what they mean in
// Config. Peers may be empty.
type ResponderConfig struct {
	Local       uint16
	Key         KeyPair
	PSK         [32]byte
	ClusterHash uint32
	Peers       []Peer
}

// Initiation is an opened initiation: authentic, but perhaps recorded earlier, so
// it is no proof that the peer is alive. It belongs to one call of Session.Accept.
type Initiation struct {
	Peer  uint16 // who sent it
	hello wire.Hello
}

// NewResponder checks the configuration and returns a Responder.
func NewResponder(cfg ResponderConfig) (*Responder, error) { return &Responder{}, nil }

// SetPeers replaces the peers whose initiations are opened.
func (r *Responder) SetPeers(peers []Peer) error { return nil }

// Open authenticates and decrypts an initiation. It keeps nothing of frame. The
// errors are ErrInitiation, ErrCopy and ErrRateLimited.
func (r *Responder) Open(now time.Duration, frame []byte) (*Initiation, error) {
	return nil, ErrInitiation
}
