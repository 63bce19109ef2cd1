package journal

import (
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/sim/disk"
)

var seedFlag = flag.Uint64("journal-seed", 0, "run the seeded tests with this one seed")

// seeds calls run for each seed: n of them, a fifth with -short, as many as
// RRTS_JOURNAL_SEEDS says, or the one of -journal-seed.
func seeds(t *testing.T, n uint64, run func(t *testing.T, seed uint64)) {
	if *seedFlag != 0 {
		run(t, *seedFlag)
		return
	}
	if testing.Short() {
		n /= 5
	}
	if s := os.Getenv("RRTS_JOURNAL_SEEDS"); s != "" {
		var err error
		if n, err = strconv.ParseUint(s, 10, 64); err != nil {
			t.Fatalf("RRTS_JOURNAL_SEEDS: %v", err)
		}
	}
	for seed := uint64(1); seed <= n && !t.Failed(); seed++ {
		run(t, seed)
		if t.Failed() {
			t.Logf("again with -journal-seed %d", seed)
		}
	}
}

// world drives one journal on one simulated disk and knows what it must hold.
type world struct {
	t    *testing.T
	seed uint64
	rng  *rand.Rand
	disk *disk.Disk
	cfg  Config
	keys *keyring.Live
	j    *Journal

	log     []item // appended and not lost, without head records
	synced  int    // of log, covered by a returned Sync
	marked  int    // of log, that a durable frame says were synced
	trimmed int    // of log, below a trim
	heads   int
	next    int
}

const headPrefix = "head "

func newWorld(t *testing.T, seed uint64) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 11))}
	w.disk = disk.New(disk.Config{RNG: rand.New(rand.NewPCG(seed, 12))})
	w.cfg = testConfig(t, w.disk)
	w.cfg.SegmentBytes = []int64{MinSegmentBytes, 96 << 10, 128 << 10}[w.rng.IntN(3)]
	w.cfg.Rand = newRand(seed)
	w.keys = w.cfg.Keys.(*keyring.Live)
	if w.rng.IntN(3) > 0 {
		w.cfg.Head = func() []Record {
			w.heads++
			return []Record{{kindState, []byte(headPrefix + strings.Repeat("h", w.rng.IntN(500)))}}
		}
	}
	w.open()
	return w
}

func (w *world) fatalf(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("seed %d: %s", w.seed, fmt.Sprintf(format, args...))
}

func (w *world) check(err error) {
	w.t.Helper()
	if err != nil {
		w.fatalf("%v", err)
	}
}

func (w *world) open() {
	var err error
	w.j, err = Open(w.cfg)
	w.check(err)
}

func (w *world) append() {
	n := w.rng.IntN(200)
	switch w.rng.IntN(20) {
	case 0:
		n = w.rng.IntN(w.j.MaxPayload() + 1)
	case 1, 2, 3:
		n = w.rng.IntN(3000)
	}
	kind := []Kind{kindEntry, kindEntry, kindMeta, kindState}[w.rng.IntN(4)]
	payload := fmt.Sprint(w.next, " ")
	w.next++
	if len(payload) < n {
		payload += strings.Repeat(string(rune('a'+w.rng.IntN(26))), n-len(payload))
	}
	payload = payload[:min(len(payload), w.j.MaxPayload())]
	pos, err := w.j.Append(kind, []byte(payload))
	w.check(err)
	if n := len(w.log); n > 0 && w.log[n-1].pos >= pos {
		w.fatalf("position %v after %v", pos, w.log[n-1].pos)
	}
	w.log = append(w.log, item{pos, kind, payload})
	// A roll inside of Append synced what came before.
	if s := w.j.Synced(); s > 0 {
		for w.synced < len(w.log) && w.log[w.synced].pos < s {
			w.synced++
		}
	}
	w.sawMarked()
}

// sawMarked takes over what the journal says is marked durably.
func (w *world) sawMarked() {
	for w.marked < w.synced && w.log[w.marked].pos < w.j.marked {
		w.marked++
	}
}

