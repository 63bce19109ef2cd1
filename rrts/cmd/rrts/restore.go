package main

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"virtualservicesinc.com/comps/txn"
	"virtualservicesinc.com/comps/txn/audit"
	"virtualservicesinc.com/comps/txn/backup"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/cmd/internal/members"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/settle"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/config/kit"
	"virtualservicesinc.com/rrts/statedir"
)

// restoreFlags are what `rrts restore` is told.
type restoreFlags struct {
	from, newKit string
	log          logFlags
	csn          uint64
	sfu          string
	old          kitFlags
	init         initFlags // of the cluster that is made
}

func (c *cli) restoreCommand() *cobra.Command {
	f := &restoreFlags{}
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "make a cluster on this bare machine that begins with the state of a backup",
		Long: `Makes a new cluster with one SFU on this machine. It begins with the state of the backup: accounts,
transfers, outcomes and users as they were at the backup's CSN. What was committed after it is gone,
unless the journal of an SFU holds it: --log names the state directory of one that is stopped, or a copy
of it, and --log-key its store.key, which is in /etc/rrts/keys/NAME. The journal is applied behind the
backup, up to its end or to --to-csn: the last CSN before a mistake, say, as rrts ledger statement and
rrts tx list show it. Then the whole state is audited.

Clients trust it as they trusted the old one, and passwords are good. All else is new: the cluster's
id and epoch, its keys, and so its client-kit.toml, which every client needs: one that was told of a
commit after the backup must not go on as if nothing had happened. All sessions are over.

Nothing is overwritten. The cluster grows as any other with rrts node add. A new recovery kit, under
the old one's passphrase, opens the new cluster's backups; keep the old kit as long as backups of the
old cluster are kept.`,
		Example: `  rrts restore --kit kit.txt --backup shop-20260301T120000Z-csn42.rrtsbackup \
    --sfu alpha,gateway=pc1.example:7400 --new-kit /media/usb/kit-2.txt
  rrts restore --kit kit.txt --backup shop-20260301T120000Z-csn42.rrtsbackup --to-csn 1234 \
    --log /mnt/alpha/state --log-key /mnt/alpha/store.key --sfu alpha,gateway=pc1.example:7400`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.old.file == "" || f.from == "" {
				return usageError{errors.New("name the recovery kit and the backup: rrts restore --kit KIT --backup FILE")}
			}
			if (f.log.dir == "") != (f.log.key == "") {
				return usageError{errors.New("--log and --log-key go together")}
			}
			return c.restore(cmd.Context(), f)
		},
	}
	f.old.add(cmd)
	cmd.Flags().StringVar(&f.from, "backup", "", "the backup")
	cmd.Flags().StringVar(&f.log.dir, "log", "", "the state directory of an SFU that is stopped, or a copy: its journal is applied behind the backup")
	cmd.Flags().StringVar(&f.log.key, "log-key", "", "its store.key")
	cmd.Flags().Uint64Var(&f.csn, "to-csn", 0, "the last CSN that is restored (default: all there is)")
	cmd.Flags().StringVar(&f.newKit, "new-kit", "", "file of the new cluster's recovery kit (default CLUSTER-recovery-kit-EPOCH.txt)")
	cmd.Flags().StringVar(&f.init.machine, "machine", "", "the name of this machine (default: its host name)")
	cmd.Flags().StringVar(&f.sfu, "sfu", sfuNames[0], "its SFU: NAME[,type=T][,gateway=HOST:PORT][,udp_a=IP:PORT][,udp_b=IP:PORT][,carrier=C]")
	cmd.Flags().StringVar(&f.init.carrier, "carrier", "", "what carries frames between machines: ethernet or udp (default: what carried the old cluster's)")
	f.init.place.add(cmd)
	return cmd
}

// restoration is a restore under way.
type restoration struct {
	c        *cli
	material *genesis.Material
	machine  string
	stateDir string
	backup   *backup.Reader
	log      *logFlags // nil: none
	csn      uint64    // wanted, and then reached
}

// restore makes the cluster. The configuration goes last: where it is, all is. What
// was made before something failed is taken away again.
func (c *cli) restore(ctx context.Context, f *restoreFlags) (err error) {
	masterDir := filepath.Join(c.dir, "master")
	for _, path := range []string{filepath.Join(c.dir, "cluster.toml"), filepath.Join(c.dir, "machine.toml"), masterDir} {
		if err := genesis.Absent(path); err != nil {
			return err
		}
	}
	master, err := f.old.open()
	if err != nil {
		return err
	}
	r, closeFile, err := openBackup(f.from, master)
	if err != nil {
		return err
	}
	defer closeFile()
	m, err := c.successor(ctx, f, master, r.Header().Epoch+1)
	if err != nil {
		return err
	}
	x := &restoration{c: c, material: m, machine: f.init.machine, backup: r, csn: f.csn}
	if f.log.dir != "" {
		x.log = &f.log
	}
	if x.stateDir, err = stateDirOf(m, x.machine); err != nil {
		return err
	}
	newKit := cmp.Or(f.newKit, fmt.Sprintf("%s-recovery-kit-%d.txt", m.Cluster.Name, m.Cluster.Epoch))
	if err := errors.Join(genesis.Absent(newKit), settle.Vacant(x.stateDir)); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(x.stateDir), os.RemoveAll(masterDir), os.RemoveAll(newKit))
		}
	}()
	if err := x.state(); err != nil {
		return fmt.Errorf("%s: %w", f.from, err)
	}
	uid, gid := serviceUser()
	if err := give(x.stateDir, uid, gid); err != nil {
		return err
	}
	sealed, err := kit.Seal(m.Master, f.old.passphrase, rand.Reader)
	if err != nil {
		return err
	}
	if err := genesis.WriteFile(newKit, genesis.File{Mode: 0o600, Data: sealed}, 0); err != nil {
		return fmt.Errorf("the recovery kit: %w", err)
	}
	if err := m.WriteMaster(masterDir); err != nil {
		return err
	}
	if err := m.WriteMachine(c.dir, x.machine, genesis.WriteOptions{Group: gid}); err != nil {
		return err
	}
	return c.showRestore(m, x.csn, newKit)
}

