package cluster

import (
	"strings"
	"testing"
	"time"
)

// TestWitnessSaves is what a witness is for: one voter is cut off, the other goes on with
// the witness and is lost for good, disk and all, and only then the first one is back.
// What only the witness holds is not lost, and it leads for no longer than that takes. A
// witness that cuts its log too early, or that goes on leading, is found out.
func TestWitnessSaves(t *testing.T) {
	run := func(bug Bug) (Report, error) {
		return Run(Config{Seed: 1, Nodes: 3, Witness: true, Clients: 6, Safety: 1700 * time.Millisecond, Bug: bug, Events: []Event{
			{At: quiet, Kind: Isolate, Node: 2},
			{At: 1500 * time.Millisecond, Kind: Lose, Node: 1},
			{At: 1600 * time.Millisecond, Kind: Heal},
		}})
	}
	r, err := run(NoBug)
	if err != nil {
		t.Fatal(err)
	}
	if r.Lifted != 1 || r.Replaced != 1 || r.Committed < 20 {
		t.Errorf("it tested nothing: %+v", r)
	}
	t.Logf("%v from the return of the voter until everything was answered", r.Settled)
	for bug, want := range map[Bug]string{CutEarly: "not settled", HoldOn: "is a witness, and leads for"} {
		if _, err := run(bug); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("bug %d: %v, want %q", bug, err, want)
		}
	}
}
