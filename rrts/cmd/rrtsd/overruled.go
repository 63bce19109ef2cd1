package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn/overruled"
	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/journal/directfs"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/statedir"
)

// forcedFile holds, in the state directory of an SFU that was overruled, the roster that
// says so: an encoded txnpb.Roster.
const forcedFile = "forced-recovery"

// overruledFile is where the transactions go that only such an SFU has.
func overruledFile(stateDir string, epoch uint32) string {
	return filepath.Join(stateDir, fmt.Sprintf("overruled-epoch-%d.jsonl", epoch))
}

// keepForced remembers by which forced recovery this SFU was overruled.
func keepForced(stateDir string, r *txnpb.Roster) error {
	f := genesis.File{Path: forcedFile, Mode: 0o600, Data: message.Marshal(r)}
	return genesis.WriteFile(filepath.Join(stateDir, forcedFile), f, 0)
}

// reportOverruled writes the transactions that only this SFU has, once, and says how many
// there are and where they stand. Nothing of this SFU runs any more.
func (a *assembler) reportOverruled() error {
	if a.cfg.Self.Type == config.TypeWitness {
		return nil // it holds no state, and what it has of the log a voter has, too
	}
	dir := a.cfg.SFU.StateDir
	data, err := os.ReadFile(filepath.Join(dir, forcedFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it has not heard who went on: the roster alone was copied
	}
	r := &txnpb.Roster{}
	if err == nil {
		err = r.Parse(data)
	}
	if err == nil && r.Force == nil {
		err = errors.New("it names no forced recovery")
	}
	if err != nil {
		return fmt.Errorf("%s: %w", forcedFile, err)
	}
	path := overruledFile(dir, r.Force.Epoch)
	if _, err := os.Stat(path); err == nil {
		a.log.Warn("what only this SFU has was written down before", "file", path)
		return nil
	}
	sum, err := a.writeOverruled(path, r.Force)
	if err != nil {
		return fmt.Errorf("what only this SFU has could not be written down; its state keeps it: %w", err)
	}
	a.log.Warn(sum.String(), "file", path, "look", "rrts tx overruled "+path)
	return nil
}

func (a *assembler) writeOverruled(path string, force *txnpb.Force) (sum overruled.Summary, err error) {
	dir := a.cfg.SFU.StateDir
	keys, err := statedir.LoadKeys(dir, a.secrets.Store)
	if err != nil {
		return sum, err
	}
	log, err := raftlog.Open(raftlog.Config{Journal: journal.Config{
		FS: directfs.New(vfs.Default), Dir: statedir.Journal(dir), Keys: keys, Cluster: [16]byte(a.cfg.Cluster.ID),
		SegmentBytes: a.cfg.SFU.Txn.JournalSegment, Log: a.log,
	}})
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	state, err := store.Open(statedir.Store(dir, vfs.Default, keys))
	if err != nil {
		return sum, err
	}
	defer func() { err = errors.Join(err, state.Close()) }()
	// Under another name until it is whole.
	part := path + ".part"
	f, err := os.OpenFile(part, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return sum, err
	}
	sum, err = overruled.Write(f, log, state, uint64(a.cfg.Self.Number), force)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(part, path)
	}
	return sum, err
}
