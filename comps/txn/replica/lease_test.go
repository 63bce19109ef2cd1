package replica

import (
	"errors"
	"strings"
	"testing"
)

// TestLease: one at a time, and only while all that vote are there.
func TestLease(t *testing.T) {
	g := newGroup(t, 1, 3)
	g.tick(60)
	lead := g.leader()
	var others []*member
	for _, id := range g.ids() {
		if id != lead.id {
			others = append(others, g.members[id])
		}
	}
	refused := func(err error, want string) {
		t.Helper()
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("the lease: %v, want %q", err, want)
		}
	}
	if err := others[0].Lease(g.now, 1); !errors.Is(err, ErrNotLeader) {
		t.Fatalf("a follower: %v", err)
	}
	refused(lead.Lease(lead.lease.since+leaseQuiet-1, others[0].id), "just become the leader")

	quiet := lead.lease.since + leaseQuiet
	for range 2 { // and again by its holder
		if err := lead.Lease(quiet, others[0].id); err != nil {
			t.Fatal(err)
		}
		refused(lead.Lease(quiet, others[1].id), "is being restarted: one at a time")
	}
	lead.Release(others[1].id) // who does not hold it
	refused(lead.Lease(quiet, others[1].id), "is being restarted")
	lead.Release(others[0].id)

	if err := lead.Lease(quiet, others[0].id); err != nil {
		t.Fatal(err)
	}
	if err := lead.Lease(quiet+LeaseTime, others[1].id); err != nil {
		t.Fatalf("after the time of one that was not renewed: %v", err)
	}
	lead.Release(others[1].id)

	others[1].down = true
	g.tick(30) // CheckQuorum: the leader notes who is silent
	refused(lead.Lease(quiet, others[0].id), "is not there: start it first")
	if err := lead.Lease(quiet, others[1].id); err != nil {
		t.Fatalf("for the one that is away: %v", err)
	}
	lead.Release(others[1].id)
	others[1].down = false
	g.tick(60)
	lead = g.leader()
	lead.Draining(others[1].id, true)
	refused(lead.Lease(lead.lease.since+leaseQuiet, others[0].id), "is not there")
}
