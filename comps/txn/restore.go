package txn

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/backup"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// RestoreConfig describes the first member of a group that begins with the state of a
// backup. What is not explained is the field of Config.
type RestoreConfig struct {
	Cluster   [16]byte // not the one that the backup is of
	Epoch     uint32   // above the backup's
	Seed      *txnpb.Roster
	FS        vfs.FS
	Dir       string
	Keys      journal.KeyRing
	OpenStore func() (store.Store, error)
	// Progress, if not nil, is told how many bytes of rows came.
	Progress func(rowBytes uint64)
}

// Restore writes the state of a backup and a log that begins behind it: a Component
// with the same Cluster, Epoch and Seed, and without Birth, goes on from there.
// Store and log must be empty. After an error, or a crash on the way, what lies there
// is of no use and has to be removed.
func Restore(cfg RestoreConfig, from *backup.Reader) error {
	h := from.Header()
	if cfg.Epoch <= h.Epoch || string(cfg.Cluster[:]) == string(h.ClusterId) {
		return fmt.Errorf("txn: a restored group in epoch %d of cluster %x, it must be another cluster than the backup's in an epoch above %d", cfg.Epoch, cfg.Cluster, h.Epoch)
	}
	members := roster.Founders(cfg.Seed)
	if err := restoreStore(&cfg, from, members); err != nil {
		return err
	}
	log, err := raftlog.Open(raftlog.Config{Journal: journal.Config{FS: cfg.FS, Dir: cfg.Dir, Keys: cfg.Keys, Cluster: cfg.Cluster, Epoch: uint64(cfg.Epoch)}})
	if err != nil {
		return err
	}
	return errors.Join(begin(log, &raftpb.SnapshotMetadata{
		ConfState: members, Index: new(h.AppliedIndex), Term: new(h.AppliedTerm),
	}), log.Close())
}

// restoreStore fills the store and gives it to the new group.
func restoreStore(cfg *RestoreConfig, from *backup.Reader, members *raftpb.ConfState) error {
	s, err := cfg.OpenStore()
	if err != nil {
		return err
	}
	if s.Applied() > 0 {
		err = errors.New("txn: the store to restore into is not empty")
	} else if err = from.Restore(s, cfg.Progress); err == nil {
		if err = machine.Refound(s, members); err == nil {
			err = s.Flush()
		}
	}
	return errors.Join(err, s.Close())
}

// begin makes an empty log begin behind the state.
func begin(log *raftlog.Log, at *raftpb.SnapshotMetadata) error {
	if !log.Fresh() {
		return errors.New("txn: the log to restore into is not empty")
	}
	s := &raftpb.Snapshot{Metadata: at}
	if err := log.Intend(s); err != nil {
		return err
	}
	if err := log.Install(s); err != nil {
		return err
	}
	return log.Journal().Mark()
}
