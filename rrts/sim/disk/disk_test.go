package disk

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"slices"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func newDisk(seed uint64) *Disk { return New(Config{RNG: rand.New(rand.NewPCG(seed, 1))}) }

func must[T any](t *testing.T) func(v T, err error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func create(t *testing.T, d *Disk, name string) vfs.File {
	t.Helper()
	return must[vfs.File](t)(d.OpenReadWrite(name, vfs.WriteCategoryUnspecified))
}

func syncDir(t *testing.T, d *Disk, name string) {
	t.Helper()
	dir := must[vfs.File](t)(d.OpenDir(name))
	check(t, dir.Sync())
	check(t, dir.Close())
}

func read(t *testing.T, d *Disk, name string) []byte {
	t.Helper()
	f := must[vfs.File](t)(d.Open(name))
	defer f.Close()
	return must[[]byte](t)(io.ReadAll(f))
}

// TestCrashSectors holds each sector to the promise, over many seeds, and wants
// every allowed outcome seen.
func TestCrashSectors(t *testing.T) {
	const sectors = 24
	var kept, lost, torn, shrunk int
	for seed := range uint64(400) {
		d := newDisk(seed)
		f := create(t, d, "f")
		synced := bytes.Repeat([]byte{1}, sectors*SectorBytes)
		must[int](t)(f.WriteAt(synced, 0))
		check(t, f.Sync())
		syncDir(t, d, "/")
		// The second half and some growth are written again and not synced.
		must[int](t)(f.WriteAt(bytes.Repeat([]byte{2}, sectors*SectorBytes), sectors/2*SectorBytes))
		d.Crash()
		if _, err := f.WriteAt([]byte{9}, 0); !errors.Is(err, ErrDead) {
			t.Fatalf("seed %d: write through a dead handle: %v", seed, err)
		}
		got := read(t, d, "f")
		if len(got) < sectors*SectorBytes || len(got) > sectors*3/2*SectorBytes {
			t.Fatalf("seed %d: %d bytes", seed, len(got))
		}
		if len(got) < sectors*3/2*SectorBytes {
			shrunk++
		}
		for s := range sectors {
			sector := got[s*SectorBytes : (s+1)*SectorBytes]
			new := bytes.IndexByte(sector, 1)
			if new < 0 {
				new = SectorBytes
			}
			for i, b := range sector {
				if want := byte(2); i >= new {
					want = 1
					if b != want {
						t.Fatalf("seed %d sector %d byte %d: %d, want %d", seed, s, i, b, want)
					}
				} else if b != want {
					t.Fatalf("seed %d sector %d byte %d: %d, want %d", seed, s, i, b, want)
				}
			}
			switch {
			case s < sectors/2 && new != 0:
				t.Fatalf("seed %d: synced sector %d changed", seed, s)
			case s < sectors/2:
			case new == 0:
				lost++
			case new == SectorBytes:
				kept++
			default:
				torn++
			}
		}
	}
	if kept == 0 || lost == 0 || torn == 0 || shrunk == 0 {
		t.Errorf("kept %d, lost %d, torn %d, shrunk %d: an outcome never came", kept, lost, torn, shrunk)
	}
}

// TestOrdered: of changes in order, a later one never survives an earlier one; a file
// that was synced has its name, and what was before it stands.
func TestOrdered(t *testing.T) {
	outcomes := make(map[string]int)
	for seed := range uint64(200) {
		d := New(Config{RNG: rand.New(rand.NewPCG(seed, 1)), Ordered: true})
		check(t, d.MkdirAll("dir", 0o700))
		syncDir(t, d, "/")
		create(t, d, "dir/a")
		f := create(t, d, "dir/b")
		check(t, f.Sync())
		check(t, d.Remove("dir/a"))
		create(t, d, "dir/c")
		d.Crash()
		outcomes[fmt.Sprint(must[[]string](t)(d.List("dir")))]++
	}
	for _, want := range []string{"[a b]", "[b]", "[b c]"} {
		if outcomes[want] == 0 {
			t.Errorf("%s never came: %v", want, outcomes)
		}
	}
	if len(outcomes) != 3 {
		t.Errorf("%v", outcomes)
	}
}

func TestCrashDirectory(t *testing.T) {
	outcomes := make(map[string]int)
	for seed := range uint64(200) {
		d := newDisk(seed)
		for _, name := range []string{"a", "b"} {
			f := create(t, d, name)
			must[int](t)(f.Write([]byte(name)))
			check(t, f.Sync())
		}
		syncDir(t, d, "/")
		check(t, d.Rename("a", "c"))
		check(t, d.Remove("b"))
		create(t, d, "e")
		d.Crash()
		names := must[[]string](t)(d.List("/"))
		outcomes[fmt.Sprint(names)]++
		if slices.Contains(names, "a") == slices.Contains(names, "c") {
			t.Fatalf("seed %d: rename was not atomic: %v", seed, names)
		}
	}
	if len(outcomes) != 8 {
		t.Errorf("%d of 8 outcomes came: %v", len(outcomes), outcomes)
	}
}

// TestBefore wants the hook to hear what is done, where and how much.
func TestBefore(t *testing.T) {
	d := newDisk(1)
	var heard []string
	d.Before(func(op Op) error {
		heard = append(heard, fmt.Sprint(op.Kind, " ", op.Name, " ", op.Offset, " ", op.Bytes))
		return nil
	})
	f := create(t, d, "f")
	must[int](t)(f.WriteAt(make([]byte, 600), 100))
	check(t, f.Sync())
	must[int](t)(f.ReadAt(make([]byte, 10), 5))
	check(t, d.Rename("f", "g"))
	check(t, d.Remove("g"))
	syncDir(t, d, "/")
	want := []string{"open f 0 0", "write f 100 600", "sync f 0 1024", "read f 5 10", "rename g 0 0", "remove g 0 0", "open / 0 0", "syncdir / 0 0"}
	if !slices.Equal(heard, want) {
		t.Errorf("heard %q, want %q", heard, want)
	}
}

func TestKillKeepsEverything(t *testing.T) {
	d := newDisk(1)
	f := create(t, d, "f")
	must[int](t)(f.Write([]byte("unsynced")))
	must[io.Closer](t)(d.Lock("LOCK"))
	if _, err := d.Lock("LOCK"); !errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("second lock: %v", err)
	}
	d.Kill()
	if got := read(t, d, "f"); string(got) != "unsynced" {
		t.Errorf("after the kill: %q", got)
	}
	must[io.Closer](t)(d.Lock("LOCK"))
}

