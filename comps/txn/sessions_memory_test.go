package txn

import (
	"testing"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestSessionsMemory: who asks hears every change once, and is told to ask for all when
// that is not possible.
func TestSessionsMemory(t *testing.T) {
	var s sessions
	user := func(n int) txnpb.UserStanding { return txnpb.UserStanding{Number: uint64(n), Version: 1} }
	first := s.since(0, 0)
	if !first.Afresh || first.Instance == 0 || first.Counter != 0 {
		t.Fatalf("%v", first)
	}
	s.changed([]txnpb.UserStanding{user(1), user(2)})
	s.changed(nil)
	for _, tt := range []struct {
		instance, counter uint64
		afresh            bool
		users             int
	}{
		{first.Instance, 0, false, 2},
		{first.Instance, 1, false, 1},
		{first.Instance, 2, false, 0},
		{first.Instance, 3, true, 0},     // more than there were
		{first.Instance + 2, 2, true, 0}, // of another process
	} {
		if a := s.since(tt.instance, tt.counter); a.Afresh != tt.afresh || len(a.Users) != tt.users || a.Counter != 2 {
			t.Errorf("%+v: %v", tt, a)
		}
	}
	for i := range maxUserChanges {
		s.changed([]txnpb.UserStanding{user(i)})
	}
	if a := s.since(first.Instance, 1); !a.Afresh {
		t.Error("what is forgotten is not said to be")
	}
	if a := s.since(first.Instance, 2); a.Afresh || len(a.Users) != maxUserChanges || a.Users[0].Number != 0 {
		t.Errorf("%d changes", len(a.Users))
	}
	s.forget()
	if a := s.since(first.Instance, maxUserChanges+2); !a.Afresh || a.Instance == first.Instance {
		t.Error("another state has taken its place, and nobody hears of it")
	}
}
