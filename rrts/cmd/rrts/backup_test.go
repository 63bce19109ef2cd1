package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/internal/lastbackup"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena/arenatest"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/config/kit"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/sim/require"
)

const kitPassphrase = "a kit of this test"

// rrts runs the command and returns what it printed; err is what it said instead.
func rrts(t *testing.T, args ...string) (out []byte, err error) {
	t.Helper()
	cmd := exec.Command(filepath.Join(arenatest.Programs(t), "rrts"), args...)
	cmd.Stdin = strings.NewReader(kitPassphrase + "\n")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	if out, err = cmd.Output(); err != nil {
		// What stands before it is progress.
		_, said, _ := strings.Cut("\n"+stderr.String(), "\nrrts: ")
		err = errors.New(strings.TrimSpace(said))
	}
	return out, err
}

// must returns the one JSON object that rrts prints.
func must(t *testing.T, args ...string) map[string]any {
	t.Helper()
	out, err := rrts(t, append([]string{"--json"}, args...)...)
	if err != nil {
		t.Fatalf("rrts %v: %v", args, err)
	}
	var v map[string]any
	if err := json.Unmarshal(out, &v); err != nil {
		t.Fatalf("rrts %v printed %s: %v", args, out, err)
	}
	return v
}

// refused expects that rrts refuses in one line that holds want.
func refused(t *testing.T, want string, args ...string) {
	t.Helper()
	out, err := rrts(t, args...)
	if err == nil {
		t.Errorf("rrts %v: done:\n%s", args, out)
	} else if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") {
		t.Errorf("rrts %v:\n%v\nwant one line with %q", args, err, want)
	}
}

