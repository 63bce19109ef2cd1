package embedded

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/google/go-cmp/cmp"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/exec"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/store"
)

func open(t *testing.T, cfg Config) *Ledger {
	t.Helper()
	l, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// run executes a script and returns the answers.
func run(t *testing.T, l *Ledger, script string) string {
	t.Helper()
	var out bytes.Buffer
	if _, err := exec.Run(t.Context(), strings.NewReader(script), &out, l); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func closeLedger(t *testing.T, l *Ledger) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// The scripts of the exec format are answered as by the plain model: the machine
// and the store on disk add nothing to the rules and take no stamp of their own.
// So are they when the directory is closed and opened between any two lines.
func TestScripts(t *testing.T) {
	files, err := filepath.Glob("../../../../../comps/ledger/exec/testdata/*.jsonl")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	for _, f := range files {
		script, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		golden, err := os.ReadFile(strings.TrimSuffix(f, ".jsonl") + ".golden")
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(f), ".jsonl")
		same := func(t *testing.T, got string) {
			t.Helper()
			if diff := cmp.Diff(strings.Split(string(golden), "\n"), strings.Split(got, "\n")); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		}
		t.Run(name, func(t *testing.T) {
			l := open(t, Config{Dir: t.TempDir(), Virtual: true})
			got := run(t, l, string(script))
			closeLedger(t, l)
			same(t, got)
		})
		if name == "malformed" {
			continue // it changes nothing, and has many lines
		}
		t.Run(name+" reopened", func(t *testing.T) {
			dir := t.TempDir()
			var got strings.Builder
			number := 0
			for line := range strings.Lines(string(script)) {
				l := open(t, Config{Dir: dir, Virtual: true})
				got.WriteString(strings.Replace(run(t, l, line), "line 1:", fmt.Sprintf("line %d:", number+1), 1))
				closeLedger(t, l)
				number++
			}
			same(t, got.String())
		})
	}
}

const twoAccounts = `{"create_accounts":[{"id":1,"ledger":1,"code":1},{"id":2,"ledger":1,"code":1}]}` + "\n"

// What was not closed is gone, as after a crash, and what stands is from between
// two requests.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Config{Dir: dir, Virtual: true})
	run(t, l, twoAccounts)
	closeLedger(t, l)
	l = open(t, Config{Dir: dir, Virtual: true})
	run(t, l, `{"create_transfers":[{"id":1,"debit_account_id":1,"credit_account_id":2,"amount":5,"ledger":1,"code":1}]}`)
	if err := l.store.Close(); err != nil { // without Flush
		t.Fatal(err)
	}
	l = open(t, Config{Dir: dir, Virtual: true})
	defer closeLedger(t, l)
	got := run(t, l, `{"lookup_transfers":[1]}`+"\n"+`{"create_accounts":[{"id":3,"ledger":1,"code":1}]}`)
	if want := `{"transfers":[]}` + "\n" + `{"results":[{"status":"created","timestamp":3}]}` + "\n"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// More transfers expire in one tick than one entry may expire.
func TestManyExpire(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir(), Virtual: true})
	defer closeLedger(t, l)
	run(t, l, twoAccounts)
	const lines = 3
	var script strings.Builder
	for n := range lines {
		script.WriteString(`{"create_transfers":[`)
		for i := range ledger.MaxEvents {
			if i > 0 {
				script.WriteByte(',')
			}
			fmt.Fprintf(&script, `{"id":%d,"debit_account_id":1,"credit_account_id":2,"amount":1,"ledger":1,"code":1,"timeout":1,"flags":["pending"]}`, n*ledger.MaxEvents+i+1)
		}
		script.WriteString("]}\n")
	}
	script.WriteString(`{"tick":{"nanoseconds":2000000000}}`)
	run(t, l, script.String())
	const all = lines * ledger.MaxEvents
	if got, want := l.machine.Stamp(), uint64(2+all+2_000_000_000+all); got != want {
		t.Errorf("the stamp is %d, want %d: each expiry takes one", got, want)
	}
	if got := run(t, l, `{"lookup_accounts":[1]}`); !strings.Contains(got, `"debits_pending":"0"`) {
		t.Error(got)
	}
}

