package message

import (
	"encoding/binary"
	"math/bits"
	"slices"
)

// This file has the packed form of repeated varints: all elements behind one tag
// and one length.

// AppendVarints appends the elements of list to b, without tag and length.
func AppendVarints[T ~int32 | ~int64 | ~uint32 | ~uint64](b []byte, list []T) []byte {
	for i, v := range list {
		if cap(b)-len(b) < maxVarint {
			for _, v := range list[i:] {
				b = AppendVarint(b, uint64(v))
			}
			break
		}
		n := SizeVarint(uint64(v))
		putVarint(b[len(b):len(b)+maxVarint], uint64(v), n)
		b = b[:len(b)+n]
	}
	return b
}

// CountVarints returns how many varints end in p: the elements of a packed field,
// if it is well-formed.
func CountVarints(p []byte) int {
	n := 0
	for ; len(p) >= 8; p = p[8:] {
		n += bits.OnesCount64(^binary.LittleEndian.Uint64(p) & highBits)
	}
	for _, c := range p {
		if c < 0x80 {
			n++
		}
	}
	return n
}

// Varints appends the elements of the packed field p to list; ok is false when p is
// malformed.
func Varints[T ~int32 | ~int64 | ~uint32 | ~uint64](list []T, p []byte) (_ []T, ok bool) {
	n, k := CountVarints(p), len(list)
	list = slices.Grow(list, n)[:k+n]
	i := 0
	for len(p)-i >= maxVarint {
		// As in Varint, but without asking for the length first: the elements of a
		// list differ, and every wrong guess costs more than this.
		x := binary.LittleEndian.Uint64(p[i:])
		last := ^x & highBits
		if last == 0 {
			var v uint64
			if v, i = Varint(p, i); i < 0 {
				return list[:k], false
			}
			list[k] = T(v)
		} else {
			list[k] = T(gather(x & (last ^ (last - 1))))
			i += bits.TrailingZeros64(last)>>3 + 1
		}
		k++
	}
	for ; i < len(p); k++ {
		var v uint64
		if v, i = varint(p, i); i < 0 {
			return list[:k], false
		}
		list[k] = T(v)
	}
	return list, true
}

// Zigzags does the same for zigzag numbers.
func Zigzags[T int32 | int64](list []T, p []byte) (_ []T, ok bool) {
	k := len(list)
	if list, ok = Varints(list, p); !ok {
		return list, false
	}
	width := uint64(1<<64 - 1)
	if one := T(1); one<<16<<16 == 0 { // T has 32 bits: undo the extension of its sign
		width = 1<<32 - 1
	}
	for i, v := range list[k:] {
		list[k+i] = T(Unzigzag(uint64(v) & width))
	}
	return list, true
}

// Bools does the same for bools.
func Bools(list []bool, p []byte) (_ []bool, ok bool) {
	list = slices.Grow(list, CountVarints(p))
	for i := 0; i < len(p); {
		var v uint64
		if v, i = Varint(p, i); i < 0 {
			return list, false
		}
		list = append(list, v != 0)
	}
	return list, true
}