// writeKit seals a recovery kit.
func writeKit(t *testing.T, m *genesis.Master) string {
	t.Helper()
	data, err := kit.Seal(m, []byte(kitPassphrase), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "kit.txt")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestBackupAndRestore: payments run, backups are taken, the cluster is lost, and
// another one goes on from a backup.
func TestBackupAndRestore(t *testing.T) {
	a := newArena(t, 3, nil)
	ctx := run(t, a)
	c := newUser(ctx, t, a)
	kitFile, dir := writeKit(t, a.Master()), t.TempDir()
	inBackup := make([]*txnpb.Transaction, 50)
	for i := range inBackup {
		inBackup[i] = pay(c, uint64(i+1))
		if _, err := c.Submit(ctx, inBackup[i]); err != nil {
			t.Fatal(err)
		}
	}

	// A quiet moment: the backup is what every SFU holds.
	quiet := must(t, "--config", a.ConfigDir(0), "backup", "--to", dir)
	file := quiet["file"].(string)
	leader, err := a.Leader(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if quiet["sfu"] == a.Name(leader) {
		t.Errorf("the backup was read from the leader: %v", quiet)
	}
	if err := caughtUp(ctx, a); err != nil {
		t.Fatal(err)
	}
	nightly(t, a.ConfigDir(0))
	stopped := (leader + 1) % 3
	if err := a.Stop(stopped); err != nil {
		t.Fatal(err)
	}
	want := must(t, "--config", a.ConfigDir(stopped), "ledger", "audit")
	if want["audit"] != "ok" || want["csn"] != quiet["csn"] || want["transfers"] != 50.0 {
		t.Fatalf("audit of %s: %v; the backup: %v", a.Name(stopped), want, quiet)
	}
	if err := a.Start(stopped); err != nil {
		t.Fatal(err)
	}
	if err := a.WaitControl(ctx, stopped); err != nil {
		t.Fatal(err)
	}
	if v := must(t, "backup", "verify", file, "--kit", kitFile); v["csn"] != quiet["csn"] || v["verdict"] != "whole, and every chunk opens with the recovery kit" {
		t.Errorf("verify: %v", v)
	}
	sameAudit(t, want, must(t, "ledger", "audit", "--backup", file, "--kit", kitFile))

	// Under load: whole, and of one moment.
	busy := backupUnderLoad(ctx, t, a, c, dir)
	if v := must(t, "ledger", "audit", "--backup", busy["file"].(string), "--kit", kitFile); v["audit"] != "ok" || v["csn"] != busy["csn"] {
		t.Errorf("audit of a backup under load: %v", v)
	}
	if busy["csn"].(float64) <= quiet["csn"].(float64) {
		t.Errorf("the later backup is of CSN %v, the earlier of %v", busy["csn"], quiet["csn"])
	}
	list, err := rrts(t, "--json", "backup", "list", dir)
	if err != nil || bytes.Count(list, []byte("\n")) != 2 {
		t.Errorf("list: %v\n%s", err, list)
	}

	refusals(t, a, dir, file, kitFile)

	lost := pay(c, 1) // after the backups
	if _, err := c.Submit(ctx, lost); err != nil {
		t.Fatal(err)
	}
	token := c.Token()
	c.Close()
	whole, state, key := stopAndKeep(t, a, stopped)
	for i := range a.SFUs() {
		if err := a.Kill(i); err != nil && i != stopped {
			t.Fatal(err)
		}
		if err := errors.Join(os.RemoveAll(a.ConfigDir(i)), os.RemoveAll(a.StateDir(i))); err != nil {
			t.Fatal(err)
		}
	}

	// With the journal of an SFU behind the backup: all that was committed.
	all := restoreInto(t, file, kitFile, "--log", state, "--log-key", key, "--to-csn", fmt.Sprint(whole["csn"]))
	sameAudit(t, whole, must(t, "--config", all.config, "ledger", "audit"))

	r := restoreInto(t, file, kitFile)
	sameAudit(t, want, must(t, "--config", r.config, "ledger", "audit"))
	r.start(ctx, t)
	goesOn(ctx, t, a, r, token, inBackup, lost)
	r.stop(t)
	after := must(t, "--config", r.config, "ledger", "audit")
	if after["audit"] != "ok" || after["transfers"] != 51.0 {
		t.Errorf("audit after one more payment: %v", after)
	}

	// Backups of the new cluster open with the new kit, and those of the old one do not.
	refused(t, "use the recovery kit of that cluster", "backup", "verify", file, "--kit", r.kit)
	refused(t, "move the old configuration away first", r.args(file, kitFile)...)
}

// stopAndKeep stops an SFU, audits it, and keeps its state and the key of that elsewhere.
func stopAndKeep(t *testing.T, a *arena.Arena, i int) (audit map[string]any, state, key string) {
	t.Helper()
	if err := a.Stop(i); err != nil {
		t.Fatal(err)
	}
	audit = must(t, "--config", a.ConfigDir(i), "ledger", "audit")
	dir := t.TempDir()
	state, key = filepath.Join(dir, "state"), filepath.Join(dir, "store.key")
	if err := os.CopyFS(state, os.DirFS(a.StateDir(i))); err != nil {
		t.Fatal(err)
	}
	if err := copyFile(key, filepath.Join(a.ConfigDir(i), "keys", a.Name(i), config.FileStore)); err != nil {
		t.Fatal(err)
	}
	return audit, state, key
}

// sameAudit compares what two audits say of the state.
func sameAudit(t *testing.T, want, got map[string]any) {
	t.Helper()
	for _, key := range []string{"csn", "transactions", "accounts", "transfers", "digest", "audit"} {
		if want[key] != got[key] {
			t.Errorf("%s is %v in %v, %v in %v", key, got[key], got["of"], want[key], want["of"])
		}
	}
	if a, b := fmt.Sprint(want["ledgers"]), fmt.Sprint(got["ledgers"]); a != b {
		t.Errorf("sums are %s and %s", a, b)
	}
}

// backupUnderLoad takes a backup while four clients pay, and checks that everything
// that was told before it began is in it.
func backupUnderLoad(ctx context.Context, t *testing.T, a *arena.Arena, c *client.Client, dir string) map[string]any {
	t.Helper()
	var stop atomic.Bool
	var running sync.WaitGroup
	var newest, failed atomic.Uint64
	for range 4 {
		running.Go(func() {
			for !stop.Load() {
				o, err := c.Submit(ctx, pay(c, 1))
				if err != nil {
					failed.Add(1)
					return
				}
				for old := newest.Load(); old < o.Csn && !newest.CompareAndSwap(old, o.Csn); old = newest.Load() {
				}
			}
		})
	}
	for newest.Load() == 0 && failed.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	told := newest.Load()
	b := must(t, "--config", a.ConfigDir(0), "backup", "--to", filepath.Join(dir, "busy.rrtsbackup"))
	stop.Store(true)
	running.Wait()
	if failed.Load() > 0 {
		t.Error("payments failed while the backup was taken")
	}
	if uint64(b["csn"].(float64)) < told {
		t.Errorf("the backup is of CSN %v, clients had been told of %d", b["csn"], told)
	}
	return b
}

// nightly takes backups as rrts-backup.timer does: none without a target, none where
// its disk is not mounted, and then one that the machine takes note of.
func nightly(t *testing.T, etc string) {
	t.Helper()
	if out, err := rrts(t, "--config", etc, "backup", "--scheduled"); err != nil || len(out) > 0 {
		t.Errorf("without a target: %s, %v", out, err)
	}
	target := filepath.Join(t.TempDir(), "usb")
	path := filepath.Join(etc, "machine.toml")
	m, err := config.LoadMachine(path)
	if err != nil {
		t.Fatal(err)
	}
	before := m.Marshal()
	m.Backup.Target = target
	if err := os.WriteFile(path, m.Marshal(), 0o644); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(path, before, 0o644)
	refused(t, "is its disk mounted?", "--config", etc, "backup", "--scheduled")
	refused(t, "leave --to away", "--config", etc, "backup", "--scheduled", "--to", target)
	if err := os.Mkdir(target, 0o700); err != nil {
		t.Fatal(err)
	}
	b := must(t, "--config", etc, "backup", "--scheduled")
	n, err := lastbackup.Read(etc)
	if err != nil || n == nil || n.File != b["file"] || filepath.Dir(n.File) != target || float64(n.CSN) != b["csn"] {
		t.Errorf("%v, and the note of it is %+v, %v", b, n, err)
	}
	if missing := lastbackup.Missing(etc, &m.Backup, time.Now()); missing != "" {
		t.Error(missing)
	}
	if listed := must(t, "--config", etc, "backup", "list"); listed["file"] != b["file"] {
		t.Errorf("the list is %v", listed)
	}
}

// refusals tries everything that must not work, one clear line each.
func refusals(t *testing.T, a *arena.Arena, dir, file, kitFile string) {
	t.Helper()
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	bad := func(name string, data []byte) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	flipped := bytes.Clone(whole)
	flipped[len(flipped)/2] ^= 4
	cut, bent := bad("cut", whole[:len(whole)-100]), bad("bent", flipped)
	foreign, err := genesis.Create(genesis.Spec{Name: "other", SFUs: []genesis.SFU{{Name: "x", Gateways: []string{"127.0.0.1:1"}}}})
	if err != nil {
		t.Fatal(err)
	}
	foreignKit := writeKit(t, foreign.Master)
	wrongPass := bad("passphrase", []byte("another passphrase\n"))

	refused(t, "it was not copied whole", "backup", "verify", cut)
	refused(t, "damaged", "backup", "verify", bent)
	refused(t, "not a backup", "backup", "verify", kitFile)
	refused(t, "exists: name another file", "--config", a.ConfigDir(0), "backup", "--to", file)
	bare := t.TempDir()
	attempt := func(backup, kit string, more ...string) []string {
		return append([]string{"--config", filepath.Join(bare, "etc"), "restore", "--backup", backup, "--kit", kit, "--new-kit", filepath.Join(bare, "kit"),
			"--machine", "pc9", "--sfu", "uno,gateway=127.0.0.1:1", "--nic-a", "none", "--state-dir", filepath.Join(bare, "state")}, more...)
	}
	refused(t, "it was not copied whole", attempt(cut, kitFile)...)
	refused(t, "damaged", attempt(bent, kitFile)...)
	refused(t, "not a backup", attempt(kitFile, kitFile)...)
	refused(t, "not a recovery kit", attempt(file, file)...)
	refused(t, "use the recovery kit of that cluster", attempt(file, foreignKit)...)
	refused(t, "the passphrase is wrong", attempt(file, kitFile, "--passphrase-file", wrongPass)...)
	if left := files(t, bare); len(left) > 0 {
		t.Errorf("refused restores left %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("refused backups left %v", left)
	}
}

// restored is a cluster of one SFU that was restored.
type restored struct {
	dir, config, kit, gateway string
	cmd                       *exec.Cmd
	log                       bytes.Buffer
}

func (r *restored) args(file, kitFile string, more ...string) []string {
	return append([]string{"--config", r.config, "restore", "--backup", file, "--kit", kitFile, "--new-kit", r.kit,
		"--machine", "pc9", "--sfu", "uno,gateway=" + r.gateway, "--nic-a", "none",
		"--state-dir", filepath.Join(r.dir, "state", "uno"), "--run-dir", filepath.Join(r.dir, "run")}, more...)
}

func restoreInto(t *testing.T, file, kitFile string, more ...string) *restored {
	t.Helper()
	r := &restored{dir: t.TempDir(), gateway: freeAddress(t)}
	r.config, r.kit = filepath.Join(r.dir, "etc"), filepath.Join(r.dir, "kit.txt")
	if v := must(t, r.args(file, kitFile, more...)...); v["epoch"] != 2.0 {
		t.Errorf("restore: %v", v)
	}
	return r
}

func (r *restored) start(ctx context.Context, t *testing.T) {
	t.Helper()
	r.cmd = exec.Command(arenatest.Rrtsd(t), "--config", r.config, "uno")
	r.cmd.Stdout, r.cmd.Stderr = &r.log, &r.log
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.stop(t) })
}

func (r *restored) stop(t *testing.T) {
	t.Helper()
	if r.cmd == nil {
		return
	}
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Error(err)
	}
	if err := r.cmd.Wait(); err != nil {
		t.Errorf("%v:\n%s", err, r.log.String())
	}
	r.cmd = nil
}

