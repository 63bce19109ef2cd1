package sealfs

import (
	crand "crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// quiet drops Pebble's log and turns its fatal errors into panics.
type quiet struct{}

func (quiet) Infof(string, ...any)           {}
func (quiet) Errorf(string, ...any)          {}
func (quiet) Fatalf(format string, a ...any) { panic(fmt.Sprintf(format, a...)) }

func openDB(fs vfs.FS, readOnly bool) (*pebble.DB, error) {
	opts := &pebble.Options{
		FS: fs, ReadOnly: readOnly, DisableWAL: true, Logger: quiet{}, FormatMajorVersion: pebble.FormatNewest,
		MemTableSize: 64 << 10, L0CompactionThreshold: 2, LBaseMaxBytes: 128 << 10,
		MaxManifestFileSize: 2 << 10, BytesPerSync: 16 << 10,
	}
	opts.TargetFileSizes[0] = 32 << 10
	return pebble.Open("/db", opts)
}

var indexKey = []byte("\x00index")

// history is what was written: batch i, when all up to it are applied, gives the
// state that replaying them gives.
type history []map[string]string

func (h *history) write(t testing.TB, db *pebble.DB, rng *rand.Rand) {
	t.Helper()
	b, changes := db.NewBatch(), make(map[string]string)
	for range 1 + rng.IntN(20) {
		key := fmt.Sprintf("key %05d", rng.IntN(2000))
		if rng.IntN(5) == 0 {
			changes[key] = ""
			check(t, b.Delete([]byte(key), nil))
			continue
		}
		changes[key] = fmt.Sprintf("%d %s", len(*h), noise(rng, rng.IntN(400)))
		check(t, b.Set([]byte(key), []byte(changes[key]), nil))
	}
	*h = append(*h, changes)
	check(t, b.Set(indexKey, binary.BigEndian.AppendUint64(nil, uint64(len(*h))), nil))
	check(t, b.Commit(pebble.NoSync))
}

func (h history) at(n int) map[string]string {
	state := make(map[string]string)
	for _, changes := range h[:n] {
		for k, v := range changes {
			if state[k] = v; v == "" {
				delete(state, k)
			}
		}
	}
	return state
}

// verify wants the database to hold exactly the first batches, and says how many.
func (h history) verify(t testing.TB, db *pebble.DB) int {
	t.Helper()
	n := 0
	v, closer, err := db.Get(indexKey)
	if err == nil {
		n = int(binary.BigEndian.Uint64(v))
		check(t, closer.Close())
	} else if !errors.Is(err, pebble.ErrNotFound) {
		t.Fatal(err)
	}
	want := h.at(n)
	iter, err := db.NewIter(&pebble.IterOptions{LowerBound: []byte("key")})
	check(t, err)
	found := 0
	for ok := iter.First(); ok; ok = iter.Next() {
		if string(iter.Value()) != want[string(iter.Key())] {
			t.Fatalf("batch %d: %s holds another value", n, iter.Key())
		}
		found++
	}
	check(t, errors.Join(iter.Error(), iter.Close()))
	if found != len(want) {
		t.Fatalf("batch %d: %d keys, want %d", n, found, len(want))
	}
	return n
}

// TestPebbleCrashes runs Pebble without its log on sealed files through crashes, and
// wants what a Flush made durable, and always a state that was.
func TestPebbleCrashes(t *testing.T) {
	seeds := uint64(25)
	if testing.Short() {
		seeds = 5
	}
	for seed := range seeds {
		rng := rand.New(rand.NewPCG(seed, 13))
		mem := vfs.NewCrashableMem()
		ring := testRing(t)
		var h history
		for range 4 {
			fs := New(mem, ring, crand.Reader)
			db, err := openDB(fs, false)
			if err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
			h = h[:h.verify(t, db)]
			flushed := len(h)
			var crashed *vfs.MemFS
			for range 20 + rng.IntN(200) {
				switch r := rng.IntN(100); {
				case r < 90:
					h.write(t, db, rng)
				case r < 96:
					check(t, db.Flush())
					flushed = len(h)
				case r < 98:
					check(t, db.Compact(t.Context(), []byte("key"), []byte("kez"), false))
				default:
					dir := fmt.Sprintf("/checkpoint-%d-%d", seed, rng.Uint32())
					check(t, db.Flush())
					flushed = len(h)
					check(t, db.Checkpoint(dir))
					h.verifyCheckpoint(t, fs, dir, flushed)
				}
			}
			crashed = mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 50, 100}[rng.IntN(3)], RNG: rng})
			check(t, db.Close())
			mem = crashed
			db, err = openDB(New(mem, ring, crand.Reader), false)
			if err != nil {
				t.Fatalf("seed %d: open after the crash: %v", seed, err)
			}
			if n := h.verify(t, db); n < flushed {
				t.Fatalf("seed %d: %d batches after the crash, %d were flushed", seed, n, flushed)
			}
			check(t, db.Close())
		}
	}
}

