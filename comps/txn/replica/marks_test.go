package replica

import "testing"

// TestVerdict: who is told of what state, in this order, and what member 1 makes of it.
func TestVerdict(t *testing.T) {
	type told struct {
		member uint64
		chain  string
	}
	for _, c := range []struct {
		name   string
		voters uint64
		told   []told
		want   Verdict
	}{
		{"all alike", 3, []told{{1, "a"}, {2, "a"}, {3, "a"}}, VerdictMajority},
		{"another is wrong", 3, []told{{1, "a"}, {2, "b"}, {3, "a"}}, VerdictMajority},
		{"this one is wrong", 3, []told{{1, "b"}, {2, "a"}, {3, "a"}}, VerdictMinority},
		{"this one comes last", 3, []told{{2, "a"}, {3, "a"}, {1, "b"}}, VerdictMinority},
		{"one is not heard", 3, []told{{1, "b"}, {2, "a"}}, VerdictNone},
		{"all differ", 3, []told{{1, "a"}, {2, "b"}, {3, "c"}}, VerdictNoMajority},
		{"two differ", 2, []told{{1, "a"}, {2, "b"}}, VerdictNoMajority},
		{"nobody else", 1, []told{{1, "a"}}, VerdictMajority},
		{"two of five", 5, []told{{1, "b"}, {2, "b"}, {3, "a"}, {4, "a"}}, VerdictNone},
		{"no majority of five", 5, []told{{1, "b"}, {2, "b"}, {3, "a"}, {4, "a"}, {5, "c"}}, VerdictNoMajority},
		{"a learner counts for nothing", 2, []told{{1, "a"}, {9, "b"}, {8, "b"}}, VerdictNone},
		{"one of three is not heard", 3, []told{{1, "a"}, {2, "a"}}, VerdictMajority},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := newGroup(t, 1, c.voters)
			got := VerdictNone
			for _, x := range c.told {
				got = g.members[1].Mark(x.member, 100, []byte(x.chain))
			}
			if got != c.want {
				t.Errorf("verdict %d, want %d", got, c.want)
			}
		})
	}
	m := newGroup(t, 1, 3).members[1]
	for index := range uint64(100) {
		m.Mark(2, index, []byte("a"))
	}
	if len(m.marks) > marksKept {
		t.Errorf("%d marks are kept", len(m.marks))
	}
}
