package machine

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// rosterKey is the store's meta row that holds txnpb.Roster, from the founding on. It
// is empty after Refound.
const rosterKey = "roster"

// Group is the roster and the members of the group as of the applied index.
func (m *Machine) Group() roster.State { return m.group }

// GroupIndex is the entry that last changed the members of the group; 0 as long as
// they are those with which it began.
func (m *Machine) GroupIndex() uint64 { return m.meta.MembersIndex }

// TakeChanges returns what became of the changes of the roster and of the group in
// the entries that were applied since it was called last.
func (m *Machine) TakeChanges() []roster.Applied {
	changes := m.changes
	m.changes = nil
	return changes
}

// loadGroup reads the group from the store's meta rows.
func (m *Machine) loadGroup() error {
	conf := &raftpb.ConfState{}
	if err := proto.Unmarshal(m.meta.Members, conf); err != nil {
		return fmt.Errorf("machine: members in the store: %w", err)
	}
	m.group.Conf, m.group.Version = raftpb.EnsureConfState(conf), m.meta.ApplyVersion
	if raw := m.store.Meta(rosterKey); len(raw) > 0 {
		m.group.Roster = &txnpb.Roster{}
		if err := m.group.Roster.Parse(slices.Clone(raw)); err != nil {
			return fmt.Errorf("machine: the store's roster: %w", err)
		}
	}
	return nil
}

func encodeMembers(conf *raftpb.ConfState) []byte {
	b, err := (proto.MarshalOptions{Deterministic: true}).Marshal(conf)
	if err != nil {
		panic(fmt.Sprintf("machine: members %v: %v", conf, err)) // numbers only
	}
	return b
}

// setGroup makes a group the machine's, and puts into the batch what is new in it.
func (m *Machine) setGroup(index uint64, s roster.State) {
	if s.Conf != m.group.Conf {
		m.meta.Members, m.meta.MembersIndex = encodeMembers(s.Conf), index
		m.digest.Write(m.meta.Members)
	}
	if s.Roster != m.group.Roster {
		m.batch.Metas = append(m.batch.Metas, store.MetaRow{Key: rosterKey, Value: message.Marshal(s.Roster)})
		m.hash(s.Roster)
	}
	m.meta.ApplyVersion = s.Version
	m.group = s
}

// Reconfigure applies one entry that changes the members of the group: a change of
// the roster, or the second step of one. Its errors are Apply's.
func (m *Machine) Reconfigure(index, term uint64, data []byte) error {
	if err := m.checkNext(index); err != nil {
		return err
	}
	cc, c, err := decodeReconfiguration(index, data, m.newest)
	if err != nil {
		return err
	}
	m.digest.Reset()
	m.digest.Write(m.meta.Chain)
	m.digest.Write(data)
	if c == nil {
		err = m.leave(index, term, cc)
	} else {
		err = m.change(index, term, c.ApplyVersion, c, cc)
	}
	if err != nil {
		return err
	}
	m.seal(index, term)
	return nil
}

// decodeReconfiguration returns what an entry does to the group and the change of the
// roster that it does it for; nil for the second step of one.
func decodeReconfiguration(index uint64, data []byte, newest uint32) (*raftpb.ConfChangeV2, *txnpb.RosterChange, error) {
	cc := &raftpb.ConfChangeV2{}
	if err := proto.Unmarshal(data, cc); err != nil {
		return nil, nil, fmt.Errorf("machine: entry %d: %w", index, err)
	}
	if cc.LeaveJoint() {
		return cc, nil, nil
	}
	c := &txnpb.RosterChange{}
	if err := c.Parse(slices.Clone(cc.GetContext())); err != nil {
		return nil, nil, fmt.Errorf("machine: entry %d: %w", index, err)
	}
	if err := checkVersion(index, c.ApplyVersion, newest); err != nil {
		return nil, nil, err
	}
	if c.ApplyVersion < entry.VersionRoster || !entry.KnownChange(cc.GetContext(), c.ApplyVersion) {
		return nil, nil, fmt.Errorf("%w (entry %d)", ErrUnknownField, index)
	}
	return cc, c, nil
}

// change applies a change of the roster by an entry of an apply version; cc is what it does to the group, nil where
// the entry is a normal one. One that breaks a rule, or says something else than cc,
// changes nothing.
func (m *Machine) change(index, term uint64, version uint32, c *txnpb.RosterChange, cc *raftpb.ConfChangeV2) error {
	a, err := changed(m.group, index, term, version, m.meta.Csn, c, cc)
	if err != nil {
		return err
	}
	if a.Refused == nil {
		if c.Found != nil && m.group.Roster == nil && c.Window != 0 {
			m.meta.Window, m.window = c.Window, c.Window
		}
		m.setGroup(index, a.State)
	}
	m.changes = append(m.changes, a)
	return nil
}

// changed is what change makes of a group.
// csn is that of the state; a witness, which has none, gives 0.
func changed(group roster.State, index, term uint64, version uint32, csn uint64, c *txnpb.RosterChange, cc *raftpb.ConfChangeV2) (roster.Applied, error) {
	a := roster.Applied{Index: index, Term: term, Change: c, Group: cc, State: group}
	if a.Refused = group.Check(c); a.Refused == nil && !group.Does(c, cc) {
		a.Refused = fmt.Errorf("the change of the roster is not that of the group")
	}
	if a.Refused == nil && c.Activate != 0 && c.Activate != version {
		a.Refused = fmt.Errorf("an entry of apply version %d cannot activate version %d", version, c.Activate)
	}
	if a.Refused != nil {
		a.Group = nil
		return a, nil
	}
	if c.Force != nil {
		a.State = group.Forced(c.Force, csn)
		return a, nil
	}
	var err error
	if a.State, err = group.After(c, cc); err != nil {
		return a, fmt.Errorf("machine: entry %d: %w", index, err)
	}
	return a, nil
}

// leave applies the second step of a change. A leader adds it once; if it came again
// it would change nothing.
func (m *Machine) leave(index, term uint64, cc *raftpb.ConfChangeV2) error {
	a, err := left(m.group, index, term, cc)
	if err != nil {
		return err
	}
	m.setGroup(index, a.State)
	m.changes = append(m.changes, a)
	return nil
}

// left is what leave makes of a group.
func left(group roster.State, index, term uint64, cc *raftpb.ConfChangeV2) (roster.Applied, error) {
	a := roster.Applied{Index: index, Term: term, State: group}
	if !group.Joint() {
		return a, nil
	}
	var err error
	if a.State, err = group.Left(); err != nil {
		return a, fmt.Errorf("machine: entry %d: %w", index, err)
	}
	a.Group = cc
	return a, nil
}
