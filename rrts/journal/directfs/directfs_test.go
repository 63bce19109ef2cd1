package directfs

import (
	"bytes"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func open(t testing.TB, name string) vfs.File {
	t.Helper()
	f, err := New(vfs.Default).OpenReadWrite(name, vfs.WriteCategoryUnspecified)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

// TestMixed writes whole blocks and odd pieces in any order, and reads back what an
// ordinary file would hold, also through the cache of others.
func TestMixed(t *testing.T) {
	const size = 64 * blockBytes
	name := filepath.Join(t.TempDir(), "f")
	f := open(t, name)
	rng := rand.New(rand.NewPCG(1, 2))
	want := make([]byte, size)
	if _, err := f.WriteAt(want, 0); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, size)
	for range 400 {
		off, n := rng.IntN(size), 1+rng.IntN(5*blockBytes)
		if rng.IntN(3) > 0 { // whole blocks
			off, n = off&^(blockBytes-1), (n+blockBytes-1)&^(blockBytes-1)
		}
		n = min(n, size-off)
		p := make([]byte, n+1)[1:] // seldom aligned
		for i := range p {
			p[i] = byte(rng.Uint32())
		}
		copy(want[off:], p)
		if wrote, err := f.WriteAt(p, int64(off)); err != nil || wrote != n {
			t.Fatalf("%d bytes at %d: wrote %d, %v", n, off, wrote, err)
		}
		if rng.IntN(4) == 0 {
			if err := f.SyncData(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := f.ReadAt(got, 0); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("after %d bytes at %d: read back something else (%v)", n, off, err)
		}
	}
	if other, err := os.ReadFile(name); err != nil || !bytes.Equal(other, want) {
		t.Fatalf("another reader sees something else (%v)", err)
	}
}

// TestLarge writes more than the bounce buffer holds.
func TestLarge(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "f"))
	want := make([]byte, 3*bounceBytes+5*blockBytes)
	for i := range want {
		want[i] = byte(i >> 12 * 7)
	}
	if n, err := f.WriteAt(want, blockBytes); n != len(want) || err != nil {
		t.Fatalf("wrote %d of %d bytes, %v", n, len(want), err)
	}
	got := make([]byte, len(want))
	if _, err := f.ReadAt(got, blockBytes); err != nil || !bytes.Equal(got, want) {
		t.Fatalf("read back something else (%v)", err)
	}
}

// TestDirect looks whether whole blocks really pass the cache by, where the file
// system can do that.
func TestDirect(t *testing.T) {
	f, ok := open(t, filepath.Join(t.TempDir(), "f")).(*file)
	if !ok {
		t.Log("this file system has no direct writes: all go through the cache")
		return
	}
	if _, err := f.WriteAt(make([]byte, 2*blockBytes), 0); err != nil {
		t.Fatal(err)
	}
	if len(f.bounce) != 2*blockBytes {
		t.Errorf("%d bytes went past the cache, want %d", len(f.bounce), 2*blockBytes)
	}
}

// TestBudget: a write of a size that was there before allocates nothing.
func TestBudget(t *testing.T) {
	f := open(t, filepath.Join(t.TempDir(), "f"))
	p := make([]byte, 4*blockBytes)
	if n := testing.AllocsPerRun(20, func() {
		if _, err := f.WriteAt(p, 0); err != nil {
			t.Fatal(err)
		}
	}); n > 0 {
		t.Errorf("%v allocations a write, want none", n)
	}
}
