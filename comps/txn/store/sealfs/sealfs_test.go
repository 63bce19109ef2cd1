package sealfs

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/sim/disk"
)

// detRand is a deterministic source of keys and salts.
type detRand struct{ *rand.Rand }

func (r detRand) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return len(p), nil
}

func newRand(seed uint64) detRand { return detRand{rand.New(rand.NewPCG(seed, 21))} }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func testRing(t testing.TB) *keyring.Live {
	t.Helper()
	ring, err := keyring.New(newRand(2))
	check(t, err)
	live := new(keyring.Live)
	live.Set(ring)
	return live
}

func newFS(t testing.TB, inner vfs.FS) *FS { return New(inner, testRing(t), newRand(3)) }

func newDisk(seed uint64) *disk.Disk {
	return disk.New(disk.Config{RNG: rand.New(rand.NewPCG(seed, 4))})
}

// put writes a file of the chunks, with a sync after each.
func put(t testing.TB, fs vfs.FS, name string, chunks ...[]byte) {
	t.Helper()
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	check(t, err)
	for _, c := range chunks {
		_, err := f.Write(bytes.Clone(c))
		check(t, err)
		check(t, f.Sync())
	}
	check(t, f.Close())
}

func get(fs vfs.FS, name string) ([]byte, error) {
	f, err := fs.Open(name)
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(f)
	return b, errors.Join(err, f.Close())
}

// noise is n bytes of no pattern.
func noise(rng *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return b
}

// TestRot flips each byte in turn of files of all shapes, and wants the right
// bytes or ErrCorrupt.
func TestRot(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 7))
	for name, chunks := range map[string][][]byte{
		"small":  {noise(rng, 100)},
		"full":   {noise(rng, pageData)},
		"table":  {noise(rng, 3*pageData+5)},
		"synced": {noise(rng, 10), noise(rng, pageData), noise(rng, 1)},
	} {
		d := newDisk(1)
		fs := newFS(t, d)
		put(t, fs, "/f", chunks...)
		want := bytes.Join(chunks, nil)
		whole := readInner(t, d, "/f")
		bad := 0
		for off := 0; off < len(whole); off += 1 + rng.IntN(13) {
			check(t, d.FlipBit("/f", int64(off), uint(off)))
			got, err := get(fs, "/f")
			if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("%s, byte %d: %v", name, off, err)
			}
			if err != nil {
				bad++
			} else if !bytes.Equal(got, want) && !isTail(name, got, want, off) {
				t.Fatalf("%s, byte %d: wrong bytes and no error", name, off)
			}
			if off < dataStart && err != nil {
				t.Fatalf("%s, byte %d of a header: %v, though there are two", name, off, err)
			}
			check(t, d.FlipBit("/f", int64(off), uint(off)))
		}
		if bad == 0 && name != "small" && name != "full" {
			t.Errorf("%s: no change was noticed", name)
		}
	}
}

// isTail reports whether got is what was synced before the last page, which a
// file's reader cannot tell from a torn one: the content up to the former sync.
func isTail(name string, got, want []byte, off int) bool {
	switch name {
	case "small", "full": // a single page: as if never synced
		return len(got) == 0 && off >= dataStart
	case "synced": // the last sync's page
		return bytes.Equal(got, want[:len(want)-1]) && off >= dataStart+2*pageBytes
	}
	return false
}

func readInner(t *testing.T, fs vfs.FS, name string) []byte {
	t.Helper()
	b, err := get(fs, name)
	check(t, err)
	return b
}

// TestCut cuts a table at each block and around it.
func TestCut(t *testing.T) {
	d := newDisk(1)
	fs := newFS(t, d)
	put(t, fs, "/f", noise(rand.New(rand.NewPCG(1, 8)), 20*pageData))
	size := int64(len(readInner(t, d, "/f")))
	for size > dataStart+2*pageBytes {
		size -= []int64{1, 4095, 2000, 2096}[size%4]
		check(t, d.Truncate("/f", size))
		if _, err := get(fs, "/f"); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut to %d bytes: %v", size, err)
		}
	}
}

// TestPagesKeepTheirPlace moves pages within a file and between files.
func TestPagesKeepTheirPlace(t *testing.T) {
	d := newDisk(1)
	fs := newFS(t, d)
	rng := rand.New(rand.NewPCG(1, 9))
	put(t, fs, "/a", noise(rng, 5*pageData))
	put(t, fs, "/b", noise(rng, 5*pageData))
	a, b := readInner(t, d, "/a"), readInner(t, d, "/b")
	for name, from := range map[string][]byte{
		"another page": a[dataStart+pageBytes:][:pageBytes],
		"another file": b[dataStart+2*pageBytes:][:pageBytes],
	} {
		f, err := d.OpenReadWrite("/a", vfs.WriteCategoryUnspecified)
		check(t, err)
		_, err = f.WriteAt(from, dataStart+2*pageBytes)
		check(t, err)
		check(t, f.Close())
		if _, err := get(fs, "/a"); !errors.Is(err, ErrCorrupt) {
			t.Errorf("page 2 of %s: %v", name, err)
		}
	}
}

