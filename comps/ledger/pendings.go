package ledger

import "virtualservicesinc.com/rrts/schema/ledgerpb"

// pending is a cached pending transfer and what became of it.
type pending struct {
	ledgerpb.Transfer
	status PendingStatus
}

// pendings is the cache of pending transfers by timestamp: a transfer is mostly
// posted or voided soon after it was made. The first to enter is the first to
// leave. Slots lie in chunks that never move, so a *pending stays valid until trim.
type pendings struct {
	index  map[uint64]uint32 // timestamp → slot
	chunks []*[chunkSlots]pending
	used   uint32   // slots handed out at least once
	freed  []uint32 // slots to hand out again
	queue  []uint64 // timestamps in the order they entered; some have left since
	head   int      // of queue
}

func (c *pendings) slot(n uint32) *pending { return &c.chunks[n/chunkSlots][n%chunkSlots] }

// get returns the pending transfer of timestamp ts, from the cache or else from
// state; nil when the transfer of that timestamp is not a pending one.
func (c *pendings) get(state State, ts uint64) *pending {
	if n, ok := c.index[ts]; ok {
		return c.slot(n)
	}
	status := state.Pending(ts)
	if status == StatusNone {
		return nil
	}
	p := c.add(ts)
	if !state.Transfer(ts, &p.Transfer) {
		panic(&ReadError{Op: "a pending transfer", Err: errNoTransfer})
	}
	p.status = status
	return p
}

// add returns the slot of a new entry, to be filled.
func (c *pendings) add(ts uint64) *pending {
	var n uint32
	if last := len(c.freed) - 1; last >= 0 {
		n, c.freed = c.freed[last], c.freed[:last]
	} else {
		if n = c.used; n == uint32(len(c.chunks))*chunkSlots {
			c.chunks = append(c.chunks, new([chunkSlots]pending))
		}
		c.used++
	}
	c.index[ts] = n
	c.queue = append(c.queue, ts)
	return c.slot(n)
}

// remove takes the entry of timestamp ts out of the cache.
func (c *pendings) remove(ts uint64) {
	if n, ok := c.index[ts]; ok {
		delete(c.index, ts)
		c.freed = append(c.freed, n)
	}
}

// trim evicts entries until at most max are left.
func (c *pendings) trim(max int) {
	for len(c.index) > max {
		c.remove(c.queue[c.head])
		c.head++
	}
	// What was removed otherwise leaves its timestamp in the queue: it goes when
	// it comes to the front, or when the queue has grown to twice the bound.
	if c.head > len(c.queue)/2 || len(c.queue)-c.head > 2*max {
		live := c.queue[:0]
		for _, ts := range c.queue[c.head:] {
			if _, ok := c.index[ts]; ok {
				live = append(live, ts)
			}
		}
		c.queue, c.head = live, 0
	}
}
