package store

import "virtualservicesinc.com/rrts/message/u128"

const (
	// leastHashes and mostHashes bound the hashes that are kept, by the size of the table:
	// 24 bytes each. It grows as long as most of what it is asked for has been pushed out.
	leastHashes = 1 << 12
	mostHashes  = 1 << 20
)

// hashes keep the hashes of accounts' rows as they were settled last, so that settling them
// again need not read the rows: that would be most of what the sum costs. A hash that was
// pushed out by another account's is read.
type hashes struct {
	slots  []settledHash // a power of two of them, or none
	asked  int           // since the table has its size
	missed int           // of them, where another account's stood there
}

type settledHash struct {
	id   u128.Int // 0: nothing
	hash uint64
}

// at is the place of an account.
func (h *hashes) at(id u128.Int) *settledHash {
	x := (id.Lo ^ id.Hi*0x9e3779b97f4a7c15) * 0xbf58476d1ce4e5b9
	return &h.slots[(x^x>>32)&uint64(len(h.slots)-1)]
}

// swap puts the hash of an account's row in the place of the one that was kept, and returns
// that.
func (h *hashes) swap(id u128.Int, hash uint64) (was uint64, kept bool) {
	if h.slots == nil {
		h.slots = make([]settledHash, leastHashes)
	}
	s := h.at(id)
	was, kept = s.hash, s.id == id
	if h.asked++; !kept && !s.id.IsZero() {
		h.missed++
	}
	*s = settledHash{id, hash}
	return was, kept
}

// grow makes the table larger where it was of little use.
func (h *hashes) grow() {
	if len(h.slots) == 0 || h.asked < len(h.slots) || 2*h.missed < h.asked || len(h.slots) == mostHashes {
		return
	}
	old := h.slots
	*h = hashes{slots: make([]settledHash, 2*len(old))}
	for _, s := range old {
		if !s.id.IsZero() {
			*h.at(s.id) = s
		}
	}
}
