// Package u128 is the unsigned 128-bit integer of RRTS: identifiers of
// transactions, accounts and transfers, and amounts of money.
//
// An Int is a plain value of two words; it is comparable, so it can be a map
// key. Arithmetic reports overflow instead of wrapping: money never wraps.
//
// On the wire (protobuf bytes fields marked uint128) and as a store key an Int
// is big-endian. The wire form drops leading zero bytes, so that an amount of
// 5,000 takes two bytes and zero takes none; a key is always 16 bytes, so that
// the order of keys is the order of numbers.
package u128

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
)

// Size is the length of an Int in its full form, in bytes.
const Size = 16

// MaxDigits is the length of the largest Int in decimal digits.
const MaxDigits = 39

// ErrSyntax is returned for text that is not a decimal number below 2¹²⁸.
var ErrSyntax = errors.New("u128: not a decimal number from 0 to 2^128-1")

// ErrLength is returned for a wire form of more than Size bytes.
var ErrLength = errors.New("u128: more than 16 bytes")

// Max is the largest Int, 2¹²⁸ − 1.
var Max = Int{^uint64(0), ^uint64(0)}

// Int is an unsigned 128-bit integer. The zero value is 0.
type Int struct {
	Hi, Lo uint64
}

// From64 returns v as an Int.
func From64(v uint64) Int { return Int{Lo: v} }

// IsZero reports whether x is 0.
func (x Int) IsZero() bool { return x.Hi|x.Lo == 0 }

// Cmp returns −1, 0 or +1 as x is less than, equal to or greater than y.
func (x Int) Cmp(y Int) int {
	switch {
	case x.Hi < y.Hi || x.Hi == y.Hi && x.Lo < y.Lo:
		return -1
	case x == y:
		return 0
	}
	return 1
}

// Less reports whether x < y.
func (x Int) Less(y Int) bool { return x.Hi < y.Hi || x.Hi == y.Hi && x.Lo < y.Lo }

// Add returns x + y; over is true when the sum does not fit in 128 bits.
func (x Int) Add(y Int) (sum Int, over bool) {
	lo, c := bits.Add64(x.Lo, y.Lo, 0)
	hi, c := bits.Add64(x.Hi, y.Hi, c)
	return Int{hi, lo}, c != 0
}

// Sub returns x − y; under is true when y is greater than x.
func (x Int) Sub(y Int) (diff Int, under bool) {
	lo, b := bits.Sub64(x.Lo, y.Lo, 0)
	hi, b := bits.Sub64(x.Hi, y.Hi, b)
	return Int{hi, lo}, b != 0
}

// SatSub returns x − y, or 0 when y is greater than x.
func (x Int) SatSub(y Int) Int {
	d, under := x.Sub(y)
	if under {
		return Int{}
	}
	return d
}

// Min returns the smaller of x and y.
func Min(x, y Int) Int {
	if y.Less(x) {
		return y
	}
	return x
}

// Bytes returns the full big-endian form of x.
func (x Int) Bytes() [Size]byte {
	var b [Size]byte
	binary.BigEndian.PutUint64(b[:8], x.Hi)
	binary.BigEndian.PutUint64(b[8:], x.Lo)
	return b
}

// FromBytes returns the Int of a full big-endian form.
func FromBytes(b [Size]byte) Int {
	return Int{binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])}
}

// AppendKey appends the full big-endian form of x to b.
func (x Int) AppendKey(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, x.Hi)
	return binary.BigEndian.AppendUint64(b, x.Lo)
}

// WireSize returns the length of x's wire form in bytes, 0 to 16.
func (x Int) WireSize() int {
	if x.Hi != 0 {
		return 8 + (bits.Len64(x.Hi)+7)/8
	}
	return (bits.Len64(x.Lo) + 7) / 8
}

// AppendWire appends the wire form of x to b: big-endian, no leading zero byte.
func (x Int) AppendWire(b []byte) []byte {
	full := x.Bytes()
	return append(b, full[Size-x.WireSize():]...)
}

// ParseWire returns the Int of a wire form; leading zero bytes are accepted.
// The error is ErrLength.
func ParseWire(b []byte) (Int, error) {
	if len(b) > Size {
		return Int{}, fmt.Errorf("%w: %d", ErrLength, len(b))
	}
	if len(b) == Size {
		return Int{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}, nil
	}
	var full [Size]byte
	copy(full[Size-len(b):], b)
	return FromBytes(full), nil
}

// Append appends x in decimal to b.
func (x Int) Append(b []byte) []byte {
	var digits [MaxDigits]byte
	i := len(digits)
	for {
		var r uint64
		x, r = x.divSmall(10)
		i--
		digits[i] = byte('0' + r)
		if x.IsZero() {
			return append(b, digits[i:]...)
		}
	}
}

// String returns x in decimal.
func (x Int) String() string { return string(x.Append(nil)) }

// Parse returns the Int of a decimal number without sign or spaces.
// The error is ErrSyntax.
func Parse(s string) (Int, error) {
	if s == "" {
		return Int{}, fmt.Errorf("%w: empty", ErrSyntax)
	}
	var x Int
	for i := 0; i < len(s); i++ {
		d := s[i] - '0'
		if d > 9 {
			return Int{}, fmt.Errorf("%w: %.50q", ErrSyntax, s)
		}
		var over bool
		if x, over = x.mulAddSmall(10, uint64(d)); over {
			return Int{}, fmt.Errorf("%w: %.50q", ErrSyntax, s)
		}
	}
	return x, nil
}

// divSmall returns x / d and x mod d.
func (x Int) divSmall(d uint64) (q Int, r uint64) {
	q.Hi, r = x.Hi/d, x.Hi%d
	q.Lo, r = bits.Div64(r, x.Lo, d)
	return q, r
}

// mulAddSmall returns x·m + a; over is true when it does not fit.
func (x Int) mulAddSmall(m, a uint64) (y Int, over bool) {
	c, lo := bits.Mul64(x.Lo, m)
	o, hi := bits.Mul64(x.Hi, m)
	lo, k := bits.Add64(lo, a, 0)
	hi, k1 := bits.Add64(hi, c, k)
	return Int{hi, lo}, o != 0 || k1 != 0
}
