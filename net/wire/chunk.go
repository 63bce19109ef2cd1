package wire

import (
	"encoding/binary"
	"errors"
)

// Chunk is the type byte of a chunk. Append-only: the numbers are on the wire.
type Chunk uint8

const (
	ChunkPad      Chunk = 0
	ChunkFragment Chunk = 1
	ChunkAck      Chunk = 2
	ChunkCredit   Chunk = 3
	ChunkFloor    Chunk = 4
	ChunkProbe    Chunk = 5
	ChunkReply    Chunk = 6
	ChunkClose    Chunk = 7
)

// Sizes of whole chunks, in bytes.
const (
	FragmentOverhead = 12 // a fragment chunk is this much longer than its bytes
	CreditSize       = 10
	FloorSize        = 9
	ProbeSize        = 15
	ReplySize        = 32
	CloseSize        = 2

	// MaxRanges bounds the ranges of one ack: older ones were reported before, and
	// the chunk must leave room for data in a small frame.
	MaxRanges = 32
	// MaxAckSize is the length of an ack with MaxRanges ranges.
	MaxAckSize = ackHead + 4*(MaxRanges-1)

	ackHead  = 2 + 2*16 + 8 + 2
	maxRange = 1 << 16 // numbers in one range, and in one gap: 16 bits of length−1
)

// ErrChunk is returned for every payload that Decoder refuses.
var ErrChunk = errors.New("wire: malformed chunk")

// Fragment is part of a lane's stream.
type Fragment struct {
	Lane     uint8
	Position uint64 // of Data[0] in the stream
	Data     []byte // aliases the payload; never empty; Position+len(Data) does not overflow
}

// Range is the packet numbers First to Last, both included.
type Range struct {
	First, Last uint64
}

// Receipt is what an Ack says of one network.
type Receipt struct {
	Next        uint64 // highest packet number received there, plus one; 0: none
	DelayMicros uint32 // from that receipt until the ack was built
	Received    uint32 // frames received there since the connection began, modulo 2³²
}

// Ack tells which packets arrived.
type Ack struct {
	Network [2]Receipt // A, B
	Ranges  []Range    // on either network; newest first, disjoint, not touching; 1–MaxRanges
}

// Credit lets the receiver of the chunk send its stream up to Position.
type Credit struct {
	Lane     uint8
	Position uint64
}

// Probe asks for a Reply over the same network.
type Probe struct {
	Network   uint8  // on which it was sent: 0 is A, 1 is B
	Want      bool   // reply at once, not with the next probe
	Sequence  uint32 // counts the probes of this network
	SentNanos int64  // the sender's clock
}

// Reply answers the newest Probe of a network.
type Reply struct {
	Network   uint8  // of the probe
	Sequence  uint32 // of the probe
	SentNanos int64  // of the probe
	HeldNanos int64  // from the probe's arrival until this reply was built; not negative
	WallNanos int64  // the replier's wall clock, Unix nanoseconds; 0: not known
	Size      uint16 // length of the longest probe frame since the last reply
}

// AppendFragmentHead appends the chunk of a fragment but for its n bytes, which
// the caller appends next. n must be 1–65535.
func AppendFragmentHead(b []byte, lane uint8, position uint64, n int) []byte {
	b = append(b, byte(ChunkFragment), lane)
	b = binary.BigEndian.AppendUint64(b, position)
	return binary.BigEndian.AppendUint16(b, uint16(n))
}

// AppendAck appends an ack with the newest of a.Ranges, which must be as Ack says
// and not empty; a range or gap too long for the chunk ends the list early.
func AppendAck(b []byte, a *Ack) []byte {
	count := len(b) + 1
	b = append(b, byte(ChunkAck), 1)
	for _, r := range a.Network {
		b = binary.BigEndian.AppendUint64(b, r.Next)
		b = binary.BigEndian.AppendUint32(b, r.DelayMicros)
		b = binary.BigEndian.AppendUint32(b, r.Received)
	}
	first := clipRange(a.Ranges[0])
	b = binary.BigEndian.AppendUint64(b, first.Last)
	b = binary.BigEndian.AppendUint16(b, uint16(first.Last-first.First))
	if first != a.Ranges[0] {
		return b
	}
	below := first.First
	for _, r := range a.Ranges[1:min(len(a.Ranges), MaxRanges)] {
		gap := below - r.Last - 1
		if gap > maxRange {
			break
		}
		c := clipRange(r)
		b = binary.BigEndian.AppendUint16(b, uint16(gap-1))
		b = binary.BigEndian.AppendUint16(b, uint16(c.Last-c.First))
		b[count]++
		if c != r {
			break
		}
		below = r.First
	}
	return b
}

// clipRange keeps the newest part of r that a chunk can say.
func clipRange(r Range) Range {
	if r.Last-r.First >= maxRange {
		r.First = r.Last - (maxRange - 1)
	}
	return r
}

// AppendCredit appends a credit.
func AppendCredit(b []byte, c Credit) []byte {
	b = append(b, byte(ChunkCredit), c.Lane)
	return binary.BigEndian.AppendUint64(b, c.Position)
}

// AppendFloor appends a floor.
func AppendFloor(b []byte, number uint64) []byte {
	return binary.BigEndian.AppendUint64(append(b, byte(ChunkFloor)), number)
}

// AppendProbe appends a probe.
func AppendProbe(b []byte, p *Probe) []byte {
	want := byte(0)
	if p.Want {
		want = 1
	}
	b = append(b, byte(ChunkProbe), p.Network, want)
	b = binary.BigEndian.AppendUint32(b, p.Sequence)
	return binary.BigEndian.AppendUint64(b, uint64(p.SentNanos))
}

