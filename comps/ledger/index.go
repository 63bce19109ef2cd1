package ledger

import (
	"virtualservicesinc.com/comps/ledger/idmap"
	"virtualservicesinc.com/rrts/message/u128"
)

// index finds the slot of an account by its id. It holds four bytes per place and
// no id: those stand in the slots. A Go map would take thirty more bytes for each
// of ten million accounts, and a read more from memory for each look.
//
// It is a hash table in parts, each of which grows on its own: growing one moves
// some thousand entries, never all of them at once. The hash is keyed with a
// random number, so that nobody can choose ids that collide; no result depends on it.
type index struct {
	key   idmap.Key
	parts [indexParts]indexPart
	count int
}

// indexPart is an open-addressing table with linear probing; its length is a power
// of two. A place is 0 when it is empty, else a tag over the slot plus one.
type indexPart struct {
	places []uint32
	used   int
}

const (
	indexParts = 4096 // ten million accounts: 2,500 to a part
	slotBits   = 26   // more slots than MaxCachedAccounts
	slotMask   = 1<<slotBits - 1
)

func newIndex() *index { return &index{key: idmap.NewKey()} }

// hash is that of an id: its upper twelve bits choose the part, the next six are the tag,
// the lower ones choose the place.
func (x *index) hash(id u128.Int) uint64 { return x.key.Hash(id) }

func (x *index) part(h uint64) *indexPart { return &x.parts[h>>52] }

func tagOf(h uint64) uint32 { return uint32(h>>46) << slotBits }

// find returns the slot of the account with the given id.
func (x *index) find(c *accounts, id u128.Int) (slot uint32, ok bool) {
	h := x.hash(id)
	p := x.part(h)
	if p.used == 0 {
		return 0, false
	}
	mask := uint64(len(p.places) - 1)
	for i := h & mask; ; i = (i + 1) & mask {
		e := p.places[i]
		if e == 0 {
			return 0, false
		}
		if e&^slotMask == tagOf(h) && c.slot(e&slotMask-1).Id == id {
			return e&slotMask - 1, true
		}
	}
}

// put adds the account of a slot, which is not in the index.
func (x *index) put(c *accounts, slot uint32, id u128.Int) {
	h := x.hash(id)
	p := x.part(h)
	if p.used*4 >= len(p.places)*3 {
		old := p.places
		p.places = make([]uint32, max(8, 2*len(old)))
		for _, e := range old {
			if e != 0 {
				p.place(x.hash(c.slot(e&slotMask-1).Id), e)
			}
		}
	}
	p.place(h, tagOf(h)|(slot+1))
	p.used++
	x.count++
}

// place puts an entry into the first free place for its hash.
func (p *indexPart) place(h uint64, e uint32) {
	mask := uint64(len(p.places) - 1)
	i := h & mask
	for p.places[i] != 0 {
		i = (i + 1) & mask
	}
	p.places[i] = e
}

// remove takes the account of a slot out of the index.
func (x *index) remove(c *accounts, slot uint32, id u128.Int) {
	h := x.hash(id)
	p := x.part(h)
	mask := uint64(len(p.places) - 1)
	i := h & mask
	for p.places[i]&slotMask != slot+1 {
		i = (i + 1) & mask
	}
	// Entries behind it move up, so that none stands behind a gap that its search
	// would stop at.
	for j := (i + 1) & mask; p.places[j] != 0; j = (j + 1) & mask {
		home := x.hash(c.slot(p.places[j]&slotMask-1).Id) & mask
		if (j-home)&mask >= (j-i)&mask {
			p.places[i] = p.places[j]
			i = j
		}
	}
	p.places[i] = 0
	p.used--
	x.count--
}
