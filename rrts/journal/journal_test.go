package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/sim/disk"
)

const (
	kindEntry Kind = 1
	kindMeta  Kind = 2
	kindState Kind = 130
)

// detRand is a deterministic source of salts.
type detRand struct{ *rand.Rand }

func (r detRand) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return len(p), nil
}

func newRand(seed uint64) detRand { return detRand{rand.New(rand.NewPCG(seed, 77))} }

func testRing(t testing.TB) *keyring.Live {
	t.Helper()
	ring, err := keyring.New(newRand(5))
	if err != nil {
		t.Fatal(err)
	}
	live := new(keyring.Live)
	live.Set(ring)
	return live
}

func testConfig(t testing.TB, fs vfs.FS) Config {
	return Config{
		FS: fs, Dir: "/j", Keys: testRing(t), Cluster: [16]byte{1, 2, 3},
		SegmentBytes: 64 << 10, Rand: newRand(9),
	}
}

func mustOpen(t testing.TB, cfg Config) *Journal {
	t.Helper()
	j, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return j
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func mustAppend(t testing.TB, j *Journal, kind Kind, payload string) Position {
	t.Helper()
	pos, err := j.Append(kind, []byte(payload))
	check(t, err)
	return pos
}

// item is a replayed record.
type item struct {
	pos     Position
	kind    Kind
	payload string
}

func replay(t testing.TB, j *Journal, from Position) []item {
	t.Helper()
	var items []item
	check(t, j.Replay(from, func(pos Position, kind Kind, payload []byte) error {
		items = append(items, item{pos, kind, string(payload)})
		return nil
	}))
	return items
}

func newDisk(seed uint64) *disk.Disk {
	return disk.New(disk.Config{RNG: rand.New(rand.NewPCG(seed, 3))})
}

func TestAppendSyncReplay(t *testing.T) {
	for name, fs := range map[string]vfs.FS{"disk": newDisk(1), "mem": vfs.NewMem(), "os": vfs.Default} {
		t.Run(name, func(t *testing.T) {
			cfg := testConfig(t, fs)
			if name == "os" {
				cfg.Dir = t.TempDir() + "/sub/j"
			}
			j := mustOpen(t, cfg)
			var want []item
			for i := range 2000 {
				kind, payload := kindEntry, fmt.Sprintf("record %d", i)
				if i%7 == 0 {
					kind = kindState
				}
				pos := mustAppend(t, j, kind, payload)
				want = append(want, item{pos, kind, payload})
				if i%13 == 0 {
					check(t, j.Sync())
				}
			}
			check(t, j.Sync())
			compare := func() {
				t.Helper()
				got := replay(t, j, 0)
				if fmt.Sprint(got) != fmt.Sprint(want) {
					t.Fatalf("replayed %d records, wrote %d, or they differ", len(got), len(want))
				}
				var buf []byte
				for _, w := range want {
					kind, payload, err := j.ReadAt(w.pos, buf)
					check(t, err)
					if kind != w.kind || string(payload) != w.payload {
						t.Fatalf("at %v: kind %d %q, want %d %q", w.pos, kind, payload, w.kind, w.payload)
					}
					buf = payload[:0]
				}
				mid := want[len(want)/2].pos
				if part := replay(t, j, mid); part[0].pos != mid || len(part) != len(want)-len(want)/2 {
					t.Fatalf("replay from the middle gave %d records from %v", len(part), part[0].pos)
				}
			}
			compare()
			for range 3 {
				check(t, j.Close())
				j = mustOpen(t, cfg)
				compare()
				pos := mustAppend(t, j, kindEntry, "after the restart")
				check(t, j.Sync())
				want = append(want, item{pos, kindEntry, "after the restart"})
				compare()
			}
			check(t, j.Close())
		})
	}
}

func TestLargeRecords(t *testing.T) {
	cfg := testConfig(t, vfs.NewMem())
	cfg.SegmentBytes = DefaultSegmentBytes
	j := mustOpen(t, cfg)
	if j.MaxPayload() != MaxRecordBytes {
		t.Fatalf("MaxPayload %d, want %d", j.MaxPayload(), MaxRecordBytes)
	}
	rng := newRand(1)
	var want [][]byte
	var at []Position
	for _, n := range []int{MaxRecordBytes, 1, 5 << 20, MaxRecordBytes, 0, 3 << 20, 4<<20 - 1} {
		p := make([]byte, n)
		for i := 0; i+8 <= n; i += 8 {
			binary.LittleEndian.PutUint64(p[i:], rng.Uint64())
		}
		pos, err := j.Append(kindEntry, p[:n/3], p[n/3:n/2], p[n/2:])
		check(t, err)
		want, at = append(want, p), append(at, pos)
	}
	if _, err := j.Append(kindEntry, make([]byte, MaxRecordBytes+1)); !errors.Is(err, ErrTooLarge) {
		t.Fatalf("a record over the limit: %v", err)
	}
	check(t, j.Sync())
	if cap(j.buf) > keepBufBytes {
		t.Errorf("a buffer of %d bytes is kept", cap(j.buf))
	}
	check(t, j.Close())
	j = mustOpen(t, cfg)
	i := 0
	check(t, j.Replay(0, func(pos Position, kind Kind, payload []byte) error {
		if pos != at[i] || !bytes.Equal(payload, want[i]) {
			t.Fatalf("record %d differs", i)
		}
		i++
		return nil
	}))
	if i != len(want) {
		t.Fatalf("replayed %d of %d", i, len(want))
	}
	for i := range want {
		_, payload, err := j.ReadAt(at[i], nil)
		if err != nil || !bytes.Equal(payload, want[i]) {
			t.Fatalf("ReadAt of record %d: %v", i, err)
		}
	}
}
