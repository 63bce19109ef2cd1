package session

import (
	"bytes"
	"testing"
	"time"
)

// at runs until SFU i+1 sees an event of this kind and returns how long that took.
func (w *world) at(t *testing.T, i int, kind EventKind, within time.Duration) time.Duration {
	t.Helper()
	start, from := w.now, len(w.node[i].events)
	for w.now < start+within {
		w.run(time.Millisecond)
		for _, e := range w.node[i].events[from:] {
			if e.Kind == kind {
				return w.now - start
			}
		}
	}
	t.Fatalf("no %v within %v: %v", kind, within, text(w.node[i].events[from:]))
	return 0
}

func near(got, want, tolerance time.Duration) bool {
	return got >= want-tolerance && got <= want+tolerance
}

// TestSilence: suspect after 120 ms, lost after 1 s, or as configured; counted from
// the last frame, which is at most one probe old.
func TestSilence(t *testing.T) {
	for _, c := range []Config{{Suspect: 120 * time.Millisecond, Dead: time.Second}, {Suspect: 60 * time.Millisecond, Dead: 200 * time.Millisecond}} {
		w := newWorld(t, 31, func(_ int, cfg *Config) { cfg.Suspect, cfg.Dead = c.Suspect, c.Dead })
		w.up()
		w.each(cut)
		if got := w.at(t, 0, Suspect, time.Second); !near(got, c.Suspect-12*time.Millisecond, 14*time.Millisecond) {
			t.Errorf("suspected after %v, configured %v", got, c.Suspect)
		}
		if got := w.at(t, 0, Lost, 2*time.Second); !near(got, c.Dead-c.Suspect, 3*time.Millisecond) {
			t.Errorf("lost %v after the suspicion, configured %v", got, c.Dead-c.Suspect)
		}
	}
}

// TestSilenceEnds: a peer that is heard again in time is not lost.
func TestSilenceEnds(t *testing.T) {
	w := newWorld(t, 32, nil)
	w.up()
	w.each(cut)
	w.run(900 * time.Millisecond)
	w.each(heal)
	w.run(300 * time.Millisecond)
	for i := range w.node {
		w.expect(t, i, "up incarnation=1", "suspect", "recovered")
		// The silence was on all networks: none of them is held down for it.
		last := w.node[i].events[len(w.node[i].events)-2:]
		if last[0].Kind != NetworkUp || last[1].Kind != NetworkUp {
			t.Errorf("SFU %d: not both networks up again: %v", i+1, last)
		}
	}
}

// TestNetworkDown: probes find a silent network within 150 ms; the other one keeps
// the peer from being suspected.
func TestNetworkDown(t *testing.T) {
	for _, net := range []Network{A, B} {
		for name, change := range map[string]func(w *world){
			"both ways": func(w *world) { w.onNetwork(net, cut) },
			"forth":     func(w *world) { cut(&w.link[0][net]) },
			"back":      func(w *world) { cut(&w.link[1][net]) },
		} {
			w := newWorld(t, 33, nil)
			w.up()
			change(w)
			w.run(151 * time.Millisecond)
			for i, n := range w.node {
				if last := n.events[len(n.events)-1]; last.Kind != NetworkDown || last.Network != net {
					t.Errorf("%v cut %s: SFU %d did not notice within 151 ms, %v", net, name, i+1, last)
				}
			}
			w.run(2 * time.Second)
			for i := range w.node {
				w.expect(t, i, "up incarnation=1")
			}
		}
	}
}

// TestCarrier: the local carrier is believed at once.
func TestCarrier(t *testing.T) {
	w := newWorld(t, 34, nil)
	w.up()
	s := w.node[0].session
	s.LinkState(w.now, B, false)
	s.LinkState(w.now, B, false)
	w.node[0].flush()
	if e := w.node[0].events[len(w.node[0].events)-1]; e.Kind != NetworkDown || e.Network != B {
		t.Errorf("carrier gone: %v", e)
	}
	s.LinkState(w.now, B, true)
	if got := w.at(t, 0, NetworkUp, 2*time.Second); !near(got, time.Second, 30*time.Millisecond) {
		t.Errorf("up again after %v; the hold-down is 1 s", got)
	}
	// A carrier that comes back after a loss does not wait for the next retry.
	for _, moment := range []time.Duration{2000, 2050, 2130, 2200, 2270} {
		for _, n := range w.node {
			n.session.LinkState(w.now, A, false)
			n.session.LinkState(w.now, B, false)
		}
		w.each(cut)
		w.run(moment * time.Millisecond)
		if s.up {
			t.Fatal("the peer is still up")
		}
		w.each(heal)
		for _, n := range w.node {
			n.session.LinkState(w.now, A, true)
		}
		w.run(firstRetry + time.Millisecond)
		if !s.up {
			t.Errorf("carrier lost for %d ms: not up %v after it came back", moment, firstRetry)
		}
	}
	// A network that a session does not have is nobody's carrier.
	s.LinkState(w.now, 7, false)
}

