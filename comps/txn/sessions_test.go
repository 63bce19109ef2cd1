package txn_test

import (
	"context"
	"fmt"
	"testing"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestSessions: every leader says how users stand, and what has changed.
func TestSessions(t *testing.T) {
	c := newCluster(t)
	lead := c.leader()
	ask := func(in *txnpb.SessionsRequest) *txnpb.SessionsAnswer {
		t.Helper()
		var a *txnpb.SessionsAnswer
		c.eventually("an answer", func() bool {
			var err error
			a, err = txnpb.TxnClient{Caller: lead.engine.Caller(0)}.Sessions(context.Background(), in)
			return err == nil
		})
		return a
	}
	anna := opening()
	anna.Accounts, anna.Users = nil, []txnpb.UserChange{{LoginHash: make([]byte, 32), PublicName: "Anna", Verifier: "x", Role: uint32(message.RoleClient)}}
	mustCommit(t, c.submit(lead, anna))
	a := ask(&txnpb.SessionsRequest{Users: []uint64{1, 2}})
	if want := "[UserStanding{number:1 version:1} UserStanding{number:2}]"; !a.Afresh || fmt.Sprint(a.Users) != want {
		t.Fatalf("%v, want %s", a, want)
	}
	change := transferOf(1)
	change.Transfers, change.Users = nil, []txnpb.UserChange{{Number: 1, Disabled: true}}
	mustCommit(t, c.submit(lead, change))
	b := ask(&txnpb.SessionsRequest{Instance: a.Instance, Counter: a.Counter})
	if want := "[UserStanding{number:1 version:2 disabled:true}]"; b.Afresh || b.Instance != a.Instance || fmt.Sprint(b.Users) != want {
		t.Fatalf("%v, want %s", b, want)
	}
	// The next leader is another process: it says so, and knows the same.
	c.stop(lead)
	lead = c.leader()
	if n := ask(&txnpb.SessionsRequest{Instance: b.Instance, Counter: b.Counter, Users: []uint64{1}}); !n.Afresh || fmt.Sprint(n.Users) != "[UserStanding{number:1 version:2 disabled:true}]" {
		t.Errorf("%v", n)
	}
}
