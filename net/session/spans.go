package session

import "slices"

// span is the numbers lo up to, not including, hi.
type span struct{ lo, hi uint64 }

// spans is a set of numbers as sorted, disjoint spans that do not touch.
type spans []span

// find is the index of the first span that ends at or after n.
func (s spans) find(n uint64) int {
	lo, hi := 0, len(s)
	for lo < hi {
		if mid := int(uint(lo+hi) / 2); s[mid].hi < n {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo
}

// add puts lo up to hi into the set.
func (s *spans) add(lo, hi uint64) {
	if lo >= hi {
		return
	}
	// The common case: at the end, or an extension of the last span.
	if n := len(*s); n == 0 || (*s)[n-1].hi < lo {
		*s = append(*s, span{lo, hi})
		return
	}
	i := s.find(lo)
	j := i
	for j < len(*s) && (*s)[j].lo <= hi {
		j++
	}
	if i == j {
		*s = slices.Insert(*s, i, span{lo, hi})
		return
	}
	(*s)[i] = span{min(lo, (*s)[i].lo), max(hi, (*s)[j-1].hi)}
	*s = slices.Delete(*s, i+1, j)
}

// remove takes lo up to hi out of the set.
func (s *spans) remove(lo, hi uint64) {
	if lo >= hi {
		return
	}
	i := s.find(lo + 1) // a span that ends at lo is not touched
	for i < len(*s) && (*s)[i].lo < hi {
		c := (*s)[i]
		switch {
		case c.lo < lo && c.hi > hi:
			(*s)[i].hi = lo
			*s = slices.Insert(*s, i+1, span{hi, c.hi})
			return
		case c.lo < lo:
			(*s)[i].hi = lo
			i++
		case c.hi > hi:
			(*s)[i].lo = hi
			return
		default:
			*s = slices.Delete(*s, i, i+1)
		}
	}
}
