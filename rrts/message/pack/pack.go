// Package pack makes the frames between a client and a gateway smaller: many small ones
// that go out together as one, and a single payment as well.
//
//	run := pack.Append(out, frames, theirs)   // frames: as package frame made them
//	inner, err := pack.Open(buf, body, limit) // body: of an Envelope of KindPacked
//	for len(inner) > 0 { envelope, inner, err = pack.Next(inner) }
//
// # Layout
//
// What is packed is a sequence of frames, each with its length as a varint, which is
// shorter than the four bytes of package frame:
//
//	+-----------+----------+-----------+----------+---
//	| length, a | Envelope | length, a | Envelope | …
//	| varint    |          | varint    |          |
//	+-----------+----------+-----------+----------+---
//
// It travels as the body of an Envelope of KindPacked, in a frame of its own:
//
//	+---------------------------+---------------------------
//	| length of the sequence    | the sequence, by the
//	| << 1 | method, a varint   | method: 0 guess, 1 zstd
//	+---------------------------+---------------------------
//
// Method 0 guesses each byte from the two before it, which are 0 at the start of each
// frame's length, by a table of 4,096 guesses (table.bin, trained on the corpus in
// testdata). The place of the guess is the top 12 bits of the low 32 of
//
//	(byte before the last << 8 | last byte) × 0x9E3779B1
//
// For each 8 bytes of the sequence there is one byte of bits, the first one the lowest,
// that say which guesses are right, and behind it the bytes whose guess is wrong. A payment
// is nine tenths words that every payment has, and numbers that nobody can guess; so this
// takes two thirds of what a compressor for texts makes of it, a tenth of its time, no
// memory, and thirty lines in any language.
//
// Method 1 is one frame of Zstandard (RFC 8878), for what is larger: pages of answers, and
// a hundred payments at once, which have the ends of their ids in common.
//
// # Promises
//
// Nothing is kept from one to the next: what one message holds never shows in the length of
// another that was sent at another time. Messages with sensitive fields are never packed;
// that is for who calls Append to see to. Append leaves alone what does not get smaller.
// Open believes no length: it takes no more than limit, and memory for what is declared
// only once that is checked against the limit.
package pack

import (
	_ "embed"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/klauspost/compress/zstd"

	"virtualservicesinc.com/rrts/message"
)

// Method is a bit set of methods, in the Hello of a connection: what one side can read.
const (
	Guess = 1 << 0
	Zstd  = 1 << 1
	// ShortOutcomes is no method: the answer to a Submit leaves the transaction's id out,
	// which the request's call number names.
	ShortOutcomes = 1 << 2

	// All is what this package reads.
	All = Guess | Zstd | ShortOutcomes
)

const (
	// MaxRun is the most that is packed together, in bytes: one frame of Zstandard holds
	// that, and what is in front waits no longer for what is behind.
	MaxRun = 64 << 10
	// zstdFrom is the length from which Zstandard finds more than the table does.
	zstdFrom  = 512
	tableBits = 12
)

// ErrPacked is what Open returns for what Append cannot have made.
var ErrPacked = errors.New("pack: malformed")

//go:embed table.bin
var trained string

// table is part of the protocol: another one is another method.
var table = [1 << tableBits]byte([]byte(trained))

// place is where the guess of the byte behind two others stands.
func place(before uint32) uint32 { return (before & 0xffff) * 0x9E3779B1 >> (32 - tableBits) }

// encoder and decoder are shared: EncodeAll and DecodeAll of both may be called from any
// goroutine.
var (
	encoder, _ = zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2), zstd.WithEncoderCRC(false),
		zstd.WithWindowSize(MaxRun), zstd.WithLowerEncoderMem(true))
	decoder, _ = zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true), zstd.WithDecodeAllCapLimit(true))
)

// Sequence appends frames, as package frame made them, as a sequence with short lengths.
func Sequence(b, frames []byte) []byte {
	for len(frames) > 0 {
		n := binary.BigEndian.Uint32(frames)
		b = binary.AppendUvarint(b, uint64(n))
		b = append(b, frames[4:4+n]...)
		frames = frames[4+n:]
	}
	return b
}

