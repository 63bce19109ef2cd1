package machine

import (
	"bytes"
	"testing"

	"virtualservicesinc.com/comps/txn/store/memstore"
)

// TestChainTellsReplicasApart: two replicas whose states have come apart, behind
// one and the same chain, take the same entry. Whether it shows in an answer, in an
// account or in a user, the chains must part.
func TestChainTellsReplicasApart(t *testing.T) {
	const both = "1 at=1000 by=7 independent accounts=(1,2) users=(new:alice)\n"
	for _, c := range []struct {
		name        string
		one, other  string // what only one of them has seen
		then        string
		sameAnswers bool
	}{
		{"answers", "", "2 at=1000 by=7 accounts=(3:limit)\n", "9 at=1000 by=7 transfers=(91:3>1:1)\n", false},
		{"accounts", "2 at=1000 by=7 transfers=(21:1>2:1)\n", "2 at=1000 by=7 transfers=(21:1>2:2)\n", "9 at=1000 by=7 transfers=(91:1>2:1)\n", true},
		{"users", "2 at=1000 by=7 users=(1:role=1)\n", "2 at=1000 by=7 users=(1:role=2)\n", "9 at=1000 by=7 users=(1:name=ann)\n", true},
		{"rights", "2 at=1000 by=7 access=(1:1:read)\n", "", "9 at=1000 by=7 access=(1:0:owner)\n", true},
		{"nothing", "", "", "9 at=1000 by=7 transfers=(91:1>2:1)\n", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ms := words{t, []string{"ms=1000"}}
			var benches [2]*bench
			for i, only := range []string{c.one, c.other} {
				b := &bench{t: t, store: memstore.New()}
				b.open()
				b.entry(ms, both)
				b.entry(ms, only)
				benches[i] = b
			}
			benches[1].meta.Chain = bytes.Clone(benches[0].meta.Chain)
			benches[1].meta.Csn = benches[0].meta.Csn
			later := words{t, []string{"ms=2000"}}
			a, b := benches[0].entry(later, c.then), benches[1].entry(later, c.then)
			if (a == b) != c.sameAnswers {
				t.Fatalf("the replicas answer %sand %s", a, b)
			}
			apart := c.one != c.other
			if same := bytes.Equal(benches[0].meta.Chain, benches[1].meta.Chain); same == apart {
				t.Fatalf("the chains are the same: %v, the replicas are apart: %v", same, apart)
			}
		})
	}
}

// TestChainCoversHistory: what came before counts, and what stands in the entry.
func TestChainCoversHistory(t *testing.T) {
	chain := func(entries ...string) []byte {
		b := &bench{t: t, store: memstore.New()}
		b.open()
		for _, e := range entries {
			b.entry(words{t, []string{"ms=1000"}}, e)
		}
		return b.meta.Chain
	}
	const first, second, refused = "1 at=1000 by=7\n", "2 at=1000 by=7\n", "3 at=1000 by=7 mode=5\n"
	if bytes.Equal(chain(first, second), chain(second, first)) {
		t.Error("the order of entries does not count")
	}
	if bytes.Equal(chain(first, second), chain(first+second)) {
		t.Error("the borders of entries do not count")
	}
	if bytes.Equal(chain(first, refused, second), chain(first, second)) {
		t.Error("what was refused does not count")
	}
}
