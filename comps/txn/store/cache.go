package store

import (
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"virtualservicesinc.com/comps/ledger"
)

// blockCache holds the events of the history block that was read last: what is
// asked for next is mostly in it.
type blockCache struct{ events []ledger.Event }

// find returns the event of timestamp ts from the cached block; known is false
// when the block does not cover ts.
func (c *blockCache) find(ts uint64) (e *ledger.Event, known bool) {
	n := len(c.events)
	if n == 0 || ts < c.events[0].Timestamp || ts > c.events[n-1].Timestamp {
		return nil, false
	}
	i := sort.Search(n, func(i int) bool { return c.events[i].Timestamp >= ts })
	if c.events[i].Timestamp != ts {
		return nil, true
	}
	return &c.events[i], true
}

// load reads the block that covers ts with an iterator over the history.
func (c *blockCache) load(it *pebble.Iterator, k keys, ts uint64) {
	c.events = c.events[:0]
	if !it.SeekLT(k.number(make([]byte, 0, maxKeyLen), tableHistory, ts+1)) {
		return
	}
	var e ledger.Event
	if err := eachEvent(suffix64(it.Key()), valueOf("an event", it), &e, func() bool {
		c.events = append(c.events, e)
		return true
	}); err != nil {
		fail("an event", err)
	}
}
