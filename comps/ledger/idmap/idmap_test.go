package idmap_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"pgregory.net/rapid"

	"virtualservicesinc.com/comps/ledger/idmap"
	"virtualservicesinc.com/rrts/message/u128"
)

// A Map does what a Go map and a list of its keys do.
func TestMap(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var m idmap.Map[int]
		want := map[u128.Int]int{}
		var order []u128.Int
		id := func() u128.Int {
			return u128.Int{Hi: rapid.Uint64Range(0, 3).Draw(t, "hi"), Lo: rapid.Uint64Range(0, 200).Draw(t, "lo")}
		}
		for range rapid.IntRange(1, 300).Draw(t, "steps") {
			switch rapid.IntRange(0, 20).Draw(t, "step") {
			case 0:
				m.Clear()
				clear(want)
				order = order[:0]
			case 1, 2:
				n := rapid.IntRange(0, len(order)).Draw(t, "n")
				m.Cut(n)
				for _, id := range order[n:] {
					delete(want, id)
				}
				order = order[:n]
			case 3:
				if v := m.Find(id()); v != nil {
					*v++
					want[order[indexOf(&m, v)]]++
				}
			default:
				id := id()
				if _, known := want[id]; !known {
					want[id] = len(order)
					order = append(order, id)
					if v := m.Add(id, want[id]); *v != want[id] {
						t.Fatalf("added %d, stands %d", want[id], *v)
					}
				}
			}
			if m.Len() != len(order) || len(m.Entries()) != len(order) {
				t.Fatalf("%d entries, want %d", m.Len(), len(order))
			}
			probe := id()
			v, found := want[probe]
			if got := m.Find(probe); (got != nil) != found || found && *got != v {
				t.Fatalf("%v: %v, want %v, %v", probe, got, v, found)
			}
		}
		for i, e := range m.Entries() {
			if got := m.Find(e.ID); e.ID != order[i] || e.Value != want[e.ID] || got == nil || *got != e.Value {
				t.Fatalf("entry %d is %v", i, e)
			}
		}
	})
}

func indexOf(m *idmap.Map[int], v *int) int {
	for i := range m.Entries() {
		if &m.Entries()[i].Value == v {
			return i
		}
	}
	panic("not an entry")
}

// TestNoAllocation: a map that has been as large before takes entries without memory.
func TestNoAllocation(t *testing.T) {
	var m idmap.Map[uint64]
	fill := func() {
		for i := range uint64(1000) {
			m.Add(u128.From64(i), i)
		}
		m.Clear()
	}
	fill()
	if n := testing.AllocsPerRun(10, fill); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// BenchmarkMap looks for new ids, adds them and forgets them all, beside Go's map.
func BenchmarkMap(b *testing.B) {
	for _, n := range []int{1_000, 65_536, 262_144} {
		ids := make([]u128.Int, n)
		rng := rand.New(rand.NewPCG(1, 2))
		for i := range ids {
			ids[i] = u128.Int{Hi: 0x0190_0000_0000_7000 + uint64(i)<<10, Lo: rng.Uint64()}
		}
		b.Run(fmt.Sprintf("idmap/%d", n), func(b *testing.B) {
			var m idmap.Map[uint64]
			for i := 0; i < b.N; {
				for _, id := range ids {
					if m.Find(id) == nil {
						m.Add(id, 1)
					}
					i++
				}
				m.Clear()
			}
		})
		b.Run(fmt.Sprintf("go/%d", n), func(b *testing.B) {
			m := map[u128.Int]uint64{}
			for i := 0; i < b.N; {
				for _, id := range ids {
					if _, ok := m[id]; !ok {
						m[id] = 1
					}
					i++
				}
				clear(m)
			}
		})
	}
}
