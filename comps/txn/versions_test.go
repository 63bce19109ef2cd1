package txn_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestActivatesVersions: software is replaced SFU by SFU, may be replaced back until the
// newer apply version is activated, and not afterwards; nobody joins who does not know it.
func TestActivatesVersions(t *testing.T) {
	const next = entry.ApplyVersion + 1
	c := newCluster(t)
	mustCommit(t, c.submit(c.leader(), opening()))
	install := func(s *sfu, newest uint32) {
		c.stop(s)
		s.newest = newest
		c.start(s)
		c.eventually("an SFU is there again", func() bool { st := c.status(s); return st != nil && st.Leader != 0 })
	}
	activate := func(version uint32) *txnpb.MembersAnswer {
		return c.members(c.sfus[0], func(ctx context.Context, mc txnpb.MembersClient) (*txnpb.MembersAnswer, error) {
			return mc.Activate(ctx, &txnpb.ActivateVersion{Version: version})
		})
	}

	install(c.sfus[0], next)
	install(c.sfus[1], next)
	mustCommit(t, c.submit(c.sfus[0], transferOf(1)))
	if a := activate(next); !strings.Contains(a.Refused, fmt.Sprintf("SFU sfu3 knows apply versions up to %d, not %d: install the newer software", entry.ApplyVersion, next)) || a.ApplyVersion != entry.ApplyVersion {
		t.Fatalf("activated while one SFU does not know it: %v", a)
	}
	install(c.sfus[1], entry.ApplyVersion) // back again
	mustCommit(t, c.submit(c.sfus[0], transferOf(1)))

	install(c.sfus[1], next)
	install(c.sfus[2], next)
	if a := activate(0); a.Refused != "" || a.ApplyVersion != next || !slices.Equal(a.NewestVersions, []uint32{next, next, next}) {
		t.Fatalf("not activated: %v", a)
	}
	mustCommit(t, c.submit(c.sfus[0], transferOf(1)))
	c.eventually("all have applied it", func() bool {
		return !slices.ContainsFunc(c.sfus, func(s *sfu) bool { st := c.status(s); return st == nil || st.ApplyVersion != next })
	})

	// An older newcomer is not sent the state, and says why.
	newcomer := c.add(c.sfus[0], record("sfu4", "pc4", 4), 0)
	c.eventually("the alarm of software that is too old", func() bool {
		return slices.ContainsFunc(newcomer.engine.Alarms(), func(a engine.Alarm) bool {
			return a.Name == "version-unknown" && a.Severity == engine.Critical && strings.Contains(a.Detail, fmt.Sprint("apply version ", next)) && strings.Contains(a.Detail, "install the newer software on this SFU")
		})
	})
	mustCommit(t, c.submit(c.sfus[0], transferOf(1)))
	if st := c.status(newcomer); st == nil || st.Role != "halted" || st.AppliedIndex != 0 {
		t.Errorf("the newcomer is %v", st)
	}
	install(newcomer, next)
	c.voters(newcomer, 1, 2, 3, 4)
	c.saw.Proves(t)
}
