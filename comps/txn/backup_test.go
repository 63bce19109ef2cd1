package txn_test

import (
	"bytes"
	"context"
	"crypto/ecdh"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn"
	"virtualservicesinc.com/comps/txn/audit"
	"virtualservicesinc.com/comps/txn/backup"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

var openKeys = backup.OpenKeys{Cluster: [16]byte{1}, Private: [32]byte{1: 1}, Secret: [32]byte{2}}

// backupConfig is what openKeys open.
func backupConfig(t *testing.T) *txn.BackupConfig {
	t.Helper()
	private, err := ecdh.X25519().NewPrivateKey(openKeys.Private[:])
	if err != nil {
		t.Fatal(err)
	}
	return &txn.BackupConfig{Keys: backup.Keys{Recipient: [32]byte(private.PublicKey().Bytes()), Secret: openKeys.Secret}, Cluster: "shop"}
}

// readPart asks an SFU for one part of a backup.
func readPart(s *sfu, in txnpb.BackupRequest) (*txnpb.BackupPart, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return txnpb.BackupClient{Caller: s.engine.Caller(s.number)}.Read(ctx, &in)
}

// takeBackup makes a backup at an SFU, asking for every part twice.
func takeBackup(t *testing.T, s *sfu, in txnpb.BackupRequest) []byte {
	t.Helper()
	var file []byte
	for {
		part, err := readPart(s, in)
		if err != nil {
			t.Fatal(err)
		}
		again, err := readPart(s, in)
		if err != nil || !bytes.Equal(again.Data, part.Data) {
			t.Fatalf("part %d came differently the second time: %v", in.Part, err)
		}
		file = append(file, part.Data...)
		if part.Last {
			return file
		}
		in.Part++
	}
}

func auditOf(t *testing.T, fs vfs.FS) *audit.Report {
	t.Helper()
	s, err := store.Open(store.Config{Dir: "store", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	r, err := audit.Run(s)
	if err != nil || !r.OK() {
		t.Fatalf("%+v, %v", r, err)
	}
	return r
}

func code(err error) message.Code {
	var e *message.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return message.OK
}

// TestBackup takes a backup at a follower while transactions go on, restores it into
// another cluster, and goes on there.
func TestBackup(t *testing.T) {
	c := newCluster(t)
	leader := c.leader()
	follower := c.sfus[leader.number%3]
	mustCommit(t, c.submit(leader, opening()))
	for range 20 {
		mustCommit(t, c.submit(leader, transferOf(5)))
	}
	before := c.agree()

	if _, err := readPart(follower, txnpb.BackupRequest{Backup: 1, MinCsn: before.Csn + 1}); code(err) != message.Unavailable {
		t.Errorf("a backup that should hold what is not there yet: %v", err)
	}
	first, err := readPart(follower, txnpb.BackupRequest{Backup: 7, MinCsn: before.Csn})
	if err != nil {
		t.Fatal(err)
	}
	for range 10 { // not in the backup
		mustCommit(t, c.submit(leader, transferOf(7)))
	}
	if _, err := readPart(leader, txnpb.BackupRequest{Backup: 5}); err != nil {
		t.Fatal(err)
	}
	if _, err := readPart(leader, txnpb.BackupRequest{Backup: 5, GiveUp: true}); err != nil {
		t.Error(err)
	}
	if _, err := readPart(leader, txnpb.BackupRequest{Backup: 5, Part: 1}); code(err) != message.Invalid {
		t.Errorf("one that was given up goes on: %v", err)
	}
	if _, err := readPart(leader, txnpb.BackupRequest{Backup: 6}); err != nil {
		t.Errorf("after one that was given up: %v", err)
	}
	if _, err := readPart(follower, txnpb.BackupRequest{Backup: 8}); code(err) != message.Overloaded {
		t.Errorf("a second backup at the same time: %v", err)
	}
	for _, wrong := range []txnpb.BackupRequest{{Backup: 7, Part: 5}, {Backup: 8, Part: 1}, {Backup: 0}} {
		if _, err := readPart(c.sfus[(leader.number+1)%3], wrong); code(err) != message.Invalid {
			t.Errorf("%+v: %v", wrong, err)
		}
	}
	file := takeBackup(t, follower, txnpb.BackupRequest{Backup: 7})
	if !bytes.HasPrefix(file, first.Data) {
		t.Error("the beginning came differently the second time")
	}
	if _, err := readPart(follower, txnpb.BackupRequest{Backup: 7, Part: 99}); code(err) != message.Invalid {
		t.Errorf("behind the end: %v", err)
	}
	if _, err := readPart(follower, txnpb.BackupRequest{Backup: 8}); err != nil {
		t.Errorf("after one that was made: %v", err)
	}
	c.agree()
	for _, s := range c.sfus { // with a backup under way
		c.stop(s)
	}

	r, err := backup.NewReader(bytes.NewReader(file), &openKeys)
	if err != nil {
		t.Fatal(err)
	}
	if h := r.Header(); h.Csn != before.Csn || h.Cluster != "shop" || h.Sfu != uint32(follower.number) || h.Epoch != 1 || h.AppliedIndex == 0 {
		t.Errorf("header %+v", h)
	}
	fs := vfs.NewMem()
	cfg := txn.RestoreConfig{
		Cluster: [16]byte{2}, Epoch: 2, FS: fs, Dir: "journal", Keys: c.keys,
		OpenStore: func() (store.Store, error) { return store.Open(store.Config{Dir: "store", FS: fs}) },
	}
	one := &cluster{t: t, wire: &wire{inlets: map[uint16]engine.Inlet{}, lives: map[uint16]uint64{}}, keys: c.keys, id: cfg.Cluster, epoch: cfg.Epoch, drain: c.drain, patience: c.patience}
	one.sfus = []*sfu{{number: 1, fs: fs, journal: fs}}
	one.sfus[0].born.Store(true)
	cfg.Seed = one.founding()
	one.sfus[0].seed = cfg.Seed
	for _, wrong := range []func(*txn.RestoreConfig){
		func(c *txn.RestoreConfig) { c.Epoch = 1 }, func(c *txn.RestoreConfig) { c.Cluster = [16]byte{1} },
	} {
		bad := cfg
		wrong(&bad)
		if _, err := txn.Restore(bad, r); err == nil {
			t.Errorf("restored as epoch %d of cluster %x", bad.Epoch, bad.Cluster)
		}
	}
	if csn, err := txn.Restore(cfg, r); err != nil || csn != before.Csn {
		t.Fatalf("up to CSN %d: %v", csn, err)
	}
	restored := auditOf(t, fs)
	if restored.CSN != before.Csn || !bytes.Equal(restored.Chain, before.Chain) {
		t.Fatalf("restored at CSN %d, the backup is of %d", restored.CSN, before.Csn)
	}
	if _, err := txn.Restore(cfg, r); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Errorf("restored twice into one place: %v", err)
	}

	// One SFU goes on from there, and others join it.
	uno := one.sfus[0]
	one.start(uno)
	t.Cleanup(func() {
		for _, s := range one.sfus {
			one.stop(s)
		}
	})
	o := one.submit(one.leader(), transferOf(3))
	mustCommit(t, o)
	if o.Csn != before.Csn+1 {
		t.Errorf("the first transaction after the restore has CSN %d, the backup was of %d", o.Csn, before.Csn)
	}
	one.stop(uno)
	one.start(uno) // and a second time, from log and state as they are now
	one.add(one.leader(), record("sfu2", "pc2", 2), 0)
	one.voters(uno, 1, 2)
	mustCommit(t, one.submit(one.leader(), transferOf(4)))
	one.add(one.leader(), record("sfu3", "pc3", 3), 0)
	one.voters(uno, 1, 2, 3)
	one.agree()
	for _, s := range one.sfus {
		one.stop(s)
	}
	after := auditOf(t, fs)
	if after.Digest == restored.Digest || after.Ledger.Transfers != restored.Ledger.Transfers+2 {
		t.Errorf("after two more: %+v", after)
	}
}

// TestBackupOfCommittedMoment: the digest of a backup is that of the replicas at its CSN.
func TestBackupOfCommittedMoment(t *testing.T) {
	c := newCluster(t)
	leader := c.leader()
	mustCommit(t, c.submit(leader, opening()))
	for range 30 {
		mustCommit(t, c.submit(leader, transferOf(5)))
	}
	file := takeBackup(t, leader, txnpb.BackupRequest{Backup: 3})
	c.agree()
	var want []*audit.Report
	for _, s := range c.sfus {
		c.stop(s)
		want = append(want, auditOf(t, s.fs))
	}
	if i := slices.IndexFunc(want, func(r *audit.Report) bool { return r.Digest != want[0].Digest }); i >= 0 {
		t.Fatalf("replicas differ: %+v, %+v", want[0], want[i])
	}
	r, err := backup.NewReader(bytes.NewReader(file), &openKeys)
	if err != nil {
		t.Fatal(err)
	}
	fs := vfs.NewMem()
	s, err := store.Open(store.Config{Dir: "store", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Restore(s, nil); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Flush(), s.Close()); err != nil {
		t.Fatal(err)
	}
	if got := auditOf(t, fs); got.Digest != want[0].Digest || got.CSN != want[0].CSN {
		t.Errorf("%+v, want %+v", got, want[0])
	}
}