func (h history) verifyCheckpoint(t testing.TB, fs vfs.FS, dir string, want int) {
	t.Helper()
	db, err := pebble.Open(dir, &pebble.Options{FS: fs, ReadOnly: true, Logger: quiet{}, FormatMajorVersion: pebble.FormatNewest})
	check(t, err)
	if n := h.verify(t, db); n != want {
		t.Fatalf("the checkpoint holds %d batches, want %d", n, want)
	}
	check(t, db.Close())
	check(t, fs.RemoveAll(dir))
}

// TestPebbleRot flips bytes of the tables, and wants every read to give the right
// value or ErrCorrupt. A table of a single page reads as empty then, and Pebble refuses to open.
func TestPebbleRot(t *testing.T) {
	d := newDisk(1)
	fs := New(d, testRing(t), crand.Reader)
	db, err := openDB(fs, false)
	check(t, err)
	rng := rand.New(rand.NewPCG(1, 14))
	var h history
	for range 200 {
		h.write(t, db, rng)
	}
	check(t, db.Flush())
	check(t, db.Close())
	want := h.at(len(h))
	names, err := d.List("/db")
	check(t, err)
	bad, good := 0, 0
	for _, name := range names {
		if !strings.HasSuffix(name, ".sst") {
			continue
		}
		info, err := d.Stat("/db/" + name)
		check(t, err)
		off := dataStart + rng.Int64N(info.Size()-dataStart)
		check(t, d.FlipBit("/db/"+name, off, 2))
		if db, err = openDB(fs, true); err != nil {
			bad++
		} else {
			for key, value := range want {
				v, closer, err := db.Get([]byte(key))
				switch {
				case err == nil && string(v) == value:
					good++
					check(t, closer.Close())
				case errors.Is(err, ErrCorrupt):
					bad++
				default:
					t.Fatalf("%s, %s: %v", name, key, err)
				}
			}
			check(t, db.Close())
		}
		check(t, d.FlipBit("/db/"+name, off, 2))
	}
	if bad == 0 || good == 0 {
		t.Errorf("%d reads failed, %d gave the right value: one of them never came", bad, good)
	}
}