// TestFailedSync wants a sync that failed to lose its pages for good, though a
// later one succeeds.
func TestFailedSync(t *testing.T) {
	var fail error
	d := newDisk(1)
	d.Before(func(op Op) error {
		if op.Kind == OpSync {
			return fail
		}
		return nil
	})
	f := create(t, d, "f")
	must[int](t)(f.WriteAt(bytes.Repeat([]byte{1}, 2*SectorBytes), 0))
	check(t, f.Sync())
	syncDir(t, d, "/")
	must[int](t)(f.WriteAt(bytes.Repeat([]byte{2}, SectorBytes), 0))
	fail = syscall.EIO
	if err := f.Sync(); !errors.Is(err, syscall.EIO) {
		t.Fatalf("sync: %v", err)
	}
	fail = nil
	must[int](t)(f.WriteAt(bytes.Repeat([]byte{3}, SectorBytes), SectorBytes))
	check(t, f.Sync())
	d.Crash()
	want := append(bytes.Repeat([]byte{1}, SectorBytes), bytes.Repeat([]byte{3}, SectorBytes)...)
	if got := read(t, d, "f"); !bytes.Equal(got, want) {
		t.Errorf("the failed sync's sector reads %d, the later one's %d; want 1 and 3", got[0], got[SectorBytes])
	}
}