// TestHoldDown: each failure doubles the hold-down, up to 30 s; a stable minute
// forgives.
func TestHoldDown(t *testing.T) {
	w := newWorld(t, 35, nil)
	w.up()
	for _, want := range []time.Duration{1, 2, 4, 8, 16, 30, 30} {
		w.onNetwork(A, cut)
		w.at(t, 0, NetworkDown, time.Second)
		w.onNetwork(A, heal)
		if got := w.at(t, 0, NetworkUp, 40*time.Second); !near(got, want*time.Second, 60*time.Millisecond) {
			t.Errorf("held down for %v, want %v s", got, int(want))
		}
	}
	// A failure while it is held down starts the next level.
	w.run(61 * time.Second)
	w.onNetwork(A, cut)
	w.at(t, 0, NetworkDown, time.Second)
	w.onNetwork(A, heal)
	if got := w.at(t, 0, NetworkUp, 40*time.Second); !near(got, time.Second, 60*time.Millisecond) {
		t.Errorf("after a stable minute held down for %v", got)
	}
	w.onNetwork(A, cut)
	w.at(t, 0, NetworkDown, time.Second)
	w.onNetwork(A, heal)
	w.run(500 * time.Millisecond)
	w.onNetwork(A, cut)
	w.run(500 * time.Millisecond)
	w.onNetwork(A, heal)
	if got := w.at(t, 0, NetworkUp, 40*time.Second); !near(got, 4*time.Second, 60*time.Millisecond) {
		t.Errorf("after a failure while held down: held for %v", got)
	}
}

// TestHeldDownIsUsed: while A is held down and B fails, everything goes over A.
func TestHeldDownIsUsed(t *testing.T) {
	w := newWorld(t, 36, nil)
	w.up()
	for range 4 {
		w.onNetwork(A, cut)
		w.run(200 * time.Millisecond)
		w.onNetwork(A, heal)
		w.run(200 * time.Millisecond)
	}
	var st Stats
	if w.node[0].session.Stats(&st); !st.Network[A].Held || st.Network[A].Up {
		t.Fatalf("A is not held down: %+v", st.Network[A])
	}
	w.onNetwork(B, cut)
	f := flows(w)
	for range 100 {
		for lane := range f {
			f[lane].send()
		}
		w.run(time.Millisecond)
	}
	w.run(20 * time.Millisecond)
	for lane, f := range f {
		if f.got != 100 || f.gap > 10*time.Millisecond {
			t.Errorf("lane %d: %d of 100 records, longest gap %v", lane, f.got, f.gap)
		}
	}
}

// TestOwnPause: a process that was paused does not suspect its peers for it, and
// stretches its judgement, by 8 at most, until it has run well for some seconds.
func TestOwnPause(t *testing.T) {
	w := newWorld(t, 37, nil)
	w.up()
	n := w.node[0]
	stretch := func() int {
		var st Stats
		n.session.Stats(&st)
		return st.Stretch
	}
	if stretch() != 1 {
		t.Fatalf("stretch %d before any pause", stretch())
	}
	for _, want := range []int{2, 4, 8, 8} {
		n.paused = w.now + 600*time.Millisecond
		w.run(650 * time.Millisecond)
		if stretch() != want {
			t.Errorf("stretch %d, want %d", stretch(), want)
		}
	}
	w.expect(t, 0, "up incarnation=1")
	// Stretched: silence counts eight times later.
	w.each(cut)
	if got := w.at(t, 0, Suspect, 4*time.Second); got < 800*time.Millisecond {
		t.Errorf("a stretched judgement suspected after %v", got)
	}
	w.each(heal)
	w.run(5 * time.Second)
	if stretch() != 1 {
		t.Errorf("stretch %d after 5 s without a pause", stretch())
	}
	w.each(cut)
	if got := w.at(t, 0, Suspect, 4*time.Second); got > 121*time.Millisecond {
		t.Errorf("a judgement that is not stretched any more suspected after %v", got)
	}
}