// By the machine's clock stamps are the time, and what is due expires before the
// next request.
func TestMachineClock(t *testing.T) {
	dir := t.TempDir()
	l := open(t, Config{Dir: dir})
	before := uint64(time.Now().UnixNano())
	run(t, l, twoAccounts)
	if stamp, after := l.machine.Stamp(), uint64(time.Now().UnixNano()); stamp < before || stamp > after+2 {
		t.Errorf("stamp %d, not from %d to %d", stamp, before, after)
	}
	if got, want := run(t, l, `{"tick":{"nanoseconds":1}}`), `{"error":"line 1: tick: the clock is this machine's; run with --embedded DIR --clock virtual"}`+"\n"; got != want {
		t.Errorf("got %s", got)
	}
	run(t, l, `{"create_transfers":[{"id":1,"debit_account_id":1,"credit_account_id":2,"amount":5,"ledger":1,"code":1,"timeout":3600,"flags":["pending"]}]}`)
	closeLedger(t, l)

	// An hour later, by the other clock, without the tick that would expire it.
	l = open(t, Config{Dir: dir, Virtual: true})
	if err := l.expireNothing(l.machine.Stamp() + uint64(time.Hour)); err != nil {
		t.Fatal(err)
	}
	closeLedger(t, l)
	l = open(t, Config{Dir: dir})
	defer closeLedger(t, l)
	if got := run(t, l, `{"lookup_accounts":[1]}`); !strings.Contains(got, `"debits_pending":"0"`) {
		t.Error(got)
	}
}

// The end of ledger time is refused, and reached by no request.
func TestEndOfTime(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir(), Virtual: true})
	defer closeLedger(t, l)
	run(t, l, twoAccounts)
	for _, n := range []uint64{1 << 63, 1<<64 - 1, endOfTime - 1} {
		if got := run(t, l, fmt.Sprintf(`{"tick":{"nanoseconds":%d}}`, n)); !strings.Contains(got, "tick.nanoseconds: it is 2, and ledger time ends at ") {
			t.Errorf("%d: %s", n, got)
		}
	}
	got := run(t, l, fmt.Sprintf(`{"tick":{"nanoseconds":%d}}`, uint64(endOfTime-2))+"\n"+`{"create_accounts":[{"id":3,"ledger":1,"code":1}]}`+"\n"+`{"tick":{"nanoseconds":1}}`)
	want := fmt.Sprintf(`{"results":[]}`+"\n"+`{"results":[{"status":"created","timestamp":%d}]}`+"\n"+
		`{"error":"line 3: tick.nanoseconds: it is %d, and ledger time ends at %d; tick less"}`+"\n", uint64(endOfTime+1), uint64(endOfTime+1), uint64(endOfTime))
	if got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Directories that hold something else are left alone.
func TestOtherDirectories(t *testing.T) {
	expect := func(dir, want string) {
		t.Helper()
		l, err := Open(Config{Dir: dir})
		if err == nil {
			closeLedger(t, l)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", filepath.Base(dir), err, want)
		}
	}
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "letter.txt"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	expect(home, "holds letter.txt, which is no part of a ledger; name a new or an empty directory")
	expect(filepath.Join(home, "letter.txt"), "not a directory")

	inUse := filepath.Join(t.TempDir(), "ledger")
	l := open(t, Config{Dir: inUse})
	expect(inUse, "is in use")
	closeLedger(t, l)

	replica := t.TempDir()
	s, err := store.Open(store.Config{Dir: replica})
	if err != nil {
		t.Fatal(err)
	}
	m, err := machine.Open(s, machine.Config{}, &raftpb.ConfState{Voters: []uint64{1}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.Apply(1, 1, nil, nil); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	expect(replica, "is the store of an SFU, which only its cluster may change")
}

// A disk that takes no more is told, with the system's reason in one line.
func TestDiskFull(t *testing.T) {
	var full atomic.Bool
	disk := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if full.Load() && op.Kind.ReadOrWrite() == errorfs.OpIsWrite {
			return syscall.ENOSPC
		}
		return nil
	}))
	l := open(t, Config{Dir: "ledger", fs: disk})
	run(t, l, twoAccounts)
	full.Store(true)
	done := make(chan error)
	go func() { done <- l.Close() }()
	select {
	case err := <-l.Broken():
		if !strings.HasPrefix(err.Error(), "embedded: store: ") || !strings.Contains(err.Error(), syscall.ENOSPC.Error()) || strings.Contains(err.Error(), "\n") {
			t.Errorf("told %q", err)
		}
	case err := <-done:
		t.Fatalf("closed with %v", err)
	}
	full.Store(false) // so that the store comes to its end
	if err := <-done; err != nil {
		t.Error(err)
	}
}
