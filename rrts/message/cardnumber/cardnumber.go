// Package cardnumber finds numbers of payment cards in text, so that they can be refused
// before they are stored anywhere.
//
// A card number (PAN, ISO/IEC 7812-1) is 12 to 19 digits of which the last one checks the
// others by Luhn's formula. People write it in groups, with a space or a dash between two
// of them. What is found is every run of whole groups that makes such a number:
//
//	4111111111111111                   found
//	paid by 4111-1111 1111-1111 today  found
//	12 4111 1111 1111 1111             found: a run need not begin with the first group
//	411111111111111112345678           not: one group of 24 digits, such as a 128-bit id
//	0000 0000 0000                     not: no card's number begins with 0
//
// Of other numbers of that length one in ten checks by chance, so this is for fields that
// have no business holding any.
package cardnumber

import "unicode/utf8"

const (
	least = 12 // digits of the shortest card number
	most  = 19 // and of the longest
)

// In reports whether a card number stands in a text.
func In[T string | []byte](text T) bool {
	if len(text) < least {
		return false
	}
	var digits [most]byte // of the groups since start, whole groups only
	var groups [most]int  // where in digits each of them begins
	n, g := 0, 0
	drop := func() { // the first group
		k := n
		if g > 1 {
			k = groups[1]
		}
		copy(digits[:], digits[k:n])
		n, g = n-k, g-1
		for i := range g {
			groups[i] = groups[i+1] - k
		}
	}
	for i := 0; i < len(text); {
		d, size := digit(text, i)
		if d < 0 {
			n, g = 0, 0
			i += size
			continue
		}
		length, end := 1, i+size // one group: as many digits as follow each other
		for ; end < len(text); length++ {
			if d, size = digit(text, end); d < 0 {
				break
			}
			end += size
		}
		if length > most {
			n, g = 0, 0
		} else {
			for n+length > most {
				drop()
			}
			groups[g] = n
			g++
			for ; i < end; i += size {
				d, size = digit(text, i)
				digits[n] = byte(d)
				n++
			}
			for _, begin := range groups[:g] {
				if n-begin >= least && checks(digits[begin:n]) {
					return true
				}
			}
		}
		next, ok := separator(text, end)
		if !ok {
			n, g = 0, 0
		}
		i = next
	}
	return false
}

// digit returns the value of the digit at i, -1 for anything else, and how long it is. The
// digits of full width are there because forms of some countries give them.
func digit[T string | []byte](text T, i int) (value, size int) {
	c := text[i]
	if c < utf8.RuneSelf {
		if c >= '0' && c <= '9' {
			return int(c - '0'), 1
		}
		return -1, 1
	}
	r, size := decode(text, i)
	if r >= '０' && r <= '９' {
		return int(r - '０'), size
	}
	return -1, size
}

// separator reports whether one or two separators of groups stand at i, and where they end.
func separator[T string | []byte](text T, i int) (next int, ok bool) {
	for range 2 {
		if i >= len(text) {
			break
		}
		r, size := decode(text, i)
		switch r {
		case ' ', '\t', '-', '\u00a0', '\u2007', '\u2009', '\u202f', '\u3000', '\u00ad', '\u2010', '\u2011', '\u2012', '\u2013', '\u2014', '\u2212':
			i, ok = i+size, true
		default:
			return i, ok
		}
	}
	return i, ok
}

func decode[T string | []byte](text T, i int) (rune, int) {
	return utf8.DecodeRune([]byte(text[i:min(i+utf8.UTFMax, len(text))]))
}

// checks reports whether digits can be a card's number.
func checks(digits []byte) bool {
	if digits[0] == 0 {
		return false
	}
	sum := 0
	for i, d := range digits {
		v := int(d)
		if (len(digits)-i)%2 == 0 {
			if v *= 2; v > 9 {
				v -= 9
			}
		}
		sum += v
	}
	return sum%10 == 0
}
