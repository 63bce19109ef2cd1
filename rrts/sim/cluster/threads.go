package cluster

import (
	"encoding/binary"
	"errors"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// stateTransfer is how long the rows of a state take to a member that lags; here
	// they go by reference, and only the message that installs them is sent.
	stateTransfer = 20 * time.Millisecond
	// markDelay, fullRetry and upkeepInterval are the Component's, shortened like the
	// runs are.
	markDelay      = 10 * time.Millisecond
	fullRetry      = 20 * time.Millisecond
	upkeepInterval = 25 * time.Millisecond
)

// replicate does what the replica wants done.
func (n *node) replicate() (moved bool) {
	l := n.life
	for l.replica.Ready(&l.out) {
		moved = true
		if n.witness && l.out.LeadChanged && l.out.Lead == n.id {
			n.w.report.Lifted++
			n.w.trace("node %d: the witness leads", n.id)
		}
		for _, m := range l.out.Messages {
			n.send(m)
		}
		n.checkStamps(l.out.Append)
		l.append = append(l.append, l.out.Append...)
		l.apply = append(l.apply, l.out.Apply...)
		for _, b := range l.out.Finished {
			b.Origin.(func(*replica.Batch))(b)
		}
		for _, rd := range l.out.Reads {
			rd.Origin.(func(*replica.Read))(rd)
		}
		for _, c := range l.out.Changes {
			c.Origin.(func(*replica.Change))(c)
		}
	}
	n.startAppend()
	n.startApply()
	return moved
}

// startAppend gives what is to be written to the disk, which takes its time.
func (n *node) startAppend() {
	l := n.life
	if l.writing || len(l.append) == 0 {
		return
	}
	l.writing = true
	msgs := l.append
	l.append = nil
	for i, m := range msgs { // a snapshot is installed on its own
		if i > 0 && !raft.IsEmptySnap(m.GetSnapshot()) {
			msgs, l.append = msgs[:i:i], msgs[i:]
			break
		}
	}
	n.w.After(n.syncDelay(), func() { n.run(l, func() { n.write(msgs) }) })
}

// write makes messages durable. On a full disk it tries again, and gives up what it
// may meanwhile.
func (n *node) write(msgs []*raftpb.Message) {
	l := n.life
	var err error
	if s := msgs[0].GetSnapshot(); !raft.IsEmptySnap(s) {
		if err = n.install(s); err == nil {
			msgs[0].Snapshot = nil // installed; what is with it is not written yet
			l.replica.Installed(s.GetMetadata().GetIndex(), l.machine.NextExpiry(), l.machine.Group())
		}
	}
	if n.life != l {
		return
	}
	synced := l.log.Journal().Synced()
	if err == nil {
		err = l.log.Append(msgs)
	}
	if errors.Is(err, journal.ErrNoSpace) {
		n.w.report.Full++
		n.cut()
		if n.life == l {
			n.w.After(fullRetry, func() { n.run(l, func() { n.write(msgs) }) })
		}
		return
	}
	if err != nil {
		n.diskFailed(err)
		return
	}
	if now := l.log.Journal().Synced(); now != synced {
		n.proven = synced // what was just synced says so
	}
	l.writing = false
	l.written = n.w.Now()
	for _, m := range msgs {
		for _, r := range m.GetResponses() {
			if r.GetTo() == n.id {
				l.replica.Respond(r)
			} else {
				n.send(r)
			}
		}
	}
	n.cut()
	n.w.After(markDelay, func() { n.run(l, n.mark) })
}

// mark tells the last records from a torn tail when nothing followed them for a while.
func (n *node) mark() {
	l := n.life
	j := l.log.Journal()
	if l.writing || n.w.Now()-l.written < markDelay || !j.NeedsMark() {
		return
	}
	switch err := j.Mark(); {
	case err == nil:
		n.proven = j.Synced()
	case !errors.Is(err, journal.ErrNoSpace):
		n.diskFailed(err)
	}
}

// cut gives up the part of the log that may go.
func (n *node) cut() {
	l := n.life
	if l.compact == 0 {
		return
	}
	to := l.compact
	l.compact = 0
	if err := l.log.Compact(to); err != nil {
		n.diskFailed(err)
	}
}

