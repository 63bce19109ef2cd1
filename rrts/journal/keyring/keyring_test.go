package keyring

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/sim/disk"
)

var master = []byte("a master secret of thirty-two by")

// detRand is a deterministic source.
type detRand struct{ *rand.Rand }

func (r detRand) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return len(p), nil
}

func newRand(seed uint64) detRand { return detRand{rand.New(rand.NewPCG(seed, 1))} }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func ring(t testing.TB, keys int) *Ring {
	t.Helper()
	r, err := New(newRand(1))
	check(t, err)
	for range keys - 1 {
		r, err = r.Rotate(newRand(uint64(len(r.keys) + 1)))
		check(t, err)
	}
	return r
}

func same(a, b *Ring) bool { return fmt.Sprint(a.current, a.keys) == fmt.Sprint(b.current, b.keys) }

func TestRotation(t *testing.T) {
	r := ring(t, 3)
	if got := fmt.Sprint(r.IDs()); got != "[1 2 3]" {
		t.Fatalf("ids %s", got)
	}
	id, key := r.Current()
	if k, ok := r.Key(3); id != 3 || !ok || k != key || key == [32]byte{} {
		t.Errorf("current is %d, its key is found: %v", id, ok)
	}
	if a, _ := r.Key(1); a == key {
		t.Error("two keys are equal")
	}
	less := r.Without(1, 3, 77)
	if got := fmt.Sprint(less.IDs()); got != "[2 3]" {
		t.Errorf("without 1 and 3 there are %s: the current one must stay", got)
	}
	if _, ok := less.Key(1); ok {
		t.Error("a removed key is found")
	}
	if len(r.IDs()) != 3 {
		t.Error("Without changed its receiver")
	}
	next, err := less.Without(2).Rotate(newRand(9))
	check(t, err)
	if id, _ := next.Current(); id != 4 {
		t.Errorf("the id after 3 is %d", id)
	}
	if _, err := r.Rotate(strings.NewReader("short")); err == nil {
		t.Error("a key was made of 5 random bytes")
	}
	full := ring(t, MaxKeys)
	if _, err := full.Rotate(newRand(1)); err == nil {
		t.Error("a full ring took one key more")
	}
	sealed, err := full.Seal(master, newRand(1))
	check(t, err)
	if back, err := Open(master, sealed); err != nil || !same(back, full) {
		t.Errorf("a full ring does not come back: %v", err)
	}
}

func TestSealOpen(t *testing.T) {
	r := ring(t, 3)
	sealed, err := r.Seal(master, newRand(7))
	check(t, err)
	back, err := Open(master, sealed)
	check(t, err)
	if !same(back, r) {
		t.Errorf("%v comes back as %v", r, back)
	}
	again, err := r.Seal(master, newRand(8))
	check(t, err)
	if bytes.Equal(sealed[16:], again[16:]) {
		t.Error("two seals are equal")
	}
	for _, e := range r.keys {
		if bytes.Contains(sealed, e.key[:8]) {
			t.Errorf("key %d stands in clear", e.id)
		}
	}
	if _, err := Open([]byte("another secret of 32 bytes......"), sealed); !errors.Is(err, ErrSealed) {
		t.Errorf("another secret: %v", err)
	}
	for i := range sealed {
		bad := bytes.Clone(sealed)
		bad[i] ^= 4
		if _, err := Open(master, bad); !errors.Is(err, ErrSealed) {
			t.Fatalf("byte %d changed: %v", i, err)
		}
	}
	for n := range sealed {
		if _, err := Open(master, sealed[:n]); !errors.Is(err, ErrSealed) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := r.Seal([]byte("short"), newRand(1)); err == nil {
		t.Error("a master secret of 5 bytes was taken")
	}
}

// TestNoKeyInText prints a ring in every way.
func TestNoKeyInText(t *testing.T) {
	r := ring(t, 2)
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		text := fmt.Sprintf(verb, r)
		for _, e := range r.keys {
			if strings.Contains(text, fmt.Sprintf("%x", e.key[:4])) || strings.Contains(text, fmt.Sprint(e.key[:4])[1:8]) {
				t.Errorf("%s shows key %d: %s", verb, e.id, text)
			}
		}
	}
}

