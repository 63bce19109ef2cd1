package machine

import (
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestWitness: a witness comes to the group of a member that applies everything, at
// every entry, and from every marker on the way.
func TestWitness(t *testing.T) {
	b := &bench{t: t, store: memstore.New()}
	b.open()
	witness := func(m *txnpb.Marker) *Witness {
		w, err := NewWitness(m, b.Group().Conf, entry.ApplyVersion)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	all := []*Witness{witness(nil)}
	step := func(data []byte, reconfigure bool) {
		t.Helper()
		index, term := b.Applied()
		index++
		apply := func(m interface {
			Apply(index, term uint64, data []byte, out []entry.Result) ([]entry.Result, error)
			Reconfigure(index, term uint64, data []byte) error
		}) {
			t.Helper()
			err := error(nil)
			if reconfigure {
				err = m.Reconfigure(index, term, data)
			} else {
				_, err = m.Apply(index, term, data, nil)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		apply(b.Machine)
		want := b.TakeChanges()
		for i, w := range all {
			apply(w)
			got := w.TakeChanges()
			if groupLine(w.Group()) != groupLine(b.Group()) || b.GroupIndex() > 0 && w.GroupIndex() == 0 {
				t.Fatalf("entry %d: witness %d has the group %sof entry %d, the machine %sof entry %d", index, i, groupLine(w.Group()), w.GroupIndex(), groupLine(b.Group()), b.GroupIndex())
			}
			if len(got) != len(want) || len(got) > 0 && ((got[0].Refused == nil) != (want[0].Refused == nil) || (got[0].Group == nil) != (want[0].Group == nil)) {
				t.Fatalf("entry %d: witness %d tells %+v, the machine %+v", index, i, got, want)
			}
		}
		kept := &txnpb.Marker{}
		if err := kept.Parse(message.Marshal(all[0].Marker())); err != nil { // as from a file
			t.Fatal(err)
		}
		all = append(all, witness(kept), witness(NewMarker(index, term, b.Group())))
	}
	normal := func(e *txnpb.Entry) { t.Helper(); step(message.Marshal(e), false) }
	change := func(c *txnpb.RosterChange) {
		t.Helper()
		cc := b.Group().ConfChange(c)
		if cc == nil {
			normal(&txnpb.Entry{ApplyVersion: entry.VersionRoster, Epoch: 1, Change: c})
			return
		}
		c.ApplyVersion, c.Epoch = entry.VersionRoster, 1
		cc.Context = message.Marshal(c)
		data, err := proto.Marshal(cc)
		if err != nil {
			t.Fatal(err)
		}
		step(data, true)
	}
	leave := func() { t.Helper(); step(nil, true) }
	tx := txnpb.Transaction{Id: u128.From64(7)}
	submission := txnpb.Submission{Transaction: message.Marshal(&tx), Principal: 1, Role: uint32(message.RoleOperator)}

	step(nil, false) // a new leader's
	normal(&txnpb.Entry{ApplyVersion: entry.BaseVersion, Epoch: 1, Submissions: []txnpb.Submission{submission}})
	change(&txnpb.RosterChange{Found: founding(3), Window: uint64(time.Hour)})
	change(&txnpb.RosterChange{Add: record(4, "edge", "edge", "pc4", false)}) // a normal entry
	change(&txnpb.RosterChange{Add: record(5, "wit", "witness", "box", true)})
	change(&txnpb.RosterChange{Remove: 4}) // refused: another is under way
	leave()
	leave() // once more changes nothing
	change(&txnpb.RosterChange{Promote: 5})
	leave()
	change(&txnpb.RosterChange{Remove: 9}) // refused
	change(&txnpb.RosterChange{Remove: 1})
	leave()
	normal(&txnpb.Entry{ApplyVersion: entry.BaseVersion, Epoch: 1, Expire: 1})
	if s := all[0].Group(); !s.Witness(5) || s.Witness(2) || !s.CanLead() || len(s.Roster.Members) != 4 {
		t.Errorf("in the end %s", groupLine(s))
	}
	if s := (roster.State{Roster: all[0].Group().Roster, Conf: raftpb.EnsureConfState(&raftpb.ConfState{Voters: []uint64{5}})}); s.CanLead() {
		t.Error("a witness alone can lead")
	}
}

// TestWitnessHalts: what newer software wrote may change the group in ways that this one
// does not see.
func TestWitnessHalts(t *testing.T) {
	w, err := NewWitness(nil, &raftpb.ConfState{Voters: []uint64{1, 2, 3}}, entry.ApplyVersion)
	if err != nil {
		t.Fatal(err)
	}
	newer := message.Marshal(&txnpb.Entry{ApplyVersion: entry.ApplyVersion + 1})
	for name, data := range map[string][]byte{
		"a newer version":  newer,
		"an unknown field": append(message.Marshal(&txnpb.Entry{ApplyVersion: entry.ApplyVersion}), 15<<3|message.WireVarint, 1),
	} {
		if _, err := w.Apply(1, 1, data, nil); err == nil || !strings.Contains(err.Error(), "install the newer software") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := w.Apply(1, 1, []byte{0xff}, nil); err == nil {
		t.Error("what is no entry is read")
	}
	if _, err := w.Apply(2, 1, nil, nil); err == nil {
		t.Error("an entry is left out")
	}
	if index, _ := w.Applied(); index != 0 {
		t.Errorf("it stands at entry %d", index)
	}
}
