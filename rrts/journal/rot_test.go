package journal

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/sim/disk"
)

// rotted is a journal that was filled, marked, closed, and then rotted.
func rotted(t *testing.T, seed uint64) *world {
	w := newWorld(t, seed)
	for range 20 + w.rng.IntN(150) {
		w.step()
	}
	if w.rng.IntN(3) == 0 { // the next header says it instead
		w.sync()
		w.check(w.j.Rotate(w.j.Epoch()))
		w.marked = len(w.log)
	} else {
		w.mark()
	}
	if w.rng.IntN(3) == 0 { // and a tail that may be torn on top
		for range w.rng.IntN(20) {
			w.append()
		}
		w.disk.Crash()
	} else {
		w.check(w.j.Close())
	}
	var segs []string
	names, err := w.disk.List("/j")
	w.check(err)
	for _, name := range names {
		if strings.HasSuffix(name, segmentSuffix) {
			segs = append(segs, "/j/"+name)
		}
	}
	if len(segs) == 0 {
		return w
	}
	if w.rng.IntN(3) > 0 {
		w.rot(segs)
		return w
	}
	// With more than one piece of rot the last mark may be among them, and with it the word on
	// what was marked last.
	w.marked = 0
	for range 2 + w.rng.IntN(3) {
		segs = w.rot(segs)
	}
	return w
}

// rot spoils one of the segments in one way, and returns those that are left.
func (w *world) rot(segs []string) []string {
	name := segs[w.rng.IntN(len(segs))]
	info, err := w.disk.Stat(name)
	w.check(err)
	if info.Size() < 4*BlockBytes {
		return segs // cut short before
	}
	off := w.rng.Int64N(info.Size())
	switch w.rng.IntN(7) {
	case 0:
		w.check(w.disk.FlipBit(name, off, uint(w.rng.IntN(8))))
	case 1:
		w.check(w.disk.Rot(name, off, int(min(info.Size()-off, 1+w.rng.Int64N(6000)))))
	case 2:
		off &^= disk.SectorBytes - 1
		w.check(w.disk.Zero(name, off, int(min(info.Size()-off, disk.SectorBytes*(1+w.rng.Int64N(20))))))
	case 3:
		w.check(w.disk.Unreadable(name, off))
	case 4: // one copy of the header
		if w.rng.IntN(2) == 0 {
			off = info.Size() - BlockBytes
		} else {
			off = 0
		}
		w.check(w.disk.Rot(name, off+w.rng.Int64N(176), 1))
	case 5: // where the frames are
		w.check(w.disk.FlipBit(name, firstFrame+w.rng.Int64N(min(info.Size()-firstFrame, 9000)), 3))
	case 6:
		if w.rng.IntN(5) > 0 {
			return segs
		}
		switch w.rng.IntN(3) {
		case 0:
			w.check(w.disk.Rot(name, 0, 200))
			w.check(w.disk.Rot(name, info.Size()-BlockBytes, 200))
		case 1:
			w.check(w.disk.Truncate(name, off))
		case 2:
			if len(segs) > 2 && name != segs[0] && name != segs[len(segs)-1] {
				w.check(w.disk.Remove(name))
				return slices.DeleteFunc(segs, func(s string) bool { return s == name })
			}
		}
	}
	return segs
}

// readable gives what the journal holds around its damage.
func (w *world) readable() []item {
	var got []item
	from := Position(0)
	for {
		err := w.j.Replay(from, func(pos Position, kind Kind, payload []byte) error {
			if kind == Missing {
				return nil
			}
			if !strings.HasPrefix(string(payload), headPrefix) {
				got = append(got, item{pos, kind, string(payload)})
			}
			return nil
		})
		if err == nil {
			return got
		}
		if !IsDamage(err) {
			w.fatalf("%v", err)
		}
		d := w.j.Damage()
		i := slices.IndexFunc(d, func(d Damage) bool { return d.To > from })
		if i < 0 {
			w.fatalf("Replay says %v, Damage says %v", err, d)
		}
		from = d[i].To
	}
}