func (w *world) sync() {
	w.check(w.j.Sync())
	w.synced = len(w.log)
	w.sawMarked()
}

func (w *world) mark() {
	w.check(w.j.Mark())
	w.synced = len(w.log)
	w.sawMarked()
	if w.j.NeedsMark() || w.marked != len(w.log) {
		w.fatalf("after Mark %d of %d records are marked", w.marked, len(w.log))
	}
}

// step does one operation of a healthy journal.
func (w *world) step() {
	switch r := w.rng.IntN(100); {
	case r < 60:
		w.append()
	case r < 80:
		w.sync()
	case r < 85:
		w.mark()
	case r < 88:
		w.check(w.j.Reserve())
	case r < 91:
		if len(w.log) > 0 {
			w.trim(w.log[w.rng.IntN(len(w.log))].pos)
		}
	case r < 93:
		ring, err := w.keys.Ring().Rotate(newRand(w.rng.Uint64()))
		w.check(err)
		w.keys.Set(ring)
		w.check(w.j.Rotate(w.j.Epoch() + w.rng.Uint64N(2)))
		w.sync()
		if w.rng.IntN(2) == 0 {
			w.check(w.reseal())
			return
		}
		w.keys.Set(w.keys.Ring().Without(w.unusedKeys()...))
	default:
		if w.synced > w.trimmed {
			w.readAt(w.log[w.trimmed+w.rng.IntN(w.synced-w.trimmed)])
		}
	}
}

// reseal seals all segments under the current key, and forgets the others.
func (w *world) reseal() error {
	for left := 1; left > 0; {
		var err error
		if left, err = w.j.Reseal(); err != nil {
			return err
		}
	}
	if unused := w.unusedKeys(); len(unused) != len(w.keys.Ring().IDs())-1 {
		w.fatalf("%v are in use after all was sealed anew, of %v", w.j.KeysInUse(), w.keys.Ring().IDs())
	}
	w.keys.Set(w.keys.Ring().Without(w.unusedKeys()...))
	return nil
}

func (w *world) unusedKeys() (ids []uint32) {
	for _, id := range w.keys.Ring().IDs() {
		if !slices.Contains(w.j.KeysInUse(), id) {
			ids = append(ids, id)
		}
	}
	return ids
}

func (w *world) trim(pos Position) {
	w.check(w.j.TrimBefore(pos))
	first := w.j.First()
	if first > pos && first > w.j.Synced() {
		w.fatalf("trim before %v left %v as the first position, synced %v", pos, first, w.j.Synced())
	}
	for w.trimmed < len(w.log) && w.log[w.trimmed].pos < first {
		if w.log[w.trimmed].pos >= pos {
			w.fatalf("trim before %v took the record at %v", pos, w.log[w.trimmed].pos)
		}
		w.trimmed++
	}
}

func (w *world) readAt(want item) {
	kind, payload, err := w.j.ReadAt(want.pos, nil)
	w.check(err)
	if kind != want.kind || string(payload) != want.payload {
		w.fatalf("at %v: %d %.20q, want %d %.20q", want.pos, kind, payload, want.kind, want.payload)
	}
}

// replayed is what the journal gives, without head records.
func (w *world) replayed() []item {
	var got []item
	w.check(w.j.Replay(0, func(pos Position, kind Kind, payload []byte) error {
		if kind == Missing {
			return nil
		}
		if !strings.HasPrefix(string(payload), headPrefix) {
			got = append(got, item{pos, kind, string(payload)})
		}
		return nil
	}))
	return got
}

