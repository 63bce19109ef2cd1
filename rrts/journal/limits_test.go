package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/sim/disk"
)

func TestConfigFaults(t *testing.T) {
	_, err := Open(Config{SegmentBytes: 1000})
	for _, want := range []string{"Config.FS", "Config.Dir", "Config.Keys", "Config.SegmentBytes is 1000"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("the error %v does not name %s", err, want)
		}
	}
	if _, err := Open(testConfig(t, vfs.NewMem())); err != nil {
		t.Errorf("a good configuration: %v", err)
	}
}

func TestOneOwner(t *testing.T) {
	cfg := testConfig(t, newDisk(1))
	j := mustOpen(t, cfg)
	if _, err := Open(cfg); !errors.Is(err, syscall.EAGAIN) {
		t.Fatalf("second Open: %v", err)
	}
	check(t, j.Close())
	if _, err := j.Append(kindEntry, nil); !errors.Is(err, ErrClosed) {
		t.Errorf("Append after Close: %v", err)
	}
	check(t, mustOpen(t, cfg).Close())
}

func TestArguments(t *testing.T) {
	cfg := testConfig(t, newDisk(1))
	var head []Record
	cfg.Head = func() []Record { return head }
	j := mustOpen(t, cfg)
	if _, err := j.Append(0, nil); err == nil {
		t.Error("kind 0 was taken")
	}
	if _, err := j.Append(kindEntry, make([]byte, j.MaxPayload()+1)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a record over MaxPayload: %v", err)
	}
	head = []Record{{kindEntry, nil}}
	if _, err := j.Append(kindEntry, nil); err == nil || IsFailed(err) {
		t.Errorf("a head record of a shared kind: %v", err)
	}
	head = []Record{{kindState, make([]byte, cfg.SegmentBytes/4)}}
	if _, err := j.Append(kindEntry, nil); !errors.Is(err, ErrTooLarge) {
		t.Errorf("head records over the limit: %v", err)
	}
	head = []Record{{kindState, make([]byte, cfg.SegmentBytes/4-frameOverhead)}}
	if _, err := j.Append(kindEntry, make([]byte, j.MaxPayload())); err != nil {
		t.Errorf("the largest record behind the largest head: %v", err)
	}
	check(t, j.Sync())
	if err := j.Rotate(3); err != nil || j.Epoch() != 3 {
		t.Errorf("rotate to epoch 3: %v, epoch %d", err, j.Epoch())
	}
	if err := j.Rotate(2); err == nil || j.Epoch() != 3 {
		t.Errorf("rotate back to epoch 2: %v, epoch %d", err, j.Epoch())
	}
	check(t, j.Close())
	cfg.Epoch = 1
	if j = mustOpen(t, cfg); j.Epoch() != 3 {
		t.Errorf("epoch after reopening: %d", j.Epoch())
	}
	for _, pos := range []Position{0, at(1, firstFrame+8), at(9, 9), at(1, 1<<30), j.Synced()} {
		if _, _, err := j.ReadAt(pos, nil); !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrTrimmed) {
			t.Errorf("ReadAt(%v): %v", pos, err)
		}
	}
}

// TestUnmarkedTailNeedsMark wants a tail that nothing speaks for to ask for a
// mark after Open, and to be damage and not torn when it rots after that.
func TestUnmarkedTailNeedsMark(t *testing.T) {
	d := newDisk(1)
	cfg := testConfig(t, d)
	j := mustOpen(t, cfg)
	pos := mustAppend(t, j, kindEntry, "one")
	check(t, j.Sync())
	if !j.NeedsMark() {
		t.Error("no mark is wanted after a sync")
	}
	d.Kill()
	j = mustOpen(t, cfg)
	if !j.NeedsMark() {
		t.Fatal("no mark is wanted after Open")
	}
	check(t, j.Mark())
	if j.NeedsMark() {
		t.Error("a mark is wanted after the mark")
	}
	d.Kill()
	if j = mustOpen(t, cfg); j.NeedsMark() {
		t.Error("a mark is wanted although the newest header says it")
	}
	d.Kill()
	check(t, d.FlipBit("/j/0000000001.seg", int64(pos.Offset())+frameClear+40, 0))
	j = mustOpen(t, cfg)
	if dam := j.Damage(); len(dam) != 1 || dam[0].From != pos || dam[0].Shared != 1 {
		t.Fatalf("damage: %v", dam)
	}
	check(t, j.Repair(j.Damage()[0], []Record{{kindEntry, []byte("one")}}))
	if got := replay(t, j, 0); len(got) != 1 || got[0].payload != "one" {
		t.Fatalf("after the repair: %v", got)
	}
}

