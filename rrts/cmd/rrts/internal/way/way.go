// Package way puts together what the SFUs remember of one transaction: when it was
// where, and what each step took.
//
// Every SFU tells its own steps by its own clock, which is microseconds exact between
// its own steps and milliseconds wrong towards another's. So the clocks are not
// believed: what happened at the leader lies in the middle of what the gateway waited
// for, and what happened at a follower in the middle of the leader's wait for its
// quorum, as if both ways on the network took the same time.
package way

import (
	"cmp"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Told is what one SFU remembers of the transaction: as its gateway and as its replica,
// nil where it remembers nothing.
type Told struct {
	SFU              string
	Gateway, Replica *txnpb.TraceAnswer
}

// Step is one step of the way.
type Step struct {
	SFU  string
	What string
	// At is when, since the gateway got it; Took is how long after the step before it: at
	// a follower after its own, else after the one before it on the way of the answer.
	At, Took time.Duration

	follower bool // beside the way of the answer
}

// Way is the whole.
type Way struct {
	Gateway, Leader string // empty where none remembers it
	Index           uint64 // of the log entry
	Sent            uint32 // how often the gateway sent it
	Total           time.Duration
	Steps           []Step // in the order of At
}

// mark is the time of a step by the SFU's own clock; 0 when there is none.
type marks map[txnpb.Step]int64

func marksOf(a *txnpb.TraceAnswer) marks {
	m := marks{}
	if a != nil {
		for _, k := range a.Marks {
			m[k.Step] = int64(k.At)
		}
	}
	return m
}

// names of the steps, with what the time before each was spent on.
var names = map[txnpb.Step]string{
	txnpb.StepReceived:  "received by the gateway",
	txnpb.StepSent:      "left the gateway: filled its batch",
	txnpb.StepQueued:    "received by the leader: network",
	txnpb.StepAppended:  "into a log entry: queue at the leader",
	txnpb.StepDurable:   "on this SFU's disk",
	txnpb.StepCommitted: "on the disks of a quorum: committed",
	txnpb.StepApplied:   "applied",
	txnpb.StepReplied:   "answered by the leader",
	txnpb.StepAnswered:  "answered by the gateway: network",
}

var followerNames = map[txnpb.Step]string{
	txnpb.StepAppended:  "entry received",
	txnpb.StepDurable:   "on this SFU's disk",
	txnpb.StepCommitted: "heard that it is committed",
	txnpb.StepApplied:   "applied",
}

// Lay lays together what was told.
func Lay(told []Told) *Way {
	w := &Way{}
	var gateway, leader marks
	// The last SFU that was asked through, and the last one that led it: a transaction
	// that is submitted again may be remembered by two.
	newest := int64(0)
	for _, t := range told {
		if m := marksOf(t.Gateway); m[txnpb.StepAnswered] > newest {
			newest, gateway, w.Gateway, w.Sent = m[txnpb.StepAnswered], m, t.SFU, t.Gateway.Sent
		}
	}
	newest = 0
	for _, t := range told {
		if m := marksOf(t.Replica); m[txnpb.StepReplied] > newest {
			newest, leader, w.Leader, w.Index = m[txnpb.StepReplied], m, t.SFU, t.Replica.Index
		}
	}
	zero := gateway[txnpb.StepReceived]
	if gateway == nil {
		zero = leader[txnpb.StepQueued]
	}
	w.add(w.Gateway, false, gateway, zero, txnpb.StepReceived, txnpb.StepSent, txnpb.StepAnswered)
	// How much the leader's clock is ahead of the gateway's.
	ahead := int64(0)
	if gateway[txnpb.StepSent] != 0 && leader != nil {
		ahead = middle(leader[txnpb.StepQueued], leader[txnpb.StepReplied]) - middle(gateway[txnpb.StepSent], gateway[txnpb.StepAnswered])
	}
	w.add(w.Leader, false, leader, zero+ahead, txnpb.StepQueued, txnpb.StepAppended, txnpb.StepDurable, txnpb.StepCommitted, txnpb.StepApplied, txnpb.StepReplied)
	for _, t := range told {
		m := marksOf(t.Replica)
		if t.SFU == w.Leader || m[txnpb.StepAppended] == 0 || w.Index != 0 && t.Replica.Index != w.Index {
			continue
		}
		base := zero + ahead
		if leader[txnpb.StepCommitted] != 0 && m[txnpb.StepDurable] != 0 {
			// Not before the leader sent it.
			base = m[txnpb.StepAppended] - max(middle(leader[txnpb.StepAppended], leader[txnpb.StepCommitted])-(m[txnpb.StepDurable]-m[txnpb.StepAppended])/2,
				leader[txnpb.StepAppended]) + zero + ahead
		}
		w.add(t.SFU, true, m, base, txnpb.StepAppended, txnpb.StepDurable, txnpb.StepCommitted, txnpb.StepApplied)
	}
	slices.SortStableFunc(w.Steps, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	w.took()
	switch {
	case gateway != nil:
		w.Total = time.Duration(gateway[txnpb.StepAnswered] - zero)
	case leader != nil:
		w.Total = time.Duration(leader[txnpb.StepReplied] - leader[txnpb.StepQueued])
	}
	return w
}

func middle(a, b int64) int64 { return a + (b-a)/2 }

// add adds the steps of one SFU, whose clock shows base at the beginning of the way.
func (w *Way) add(sfu string, follower bool, m marks, base int64, steps ...txnpb.Step) {
	what := names
	if follower {
		what = followerNames
	}
	for _, s := range steps {
		if at := m[s]; at != 0 {
			w.Steps = append(w.Steps, Step{SFU: sfu, What: what[s], At: time.Duration(at - base), follower: follower})
		}
	}
}

// took works out what each step took.
func (w *Way) took() {
	last := map[string]time.Duration{}
	seen := map[string]bool{}
	for i := range w.Steps {
		s := &w.Steps[i]
		lane := "" // the way of the answer
		if s.follower {
			lane = s.SFU
		}
		if seen[lane] {
			s.Took = s.At - last[lane]
		}
		last[lane], seen[lane] = s.At, true
	}
}