func TestNothingInClear(t *testing.T) {
	d := newDisk(1)
	ring := testRing(t)
	fs := New(d, ring, newRand(3))
	secret := strings.Repeat("secret ", 1000)
	put(t, fs, "/f", []byte(secret), []byte(secret))
	put(t, fs, "/g", []byte(secret), []byte(secret))
	f, g := readInner(t, d, "/f"), readInner(t, d, "/g")
	_, key := ring.Current()
	if bytes.Contains(f, []byte("secret")) || bytes.Contains(f, key[:8]) {
		t.Error("the file holds content or key in clear")
	}
	if bytes.Equal(f[dataStart+pageClear:][:64], g[dataStart+pageClear:][:64]) {
		t.Error("two files of the same content look alike")
	}
	put(t, fs, "/zero", make([]byte, 2*pageData))
	z := readInner(t, d, "/zero")
	if bytes.Equal(z[dataStart+pageClear:][:64], z[dataStart+pageBytes+pageClear:][:64]) {
		t.Error("two pages of the same content look alike")
	}
}

func TestWriteOnce(t *testing.T) {
	fs := newFS(t, vfs.NewMem())
	put(t, fs, "/f", []byte("one"))
	if _, err := fs.OpenReadWrite("/f", vfs.WriteCategoryUnspecified); !errors.Is(err, ErrWriteOnce) {
		t.Errorf("OpenReadWrite of a file that exists: %v", err)
	}
	w, err := fs.OpenReadWrite("/g", vfs.WriteCategoryUnspecified)
	check(t, err)
	if _, err := w.WriteAt([]byte("x"), 0); !errors.Is(err, ErrWriteOnce) {
		t.Errorf("WriteAt: %v", err)
	}
	check(t, w.Close())
	r, err := fs.Open("/f")
	check(t, err)
	if _, err := r.Write([]byte("x")); !errors.Is(err, ErrWriteOnce) {
		t.Errorf("Write to an opened file: %v", err)
	}
	check(t, r.Close())
	w, err = fs.ReuseForWrite("/f", "/h", vfs.WriteCategoryUnspecified)
	check(t, err)
	check(t, w.Close())
	if got, err := get(fs, "/h"); err != nil || len(got) != 0 {
		t.Errorf("a reused file holds %q, %v", got, err)
	}
}

// TestFailedWrite wants a file whose write failed to stay failed.
func TestFailedWrite(t *testing.T) {
	d := newDisk(1)
	fs := newFS(t, d)
	f, err := fs.Create("/f", vfs.WriteCategoryUnspecified)
	check(t, err)
	boom := errors.New("boom")
	d.Before(func(op disk.Op) error {
		if op.Kind == disk.OpWrite {
			return boom
		}
		return nil
	})
	if _, err := f.Write(make([]byte, 20*pageData)); !errors.Is(err, boom) {
		t.Fatalf("%v", err)
	}
	d.Before(nil)
	if _, err := f.Write([]byte("x")); !errors.Is(err, boom) {
		t.Errorf("write after it: %v", err)
	}
	if err := f.Sync(); !errors.Is(err, boom) {
		t.Errorf("sync after it: %v", err)
	}
	if err := f.Close(); !errors.Is(err, boom) {
		t.Errorf("close after it: %v", err)
	}
}

func TestKeys(t *testing.T) {
	d := newDisk(1)
	live := testRing(t)
	fs := New(d, live, newRand(3))
	first := live.Ring()
	put(t, fs, "/a", []byte("under key 1"))
	put(t, fs, "/b", []byte("also"))
	check(t, d.MkdirAll("/sub", 0o700))
	lock, err := fs.Lock("/LOCK")
	check(t, err)
	defer lock.Close()
	open, err := fs.Create("/c", vfs.WriteCategoryUnspecified)
	check(t, err)
	second, err := first.Rotate(newRand(8))
	check(t, err)
	live.Set(second)
	put(t, fs, "/d", []byte("under key 2"))

	live.Set(first)
	if _, err := get(fs, "/d"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("open without key 2: %v", err)
	}
	other, err := keyring.New(newRand(99))
	check(t, err)
	live.Set(other)
	if _, err := get(fs, "/a"); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("open with another key 1: %v", err)
	}

	live.Set(second)
	if n, err := fs.Rewrap("/"); err != nil || n != 3 {
		t.Fatalf("rewrapped %d files, %v; want 3", n, err)
	}
	if n, err := fs.Rewrap("/"); err != nil || n != 0 {
		t.Fatalf("the second time %d files, %v", n, err)
	}
	live.Set(second.Without(1))
	_, err = open.Write([]byte("written on"))
	check(t, errors.Join(err, open.Close()))
	for name, want := range map[string]string{"/a": "under key 1", "/b": "also", "/c": "written on", "/d": "under key 2"} {
		if got, err := get(fs, name); err != nil || string(got) != want {
			t.Errorf("%s after the rotation: %q, %v", name, got, err)
		}
	}
}

func TestAllocations(t *testing.T) {
	fs := newFS(t, vfs.NewMem())
	put(t, fs, "/f", make([]byte, 100*pageData))
	r, err := fs.Open("/f")
	check(t, err)
	buf := make([]byte, 32<<10)
	off := int64(0)
	if n := testing.AllocsPerRun(200, func() {
		if _, err := r.ReadAt(buf, off); err != nil {
			t.Fatal(err)
		}
		off = (off + 4321) % (60 * pageData)
	}); n != 0 {
		t.Errorf("a read: %v allocations", n)
	}
}

func FuzzHeader(f *testing.F) {
	fs := New(vfs.NewMem(), testRing(f), newRand(3))
	b, err := fs.wrap(make([]byte, 32))
	check(f, err)
	f.Add(b[:headerCheck+4])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		if _, key, err := fs.unwrap(b); err == nil && len(key) != 32 {
			t.Fatalf("a key of %d bytes", len(key))
		} else if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrUnknownKey) {
			t.Fatal(err)
		}
	})
}
