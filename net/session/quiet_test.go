package session

import (
	"testing"
	"time"
)

// heartbeats makes SFU 1 send a record on the control lane every interval and SFU 2
// answer each at once, as a leader and its follower do.
func heartbeats(t *testing.T, w *world, interval, d time.Duration) (answered int) {
	t.Helper()
	w.node[1].got = func(lane Lane, record []byte) {
		if err := w.node[1].session.Send(w.now, lane, record); err != nil {
			t.Fatal(err)
		}
	}
	w.node[0].got = func(Lane, []byte) { answered++ }
	for end := w.now + d; w.now < end; w.run(interval) {
		if err := w.node[0].session.Send(w.now, LaneControl, make([]byte, 50)); err != nil {
			t.Fatal(err)
		}
	}
	return answered
}

// TestHeartbeatsStandForProbes: between peers that talk all the time, few frames but
// those leave; no probe is missed, and what only probes tell is still told.
func TestHeartbeatsStandForProbes(t *testing.T) {
	w := newWorld(t, 91, nil)
	w.up()
	for i := range w.node {
		w.node[i].session.SetWall(w.now, int64(i)*int64(time.Second)+1)
	}
	var before [2]Stats
	for i, n := range w.node {
		n.session.Stats(&before[i])
	}
	if n := heartbeats(t, w, 30*time.Millisecond, 3*time.Second); n != 100 {
		t.Fatalf("%d of 100 heartbeats answered", n)
	}
	for i, n := range w.node {
		var st Stats
		n.session.Stats(&st)
		for net := range st.Network {
			// 100 of the heartbeats, a probe or two for the one interval of six without any
			// and their replies; without their help it would be 120 probes, and 50 acks.
			sent := st.Network[net].FramesSent - before[i].Network[net].FramesSent
			if missed := st.Network[net].ProbesMissed; sent > 170 || missed != 0 {
				t.Errorf("SFU %d, network %v: %d frames, %d probes missed", i+1, Network(net), sent, missed)
			}
		}
		if !near(st.ClockOffset, time.Duration(1-2*i)*time.Second, time.Millisecond) {
			t.Errorf("SFU %d: the peer's clock is %v off", i+1, st.ClockOffset)
		}
	}
}

// TestHeartbeatsLeaveTheClocks: at whichever moments beside the probes heartbeats leave, both
// sides go on to measure the round trip and the peer's clock, although what stands for a later
// probe may be acked before the reply to an earlier one arrives.
func TestHeartbeatsLeaveTheClocks(t *testing.T) {
	for _, interval := range []time.Duration{25 * time.Millisecond, 30 * time.Millisecond, 40 * time.Millisecond} {
		for after := time.Duration(0); after < 25*time.Millisecond; after += 5 * time.Millisecond {
			w := newWorld(t, 97, nil)
			w.up()
			w.run(after)
			for i := range w.node {
				w.node[i].session.SetWall(w.now, int64(i)*int64(time.Second)+1)
			}
			for range 2 * time.Second / interval {
				for _, n := range w.node { // the second answers a moment later
					if err := n.session.Send(w.now, LaneControl, make([]byte, 50)); err != nil {
						t.Fatal(err)
					}
					w.run(time.Millisecond)
				}
				w.run(interval - 2*time.Millisecond)
			}
			for i, n := range w.node {
				var st Stats
				n.session.Stats(&st)
				if !near(st.ClockOffset, time.Duration(1-2*i)*time.Second, time.Millisecond) {
					t.Errorf("each %v, first after %v: to SFU %d the peer's clock is %v off", interval, after, i+1, st.ClockOffset)
				}
			}
		}
	}
}

// TestHeartbeatsSaveWakeUps: what stands for a probe does so when it leaves, so that who
// sends heartbeats, or answers them, need not wake in between, but for the one interval of
// six that has none.
func TestHeartbeatsSaveWakeUps(t *testing.T) {
	w := newWorld(t, 96, nil)
	w.up()
	var woken [2]int
	for range 100 {
		heartbeats(t, w, 2*time.Millisecond, time.Millisecond)
		for i, n := range w.node {
			if n.session.NextTimeout() < w.now+28*time.Millisecond {
				woken[i]++
			}
		}
		w.run(28 * time.Millisecond)
	}
	if woken[0] > 25 || woken[1] > 25 {
		t.Errorf("woken between %v of 100 heartbeats", woken)
	}
}

