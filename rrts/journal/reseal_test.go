package journal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/sim/disk"
)

// rotated gives the journal a fresh key and begins a segment under it.
func rotated(t *testing.T, j *Journal, keys *keyring.Live) {
	t.Helper()
	ring, err := keys.Ring().Rotate(newRand(21))
	check(t, err)
	keys.Set(ring)
	check(t, j.Rotate(j.Epoch()))
}

// lockedRand is a source of salts for any goroutine.
type lockedRand struct {
	mu sync.Mutex
	detRand
}

func (r *lockedRand) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.detRand.Read(p)
}

// TestResealBesideWriter seals segments anew while records are appended, read and trimmed.
func TestResealBesideWriter(t *testing.T) {
	cfg := testConfig(t, newDisk(4))
	cfg.Rand = &lockedRand{detRand: newRand(9)}
	keys := cfg.Keys.(*keyring.Live)
	j := mustOpen(t, cfg)
	payload := strings.Repeat("p", 3000)
	var want []item
	add := func(n int) {
		for range n {
			text := fmt.Sprint(len(want), payload)
			want = append(want, item{mustAppend(t, j, kindEntry, text), kindEntry, text})
		}
		check(t, j.Sync())
	}
	add(200)
	rotated(t, j, keys)
	if used := j.KeysInUse(); !slices.Equal(used, []uint32{1, 2}) {
		t.Fatalf("keys in use: %v", used)
	}
	var beside sync.WaitGroup
	var least []int
	beside.Go(func() {
		for left := 1; left > 0; {
			var err error
			if left, err = j.Reseal(); err != nil {
				t.Error(err)
				return
			}
			least = append(least, left)
		}
	})
	beside.Go(func() { check(t, j.TrimBefore(want[60].pos)) })
	early := slices.Clone(want[60:])
	beside.Go(func() {
		for _, it := range early {
			kind, got, err := j.ReadAt(it.pos, nil)
			if err != nil || kind != it.kind || string(got) != it.payload {
				t.Errorf("at %v: %v", it.pos, err)
			}
		}
	})
	add(200)
	beside.Wait()
	if !slices.IsSortedFunc(least, func(a, b int) int { return b - a }) || len(least) < 5 {
		t.Errorf("segments left: %v", least)
	}
	if used := j.KeysInUse(); !slices.Equal(used, []uint32{2}) {
		t.Fatalf("keys in use: %v", used)
	}
	check(t, j.Mark())
	check(t, j.Close())

	keys.Set(keys.Ring().Without(1))
	j = mustOpen(t, cfg)
	defer j.Close()
	if d := j.Damage(); d != nil {
		t.Fatal(d)
	}
	got := replay(t, j, want[60].pos)
	if !slices.Equal(got, want[60:]) {
		t.Errorf("%d records came back of %d", len(got), len(want)-60)
	}
}

// TestResealFindsRot: a record that has rotted is not taken for one that never was.
func TestResealFindsRot(t *testing.T) {
	d := newDisk(4)
	cfg := testConfig(t, d)
	keys := cfg.Keys.(*keyring.Live)
	j := mustOpen(t, cfg)
	var pos Position
	for range 50 {
		pos = mustAppend(t, j, kindEntry, strings.Repeat("p", 3000))
	}
	check(t, j.Sync())
	rotated(t, j, keys)
	check(t, d.Rot(j.path(pos.Segment(), segmentSuffix), int64(pos.Offset())+100, 8))
	for {
		left, err := j.Reseal()
		if err == nil && left > 0 {
			continue
		}
		if !IsDamage(err) {
			t.Fatalf("%d left: %v", left, err)
		}
		break
	}
	check(t, j.Close())
	j = mustOpen(t, cfg)
	defer j.Close()
	if j.Damage() == nil {
		t.Error("the damage is not found any more")
	}
}

// TestResealOnFullDisk leaves everything as it was.
func TestResealOnFullDisk(t *testing.T) {
	d := newDisk(4)
	cfg := testConfig(t, d)
	keys := cfg.Keys.(*keyring.Live)
	j := mustOpen(t, cfg)
	defer j.Close()
	for range 50 {
		mustAppend(t, j, kindEntry, strings.Repeat("p", 3000))
	}
	check(t, j.Sync())
	rotated(t, j, keys)
	want := replay(t, j, 0)
	d.Before(func(op disk.Op) error {
		if op.Kind == disk.OpWrite && strings.HasSuffix(op.Name, tmpSuffix) {
			return syscall.ENOSPC
		}
		return nil
	})
	if _, err := j.Reseal(); !errors.Is(err, ErrNoSpace) {
		t.Fatal(err)
	}
	d.Before(nil)
	if got := replay(t, j, 0); !slices.Equal(got, want) {
		t.Error("records changed")
	}
	for left := 1; left > 0; {
		var err error
		left, err = j.Reseal()
		check(t, err)
	}
	if got := replay(t, j, 0); !slices.Equal(got, want) {
		t.Error("records changed when there was space again")
	}
}