// AppendReply appends a reply.
func AppendReply(b []byte, r *Reply) []byte {
	b = append(b, byte(ChunkReply), r.Network)
	b = binary.BigEndian.AppendUint32(b, r.Sequence)
	b = binary.BigEndian.AppendUint64(b, uint64(r.SentNanos))
	b = binary.BigEndian.AppendUint64(b, uint64(r.HeldNanos))
	b = binary.BigEndian.AppendUint64(b, uint64(r.WallNanos))
	return binary.BigEndian.AppendUint16(b, r.Size)
}

// AppendClose appends a close.
func AppendClose(b []byte, reason uint8) []byte {
	return append(b, byte(ChunkClose), reason)
}

// Decoder walks the chunks of one payload. The zero value is ready for Reset; one
// Decoder serves any number of payloads and does not allocate.
//
//	d.Reset(payload)
//	for d.Next() {
//		switch d.Type { … d.Fragment … }
//	}
//	if d.Err() != nil { … }
//
// After Next only the field that belongs to Type means anything.
type Decoder struct {
	Type     Chunk
	Fragment Fragment
	Ack      Ack // its Ranges are the Decoder's and change with the next ack
	Credit   Credit
	Floor    uint64
	Probe    Probe
	Reply    Reply
	Reason   uint8 // of a close

	rest   []byte
	bad    bool
	ranges [MaxRanges]Range
}

// Reset begins a payload. Fragments will alias it.
func (d *Decoder) Reset(payload []byte) {
	d.rest, d.bad = payload, false
}

// Err is ErrChunk if Next stopped at something that is no chunk.
func (d *Decoder) Err() error {
	if d.bad {
		return ErrChunk
	}
	return nil
}

// Next decodes the next chunk. It is false at the end of the payload, at a pad,
// and at the first malformed chunk.
func (d *Decoder) Next() bool {
	if d.bad || len(d.rest) == 0 {
		return false
	}
	b := d.rest
	d.Type = Chunk(b[0])
	n := 0 // length of the chunk; 0: malformed
	switch d.Type {
	case ChunkPad:
		for _, c := range b {
			if c != 0 {
				d.bad = true
			}
		}
		d.rest = nil
		return false
	case ChunkFragment:
		n = d.fragment(b)
	case ChunkAck:
		n = d.ack(b)
	case ChunkCredit:
		if len(b) >= CreditSize && b[1] < Lanes {
			d.Credit = Credit{Lane: b[1], Position: binary.BigEndian.Uint64(b[2:])}
			n = CreditSize
		}
	case ChunkFloor:
		if len(b) >= FloorSize {
			d.Floor = binary.BigEndian.Uint64(b[1:])
			n = FloorSize
		}
	case ChunkProbe:
		if len(b) >= ProbeSize && b[1] < 2 && b[2] < 2 {
			d.Probe = Probe{
				Network:   b[1],
				Want:      b[2] == 1,
				Sequence:  binary.BigEndian.Uint32(b[3:]),
				SentNanos: int64(binary.BigEndian.Uint64(b[7:])),
			}
			n = ProbeSize
		}
	case ChunkReply:
		if len(b) >= ReplySize && b[1] < 2 && b[14] < 0x80 {
			d.Reply = Reply{
				Network:   b[1],
				Sequence:  binary.BigEndian.Uint32(b[2:]),
				SentNanos: int64(binary.BigEndian.Uint64(b[6:])),
				HeldNanos: int64(binary.BigEndian.Uint64(b[14:])),
				WallNanos: int64(binary.BigEndian.Uint64(b[22:])),
				Size:      binary.BigEndian.Uint16(b[30:]),
			}
			n = ReplySize
		}
	case ChunkClose:
		if len(b) >= CloseSize {
			d.Reason = b[1]
			n = CloseSize
		}
	}
	if n == 0 {
		d.bad = true
		return false
	}
	d.rest = b[n:]
	return true
}

func (d *Decoder) fragment(b []byte) int {
	if len(b) < FragmentOverhead {
		return 0
	}
	position := binary.BigEndian.Uint64(b[2:])
	n := int(binary.BigEndian.Uint16(b[10:]))
	if b[1] >= Lanes || n == 0 || n > len(b)-FragmentOverhead || position+uint64(n) < position {
		return 0
	}
	d.Fragment = Fragment{Lane: b[1], Position: position, Data: b[FragmentOverhead : FragmentOverhead+n : FragmentOverhead+n]}
	return FragmentOverhead + n
}

func (d *Decoder) ack(b []byte) int {
	if len(b) < ackHead || b[1] == 0 || b[1] > MaxRanges {
		return 0
	}
	count := int(b[1])
	size := ackHead + 4*(count-1)
	if len(b) < size {
		return 0
	}
	for i := range d.Ack.Network {
		r := b[2+16*i:]
		d.Ack.Network[i] = Receipt{
			Next:        binary.BigEndian.Uint64(r),
			DelayMicros: binary.BigEndian.Uint32(r[8:]),
			Received:    binary.BigEndian.Uint32(r[12:]),
		}
	}
	last := binary.BigEndian.Uint64(b[34:])
	length := uint64(binary.BigEndian.Uint16(b[42:]))
	if last < length {
		return 0
	}
	d.ranges[0] = Range{First: last - length, Last: last}
	below := last - length
	for i := 1; i < count; i++ {
		r := b[ackHead+4*(i-1):]
		gap := uint64(binary.BigEndian.Uint16(r)) + 1
		length := uint64(binary.BigEndian.Uint16(r[2:]))
		if below < gap+1+length {
			return 0
		}
		last := below - gap - 1
		d.ranges[i] = Range{First: last - length, Last: last}
		below = last - length
	}
	d.Ack.Ranges = d.ranges[:count]
	return size
}
