package message

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"virtualservicesinc.com/rrts/message/u128"
)

// This file is the runtime of generated code: the primitives of the protobuf wire
// format. Decoders take the whole input and an index, and return the index after
// what they read, or a negative one when the input is malformed.

// Wire types, the low three bits of a tag. Fixed by protobuf.
const (
	WireVarint     = 0
	WireFixed64    = 1
	WireBytes      = 2
	WireStartGroup = 3 // deprecated in protobuf; skipped when met
	WireEndGroup   = 4
	WireFixed32    = 5
)

const (
	// MaxDepth bounds how deep messages (and skipped groups) may nest, so that
	// hostile input cannot exhaust the stack. Protobuf for C++ and Java have the
	// same bound.
	MaxDepth = 100
	// maxVarint is the longest varint, in bytes.
	maxVarint = 10
	// maxField is the largest field number of protobuf.
	maxField = 1<<29 - 1
	// bad is the index that decoders return for malformed input.
	bad = -1
)

// ErrMalformed is what every Parse error of this package and of generated code
// is, for errors.Is.
var ErrMalformed = errors.New("message: malformed")

// BadField is a Parse error: the full name of the field that is malformed, and if
// need be the bound that it breaks. A constant BadField is made without
// allocation, so hostile input costs nothing.
type BadField string

func (f BadField) Error() string { return "message: malformed: " + string(f) }

// Is makes errors.Is(f, ErrMalformed) true.
func (f BadField) Is(target error) bool { return target == ErrMalformed }

// AppendVarint appends v to b as a varint.
func AppendVarint(b []byte, v uint64) []byte {
	if v < 0x80 {
		return append(b, byte(v))
	}
	return appendVarint(b, v)
}

// appendVarint writes ten bytes where there is room and cuts off those beyond the
// length of v: the branches of a loop would be mispredicted about once a number.
func appendVarint(b []byte, v uint64) []byte {
	if cap(b)-len(b) < maxVarint {
		for ; v >= 0x80; v >>= 7 {
			b = append(b, byte(v)|0x80)
		}
		return append(b, byte(v))
	}
	n := SizeVarint(v)
	putVarint(b[len(b):len(b)+maxVarint], v, n)
	return b[:len(b)+n]
}

// putVarint writes v, a varint of n bytes, to w, which has room for the longest one,
// and leaves waste behind it.
func putVarint(w []byte, v uint64, n int) {
	more := uint64(1)<<(8*uint(n-1)) - 1 // all bytes but the last; all eight from length 9
	binary.LittleEndian.PutUint64(w, spread(v)|more&highBits)
	w[8], w[9] = byte(v>>56), 1 // bit 63 is just where the ninth byte needs it
}

// highBits are the bits that say that a varint goes on.
const highBits = 0x8080808080808080

// spread puts the low 56 bits of v into the low seven bits of eight bytes.
func spread(v uint64) uint64 {
	v = v&(1<<28-1) | v&(1<<56-1<<28)<<4
	v = v&0x0000_3fff_0000_3fff | v&0x0fff_c000_0fff_c000<<2
	return v&0x007f_007f_007f_007f | v&0x3f80_3f80_3f80_3f80<<1
}

// gather is the inverse of spread; it ignores the high bits.
func gather(x uint64) uint64 {
	x = x&0x007f_007f_007f_007f | x&0x7f00_7f00_7f00_7f00>>1
	x = x&0x0000_3fff_0000_3fff | x&0x3fff_0000_3fff_0000>>2
	return x&(1<<28-1) | x>>4&(1<<56-1<<28)
}

// SizeVarint returns the length of v as a varint, in bytes.
func SizeVarint(v uint64) int { return (9*bits.Len64(v|1) + 64) / 64 }

// SizeBytes returns the length of n bytes with their length in front.
func SizeBytes(n int) int { return SizeVarint(uint64(n)) + n }

// Varint reads a varint at b[i].
func Varint(b []byte, i int) (v uint64, next int) {
	if i < len(b) && b[i] < 0x80 {
		return uint64(b[i]), i + 1
	}
	if len(b)-i < maxVarint {
		return varint(b, i)
	}
	x := binary.LittleEndian.Uint64(b[i:])
	if last := ^x & highBits; last != 0 {
		// The lowest bit of last is the high bit of the varint's last byte.
		return gather(x & (last ^ (last - 1))), i + bits.TrailingZeros64(last)>>3 + 1
	}
	c, d := uint64(b[i+8]), uint64(b[i+9])
	switch {
	case c < 0x80:
		return gather(x) | c<<56, i + 9
	case d <= 1:
		return gather(x) | c<<57>>1 | d<<63, i + 10
	}
	return 0, bad
}

// varint does the same near the end of b.
func varint(b []byte, i int) (v uint64, next int) {
	for shift := uint(0); i < len(b); shift += 7 {
		c := b[i]
		i++
		if c < 0x80 {
			return v | uint64(c)<<shift, i
		}
		v |= uint64(c&0x7f) << shift
	}
	return 0, bad
}

// Zigzag maps small negative and positive numbers to small unsigned ones.
func Zigzag(v int64) uint64 { return uint64(v)<<1 ^ uint64(v>>63) }

// Unzigzag is the inverse of Zigzag.
func Unzigzag(v uint64) int64 { return int64(v>>1) ^ -int64(v&1) }

