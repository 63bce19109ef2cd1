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
	// SegmentBytes is the size of the journal's segments, this one's and that of Log.
	SegmentBytes int64
	// Log, if not nil, is what is applied behind the backup, and CSN up to where: 0 means
	// all that the log knows to be committed. Without a log it must be 0, or the backup's.
	Log *RestoreLog
	CSN uint64
	// Progress, if not nil, is told how many bytes of rows came, and then how many entries
	// of the log.
	Progress func(rowBytes, entries uint64)
}

// RestoreLog is the journal of a member of the backup's group. It is opened for writing,
// like every journal: give a copy.
type RestoreLog struct {
	FS   vfs.FS
	Dir  string
	Keys journal.KeyRing
}

// Restore writes the state of a backup, with what a log holds behind it, and a log that
// begins there: a Component with the same Cluster, Epoch and Seed, and without Birth, goes
// on from there. It returns the CSN that it has come to. Store and log must be empty. After
// an error, or a crash on the way, what lies there is of no use and has to be removed.
func Restore(cfg RestoreConfig, from *backup.Reader) (csn uint64, err error) {
	h := from.Header()
	switch {
	case cfg.Epoch <= h.Epoch || string(cfg.Cluster[:]) == string(h.ClusterId):
		return 0, fmt.Errorf("txn: a restored group in epoch %d of cluster %x, it must be another cluster than the backup's in an epoch above %d", cfg.Epoch, cfg.Cluster, h.Epoch)
	case cfg.CSN != 0 && cfg.CSN < h.Csn:
		return 0, fmt.Errorf("txn: the backup is of CSN %d and goes beyond %d already: take an older one", h.Csn, cfg.CSN)
	case cfg.CSN > h.Csn && cfg.Log == nil:
		return 0, fmt.Errorf("txn: the backup is of CSN %d; what was committed up to %d is in the journal of an SFU: name one with --log", h.Csn, cfg.CSN)
	}
	members := roster.Founders(cfg.Seed)
	reached, err := restoreStore(&cfg, from, members)
	if err != nil {
		return 0, err
	}
	log, err := raftlog.Open(raftlog.Config{Journal: journal.Config{FS: cfg.FS, Dir: cfg.Dir, Keys: cfg.Keys, Cluster: cfg.Cluster, Epoch: uint64(cfg.Epoch), SegmentBytes: cfg.SegmentBytes}})
	if err != nil {
		return 0, err
	}
	return reached.Csn, errors.Join(begin(log, &raftpb.SnapshotMetadata{
		ConfState: members, Index: &reached.AppliedIndex, Term: &reached.AppliedTerm,
	}), log.Close())
}

// restoreStore fills the store and gives it to the new group. It returns how far it came.
func restoreStore(cfg *RestoreConfig, from *backup.Reader, members *raftpb.ConfState) (reached txnpb.Meta, err error) {
	s, err := cfg.OpenStore()
	if err != nil {
		return reached, err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if s.Applied() > 0 {
		return reached, errors.New("txn: the store to restore into is not empty")
	}
	progress := func(rowBytes uint64) { cfg.progress(rowBytes, 0) }
	if err := from.Restore(s, progress); err != nil {
		return reached, err
	}
	if cfg.Log != nil {
		if err := cfg.replay(s, from.Header()); err != nil {
			return reached, err
		}
	}
	if err := machine.Refound(s, members, from.Header().ClusterId); err != nil {
		return reached, err
	}
	if err := s.Flush(); err != nil {
		return reached, err
	}
	return machine.Reached(s)
}

func (cfg *RestoreConfig) progress(rowBytes, entries uint64) {
	if cfg.Progress != nil {
		cfg.Progress(rowBytes, entries)
	}
}

// replayBytes bounds what is read of the log at a time.
const replayBytes = 4 << 20

// replay applies what the log holds behind the backup, up to the wanted CSN. The last
// entry may be applied in part: what has a higher CSN is left out.
func (cfg *RestoreConfig) replay(s store.Store, h *txnpb.BackupHeader) (err error) {
	log, err := raftlog.Open(raftlog.Config{Journal: journal.Config{FS: cfg.Log.FS, Dir: cfg.Log.Dir, Keys: cfg.Log.Keys, Cluster: [16]byte(h.ClusterId), SegmentBytes: cfg.SegmentBytes}})
	if journal.IsDamage(err) || errors.Is(err, raftlog.ErrVoteLost) {
		return fmt.Errorf("txn: this journal is damaged, take that of another SFU: %w", err)
	} else if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	hard, _, err := log.InitialState()
	if err != nil {
		return err
	}
	committed := hard.GetCommit()
	if e := log.Epoch(); e >= uint64(cfg.Epoch) {
		return fmt.Errorf("txn: this journal is of epoch %d, the backup of %d: a forced recovery lies between them, take a backup of after it", e, h.Epoch)
	}
	if term, err := log.Term(h.AppliedIndex); err != nil || term != h.AppliedTerm {
		last, _ := log.LastIndex() // never fails
		first, _ := log.FirstIndex()
		if err == nil || h.AppliedIndex > last {
			return fmt.Errorf("txn: this journal does not hold entry %d of term %d, at which the backup was taken: it was overruled since, or ends at entry %d", h.AppliedIndex, h.AppliedTerm, last)
		}
		return fmt.Errorf("txn: this journal begins at entry %d, and the backup was taken at %d: take a newer backup", first, h.AppliedIndex)
	}
	m, err := machine.Open(s, machine.Config{LastCSN: cfg.CSN}, nil)
	if err != nil {
		return err
	}
	done := uint64(0)
	for csn := m.Digest().Csn; cfg.CSN == 0 || csn < cfg.CSN; csn = m.Digest().Csn {
		applied, _ := m.Applied()
		if applied >= committed {
			if cfg.CSN != 0 {
				return fmt.Errorf("txn: this journal knows of commits up to CSN %d, wanted is %d: take that of an SFU that was there longer, and was stopped in order", csn, cfg.CSN)
			}
			return nil
		}
		entries, err := log.Entries(applied+1, committed+1, replayBytes)
		if err != nil {
			return fmt.Errorf("txn: reading the journal: %w", err)
		}
		for _, e := range entries {
			if e.GetType() == raftpb.EntryNormal {
				_, err = m.Apply(e.GetIndex(), e.GetTerm(), e.GetData(), nil)
			} else {
				err = m.Reconfigure(e.GetIndex(), e.GetTerm(), e.GetData())
			}
			if err != nil {
				return fmt.Errorf("txn: applying the journal: %w", err)
			}
			if done++; cfg.CSN != 0 && m.Digest().Csn >= cfg.CSN {
				break
			}
		}
		cfg.progress(0, done)
	}
	return nil
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
