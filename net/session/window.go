package session

// windowSize is the number of packet numbers that are remembered: more than a
// 10 Gbit/s network carries in the time a frame can be late.
const windowSize = 1 << 16

// window remembers which packet numbers arrived on which network. It is the replay
// filter and the duplicate filter in one.
type window struct {
	top  uint64 // one above the highest number seen
	bits [networks][windowSize / 64]uint64
}

// old reports whether n is too far back to be told from a replay.
func (w *window) old(n uint64) bool { return n+windowSize < w.top }

// seen reports whether n arrived on net before.
func (w *window) seen(net Network, n uint64) bool {
	return n < w.top && w.bits[net][n%windowSize/64]>>(n%64)&1 != 0
}

// mark remembers that n arrived on net. n is not old.
func (w *window) mark(net Network, n uint64) {
	if n >= w.top {
		w.advance(n + 1)
	}
	w.bits[net][n%windowSize/64] |= 1 << (n % 64)
}

// advance moves the top, forgetting what falls out of the window.
func (w *window) advance(top uint64) {
	if top-w.top >= windowSize {
		w.bits = [networks][windowSize / 64]uint64{}
		w.top = top
		return
	}
	for n := w.top; n < top; {
		word, bit := n%windowSize/64, n%64
		count := min(64-bit, top-n)
		mask := (^uint64(0) >> (64 - count)) << bit
		for net := range w.bits {
			w.bits[net][word] &^= mask
		}
		n += count
	}
	w.top = top
}

func (w *window) reset() { *w = window{} }