// TestPowerInSync wants a sync that the power cut to have done its work in part.
func TestPowerInSync(t *testing.T) {
	kept, lost := 0, 0
	for seed := range uint64(50) {
		d := newDisk(seed)
		f := create(t, d, "f")
		must[int](t)(f.WriteAt(make([]byte, SectorBytes), 0))
		check(t, f.Sync())
		syncDir(t, d, "/")
		must[int](t)(f.WriteAt(bytes.Repeat([]byte{2}, SectorBytes), 0))
		d.Before(func(Op) error { return ErrPower })
		if err := f.Sync(); !errors.Is(err, ErrPower) {
			t.Fatal(err)
		}
		if n, err := f.WriteAt([]byte{3}, 0); n != 0 || !errors.Is(err, ErrPower) {
			t.Fatalf("a write without power: %d, %v", n, err)
		}
		d.Before(nil)
		d.Crash()
		switch read(t, d, "f")[0] {
		case 0:
			lost++
		case 2:
			kept++
		}
	}
	if kept == 0 || lost == 0 {
		t.Errorf("%d kept, %d lost: one of them never came", kept, lost)
	}
}

func TestFullDisk(t *testing.T) {
	d := New(Config{RNG: rand.New(rand.NewPCG(1, 1)), CapacityBytes: 1000})
	f := create(t, d, "f")
	n, err := f.Write(make([]byte, 1500))
	if n != 1000 || !vfs.IsNoSpaceError(err) {
		t.Fatalf("write of 1500 bytes into 1000: %d, %v", n, err)
	}
	must[int](t)(f.WriteAt(make([]byte, 1000), 0)) // what is there may be overwritten
	use := must[vfs.DiskUsage](t)(d.GetDiskUsage("/"))
	if use.AvailBytes != 0 || use.UsedBytes != 1000 {
		t.Errorf("usage %+v", use)
	}
	check(t, d.Remove("f"))
	if d.Used() != 1000 {
		t.Errorf("an open file without a name holds %d bytes, want 1000", d.Used())
	}
	check(t, f.Close())
	if d.Used() != 0 {
		t.Errorf("after the last close %d bytes are used", d.Used())
	}
}

func TestRot(t *testing.T) {
	d := newDisk(1)
	f := create(t, d, "f")
	must[int](t)(f.WriteAt(make([]byte, 4*SectorBytes), 0))
	check(t, f.Sync())
	syncDir(t, d, "/")
	check(t, d.FlipBit("f", 3, 1))
	check(t, d.Rot("f", SectorBytes, 100))
	check(t, d.Unreadable("f", 3*SectorBytes+7))
	d.Crash()
	f = must[vfs.File](t)(d.OpenReadWrite("f", vfs.WriteCategoryUnspecified))
	buf := make([]byte, 4*SectorBytes)
	n, err := f.ReadAt(buf, 0)
	if n != 3*SectorBytes || !errors.Is(err, syscall.EIO) {
		t.Fatalf("read over a bad sector: %d, %v", n, err)
	}
	if buf[3] != 2 || slices.Contains(buf[SectorBytes:SectorBytes+100], 0) || buf[SectorBytes+100] != 0 {
		t.Errorf("rot did not stay where it was put")
	}
	must[int](t)(f.WriteAt(make([]byte, SectorBytes), 3*SectorBytes))
	must[int](t)(f.ReadAt(buf, 0)) // a rewritten sector reads again
	check(t, d.Truncate("f", 10))
	if got := read(t, d, "f"); len(got) != 10 {
		t.Errorf("truncated to %d bytes", len(got))
	}
}

