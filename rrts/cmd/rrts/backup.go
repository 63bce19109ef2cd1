package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"virtualservicesinc.com/comps/txn/backup"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/internal/lastbackup"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/backups"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// backupDir is where backups go when nothing else is said.
const backupDir = "/var/backups/rrts"

func (c *cli) backupCommand() *cobra.Command {
	var to, via string
	var scheduled bool
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "take a backup of the running cluster; verify and list backups",
		Long: `Takes a backup: the whole state, accounts, transfers, outcomes and users, at one CSN, with every
transaction that was committed before the command began. Transactions go on meanwhile. The state is
read from a follower, so that the leader has no work with it; --sfu names another SFU.

The backup is sealed before it leaves the SFU. Only the recovery kit opens it: keep kit and backups
apart, and both away from the cluster's machines.

--to names a file, or a directory: the file is then named by cluster, time and CSN. A file is complete
or absent, and an existing one is never overwritten.

Without --to it goes to the target in the table [backup] of machine.toml, and older ones than its keep
are deleted there afterwards; a machine without a target has its backups in ` + backupDir + `.
rrts-backup.timer does that every night; the alarm backup-missing stands when it has not.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case to != "" && scheduled:
				return usageError{errors.New("--scheduled goes to the target of machine.toml: leave --to away")}
			case to != "":
				_, err := c.takeBackup(cmd.Context(), to, via)
				return err
			}
			return c.backupHome(cmd.Context(), via, scheduled)
		},
	}
	cmd.Flags().StringVar(&to, "to", "", "file or directory of the backup (default: the target in machine.toml, or "+backupDir+")")
	cmd.Flags().StringVar(&via, "sfu", "", "the SFU whose state is read (default: a follower, on this machine if one is)")
	cmd.Flags().BoolVar(&scheduled, "scheduled", false, "do nothing on a machine without a target, as rrts-backup.timer wants it")
	cmd.AddCommand(c.backupVerifyCommand(), c.backupListCommand())
	return cmd
}

// backupHome takes a backup to where this machine keeps them.
func (c *cli) backupHome(ctx context.Context, via string, scheduled bool) error {
	m, err := config.LoadMachine(filepath.Join(c.dir, "machine.toml"))
	if err != nil {
		return err
	}
	target := m.Backup.Target
	switch {
	case target == "" && scheduled:
		c.out.Say("no backup: machine.toml names no target in its table [backup]")
		return nil
	case target == "":
		if err := backups.MakeDir(backupDir); err != nil {
			return fmt.Errorf("%w; name another place with --to", err)
		}
		_, err := c.takeBackup(ctx, backupDir, via)
		return err
	}
	// A target that is not there is a disk that is not mounted, never one to be made.
	if info, err := os.Stat(target); err != nil || !info.IsDir() {
		return fmt.Errorf("the target of machine.toml, %s, is no directory: is its disk mounted? (%w)", target, cmp.Or(err, errors.New("it is a file")))
	}
	taken, err := c.takeBackup(ctx, target, via)
	if err != nil {
		return err
	}
	h := &taken.Info.Header
	note := &lastbackup.Note{File: taken.File, CSN: h.Csn, Bytes: taken.Info.Bytes, Taken: backups.TimeOf(h)}
	if err := lastbackup.Write(c.dir, note); err != nil {
		return err
	}
	old, err := backups.Prune(target, h.ClusterId, time.Now().Add(-m.Backup.Keep))
	for _, path := range old {
		c.out.Say("deleted %s: older than keep in machine.toml", path)
	}
	return err
}

// takeBackup takes a backup to a file or into a directory, and shows it.
func (c *cli) takeBackup(ctx context.Context, to, via string) (*backups.Taken, error) {
	op, cluster, err := c.operator(ctx, "")
	if err != nil {
		return nil, err
	}
	defer op.Close()
	source, err := c.backupSource(ctx, op, cluster, via)
	if err != nil {
		return nil, err
	}
	// What the leader has committed by now must be in it.
	queryCtx, cancel := context.WithTimeout(ctx, lineTimeout)
	newest, err := op.Query(queryCtx, &txnpb.Query{})
	cancel()
	if err != nil {
		return nil, fmt.Errorf("asking the leader how far the cluster is: %w", err)
	}
	began := time.Now()
	taken, err := backups.Take(ctx, op.To(source.Number), newest.Csn, to, func(p backups.Progress) {
		c.out.Progress("%s: %s of rows read, %s written", source.Name, size(p.RowBytes), size(uint64(p.Written)))
	})
	c.out.Progress("")
	if err != nil {
		return nil, err
	}
	return taken, c.showBackup(taken.File, taken.Info, map[string]any{"sfu": source.Name, "seconds": time.Since(began).Seconds()}, "")
}

// backupSource chooses the SFU whose state is read: a follower, one of this machine
// before others; the leader where there is nobody else.
func (c *cli) backupSource(ctx context.Context, op *client.Client, cluster *config.Cluster, name string) (*config.Member, error) {
	here, err := config.LocalSFUs(c.dir)
	if err != nil {
		return nil, err
	}
	var candidates []*config.Member
	for i := range cluster.SFUs {
		m := &cluster.SFUs[i]
		if m.Type.Transactions() && m.Type != config.TypeWitness && (name == "" || m.Name == name) {
			candidates = append(candidates, m)
		}
	}
	if name != "" && len(candidates) == 0 {
		return nil, usageError{fmt.Errorf("the cluster has no SFU %q that holds the state", name)}
	}
	slices.SortStableFunc(candidates, func(a, b *config.Member) int {
		return before(slices.Contains(here, a.Name), slices.Contains(here, b.Name))
	})
	var leader *config.Member
	var errs []error
	for _, m := range candidates {
		ctx, cancel := context.WithTimeout(ctx, statusTimeout)
		st, err := txnpb.ReplicaClient{Caller: op.To(m.Number)}.Status(ctx, &txnpb.ReplicaStatusRequest{})
		cancel()
		switch {
		case err != nil:
			errs = append(errs, fmt.Errorf("%s: %w", m.Name, err))
		case st.Role == "follower" || name != "":
			return m, nil
		case st.Role == "leader":
			leader = m
		}
	}
	if leader == nil {
		return nil, fmt.Errorf("no SFU that holds the state answers: %w", errors.Join(errs...))
	}
	return leader, nil
}

// before puts true before false.
func before(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

// size is a number of bytes for people.
func size(n uint64) string {
	const kib = 1 << 10
	switch {
	case n < kib:
		return fmt.Sprintf("%d bytes", n)
	case n < kib<<10:
		return fmt.Sprintf("%.1f KiB", float64(n)/kib)
	case n < kib<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(kib<<10))
	}
	return fmt.Sprintf("%.1f GiB", float64(n)/(kib<<20))
}

// backupObject is a backup as JSON.
func backupObject(file string, h *txnpb.BackupHeader, bytes int64) map[string]any {
	return map[string]any{
		"file": file, "cluster": h.Cluster, "cluster_id": fmt.Sprintf("%x", h.ClusterId), "epoch": h.Epoch, "csn": h.Csn,
		"taken": backups.TimeOf(h).UTC().Format(time.RFC3339), "bytes": bytes, "software": h.Software,
	}
}

func (c *cli) showBackup(file string, info *backup.Info, more map[string]any, verdict string) error {
	h := &info.Header
	if c.json {
		o := backupObject(file, h, info.Bytes)
		for k, v := range more {
			o[k] = v
		}
		return c.out.Object(o)
	}
	rows := [][]string{
		{"backup", file},
		{"cluster", fmt.Sprintf("%s, %x, epoch %d", h.Cluster, h.ClusterId, h.Epoch)},
		{"CSN", fmt.Sprint(h.Csn)},
		{"taken", backups.TimeOf(h).Local().Format(time.DateTime)},
		{"size", size(uint64(info.Bytes))},
	}
	if verdict != "" {
		rows = append(rows, []string{"verdict", verdict})
	}
	return c.out.Table(nil, rows)
}

func (c *cli) backupVerifyCommand() *cobra.Command {
	var kit kitFlags
	cmd := &cobra.Command{
		Use:   "verify FILE",
		Short: "tell whether a backup is as it was written",
		Long: `Reads a backup to its end and compares its digest: it finds what a disk or a copy did to the file. With
the recovery kit it opens every chunk too, and so proves that the backup was written by the kit's
cluster and can be restored. rrts ledger audit --backup works the whole ledger in it out again.`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError{errors.New("name the backup: rrts backup verify FILE")}
			}
			return c.verifyBackup(args[0], &kit)
		},
	}
	kit.add(cmd)
	return cmd
}

func (c *cli) verifyBackup(path string, k *kitFlags) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := backup.Check(f)
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	verdict := "whole: its digest is right"
	if k.file != "" {
		r, closeFile, err := k.openBackup(path)
		if err != nil {
			return err
		}
		defer closeFile()
		for err == nil {
			_, err = r.Next()
		}
		if !ended(err) {
			return fmt.Errorf("%s: %w", path, err)
		}
		verdict = "whole, and every chunk opens with the recovery kit"
	}
	return c.showBackup(path, info, map[string]any{"verdict": verdict}, verdict)
}

func (c *cli) backupListCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "list [DIR]",
		Short: "list the backups in a directory, or where this machine keeps them",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir := backupDir
			switch len(args) {
			case 0:
				if m, err := config.LoadMachine(filepath.Join(c.dir, "machine.toml")); err == nil {
					dir = cmp.Or(m.Backup.Target, dir)
				}
			case 1:
				dir = args[0]
			default:
				return usageError{errors.New("name one directory: rrts backup list [DIR]")}
			}
			all, err := backups.List(dir)
			if err != nil {
				return err
			}
			return c.showBackups(dir, all)
		},
	}
}

func (c *cli) showBackups(dir string, all []backups.Found) error {
	var rows [][]string
	faults := 0
	for _, b := range all {
		switch {
		case b.Err != nil:
			faults++
			c.out.Say("%s: %v", b.File, b.Err)
		case c.json:
			if err := c.out.Object(backupObject(b.File, b.Header, b.Bytes)); err != nil {
				return err
			}
		default:
			h := b.Header
			rows = append(rows, []string{h.Cluster, fmt.Sprint(h.Epoch), fmt.Sprint(h.Csn), backups.TimeOf(h).Local().Format(time.DateTime), size(uint64(b.Bytes)), b.File})
		}
	}
	if len(rows) > 0 {
		if err := c.out.Table([]string{"CLUSTER", "EPOCH", "CSN", "TAKEN", "SIZE", "FILE"}, rows); err != nil {
			return err
		}
	}
	switch {
	case faults > 0:
		return fmt.Errorf("%d of %d files in %s are no backups", faults, len(all), dir)
	case len(all) == 0:
		c.out.Say("no backups in %s", dir)
	}
	return nil
}
