package machine

import (
	"fmt"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/store"
)

// Refound gives the state in a store to a new group, which begins with the given
// members and has no roster until it is founded. Everything else stays as it is, the
// applied index too.
func Refound(s store.State, members *raftpb.ConfState) error {
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
	return nil
}
