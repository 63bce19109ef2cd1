package session

import (
	"bytes"
	"math"
	"testing"
	"time"
)

// TestPacer: what a Pacer lets pass is what the wire carries, a batch at a time, and what
// does not wait for it is charged all the same.
func TestPacer(t *testing.T) {
	for _, c := range []struct {
		mbits int
		batch int // frames that leave together in a flood
	}{{100, 2}, {1000, 20}, {2500, 51}} {
		var p Pacer
		p.SetSpeed(c.mbits)
		now, bytes, batches := time.Duration(0), 0, 0
		frame := func() {
			p.sent(now, 1500)
			bytes += 1500 + wireOverhead
		}
		for p.room(now) > 0 {
			frame()
		}
		if queue := p.empty - now; queue < pacerDepth || queue > pacerDepth+time.Duration(2*1538*8e3/c.mbits) {
			t.Errorf("%d Mbit/s: the queue may be %v long", c.mbits, queue)
		}
		for now < time.Second {
			if p.room(p.opensAt()-1) != 0 {
				t.Fatalf("%d Mbit/s: it opens before it says", c.mbits)
			}
			now = p.opensAt()
			batches++
			frames := 0
			for p.room(now) > 0 {
				frame()
				frames++
			}
			if frames < c.batch || frames > c.batch+1 {
				t.Fatalf("%d Mbit/s: %d frames at once, not %d", c.mbits, frames, c.batch)
			}
		}
		if share := float64(bytes) / (float64(c.mbits) / 8 * 1e6); share < 0.98 || share > 1 {
			t.Errorf("%d Mbit/s: %.3f of it in a second", c.mbits, share)
		}
		// The higher lanes do not ask. They shut it for as long as the NIC is busy, and no
		// longer than its queue can be.
		for range 10_000 {
			p.sent(now, 1500)
		}
		if p.room(now+pacerDebt-pacerDepth) != 0 || p.room(now+pacerDebt) <= 0 {
			t.Errorf("%d Mbit/s: after a burst it opens in %v", c.mbits, p.opensAt()-now)
		}
	}
	for _, mbits := range []int{-1, 0, FastNIC, 100_000} {
		var p Pacer
		p.SetSpeed(1000)
		p.SetSpeed(mbits)
		for range 10_000 {
			p.sent(0, 1500)
		}
		if p.room(0) != math.MaxInt || !p.easy(0) {
			t.Errorf("%d Mbit/s: something is kept back", mbits)
		}
	}
}

// TestPacedNoLonger: what is kept back and turns out not to be lost waits for no NIC any
// more, and the time after that does not count.
func TestPacedNoLonger(t *testing.T) {
	pacers := [networks]*Pacer{{}, {}}
	w := newWorld(t, 98, func(i int, c *Config) {
		if i == 0 {
			c.Pacer = pacers
		}
	})
	w.up()
	for _, p := range pacers {
		p.SetSpeed(1000)
	}
	n, s := w.node[0], w.node[0].session
	send := func() {
		if err := s.Send(w.now, LaneBulk, make([]byte, 1400)); err != nil {
			t.Fatal(err)
		}
	}
	var late *delivery
	n.sends = func(frame []byte, on Networks) bool {
		if late != nil || len(frame) < 1400 {
			return false
		}
		late = &delivery{from: 0, net: A, frame: bytes.Clone(frame)}
		if on == OnB {
			late.net = B
		}
		return true
	}
	for range 8 {
		send()
	}
	n.flush()
	busy := func(d time.Duration) {
		for end := w.now + d; w.now < end; w.run(50 * time.Microsecond) {
			for _, p := range pacers {
				for range 100 { // more than it opens for before the next time
					p.sent(w.now, 1500)
				}
			}
		}
	}
	busy(2 * time.Millisecond)
	if s.Held() == never {
		t.Fatal("what did not come was not kept back")
	}
	w.schedule(late, 0)
	busy(3 * time.Millisecond)
	if s.Held() != never || s.Queued(LaneBulk) != 0 {
		t.Fatalf("it came after all: held until %v, %d bytes are not acknowledged", s.Held(), s.Queued(LaneBulk))
	}
	w.run(time.Second) // the NICs are long done
	send()
	w.run(5 * time.Millisecond)
	var st Stats
	s.Stats(&st)
	if waited := st.Network[A].Paced + st.Network[B].Paced; waited > 5*time.Millisecond || s.Queued(LaneBulk) != 0 {
		t.Errorf("%v counted as waiting for a NIC", waited)
	}
}

// TestUrgentNeverPaced: behind NICs that are full, records of the control and commit lanes,
// their repetition, acks and probes leave at once; those of the others wait for as long
// as Held says, and a session that is held asks to be called then.
func TestUrgentNeverPaced(t *testing.T) {
	pacers := [networks]*Pacer{{}, {}}
	w := newWorld(t, 97, func(i int, c *Config) {
		if i == 0 {
			c.Pacer = pacers
		}
	})
	w.up()
	for _, p := range pacers {
		p.SetSpeed(1000)
	}
	s, n := w.node[0].session, w.node[0]
	next := func() (int, Networks) { return s.Next(w.now, n.buf[:]) }
	record := make([]byte, 1000)
	send := func(lane Lane) {
		if err := s.Send(w.now, lane, record); err != nil {
			t.Fatal(err)
		}
	}
	full := func() {
		for _, p := range pacers {
			for p.room(w.now) > 0 {
				p.sent(w.now, 1500)
			}
		}
	}
	full()
	send(LaneBulk)
	send(LaneRequest)
	if size, _ := next(); size != 0 {
		t.Error("a frame of the request or bulk lane left although the NICs are full")
	}
	at := s.Held()
	if at != min(pacers[A].opensAt(), pacers[B].opensAt()) || s.NextTimeout() > at {
		t.Errorf("held until %v, next time-out %v; the NICs have room at %v and %v", at, s.NextTimeout(), pacers[A].opensAt(), pacers[B].opensAt())
	}
	for _, lane := range []Lane{LaneControl, LaneCommit} {
		before := pacers[A].empty
		send(lane)
		if size, on := next(); size < 1000 || on != Both {
			t.Errorf("lane %d: %d bytes on %v", lane, size, on)
		}
		if pacers[A].empty <= before {
			t.Errorf("lane %d: the NIC was not charged", lane)
		}
		if size, _ := next(); size != 0 {
			t.Errorf("behind lane %d a frame of the others left", lane)
		}
	}
	w.now = s.Held()
	if size, on := next(); size < 1000 || on == Both || on == None {
		t.Errorf("at %v a frame of %d bytes left on %v", w.now, size, on)
	}
	var st Stats
	s.Stats(&st)
	if st.Network[A].Paced+st.Network[B].Paced == 0 {
		t.Error("the wait was not counted")
	}

	// What is cut and repeated is not kept back either, nor is what probes the networks.
	full()
	commits := 0
	w.node[1].got = func(lane Lane, _ []byte) {
		if lane == LaneCommit {
			commits++
		}
	}
	w.run(10 * time.Millisecond)
	w.each(cut)
	send(LaneCommit)
	n.flush()
	w.each(heal)
	before := commits
	for end := w.now + 100*time.Millisecond; w.now < end; w.run(100 * time.Microsecond) {
		full()
	}
	s.Stats(&st)
	if commits != before+1 || !st.Network[A].Up || !st.Network[B].Up || st.Network[A].ProbesMissed != 0 {
		t.Errorf("%d commits arrived; %+v", commits-before, st.Network)
	}
}
