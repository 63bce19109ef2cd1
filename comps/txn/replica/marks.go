package replica

import (
	"encoding/binary"
	"maps"
	"slices"
)

// marksKept is at how many entries members' states are compared at a time: a member that
// lags by more is compared later.
const marksKept = 8

// Verdict is what the members' states at one entry say of this member's.
type Verdict uint8

const (
	// VerdictNone: nothing, or nothing yet.
	VerdictNone Verdict = iota
	// VerdictMajority: most voters have come to the same state as this member.
	VerdictMajority
	// VerdictMinority: most voters have come to another state.
	VerdictMinority
	// VerdictNoMajority: there is no state to which most voters have come.
	VerdictNoMajority
)

// told is to which states members came, by entry and member.
type told map[uint64]map[uint64]string

// add takes note of a member's, and returns all at that entry.
func (t told) add(member, index uint64, state []byte) map[uint64]string {
	at := t[index]
	if at == nil {
		at = map[uint64]string{}
		t[index] = at
	}
	at[member] = string(state)
	if len(t) > marksKept {
		delete(t, slices.Min(slices.Collect(maps.Keys(t))))
	}
	return at
}

// Mark tells to which state a member, or this one, came with an entry: its chain. All
// members are told of at the same entries. Witnesses have no state.
func (r *Replica) Mark(member, index uint64, chain []byte) Verdict {
	return r.judgeMarks(r.marks.add(member, index, chain))
}

// Sum is Mark for the sum of the rows that a member keeps, as of an entry: it finds what
// the chain does not, rows that were not stored as the machine made them.
func (r *Replica) Sum(member, index, sum uint64) Verdict {
	return r.judgeMarks(r.sums.add(member, index, binary.BigEndian.AppendUint64(nil, sum)))
}

func (r *Replica) judgeMarks(at map[uint64]string) Verdict {
	own, known := at[r.cfg.ID]
	if !known {
		return VerdictNone
	}
	voters, untold := 0, 0
	counts := map[string]int{}
	for _, id := range r.group.Conf.Voters {
		if r.isWitness(id) {
			continue
		}
		voters++
		if chain, told := at[id]; told {
			counts[chain]++
		} else {
			untold++
		}
	}
	most := 0
	for chain, n := range counts { // in any order: at most one is a majority
		if most = max(most, n); n > voters/2 {
			if chain != own {
				return VerdictMinority
			}
			return VerdictMajority
		}
	}
	if most+untold <= voters/2 {
		return VerdictNoMajority
	}
	return VerdictNone
}
