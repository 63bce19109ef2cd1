package txn_test

import (
	"bytes"
	"context"
	"crypto/rand"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn/store/sealfs"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/sim/disk"
)

const (
	// cutSites is how many power cuts a test run plays, and cutsPerSite how many one
	// cluster goes through, one after the other.
	cutSites    = 4
	cutsPerSite = 5
	// payers submit at the same time, each through SFUs of its choice.
	payers = 6
)

// TestPowerCuts cuts the power of three members at once, at any write to any of their
// disks, while clients pay: journal, Pebble store and sealed pages are the real ones. What
// is left of the disks goes on as the cluster, which must know every transaction
// that a client was told of, and execute those whose outcome was not told exactly once.
//
// RRTS_POWERCUT_SITES says how many clusters it takes through cuts, RRTS_POWERCUT_FIRST
// with which seed it begins.
func TestPowerCuts(t *testing.T) {
	first, n := environ(t, "RRTS_POWERCUT_FIRST", 1), environ(t, "RRTS_POWERCUT_SITES", cutSites)
	var total cutFigures
	for seed := first; seed < first+n && !t.Failed(); seed++ {
		total.add(playSite(t, seed))
	}
	t.Logf("%d power cuts, %d of them while it recovered: %d transactions told, %d not told, all as they should be",
		total.cuts, total.early, total.told, total.unknown)
}

func environ(t *testing.T, name string, otherwise uint64) uint64 {
	v := os.Getenv(name)
	if v == "" {
		return otherwise
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		t.Fatalf("%s=%q: %v", name, v, err)
	}
	return n
}

// cutFigures are what a test of power cuts saw.
type cutFigures struct{ cuts, early, told, unknown int }

func (f *cutFigures) add(o cutFigures) {
	f.cuts, f.early, f.told, f.unknown = f.cuts+o.cuts, f.early+o.early, f.told+o.told, f.unknown+o.unknown
}

// site is three members on one supply of power.
type site struct {
	*cluster
	seed  uint64
	rng   *mathrand.Rand
	disks []*disk.Disk

	left  atomic.Int64  // operations on the disks until the power fails
	dark  atomic.Bool   // it has failed: what is said from now on nobody hears
	cut   chan struct{} // closed when images holds what is left of the disks
	image []*disk.Disk
	born  [3]bool

	mu      sync.Mutex
	told    map[u128.Int]payment
	unknown map[u128.Int]payment // asked for, and no answer
	figures cutFigures
}

// payment is one transaction and what was told of it.
type payment struct {
	tx  *txnpb.Transaction
	csn uint64
}

// journalOn is the journal's disk: a lying one where TestPowerCutsNotice asks for it.
func journalOn(d *disk.Disk) vfs.FS {
	if lying() {
		return liar{d}
	}
	return d
}

func lying() bool { return os.Getenv("RRTS_POWERCUT_LIE") != "" }

func playSite(t *testing.T, seed uint64) cutFigures {
	s := &site{seed: seed, rng: mathrand.New(mathrand.NewPCG(seed, 21)), told: map[u128.Int]payment{}, unknown: map[u128.Int]payment{}}
	for i := range uint64(3) {
		s.disks = append(s.disks, disk.New(disk.Config{RNG: mathrand.New(mathrand.NewPCG(seed, 30+i)), Ordered: true}))
	}
	s.cluster = newClusterOf(t, 3, func(sfu uint16, _ *vfs.MemFS) vfs.FS { return journalOn(s.disks[sfu-1]) }, func(c *cluster) {
		c.drain = time.Millisecond
		c.scrub = 50 * time.Millisecond // and the sums of rows are compared all the while
		if lying() {
			c.patience = 2 * time.Second
		}
		for _, m := range c.sfus {
			m.state = sealfs.New(s.disks[m.number-1], c.keys, rand.Reader)
		}
	})
	open := opening()
	mustCommit(t, s.submit(s.leader(), open))
	s.told[open.Id] = payment{open, 1}
	for range cutsPerSite {
		s.live()
		s.revive()
		if s.verify(); t.Failed() {
			break
		}
	}
	if t.Failed() {
		t.Logf("again: RRTS_POWERCUT_FIRST=%d RRTS_POWERCUT_SITES=1 go test ./comps/txn -run TestPowerCuts", seed)
	}
	for _, m := range s.sfus {
		s.stop(m)
	}
	return s.figures
}

// arm makes the power fail at some operation from now on.
func (s *site) arm() {
	s.cut, s.image = make(chan struct{}), nil
	s.dark.Store(false)
	s.left.Store(1 + s.rng.Int64N(1<<(3+s.rng.IntN(10)))) // soon as a rule, at times after some thousands
	seed := s.rng.Uint64()
	for _, d := range s.disks {
		d.Before(func(op disk.Op) error {
			if op.Kind != disk.OpRead && op.Kind != disk.OpOpen && s.left.Add(-1) == 0 {
				s.dark.Store(true)
				for i, m := range s.sfus {
					s.born[i] = m.born.Load() // before the disks are copied: what it says must be there
				}
				s.image = disk.CrashClone(mathrand.New(mathrand.NewPCG(seed, 0)), s.disks...)
				close(s.cut)
			}
			return nil
		})
	}
}

// live lets clients pay until the power fails.
func (s *site) live() {
	s.arm()
	var running sync.WaitGroup
	stop := make(chan struct{})
	for i := range uint64(payers) {
		rng := mathrand.New(mathrand.NewPCG(s.seed, s.rng.Uint64()+i))
		running.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					s.pay(rng, transferOf(1+rng.Uint64N(100)))
				}
			}
		})
	}
	s.dies(func() { close(stop); running.Wait() })
}