// goesOn checks what a client of the old cluster meets in the restored one.
func goesOn(ctx context.Context, t *testing.T, a *arena.Arena, r *restored, token []byte, inBackup []*txnpb.Transaction, lost *txnpb.Transaction) {
	t.Helper()
	newKit, err := config.LoadClientKit(filepath.Join(r.config, "client-kit.toml"))
	if err != nil {
		t.Fatal(err)
	}
	open := func(id config.ID, change func(*client.Config)) (*client.Client, error) {
		ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
		defer cancel()
		cfg := client.Config{Gateways: newKit.Gateways, RootCAs: a.Kit().Pool(), ClusterID: [16]byte(id)} // the old CA
		change(&cfg)
		return client.Open(ctx, cfg)
	}
	password := func(c *client.Config) { c.LoginName, c.Password = "arena-login-1", "arena-password-1" }
	c, err := open(newKit.ID, password)
	if err != nil {
		t.Fatalf("%v\n%s", err, r.log.String())
	}
	defer c.Close()
	if _, err := open(newKit.ID, func(c *client.Config) { c.Token = token }); !errors.Is(err, client.ErrSession) {
		t.Errorf("a session of the old cluster: %v", err)
	}
	if _, err := open(a.Kit().ID, password); !errors.Is(err, client.ErrOtherCluster) {
		t.Errorf("with the old client kit: %v", err)
	}
	for _, tx := range inBackup {
		o, err := c.Submit(ctx, tx) // once more
		if err != nil || o.State != txnpb.StateCommitted {
			t.Fatalf("%v, committed before the backup: %+v, %v", tx.Id, o, err)
		}
	}
	if o, err := c.Status(ctx, lost.Id); err != nil || o.State != txnpb.StateUnknown {
		t.Errorf("committed after the backup: %+v, %v", o, err)
	}
	if _, err := c.Submit(ctx, pay(c, 3)); err != nil {
		t.Fatal(err)
	}
}

// TestBackupFullDisk: a backup that does not fit leaves nothing behind.
func TestBackupFullDisk(t *testing.T) {
	require.Root(t)
	a := newArena(t, 1, nil)
	ctx := run(t, a)
	c := newUser(ctx, t, a)
	for range 5 {
		tx := c.Transaction()
		tx.Mode = txnpb.ModeIndependent
		for range 2000 {
			tx.Transfers = append(tx.Transfers, pay(c, 1).Transfers[0])
		}
		if _, err := c.Submit(ctx, tx); err != nil {
			t.Fatal(err)
		}
	}
	disk := t.TempDir()
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=64k", "rrts-test", disk).CombinedOutput(); err != nil {
		t.Fatalf("mount: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", disk).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	refused(t, "no space left on device", "--config", a.ConfigDir(0), "backup", "--to", disk)
	if left, err := os.ReadDir(disk); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if b := must(t, "--config", a.ConfigDir(0), "backup", "--to", t.TempDir()); b["bytes"].(float64) < 64<<10 {
		t.Errorf("%v: the test's backup is too small to fill anything", b)
	}
}