// lostIn lists the records that were lost from the range. A repair before it may
// have moved its From down, so lost says what is not settled yet.
func (w *world) lostIn(d Damage, lost map[Position]bool) (shared []Record, local int) {
	for _, it := range w.log[w.trimmed:] {
		if it.pos >= d.From && it.pos < d.To && lost[it.pos] {
			if it.kind.Local() {
				local++
			} else {
				shared = append(shared, Record{it.kind, []byte(it.payload)})
			}
		}
	}
	return shared, local
}

// TestRot spoils what marked records lie in, in every way a disk does, and wants each
// marked record either read or reported lost; then it repairs or abandons
// everything and wants a journal that works and holds what it should.
func TestRot(t *testing.T) {
	var repaired, abandoned, unknown, clean int
	seeds(t, 400, func(t *testing.T, seed uint64) {
		w := rotted(t, seed)
		w.open()
		damage := w.j.Damage()
		if damage == nil {
			clean++
		}
		got := w.readable()
		byPos := make(map[Position]item, len(got))
		for i, g := range got {
			byPos[g.pos] = g
			if i > 0 && got[i-1].pos >= g.pos {
				w.fatalf("%v comes behind %v", g.pos, got[i-1].pos)
			}
		}
		for i, it := range w.log[w.trimmed:] {
			g, ok := byPos[it.pos]
			if ok && g != it {
				w.fatalf("record at %v came back as %d %.20q", it.pos, g.kind, g.payload)
			}
			delete(byPos, it.pos)
			inDamage := slices.ContainsFunc(damage, func(d Damage) bool { return d.From <= it.pos && it.pos < d.To })
			if !ok && !inDamage && w.trimmed+i < w.marked {
				w.fatalf("the marked record at %v is gone and no damage is reported: %v", it.pos, damage)
			}
			if ok && inDamage {
				w.fatalf("the record at %v came back out of damage %v", it.pos, damage)
			}
		}
		if len(byPos) > 0 {
			w.fatalf("invented: %v", byPos)
		}
		if damage != nil {
			if _, err := w.j.Append(kindEntry, nil); !IsDamage(err) {
				w.fatalf("append to a damaged journal: %v", err)
			}
			if err := w.j.Sync(); !IsDamage(err) {
				w.fatalf("sync of a damaged journal: %v", err)
			}
		}
		lost := make(map[Position]bool)
		for _, it := range w.log[w.trimmed:] {
			if !slices.Contains(got, it) {
				lost[it.pos] = true
			}
		}
		var back []string
		for n := 0; len(w.j.Damage()) > 0; n++ {
			list := w.j.Damage()
			d := list[w.rng.IntN(len(list))]
			shared, local := w.lostIn(d, lost)
			if !d.Unknown && (len(shared) != d.Shared || local > d.Local) {
				w.fatalf("%v: lost are %d shared and %d local records and heads", d, len(shared), local)
			}
			switch {
			case d.Unknown:
				unknown++
				w.check(w.j.Abandon(d))
			case w.rng.IntN(4) == 0:
				abandoned++
				w.check(w.j.Abandon(d))
			default:
				repaired++
				if len(shared) > 0 {
					wrong := slices.Clone(shared)
					i := w.rng.IntN(len(wrong))
					wrong[i].Payload = append(slices.Clone(wrong[i].Payload), 'x')
					if err := w.j.Repair(d, wrong); !errors.Is(err, ErrMismatch) {
						w.fatalf("repair with a wrong record: %v", err)
					}
					if err := w.j.Repair(d, shared[1:]); !errors.Is(err, ErrMismatch) {
						w.fatalf("repair with a record too few: %v", err)
					}
				}
				w.check(w.j.Repair(d, shared))
				for _, r := range shared {
					back = append(back, string(r.Payload))
				}
			}
			for pos := range lost {
				if pos >= d.From && pos < d.To {
					delete(lost, pos)
				}
			}
			if len(w.j.Damage()) >= len(list) {
				w.fatalf("after settling %v damage is still %v", d, w.j.Damage())
			}
		}
		// Everything that was readable or repaired stands, in order; positions of the readable stay.
		for range 2 {
			now := w.replayed()
			var payloads []string
			for _, g := range now {
				payloads = append(payloads, g.payload)
			}
			for _, g := range got {
				if !slices.Contains(now, g) {
					w.fatalf("the record at %v was readable before the repair and is gone", g.pos)
				}
			}
			for _, p := range back {
				if !slices.Contains(payloads, p) {
					w.fatalf("the repaired record %.20q is gone", p)
				}
			}
			if len(now) != len(got)+len(back) {
				w.fatalf("%d records, %d were readable and %d repaired", len(now), len(got), len(back))
			}
			if !slices.IsSortedFunc(now, func(a, b item) int { return order(a.payload) - order(b.payload) }) {
				w.fatalf("out of order")
			}
			w.check(w.j.Close())
			w.open()
			if d := w.j.Damage(); d != nil {
				w.fatalf("damage came back after the repair: %v", d)
			}
		}
		// And it works on.
		w.log, w.trimmed = w.replayed(), 0
		w.synced, w.marked = len(w.log), 0
		for range 30 {
			w.append()
		}
		w.mark()
		w.check(w.j.Close())
		w.open()
		if d := w.j.Damage(); d != nil {
			w.fatalf("damage after the repair and more work: %v", d)
		}
		w.verify()
		w.check(w.j.Close())
	})
	t.Logf("%d repaired, %d abandoned, %d of unknown extent, %d runs without damage", repaired, abandoned, unknown, clean)
	if *seedFlag == 0 && (repaired == 0 || abandoned == 0 || unknown == 0 || clean == 0) {
		t.Error("one of these never happened")
	}
}

