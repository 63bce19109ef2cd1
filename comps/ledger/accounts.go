package ledger

import (
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// accounts is the cache of accounts. Slots lie in chunks that never move, so a
// *ledgerpb.Account stays valid until trim.
type accounts struct {
	index  *index // id → slot
	chunks []*chunk
	used   uint32   // slots handed out at least once
	freed  []uint32 // slots to hand out again
	dirty  []uint32 // slots changed since the last Reset, by their first change
	hand   uint32   // of the clock that evicts
	top    u128.Int // no account has a greater id: new ids mostly do, and need no read
}

// chunkSlots is the number of slots in a chunk: a small ledger takes one chunk of
// some 130 KB, and growing by one is soon done.
const chunkSlots = 1024

type chunk struct {
	accounts [chunkSlots]ledgerpb.Account
	marks    [chunkSlots]mark
}

// mark says how a slot stands.
type mark uint8

const (
	dirty  mark = 1 << iota // stands in accounts.dirty
	fresh                   // did not exist at the last Reset
	lately                  // was used since the clock's hand last passed
	empty                   // holds no account
)

func (c *accounts) slot(n uint32) *ledgerpb.Account {
	return &c.chunks[n/chunkSlots].accounts[n%chunkSlots]
}

func (c *accounts) mark(n uint32) *mark { return &c.chunks[n/chunkSlots].marks[n%chunkSlots] }

// get returns the account with the given id and its slot, from the cache or else
// from state; nil when there is none.
func (c *accounts) get(state State, id u128.Int) (*ledgerpb.Account, uint32) {
	if n, ok := c.index.find(c, id); ok {
		*c.mark(n) |= lately
		return c.slot(n), n
	}
	if c.top.Less(id) {
		return nil, 0
	}
	n := c.take()
	a := c.slot(n)
	if !state.Account(id, a) {
		c.drop(n)
		return nil, 0
	}
	c.index.put(c, n, id)
	return a, n
}

// add takes in an account that state does not have.
func (c *accounts) add(a *ledgerpb.Account) (slot uint32) {
	n := c.take()
	*c.slot(n) = *a
	*c.mark(n) |= fresh
	c.index.put(c, n, a.Id)
	if c.top.Less(a.Id) {
		c.top = a.Id
	}
	return n
}

// remove forgets the account in slot n.
func (c *accounts) remove(n uint32) {
	c.index.remove(c, n, c.slot(n).Id)
	c.drop(n)
}

// take hands out a slot.
func (c *accounts) take() uint32 {
	var n uint32
	if last := len(c.freed) - 1; last >= 0 {
		n, c.freed = c.freed[last], c.freed[:last]
	} else {
		if n = c.used; n == uint32(len(c.chunks))*chunkSlots {
			c.chunks = append(c.chunks, new(chunk))
		}
		c.used++
	}
	*c.mark(n) = lately
	return n
}

// drop takes a slot back that is not in the index.
func (c *accounts) drop(n uint32) {
	*c.mark(n) = empty
	c.freed = append(c.freed, n)
}

// touch notes that the account in slot n changes.
func (c *accounts) touch(n uint32) {
	if m := c.mark(n); *m&dirty == 0 {
		*m |= dirty
		c.dirty = append(c.dirty, n)
	}
}

// clean forgets which accounts have changed.
func (c *accounts) clean() {
	for _, n := range c.dirty {
		*c.mark(n) &^= dirty | fresh
	}
	c.dirty = c.dirty[:0]
}

// trim evicts accounts until at most max are left, those first that were not used
// since the hand last passed. None may be dirty.
func (c *accounts) trim(max int) {
	for c.index.count > max {
		switch m := c.mark(c.hand); {
		case *m&empty != 0:
		case *m&lately != 0:
			*m &^= lately
		default:
			c.remove(c.hand)
		}
		if c.hand++; c.hand == c.used {
			c.hand = 0
		}
	}
}