// successor makes the cluster that takes the place of the kit's.
func (c *cli) successor(ctx context.Context, f *restoreFlags, old *genesis.Master, epoch uint32) (*genesis.Material, error) {
	f.init.machine = cmp.Or(f.init.machine, machineName())
	f.init.sfus = []string{f.sfu}
	spec, err := f.init.spec()
	if err != nil {
		return nil, usageError{err}
	}
	spec.Restores, spec.Epoch = old, epoch
	machine := config.Machine{Name: f.init.machine, RunDir: f.init.place.runDir}
	if cmp.Or(spec.Carrier, old.Cluster.Interconnect.Carrier) == config.Ethernet && f.init.place.nicA != noNIC {
		if err := c.chooseNICs(ctx, &f.init, &machine); err != nil {
			return nil, err
		}
	}
	spec.Machines = []config.Machine{machine}
	return genesis.Create(spec)
}

// stateDirOf is the state directory of the one SFU.
func stateDirOf(m *genesis.Material, machine string) (string, error) {
	self := &m.Cluster.SFUs[0]
	s, err := config.ParseSFU("sfu/"+self.Name+".toml", m.File(machine, "sfu/"+self.Name+".toml"), self)
	if err != nil {
		return "", err
	}
	return s.StateDir, nil
}

// state restores journal and store aside, and renames them into their place.
func (x *restoration) state() (err error) {
	self := &x.material.Cluster.SFUs[0]
	secret, err := config.ParseKey(x.material.File(x.machine, "keys/"+self.Name+"/"+config.FileStore))
	if err != nil {
		return err
	}
	// Others pass through the parent; the directory itself is the SFU's alone.
	parent := filepath.Dir(x.stateDir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return fmt.Errorf("the state directory: %w", err)
	}
	aside, err := os.MkdirTemp(parent, "."+filepath.Base(x.stateDir)+".restore-")
	if err != nil {
		return fmt.Errorf("the state directory: %w", err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(aside))
		}
	}()
	keys, err := statedir.NewKeys(aside, secret)
	if err != nil {
		return err
	}
	out := x.c.out
	var log *txn.RestoreLog
	if x.log != nil {
		logCopy := filepath.Join(aside, "log")
		if err := os.Mkdir(logCopy, 0o700); err != nil {
			return err
		}
		out.Progress("copying the journal in %s", x.log.dir)
		if log, err = x.log.copyInto(logCopy); err != nil {
			return err
		}
	}
	x.csn, err = txn.Restore(txn.RestoreConfig{
		Cluster: x.material.Cluster.ID, Epoch: x.material.Cluster.Epoch, Seed: members.Roster(x.material.Cluster),
		FS: vfs.Default, Dir: statedir.Journal(aside), Keys: keys,
		OpenStore: func() (store.Store, error) { return store.Open(statedir.Store(aside, vfs.Default, keys)) },
		Log:       log, CSN: x.csn,
		Progress: func(rows, entries uint64) {
			if entries > 0 {
				out.Progress("applying the journal: %d entries", entries)
				return
			}
			out.Progress("restoring: %s of rows", size(rows))
		},
	}, x.backup)
	out.Progress("")
	if err != nil {
		return err
	}
	if log != nil {
		if err := errors.Join(os.RemoveAll(log.Dir), x.audit(aside, keys)); err != nil {
			return err
		}
	}
	if err := os.Rename(aside, x.stateDir); err != nil {
		return fmt.Errorf("the state directory: %w", err)
	}
	dir, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
}

// audit works every balance out again.
func (x *restoration) audit(stateDir string, keys *statedir.Keys) error {
	x.c.out.Progress("auditing what was restored")
	defer x.c.out.Progress("")
	s, err := store.Open(statedir.Store(stateDir, vfs.Default, keys))
	if err != nil {
		return err
	}
	r, err := audit.Run(s)
	if err = errors.Join(err, s.Close()); err != nil {
		return err
	}
	if !r.OK() {
		return fmt.Errorf("the audit of what was restored found %d faults, the first: %s", r.Ledger.Faults+uint64(len(r.Outbox)), r.Findings()[0])
	}
	return nil
}

// give makes a tree the service user's.
func give(dir string, uid, gid int) error {
	if uid == 0 {
		return nil
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

func (c *cli) showRestore(m *genesis.Material, csn uint64, newKit string) error {
	name := m.Cluster.SFUs[0].Name
	if c.json {
		return c.out.Object(map[string]any{"cluster": m.Cluster.Name, "id": m.Cluster.ID.String(), "epoch": m.Cluster.Epoch, "csn": csn,
			"sfu": name, "kit": newKit})
	}
	return c.out.Table(nil, [][]string{
		{"cluster", fmt.Sprintf("%s, %s, epoch %d", m.Cluster.Name, m.Cluster.ID, m.Cluster.Epoch)},
		{"state", fmt.Sprintf("up to CSN %d", csn)},
		{"start it", "systemctl start rrts@" + name},
		{"for clients", filepath.Join(c.dir, "client-kit.toml") + ": every client needs this new one"},
		{"recovery kit", newKit + ", under the same passphrase: keep it away from the machines"},
		{"further machines", "rrts node add"},
	})
}
