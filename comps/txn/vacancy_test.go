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
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// alarmBook notes what is raised and cleared.
type alarmBook []string

func (b *alarmBook) Alarm(name string, _ engine.Severity, detail string) {
	*b = append(*b, fmt.Sprintf("raise %s: %s", name, detail))
}
func (b *alarmBook) ClearAlarm(name string) { *b = append(*b, "clear "+name) }

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
		"raise no-leader: no transaction is decided until 2 of the 2 SFUs that vote reach each other: [alpha bravo]; start those that are down",
		"clear no-leader",
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
		"raise no-leader: no transaction is decided until 2 of the 3 SFUs that vote reach each other, one of them with all that was committed and no witness: [alpha bravo wit]; start those that are down",
	}
	if !slices.Equal(book, want) {
		t.Errorf("alarms:\n%s\nwant:\n%s", strings.Join(book, "\n"), strings.Join(want, "\n"))
	}
}
