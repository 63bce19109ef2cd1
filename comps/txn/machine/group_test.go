package machine

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// founding is a roster of n voters on machines of their own.
func founding(n uint32) *txnpb.Roster {
	r := &txnpb.Roster{LastNumber: n}
	for i := uint32(1); i <= n; i++ {
		r.Members = append(r.Members, *record(i, fmt.Sprint("sfu", i), "all", fmt.Sprint("pc", i), true))
	}
	return r
}

// record makes up a member.
func record(number uint32, name, kind, machine string, voter bool) *txnpb.Member {
	key := make([]byte, 32)
	copy(key, fmt.Sprint(number, name))
	return &txnpb.Member{Number: number, Name: name, Type: kind, Machine: machine, PublicKey: key, Carrier: "ethernet", Voter: voter}
}

// change reads a change of the roster.
func (w words) change() *txnpb.RosterChange {
	c := &txnpb.RosterChange{Remove: uint32(w.number("remove")), Promote: uint32(w.number("promote")), Demote: uint32(w.number("demote"))}
	if by := uint32(w.number("by")); by != 0 {
		c.Force = &txnpb.Force{By: by, Epoch: uint32(w.number("epoch"))}
	}
	if name := w.get("add"); name != "" {
		kind, machine := w.get("type"), w.get("machine")
		if kind == "" {
			kind = "all"
		}
		if machine == "" {
			machine = name
		}
		c.Add = record(uint32(w.number("number")), name, kind, machine, w.has("vote"))
	}
	return c
}

// change applies a change as a leader would have it in the log.
func (b *bench) change(c *txnpb.RosterChange) string {
	cc := b.Group().ConfChange(c)
	if cc != nil {
		c.ApplyVersion, c.Epoch = entry.VersionForce, 1
		cc.Context = message.Marshal(c)
		return b.reconfigure(cc)
	}
	e := txnpb.Entry{ApplyVersion: entry.VersionForce, Epoch: 1, Change: c}
	index, term := b.Applied()
	if _, err := b.Apply(index+1, term, message.Marshal(&e), nil); err != nil {
		return fmt.Sprintln(err)
	}
	return b.changed()
}

func (b *bench) reconfigure(cc *raftpb.ConfChangeV2) string {
	data, err := proto.Marshal(cc)
	if err != nil {
		b.t.Fatal(err)
	}
	index, term := b.Applied()
	if err := b.Reconfigure(index+1, term, data); err != nil {
		return fmt.Sprintln(err)
	}
	return b.changed()
}

// changed tells what the machine says became of the last change.
func (b *bench) changed() string {
	changes := b.TakeChanges()
	index, _ := b.Applied()
	if len(changes) != 1 || changes[0].Index != index {
		b.t.Fatalf("changes %+v of entry %d", changes, index)
	}
	a := &changes[0]
	if a.Refused != nil {
		return fmt.Sprintf("refused: %v\n", a.Refused)
	}
	return groupLine(a.State)
}

// groupLine is such as "roster 2: a* b* c* d*- voters 1 2 outgoing 1 2 3 learners 4": a
// star for who is to vote, a line for who leaves, an exclamation mark for the overruled.
func groupLine(s roster.State) string {
	var words []string
	if r := s.Roster; r != nil {
		words = append(words, fmt.Sprintf("roster %d:", r.Version))
		if f := r.Force; f != nil {
			words = append(words, fmt.Sprintf("epoch %d from CSN %d by %d,", f.Epoch, f.Csn, f.By))
		}
		for i := range r.Members {
			word := r.Members[i].Name
			if r.Members[i].Voter {
				word += "*"
			}
			if r.Members[i].Leaving {
				word += "-"
			}
			if r.Members[i].Overruled {
				word += "!"
			}
			words = append(words, word)
		}
	}
	for _, list := range []struct {
		name string
		ids  []uint64
	}{{"voters", s.Conf.Voters}, {"outgoing", s.Conf.VotersOutgoing}, {"learners", s.Conf.Learners}, {"to learn", s.Conf.LearnersNext}} {
		if len(list.ids) > 0 {
			words = append(words, list.name, strings.Trim(fmt.Sprint(list.ids), "[]"))
		}
	}
	return strings.Join(words, " ") + "\n"
}

// TestChangesAreDurable: what a change made of the group stands in the store with the
// applied index, and in the chain.
func TestChangesAreDurable(t *testing.T) {
	play := func(name string) (*bench, []byte) {
		b := &bench{t: t, store: memstore.New()}
		b.open()
		b.change(&txnpb.RosterChange{Found: founding(3), Window: uint64(time.Hour)})
		b.change(&txnpb.RosterChange{Add: record(4, name, "all", "pc4", true), Remove: 3})
		return b, b.Digest().Chain
	}
	b, chain := play("delta")
	_, again := play("delta")
	_, other := play("echo")
	if !bytes.Equal(chain, again) || bytes.Equal(chain, other) {
		t.Error("the chain does not depend on the change alone")
	}
	before := groupLine(b.Group())
	if err := b.store.Flush(); err != nil {
		t.Fatal(err)
	}
	b.reconfigure(&raftpb.ConfChangeV2{})
	if groupLine(b.Group()) == before {
		t.Fatal("nothing has changed")
	}
	b.store.Crash()
	b.open()
	if got := groupLine(b.Group()); got != before {
		t.Errorf("after a crash %s, want %s", got, before)
	}
	if index, _ := b.Applied(); index != 2 || b.GroupIndex() != 2 || b.window != uint64(time.Hour) {
		t.Errorf("applied %d, group of %d, window %v", index, b.GroupIndex(), time.Duration(b.window))
	}
}

// TestUnknownChange: what newer software says of the roster halts this one.
func TestUnknownChange(t *testing.T) {
	b := &bench{t: t, store: memstore.New()}
	b.open()
	b.change(&txnpb.RosterChange{Found: founding(3)})
	before := b.Digest()
	c := &txnpb.RosterChange{Promote: 3, ApplyVersion: entry.ApplyVersion + 1}
	for name, context := range map[string][]byte{
		"a newer version":  message.Marshal(c),
		"no version":       message.Marshal(&txnpb.RosterChange{Promote: 3}),
		"an unknown field": append(message.Marshal(&txnpb.RosterChange{Remove: 3, ApplyVersion: entry.VersionRoster}), 15<<3|message.WireVarint, 1),
	} {
		cc := &raftpb.ConfChangeV2{Transition: raftpb.ConfChangeTransitionJointImplicit.Enum(), Context: context,
			Changes: []*raftpb.ConfChangeSingle{{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: new(uint64(3))}}}
		if out := b.reconfigure(cc); !strings.Contains(out, "install the newer software") {
			t.Errorf("%s: %s", name, out)
		}
		if now := b.Digest(); now.String() != before.String() {
			t.Errorf("%s left a trace", name)
		}
	}
	// A change that says one thing to the roster and another to the group does neither.
	cc := &raftpb.ConfChangeV2{Transition: raftpb.ConfChangeTransitionJointImplicit.Enum(),
		Context: message.Marshal(&txnpb.RosterChange{Remove: 3, ApplyVersion: entry.VersionRoster}),
		Changes: []*raftpb.ConfChangeSingle{{Type: raftpb.ConfChangeRemoveNode.Enum(), NodeId: new(uint64(2))}}}
	if out := b.reconfigure(cc); !strings.HasPrefix(out, "refused") {
		t.Errorf("removes another than it says: %s", out)
	}
}
