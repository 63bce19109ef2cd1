package join

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/flynn/noise"
)

const (
	// MaxRecord bounds a record, in bytes: the configuration of the largest cluster
	// is a tenth of it.
	MaxRecord = 1 << 20

	prologue   = "RRTS join 1"
	lengthSize = 2
	tagSize    = 16
	// handshakeSize is a handshake message's: a public key and the tag of an empty
	// payload.
	handshakeSize = 32 + tagSize
	maxMessage    = 1<<16 - 1
	maxPart       = maxMessage - tagSize - 1
)

const (
	partLast byte = 0
	partMore byte = 1
)

var (
	// ErrSecret is what a peer that has another secret is refused with.
	ErrSecret = errors.New("join: the other side has another secret; copy the line again, and run it on one machine only")
	// ErrProtocol is what a peer is refused with that does not speak the protocol, or
	// whose bytes were changed on the way.
	ErrProtocol = errors.New("join: the other side does not speak this protocol, or the connection was tampered with")
)

var suite = noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashBLAKE2s)

// Session is one side's state machine: bytes that arrived go in, records and bytes to
// send come out. It belongs to one goroutine. After an error it is of no more use.
type Session struct {
	guest     bool
	handshake *noise.HandshakeState // nil once it is done
	send      *noise.CipherState
	receive   *noise.CipherState

	in     []byte // of a message that is not complete
	record []byte // of a record that is not complete
}

// NewGuest begins the side of the new machine. It returns what to send first.
func NewGuest(secret Secret, random io.Reader) (*Session, []byte, error) {
	s, err := newSession(true, secret, random)
	if err != nil {
		return nil, nil, err
	}
	message, _, _, err := s.handshake.WriteMessage(nil, nil)
	if err != nil {
		return nil, nil, fmt.Errorf("join: %w", err)
	}
	return s, framed(nil, message), nil
}

// NewHost begins the side of the machine that waits.
func NewHost(secret Secret, random io.Reader) (*Session, error) {
	return newSession(false, secret, random)
}

func newSession(guest bool, secret Secret, random io.Reader) (*Session, error) {
	h, err := noise.NewHandshakeState(noise.Config{
		CipherSuite: suite, Random: random, Pattern: noise.HandshakeNN, Initiator: guest,
		Prologue: []byte(prologue), PresharedKey: secret[:], PresharedKeyPlacement: 0,
	})
	if err != nil {
		return nil, fmt.Errorf("join: %w", err)
	}
	return &Session{guest: guest, handshake: h}, nil
}

// Trusted reports whether the other side has proved that it has the secret and is
// there now. A host knows it with the first record: the guest's first message could
// be a recording.
func (s *Session) Trusted() bool { return s.handshake == nil }

// Feed takes bytes that arrived, and keeps none of them. It returns bytes to send and
// the records that are complete now.
func (s *Session) Feed(in []byte) (out []byte, records [][]byte, err error) {
	s.in = append(s.in, in...)
	for len(s.in) >= lengthSize {
		size := int(binary.BigEndian.Uint16(s.in))
		if s.handshake != nil && size != handshakeSize {
			return out, records, fmt.Errorf("%w: a handshake message of %d bytes", ErrProtocol, size)
		}
		if len(s.in) < lengthSize+size {
			return out, records, nil
		}
		message := s.in[lengthSize : lengthSize+size]
		var record []byte
		if s.handshake != nil {
			out, err = s.shake(message, out)
		} else {
			record, err = s.part(message)
		}
		if err != nil {
			return out, records, err
		}
		if record != nil {
			records = append(records, record)
		}
		s.in = append(s.in[:0], s.in[lengthSize+size:]...)
	}
	return out, records, nil
}

// shake takes a handshake message and answers it.
func (s *Session) shake(message, out []byte) ([]byte, error) {
	_, toHost, toGuest, err := s.handshake.ReadMessage(nil, message)
	if err != nil {
		return out, ErrSecret
	}
	if s.guest {
		s.handshake, s.send, s.receive = nil, toHost, toGuest
		return out, nil
	}
	answer, toHost, toGuest, err := s.handshake.WriteMessage(nil, nil)
	if err != nil {
		return out, fmt.Errorf("join: %w", err)
	}
	s.handshake, s.send, s.receive = nil, toGuest, toHost
	return framed(out, answer), nil
}

// part takes a message after the handshake; it returns a record when this was its
// last part.
func (s *Session) part(message []byte) ([]byte, error) {
	plain, err := s.receive.Decrypt(nil, nil, message)
	if err != nil {
		return nil, fmt.Errorf("%w: a message does not open", ErrProtocol)
	}
	if len(plain) == 0 || plain[0] > partMore {
		return nil, fmt.Errorf("%w: a message that is no part of a record", ErrProtocol)
	}
	if len(s.record)+len(plain)-1 > MaxRecord {
		return nil, fmt.Errorf("%w: a record of more than %d bytes", ErrProtocol, MaxRecord)
	}
	s.record = append(s.record, plain[1:]...)
	if plain[0] == partMore {
		return nil, nil
	}
	record := s.record
	s.record = nil
	if record == nil {
		record = []byte{}
	}
	return record, nil
}

// Seal returns what to send for a record. The handshake has to be done.
func (s *Session) Seal(record []byte) ([]byte, error) {
	if s.handshake != nil {
		return nil, errors.New("join: nothing is sealed before the handshake is done")
	}
	if len(record) > MaxRecord {
		return nil, fmt.Errorf("join: a record of %d bytes is beyond the limit of %d", len(record), MaxRecord)
	}
	var out []byte
	for first := true; first || len(record) > 0; first = false {
		n := min(len(record), maxPart)
		mark := partMore
		if n == len(record) {
			mark = partLast
		}
		message, err := s.send.Encrypt(nil, nil, append([]byte{mark}, record[:n]...))
		if err != nil {
			return nil, fmt.Errorf("join: %w", err)
		}
		out = framed(out, message)
		record = record[n:]
	}
	return out, nil
}

func framed(to, message []byte) []byte {
	to = binary.BigEndian.AppendUint16(to, uint16(len(message)))
	return append(to, message...)
}
