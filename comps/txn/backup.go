package txn

import (
	"errors"
	"fmt"
	"iter"
	"sync"
	"time"

	"virtualservicesinc.com/comps/txn/backup"
	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// backupIdle is how long a backup is kept for somebody who asks for no more parts:
// its snapshot holds on to what the store would drop.
const backupIdle = time.Minute

// BackupConfig says how backups are sealed, and of which cluster they call themselves.
type BackupConfig struct {
	Keys     backup.Keys
	Cluster  string // its name
	Software string
}

// backups makes backups for whoever asks, one at a time and a part a request: no more
// of one is in memory than a chunk.
type backups struct {
	c *Component

	mu      sync.Mutex // guards what is below; held while a part is made
	current *outgoing
}

// outgoing is a backup that is being made.
type outgoing struct {
	id      uint64
	rows    store.Snapshot // nil once all of it is read
	next    func() (*txnpb.SnapshotChunk, error, bool)
	stop    func()
	sealer  *backup.Sealer
	part    txnpb.BackupPart // what was answered last
	touched time.Duration
	task    *task
}

// backupService answers operators.
type backupService struct{ *dispatch }

// Read implements txnpb.BackupHandler.
func (d backupService) Read(r message.Responder[*txnpb.BackupPart], in *txnpb.BackupRequest) {
	d.c.enqueueRead(r.Request, func() {
		part, err := d.c.backups.read(in)
		var refused *message.Error
		switch {
		case errors.As(err, &refused):
			r.Fail(refused.Code, refused.Detail)
		case err != nil:
			d.c.host.Log().Error("backup", "err", err)
			r.Fail(message.Internal, err.Error())
		default:
			r.Reply(part)
		}
	})
}

func refuse(code message.Code, format string, v ...any) error {
	return &message.Error{Code: code, Detail: fmt.Sprintf(format, v...)}
}

// read returns the part that is asked for. The caller holds storeMu.
func (b *backups) read(in *txnpb.BackupRequest) (*txnpb.BackupPart, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.c.host.Now()
	o := b.current
	if in.GiveUp {
		if o != nil && o.id == in.Backup {
			b.giveUpLocked()
		}
		return &txnpb.BackupPart{Backup: in.Backup}, nil
	}
	if in.Part == 0 && (o == nil || o.id != in.Backup) {
		if o != nil && !o.part.Last && now-o.touched <= backupIdle {
			return nil, refuse(message.Overloaded, "txn: this SFU makes another backup; wait until it is done, or ask another SFU")
		}
		if err := b.begin(in); err != nil {
			return nil, err
		}
	}
	o = b.current
	switch {
	case o == nil || o.id != in.Backup:
		return nil, refuse(message.Invalid, "txn: the backup was given up: this SFU restarted, was sent the state, or was not asked for %v; begin another", backupIdle)
	case in.Part == o.part.Part: // once more
	case in.Part != o.part.Part+1 || o.part.Last:
		return nil, refuse(message.Invalid, "txn: part %d of the backup was asked for after part %d", in.Part, o.part.Part)
	default:
		if err := o.advance(in.Part); err != nil {
			b.giveUpLocked()
			return nil, err
		}
		if o.part.Last {
			b.c.host.Log().Info("backup made", "rows", o.part.RowBytes, "parts", o.part.Part+1)
			b.release(o) // its last part may be asked for once more
		}
	}
	o.touched = now
	return &o.part, nil
}

// begin takes a snapshot and makes part 0 of it, the file's beginning.
func (b *backups) begin(in *txnpb.BackupRequest) (err error) {
	c := b.c
	b.giveUpLocked()
	switch {
	case c.cfg.Backup == nil:
		return refuse(message.Invalid, "txn: this cluster has no backup_key in cluster.toml, to which backups are sealed")
	case in.Backup == 0:
		return refuse(message.Invalid, "txn: a backup without a number")
	}
	if meta, err := machine.Reached(c.store); err != nil {
		return err
	} else if meta.Csn < in.MinCsn {
		return refuse(message.Unavailable, "txn: this replica is at CSN %d and has not come to %d yet", meta.Csn, in.MinCsn)
	}
	rows, err := c.store.Snapshot()
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, rows.Close())
		}
	}()
	meta, err := machine.Reached(rows)
	if err != nil {
		return err
	}
	o := &outgoing{id: in.Backup, rows: rows}
	var head []byte
	o.sealer, head, err = backup.NewSealer(&c.cfg.Backup.Keys, &txnpb.BackupHeader{
		ClusterId: c.cfg.Cluster[:], Cluster: c.cfg.Backup.Cluster, Group: uint32(c.cfg.Group), Epoch: c.epoch.Load(),
		Csn: meta.Csn, AppliedIndex: meta.AppliedIndex, AppliedTerm: meta.AppliedTerm, Stamp: meta.Stamp, Taken: c.cfg.Wall(),
		ApplyVersion: entry.ApplyVersion, Sfu: uint32(c.host.SFU()), Software: c.cfg.Backup.Software,
	})
	if err != nil {
		return err
	}
	o.part = txnpb.BackupPart{Backup: o.id, Data: head}
	o.next, o.stop = iter.Pull2(chunks(rows))
	o.task = c.tasks.begin(txnpb.TaskBackup, 0, c.host.Now())
	b.current = o
	c.host.Log().Info("backup begins", "csn", meta.Csn)
	return nil
}

// advance makes the next part.
func (o *outgoing) advance(part uint32) error {
	chunk, err, ok := o.next()
	switch {
	case err != nil:
		return err
	case !ok:
		return errors.New("txn: a backup goes on behind its last chunk")
	}
	o.task.count(chunk.Rows)
	o.part.RowBytes = o.task.done.Load()
	o.part.Part, o.part.Last = part, chunk.Last
	o.part.Data, err = o.sealer.Seal(nil, chunk)
	return err
}

// expire gives a backup up that nobody asks for.
func (b *backups) expire(now time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.current != nil && now-b.current.touched > backupIdle {
		b.giveUpLocked()
	}
}

// giveUp ends the backup that is being made, if one is, and closes its snapshot.
func (b *backups) giveUp() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.giveUpLocked()
}

func (b *backups) giveUpLocked() {
	o := b.current
	if o == nil {
		return
	}
	b.current = nil
	b.release(o)
}

// release closes the snapshot that a backup reads.
func (b *backups) release(o *outgoing) {
	if o.rows == nil {
		return
	}
	o.stop()
	o.task.end()
	if err := o.rows.Close(); err != nil {
		b.c.host.Log().Error("closing a snapshot", "err", err)
	}
	o.rows = nil
}
