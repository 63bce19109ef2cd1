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
	m.group.Conf = raftpb.EnsureConfState(conf)
	if raw := m.store.Meta(rosterKey); len(raw) > 0 {
		m.group.Roster = &txnpb.Roster{}
		if err := m.group.Roster.Parse(slices.Clone(raw)); err != nil {
			return fmt.Errorf("machine: the store's roster: %w", err)
		}
	}
	return nil
}

// setGroup makes a group the machine's, and puts into the batch what is new in it.
func (m *Machine) setGroup(index uint64, s roster.State) {
	if s.Conf != m.group.Conf {
		var err error
		if m.meta.Members, err = (proto.MarshalOptions{Deterministic: true}).Marshal(s.Conf); err != nil {
			panic(fmt.Sprintf("machine: members %v: %v", s.Conf, err)) // numbers only
		}
		m.meta.MembersIndex = index
		m.digest.Write(m.meta.Members)
	}
	if s.Roster != m.group.Roster {
		m.batch.Metas = append(m.batch.Metas, store.MetaRow{Key: rosterKey, Value: message.Marshal(s.Roster)})
		m.hash(s.Roster)
	}
	m.group = s
}

// Reconfigure applies one entry that changes the members of the group: a change of
// the roster, or the second step of one. Its errors are Apply's.
func (m *Machine) Reconfigure(index, term uint64, data []byte) error {
	if err := m.checkNext(index); err != nil {
		return err
	}
	cc := &raftpb.ConfChangeV2{}
	if err := proto.Unmarshal(data, cc); err != nil {
		return fmt.Errorf("machine: entry %d: %w", index, err)
	}
	m.digest.Reset()
	m.digest.Write(m.meta.Chain)
	m.digest.Write(data)
	if cc.LeaveJoint() {
		if err := m.leave(index, term, cc); err != nil {
			return err
		}
		m.seal(index, term)
		return nil
	}
	c := &txnpb.RosterChange{}
	if err := c.Parse(slices.Clone(cc.GetContext())); err != nil {
		return fmt.Errorf("machine: entry %d: %w", index, err)
	}
	if err := checkVersion(index, c.ApplyVersion); err != nil {
		return err
	}
	if c.ApplyVersion < entry.VersionRoster || !entry.KnownChange(cc.GetContext()) {
		return fmt.Errorf("%w (entry %d)", ErrUnknownField, index)
	}
	if err := m.change(index, term, c, cc); err != nil {
		return err
	}
	m.seal(index, term)
	return nil
}

// change applies a change of the roster; cc is what it does to the group, nil where
// the entry is a normal one. One that breaks a rule, or says something else than cc,
// changes nothing.
func (m *Machine) change(index, term uint64, c *txnpb.RosterChange, cc *raftpb.ConfChangeV2) error {
	a := roster.Applied{Index: index, Term: term, Change: c, Group: cc, State: m.group}
	if a.Refused = m.group.Check(c); a.Refused == nil && !m.group.Does(c, cc) {
		a.Refused = fmt.Errorf("the change of the roster is not that of the group")
	}
	if a.Refused != nil {
		a.Group = nil
		m.changes = append(m.changes, a)
		return nil
	}
	if c.Found != nil && m.group.Roster == nil && c.Window != 0 {
		m.meta.Window, m.window = c.Window, c.Window
	}
	after, err := m.group.After(c, cc)
	if err != nil {
		return fmt.Errorf("machine: entry %d: %w", index, err)
	}
	m.setGroup(index, after)
	a.State = after
	m.changes = append(m.changes, a)
	return nil
}

// leave applies the second step of a change. A leader adds it once; if it came again
// it would change nothing.
func (m *Machine) leave(index, term uint64, cc *raftpb.ConfChangeV2) error {
	if !m.group.Joint() {
		m.changes = append(m.changes, roster.Applied{Index: index, Term: term, State: m.group})
		return nil
	}
	after, err := m.group.Left()
	if err != nil {
		return fmt.Errorf("machine: entry %d: %w", index, err)
	}
	m.setGroup(index, after)
	m.changes = append(m.changes, roster.Applied{Index: index, Term: term, Group: cc, State: after})
	return nil
}
