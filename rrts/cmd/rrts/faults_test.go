package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena/arenatest"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/sim/require"
)

func TestMain(m *testing.M) {
	status := m.Run()
	arenatest.Remove()
	os.Exit(status)
}

// newArena makes a cluster of n SFUs that do not run yet.
func newArena(t *testing.T, n int, change func(*arena.Config)) *arena.Arena {
	t.Helper()
	cfg := arena.Config{SFUs: n, Rrtsd: arenatest.Rrtsd(t), Dir: t.TempDir()}
	if change != nil {
		change(&cfg)
	}
	a, err := arena.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := a.Close(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			for i := range a.SFUs() {
				log, _ := os.ReadFile(a.LogFile(i))
				t.Logf("%s says:\n%s", a.Name(i), log)
			}
		}
	})
	return a
}

// run starts all SFUs and waits for them.
func run(t *testing.T, a *arena.Arena) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	t.Cleanup(cancel)
	for i := range a.SFUs() {
		if err := a.Start(i); err != nil {
			t.Fatal(err)
		}
	}
	for i := range a.SFUs() {
		if err := a.WaitControl(ctx, i); err != nil {
			t.Fatal(err)
		}
	}
	return ctx
}

// newUser registers a user and opens two accounts for it.
func newUser(ctx context.Context, t *testing.T, a *arena.Arena) *client.Client {
	t.Helper()
	c, _ := newLogin(ctx, t, a)
	return c
}

// newLogin is newUser, and says with what the user logs in.
func newLogin(ctx context.Context, t *testing.T, a *arena.Arena) (*client.Client, arena.User) {
	t.Helper()
	op, err := a.Operator(ctx, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer op.Close()
	users, err := arena.Register(ctx, op, 1)
	if err != nil {
		t.Fatal(err)
	}
	c, err := a.Login(ctx, users[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	tx := op.Transaction()
	for id := uint64(1); id <= 2; id++ {
		tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: u128.From64(id), Ledger: 1, Code: 1})
	}
	client.Give(tx, c.Session().User)
	if _, err := op.Submit(ctx, tx); err != nil {
		t.Fatal(err)
	}
	return c, users[0]
}

func pay(c *client.Client, amount uint64) *txnpb.Transaction {
	return c.Transfer(u128.From64(1), u128.From64(2), u128.From64(amount), 1, 1)
}

// refusesToStart expects that SFU i ends at once, saying one line that holds all
// of want.
func refusesToStart(t *testing.T, a *arena.Arena, i int, want ...string) {
	t.Helper()
	if err := a.Start(i); err != nil {
		t.Fatal(err)
	}
	select {
	case <-a.Exited(i):
	case <-time.After(20 * time.Second):
		t.Fatal("it runs")
	}
	log, err := os.ReadFile(a.LogFile(i))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(log), "\n") {
		all := true
		for _, w := range want {
			all = all && strings.Contains(line, w)
		}
		if all {
			return
		}
	}
	t.Fatalf("no line says %q:\n%s", want, log)
}

func TestUnknownKey(t *testing.T) {
	a := newArena(t, 1, nil)
	path := filepath.Join(a.ConfigDir(0), "cluster.toml")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append([]byte("nmae = \"x\"\n"), text...), 0o640); err != nil {
		t.Fatal(err)
	}
	refusesToStart(t, a, 0, "cluster.toml:1:1", "nmae", "unknown key", "keys here are name")
}

func TestPortInUse(t *testing.T) {
	a := newArena(t, 1, nil)
	_, port, err := net.SplitHostPort(a.Kit().Gateways[0])
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", ":"+port)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	refusesToStart(t, a, 0, "cannot listen on", port, "address already in use", "gateway.listen in sfu/alpha.toml")
}

func TestStateInUse(t *testing.T) {
	a := newArena(t, 1, nil)
	run(t, a)
	cmd := exec.Command(arenatest.Rrtsd(t), "--config", a.ConfigDir(0), a.Name(0))
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "SFU alpha runs already on this machine") {
		t.Fatalf("a second process on the same state: %v\n%s", err, out)
	}
}