// TestPebbleFilesAreSealed looks for keys and values in Pebble's directory.
func TestPebbleFilesAreSealed(t *testing.T) {
	mem := vfs.NewMem()
	fs := New(mem, testRing(t), crand.Reader)
	db, err := openDB(fs, false)
	check(t, err)
	for i := range 3000 {
		check(t, db.Set([]byte(fmt.Sprintf("account %d", i)), []byte("balance balance"), pebble.NoSync))
	}
	check(t, db.Flush())
	check(t, db.Compact(t.Context(), []byte("a"), []byte("b"), false))
	check(t, db.Close())
	names, err := mem.List("/db")
	check(t, err)
	kinds := make(map[string]bool)
	for _, name := range names {
		f, err := mem.Open("/db/" + name)
		check(t, err)
		b, err := io.ReadAll(f)
		check(t, err)
		check(t, f.Close())
		for _, secret := range []string{"account", "balance", "leveldb.BytewiseComparator", "[Options]"} {
			if strings.Contains(string(b), secret) {
				t.Errorf("%s holds %q in clear", name, secret)
			}
		}
		kinds[strings.TrimLeft(strings.SplitN(name, "-", 2)[0], "0123456789")] = true
	}
	for _, kind := range []string{".sst", "MANIFEST", "OPTIONS"} {
		if !kinds[kind] {
			t.Errorf("no %s among %v", kind, names)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	for _, c := range []struct {
		name string
		fs   vfs.FS
	}{{"plain", vfs.Default}, {"sealed", New(vfs.Default, testRing(b), crand.Reader)}} {
		for _, size := range []int{4 << 10, 32 << 10} {
			b.Run(fmt.Sprintf("%s/%d", c.name, size), func(b *testing.B) {
				name := b.TempDir() + "/f"
				put(b, c.fs, name, make([]byte, 16<<20))
				f, err := c.fs.Open(name)
				check(b, err)
				defer f.Close()
				buf := make([]byte, size)
				b.SetBytes(int64(size))
				off := int64(0)
				for b.Loop() {
					if _, err := f.ReadAt(buf, off); err != nil {
						b.Fatal(err)
					}
					off = (off + 123457) % (15 << 20)
				}
			})
		}
	}
}

func BenchmarkWrite(b *testing.B) {
	for _, c := range []struct {
		name string
		fs   vfs.FS
	}{{"plain", vfs.NewMem()}, {"sealed", New(vfs.NewMem(), testRing(b), crand.Reader)}} {
		b.Run(c.name, func(b *testing.B) {
			const size = 8 << 20
			buf := make([]byte, 32<<10)
			b.SetBytes(size)
			for b.Loop() {
				f, err := c.fs.Create("/f", vfs.WriteCategoryUnspecified)
				check(b, err)
				for n := 0; n < size; n += len(buf) {
					if _, err := f.Write(buf); err != nil {
						b.Fatal(err)
					}
				}
				check(b, f.Sync())
				check(b, f.Close())
			}
		})
	}
}

// BenchmarkPebble loads and reads a database on a real disk.
func BenchmarkPebble(b *testing.B) {
	for _, c := range []struct {
		name string
		fs   vfs.FS
	}{{"plain", vfs.Default}, {"sealed", New(vfs.Default, testRing(b), crand.Reader)}} {
		b.Run(c.name+"/load", func(b *testing.B) {
			for b.Loop() {
				db, err := pebble.Open(b.TempDir(), &pebble.Options{FS: c.fs, DisableWAL: true, Logger: quiet{}})
				check(b, err)
				load(b, db)
				check(b, db.Close())
			}
		})
		b.Run(c.name+"/get", func(b *testing.B) {
			cache := pebble.NewCache(1 << 20) // far below the data: reads come to the files
			defer cache.Unref()
			db, err := pebble.Open(b.TempDir(), &pebble.Options{FS: c.fs, DisableWAL: true, Logger: quiet{}, Cache: cache})
			check(b, err)
			load(b, db)
			rng := rand.New(rand.NewPCG(1, 1))
			for b.Loop() {
				_, closer, err := db.Get(fmt.Appendf(nil, "key %08d", rng.IntN(loadKeys)))
				check(b, err)
				check(b, closer.Close())
			}
			check(b, db.Close())
		})
	}
}

const loadKeys = 200_000

func load(b *testing.B, db *pebble.DB) {
	rng := rand.New(rand.NewPCG(1, 1))
	value := noise(rng, 200)
	batch := db.NewBatch()
	for i := range loadKeys {
		check(b, batch.Set(fmt.Appendf(nil, "key %08d", i), value, nil))
		if i%500 == 499 {
			check(b, batch.Commit(pebble.NoSync))
			batch = db.NewBatch()
		}
	}
	check(b, db.Flush())
}