// TestHeaderCopies wants either copy of a header to do, and Open to write the
// lost one again.
func TestHeaderCopies(t *testing.T) {
	d := newDisk(1)
	cfg := testConfig(t, d)
	j := mustOpen(t, cfg)
	pos := mustAppend(t, j, kindEntry, "one")
	check(t, j.Sync())
	check(t, j.Close())
	const name = "/j/0000000001.seg"
	for i, off := range []int64{0, cfg.SegmentBytes - BlockBytes, 20, cfg.SegmentBytes - BlockBytes + 100, headerCheck} {
		check(t, d.Rot(name, off, 4))
		j = mustOpen(t, cfg)
		if dam := j.Damage(); dam != nil {
			t.Fatalf("round %d: %v", i, dam)
		}
		if _, p, err := j.ReadAt(pos, nil); err != nil || string(p) != "one" {
			t.Fatalf("round %d: %q, %v", i, p, err)
		}
		check(t, j.Close())
	}
}

// TestReaderOutlivesTrim trims and reuses a segment in the middle of a read of it.
func TestReaderOutlivesTrim(t *testing.T) {
	d := newDisk(1)
	cfg := testConfig(t, d)
	j := mustOpen(t, cfg)
	want := strings.Repeat("old", 100)
	pos := mustAppend(t, j, kindEntry, want)
	check(t, j.Rotate(0))
	d.Before(func(op disk.Op) error {
		if op.Kind == disk.OpRead {
			d.Before(nil)
			check(t, j.TrimBefore(at(2, firstFrame)))
			for range 3 { // what could have been recycled is written over
				mustAppend(t, j, kindEntry, strings.Repeat("new", 100))
				check(t, j.Rotate(0))
			}
		}
		return nil
	})
	if _, p, err := j.ReadAt(pos, nil); err != nil || string(p) != want {
		t.Fatalf("read over a trim: %.10q, %v", p, err)
	}
	if _, _, err := j.ReadAt(pos, nil); !errors.Is(err, ErrTrimmed) {
		t.Fatalf("read after the trim: %v", err)
	}
}

func TestFind(t *testing.T) {
	s, err := newSealer([32]byte{1}, [32]byte{2}, [16]byte{3})
	check(t, err)
	b := make([]byte, 800)
	binary.LittleEndian.PutUint32(b[3:], s.word)
	binary.LittleEndian.PutUint32(b[44:], s.word)
	binary.LittleEndian.PutUint32(b[160:], s.word)
	if i := s.find(b); i != 160 {
		t.Errorf("found at %d, want 160", i)
	}
	if i := s.find(b[168:]); i != -1 {
		t.Errorf("found at %d in nothing", i)
	}
}

// TestFailures lets each operation of the disk fail once and wants the journal dead
// for good after a failed write or sync.
func TestFailures(t *testing.T) {
	boom := errors.New("boom")
	for _, kind := range []disk.OpKind{disk.OpWrite, disk.OpSync} {
		for _, call := range []string{"Sync", "Mark", "Rotate", "Append"} {
			t.Run(fmt.Sprint(kind, " in ", call), func(t *testing.T) {
				d := newDisk(1)
				j := mustOpen(t, testConfig(t, d))
				mustAppend(t, j, kindEntry, "one")
				check(t, j.Sync())
				check(t, j.Reserve())
				d.Before(func(op disk.Op) error {
					if op.Kind == kind {
						return boom
					}
					return nil
				})
				do := func() (err error) {
					switch call {
					case "Sync":
						if _, err = j.Append(kindEntry, nil); err == nil {
							err = j.Sync()
						}
					case "Mark":
						err = j.Mark()
					case "Rotate":
						err = j.Rotate(1)
					case "Append":
						for err == nil {
							_, err = j.Append(kindEntry, make([]byte, 5000))
						}
					}
					return err
				}
				first := do()
				if !IsFailed(first) || !errors.Is(first, boom) {
					t.Fatalf("%v", first)
				}
				d.Before(nil)
				for range 3 {
					if err := do(); err == nil || err.Error() != first.Error() {
						t.Fatalf("after %q: %v", first, err)
					}
				}
				if _, err := j.Append(kindEntry, nil); !IsFailed(err) {
					t.Errorf("Append to a dead journal: %v", err)
				}
			})
		}
	}
	t.Run("rename in Rotate", func(t *testing.T) {
		d := newDisk(1)
		j := mustOpen(t, testConfig(t, d))
		check(t, j.Reserve())
		d.Before(func(op disk.Op) error {
			if op.Kind == disk.OpRename {
				return boom
			}
			return nil
		})
		if err := j.Rotate(1); !IsFailed(err) {
			t.Errorf("%v", err)
		}
	})
	t.Run("directory in TrimBefore", func(t *testing.T) {
		d := newDisk(1)
		j := mustOpen(t, testConfig(t, d))
		check(t, j.Rotate(0))
		check(t, j.Rotate(0))
		d.Before(func(op disk.Op) error {
			if op.Kind == disk.OpSyncDir {
				return boom
			}
			return nil
		})
		if err := j.TrimBefore(at(2, firstFrame)); !IsFailed(err) {
			t.Errorf("%v", err)
		}
		d.Before(nil)
		if _, err := j.Append(kindEntry, nil); !IsFailed(err) {
			t.Errorf("Append after it: %v", err)
		}
	})
	t.Run("Reserve", func(t *testing.T) {
		d := newDisk(1)
		j := mustOpen(t, testConfig(t, d))
		d.Before(func(op disk.Op) error { return boom })
		if err := j.Reserve(); !errors.Is(err, boom) || IsFailed(err) {
			t.Errorf("a reserve that failed should not kill the journal: %v", err)
		}
		d.Before(nil)
		mustAppend(t, j, kindEntry, "one")
		check(t, j.Sync())
	})
}

