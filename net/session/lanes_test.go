package session

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"
)

// TestRecordSizes: records of any length pass, the longest included, and no longer
// ones.
func TestRecordSizes(t *testing.T) {
	w := newWorld(t, 51, nil)
	w.up()
	for lane := range Lane(lanes) {
		longest := DefaultLaneBytes[lane]/2 - recordHead
		var got [][]byte
		w.node[1].got = func(l Lane, r []byte) {
			if l == lane {
				got = append(got, bytes.Clone(r))
			}
		}
		var want [][]byte
		for _, size := range []int{0, 1, 0, 0, 2, 3, 1451, 1452, 1453, blockSize - 4, blockSize, ownRecord - 1, ownRecord, ownRecord + 1, longest, 5} {
			if size > longest {
				continue
			}
			r := make([]byte, size)
			fillPattern(r, uint64(size))
			if err := w.node[0].session.Send(w.now, lane, r); err != nil {
				t.Fatalf("lane %d, %d bytes: %v", lane, size, err)
			}
			want = append(want, r)
			w.run(20 * time.Millisecond)
		}
		if err := w.node[0].session.Send(w.now, lane, make([]byte, longest+1)); !errors.Is(err, ErrRecordTooLarge) {
			t.Errorf("lane %d, %d bytes: %v", lane, longest+1, err)
		}
		w.run(200 * time.Millisecond)
		if len(got) != len(want) {
			t.Fatalf("lane %d: %d of %d records", lane, len(got), len(want))
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Errorf("lane %d: record %d of %d bytes came as %d other ones", lane, i, len(want[i]), len(got[i]))
			}
		}
	}
	if longest := DefaultLaneBytes[LaneBulk]/2 - recordHead; longest < 16<<20 {
		t.Errorf("the bulk lane takes %d bytes, not 16 MiB", longest)
	}
	if err := w.node[0].session.Send(w.now, 4, nil); !errors.Is(err, ErrNoLane) {
		t.Errorf("lane 4: %v", err)
	}
}

// TestBackPressure: a lane that is not taken fills up to its bounds and holds
// nothing else back; when it is taken again, everything arrives.
func TestBackPressure(t *testing.T) {
	const bound = 256 << 10
	w := newWorld(t, 52, func(_ int, c *Config) { c.LaneBytes = [lanes]int{bound, bound, bound, bound} })
	w.up()
	from, to := w.node[0], w.node[1]
	taken := map[Lane]int{}
	hold := true
	record := make([]byte, 1000)
	sent := 0
	pump := func() {
		// By hand: flush would take every lane.
		w.now += 100 * time.Microsecond
		for i, n := range w.node {
			n.session.Advance(w.now)
			for {
				size, on := n.session.Next(w.now, n.buf[:])
				if size == 0 {
					break
				}
				for net := A; net < networks; net++ {
					if on.Has(net) {
						w.node[1-i].session.Receive(w.now, net, bytes.Clone(n.buf[:size]))
					}
				}
			}
			n.session.Events()
		}
		for lane := range Lane(lanes) {
			if lane != LaneBulk || !hold {
				taken[lane] += len(to.session.Take(lane))
			}
		}
	}
	full := 0
	for range 2000 {
		switch err := from.session.Send(w.now, LaneBulk, record); {
		case err == nil:
			sent++
		case errors.Is(err, ErrLaneFull):
			full++
		default:
			t.Fatal(err)
		}
		if err := from.session.Send(w.now, LaneRequest, record); err != nil {
			t.Fatalf("the request lane is held back: %v", err)
		}
		pump()
	}
	if limit := 2 * bound / 1004; sent > limit || sent < limit-300 || full == 0 {
		t.Errorf("%d records taken in, %d fit into both bounds", sent, limit)
	}
	if taken[LaneRequest] < 1990 || taken[LaneBulk] != 0 {
		t.Errorf("taken: %v", taken)
	}
	var st Stats
	if to.session.Stats(&st); st.Lane[LaneBulk].Untaken > bound {
		t.Errorf("the receiver keeps %d bytes, its bound is %d", st.Lane[LaneBulk].Untaken, bound)
	}
	if room := from.session.Room(LaneBulk); room >= 1000 {
		t.Errorf("room for %d bytes in a full lane", room)
	}
	hold = false
	for range 1000 {
		pump()
	}
	if taken[LaneBulk] != sent || from.session.Queued(LaneBulk) != 0 {
		t.Errorf("%d of %d records taken at last, %d bytes queued", taken[LaneBulk], sent, from.session.Queued(LaneBulk))
	}
}