// AppendFixed32 appends v to b as four bytes, little-endian.
func AppendFixed32(b []byte, v uint32) []byte { return binary.LittleEndian.AppendUint32(b, v) }

// AppendFixed64 appends v to b as eight bytes, little-endian.
func AppendFixed64(b []byte, v uint64) []byte { return binary.LittleEndian.AppendUint64(b, v) }

// Fixed32 reads four bytes at b[i].
func Fixed32(b []byte, i int) (v uint32, next int) {
	if len(b)-i < 4 {
		return 0, bad
	}
	return binary.LittleEndian.Uint32(b[i:]), i + 4
}

// Fixed64 reads eight bytes at b[i].
func Fixed64(b []byte, i int) (v uint64, next int) {
	if len(b)-i < 8 {
		return 0, bad
	}
	return binary.LittleEndian.Uint64(b[i:]), i + 8
}

// AppendBytes appends p to b with its length in front.
func AppendBytes(b, p []byte) []byte { return append(AppendVarint(b, uint64(len(p))), p...) }

// AppendString appends s to b with its length in front.
func AppendString(b []byte, s string) []byte { return append(AppendVarint(b, uint64(len(s))), s...) }

// Bytes reads a length and that many bytes at b[i]. The result aliases b; its
// capacity ends with it, so that appending to it never writes into b.
func Bytes(b []byte, i int) (p []byte, next int) {
	n, i := Varint(b, i)
	if i < 0 {
		return nil, bad
	}
	if n > uint64(len(b)-i) {
		return nil, bad
	}
	next = i + int(n)
	return b[i:next:next], next
}

// CloseBytes ends a field of unknown length. The caller appended one byte
// in the place of the length, which ended at b[at:], and then the contents: CloseBytes
// writes the length, moving the contents when it takes more than one byte. Moving
// is cheaper than computing the length of a tree of messages beforehand.
func CloseBytes(b []byte, at int) []byte {
	n := len(b) - at
	if n < 0x80 {
		b[at-1] = byte(n)
		return b
	}
	return closeBytes(b, at, n)
}

func closeBytes(b []byte, at, n int) []byte {
	var length [maxVarint]byte
	l := appendVarint(length[:0], uint64(n))
	b = append(b, l[1:]...)
	copy(b[at-1+len(l):], b[at:at+n])
	copy(b[at-1:], l)
	return b
}

// AppendU128 appends the wire form of x to b with its length in front.
func AppendU128(b []byte, x u128.Int) []byte {
	n := x.WireSize()
	b = append(b, byte(n))
	if x.Hi == 0 && cap(b)-len(b) >= 8 {
		// Eight bytes in one store; those beyond n are cut off again.
		return binary.BigEndian.AppendUint64(b, x.Lo<<(64-8*uint(n)))[:len(b)+n]
	}
	return x.AppendWire(b)
}

// U128 reads a length and the wire form of a 128-bit integer at b[i].
func U128(b []byte, i int) (x u128.Int, next int) {
	p, next := Bytes(b, i)
	if next < 0 || len(p) > u128.Size {
		return u128.Int{}, bad
	}
	if len(p) == u128.Size {
		return u128.Int{Hi: binary.BigEndian.Uint64(p), Lo: binary.BigEndian.Uint64(p[8:])}, next
	}
	for _, c := range p {
		x.Hi = x.Hi<<8 | x.Lo>>56
		x.Lo = x.Lo<<8 | uint64(c)
	}
	return x, next
}

// CountRun returns the number of fields of length-delimited type that follow each
// other at b[i:] under the same tag, after a first one that was just read: what
// capacity a repeated field needs. It is never more than the bytes that are left.
func CountRun(b []byte, i int, tag uint64) int {
	n := 1
	for i < len(b) {
		var t uint64
		if t, i = Varint(b, i); i < 0 || t != tag {
			break
		}
		if _, i = Bytes(b, i); i < 0 {
			break
		}
		n++
	}
	return n
}

// Skip passes over the value of an unknown field, whose tag was just read.
func Skip(b []byte, i int, tag uint64) (next int) {
	if n := tag >> 3; n == 0 || n > maxField {
		return bad
	}
	return skip(b, i, tag, MaxDepth)
}

func skip(b []byte, i int, tag uint64, depth int) (next int) {
	switch tag & 7 {
	case WireVarint:
		_, i = Varint(b, i)
		return i
	case WireFixed64:
		_, i = Fixed64(b, i)
		return i
	case WireBytes:
		_, i = Bytes(b, i)
		return i
	case WireFixed32:
		_, i = Fixed32(b, i)
		return i
	case WireStartGroup:
		return skipGroup(b, i, tag>>3, depth)
	}
	return bad
}

func skipGroup(b []byte, i int, number uint64, depth int) (next int) {
	if depth == 0 {
		return bad
	}
	for {
		var tag uint64
		if tag, i = Varint(b, i); i < 0 {
			return bad
		}
		if n := tag >> 3; n == 0 || n > maxField {
			return bad
		}
		if tag&7 == WireEndGroup {
			if tag>>3 != number {
				return bad
			}
			return i
		}
		if i = skip(b, i, tag, depth-1); i < 0 {
			return bad
		}
	}
}

// Marshal returns the encoded form of m in a slice of its own.
func Marshal(m Message) []byte { return m.AppendTo(make([]byte, 0, m.Size())) }

// Bool returns 1 for true: the varint of a bool.
func Bool(v bool) uint64 {
	if v {
		return 1
	}
	return 0
}
