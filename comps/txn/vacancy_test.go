package txn

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/alarm/alarmtest"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// alarmBook notes what is raised and cleared.
type alarmBook []string

func (b *alarmBook) Alarm(name string, _ engine.Severity, detail string) {
	*b = append(*b, fmt.Sprintf("raise %s: %s", name, detail))
}
func (b *alarmBook) ClearAlarm(name string) { *b = append(*b, "clear "+name) }

// seen is what the book says was raised and ended.
func (b alarmBook) seen() *alarmtest.Record {
	saw := &alarmtest.Record{}
	for _, line := range b {
		if name, ended := strings.CutPrefix(line, "clear "); ended {
			saw.End(name)
		} else if name, _, raised := strings.Cut(strings.TrimPrefix(line, "raise "), ":"); raised {
			saw.Raise(name)
		}
	}
	return saw
}

// TestNoLeader: the alarm stands while nobody leads for long, and says who is needed; an
// election is no alarm.
func TestNoLeader(t *testing.T) {
	group := roster.State{Conf: raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{1, 2}}), Roster: &txnpb.Roster{Members: []txnpb.Member{
		{Number: 1, Name: "alpha"}, {Number: 2, Name: "bravo"},
	}}}
	v, book, now := vacancy{}, alarmBook{}, time.Second
	look := func(lead uint64, d time.Duration) {
		for end := now + d; now < end; now += 10 * time.Millisecond {
			v.look(&book, now, lead, group)
		}
	}
	look(0, vacancyGrace-time.Second) // an election that takes its time
	look(1, time.Second)
	look(0, 2*vacancyGrace)
	look(2, time.Second)
	want := []string{
		"raise no-leader: no transaction is decided until 2 of the 2 SFUs that vote reach each other: [alpha bravo]; start those that are down, " +
			"or, if they are off for good, let this one go on alone: rrts quorum force --other-is-off",
		"clear no-leader",
	}
	if !slices.Equal(book, want) {
		t.Errorf("alarms:\n%s\nwant:\n%s", strings.Join(book, "\n"), strings.Join(want, "\n"))
	}
	book.seen().Proves(t)
}

// TestStanding: the leader says for as long as it is so that it alone votes, and who waits
// to be replaced after a forced recovery.
func TestStanding(t *testing.T) {
	members := []txnpb.Member{{Number: 1, Name: "alpha"}, {Number: 2, Name: "bravo"}, {Number: 3, Name: "carol"}}
	group := func(r *txnpb.Roster, voters ...uint64) roster.State {
		return roster.State{Roster: r, Conf: raftpb.EnsureConfState(&raftpb.ConfState{Voters: voters})}
	}
	whole := &txnpb.Roster{Members: members}
	forced := &txnpb.Roster{Members: slices.Clone(members), Force: &txnpb.Force{Epoch: 2, By: 1, Csn: 70}}
	forced.Members[1].Overruled, forced.Members[2].Overruled = true, true
	half := &txnpb.Roster{Members: slices.Clone(members[:2]), Force: forced.Force}
	half.Members[1].Overruled = true
	s, book := standing{}, alarmBook{}
	for _, c := range []struct {
		leads bool
		group roster.State
	}{
		{false, group(whole, 1)}, {true, group(whole, 1, 2)}, {true, group(whole, 1)}, {true, group(whole, 1)},
		{true, group(forced, 1)}, {true, group(half, 1)}, {false, group(half, 1)},
	} {
		s.look(&book, c.leads, c.group)
	}
	const solo = "solo: SFU alpha alone votes: if it, its machine or its disk fails, nothing is decided, and what was not backed up may be lost; " +
		"add SFUs on other machines with rrts node add, or start those that are stopped"
	const waits = "quorum-forced: SFU alpha went on alone in epoch 2 from CSN 70 on; overruled, and to be brought back with `rrts sfu replace NAME`: "
	want := []string{
		"raise " + solo, "raise " + waits + "bravo, carol", "clear quorum-forced", "raise " + waits + "bravo", "clear solo", "clear quorum-forced",
	}
	if !slices.Equal(book, want) {
		t.Errorf("alarms:\n%s\nwant:\n%s", strings.Join(book, "\n"), strings.Join(want, "\n"))
	}
}

// TestWitnessLeads: what a witness leads decides nothing.
func TestWitnessLeads(t *testing.T) {
	group := roster.State{Conf: raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{1, 2, 3}}), Roster: &txnpb.Roster{Members: []txnpb.Member{
		{Number: 1, Name: "alpha", Type: "all"}, {Number: 2, Name: "bravo", Type: "all"}, {Number: 3, Name: "wit", Type: "witness"},
	}}}
	v, book, now := vacancy{}, alarmBook{}, time.Second
	look := func(lead uint64, d time.Duration) {
		for end := now + d; now < end; now += 10 * time.Millisecond {
			v.look(&book, now, lead, group)
		}
	}
	look(1, time.Second)
	look(3, vacancyGrace/2)
	look(2, time.Second)
	look(3, 2*vacancyGrace)
	look(2, time.Second)
	look(0, 2*vacancyGrace)
	want := []string{
		"raise no-leader: no transaction is decided until the witness wit has brought another SFU up to date, which then leads",
		"clear no-leader",
		"raise no-leader: no transaction is decided until 2 of the 3 SFUs that vote reach each other, one of them with all that was committed and no witness: [alpha bravo wit]; start those that are down, " +
			"or, if they are off for good, let this one go on alone: rrts quorum force --other-is-off",
	}
	if !slices.Equal(book, want) {
		t.Errorf("alarms:\n%s\nwant:\n%s", strings.Join(book, "\n"), strings.Join(want, "\n"))
	}
}
