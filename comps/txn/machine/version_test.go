package machine

import (
	"errors"
	"strings"
	"testing"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestActivation: which apply version is active is state: it survives, older software does
// not open it, and no entry activates another version than its own.
func TestActivation(t *testing.T) {
	const next = entry.ApplyVersion + 1
	s := memstore.New()
	m, err := Open(s, Config{Newest: next}, testMembers)
	if err != nil {
		t.Fatal(err)
	}
	apply := func(c *txnpb.RosterChange, version uint32) (refused error) {
		t.Helper()
		e := txnpb.Entry{ApplyVersion: version, Epoch: 1, Change: c}
		index, _ := m.Applied()
		if _, err := m.Apply(index+1, 1, message.Marshal(&e), nil); err != nil {
			t.Fatal(err)
		}
		return m.TakeChanges()[0].Refused
	}
	is := func(want uint32) {
		t.Helper()
		if got := m.Group().Version; got != want {
			t.Fatalf("version %d is active, want %d", got, want)
		}
	}
	is(0)
	if why := apply(&txnpb.RosterChange{Found: founding(3), Activate: entry.VersionActivation}, entry.VersionActivation); why != nil {
		t.Fatal(why)
	}
	is(entry.VersionActivation)
	if why := apply(&txnpb.RosterChange{Activate: next}, entry.VersionActivation); why == nil || !strings.Contains(why.Error(), "cannot activate") {
		t.Errorf("activated by an older entry: %v", why)
	}
	is(entry.VersionActivation)
	if why := apply(&txnpb.RosterChange{Activate: next}, next); why != nil {
		t.Fatal(why)
	}
	is(next)
	if why := apply(&txnpb.RosterChange{Activate: next}, next); why == nil {
		t.Error("activated twice")
	}
	if m, err = Open(s, Config{Newest: next}, nil); err != nil {
		t.Fatal(err)
	}
	is(next)
	var version *VersionError
	if _, err = Open(s, Config{}, nil); !errors.As(err, &version) || version.Version != next || !strings.Contains(err.Error(), "install the newer software") {
		t.Errorf("older software opens it: %v", err)
	}
}
