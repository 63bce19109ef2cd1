package client

import (
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/message/u128"
)

func TestIDsAreUUIDv7InOrder(t *testing.T) {
	var m idMaker
	now := time.UnixMilli(1_700_000_000_123)
	last := u128.Int{}
	for i := range 20_000 { // more than the counter holds within one millisecond
		id := m.next(now)
		if !last.Less(id) {
			t.Fatalf("id %d, %x, is not above %x", i, id.Bytes(), last.Bytes())
		}
		if b := id.Bytes(); b[6]>>4 != 7 || b[8]>>6 != 2 {
			t.Fatalf("%x is no UUIDv7", b)
		}
		last = id
	}
	if ms := int64(last.Hi >> 16); ms < now.UnixMilli() || ms > now.UnixMilli()+10 {
		t.Errorf("20,000 ids of one millisecond run %d ms ahead", ms-now.UnixMilli())
	}
	if id := m.next(now.Add(time.Second)); int64(id.Hi>>16) != now.UnixMilli()+1000 {
		t.Errorf("a second later: %d", id.Hi>>16)
	}
}

// TestIDsFollowLedgerTime: a clock that is wrong does not matter, and one that is
// set back does not break the order, unless by more than ids may run ahead.
func TestIDsFollowLedgerTime(t *testing.T) {
	var m idMaker
	wrong := time.UnixMilli(5_000_000)
	m.correct(uint64(1_700_000_000_000)*1e6, wrong)
	a := m.next(wrong)
	if ms := a.Hi >> 16; ms != 1_700_000_000_000 {
		t.Fatalf("id of %d", ms)
	}
	b := m.next(wrong.Add(-5 * time.Second))
	if !a.Less(b) {
		t.Error("set back by five seconds: out of order")
	}
	m.correct(uint64(1_600_000_000_000)*1e6, wrong)
	if c := m.next(wrong); c.Hi>>16 != 1_600_000_000_000 {
		t.Errorf("ledger time says otherwise by years: id of %d", c.Hi>>16)
	}
	m.correct(0, wrong) // a gateway that does not know
	if c := m.next(wrong); c.Hi>>16 != 1_600_000_000_000 {
		t.Errorf("id of %d", c.Hi>>16)
	}
}

func TestIDsOfManyGoroutinesDiffer(t *testing.T) {
	var m idMaker
	var mu sync.Mutex
	seen := make(map[u128.Int]bool)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 1000 {
				id := m.next(time.Now())
				mu.Lock()
				if seen[id] {
					t.Errorf("%v twice", id)
				}
				seen[id] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
}

func BenchmarkNewID(b *testing.B) {
	var c Client
	b.ReportAllocs()
	for b.Loop() {
		c.NewID()
	}
}
