package machine

import (
	"fmt"
	"slices"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// refoundRows bounds the rows of one batch.
const refoundRows = 1000

// Refound gives the state in a store to a new group, which begins with the given
// members and has no roster until it is founded. Everything else stays as it is, the
// applied index too. Effects that are owed keep the id of the cluster that owed them,
// from where the caller has not, and wait until an operator releases them: the old cluster
// may have done them since.
func Refound(s store.State, members *raftpb.ConfState, from []byte) error {
	m, err := Open(s, Config{}, nil)
	if err != nil {
		return err
	}
	if m.meta.Members, err = (proto.MarshalOptions{Deterministic: true}).Marshal(members); err != nil {
		return fmt.Errorf("machine: members: %w", err)
	}
	m.meta.MembersIndex = 0
	m.batch.Metas = append(m.batch.Metas, store.MetaRow{Key: rosterKey}) // an empty one is none
	m.commit()
	return m.refoundOutbox(from)
}

func (m *Machine) refoundOutbox(from []byte) error {
	for at, more := []byte{outboxEffect}, true; more; {
		more = false
		rows := 0
		var err error
		m.store.OutboxRows(at, []byte{outboxQueue}, func(key, raw []byte) bool {
			if rows == refoundRows {
				more = true
				return false
			}
			rows++
			at = append(slices.Clone(key), 0)
			e := &txnpb.OwedEffect{}
			if err = e.Parse(slices.Clone(raw)); err != nil {
				err = fmt.Errorf("machine: the row %q of the outbox: %w", key, err)
				return false
			}
			if len(e.ClusterId) == 0 {
				e.ClusterId = from
				m.outbox.set(key, e)
			}
			return true
		})
		if err != nil {
			return err
		}
		m.meta.OutboxHeld = m.meta.OutboxHeld || rows > 0
		m.commit()
	}
	queues, err := readQueues(m.store, nil)
	if err != nil {
		return err
	}
	for i := range queues { // who held them was another cluster's
		q := &queues[i]
		q.Until = 0
		m.outbox.set(queueKey(outboxQueue, q.Service, q.Target), q)
	}
	m.commit()
	return nil
}