// TestPriority: what a higher lane has to send leaves before anything of a lower
// one; bulk gets a share beside requests, but none beside commits.
func TestPriority(t *testing.T) {
	w := newWorld(t, 53, nil)
	w.each(func(f *fault) { f.rate = 12_500_000 }) // 100 Mbit/s, so that the windows are what is short
	w.up()
	s := w.node[0].session
	record := make([]byte, 1000)
	send := func(lane Lane, n int) {
		for range n {
			if err := s.Send(w.now, lane, record); err != nil {
				t.Fatal(err)
			}
		}
	}
	var order []Lane
	w.node[1].got = func(lane Lane, r []byte) { order = append(order, lane) }
	send(LaneBulk, 3000)
	w.run(20 * time.Millisecond)
	order = nil
	send(LaneRequest, 2000)
	send(LaneCommit, 300)
	send(LaneControl, 5)
	w.run(10 * time.Second)
	position := func(lane Lane, k int) int {
		for i, l := range order {
			if l == lane {
				if k--; k == 0 {
					return i
				}
			}
		}
		t.Fatalf("lane %d has no record %d", lane, k)
		return 0
	}
	// What stands in the networks already may come first.
	under := 2 * maxWindow / 1000
	if p := position(LaneControl, 5); p > under {
		t.Errorf("the last control record came as number %d", p)
	}
	if p := position(LaneCommit, 300); p > under+310 {
		t.Errorf("the last commit record came as number %d", p)
	}
	last := position(LaneRequest, 2000)
	bulk := 0
	for _, l := range order[position(LaneCommit, 300):last] {
		if l == LaneBulk {
			bulk++
		}
	}
	if bulk < 1000/bulkShare || bulk > 3000/bulkShare+under {
		t.Errorf("%d bulk records came beside 2000 requests", bulk)
	}
}

// TestOldRecords: what arrived before a loss can be taken until the loss is told,
// and what comes of the next connection only after that.
func TestOldRecords(t *testing.T) {
	w := newWorld(t, 54, nil)
	w.up()
	s := w.node[1].session
	hold := func(d time.Duration) { // SFU 2 is served, but nothing is taken
		for end := w.now + d; w.now < end; w.now += 100 * time.Microsecond {
			for i, n := range w.node {
				n.session.Advance(w.now)
				for {
					size, on := n.session.Next(w.now, n.buf[:])
					if size == 0 {
						break
					}
					for net := A; net < networks; net++ {
						if on.Has(net) {
							w.node[1-i].deliver(&delivery{net: net, frame: bytes.Clone(n.buf[:size])})
						}
					}
				}
			}
		}
	}
	send := func(text string) {
		if err := w.node[0].session.Send(w.now, LaneCommit, []byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	send("old 1")
	send("old 2")
	hold(5 * time.Millisecond)
	w.node[0].start() // a new life
	hold(300 * time.Millisecond)
	w.node[0].session.Events()
	send("new 1")
	hold(5 * time.Millisecond)
	take := func() string { return fmt.Sprintf("%s", s.Take(LaneCommit)) }
	if got := take(); got != "[old 1 old 2]" {
		t.Errorf("before the loss is told: %s", got)
	}
	if got := take(); got != "[]" {
		t.Errorf("and then: %s", got)
	}
	if got := text(s.Events()[:2]); got != "lost incarnation=1 reason=replaced\nup incarnation=2 restarted\n" {
		t.Errorf("events: %s", got)
	}
	if got := take(); got != "[new 1]" {
		t.Errorf("after it: %s", got)
	}
	// A connection that begins and ends between two calls of Events leaves no records:
	// there is no turn in which they could be taken.
	send("new 2")
	hold(5 * time.Millisecond)
	w.node[0].start()
	hold(300 * time.Millisecond)
	w.node[0].session.Events()
	send("short")
	hold(5 * time.Millisecond)
	w.node[0].session.Close(w.now)
	hold(5 * time.Millisecond)
	if got := take(); got != "[new 2]" {
		t.Errorf("before two losses are told: %s", got)
	}
	kinds := ""
	for _, e := range s.Events() {
		if e.Kind == Up || e.Kind == Lost {
			kinds += e.Kind.String() + " "
		}
	}
	if got := take(); got != "[]" || kinds != "lost up lost " {
		t.Errorf("after %s: %s", kinds, got)
	}
}

// contains reports whether n is in the set.
func (s spans) contains(n uint64) bool {
	i := s.find(n + 1)
	return i < len(s) && s[i].lo <= n
}

// TestSpans compares a set of spans with a map.
func TestSpans(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 1))
	for range 200 {
		var s spans
		model := map[uint64]bool{}
		for range 100 {
			lo := uint64(rng.IntN(60))
			hi := lo + uint64(rng.IntN(12))
			add := rng.IntN(3) > 0
			if add {
				s.add(lo, hi)
			} else {
				s.remove(lo, hi)
			}
			for n := lo; n < hi; n++ {
				model[n] = add
			}
			for n := range uint64(80) {
				if s.contains(n) != model[n] {
					t.Fatalf("after %v [%d,%d): %d is wrong in %v", add, lo, hi, n, s)
				}
			}
			for i := range s {
				if s[i].lo >= s[i].hi || i > 0 && s[i-1].hi >= s[i].lo {
					t.Fatalf("not sorted, disjoint and apart: %v", s)
				}
			}
		}
	}
}