// dies waits until the power has failed, and ends what goes on as if it had not.
func (s *site) dies(then ...func()) {
	s.t.Helper()
	select {
	case <-s.cut:
	case <-time.After(30 * time.Second):
		s.t.Fatalf("seed %d: the power did not fail within 30 s, %d operations were left", s.seed, s.left.Load())
	}
	for _, f := range then {
		f()
	}
	for _, m := range s.sfus {
		s.stop(m)
	}
}

// pay submits a transaction once, somewhere, and remembers what it was told before the
// power failed.
func (s *site) pay(rng *mathrand.Rand, tx *txnpb.Transaction) {
	at := s.sfus[rng.IntN(len(s.sfus))]
	s.mu.Lock()
	s.unknown[tx.Id] = payment{tx: tx}
	s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	answer, err := txnpb.TxnClient{Caller: at.engine.Caller(0)}.Submit(ctx, submission(tx))
	if err != nil || answer.Outcomes[0].State != txnpb.StateCommitted || s.dark.Load() {
		return
	}
	s.mu.Lock()
	delete(s.unknown, tx.Id)
	s.told[tx.Id] = payment{tx, answer.Outcomes[0].Csn}
	s.mu.Unlock()
}

func submission(tx *txnpb.Transaction) *txnpb.SubmitBatch {
	return &txnpb.SubmitBatch{Submissions: []txnpb.Submission{{
		Transaction: message.Marshal(tx), Principal: 1, Role: uint32(message.RoleOperator), RemainingMillis: 1000,
	}}}
}

// revive starts the cluster from what is left. Now and then the power fails again before
// that is done.
func (s *site) revive() {
	for again := true; again; {
		s.figures.cuts++
		s.disks = s.image
		for i, m := range s.sfus {
			m.journal, m.state = journalOn(s.disks[i]), sealfs.New(s.disks[i], s.keys, rand.Reader)
			m.born.Store(s.born[i])
		}
		if again = s.rng.IntN(4) == 0; again {
			s.arm()
			s.left.Store(1 + s.rng.Int64N(60)) // three starts and an election write more
		}
		for _, m := range s.sfus {
			s.start(m)
		}
		if again {
			s.figures.early++
			s.dies()
		}
	}
}

// verify asks for everything that was told, executes what was not, and sums up.
func (s *site) verify() {
	lead := s.leader()
	i := 0
	for id, p := range s.told {
		i++
		at := s.sfus[i%len(s.sfus)]
		o := s.status(at, id)
		if o == nil || o.State != txnpb.StateCommitted || o.Csn != p.csn && p.csn != 0 {
			s.t.Errorf("seed %d, cut %d: a client was told that %v is committed at CSN %d, SFU %d says %+v", s.seed, s.figures.cuts, id, p.csn, at.number, o)
			return
		}
	}
	for id, p := range s.unknown {
		o := s.submit(lead, p.tx)
		mustCommit(s.t, o)
		s.told[id] = payment{p.tx, o.Csn}
		delete(s.unknown, id)
		s.figures.unknown++
	}
	s.figures.told = len(s.told) - s.figures.unknown
	want := u128.Int{}
	for _, p := range s.told {
		for i := range p.tx.Transfers {
			want, _ = want.Add(p.tx.Transfers[i].Amount)
		}
	}
	if d := s.agree(); d.Csn != uint64(len(s.told)) {
		s.t.Errorf("seed %d, cut %d: %d transactions are committed, %d were asked for", s.seed, s.figures.cuts, d.Csn, len(s.told))
	}
	for _, m := range s.sfus {
		a, err := txnpb.TxnClient{Caller: m.engine.Caller(0)}.Read(context.Background(), &txnpb.Query{
			LookupAccounts: &ledgerpb.Lookup{Ids: []u128.Int{u128.From64(1), u128.From64(2)}},
		})
		if err != nil || len(a.Accounts) != 2 || a.Accounts[0].DebitsPosted != want || a.Accounts[1].CreditsPosted != want {
			s.t.Errorf("seed %d, cut %d: SFU %d has %+v, %v; the payments come to %v", s.seed, s.figures.cuts, m.number, a, err, want)
		}
	}
}

// status asks one member for an outcome until it answers.
func (s *site) status(at *sfu, id u128.Int) *txnpb.Outcome {
	var err error
	for began := time.Now(); time.Since(began) < s.patience; {
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		var o *txnpb.Outcome
		o, err = txnpb.TxnClient{Caller: at.engine.Caller(0)}.Status(ctx, &txnpb.StatusRequest{Id: id})
		cancel()
		if err == nil {
			return o
		}
		time.Sleep(5 * time.Millisecond)
	}
	s.t.Errorf("seed %d: no status within %v: %v", s.seed, s.patience, err)
	return nil
}

// TestPowerCutsNotice: with disks whose syncs come late, clients were told too much, and
// the test must fail. It runs in a process of its own.
func TestPowerCutsNotice(t *testing.T) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestPowerCuts$", "-test.timeout=1m")
	cmd.Env = append(os.Environ(), "RRTS_POWERCUT_LIE=1")
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("nobody noticed:\n%s", out)
	}
	if !bytes.Contains(out, []byte("--- FAIL: TestPowerCuts")) {
		t.Errorf("it fails otherwise: %v\n%s", err, out)
	}
}

// liar is a file system that says at once that it has synced, and does so later.
type liar struct{ vfs.FS }

// lieLasts is longer than a busy machine takes from an answer to the cut.
const lieLasts = 500 * time.Millisecond

func (l liar) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := l.FS.OpenReadWrite(name, c, o...)
	return lyingFile{f}, err
}

type lyingFile struct{ vfs.File }

func (f lyingFile) SyncData() error {
	time.AfterFunc(lieLasts, func() { _ = f.File.SyncData() }) // closed by then: that is the lie
	return nil
}