// TestTimersFirst: after a pause, timers that run before the sockets are read do no
// harm.
func TestTimersFirst(t *testing.T) {
	w := newWorld(t, 38, nil)
	w.up()
	n := w.node[0]
	n.paused = w.now + 800*time.Millisecond
	w.run(800*time.Millisecond - 1)
	waiting := n.backlog
	n.backlog = nil
	w.now++
	n.session.Advance(w.now)
	n.flush()
	for _, d := range waiting {
		n.deliver(d)
	}
	w.run(time.Second)
	w.expect(t, 0, "up incarnation=1")
}

// TestLongPause: a process paused for longer than its peers wait finds itself
// replaced, not restarted.
func TestLongPause(t *testing.T) {
	w := newWorld(t, 39, nil)
	w.up()
	w.node[0].paused = w.now + 3*time.Second
	w.run(6 * time.Second)
	w.expect(t, 0, "up incarnation=1", "lost incarnation=1 reason=replaced", "up incarnation=1")
	w.expect(t, 1, "up incarnation=1", "suspect", "lost incarnation=1 reason=silence", "up incarnation=1")
}

// TestCrossWired: cables of A and B exchanged at one end are told, once each, and again
// after a while, until they are right.
func TestCrossWired(t *testing.T) {
	w := newWorld(t, 40, nil)
	w.run(time.Millisecond)
	w.each(cut)
	right := false
	w.tap = func(d *delivery) {
		c := *d
		c.net, c.frame = 1-d.net, bytes.Clone(d.frame)
		if right {
			c.net = d.net
		}
		w.schedule(&c, 100*time.Microsecond)
	}
	told := func(want, again int) {
		t.Helper()
		for i, n := range w.node {
			var crossed, more [networks]int
			for _, e := range n.events {
				switch {
				case e.Kind == CrossWired && e.Again:
					more[e.Network]++
				case e.Kind == CrossWired:
					crossed[e.Network]++
				case e.Kind == Lost:
					t.Errorf("SFU %d: %v", i+1, e)
				}
			}
			if crossed != [networks]int{want, want} || more != [networks]int{again, again} {
				t.Errorf("SFU %d: crossed wires told %v and %v times, want %d and %d", i+1, crossed, more, want, again)
			}
		}
	}
	w.run(3 * time.Second)
	told(1, 0)
	w.run(2 * CrossWiredAgain)
	told(1, 2)
	right = true
	w.run(3 * CrossWiredAgain)
	told(1, 2)
}

// TestBridged: networks that are joined somewhere, so that every frame arrives on
// both, in either order, are told; otherwise nothing changes.
func TestBridged(t *testing.T) {
	for _, wrong := range []time.Duration{50 * time.Microsecond, 150 * time.Microsecond} {
		w := newWorld(t, 44, nil)
		w.tap = func(d *delivery) {
			c := *d
			c.net, c.frame = 1-d.net, bytes.Clone(d.frame)
			w.schedule(&c, wrong)
		}
		w.up()
		f := flows(w)
		for range 1000 {
			for lane := range f {
				f[lane].send()
			}
			w.run(time.Millisecond)
		}
		w.run(10 * time.Millisecond)
		for lane, f := range f {
			if f.got != 1000 {
				t.Errorf("wrong copies after %v: lane %d: %d of 1000 records", wrong, lane, f.got)
			}
		}
		for i, n := range w.node {
			kinds := map[EventKind]int{}
			for _, e := range n.events {
				kinds[e.Kind]++
			}
			if len(n.events) != 5 || kinds[Up] != 1 || kinds[CrossWired] != 2 || kinds[NetworkUp] != 2 {
				t.Errorf("wrong copies after %v: SFU %d saw %v", wrong, i+1, text(n.events))
			}
		}
	}
}

// TestMTU: jumbo frames are used where they pass, and given up where they stop to.
func TestMTU(t *testing.T) {
	w := newWorld(t, 41, func(_ int, c *Config) { c.MTU = [networks]int{9000, 9000} })
	limit := [networks]int{9000, 1500}
	w.tap = func(d *delivery) {
		f := &w.link[d.from][d.net]
		f.cut = len(d.frame) > limit[d.net]
	}
	w.up()
	mtu := func() (m [networks]int) {
		var st Stats
		w.node[0].session.Stats(&st)
		return [networks]int{st.Network[A].MTU, st.Network[B].MTU}
	}
	w.run(500 * time.Millisecond)
	if got := mtu(); got != [networks]int{9000, 1500} {
		t.Errorf("MTU in use: %v", got)
	}
	f := flows(w)
	for i := range 4000 {
		switch i {
		case 500:
			limit[A] = 1500 // a switch was replaced by a lesser one
		case 1500:
			limit = [networks]int{9000, 9000}
		}
		for lane := range f {
			f[lane].send()
		}
		w.run(5 * time.Millisecond)
		if i == 499 && mtu() != [networks]int{9000, 1500} || i == 1499 && mtu() != [networks]int{1500, 1500} {
			t.Errorf("MTU in use at step %d: %v", i, mtu())
		}
	}
	w.run(time.Second)
	if got := mtu(); got != [networks]int{9000, 9000} {
		t.Errorf("MTU in use at the end: %v", got)
	}
	for lane, f := range f {
		if f.got != 4000 {
			t.Errorf("lane %d: %d of 4000 records", lane, f.got)
		}
	}
	for i, n := range w.node {
		for _, e := range n.events[3:] {
			t.Errorf("SFU %d: %v", i+1, e)
		}
	}
}

