package txn

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// needsInterval is how often a witness asks the other voters how far they are, and
	// needsTimeout how long they may take to say it.
	needsInterval = time.Second
	needsTimeout  = time.Second
	// defaultWitnessKeep is how much of its log a witness keeps although nobody needs it:
	// more than what a learner may lack that has just become a voter.
	defaultWitnessKeep = 64 << 20
	// defaultWitnessMost bounds the log of a witness: hours of a shop's payments while a
	// voter is away.
	defaultWitnessMost = 4 << 30
	// witnessCache is the newest part of the log that a witness has in memory.
	witnessCache = 4 << 20

	alarmOverrun = "witness-overrun"
)

// needs is what a witness knows of the voters that hold the state. Above what each has
// flushed it must be able to give it every entry, until a bound is reached. It belongs
// to the upkeep thread.
type needs struct {
	c      *Component
	asked  time.Duration
	heard  map[uint32]reach // of those that have answered since the start; nil before it
	raised bool
}

// reach is how far a voter is: it has every entry up to applied on disk, in its log or
// in its state, and every one up to flushed in its state.
type reach struct{ applied, flushed uint64 }

// look asks the voters, if it is time.
func (n *needs) look(ctx context.Context) {
	if now := n.c.host.Now(); n.heard == nil || now-n.asked >= needsInterval {
		n.asked = now
		group := n.group()
		n.ask(ctx, holders(group))
		n.judge(group)
	}
}

// group is the group as far as it is applied here.
func (n *needs) group() roster.State {
	w, err := machine.NewWitness(n.c.marker.Marker(), nil, n.c.cfg.Machine.Newest)
	if err != nil {
		panic(err) // it was made of one
	}
	return w.Group()
}

// holders are the voters that hold the state.
func holders(group roster.State) []uint32 {
	var all []uint32
	for _, id := range slices.Concat(group.Conf.Voters, group.Conf.VotersOutgoing) {
		if v := uint32(id); !group.Witness(id) && !slices.Contains(all, v) {
			all = append(all, v)
		}
	}
	return all
}

func (n *needs) ask(ctx context.Context, voters []uint32) {
	ctx, cancel := context.WithTimeout(ctx, needsTimeout)
	defer cancel()
	answers := make([]*txnpb.ReplicaStatus, len(voters))
	var asking sync.WaitGroup
	for i, v := range voters {
		asking.Go(func() {
			st := &txnpb.ReplicaStatus{}
			if n.c.ask(ctx, sfuOf(uint64(v)), txnpb.ReplicaStatusMethod, &txnpb.ReplicaStatusRequest{}, st) == nil && st.Role != roleDamaged {
				answers[i] = st
			}
		})
	}
	asking.Wait()
	known := n.heard
	n.heard = map[uint32]reach{}
	for i, v := range voters {
		// It only rises: a voter that loses its disk gets another number.
		if r, ok := known[v]; ok {
			n.heard[v] = r
		}
		if st := answers[i]; st != nil {
			n.heard[v] = reach{max(n.heard[v].applied, st.AppliedIndex), max(n.heard[v].flushed, st.FlushedIndex)}
		}
	}
}

// cut is the entry up to which the log may be cut.
func (n *needs) cut() uint64 {
	limit := n.c.keep.Flushed()
	return max(n.c.log.CompactTo(n.needed(limit), n.c.cfg.KeepBytes), n.c.log.CompactTo(limit, n.c.cfg.WitnessBytes))
}

// needed is the entry, at most limit, above which some voter may need what is here.
func (n *needs) needed(limit uint64) uint64 {
	for _, v := range holders(n.group()) {
		limit = min(limit, n.heard[v].flushed)
	}
	return limit
}

// judge raises the alarm when a voter lacks what is not here any more, or is about to
// be given up.
func (n *needs) judge(group roster.State) {
	first, err := n.c.log.FirstIndex()
	if err != nil {
		return
	}
	cut := n.c.log.CompactTo(n.c.keep.Applied(), n.c.cfg.WitnessBytes)
	var behind []string
	for _, v := range holders(group) {
		// Of one that was not heard since the start it is not known what it lacks.
		if r, ok := n.heard[v]; ok && r.applied < cut || !ok && cut >= first {
			behind = append(behind, nameOf(group, v))
		}
	}
	switch {
	case len(behind) > 0 && !n.raised:
		n.raised = true
		n.c.host.Alarm(alarmOverrun, engine.Warning, fmt.Sprintf(
			"what %s lacks is more than the %d MB of the log that this witness keeps: until it has caught up, nothing is decided if the SFU fails that holds it all; start it, or replace it",
			strings.Join(behind, ", "), n.c.cfg.WitnessBytes>>20))
	case len(behind) == 0 && n.raised:
		n.raised = false
		n.c.host.ClearAlarm(alarmOverrun)
	}
}

func nameOf(group roster.State, number uint32) string {
	if m := group.Member(number); m != nil {
		return m.Name
	}
	return fmt.Sprint("SFU ", number)
}
