package txn_test

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn"
	"virtualservicesinc.com/comps/txn/backup"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestRestoreToCSN restores a backup with the journal of a stopped SFU behind it to every
// CSN there is, those in the middle of a log entry too.
func TestRestoreToCSN(t *testing.T) {
	c := newClusterOf(t, 3, func(_ uint16, fs *vfs.MemFS) vfs.FS { return fs }, func(c *cluster) { c.keep = 64 << 20 })
	leader := c.leader()
	mustCommit(t, c.submit(leader, opening()))
	for range 5 {
		mustCommit(t, c.submit(leader, transferOf(1)))
	}
	before := c.agree()
	file := takeBackup(t, leader, txnpb.BackupRequest{Backup: 1, MinCsn: before.Csn})
	// By CSN: what account 1 has paid in all.
	paid, amount := map[uint64]uint64{before.Csn: 5}, uint64(5)
	batch := &txnpb.SubmitBatch{}
	for i := range uint64(12) {
		tx := transferOf(10 + i)
		if i%4 == 3 {
			tx = transferOf(0)
			tx.Transfers[0].DebitAccountId = u128.From64(99) // aborted: it has no CSN
		}
		batch.Submissions = append(batch.Submissions, txnpb.Submission{Transaction: message.Marshal(tx), Principal: 1, Role: uint32(message.RoleOperator), RemainingMillis: 5000})
	}
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		answer, err := txnpb.TxnClient{Caller: leader.engine.Caller(0)}.Submit(ctx, batch)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		for i := range answer.Outcomes {
			if o := &answer.Outcomes[i]; o.State == txnpb.StateCommitted && o.Csn > before.Csn && paid[o.Csn] == 0 {
				amount += 10 + uint64(i%12)
				paid[o.Csn] = amount
			}
		}
		for i := range batch.Submissions { // the same amounts under new ids
			var tx txnpb.Transaction
			if err := tx.Parse(batch.Submissions[i].Transaction); err != nil {
				t.Fatal(err)
			}
			tx.Id, tx.Transfers[0].Id = newID(), newID()
			batch.Submissions[i].Transaction = message.Marshal(&tx)
		}
	}
	last := c.agree()
	if last.Csn != before.Csn+27 || len(paid) != 28 {
		t.Fatalf("CSN %d after %d, %d of them told", last.Csn, before.Csn, len(paid)-1)
	}
	for _, s := range c.sfus {
		c.stop(s)
	}

	restore := func(from []byte, log *txn.RestoreLog, csn uint64) (*vfs.MemFS, uint64, error) {
		r, err := backup.NewReader(bytes.NewReader(from), &openKeys)
		if err != nil {
			t.Fatal(err)
		}
		fs := vfs.NewMem()
		reached, err := txn.Restore(txn.RestoreConfig{
			Cluster: [16]byte{2}, Epoch: 2, FS: fs, Dir: "journal", Keys: c.keys, SegmentBytes: segmentBytes, Seed: c.founding(), Log: log, CSN: csn,
			OpenStore: func() (store.Store, error) { return store.Open(store.Config{Dir: "store", FS: fs}) },
		}, r)
		return fs, reached, err
	}
	logOf := func(s *sfu) *txn.RestoreLog {
		return &txn.RestoreLog{FS: s.fs.CrashClone(vfs.CrashCloneCfg{}), Dir: "journal", Keys: c.keys}
	}
	for csn := before.Csn; csn <= last.Csn+1; csn++ {
		want := csn
		if csn > last.Csn {
			want, csn = last.Csn, 0 // all there is
		}
		fs, reached, err := restore(file, logOf(c.sfus[want%3]), csn)
		if err != nil || reached != want {
			t.Fatalf("to CSN %d: came to %d, %v", csn, reached, err)
		}
		if report := auditOf(t, fs); report.CSN != want || report.Transactions < want {
			t.Errorf("to CSN %d: %+v", csn, report)
		}
		if got := debits(t, fs, 1); got != paid[want] {
			t.Errorf("at CSN %d account 1 has paid %d, should be %d", want, got, paid[want])
		}
		if csn == 0 {
			break
		}
	}

	for _, wrong := range []struct {
		csn  uint64
		log  *txn.RestoreLog
		says string
	}{
		{before.Csn - 1, logOf(leader), "take an older one"},
		{before.Csn + 1, nil, "name one with --log"},
		{last.Csn + 1, logOf(leader), fmt.Sprintf("knows of commits up to CSN %d", last.Csn)},
	} {
		if _, _, err := restore(file, wrong.log, wrong.csn); err == nil || !strings.Contains(err.Error(), wrong.says) {
			t.Errorf("to CSN %d: %v", wrong.csn, err)
		}
	}
	leader.rot(t, false, 8)
	if _, _, err := restore(file, logOf(leader), 0); err == nil || !strings.Contains(err.Error(), "take that of another SFU") {
		t.Errorf("with a damaged journal: %v", err)
	}
}

// debits is what an account in a restored store has paid.
func debits(t *testing.T, fs vfs.FS, account uint64) uint64 {
	t.Helper()
	s, err := store.Open(store.Config{Dir: "store", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var a ledgerpb.Account
	if !s.Account(u128.From64(account), &a) {
		t.Fatalf("no account %d", account)
	}
	return a.DebitsPosted.Lo
}
