package raftlog

import (
	"testing"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/journal"
)

// TestReplayOverAHole: where entries were given up the log begins behind them, whatever
// overrules what.
func TestReplayOverAHole(t *testing.T) {
	type step struct{ index, term, prev uint64 } // index 0: some were given up
	const lost = 0
	for _, test := range []struct {
		name  string
		steps []step
		base  point
		last  uint64
	}{
		{"in the middle", []step{{1, 1, 0}, {2, 1, 1}, {lost, 0, 0}, {5, 1, 1}}, point{4, 1}, 5},
		{"nothing was lost but what was overruled", []step{{1, 1, 0}, {2, 1, 1}, {lost, 0, 0}, {3, 1, 1}}, point{0, 0}, 3},
		{"overruled behind it, from before it on", []step{{1, 1, 0}, {2, 1, 1}, {lost, 0, 0}, {5, 1, 1}, {6, 1, 1}, {4, 3, 1}}, point{3, 1}, 4},
		{"what is behind it overrules some before it", []step{{1, 1, 0}, {2, 1, 1}, {3, 1, 1}, {lost, 0, 0}, {3, 2, 2}}, point{2, 2}, 3},
	} {
		l := &Log{conf: raftpb.EnsureConfState(nil), cacheBytes: DefaultCacheBytes}
		for _, s := range test.steps {
			kind, payload := journal.Missing, []byte(nil)
			if s.index != lost {
				kind = kindEntry
				payload = encodeEntry(nil, &raftpb.Entry{Index: &s.index, Term: &s.term}, s.prev)
			}
			if err := l.replay(0, kind, payload); err != nil {
				t.Fatalf("%s: %v", test.name, err)
			}
		}
		if l.base != test.base || l.last() != test.last {
			t.Errorf("%s: the log goes on behind %v up to %d, want %v and %d", test.name, l.base, l.last(), test.base, test.last)
		}
	}
}
