package machine

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Witness stands in the place of the Machine in a member that votes and applies
// nothing. It reads entries for what they change of the roster and the group, which it
// needs to vote, and for nothing else: it has no accounts, no outcomes and no store.
// All of its state is a marker. It belongs to one goroutine.
type Witness struct {
	marker  txnpb.Marker // without the roster, which is the group's
	group   roster.State
	changes []roster.Applied
	newest  uint32 // apply version
}

// NewWitness returns the witness of a marker; of none, one that begins with the given
// members. newest is the newest apply version that it takes, as in Config; a marker that
// needs a newer one is a *VersionError.
func NewWitness(marker *txnpb.Marker, members *raftpb.ConfState, newest uint32) (*Witness, error) {
	w := &Witness{newest: newest}
	if marker == nil {
		w.setGroup(0, roster.State{Conf: raftpb.EnsureConfState(members)})
		return w, nil
	}
	if marker.ApplyVersion > newest {
		return nil, &VersionError{Version: marker.ApplyVersion, Know: newest}
	}
	conf := &raftpb.ConfState{}
	if err := proto.Unmarshal(marker.Members, conf); err != nil {
		return nil, fmt.Errorf("machine: members in the marker: %w", err)
	}
	w.marker, w.group = *marker, roster.State{Roster: marker.Roster, Conf: raftpb.EnsureConfState(conf), Version: marker.ApplyVersion}
	w.marker.Roster = nil
	return w, nil
}

// NewMarker returns the marker for a witness that is brought to an entry at which the
// group is this. At which entry it came to be so does not matter to a member that
// begins there.
func NewMarker(index, term uint64, group roster.State) *txnpb.Marker {
	return &txnpb.Marker{AppliedIndex: index, AppliedTerm: term, Members: encodeMembers(group.Conf), MembersIndex: index, Roster: group.Roster, ApplyVersion: group.Version}
}

// Marker is the state. It must not be changed.
func (w *Witness) Marker() *txnpb.Marker {
	m := w.marker
	m.Roster = w.group.Roster
	return &m
}

// Applied, Group, GroupIndex and TakeChanges are Machine's.
func (w *Witness) Applied() (index, term uint64) {
	return w.marker.AppliedIndex, w.marker.AppliedTerm
}
func (w *Witness) Group() roster.State { return w.group }
func (w *Witness) GroupIndex() uint64  { return w.marker.MembersIndex }
func (w *Witness) TakeChanges() []roster.Applied {
	changes := w.changes
	w.changes = nil
	return changes
}

// NextExpiry is 0: nothing pends here.
func (w *Witness) NextExpiry() uint64 { return 0 }

// TakeUsers returns nothing: a witness knows no users.
func (w *Witness) TakeUsers() []txnpb.UserStanding { return nil }

// OutboxVersion is 0: nothing is owed here.
func (w *Witness) OutboxVersion() uint64 { return 0 }

// Digest says how far it has read, and nothing of the state.
func (w *Witness) Digest() txnpb.StateDigest {
	return txnpb.StateDigest{AppliedIndex: w.marker.AppliedIndex}
}

// Apply reads one normal entry. It answers nothing: out is returned as it is. Its
// errors are Machine.Apply's, of versions as of a member that applies: one that does
// not know an entry's rules cannot know whether they change the group.
func (w *Witness) Apply(index, term uint64, data []byte, out []entry.Result) ([]entry.Result, error) {
	if err := w.checkNext(index); err != nil {
		return out, err
	}
	if len(data) > 0 {
		version, raw, err := entry.Peek(data)
		if err != nil {
			return out, fmt.Errorf("machine: entry %d: %w", index, err)
		}
		if err := checkVersion(index, version, w.newest); err != nil {
			return out, err
		}
		if !entry.KnownEntry(data, version) {
			return out, fmt.Errorf("%w (entry %d)", ErrUnknownField, index)
		}
		if raw != nil {
			c := &txnpb.RosterChange{}
			if err := c.Parse(slices.Clone(raw)); err != nil {
				return out, fmt.Errorf("machine: entry %d: %w", index, err)
			}
			if err := w.take(changed(w.group, index, term, version, 0, c, nil)); err != nil {
				return out, err
			}
		}
	}
	w.marker.AppliedIndex, w.marker.AppliedTerm = index, term
	return out, nil
}

// Reconfigure is Machine.Reconfigure.
func (w *Witness) Reconfigure(index, term uint64, data []byte) error {
	if err := w.checkNext(index); err != nil {
		return err
	}
	cc, c, err := decodeReconfiguration(index, data, w.newest)
	if err != nil {
		return err
	}
	if c == nil {
		err = w.take(left(w.group, index, term, cc))
	} else {
		err = w.take(changed(w.group, index, term, c.ApplyVersion, 0, c, cc))
	}
	if err != nil {
		return err
	}
	w.marker.AppliedIndex, w.marker.AppliedTerm = index, term
	return nil
}

// take makes what became of a change the group.
func (w *Witness) take(a roster.Applied, err error) error {
	if err != nil {
		return err
	}
	w.setGroup(a.Index, a.State)
	w.changes = append(w.changes, a)
	return nil
}

func (w *Witness) setGroup(index uint64, s roster.State) {
	if s.Conf != w.group.Conf {
		w.marker.Members, w.marker.MembersIndex = encodeMembers(s.Conf), index
	}
	w.marker.ApplyVersion = s.Version
	w.group = s
}

func (w *Witness) checkNext(index uint64) error {
	if index != w.marker.AppliedIndex+1 {
		return fmt.Errorf("machine: entry %d after %d: entries are read one by one", index, w.marker.AppliedIndex)
	}
	return nil
}