func TestFullDisk(t *testing.T) {
	d := newDisk(1)
	cfg := testConfig(t, d)
	j := mustOpen(t, cfg)
	mustAppend(t, j, kindEntry, "one")
	check(t, j.Sync())
	d.SetCapacity(d.Used() + cfg.SegmentBytes/2)
	used := d.Used()
	err := j.Reserve()
	var full *NoSpaceError
	if !errors.Is(err, ErrNoSpace) || !errors.As(err, &full) || full.NeedBytes != cfg.SegmentBytes || j.Reserved() {
		t.Fatalf("reserve on a full disk: %v", err)
	}
	if d.Used() != used {
		t.Errorf("the failed reserve left %d bytes behind", d.Used()-used)
	}
	var last Position
	for n := 0; ; n++ { // the current segment goes on until it is full
		pos, err := j.Append(kindEntry, make([]byte, 1000))
		if err != nil {
			if !errors.Is(err, ErrNoSpace) || n < 8 {
				t.Fatalf("append %d: %v", n, err)
			}
			break
		}
		check(t, j.Sync())
		last = pos
	}
	if _, _, err := j.ReadAt(last, nil); err != nil {
		t.Errorf("read on a full disk: %v", err)
	}
	if j.NeedsMark() {
		check(t, j.Mark())
	}
	if _, err := j.Append(kindEntry, make([]byte, 1000)); !errors.Is(err, ErrNoSpace) {
		t.Errorf("append on a full disk: %v", err)
	}
	d.SetCapacity(0)
	check(t, j.Reserve())
	mustAppend(t, j, kindEntry, "two")
	check(t, j.Sync())
	check(t, j.Close())
	j = mustOpen(t, cfg)
	got := replay(t, j, 0)
	if got[0].payload != "one" || got[len(got)-1].payload != "two" {
		t.Errorf("after the full disk %d records, from %q to %q", len(got), got[0].payload, got[len(got)-1].payload)
	}
}

// TestRecycling wants trimmed segments to become the next ones, and no file more.
func TestRecycling(t *testing.T) {
	d := newDisk(1)
	cfg := testConfig(t, d)
	j := mustOpen(t, cfg)
	for range 50 {
		mustAppend(t, j, kindEntry, "x")
		check(t, j.Rotate(0))
		check(t, j.TrimBefore(j.Synced()))
	}
	if used := d.Used(); used > 3*cfg.SegmentBytes {
		t.Errorf("%d bytes in use after 50 segments of %d", used, cfg.SegmentBytes)
	}
	for range 10 {
		check(t, j.Rotate(0))
	}
	check(t, j.TrimBefore(j.Synced()))
	names, err := d.List("/j")
	check(t, err)
	if len(names) != 1+1+maxSpares {
		t.Errorf("files after a large trim: %v", names)
	}
	check(t, j.Close())
	cfg.SegmentBytes *= 2 // spares of another size are of no use
	j = mustOpen(t, cfg)
	if j.Reserved() {
		t.Error("a spare of the wrong size is kept")
	}
	mustAppend(t, j, kindEntry, "x")
	check(t, j.Sync())
}