// TestWindow compares the window with a map, over jumps of all sizes.
func TestWindow(t *testing.T) {
	rng := rand.New(rand.NewPCG(2, 2))
	var w window
	model := [networks]map[uint64]bool{{}, {}}
	for range 200_000 {
		n := w.top + uint64(rng.IntN(4))
		switch rng.IntN(400) {
		case 0:
			n += uint64(rng.IntN(3 * windowSize))
		case 1, 2, 3, 4:
			n += uint64(rng.IntN(300))
		default:
			if back := uint64(rng.IntN(1 << rng.IntN(18))); back < n {
				n -= back
			}
		}
		net := Network(rng.IntN(2))
		if old := n+windowSize < w.top; w.old(n) != old {
			t.Fatalf("top %d: old(%d) is %v", w.top, n, !old)
		} else if old {
			continue
		}
		if w.seen(net, n) != model[net][n] {
			t.Fatalf("top %d: seen(%v, %d) is %v", w.top, net, n, !model[net][n])
		}
		w.mark(net, n)
		model[net][n] = true
		if !w.seen(net, n) {
			t.Fatalf("%d is not seen after it was marked", n)
		}
	}
}

// TestBuffer compares a buffer with a plain slice.
func TestBuffer(t *testing.T) {
	rng := rand.New(rand.NewPCG(3, 3))
	var p pool
	b := buffer{pool: &p}
	model := make([]byte, 8*blockSize)
	fillPattern(model, 9)
	low, high := 0, 0
	for high < len(model) {
		n := min(1+rng.IntN(50_000), len(model)-high)
		b.write(uint64(high), model[high:high+n])
		high += n
		for at := low; at < high; {
			part := b.peek(uint64(at), min(high-at, 1+rng.IntN(50_000)))
			if len(part) == 0 || !bytes.Equal(part, model[at:at+len(part)]) {
				t.Fatalf("%d bytes at %d differ", len(part), at)
			}
			at += len(part)
		}
		low += rng.IntN(high - low + 1)
		b.release(uint64(low))
		if keep := (high-low)/blockSize + 2; len(b.blocks) > keep {
			t.Fatalf("%d blocks kept for %d bytes", len(b.blocks), high-low)
		}
	}
	b.write(uint64(high), make([]byte, 2*poolBlocks*blockSize))
	b.reset()
	if b.base != 0 || len(b.blocks) != 0 || len(p.free) != poolBlocks {
		t.Errorf("after reset: base %d, %d blocks, %d free", b.base, len(b.blocks), len(p.free))
	}
}

// TestHoles: pieces that wait for an earlier one are bounded in number.
func TestHoles(t *testing.T) {
	l := receiveLane{buf: buffer{pool: new(pool)}, window: 1 << 20, limit: 1 << 20}
	held := 0
	for at := uint64(1); at < 1<<15; at += 2 {
		if l.fits(at, 1) {
			l.add(at, []byte{0})
			held++
		}
	}
	if held != maxHeld || len(l.held) != maxHeld {
		t.Errorf("%d pieces taken, %d held, the bound is %d", held, len(l.held), maxHeld)
	}
	if !l.fits(0, 1) {
		t.Error("the piece that they wait for does not fit")
	}
}

// TestReceiveLane gives a lane the pieces of a stream in every kind of order,
// overlapping and repeated.
func TestReceiveLane(t *testing.T) {
	rng := rand.New(rand.NewPCG(4, 4))
	for range 100 {
		var p pool
		in := sendLane{buf: buffer{pool: &p}, limit: 1 << 20}
		var want [][]byte
		for range 1 + rng.IntN(40) {
			r := make([]byte, rng.IntN(1<<rng.IntN(16)))
			fillPattern(r, rng.Uint64())
			want = append(want, r)
			in.write(r)
		}
		var stream []byte
		for at := uint64(0); at < in.end; {
			part := in.buf.peek(at, int(in.end-at))
			stream = append(stream, part...)
			at += uint64(len(part))
		}
		out := receiveLane{buf: buffer{pool: &p}, window: 1 << 22, limit: 1 << 22}
		var got [][]byte
		for out.next < in.end {
			lo := rng.IntN(len(stream))
			hi := min(lo+1+rng.IntN(8000), len(stream))
			if rng.IntN(3) == 0 {
				lo = int(out.next)
				hi = min(lo+1+rng.IntN(1400), len(stream))
			}
			if !out.fits(uint64(lo), hi-lo) {
				t.Fatal("does not fit")
			}
			out.add(uint64(lo), stream[lo:hi])
			if rng.IntN(10) == 0 {
				for _, r := range out.take(false) {
					got = append(got, bytes.Clone(r))
				}
			}
		}
		for _, r := range out.take(false) {
			got = append(got, bytes.Clone(r))
		}
		if len(got) != len(want) || out.broken || out.taken != in.end || len(out.held) != 0 {
			t.Fatalf("%d of %d records, taken up to %d of %d", len(got), len(want), out.taken, in.end)
		}
		for i := range want {
			if !bytes.Equal(got[i], want[i]) {
				t.Fatalf("record %d differs", i)
			}
		}
	}
}
