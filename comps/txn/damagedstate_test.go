package txn_test

import (
	"path"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/engine"
)

// stateFile is the newest file of an SFU's rows whose name begins so.
func (s *sfu) stateFile(t *testing.T, prefix string) string {
	t.Helper()
	dir := s.rowsDir(t)
	names, err := s.fs.List(dir)
	if err != nil {
		t.Fatal(err)
	}
	names = slices.DeleteFunc(names, func(n string) bool { return !strings.HasPrefix(n, prefix) && !strings.HasSuffix(n, prefix) })
	if len(names) == 0 {
		t.Fatalf("SFU %d has no %s", s.number, prefix)
	}
	return path.Join(dir, slices.Max(names))
}

// scribble writes over the middle of a file.
func (s *sfu) scribble(t *testing.T, name string) {
	t.Helper()
	f, err := s.fs.OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteAt(slices.Repeat([]byte{0x5a}, int(info.Size()/2)), info.Size()/4); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
}

// putBack puts another state in the place of that of an SFU that does not run.
func (s *sfu) putBack(t *testing.T, from vfs.FS) {
	t.Helper()
	if err := s.fs.RemoveAll("store"); err != nil {
		t.Fatal(err)
	}
	if ok, err := vfs.Clone(from, s.fs, "store", "store"); err != nil || !ok {
		t.Fatal(ok, err)
	}
}

// TestDamagedState: a member whose state cannot be opened, or is older than its log goes
// with, keeps its seat: it takes the state of another, loses no promise, and what was
// damaged lies aside.
func TestDamagedState(t *testing.T) {
	for _, test := range []struct {
		name string
		hurt func(t *testing.T, s *sfu, old vfs.FS)
	}{
		{"manifest rotten", func(t *testing.T, s *sfu, _ vfs.FS) { s.scribble(t, s.stateFile(t, "MANIFEST")) }},
		{"manifest gone", func(t *testing.T, s *sfu, _ vfs.FS) {
			if err := s.fs.Remove(s.stateFile(t, "MANIFEST")); err != nil {
				t.Fatal(err)
			}
		}},
		{"rows gone", func(t *testing.T, s *sfu, _ vfs.FS) {
			if err := s.fs.Remove(s.stateFile(t, ".sst")); err != nil {
				t.Fatal(err)
			}
		}},
		{"directory gone", func(t *testing.T, s *sfu, _ vfs.FS) {
			if err := s.fs.RemoveAll(s.rowsDir(t)); err != nil {
				t.Fatal(err)
			}
		}},
		{"an older state", func(t *testing.T, s *sfu, old vfs.FS) { s.putBack(t, old) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newCluster(t)
			mustCommit(t, c.submit(c.leader(), opening()))
			hurt := c.sfus[1]
			c.flushed(hurt)
			c.stop(hurt)
			old := vfs.NewMem()
			if ok, err := vfs.Clone(hurt.fs, old, "store", "store"); err != nil || !ok {
				t.Fatal(ok, err)
			}
			segments, err := hurt.fs.List("journal")
			if err != nil {
				t.Fatal(err)
			}
			c.start(hurt)
			c.eventually("its log begins behind the older state", func() bool {
				mustCommit(t, c.submit(c.leader(), transferOf(1)))
				now, err := hurt.fs.List("journal")
				return err == nil && !slices.ContainsFunc(now, func(name string) bool {
					return strings.HasSuffix(name, ".seg") && slices.Contains(segments, name)
				})
			})
			c.stop(hurt)
			test.hurt(t, hurt, old)
			c.start(hurt)
			if why := c.raised(hurt, "state-damaged"); why == "" {
				t.Fatal("the alarm says nothing")
			}
			mustCommit(t, c.submit(c.leader(), transferOf(1)))
			c.eventually("the SFU takes part again", func() bool { st := c.status(hurt); return st != nil && st.Role == "follower" })
			if slices.ContainsFunc(hurt.engine.Alarms(), func(a engine.Alarm) bool { return a.Name == "state-damaged" }) {
				t.Error("the alarm stands on")
			}
			c.stop(c.sfus[2]) // its vote counts
			mustCommit(t, c.submit(c.leader(), transferOf(1)))
			c.start(c.sfus[2])
			c.agree()
			for _, s := range c.sfus {
				c.stop(s)
			}
			if a := hurt.digest(t); a != c.sfus[0].digest(t) || a != c.sfus[2].digest(t) {
				t.Error("the states differ")
			}
			names, err := hurt.fs.List("store")
			if err != nil {
				t.Fatal(err)
			}
			aside := slices.ContainsFunc(names, func(n string) bool { return strings.HasPrefix(n, store.DamagedPrefix+"rows-") })
			if !aside {
				t.Errorf("the store holds %q", names)
			}
			c.saw.Proves(t)
		})
	}
}

// TestDamagedStates: where nobody has the state that is damaged nothing is decided, and
// nothing is thrown away: whole again, it is there again.
func TestDamagedStates(t *testing.T) {
	c := newCluster(t)
	mustCommit(t, c.submit(c.leader(), opening()))
	for _, s := range c.sfus {
		c.flushed(s)
	}
	var whole []*vfs.MemFS
	var damaged []string
	for _, s := range c.sfus {
		c.stop(s)
		mem := vfs.NewMem()
		if ok, err := vfs.Clone(s.fs, mem, "store", "store"); err != nil || !ok {
			t.Fatal(ok, err)
		}
		whole = append(whole, mem)
		damaged = append(damaged, s.rowsDir(t))
		if err := s.fs.Remove(s.stateFile(t, "MANIFEST")); err != nil {
			t.Fatal(err)
		}
	}
	for _, s := range c.sfus {
		c.start(s)
	}
	for _, s := range c.sfus {
		if why := c.raised(s, "state-damaged"); why == "" {
			t.Errorf("SFU %d raises no alarm", s.number)
		}
		c.role(s, "damaged")
	}
	for i, s := range c.sfus {
		c.stop(s)
		if at := s.rowsDir(t); at != damaged[i] {
			t.Errorf("SFU %d has its state in %s, it was in %s", s.number, at, damaged[i])
		}
		s.putBack(t, whole[i])
		c.start(s)
	}
	mustCommit(t, c.submit(c.leader(), transferOf(1)))
	c.agree()
}

// TestDamagedStateAlone: an SFU that nobody can help does not start, and says why.
func TestDamagedStateAlone(t *testing.T) {
	c := newClusterOf(t, 1, func(_ uint16, fs *vfs.MemFS) vfs.FS { return fs })
	s := c.leader()
	mustCommit(t, c.submit(s, opening()))
	c.flushed(s)
	c.stop(s)
	if err := s.fs.Remove(s.stateFile(t, "MANIFEST")); err != nil {
		t.Fatal(err)
	}
	c.start(s)
	err := <-s.done
	s.cancel = nil
	if err == nil || !strings.Contains(err.Error(), "no other SFU has it; restore a backup with `rrts restore`") {
		t.Error(err)
	}
}