func TestLostJournal(t *testing.T) {
	a := newArena(t, 1, nil)
	ctx := run(t, a)
	c := newUser(ctx, t, a)
	if _, err := c.Submit(ctx, pay(c, 5)); err != nil {
		t.Fatal(err)
	}
	if err := a.Stop(0); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(a.StateDir(0), "journal")); err != nil {
		t.Fatal(err)
	}
	refusesToStart(t, a, 0, "its disk was lost", "rrts sfu replace")
}

func TestWrongPassword(t *testing.T) {
	a := newArena(t, 1, nil)
	ctx := run(t, a)
	newUser(ctx, t, a)
	for _, u := range []arena.User{{LoginName: "arena-login-1", Password: "not this one"}, {LoginName: "nobody", Password: "arena-password-1"}} {
		_, err := a.Login(ctx, u)
		if !errors.Is(err, &message.Error{Code: message.Denied}) {
			t.Errorf("login as %s: %v, want denied", u.LoginName, err)
		}
		if err != nil && strings.Contains(err.Error(), "\n") {
			t.Errorf("login as %s: more than one line: %q", u.LoginName, err)
		}
	}
}

// TestGarbage throws datagrams and bytes at every port of a running cluster.
func TestGarbage(t *testing.T) {
	a := newArena(t, 3, nil)
	ctx := run(t, a)
	c := newUser(ctx, t, a)
	cluster, err := config.LoadCluster(a.ConfigDir(0))
	if err != nil {
		t.Fatal(err)
	}
	frame := make([]byte, 200)
	for i := range 3000 {
		for j := range frame {
			frame[j] = byte(i * (j + 7) >> 3)
		}
		frame[0] = byte(i) // every type and version
		m := &cluster.SFUs[i%3]
		conn, err := net.Dial("udp", m.UDPA.String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(frame[:1+i%len(frame)]) // refused while nobody listens: also fine
		conn.Close()
	}
	for i := range 20 {
		conn, err := net.Dial("tcp", a.Kit().Gateways[i%3])
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(frame) // the gateway may hang up first
		conn.Close()
	}
	for range 20 {
		if _, err := c.Submit(ctx, pay(c, 1)); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPlannedStops stops and starts every SFU in turn under load: no request fails. Of
// two, the one that stops leaves the other able to decide.
func TestPlannedStops(t *testing.T) {
	for _, n := range []int{2, 3} {
		t.Run(fmt.Sprint(n, " SFUs"), func(t *testing.T) { stopInTurn(t, n) })
	}
}

func stopInTurn(t *testing.T, n int) {
	a := newArena(t, n, nil)
	ctx := run(t, a)
	first := newUser(ctx, t, a)
	l := startLoad(ctx, t, a, first)
	for i := range a.SFUs() {
		time.Sleep(300 * time.Millisecond)
		if err := a.Stop(i); err != nil {
			t.Error(err)
		}
		time.Sleep(300 * time.Millisecond) // payments meanwhile
		if err := a.Start(i); err != nil {
			t.Fatal(err)
		}
		if err := a.WaitControl(ctx, i); err != nil {
			t.Fatal(err)
		}
		if err := caughtUp(ctx, a); err != nil {
			t.Fatal(err)
		}
		op, err := a.Operator(ctx, i)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.WaitVoters(ctx, op, n); err != nil {
			t.Fatal(err)
		}
		op.Close()
	}
	done := l.end(t)
	// Not one is lost or repeated, by the ledger and by the stream of events.
	accounts, err := first.LookupAccounts(ctx, u128.From64(1))
	if err != nil || len(accounts) != 1 || accounts[0].DebitsPosted != u128.From64(uint64(done)) {
		t.Errorf("%d payments, in the ledger: %v, %v", done, accounts, err)
	}
	told := map[u128.Int]bool{}
	for e, err := range first.Events(txnpb.Position{}, &txnpb.EventsFilter{Kinds: uint32(txnpb.EventKindsTransfers)}).Past(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		told[e.Transfer.Id] = true
	}
	if len(told) != done {
		t.Errorf("%d payments, %d events", done, len(told))
	}
}

// load is clients that pay one after the other, as long as it runs.
type load struct {
	stop    atomic.Bool
	running sync.WaitGroup

	mu     sync.Mutex // guards what is below
	failed []error
	worst  time.Duration
	done   int
}

// startLoad makes four clients pay with a user's session, and with a login where that is
// given: a session ends with its epoch.
func startLoad(ctx context.Context, t *testing.T, a *arena.Arena, user *client.Client, login ...arena.User) *load {
	t.Helper()
	l, kit := &load{}, a.Kit()
	for range 4 {
		cfg := client.Config{Gateways: kit.Gateways, RootCAs: kit.Pool(), ClusterID: [16]byte(kit.ID), LoginKey: kit.Signer(), Token: user.Token()}
		for _, u := range login {
			cfg.LoginName, cfg.Password = u.LoginName, u.Password
		}
		c, err := client.Open(ctx, cfg)
		if err != nil {
			t.Fatal(err)
		}
		l.running.Go(func() {
			defer c.Close()
			for !l.stop.Load() {
				began := time.Now()
				ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
				_, err := c.Submit(ctx, pay(c, 1))
				cancel()
				l.mu.Lock()
				l.worst = max(l.worst, time.Since(began))
				l.done++
				if err != nil {
					l.failed = append(l.failed, err)
				}
				l.mu.Unlock()
			}
		})
	}
	return l
}

// end ends the load, and fails the test if a request did; it returns how many there
// were.
func (l *load) end(t *testing.T) int {
	t.Helper()
	l.stop.Store(true)
	l.running.Wait()
	t.Logf("%d payments, the slowest took %v", l.done, l.worst)
	if len(l.failed) > 0 {
		t.Fatalf("%d requests failed, the first: %v", len(l.failed), l.failed[0])
	}
	return l.done
}

// caughtUp waits until every SFU answers with a replica that leads or follows.
func caughtUp(ctx context.Context, a *arena.Arena) error {
	for {
		_, detail, err := a.Agree(ctx)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", detail, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// TestDamagedJournal rots the journal of an SFU that was killed, in the middle and at
// the end: the others make it whole, and it takes part again.
func TestDamagedJournal(t *testing.T) {
	for _, place := range []string{"middle", "end"} {
		t.Run(place, func(t *testing.T) {
			a := newArena(t, 3, nil)
			ctx := run(t, a)
			c := newUser(ctx, t, a)
			for range 60 {
				if _, err := c.Submit(ctx, pay(c, 1)); err != nil {
					t.Fatal(err)
				}
			}
			if err := caughtUp(ctx, a); err != nil {
				t.Fatal(err)
			}
			time.Sleep(500 * time.Millisecond) // well after the journal is marked
			leader, err := a.Leader(ctx)
			if err != nil {
				t.Fatal(err)
			}
			hurt := (leader + 1) % a.SFUs()
			if err := a.Kill(hurt); err != nil {
				t.Fatal(err)
			}
			rot(t, filepath.Join(a.StateDir(hurt), "journal"), place == "end")
			if err := a.Start(hurt); err != nil {
				t.Fatal(err)
			}
			if err := a.WaitControl(ctx, hurt); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Submit(ctx, pay(c, 1)); err != nil {
				t.Fatal(err)
			}
			for { // all three, with the same state
				equal, detail, err := a.Agree(ctx)
				if err == nil && equal {
					break
				}
				select {
				case <-ctx.Done():
					t.Fatalf("%s: %v", detail, err)
				case <-time.After(20 * time.Millisecond):
				}
			}
			log, err := os.ReadFile(a.LogFile(hurt))
			if err != nil || !strings.Contains(string(log), "what was damaged is repaired") {
				t.Errorf("%s did not find the damage: %v", a.Name(hurt), err)
			}
			// With another one gone its vote decides.
			if err := a.Kill(leader); err != nil {
				t.Fatal(err)
			}
			if _, err := c.Submit(ctx, pay(c, 1)); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// rot flips bits in the newest segment of a journal, in the middle or at the end of what
// stands there.
func rot(t *testing.T, dir string, end bool) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "*.seg"))
	if err != nil || len(segments) == 0 {
		t.Fatalf("%q, %v", segments, err)
	}
	path := segments[len(segments)-1]
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const frames, marks, n = 12288, 12288, 300 // before and behind the frames of a segment
	last := len(b) - marks
	for b[last-1] == 0 {
		last--
	}
	at := last - n
	if !end {
		at = (frames + last) / 2 &^ 4095 // where what one write carried begins
	}
	for i := at; i < at+n; i++ {
		b[i] ^= 0x55
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFullDisk fills the disk of all SFUs: new work is refused, reads go on,
// nothing that was told is lost, and with more room work goes on.
func TestFullDisk(t *testing.T) {
	require.Root(t)
	for _, n := range []int{1, 3} {
		t.Run(fmt.Sprint(n, " SFUs"), func(t *testing.T) { fillDisk(t, n) })
	}
}

// startFull wants an SFU that has no room at all to start to end with a status after which
// systemd tries again, and to say what it lacks.
func startFull(t *testing.T, a *arena.Arena, disk string) {
	t.Helper()
	if err := a.Kill(1); err != nil {
		t.Fatal(err)
	}
	rest, err := os.Create(filepath.Join(disk, "rest"))
	if err != nil {
		t.Fatal(err)
	}
	defer rest.Close()
	if _, err := io.Copy(rest, zeros{}); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("filling the disk: %v", err)
	}
	out, err := exec.Command(a.Rrtsd(), "--config", a.ConfigDir(1), a.Name(1)).CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(out), "no space left on device") {
		t.Errorf("started on a full disk: %v, want exit status 1 and the reason:\n%s", err, out)
	}
}

// zeros is as many zeros as anybody reads.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func fillDisk(t *testing.T, n int) {
	disk := filepath.Join(t.TempDir(), "disk")
	if err := os.Mkdir(disk, 0o700); err != nil {
		t.Fatal(err)
	}
	mount := func(args ...string) {
		t.Helper()
		if out, err := exec.Command(args[0], args[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%v: %v %s", args, err, out)
		}
	}
	mount("mount", "-t", "tmpfs", "-o", "size=48m", "rrts-test", disk)
	t.Cleanup(func() { mount("umount", disk) })
	a := newArena(t, n, func(c *arena.Config) {
		c.States = disk
		c.Settings.Txn.JournalSegment = 1 << 20
	})
	ctx := run(t, a)
	c := newUser(ctx, t, a)

	submit := func(patience time.Duration) (*txnpb.Transaction, error) {
		tx := c.Transaction()
		tx.Mode = txnpb.ModeIndependent
		for range 2000 {
			tx.Transfers = append(tx.Transfers, pay(c, 1).Transfers[0])
		}
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		_, err := c.Submit(ctx, tx)
		return tx, err
	}
	var told []*txnpb.Transaction
	var refused *txnpb.Transaction
	for refused == nil {
		tx, err := submit(3 * time.Second)
		if err != nil {
			t.Logf("after %d transactions of 2,000 transfers: %v", len(told), err)
			refused = tx
			break
		}
		if told = append(told, tx); len(told) > 1000 {
			t.Fatal("the disk does not fill up")
		}
	}
	// Whoever comes now hears why. (Where others' disks are full and the leader's is
	// not, there is no quorum, and he hears that nothing is known.)
	smallCtx, cancelSmall := context.WithTimeout(ctx, 3*time.Second)
	defer cancelSmall()
	if _, err := c.Submit(smallCtx, pay(c, 1)); err == nil || n == 1 && !strings.Contains(err.Error(), "disk is full") {
		t.Fatalf("with a full disk: %v", err)
	}
	accounts, err := c.LookupAccounts(ctx, u128.From64(1))
	if err != nil || len(accounts) != 1 || accounts[0].DebitsPosted.Less(u128.From64(uint64(2000*len(told)))) {
		t.Fatalf("reading with a full disk: %+v, %v", accounts, err)
	}
	if n > 1 {
		startFull(t, a, disk)
	}
	mount("mount", "-o", "remount,size=512m", disk)
	if n > 1 {
		if err := a.Start(1); err != nil {
			t.Fatal(err)
		}
	}
	submitCtx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if _, err := c.Submit(submitCtx, refused); err != nil {
		t.Fatalf("with more room: %v", err)
	}
	told = append(told, refused)
	for _, tx := range told {
		o, err := c.Status(ctx, tx.Id)
		if err != nil || o.State != txnpb.StateCommitted {
			t.Fatalf("transaction %v, which a client was told is committed: %+v, %v", tx.Id, o, err)
		}
	}
	accounts, err = c.LookupAccounts(ctx, u128.From64(1))
	if want := u128.From64(uint64(2000 * len(told))); err != nil || accounts[0].DebitsPosted != want {
		t.Fatalf("debits %+v, %v, want %v", accounts, err, want)
	}
}
