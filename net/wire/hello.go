package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// Sizes of the handshake's frames; they are fixed, so that a frame of another
// length is refused before any cryptography.
const (
	HelloSize = 48

	dhSize = 32 // X25519 public key

	// InitiationSize is the length of an initiation frame in bytes.
	InitiationSize = Overhead + dhSize + (dhSize + TagSize) + (HelloSize + TagSize)
	// ResponseSize is the length of a response frame in bytes.
	ResponseSize = Overhead + dhSize + (HelloSize + TagSize)
)

// Cipher is an AEAD for data frames, and a bit in Hello.Ciphers. Append-only: the
// numbers are on the wire.
type Cipher uint8

const (
	CipherAESGCM     Cipher = 1 << 0 // AES-256-GCM
	CipherChaChaPoly Cipher = 1 << 1 // ChaCha20-Poly1305
)

func (c Cipher) String() string {
	switch c {
	case CipherAESGCM:
		return "AES-256-GCM"
	case CipherChaChaPoly:
		return "ChaCha20-Poly1305"
	}
	return fmt.Sprintf("cipher(%d)", uint8(c))
}

// ErrHello is returned for every Hello that Parse refuses.
var ErrHello = errors.New("wire: malformed hello")

// Hello is the sealed payload of both handshake messages.
type Hello struct {
	Incarnation uint64        // of the sender's process; never 0
	Attempt     uint64        // the initiator's count of its handshakes; repeated in the response
	Resume      uint64        // connection whose streams go on, 0 for new streams
	SFU         uint16        // the sender's number; never 0
	Slot        uint16        // the slot that frames to the sender must bear; never 0
	Phase       uint8         // the key phase that frames to the sender must bear, 0–3
	Ciphers     Cipher        // offered (a set), or chosen (exactly one)
	Credit      [Lanes]uint32 // first receive window per lane, in bytes
}

// AppendTo appends the HelloSize bytes of h to b.
func (h *Hello) AppendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, h.Incarnation)
	b = binary.BigEndian.AppendUint64(b, h.Attempt)
	b = binary.BigEndian.AppendUint64(b, h.Resume)
	b = binary.BigEndian.AppendUint16(b, h.SFU)
	b = binary.BigEndian.AppendUint16(b, h.Slot)
	b = append(b, h.Phase, byte(h.Ciphers), 0, 0)
	for _, c := range h.Credit {
		b = binary.BigEndian.AppendUint32(b, c)
	}
	return b
}

// Parse decodes b, which must be exactly HelloSize bytes. It keeps nothing of b.
func (h *Hello) Parse(b []byte) error {
	if len(b) != HelloSize {
		return ErrHello
	}
	*h = Hello{
		Incarnation: binary.BigEndian.Uint64(b),
		Attempt:     binary.BigEndian.Uint64(b[8:]),
		Resume:      binary.BigEndian.Uint64(b[16:]),
		SFU:         binary.BigEndian.Uint16(b[24:]),
		Slot:        binary.BigEndian.Uint16(b[26:]),
		Phase:       b[28],
		Ciphers:     Cipher(b[29]),
	}
	for i := range h.Credit {
		h.Credit[i] = binary.BigEndian.Uint32(b[32+4*i:])
	}
	if h.Incarnation == 0 || h.SFU == 0 || h.Slot == 0 || h.Phase > 3 || h.Ciphers == 0 ||
		h.Ciphers&^(CipherAESGCM|CipherChaChaPoly) != 0 || b[30] != 0 || b[31] != 0 {
		return ErrHello
	}
	return nil
}
