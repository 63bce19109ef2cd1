package ledger

import (
	"math/rand/v2"
	"testing"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// The index agrees with a map while accounts come and go.
func TestIndex(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := &accounts{index: newIndex()}
	want := map[u128.Int]uint32{}
	var ids []u128.Int
	for n := range 200_000 {
		id := u128.Int{Lo: uint64(n)} // as people number their accounts
		if n%2 == 0 {
			id = u128.Int{Hi: r.Uint64(), Lo: r.Uint64()}
		}
		want[id] = c.add(&ledgerpb.Account{Id: id})
		ids = append(ids, id)
		if r.IntN(3) == 0 {
			i := r.IntN(len(ids))
			c.remove(want[ids[i]])
			delete(want, ids[i])
			ids[i] = ids[len(ids)-1]
			ids = ids[:len(ids)-1]
		}
		if n%20_000 == 0 {
			compareIndex(t, c, want)
		}
	}
	compareIndex(t, c, want)
	for _, id := range ids {
		c.remove(want[id])
		delete(want, id)
	}
	compareIndex(t, c, want)
}

func compareIndex(t *testing.T, c *accounts, want map[u128.Int]uint32) {
	t.Helper()
	if c.index.count != len(want) {
		t.Fatalf("%d entries, want %d", c.index.count, len(want))
	}
	for id, slot := range want {
		if got, ok := c.index.find(c, id); !ok || got != slot {
			t.Fatalf("%v is in slot %d (%v), want %d", id, got, ok, slot)
		}
	}
	for n := range uint64(1000) {
		id := u128.Int{Hi: 1, Lo: n}
		if _, ok := c.index.find(c, id); ok {
			t.Fatalf("found %v, which is not there", id)
		}
	}
}
