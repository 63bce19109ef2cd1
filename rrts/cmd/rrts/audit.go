package main

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/spf13/cobra"

	"virtualservicesinc.com/comps/txn/audit"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/statedir"
)

func (c *cli) ledgerAuditCommand() *cobra.Command {
	var sfu, file string
	var kit kitFlags
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "work the whole ledger out again from its history",
		Long: `Works every balance out again from the transfers alone and compares it with what the ledger says, and
prints the sums of each ledger and a digest. The digest is of everything that is replicated: it is the
same on all SFUs at the same CSN, in a backup of that CSN, and in a cluster restored from it.

It reads the store of a stopped SFU of this machine, or a backup:

    rrts ledger audit [--sfu alpha]
    rrts ledger audit --backup FILE --kit KIT

It takes some 200 bytes of memory for each account. A backup is unpacked into a directory below
$TMPDIR, sealed under a key that nobody keeps, and removed afterwards. The exit status is 0 only if
everything agrees.`,
		Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			switch {
			case file != "" && sfu != "":
				return usageError{errors.New("--sfu and --backup are two places: name one")}
			case file != "" && kit.file == "":
				return usageError{errors.New("a backup is opened with the recovery kit: name it with --kit")}
			case file != "":
				return c.auditBackup(file, &kit)
			}
			return c.auditSFU(sfu)
		},
	}
	cmd.Flags().StringVar(&sfu, "sfu", "", "the stopped SFU of this machine (default: the only one)")
	cmd.Flags().StringVar(&file, "backup", "", "audit this backup")
	kit.add(cmd)
	return cmd
}

// auditSFU audits the store of an SFU of this machine.
func (c *cli) auditSFU(name string) error {
	names, err := config.LocalSFUs(c.dir)
	if err != nil {
		return err
	}
	if name == "" {
		if len(names) != 1 {
			return usageError{fmt.Errorf("this machine has the SFUs %q: name one with --sfu", names)}
		}
		name = names[0]
	}
	cfg, err := config.Load(c.dir, name)
	if err != nil {
		return err
	}
	secrets, err := cfg.Secrets("")
	if err != nil {
		return err
	}
	dir := cfg.SFU.StateDir
	if err := becomeOwner(dir); err != nil {
		return err
	}
	lock, err := vfs.Default.Lock(filepath.Join(dir, "LOCK"))
	if err != nil {
		return fmt.Errorf("%s is in use: stop the SFU for the audit with `systemctl stop rrts@%s`, or audit a backup", dir, name)
	}
	keys, err := statedir.LoadKeys(dir, secrets.Store)
	if err == nil {
		err = c.auditStore("SFU "+name, statedir.Store(dir, vfs.Default, keys))
	}
	return errors.Join(err, lock.Close())
}

// becomeOwner gives up being root for being the owner of a directory: what this
// process writes there, the owner must be able to read.
func becomeOwner(dir string) error {
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("the state directory: %w", err)
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || os.Getuid() != 0 || owner.Uid == 0 {
		return nil
	}
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("becoming the owner of %s: %w", dir, err)
	}
	if err := syscall.Setgid(int(owner.Gid)); err != nil {
		return fmt.Errorf("becoming the owner of %s: %w", dir, err)
	}
	if err := syscall.Setuid(int(owner.Uid)); err != nil {
		return fmt.Errorf("becoming the owner of %s: %w", dir, err)
	}
	return nil
}

// auditBackup unpacks a backup and audits it.
func (c *cli) auditBackup(path string, k *kitFlags) (err error) {
	r, closeFile, err := k.openBackup(path)
	if err != nil {
		return err
	}
	defer closeFile()
	dir, err := os.MkdirTemp("", "rrts-audit-")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var secret config.Key
	if _, err := rand.Read(secret[:]); err != nil {
		return err
	}
	keys, err := statedir.NewKeys(dir, secret)
	if err != nil {
		return err
	}
	cfg := statedir.Store(dir, vfs.Default, keys)
	s, err := store.Open(cfg)
	if err != nil {
		return err
	}
	err = r.Restore(s, func(done uint64) { c.out.Progress("unpacking %s: %s", path, size(done)) })
	c.out.Progress("")
	if err = errors.Join(err, s.Close()); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return c.auditStore(path, cfg)
}

// auditStore audits a store and shows what was found.
func (c *cli) auditStore(what string, cfg store.Config) error {
	s, err := store.Open(cfg)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	c.out.Say("auditing %s", what)
	r, err := audit.Run(s)
	if err = errors.Join(err, s.Close()); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return c.showAudit(what, r)
}

// ledgerSums is one ledger's line of an audit as JSON; 128-bit numbers are strings.
type ledgerSums struct {
	Ledger         uint32 `json:"ledger"`
	Accounts       uint64 `json:"accounts"`
	DebitsPending  string `json:"debits_pending"`
	DebitsPosted   string `json:"debits_posted"`
	CreditsPending string `json:"credits_pending"`
	CreditsPosted  string `json:"credits_posted"`
}

// auditReport is an audit as JSON.
type auditReport struct {
	Of           string       `json:"of"`
	CSN          uint64       `json:"csn"`
	Transactions uint64       `json:"transactions"`
	Accounts     uint64       `json:"accounts"`
	Transfers    uint64       `json:"transfers"`
	Pending      uint64       `json:"pending"`
	Ledgers      []ledgerSums `json:"ledgers"`
	Digest       string       `json:"digest"`
	Findings     []string     `json:"findings,omitempty"`
	Audit        string       `json:"audit"`
}

func (c *cli) showAudit(what string, r *audit.Report) error {
	l := r.Ledger
	out := auditReport{Of: what, CSN: r.CSN, Transactions: r.Transactions, Accounts: l.Accounts, Transfers: l.Transfers,
		Pending: l.Pending, Ledgers: []ledgerSums{}, Digest: fmt.Sprintf("%x", r.Digest), Findings: r.Findings(), Audit: "ok"}
	var rows [][]string
	for _, s := range l.Ledgers {
		line := ledgerSums{s.Ledger, s.Accounts, s.DebitsPending.String(), s.DebitsPosted.String(), s.CreditsPending.String(), s.CreditsPosted.String()}
		out.Ledgers = append(out.Ledgers, line)
		rows = append(rows, []string{fmt.Sprint(s.Ledger), fmt.Sprint(s.Accounts), line.DebitsPosted, line.CreditsPosted, line.DebitsPending, line.CreditsPending})
	}
	if !r.OK() {
		out.Audit = "failed"
	}
	if c.json {
		if err := c.out.Object(out); err != nil {
			return err
		}
	} else {
		if err := c.out.Table([]string{"LEDGER", "ACCOUNTS", "DEBITS", "CREDITS", "PENDING DEBITS", "PENDING CREDITS"}, rows); err != nil {
			return err
		}
		if err := c.out.Table(nil, [][]string{
			{"CSN", fmt.Sprint(out.CSN)},
			{"transactions", fmt.Sprint(out.Transactions)},
			{"accounts", fmt.Sprint(out.Accounts)},
			{"transfers", fmt.Sprintf("%d, %d of them pending", out.Transfers, out.Pending)},
			{"digest", out.Digest},
			{"audit", out.Audit},
		}); err != nil {
			return err
		}
		for _, f := range out.Findings {
			c.out.Say("audit: %s", f)
		}
	}
	if !r.OK() {
		return fmt.Errorf("the audit of %s found %d faults", what, l.Faults)
	}
	return nil
}
