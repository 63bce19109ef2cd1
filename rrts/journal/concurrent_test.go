package journal

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// TestBesideTheWriter runs everything that may run beside the writer.
func TestBesideTheWriter(t *testing.T) {
	cfg := testConfig(t, vfs.NewMem())
	j := mustOpen(t, cfg)
	const records = 5000
	var at [records]atomic.Uint64 // positions of synced records
	var durable atomic.Int64
	var stop atomic.Bool
	var wg sync.WaitGroup
	beside := func(f func(n int) error) {
		wg.Go(func() {
			for n := 0; !stop.Load(); n++ {
				if err := f(n); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	payload := func(i int) string { return fmt.Sprintf("%d %0*d", i, i%300, 0) }
	for range 2 {
		var buf []byte
		beside(func(n int) error {
			d := int(durable.Load())
			if d == 0 {
				return nil
			}
			i := d - 1 - n%min(d, 200)
			_, p, err := j.ReadAt(Position(at[i].Load()), buf)
			if errors.Is(err, ErrTrimmed) {
				return nil
			}
			if err == nil && string(p) != payload(i) {
				err = fmt.Errorf("record %d reads %.20q", i, p)
			}
			buf = p[:0]
			return err
		})
	}
	beside(func(int) error { return j.Reserve() })
	beside(func(int) error {
		if d := durable.Load(); d > 300 {
			return j.TrimBefore(Position(at[d-300].Load()))
		}
		return nil
	})
	beside(func(int) error {
		last := Position(0)
		_, _, _, _, _ = j.First(), j.Synced(), j.Epoch(), j.Damage(), j.KeysInUse()
		return j.Replay(0, func(pos Position, _ Kind, _ []byte) error {
			if pos <= last {
				return fmt.Errorf("%v behind %v", pos, last)
			}
			last = pos
			return nil
		})
	})
	for i := range records {
		pos, err := j.Append(kindEntry, []byte(payload(i)))
		check(t, err)
		at[i].Store(uint64(pos))
		if i%7 == 0 {
			check(t, j.Sync())
			durable.Store(int64(i + 1))
		}
	}
	stop.Store(true)
	wg.Wait()
	check(t, j.Close())
}