// verify wants the journal to hold the log up to some record that was appended
// at or after the last synced one, and takes that over.
func (w *world) verify() {
	got := w.replayed()
	first := w.j.First()
	for w.trimmed < len(w.log) && (len(got) == 0 && w.trimmed < w.synced || len(got) > 0 && w.log[w.trimmed].pos < got[0].pos) {
		if w.log[w.trimmed].pos >= first && first != 0 {
			w.fatalf("record at %v is missing, the first position is %v", w.log[w.trimmed].pos, first)
		}
		w.trimmed++
	}
	want := w.log[w.trimmed:]
	if len(got) > len(want) {
		w.fatalf("%d records came back of %d", len(got), len(want))
	}
	if len(got) < w.synced-w.trimmed {
		w.fatalf("%d records came back, %d were synced", len(got), w.synced-w.trimmed)
	}
	for i, g := range got {
		if g != want[i] {
			w.fatalf("record %d is %v %d %.20q, want %v %d %.20q", i, g.pos, g.kind, g.payload, want[i].pos, want[i].kind, want[i].payload)
		}
	}
	w.log = w.log[:w.trimmed+len(got)]
	w.synced = len(w.log)
	for _, g := range got {
		w.readAt(g)
	}
}

// TestCrashes runs a journal through crashes at any point, and wants every synced
// record back, in order, and nothing else.
func TestCrashes(t *testing.T) {
	seeds(t, 400, func(t *testing.T, seed uint64) {
		w := newWorld(t, seed)
		for range 4 {
			for range w.rng.IntN(60) {
				w.step()
			}
			switch w.rng.IntN(6) {
			case 0:
				w.check(w.j.Close())
			case 1:
				w.disk.Kill()
			default:
				w.disk.Crash()
			}
			w.open()
			if d := w.j.Damage(); d != nil {
				w.fatalf("damage after a crash: %v", d)
			}
			w.verify()
		}
	})
}

var errDisk = errors.New("the disk failed")

// TestCrashesInside cuts the power in the middle of operations, or lets the disk fail
// there and the process end.
func TestCrashesInside(t *testing.T) {
	seeds(t, 400, func(t *testing.T, seed uint64) {
		w := newWorld(t, seed)
		for range 6 {
			left, failure := w.rng.IntN(80), []error{disk.ErrPower, errDisk}[w.rng.IntN(2)]
			w.disk.Before(func(op disk.Op) error {
				if left--; left < 0 && op.Kind != disk.OpRead {
					return failure
				}
				return nil
			})
			w.untilFailure(failure)
			w.disk.Before(nil)
			if failure == errDisk && w.rng.IntN(2) == 0 {
				w.disk.Kill() // the page cache shows what is not on the disk
			} else {
				w.disk.Crash()
			}
			w.open()
			if d := w.j.Damage(); d != nil {
				w.fatalf("damage after a crash: %v", d)
			}
			w.verify()
		}
	})
}

// untilFailure works until an operation fails for that reason, and keeps the
// model on the side of what the journal said.
func (w *world) untilFailure(failure error) {
	for {
		var err error
		switch w.rng.IntN(9) {
		case 0, 1, 2, 3:
			payload := fmt.Sprint(w.next, " ", strings.Repeat("p", w.rng.IntN(4000)))
			w.next++
			var pos Position
			if pos, err = w.j.Append(kindEntry, []byte(payload)); err == nil {
				w.log = append(w.log, item{pos, kindEntry, payload})
			}
		case 4, 5:
			if err = w.j.Sync(); err == nil {
				w.synced = len(w.log)
			}
		case 6:
			if w.j.NeedsMark() {
				err = w.j.Mark()
			}
		case 7:
			if len(w.log) > 0 {
				pos := w.log[w.rng.IntN(len(w.log))].pos
				err = w.j.TrimBefore(pos)
				for w.trimmed < len(w.log) && w.log[w.trimmed].pos < min(pos, max(w.j.First(), 1)) {
					w.trimmed++
				}
			}
		case 8:
			ring, ringErr := w.keys.Ring().Rotate(newRand(w.rng.Uint64()))
			w.check(ringErr)
			w.keys.Set(ring)
			if err = w.j.Rotate(w.j.Epoch()); err == nil {
				err = w.reseal()
			}
		}
		for s := w.j.Synced(); w.synced < len(w.log) && w.log[w.synced].pos < s; {
			w.synced++
		}
		if err != nil {
			if !errors.Is(err, failure) {
				w.fatalf("%v", err)
			}
			return
		}
	}
}