// Append appends the sequence as the body of a packed Envelope by one of the methods, and
// reports whether that is worth it; otherwise b is as it was.
func Append(b, sequence []byte, methods uint32) ([]byte, bool) {
	at := len(b)
	switch {
	case methods&Zstd != 0 && len(sequence) >= zstdFrom:
		b = binary.AppendUvarint(b, uint64(len(sequence))<<1|1)
		b = encoder.EncodeAll(sequence, b)
	case methods&Guess != 0:
		b = binary.AppendUvarint(b, uint64(len(sequence))<<1)
		b = guess(b, sequence)
	}
	if n := len(b) - at; n == 0 || n+overhead >= len(sequence) {
		return b[:at], false
	}
	return b, true
}

// overhead is what the Envelope around the body takes beside what frames have anyway.
const overhead = 4

// guess appends a sequence by method 0.
func guess(b, sequence []byte) []byte {
	n, bits := 0, 0
	each := func(from []byte) {
		before := uint32(0)
		for _, x := range from {
			if n&7 == 0 {
				bits = len(b)
				b = append(b, 0)
			}
			if table[place(before)] == x {
				b[bits] |= 1 << (n & 7)
			} else {
				b = append(b, x)
			}
			before = before<<8 | uint32(x)
			n++
		}
	}
	for len(sequence) > 0 {
		size, head := binary.Uvarint(sequence)
		end := head + int(size)
		each(sequence[:end])
		sequence = sequence[end:]
	}
	return b
}

// Open appends the sequence that a packed body holds to b. A sequence longer than limit is
// ErrPacked, as everything that is malformed.
func Open(b, body []byte, limit int) ([]byte, error) {
	head, n := binary.Uvarint(body)
	if n <= 0 {
		return b, fmt.Errorf("%w: no length", ErrPacked)
	}
	size := head >> 1
	if size == 0 || size > uint64(limit) {
		return b, fmt.Errorf("%w: length %d, need 1 to %d", ErrPacked, size, limit)
	}
	at := len(b)
	if head&1 == 0 {
		if uint64(len(body)-n) < size/8 { // each bit has its byte
			return b, fmt.Errorf("%w: %d bytes cannot be %d", ErrPacked, len(body)-n, size)
		}
		return open(b, body[n:], int(size))
	}
	if free := cap(b) - at; free < int(size) {
		b = append(make([]byte, 0, at+int(size)), b...)
	}
	out, err := decoder.DecodeAll(body[n:], b[:at:at+int(size)])
	if err != nil || len(out)-at != int(size) {
		return b[:at], fmt.Errorf("%w: zstd: %d bytes of %d: %v", ErrPacked, len(out)-at, size, err)
	}
	return out, nil
}

// open is Open for method 0.
func open(b, body []byte, size int) ([]byte, error) {
	var bits byte
	var before uint32
	left, length, shift := 0, 0, 0 // of the frame; while left is 0 its length is read
	for n := range size {
		if n&7 == 0 {
			if len(body) == 0 {
				return b, fmt.Errorf("%w: it ends after %d of %d bytes", ErrPacked, n, size)
			}
			bits, body = body[0], body[1:]
		}
		x := table[place(before)]
		if bits>>(n&7)&1 == 0 {
			if len(body) == 0 {
				return b, fmt.Errorf("%w: it ends after %d of %d bytes", ErrPacked, n, size)
			}
			x, body = body[0], body[1:]
		}
		b = append(b, x)
		before = before<<8 | uint32(x)
		switch {
		case left > 0:
			if left--; left == 0 {
				before, length, shift = 0, 0, 0
			}
		case x&0x80 != 0:
			if length |= int(x&0x7f) << shift; shift > 21 {
				return b, fmt.Errorf("%w: the length of a frame is too long", ErrPacked)
			}
			shift += 7
		default:
			left = length | int(x)<<shift
		}
	}
	if len(body) > 0 {
		return b, fmt.Errorf("%w: %d bytes too many", ErrPacked, len(body))
	}
	return b, nil
}

// Next takes the first Envelope off a sequence.
func Next(sequence []byte) (envelope, rest []byte, err error) {
	size, n := binary.Uvarint(sequence)
	if n <= 0 || size == 0 || size > uint64(len(sequence)-n) {
		return nil, nil, fmt.Errorf("%w: a frame's length", ErrPacked)
	}
	end := n + int(size)
	return sequence[n:end:end], sequence[end:], nil
}

// Frame appends a whole frame with a packed body to b.
func Frame(b, body []byte) []byte {
	e := message.Envelope{Kind: message.KindPacked, Body: body}
	b = binary.BigEndian.AppendUint32(b, uint32(e.Size()))
	return e.AppendTo(b)
}
