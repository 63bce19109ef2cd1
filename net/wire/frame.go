package wire

import (
	"encoding/binary"
	"errors"
)

// What the specification fixes.
const (
	Version    = 1  // of the frame's outside and of every chunk; history: 1 is the first
	HeaderSize = 20 // clear bytes
	TagSize    = 16 // AEAD tag, or MAC of a handshake frame
	Overhead   = HeaderSize + TagSize

	// MaxFrame bounds a frame, in bytes: a jumbo frame's payload and some room.
	// Longer frames, where a link could carry them, buy nothing measurable, and
	// receive buffers have this length.
	MaxFrame = 9216

	// Lanes is the number of record streams in each direction.
	Lanes = 4
)

// Type is what a frame is for. Append-only: the numbers are on the wire.
type Type uint8

const (
	TypeInitiation Type = 1 // first message of a handshake
	TypeResponse   Type = 2 // second message of a handshake
	TypeData       Type = 3 // chunks under the session's keys; the first one confirms the keys
)

// ClusterOffset is where a frame holds Header.Cluster, in bytes, and behind it Header.SFU:
// a link may let the kernel keep foreign frames out.
const ClusterOffset = 4

// ErrFrame is returned for every frame that ParseHeader refuses.
var ErrFrame = errors.New("wire: malformed frame header")

// Header is the 20 clear bytes of a frame.
type Header struct {
	Type    Type
	Phase   uint8  // key phase, 0–3
	Length  int    // of the whole frame, in bytes
	Cluster uint32 // hash of the cluster's id
	SFU     uint16 // the receiver's number
	Slot    uint16 // the receiver's slot; 0 in an initiation
	Number  uint64 // packet number, or the handshake's attempt
}

// ParseHeader decodes the clear bytes of frame. The frame proper is
// frame[:h.Length]; what stands behind is a link's padding. It does not allocate.
func ParseHeader(frame []byte) (h Header, err error) {
	if len(frame) < Overhead {
		return h, ErrFrame
	}
	h = Header{
		Type:    Type(frame[0] & 15),
		Phase:   frame[1],
		Length:  int(binary.BigEndian.Uint16(frame[2:])),
		Cluster: binary.BigEndian.Uint32(frame[ClusterOffset:]),
		SFU:     binary.BigEndian.Uint16(frame[8:]),
		Slot:    binary.BigEndian.Uint16(frame[10:]),
		Number:  binary.BigEndian.Uint64(frame[12:]),
	}
	ok := frame[0]>>4 == Version && h.Phase < 4 && h.Length >= Overhead && h.Length <= len(frame) && h.Length <= MaxFrame
	switch h.Type {
	case TypeInitiation:
		ok = ok && h.Length == InitiationSize && h.Slot == 0 && h.Phase == 0
	case TypeResponse:
		ok = ok && h.Length == ResponseSize && h.Slot != 0
	case TypeData:
		ok = ok && h.Slot != 0
	default:
		ok = false
	}
	if !ok {
		return h, ErrFrame
	}
	return h, nil
}

// Put writes the header's 20 bytes to b.
func (h *Header) Put(b []byte) {
	_ = b[HeaderSize-1]
	b[0] = Version<<4 | byte(h.Type)
	b[1] = h.Phase
	binary.BigEndian.PutUint16(b[2:], uint16(h.Length))
	binary.BigEndian.PutUint32(b[ClusterOffset:], h.Cluster)
	binary.BigEndian.PutUint16(b[8:], h.SFU)
	binary.BigEndian.PutUint16(b[10:], h.Slot)
	binary.BigEndian.PutUint64(b[12:], h.Number)
}
