package replica

import (
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
	// VerdictMinority: most voters have come to another state.
	VerdictMinority
	// VerdictNoMajority: there is no state to which most voters have come.
	VerdictNoMajority
)

// Mark tells to which state a member, or this one, came with an entry: its chain. All
// members are told of at the same entries. Witnesses have no state.
func (r *Replica) Mark(member, index uint64, chain []byte) Verdict {
	at := r.marks[index]
	if at == nil {
		at = map[uint64]string{}
		r.marks[index] = at
	}
	at[member] = string(chain)
	if len(r.marks) > marksKept {
		delete(r.marks, slices.Min(slices.Collect(maps.Keys(r.marks))))
	}
	return r.judgeMarks(at)
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
			return VerdictNone
		}
	}
	if most+untold <= voters/2 {
		return VerdictNoMajority
	}
	return VerdictNone
}