// order is the number that a payload begins with.
func order(payload string) (n int) {
	fmt.Sscan(payload, &n)
	return n
}

// between lists the shared records that are missing between the good ones on
// either side of the range.
func (w *world) between(d Damage) []Record {
	from, to, have := -1, 1<<30, make(map[int]bool)
	for _, g := range w.readable() {
		n := order(g.payload)
		have[n] = true
		if g.pos < d.From {
			from = n
		} else if to == 1<<30 {
			to = n
		}
	}
	var lost []Record
	for _, it := range w.log[w.trimmed:] {
		if n := order(it.payload); n > from && n < to && it.pos < d.To && !have[n] && !it.kind.Local() {
			lost = append(lost, Record{it.kind, []byte(it.payload)})
		}
	}
	return lost
}

// TestCrashInRepair cuts the power in the middle of repairs until one gets
// through, and wants each try to leave a smaller damage or the same.
func TestCrashInRepair(t *testing.T) {
	cuts := 0
	seeds(t, 400, func(t *testing.T, seed uint64) {
		w := rotted(t, seed)
		w.open()
		for n := 0; len(w.j.Damage()) > 0; n++ {
			d := w.j.Damage()[0]
			if d.Unknown {
				return // nothing to repair with
			}
			lost := w.between(d)
			if len(lost) != d.Shared {
				w.fatalf("try %d, %v: the model misses %d", n, d, len(lost))
			}
			left := w.rng.IntN(60)
			if n > 20 {
				left = 1 << 30
			}
			w.disk.Before(func(op disk.Op) error {
				if left--; left < 0 && op.Kind != disk.OpRead {
					return disk.ErrPower
				}
				return nil
			})
			ranges := len(w.j.Damage())
			err := w.j.Repair(d, lost)
			w.disk.Before(nil)
			if err == nil && w.rng.IntN(2) == 0 {
				w.disk.Crash()
				w.open()
				if len(w.j.Damage()) >= ranges {
					w.fatalf("try %d: %v was repaired and is back", n, d)
				}
			}
			if err != nil {
				if !errors.Is(err, disk.ErrPower) {
					w.fatalf("try %d: %v", n, err)
				}
				cuts++
				w.disk.Crash()
				w.open()
			}
		}
		have, last := make(map[int]bool), -1
		for _, it := range w.replayed() {
			n := order(it.payload)
			if n <= last {
				w.fatalf("record %d comes behind %d", n, last)
			}
			have[n], last = true, n
		}
		for i, it := range w.log[w.trimmed:] {
			if w.trimmed+i < w.marked && !it.kind.Local() && !have[order(it.payload)] {
				w.fatalf("the marked record %.20q is gone after the repair", it.payload)
			}
		}
	})
	if cuts == 0 {
		t.Error("no repair was cut")
	}
}
