package journal

import (
	"fmt"
	"slices"
	"testing"
	"time"

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

// BenchmarkCommit is one group commit on the real disk, in turns with its floor:
// the same bytes written to a preallocated file and synced, without a journal. The medians
// of both are reported, as a shared machine is noisy.
func BenchmarkCommit(b *testing.B) {
	for _, c := range []struct{ records, bytes int }{{1, 200}, {32, 200}, {1, 64 << 10}, {64, 4000}, {1, 1 << 20}} {
		b.Run(fmt.Sprintf("%dx%dB", c.records, c.bytes), func(b *testing.B) {
			cfg := testConfig(b, vfs.Default)
			cfg.Dir, cfg.SegmentBytes = b.TempDir(), DefaultSegmentBytes
			j := mustOpen(b, cfg)
			defer j.Close()
			check(b, j.Rotate(0))
			f, err := j.fill(cfg.Dir+"/floor", DefaultSegmentBytes)
			check(b, err)
			defer f.Close()

			payload, block, off := make([]byte, c.bytes), make([]byte, blockUp(c.records*c.bytes)), int64(0)
			commit := func() error {
				for range c.records {
					if _, err := j.Append(kindEntry, payload); err != nil {
						return err
					}
				}
				return j.Sync()
			}
			floor := func() error {
				if off += int64(len(block)); off+int64(len(block)) > DefaultSegmentBytes {
					off = 0
				}
				if _, err := f.WriteAt(block, off); err != nil {
					return err
				}
				return f.SyncData()
			}
			var commits, floors []time.Duration
			for b.Loop() {
				for times, do := range map[*[]time.Duration]func() error{&commits: commit, &floors: floor} {
					start := time.Now()
					if err := do(); err != nil {
						b.Fatal(err)
					}
					*times = append(*times, time.Since(start))
				}
				if j.at > uint32(j.cur.size/4*3) { // rolls have a benchmark of their own
					check(b, j.Rotate(0))
					check(b, j.TrimBefore(j.Synced()))
				}
			}
			slices.Sort(commits)
			slices.Sort(floors)
			b.ReportMetric(float64(commits[len(commits)/2].Microseconds()), "commit-us")
			b.ReportMetric(float64(floors[len(floors)/2].Microseconds()), "floor-us")
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
