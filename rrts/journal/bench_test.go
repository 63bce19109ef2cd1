package journal

import (
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestAllocations holds the paths of every commit and read to no allocation.
func TestAllocations(t *testing.T) {
	cfg := testConfig(t, vfs.NewMem())
	cfg.SegmentBytes = DefaultSegmentBytes
	j := mustOpen(t, cfg)
	header, body := make([]byte, 20), make([]byte, 5000)
	pos, err := j.Append(kindEntry, header, body)
	check(t, err)
	check(t, j.Sync())
	group := func() {
		for range 8 {
			if _, err := j.Append(kindEntry, header, body); err != nil {
				t.Fatal(err)
			}
		}
		if err := j.Sync(); err != nil {
			t.Fatal(err)
		}
	}
	if n := testing.AllocsPerRun(200, group); n != 0 {
		t.Errorf("a group of 8 appends and a sync: %v allocations", n)
	}
	var buf []byte
	read := func() {
		_, payload, err := j.ReadAt(pos, buf)
		if err != nil || len(payload) != 5020 {
			t.Fatal(err)
		}
		buf = payload[:0]
	}
	read()
	if n := testing.AllocsPerRun(200, read); n != 0 {
		t.Errorf("a read: %v allocations", n)
	}
}

// BenchmarkCommit is one group commit on the real disk: appends of the size
// given and one fdatasync. The floor beside it is the same write without a journal.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct{ records, bytes int }{{1, 200}, {32, 200}, {1, 64 << 10}, {64, 4000}, {1, 1 << 20}} {
		size := c.records * c.bytes
		b.Run(fmt.Sprintf("journal/%dx%dB", c.records, c.bytes), func(b *testing.B) {
			cfg := testConfig(b, vfs.Default)
			cfg.Dir, cfg.SegmentBytes = b.TempDir(), DefaultSegmentBytes
			j := mustOpen(b, cfg)
			defer j.Close()
			check(b, j.Rotate(0))
			payload := make([]byte, c.bytes)
			b.SetBytes(int64(size))
			for b.Loop() {
				for range c.records {
					if _, err := j.Append(kindEntry, payload); err != nil {
						b.Fatal(err)
					}
				}
				if err := j.Sync(); err != nil {
					b.Fatal(err)
				}
				if j.at > uint32(j.cur.size/4*3) { // rolls have a benchmark of their own
					b.StopTimer()
					check(b, j.Rotate(0))
					check(b, j.TrimBefore(j.Synced()))
					b.StartTimer()
				}
			}
		})
		b.Run(fmt.Sprintf("floor/%dx%dB", c.records, c.bytes), func(b *testing.B) {
			cfg := testConfig(b, vfs.Default)
			cfg.Dir, cfg.SegmentBytes = b.TempDir(), DefaultSegmentBytes
			j := mustOpen(b, cfg)
			defer j.Close()
			f, err := j.fill(cfg.Dir+"/floor", DefaultSegmentBytes)
			check(b, err)
			defer f.Close()
			block := make([]byte, blockUp(size))
			b.SetBytes(int64(size))
			var off int64
			for b.Loop() {
				if off+int64(len(block)) > DefaultSegmentBytes/4*3 {
					off = 0
				}
				if _, err := f.WriteAt(block, off); err != nil {
					b.Fatal(err)
				}
				if err := f.SyncData(); err != nil {
					b.Fatal(err)
				}
				off += int64(len(block))
			}
		})
	}
}

// BenchmarkRoll is the begin of a segment when one is reserved.
func BenchmarkRoll(b *testing.B) {
	cfg := testConfig(b, vfs.Default)
	cfg.Dir = b.TempDir()
	j := mustOpen(b, cfg)
	defer j.Close()
	for b.Loop() {
		check(b, j.Rotate(0))
		b.StopTimer()
		check(b, j.TrimBefore(j.Synced()))
		check(b, j.Reserve())
		b.StartTimer()
	}
}

// BenchmarkSeal is Append without the disk.
func BenchmarkSeal(b *testing.B) {
	for _, size := range []int{200, 4000, 64 << 10} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			cfg := testConfig(b, vfs.NewMem())
			cfg.SegmentBytes = DefaultSegmentBytes
			j := mustOpen(b, cfg)
			check(b, j.Rotate(0))
			payload := make([]byte, size)
			b.SetBytes(int64(size))
			b.ReportAllocs()
			for b.Loop() {
				if _, err := j.Append(kindEntry, payload); err != nil {
					b.Fatal(err)
				}
				if len(j.buf) > 1<<20 {
					j.buf = j.buf[:0]
				}
			}
		})
	}
}

// BenchmarkOpen is recovery and replay of a journal of 256 MiB.
func BenchmarkOpen(b *testing.B) {
	cfg := testConfig(b, vfs.Default)
	cfg.Dir, cfg.SegmentBytes = b.TempDir(), DefaultSegmentBytes
	j := mustOpen(b, cfg)
	const total = 256 << 20
	for n := 0; n < total; n += 64 * 1000 {
		for range 64 {
			if _, err := j.Append(kindEntry, make([]byte, 1000)); err != nil {
				b.Fatal(err)
			}
		}
		check(b, j.Sync())
	}
	check(b, j.Close())
	b.SetBytes(total)
	for b.Loop() {
		j := mustOpen(b, cfg)
		n := 0
		check(b, j.Replay(0, func(Position, Kind, []byte) error { n++; return nil }))
		check(b, j.Close())
	}
}
