package sealfs

import (
	"bytes"
	"errors"
	"io/fs"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/sim/disk"
)

// TestCrashes cuts the power at any point, and wants every synced byte back, and
// behind them nothing but what was written.
func TestCrashes(t *testing.T) {
	longer, shorter := 0, 0
	for seed := range uint64(600) {
		d, rng := newDisk(seed), rand.New(rand.NewPCG(seed, 6))
		sealed := newFS(t, d)
		left := rng.IntN(40)
		d.Before(func(disk.Op) error {
			if left--; left < 0 {
				return disk.ErrPower
			}
			return nil
		})
		var written []byte
		synced := 0
		named := false
		err := func() error {
			f, err := sealed.Create("/f", vfs.WriteCategoryUnspecified)
			if err != nil {
				return err
			}
			dir, err := sealed.OpenDir("/")
			if err != nil {
				return err
			}
			if err := dir.Sync(); err != nil {
				return err
			}
			named = true
			for {
				p := noise(rng, rng.IntN([]int{50, 5000, 100000}[rng.IntN(3)]))
				written = append(written, p...)
				if _, err := f.Write(p); err != nil {
					return err
				}
				if rng.IntN(2) == 0 {
					if err := f.Sync(); err != nil {
						return err
					}
					synced = len(written)
				}
			}
		}()
		if !errors.Is(err, disk.ErrPower) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		d.Before(nil)
		d.Crash()
		got, err := get(sealed, "/f")
		if synced == 0 && (!named || err != nil) {
			continue // nothing was promised
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if len(got) < synced || !bytes.HasPrefix(written, got) {
			t.Fatalf("seed %d: %d bytes came back of %d, %d were synced, or they differ", seed, len(got), len(written), synced)
		}
		if len(got) > synced {
			longer++
		} else if len(written) > synced {
			shorter++
		}
	}
	if longer == 0 || shorter == 0 {
		t.Errorf("%d tails survived and %d were lost: one of them never came", longer, shorter)
	}
}

// TestNeverSynced crashes with a small file that was never synced, or in its
// first sync: it reads as empty or whole. So do the log files that Pebble makes and never fills.
func TestNeverSynced(t *testing.T) {
	outcomes := make(map[string]int)
	for seed := range uint64(600) {
		d := newDisk(seed)
		sealed := newFS(t, d)
		left := int(seed % 8)
		d.Before(func(op disk.Op) error {
			if left--; left < 0 {
				return disk.ErrPower
			}
			return nil
		})
		_ = func() error {
			f, err := sealed.Create("/f", vfs.WriteCategoryUnspecified)
			if err != nil {
				return err
			}
			if _, err = f.Write([]byte("content")); err != nil {
				return err
			}
			return f.Close()
		}()
		d.Before(nil)
		d.Crash()
		got, err := get(sealed, "/f")
		switch {
		case errors.Is(err, fs.ErrNotExist):
			outcomes["no file"]++
		case err != nil:
			t.Fatalf("seed %d: %v", seed, err)
		case len(got) == 0:
			outcomes["empty"]++
		case string(got) == "content":
			outcomes["whole"]++
		default:
			t.Fatalf("seed %d: %q", seed, got)
		}
	}
	if len(outcomes) != 3 {
		t.Errorf("only %v came", outcomes)
	}
}

// TestCrashInRewrap cuts the power at each operation of a rewrap.
func TestCrashInRewrap(t *testing.T) {
	for seed := range uint64(200) {
		d := newDisk(seed)
		live := testRing(t)
		sealed := New(d, live, newRand(3))
		put(t, sealed, "/a", []byte("content"))
		dir, err := sealed.OpenDir("/")
		check(t, err)
		check(t, dir.Sync())
		if seed%3 == 0 { // one copy has rotted
			check(t, d.Rot("/a", int64(seed%2)*pageBytes, 8))
		}
		next, err := live.Ring().Rotate(newRand(8))
		check(t, err)
		live.Set(next)
		left := int(seed % 10)
		d.Before(func(disk.Op) error {
			if left--; left < 0 {
				return disk.ErrPower
			}
			return nil
		})
		_, rewrapped := sealed.Rewrap("/")
		d.Before(nil)
		d.Crash()
		want := func() {
			t.Helper()
			if got, err := get(sealed, "/a"); err != nil || string(got) != "content" {
				t.Fatalf("seed %d: %q, %v", seed, got, err)
			}
		}
		if rewrapped == nil {
			live.Set(next.Without(1))
		}
		want()
		if _, err := sealed.Rewrap("/"); err != nil {
			t.Fatalf("seed %d: the second time: %v", seed, err)
		}
		live.Set(next.Without(1))
		want()
		check(t, d.Rot("/a", int64(seed%2)*pageBytes, 8)) // either copy does
		want()
	}
}