// TestSameSeedSameDisk runs a mix of operations twice and wants equal disks.
func TestSameSeedSameDisk(t *testing.T) {
	run := func() string {
		d, rng := newDisk(7), rand.New(rand.NewPCG(3, 3))
		check(t, d.MkdirAll("dir/sub", 0o755))
		syncDir(t, d, "/")
		syncDir(t, d, "dir")
		for range 300 {
			name := fmt.Sprintf("dir/sub/%d", rng.IntN(5))
			switch rng.IntN(8) {
			case 0:
				if err := d.Remove(name); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			case 1:
				if err := d.Rename(name, "dir/sub/x"); err != nil && !errors.Is(err, fs.ErrNotExist) {
					t.Fatal(err)
				}
			case 2:
				syncDir(t, d, "dir/sub")
			case 3:
				d.Crash()
			default:
				f := create(t, d, name)
				must[int](t)(f.WriteAt(bytes.Repeat([]byte{byte(rng.Uint32())}, rng.IntN(3000)), rng.Int64N(2000)))
				if rng.IntN(2) == 0 {
					check(t, f.Sync())
				}
				check(t, f.Close())
			}
		}
		out := fmt.Sprintln(d.Used())
		for _, name := range must[[]string](t)(d.List("dir/sub")) {
			out += fmt.Sprintf("%s %x\n", name, read(t, d, "dir/sub/"+name))
		}
		return out
	}
	first := run()
	if first != run() {
		t.Error("two runs from one seed differ")
	}
	if len(first) < 100 {
		t.Errorf("the run left almost nothing: %q", first)
	}
}

// TestCrashClone: the clone is what a crash would have left, from the same draws; the
// original goes on, and what is written to one is not in the other.
func TestCrashClone(t *testing.T) {
	for seed := range uint64(50) {
		d := newDisk(seed)
		check(t, d.MkdirAll("dir", 0o700))
		f := create(t, d, "dir/f")
		must[int](t)(f.WriteAt(bytes.Repeat([]byte{1}, 5000), 0))
		check(t, f.Sync())
		check(t, d.Link("dir/f", "dir/g"))
		syncDir(t, d, "dir")
		syncDir(t, d, "/")
		must[int](t)(f.WriteAt(bytes.Repeat([]byte{2}, 9000), 100))
		create(t, d, "dir/new")

		clone := CrashClone(rand.New(rand.NewPCG(seed, 7)), d)[0]
		must[int](t)(f.WriteAt([]byte{3}, 0)) // no dead handle
		check(t, f.Sync())
		left := read(t, clone, "dir/f")
		if len(left) < 5000 || left[0] != 1 || bytes.IndexByte(left, 3) >= 0 {
			t.Fatalf("seed %d: the clone holds %d bytes, the first is %d", seed, len(left), left[0])
		}
		if !bytes.Equal(left, read(t, clone, "dir/g")) {
			t.Fatalf("seed %d: two names of one file became two files", seed)
		}
		g := create(t, clone, "dir/g")
		must[int](t)(g.WriteAt([]byte{4}, 0))
		if read(t, clone, "dir/f")[0] != 4 || read(t, d, "dir/f")[0] != 3 {
			t.Fatalf("seed %d: clone and original share what they hold", seed)
		}

		again := newDisk(seed)
		again.cfg.RNG = rand.New(rand.NewPCG(seed, 7))
		check(t, again.MkdirAll("dir", 0o700))
		f = create(t, again, "dir/f")
		must[int](t)(f.WriteAt(bytes.Repeat([]byte{1}, 5000), 0))
		check(t, f.Sync())
		check(t, again.Link("dir/f", "dir/g"))
		syncDir(t, again, "dir")
		syncDir(t, again, "/")
		must[int](t)(f.WriteAt(bytes.Repeat([]byte{2}, 9000), 100))
		create(t, again, "dir/new")
		again.Crash()
		if want := read(t, again, "dir/f"); !bytes.Equal(left, want) {
			t.Fatalf("seed %d: the clone holds %d bytes, a crash leaves %d, or they differ", seed, len(left), len(want))
		}
	}
}
