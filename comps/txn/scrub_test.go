package txn_test

import (
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// rowsDir is the directory in which an SFU's rows are, which its marker names.
func (s *sfu) rowsDir(t *testing.T) string {
	t.Helper()
	names, err := s.fs.List("store")
	if err != nil {
		t.Fatal(err)
	}
	var rows []string
	for _, name := range names {
		if strings.HasPrefix(name, "rows-") {
			rows = append(rows, name)
		}
	}
	return path.Join("store", slices.Max(rows))
}

// rotRow changes the row of an account in the store of an SFU that does not run.
func (s *sfu) rotRow(t *testing.T, account uint64) {
	t.Helper()
	db, err := pebble.Open(s.rowsDir(t), &pebble.Options{FS: s.fs, DisableWAL: true, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	key := u128.From64(account).AppendKey([]byte{0, 1, 3})
	value, closer, err := db.Get(key)
	if err != nil {
		t.Fatal(err)
	}
	rotten := slices.Clone(value)
	rotten[len(rotten)-1] ^= 1
	closer.Close()
	if err := db.Set(key, rotten, pebble.NoSync); err != nil {
		t.Fatal(err)
	}
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)      {}
func (quiet) Errorf(string, ...any)     {}
func (quiet) Fatalf(f string, v ...any) { panic(f) }

// digest is that of the store of an SFU that does not run.
func (s *sfu) digest(t *testing.T) [32]byte {
	t.Helper()
	db, err := store.Open(store.Config{Dir: "store", FS: s.fs})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if why := db.Fenced(); why != "" {
		t.Fatalf("SFU %d is fenced: %s", s.number, why)
	}
	snap, err := db.Snapshot()
	if err != nil {
		t.Fatal(err)
	}
	defer snap.Close()
	d, err := store.Digest(snap)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// flushed lets transfers be made until an SFU has the rows of the accounts on its disk,
// which the first transaction opened: it flushes as the log grows.
func (c *cluster) flushed(s *sfu) {
	c.t.Helper()
	c.eventually("the accounts are on its disk", func() bool {
		mustCommit(c.t, c.submit(c.leader(), transferOf(1)))
		st := c.status(s)
		return st != nil && st.Csn > 1 && st.FlushedIndex > st.AppliedIndex-st.Csn
	})
}

// TestRottenState: a row that has become another is found; the SFU uses its state no more,
// takes that of another and is like the others again.
func TestRottenState(t *testing.T) {
	c := newCluster(t)
	c.scrub = 20 * time.Millisecond
	lead := c.leader()
	mustCommit(t, c.submit(lead, opening()))
	for range 30 {
		mustCommit(t, c.submit(lead, transferOf(1)))
	}
	var rotten *sfu
	for _, s := range c.sfus {
		if s != c.leader() {
			rotten = s
		}
	}
	c.flushed(rotten)
	c.stop(rotten)
	rotten.rotRow(t, 2)
	c.start(rotten)
	if why := c.raised(rotten, "state-diverged"); !strings.Contains(why, "the rows are not those that were written") {
		t.Fatalf("the alarm says %q", why)
	}
	mustCommit(t, c.submit(c.leader(), transferOf(1)))
	c.eventually("the SFU takes part again", func() bool {
		st, l := c.status(rotten), c.status(c.leader())
		return st != nil && st.Role == "follower" && l != nil && st.AppliedIndex == l.AppliedIndex
	})
	if slices.ContainsFunc(rotten.engine.Alarms(), func(a engine.Alarm) bool { return a.Name == "state-diverged" }) {
		t.Error("the alarm stands on")
	}
	mustCommit(t, c.submit(rotten, transferOf(1)))
	c.eventually("all have applied the same", func() bool {
		var at []uint64
		for _, s := range c.sfus {
			if st := c.status(s); st != nil {
				at = append(at, st.AppliedIndex)
			}
		}
		return len(at) == 3 && slices.Min(at) == slices.Max(at)
	})
	for _, s := range c.sfus {
		c.stop(s)
	}
	if a, b := c.sfus[0].digest(t), rotten.digest(t); a != b || a != c.sfus[1].digest(t) || a != c.sfus[2].digest(t) {
		t.Errorf("the states differ")
	}
	c.saw.Proves(t)
}

// TestRottenAlone: an SFU that nobody can help halts.
func TestRottenAlone(t *testing.T) {
	c := newClusterOf(t, 1, func(_ uint16, fs *vfs.MemFS) vfs.FS { return fs })
	c.scrub = 20 * time.Millisecond
	s := c.leader()
	mustCommit(t, c.submit(s, opening()))
	c.flushed(s)
	c.stop(s)
	s.rotRow(t, 2)
	c.start(s)
	c.eventually("the alarm", func() bool {
		return slices.ContainsFunc(s.engine.Alarms(), func(a engine.Alarm) bool {
			return a.Name == "state-diverged" && strings.Contains(a.Detail, "restore a backup")
		})
	})
	c.eventually("it has halted", func() bool { st := c.status(s); return st != nil && st.Role == "halted" })
}

// once wraps the store that is opened first, and no later one.
func once(wrap func(*store.DB) store.Store) func(*store.DB) store.Store {
	var opened atomic.Bool
	return func(db *store.DB) store.Store {
		if opened.Swap(true) {
			return db
		}
		return wrap(db)
	}
}

// faulty is a store from which the machine reads another balance than it wrote: the bug
// "apply differs on one replica".
type faulty struct{ *store.DB }

func (f faulty) Account(id u128.Int, a *ledgerpb.Account) bool {
	found := f.DB.Account(id, a)
	a.DebitsPosted.Lo += 5
	return found
}

// TestDivergedState: a replica that applies what the others do and comes to another state
// finds out that most have not, and begins again with theirs.
func TestDivergedState(t *testing.T) {
	c := newCluster(t)
	c.marks = 8
	for _, s := range c.sfus {
		c.stop(s)
		c.start(s)
	}
	mustCommit(t, c.submit(c.leader(), opening()))
	var wrong *sfu
	for _, s := range c.sfus {
		if s != c.leader() {
			wrong = s
		}
	}
	c.flushed(wrong)
	c.stop(wrong)
	wrong.wrap = once(func(db *store.DB) store.Store { return faulty{db} })
	c.start(wrong)
	c.eventually("somebody notices", func() bool {
		mustCommit(t, c.submit(c.sfus[0], transferOf(1)))
		_, was := wrong.raised.Load("state-diverged")
		return was
	})
	c.eventually("the SFU takes part again", func() bool { st := c.status(wrong); return st != nil && st.Role == "follower" })
	mustCommit(t, c.submit(c.leader(), transferOf(1)))
	c.agree()
	for _, s := range c.sfus {
		c.stop(s)
	}
	if a := wrong.digest(t); a != c.sfus[0].digest(t) || a != c.sfus[1].digest(t) || a != c.sfus[2].digest(t) {
		t.Error("the states differ")
	}
}

// forgetful is a store that leaves out the rows of transactions: the bug "a row is not
// stored", which neither the chain nor the store's own scrub can see.
type forgetful struct{ *store.DB }

func (f forgetful) Commit(b *store.Batch) {
	b.Txns = nil
	f.DB.Commit(b)
}

// TestOtherRows: a replica that does not store what the others do is told so by the sums of
// their rows, and begins again with theirs.
func TestOtherRows(t *testing.T) {
	c := newCluster(t)
	c.scrub = 50 * time.Millisecond
	for _, s := range c.sfus {
		c.stop(s)
		c.start(s)
	}
	mustCommit(t, c.submit(c.leader(), opening()))
	var wrong *sfu
	for _, s := range c.sfus {
		if s != c.leader() {
			wrong = s
		}
	}
	c.stop(wrong)
	wrong.wrap = once(func(db *store.DB) store.Store { return forgetful{db} })
	c.start(wrong)
	mustCommit(t, c.submit(c.leader(), transferOf(1)))
	// Nothing goes on: the sums are those of the same entry.
	if why := c.raised(wrong, "state-diverged"); !strings.Contains(why, "the rows of this SFU are others than those of most") {
		t.Fatalf("the alarm says %q", why)
	}
	for _, s := range c.sfus {
		if s != wrong && c.status(s) == nil {
			t.Errorf("SFU %d does not answer", s.number)
		}
	}
	for range 50 { // and while payments run
		mustCommit(t, c.submit(c.sfus[0], transferOf(1)))
	}
	c.eventually("the SFU takes part again", func() bool { st := c.status(wrong); return st != nil && st.Role == "follower" })
	c.agree()
	for _, s := range c.sfus {
		c.stop(s)
	}
	if a := wrong.digest(t); a != c.sfus[0].digest(t) || a != c.sfus[1].digest(t) || a != c.sfus[2].digest(t) {
		t.Error("the states differ")
	}
}