// TestClock: the peers' wall clocks are compared to within half a round trip, and a
// step of one is seen soon.
func TestClock(t *testing.T) {
	w := newWorld(t, 42, nil)
	w.up()
	var st Stats
	if w.node[0].session.Stats(&st); st.ClockError != 0 {
		t.Errorf("without SetWall: %v ± %v", st.ClockOffset, st.ClockError)
	}
	const wall = 1_700_000_000_000_000_000
	for _, offset := range []time.Duration{-3 * time.Second, 700 * time.Millisecond} {
		w.node[0].session.SetWall(w.now, wall)
		w.node[1].session.SetWall(w.now, wall+int64(offset))
		w.run(3 * time.Second)
		w.each(func(f *fault) { f.delay = 5 * time.Millisecond })
		w.run(300 * time.Millisecond)
		w.each(func(f *fault) { f.delay = 100 * time.Microsecond })
		for i, sign := range []time.Duration{1, -1} {
			w.node[i].session.Stats(&st)
			// A moment of slow answers does not spoil the estimate.
			if st.ClockError <= 0 || st.ClockError > time.Millisecond || !near(st.ClockOffset, sign*offset, st.ClockError) {
				t.Errorf("SFU %d: offset %v ± %v, want %v", i+1, st.ClockOffset, st.ClockError, sign*offset)
			}
		}
	}
}

// TestClockSetWhileSlow: that a clock was set is believed at once, even where all answers
// are slower than those that the estimate before was made of.
func TestClockSetWhileSlow(t *testing.T) {
	w := newWorld(t, 44, nil)
	w.up()
	const wall = 1_700_000_000_000_000_000
	w.node[0].session.SetWall(0, wall)
	w.node[1].session.SetWall(0, wall)
	w.run(time.Second)
	w.each(func(f *fault) { f.delay = 10 * time.Millisecond })
	for _, set := range []struct{ own, peer time.Duration }{{0, time.Minute}, {0, -time.Minute}, {time.Hour, -time.Minute}} {
		w.node[0].session.SetWall(0, wall+int64(set.own))
		w.node[1].session.SetWall(0, wall+int64(set.peer))
		w.run(200 * time.Millisecond)
		var st Stats
		w.node[0].session.Stats(&st)
		if want := set.peer - set.own; !near(st.ClockOffset, want, st.ClockError) || st.ClockError > 20*time.Millisecond {
			t.Errorf("offset %v ± %v, want %v", st.ClockOffset, st.ClockError, want)
		}
		peer, within := w.node[0].session.PeerWall(w.now)
		if want := wall + int64(w.now+set.peer); within != st.ClockError || !near(time.Duration(peer-want), 0, within) {
			t.Errorf("the peer's clock says %d ± %v, want %d", peer, within, want)
		}
	}
}

// TestStatsOfLoss: the peer's receipts say how much of what was sent got lost.
func TestStatsOfLoss(t *testing.T) {
	w := newWorld(t, 43, nil)
	w.up()
	w.onNetwork(B, func(f *fault) { f.loss = 0.2 })
	f := flows(w)
	for range 2000 {
		f[LaneCommit].send()
		w.run(time.Millisecond)
	}
	var st Stats
	w.node[0].session.Stats(&st)
	a, b := st.Network[A], st.Network[B]
	if share := float64(b.FramesLost) / float64(b.FramesSent); a.FramesLost > 2 || share < 0.17 || share > 0.23 {
		t.Errorf("lost: A %d of %d, B %d of %d", a.FramesLost, a.FramesSent, b.FramesLost, b.FramesSent)
	}
	if !near(a.RTT, 200*time.Microsecond, 20*time.Microsecond) {
		t.Errorf("RTT %v, want 200µs", a.RTT)
	}
}
