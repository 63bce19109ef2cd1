package trace

import (
	"testing"
	"time"
)

type note struct {
	id [2]uint64
	at [3]time.Duration
}

func TestRing(t *testing.T) {
	r := NewRing[note](4)
	is := func(id uint64) func(*note) bool { return func(n *note) bool { return n.id[0] == id } }
	if _, ok := r.Find(is(0)); ok {
		t.Error("an empty ring holds something")
	}
	for i := range uint64(6) {
		r.Add(note{id: [2]uint64{i, 0}})
	}
	r.Add(note{id: [2]uint64{4, 7}}, note{id: [2]uint64{6, 0}})
	for id, want := range map[uint64]bool{0: false, 3: false, 4: true, 5: true, 6: true} {
		if _, ok := r.Find(is(id)); ok != want {
			t.Errorf("%d is remembered: %v", id, ok)
		}
	}
	if n, _ := r.Find(is(4)); n.id[1] != 7 {
		t.Error("the older of two is found")
	}
}

func TestEntries(t *testing.T) {
	e := NewEntries(4)
	if _, ok := e.Times(0); ok {
		t.Error("there is no entry 0")
	}
	for i := uint64(1); i < 6; i++ {
		for s := Appended; s <= Applied; s++ {
			e.Note(s, i, time.Duration(10*i)+time.Duration(s))
		}
	}
	if _, ok := e.Times(1); ok {
		t.Error("the oldest is not forgotten")
	}
	if got, ok := e.Times(5); !ok || got.At != [stages]time.Duration{50, 51, 52, 53} {
		t.Errorf("%+v", got)
	}
	e.Note(Appended, 5, 90) // of another leader
	e.Note(Applied, 9, 100) // appended before the start
	if got, ok := e.Times(5); ok {
		t.Errorf("%+v: 9 took its place", got)
	}
	if got, _ := e.Times(9); got.At != [stages]time.Duration{0, 0, 0, 100} {
		t.Errorf("%+v", got)
	}
}

// TestNoAllocation: noting a step allocates nothing.
func TestNoAllocation(t *testing.T) {
	r, e, many := NewRing[note](1024), NewEntries(64), make([]note, 256)
	if n := testing.AllocsPerRun(100, func() {
		r.Add(note{})
		r.Add(many...)
		e.Note(Durable, 7, 1)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkRing is what a transaction costs at one step, alone and with others of its
// batch.
func BenchmarkRing(b *testing.B) {
	r := NewRing[note](1 << 15)
	b.Run("one", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			r.Add(note{at: [3]time.Duration{1, 2, 3}})
		}
	})
	batch := make([]note, 256)
	b.Run("of 256", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i += len(batch) {
			r.Add(batch...)
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(batch)), "ns/transaction")
	})
}

func BenchmarkEntries(b *testing.B) {
	e := NewEntries(1 << 12)
	b.ReportAllocs()
	for i := uint64(0); b.Loop(); i++ {
		e.Note(Durable, i, 1)
	}
}
