// Package idmap is a hash table from 128-bit ids to values, for what every transfer looks
// up. It keeps its entries in one slice, in the order they came, and beside it the places
// of the table, four bytes each, so that it holds no pointers but those in the values:
//
//	places   [ · · 3 · 1 · 2 · ]     a tag of the hash over the entry's number plus one
//	entries  [ id value | id value | id value ]
//
// A look for an id that is not there, which is what a new id gets, reads one place as a
// rule and no entry. Taking back what came last costs what that is, emptying the table
// little. BenchmarkMap holds it against a Go map.
//
//	var m idmap.Map[uint64]                // the zero value is empty
//	m.Add(id, ts)                          // not there yet
//	if ts := m.Find(id); ts != nil { … }
//	m.Cut(n)                               // all but the first n are forgotten
//
// A Map is not safe for use by several goroutines at once, except that Finds may run beside
// each other.
package idmap

import (
	"hash/maphash"
	"math/bits"

	"virtualservicesinc.com/rrts/message/u128"
)

const (
	entryBits = 26
	entryMask = 1<<entryBits - 1

	// MaxLen is the greatest number of entries.
	MaxLen = entryMask

	leastPlaces = 8
)

// Map maps ids to values.
type Map[V any] struct {
	key     Key
	places  []uint32 // a power of two of them, or none; 0 is empty
	entries []Entry[V]
}

// Entry is an id and its value.
type Entry[V any] struct {
	ID    u128.Int
	Value V
}

// Len is the number of entries.
func (m *Map[V]) Len() int { return len(m.entries) }

// Entries are all entries, in the order they came. They are the map's own, valid until the
// next Add, Cut or Clear; their ids must not be changed.
func (m *Map[V]) Entries() []Entry[V] { return m.entries }

// Find returns the value of an id, nil where there is none. It is the map's own, valid until
// the next Add, Cut or Clear.
func (m *Map[V]) Find(id u128.Int) *V {
	if len(m.entries) == 0 {
		return nil
	}
	h := m.key.Hash(id)
	mask := uint64(len(m.places) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		p := m.places[i]
		if p == 0 {
			return nil
		}
		if p&^entryMask == tag(h) {
			if e := &m.entries[p&entryMask-1]; e.ID == id {
				return &e.Value
			}
		}
	}
}

// Add adds an id that is not in the map, and returns where its value stands, for as long as
// Find says. It panics beyond MaxLen entries.
func (m *Map[V]) Add(id u128.Int, v V) *V {
	if 4*len(m.entries) >= 3*len(m.places) {
		m.grow()
	}
	m.entries = append(m.entries, Entry[V]{id, v})
	m.place(m.key.Hash(id), uint32(len(m.entries)))
	return &m.entries[len(m.entries)-1].Value
}

func (m *Map[V]) grow() {
	if m.places == nil {
		m.key = NewKey()
	}
	n := max(leastPlaces, 2*len(m.places))
	if n > 2*MaxLen {
		panic("idmap: too many entries")
	}
	m.places = make([]uint32, n)
	for i := range m.entries {
		m.place(m.key.Hash(m.entries[i].ID), uint32(i+1))
	}
}

// place puts the entry with a number, from 1 on, into the first free place for its hash.
func (m *Map[V]) place(h uint64, number uint32) {
	mask := uint64(len(m.places) - 1)
	i := h & mask
	for m.places[i] != 0 {
		i = (i + 1) & mask
	}
	m.places[i] = tag(h) | number
}

// Cut forgets all entries but the first n.
func (m *Map[V]) Cut(n int) {
	mask := uint64(len(m.places) - 1)
	for number := uint32(len(m.entries)); number > uint32(n); number-- {
		i := m.key.Hash(m.entries[number-1].ID) & mask
		for m.places[i]&entryMask != number {
			i = (i + 1) & mask
		}
		// Those that came before it have found their places without it: none stands
		// behind a gap that its search would stop at.
		m.places[i] = 0
	}
	clear(m.entries[n:])
	m.entries = m.entries[:n]
}

// Clear forgets all entries and keeps their memory.
func (m *Map[V]) Clear() {
	clear(m.places)
	clear(m.entries)
	m.entries = m.entries[:0]
}

// tag is what a place keeps of a hash, above the entry's number.
func tag(h uint64) uint32 { return uint32(h>>46) << entryBits }

// Key makes a hash of ids that nobody who chooses ids can foresee. No result may depend on
// it.
type Key struct{ k0, k1 uint64 }

// NewKey draws a key.
func NewKey() Key {
	seed := maphash.MakeSeed()
	return Key{maphash.Bytes(seed, []byte{0}), maphash.Bytes(seed, []byte{1})}
}

// Hash spreads an id over 64 bits.
func (k Key) Hash(id u128.Int) uint64 {
	hi, lo := bits.Mul64(id.Hi^k.k0, id.Lo^k.k1)
	hi, lo = bits.Mul64(hi^lo^id.Hi, 0x9e3779b97f4a7c15)
	return hi ^ lo
}