// upkeep reserves journal space, flushes the state now and then, and cuts the log.
func (n *node) upkeep() {
	l := n.life
	err := l.log.Journal().Reserve()
	full := errors.Is(err, journal.ErrNoSpace)
	l.replica.Full(full)
	if err != nil && !full {
		n.diskFailed(err)
		return
	}
	if applied, _ := l.machine.Applied(); n.rng.IntN(10) == 0 && applied > l.flushed {
		n.flush()
	}
	l.compact = l.flushed
	if n.witness {
		l.compact = n.needed(l.flushed)
	}
	l.compact = l.log.CompactTo(l.compact, keepBytes)
	if !l.writing {
		n.cut() // one thread at a time writes the log
	}
}

// snapshot answers raft when a member needs the state, at times only the second time.
func (n *node) snapshot() (*raftpb.Snapshot, error) {
	if n.life == nil || n.witness || n.rng.IntN(2) == 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	index, term := n.machine.Applied()
	group := n.machine.Group()
	n.w.states = append(n.w.states, sentState{n.rows.Clone(), !n.rows.Rotten()})
	ref := binary.BigEndian.AppendUint32(nil, uint32(len(n.w.states)-1))
	ref = machine.NewMarker(index, term, group).AppendTo(ref) // for a witness
	return &raftpb.Snapshot{Data: ref, Metadata: &raftpb.SnapshotMetadata{ConfState: group.Conf, Index: new(index), Term: new(term)}}, nil
}

// install puts a received state in the place of the node's own; the power may fail
// at each step.
func (n *node) install(s *raftpb.Snapshot) error {
	l := n.life
	if err := l.log.Intend(s); err != nil {
		return err
	}
	if index, _ := l.machine.Applied(); index < s.GetMetadata().GetIndex() { // else it was done before the disk was full
		if n.witness {
			n.marker = &txnpb.Marker{}
			if err := n.marker.Parse(s.GetData()[4:]); err != nil {
				return err
			}
			n.w.report.Markers++
		} else {
			n.switchTo(n.w.states[binary.BigEndian.Uint32(s.GetData())].rows)
		}
		var err error
		if l.machine, err = n.open(nil, l.newest); err != nil {
			return err
		}
		l.flushed = s.GetMetadata().GetIndex()
		if l.machine.GroupIndex() > 0 {
			l.log.Grown()
		}
		n.learn(l.machine.Group().Roster, false)
	}
	if e := n.strikes(func(a *armed) bool { return a.Kind == PowerState }); e != nil {
		n.w.trace("node %d: power fails after it switched to a received state", n.id)
		n.w.restartAfter(n, e.For)
		n.crash(true)
		return nil
	}
	if err := l.log.Install(s); err != nil {
		return err
	}
	n.w.report.Transfers++
	return nil
}

// switchTo replaces the state, durably.
func (n *node) switchTo(rows *memstore.Store) {
	n.rows.Switch(rows)
	if f, ok := n.state.(interface{ Switched() }); ok {
		f.Switched()
	}
}

// startApply applies committed entries.
func (n *node) startApply() {
	l := n.life
	if l.applying || l.halted || len(l.apply) == 0 {
		return
	}
	l.applying = true
	m := l.apply[0]
	l.apply = l.apply[1:]
	n.w.After(time.Duration(n.rng.Int64N(int64(200*time.Microsecond))), func() {
		n.run(l, func() {
			l.applying = false
			var results []entry.Result
			var changes []roster.Applied
			for _, e := range m.GetEntries() {
				if applied, _ := l.machine.Applied(); e.GetIndex() <= applied {
					continue // a snapshot came first
				}
				n.checkNamed(e)
				var err error
				if e.GetType() == raftpb.EntryConfChangeV2 {
					err = l.machine.Reconfigure(e.GetIndex(), e.GetTerm(), e.GetData())
				} else {
					results, err = l.machine.Apply(e.GetIndex(), e.GetTerm(), e.GetData(), results)
				}
				if n.meets(err) {
					n.halt(err)
					return
				}
				if err != nil {
					n.w.fail("node %d: %v", n.id, err)
					return
				}
				if !n.witness {
					n.w.applied(n, l.machine)
				}
				these := l.machine.TakeChanges()
				if n.applyChanges(e.GetIndex(), these); n.life != l {
					return
				}
				changes = append(changes, these...)
			}
			l.replica.Applied(replica.AppliedEntries{Message: m, Results: results, Changes: changes, NextExpiry: l.machine.NextExpiry()}, n.w.Now(), n.wall())
		})
	})
}