// TestStandsProveOneNetwork: what stands for a probe proves its network and no other, in
// both directions, although acks come by the one that is left.
func TestStandsProveOneNetwork(t *testing.T) {
	for _, interval := range []time.Duration{time.Millisecond, 30 * time.Millisecond} {
		for name, change := range map[string]func(w *world){
			"both ways": func(w *world) { w.onNetwork(A, cut) },
			"forth":     func(w *world) { cut(&w.link[0][A]) },
			"back":      func(w *world) { cut(&w.link[1][A]) },
		} {
			w := newWorld(t, 92, nil)
			w.up()
			heartbeats(t, w, interval, 500*time.Millisecond)
			change(w)
			// One probe interval later than without: the last packet before the cut may
			// have stood for the probe behind it.
			heartbeats(t, w, interval, 180*time.Millisecond)
			for i, n := range w.node {
				if last := n.events[len(n.events)-1]; last.Kind != NetworkDown || last.Network != A {
					t.Errorf("every %v, A cut %s: SFU %d did not notice, %v", interval, name, i+1, last)
				}
			}
			heartbeats(t, w, interval, time.Second)
			for i := range w.node {
				w.expect(t, i, "up incarnation=1")
			}
		}
	}
}

// TestCrossedUnderLoad: traffic on both networks does not hide crossed cables for long.
func TestCrossedUnderLoad(t *testing.T) {
	w := newWorld(t, 93, nil)
	w.up()
	heartbeats(t, w, time.Millisecond, 500*time.Millisecond)
	w.each(cut)
	w.tap = func(d *delivery) {
		c := *d
		c.net, c.frame = 1-d.net, append([]byte(nil), d.frame...)
		w.schedule(&c, 100*time.Microsecond)
	}
	heartbeats(t, w, time.Millisecond, 300*time.Millisecond)
	for i, n := range w.node {
		crossed := false
		for _, e := range n.events {
			crossed = crossed || e.Kind == CrossWired
		}
		if !crossed {
			t.Errorf("SFU %d: crossed cables were not told within 300 ms", i+1)
		}
	}
}

// TestQuietAck: a record of the control lane waits for company to be acknowledged; one of
// another lane does not, and takes the other's ack along. A record that is lost on both
// networks is repeated all the same, and soon where there is one network only.
func TestQuietAck(t *testing.T) {
	w := newWorld(t, 94, nil)
	w.up()
	s, arrived := w.node[0].session, 0
	w.node[1].got = func(Lane, []byte) { arrived++ }
	send := func(lane Lane) {
		if err := s.Send(w.now, lane, []byte("record")); err != nil {
			t.Fatal(err)
		}
	}
	acked := func(within time.Duration) bool {
		w.run(within)
		return s.Queued(LaneControl) == 0
	}
	w.run(w.now/25e6*25e6 + 25e6 - w.now + time.Millisecond) // behind a probe
	send(LaneControl)
	if acked(5 * time.Millisecond) {
		t.Error("the control lane's ack did not wait")
	}
	if !acked(60 * time.Millisecond) {
		t.Error("not acknowledged within 65 ms")
	}
	w.run(w.now/25e6*25e6 + 25e6 - w.now + time.Millisecond)
	send(LaneControl)
	send(LaneCommit)
	if !acked(2 * time.Millisecond) {
		t.Error("not acknowledged with the commit lane")
	}
	lost := func(within time.Duration) {
		t.Helper()
		w.each(cut)
		send(LaneControl)
		w.run(200 * time.Microsecond)
		w.onNetwork(B, heal)
		before := arrived
		w.run(within)
		if arrived != before+1 {
			t.Errorf("not repeated within %v", within)
		}
		if !acked(3 * quietAckDelay) {
			t.Error("the repetition was not acknowledged")
		}
	}
	lost(quietAckDelay + 6*time.Millisecond) // both networks are thought to be well
	w.run(300 * time.Millisecond)
	lost(6 * time.Millisecond) // A is known to be down
}

// TestEarly: a caller that is awake shortly before a probe is due sends it then; the
// next is due when it was. No probe is missed for it.
func TestEarly(t *testing.T) {
	w := newWorld(t, 95, nil)
	w.up()
	s := w.node[0].session
	var before, after Stats
	s.Stats(&before)
	for range 400 { // ten seconds
		due := s.NextTimeout()
		if from := s.EarlyFrom(); from != due-10*time.Millisecond {
			t.Fatalf("early from %v, due at %v", from, due)
		}
		w.run(due - 10*time.Millisecond - w.now - 1)
		s.Early(w.now)
		if n, _ := s.Next(w.now, make([]byte, 1500)); n != 0 {
			t.Fatal("a probe left more than two fifths of its interval early")
		}
		w.run(1)
		s.Early(w.now)
		w.node[0].flush()
		if next := s.NextTimeout(); next != due+25*time.Millisecond {
			t.Fatalf("sent at %v, due at %v; the next is due at %v", w.now, due, next)
		}
	}
	s.Stats(&after)
	for net := range after.Network {
		if n := after.Network[net].FramesSent - before.Network[net].FramesSent; n != 400 {
			t.Errorf("network %v: %d frames in 400 intervals", Network(net), n)
		}
		if after.Network[net].ProbesMissed != 0 {
			t.Errorf("network %v: %d probes missed", Network(net), after.Network[net].ProbesMissed)
		}
	}
}
