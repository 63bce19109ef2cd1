package ledger

import (
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// account is a cached account.
type account struct {
	ledgerpb.Account
	dirty   bool // stands in accounts.dirty
	created bool // did not exist at the last Reset
	recent  bool // was used since the clock's hand last passed
	free    bool // holds no account
}

// accounts is the cache of accounts. Slots lie in chunks that never move, so a
// *account stays valid until trim.
type accounts struct {
	index  map[u128.Int]uint32 // id → slot
	chunks []*[chunkSlots]account
	used   uint32   // slots handed out at least once
	freed  []uint32 // slots to hand out again
	dirty  []uint32 // slots changed since the last Reset, by their first change
	hand   uint32   // of the clock that evicts
	top    u128.Int // no account has a greater id: new ids mostly do, and need no read
}

// chunkSlots is the number of slots in a chunk: a small ledger takes one chunk of
// some 150 KB, and growing by one is soon done.
const chunkSlots = 1024

func (c *accounts) slot(n uint32) *account { return &c.chunks[n/chunkSlots][n%chunkSlots] }

// get returns the account with the given id, from the cache or else from state;
// nil when there is none.
func (c *accounts) get(state State, id u128.Int) (*account, uint32) {
	if n, ok := c.index[id]; ok {
		a := c.slot(n)
		a.recent = true
		return a, n
	}
	if c.top.Less(id) {
		return nil, 0
	}
	n := c.take()
	a := c.slot(n)
	if !state.Account(id, &a.Account) {
		c.drop(n)
		return nil, 0
	}
	c.index[id] = n
	return a, n
}

// add returns a new slot for an account that state does not have.
func (c *accounts) add(id u128.Int) (*account, uint32) {
	n := c.take()
	c.index[id] = n
	if c.top.Less(id) {
		c.top = id
	}
	a := c.slot(n)
	a.created = true
	return a, n
}

// take hands out an empty slot.
func (c *accounts) take() uint32 {
	var n uint32
	if last := len(c.freed) - 1; last >= 0 {
		n, c.freed = c.freed[last], c.freed[:last]
	} else {
		if n = c.used; n == uint32(len(c.chunks))*chunkSlots {
			c.chunks = append(c.chunks, new([chunkSlots]account))
		}
		c.used++
	}
	*c.slot(n) = account{recent: true}
	return n
}

// drop takes a slot back, whose id must not be in the index any more.
func (c *accounts) drop(n uint32) {
	*c.slot(n) = account{free: true}
	c.freed = append(c.freed, n)
}

// touch marks the account in slot n as changed.
func (c *accounts) touch(a *account, n uint32) {
	if !a.dirty {
		a.dirty = true
		c.dirty = append(c.dirty, n)
	}
}

// clean forgets which accounts have changed.
func (c *accounts) clean() {
	for _, n := range c.dirty {
		a := c.slot(n)
		a.dirty, a.created = false, false
	}
	c.dirty = c.dirty[:0]
}

// trim evicts accounts until at most max are left, those first that were not used
// since the hand last passed. None may be dirty.
func (c *accounts) trim(max int) {
	for len(c.index) > max {
		a := c.slot(c.hand)
		switch {
		case a.free:
		case a.recent:
			a.recent = false
		default:
			delete(c.index, a.Id)
			c.drop(c.hand)
		}
		if c.hand++; c.hand == c.used {
			c.hand = 0
		}
	}
}