func TestKeys(t *testing.T) {
	d := newDisk(1)
	cfg := testConfig(t, d)
	live := cfg.Keys.(*keyring.Live)
	j := mustOpen(t, cfg)
	mustAppend(t, j, kindEntry, "under key 1")
	check(t, j.Sync())
	first := live.Ring()
	second, err := first.Rotate(newRand(3))
	check(t, err)
	live.Set(second)
	check(t, j.Rotate(0))
	pos := mustAppend(t, j, kindEntry, "under key 2")
	check(t, j.Sync())
	if got := fmt.Sprint(j.KeysInUse()); got != "[1 2]" {
		t.Errorf("keys in use: %s", got)
	}
	check(t, j.Close())

	live.Set(first)
	if _, err := Open(cfg); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("open without key 2: %v", err)
	}
	other, err := keyring.New(newRand(99))
	check(t, err)
	live.Set(other)
	if _, err := Open(cfg); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("open with another key 1: %v", err)
	}
	live.Set(second)
	cfg.Cluster[0]++
	if _, err := Open(cfg); !errors.Is(err, ErrForeign) {
		t.Errorf("open as another cluster: %v", err)
	}
	cfg.Cluster[0]--
	j = mustOpen(t, cfg)
	if got := replay(t, j, 0); len(got) != 2 {
		t.Errorf("replayed %v", got)
	}
	check(t, j.TrimBefore(pos))
	if got := fmt.Sprint(j.KeysInUse()); got != "[2]" {
		t.Errorf("keys in use after the trim: %s", got)
	}
	live.Set(second.Without(1))
	check(t, j.Close())
	check(t, mustOpen(t, cfg).Close())

	for _, off := range []int64{8, cfg.SegmentBytes - BlockBytes + 8} {
		check(t, d.FlipBit("/j/0000000002.seg", off, 1))
	}
	if _, err := Open(cfg); !errors.Is(err, ErrVersion) {
		t.Errorf("open of version 3: %v", err)
	}
}

// TestNothingInClear looks for payloads and keys in the files.
func TestNothingInClear(t *testing.T) {
	d := newDisk(1)
	cfg := testConfig(t, d)
	cfg.Head = func() []Record { return []Record{{kindState, []byte("head secret")}} }
	j := mustOpen(t, cfg)
	mustAppend(t, j, kindEntry, "payload secret")
	check(t, j.Mark())
	check(t, j.Close())
	_, key := cfg.Keys.Current()
	f, err := d.Open("/j/0000000001.seg")
	check(t, err)
	all := make([]byte, cfg.SegmentBytes)
	_, err = f.ReadAt(all, 0)
	check(t, err)
	for _, secret := range [][]byte{[]byte("secret"), key[:], key[:8], j.st.chain[:8]} {
		if bytes.Contains(all, secret) {
			t.Errorf("the file holds %q", secret)
		}
	}
}

// spoil flips a bit in the payload of the record at pos.
func spoil(t *testing.T, d *disk.Disk, pos Position) {
	t.Helper()
	check(t, d.FlipBit(fmt.Sprintf("/j/%010d.seg", pos.Segment()), int64(pos.Offset())+frameClear+32, 0))
}

// TestHolds wants what Holds promises to be true to the byte of a block: on a full disk
// records that it says there is room for are appended, whatever their sizes.
func TestHolds(t *testing.T) {
	rng := newRand(1)
	promised, refused := 0, 0
	for range 200 {
		d := newDisk(1)
		cfg := testConfig(t, d)
		cfg.Head = func() []Record { return []Record{{Kind: kindState, Payload: make([]byte, 100)}} }
		j := mustOpen(t, cfg)
		mustAppend(t, j, kindEntry, "one")
		check(t, j.Sync())
		if rng.IntN(2) == 0 {
			check(t, j.Reserve())
		}
		d.SetCapacity(d.Used())
		for full := false; !full; {
			sizes := make([]int, 1+rng.IntN(4))
			for i := range sizes {
				sizes[i] = rng.IntN(j.MaxPayload() / (1 + rng.IntN(8)))
			}
			if !j.Holds(sizes) {
				refused++
				full = true
				continue
			}
			promised++
			for _, n := range sizes {
				if _, err := j.Append(kindEntry, make([]byte, n)); err != nil {
					t.Fatalf("append of %d of %d, which the journal held: %v", n, sizes, err)
				}
				if rng.IntN(2) == 0 {
					check(t, j.Sync())
				}
			}
		}
		check(t, j.Close())
	}
	if promised < 200 || refused < 200 {
		t.Fatalf("%d promises, %d refusals: the test tests nothing", promised, refused)
	}
}