func TestLoadSave(t *testing.T) {
	for name, files := range map[string]vfs.FS{"mem": vfs.NewMem(), "os": vfs.Default} {
		t.Run(name, func(t *testing.T) {
			path := files.PathJoin(t.TempDir(), "node.keys")
			check(t, files.MkdirAll(files.PathDir(path), 0o700))
			if _, err := Load(files, path, master); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("load of nothing: %v", err)
			}
			for n := 1; n < 4; n++ {
				check(t, Save(files, path, ring(t, n), master, newRand(1)))
				r, err := Load(files, path, master)
				check(t, err)
				if !same(r, ring(t, n)) {
					t.Errorf("saved %v, loaded %v", ring(t, n), r)
				}
			}
			if _, err := Load(files, path, []byte("another secret of 32 bytes......")); !errors.Is(err, ErrSealed) || !strings.Contains(err.Error(), "node.keys") {
				t.Errorf("load under another secret: %v", err)
			}
		})
	}
}

// TestCopies: either copy of the file may rot, be missing or be of before a change, and
// the next load mends it; with both gone the first one is named.
func TestCopies(t *testing.T) {
	rot := func(t *testing.T, d *disk.Disk, name string) { check(t, d.FlipBit(name, 40, 3)) }
	remove := func(t *testing.T, d *disk.Disk, name string) { check(t, d.Remove(name)) }
	outdate := func(t *testing.T, d *disk.Disk, name string) {
		sealed, err := ring(t, 1).Seal(master, newRand(9))
		check(t, err)
		check(t, save(d, name, sealed))
	}
	for _, c := range []struct {
		name, file string
		spoil      func(*testing.T, *disk.Disk, string)
	}{
		{"rotten file", "/node.keys", rot}, {"rotten copy", "/node.keys.copy", rot}, {"missing file", "/node.keys", remove},
		{"missing copy", "/node.keys.copy", remove}, {"older copy", "/node.keys.copy", outdate},
	} {
		t.Run(c.name, func(t *testing.T) {
			d := disk.New(disk.Config{RNG: rand.New(rand.NewPCG(1, 1))})
			check(t, Save(d, "/node.keys", ring(t, 2), master, newRand(1)))
			c.spoil(t, d, c.file)
			for _, other := range []string{"/node.keys", "/node.keys.copy"} { // the second time the mended one alone
				r, err := Load(d, "/node.keys", master)
				check(t, err)
				if !same(r, ring(t, 2)) {
					t.Fatalf("loaded %v", r)
				}
				if other != c.file {
					check(t, d.Remove(other))
				}
			}
		})
	}
	d := disk.New(disk.Config{RNG: rand.New(rand.NewPCG(1, 1))})
	check(t, Save(d, "/node.keys", ring(t, 2), master, newRand(1)))
	rot(t, d, "/node.keys")
	rot(t, d, "/node.keys.copy")
	if _, err := Load(d, "/node.keys", master); !errors.Is(err, ErrSealed) || !strings.HasSuffix(err.Error(), "/node.keys") {
		t.Errorf("with both rotten: %v", err)
	}
}

// TestCrashInSave cuts the power at each operation of a save, and wants the old or
// the new ring whole, and the new one when Save had returned.
func TestCrashInSave(t *testing.T) {
	olds, news := 0, 0
	for seed := range uint64(300) {
		d := disk.New(disk.Config{RNG: rand.New(rand.NewPCG(seed, 1))})
		check(t, Save(d, "/keys", ring(t, 1), master, newRand(1)))
		left := int(seed % 8)
		d.Before(func(disk.Op) error {
			if left--; left < 0 {
				return disk.ErrPower
			}
			return nil
		})
		saved := Save(d, "/keys", ring(t, 2), master, newRand(2))
		d.Before(nil)
		d.Crash()
		r, err := Load(d, "/keys", master)
		check(t, err)
		switch len(r.IDs()) {
		case 1:
			if olds++; saved == nil {
				t.Fatalf("seed %d: the ring that Save had made durable is gone", seed)
			}
		case 2:
			news++
		}
	}
	if olds == 0 || news == 0 {
		t.Errorf("%d old and %d new rings: one of them never came", olds, news)
	}
}

func TestLive(t *testing.T) {
	var l Live
	l.Set(ring(t, 1))
	l.Set(ring(t, 2))
	id, key := l.Current()
	if k, ok := l.Key(2); id != 2 || !ok || k != key || l.Ring().current != 2 {
		t.Errorf("the ring in use has current key %d", id)
	}
}

func FuzzOpen(f *testing.F) {
	for n := range 3 {
		sealed, err := ring(f, n+1).Seal(master, newRand(uint64(n)))
		check(f, err)
		f.Add(sealed)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := Open(master, b)
		if err != nil {
			if !errors.Is(err, ErrSealed) {
				t.Fatal(err)
			}
			return
		}
		if _, ok := r.Key(r.current); !ok {
			t.Fatal("a ring without its current key")
		}
	})
}
