package session

import (
	"encoding/binary"
	"fmt"
	"testing"
	"time"
)

// flow sends records that bear the time of their sending, and watches how long they
// take and the longest gap between two of them.
type flow struct {
	w        *world
	from     int
	lane     Lane
	size     int
	sent     int
	got      int
	slowest  time.Duration
	gap      time.Duration
	previous time.Duration
}

func (f *flow) send() {
	record := make([]byte, f.size)
	binary.LittleEndian.PutUint64(record, uint64(f.w.now))
	if f.w.node[f.from].session.Send(f.w.now, f.lane, record) == nil {
		f.sent++
	}
}

func (f *flow) arrived(record []byte) {
	f.got++
	f.slowest = max(f.slowest, f.w.now-time.Duration(binary.LittleEndian.Uint64(record)))
	if f.previous > 0 {
		f.gap = max(f.gap, f.w.now-f.previous)
	}
	f.previous = f.w.now
}

// flows sets up one flow per lane from SFU 1 to 2.
func flows(w *world) *[lanes]flow {
	var f [lanes]flow
	for lane := range f {
		f[lane] = flow{w: w, lane: Lane(lane), size: 200}
	}
	f[LaneBulk].size = 8 << 10
	w.node[1].got = func(lane Lane, record []byte) { f[lane].arrived(record) }
	return &f
}

// TestCut cuts each network in each way at many moments, under traffic on all
// lanes. Nothing may be lost, the control and commit lanes may not notice, and the
// bulk lane may stall for at most 10 ms. The networks run at 1 Gbit/s.
func TestCut(t *testing.T) {
	const delay = 100 * time.Microsecond
	kinds := []struct {
		name string
		cut  func(w *world, net Network)
	}{
		{"both ways", func(w *world, net Network) { w.onNetwork(net, cut) }},
		{"forth", func(w *world, net Network) { cut(&w.link[0][net]) }},
		{"back", func(w *world, net Network) { cut(&w.link[1][net]) }},
		{"at the sender's interface", func(w *world, net Network) {
			w.onNetwork(net, cut)
			w.node[0].session.LinkState(w.now, net, false)
		}},
		{"at the receiver's interface", func(w *world, net Network) {
			w.onNetwork(net, cut)
			w.node[1].session.LinkState(w.now, net, false)
		}},
	}
	moments := 4
	if testing.Short() {
		moments = 3
	}
	var worst time.Duration
	for _, net := range []Network{A, B} {
		for _, kind := range kinds {
			for moment := range moments {
				name := fmt.Sprintf("%v cut %s, moment %d", net, kind.name, moment)
				w := newWorld(t, uint64(moment+1), nil)
				w.each(func(f *fault) { f.rate = 125_000_000 })
				w.up()
				f := flows(w)
				for ms := range 60 {
					f[LaneControl].send()
					f[LaneCommit].send()
					f[LaneRequest].send()
					for range 16 { // 131 MB/s: more than half of what both networks carry
						f[LaneBulk].send()
					}
					if ms == 30 {
						w.run(time.Duration(moment) * time.Millisecond / time.Duration(moments))
						kind.cut(w, net)
						w.run(time.Millisecond - time.Duration(moment)*time.Millisecond/time.Duration(moments))
						continue
					}
					w.run(time.Millisecond)
				}
				w.run(50 * time.Millisecond)
				for lane := range f {
					if f[lane].got != f[lane].sent || f[lane].sent == 0 {
						t.Errorf("%s: lane %d: %d of %d records arrived", name, lane, f[lane].got, f[lane].sent)
					}
				}
				// What a frame may wait for: the queue that the bulk lane may make.
				if limit := delay + 3*time.Millisecond; f[LaneControl].slowest > limit || f[LaneCommit].slowest > limit {
					t.Errorf("%s: control took %v, commit %v", name, f[LaneControl].slowest, f[LaneCommit].slowest)
				}
				if f[LaneBulk].gap > 10*time.Millisecond {
					t.Errorf("%s: the bulk lane stalled for %v", name, f[LaneBulk].gap)
				}
				worst = max(worst, f[LaneBulk].gap)
				for _, n := range w.node {
					for _, e := range n.events {
						if e.Kind == Lost || e.Kind == Suspect {
							t.Errorf("%s: SFU %d: %v", name, n.cfg.Local, e)
						}
					}
				}
			}
		}
	}
	t.Logf("longest stall of the bulk lane: %v", worst)
}

// TestCutAddsNothing: without a queue in the way, a record of a duplicated lane
// takes exactly the one way delay, cut or not, whichever network is cut and when.
func TestCutAddsNothing(t *testing.T) {
	for _, net := range []Network{A, B} {
		w := newWorld(t, 3, nil)
		w.up()
		f := flows(w)
		for i := range 600 {
			switch i {
			case 100, 300, 500:
				w.onNetwork(net, cut)
			case 200, 400:
				w.onNetwork(net, heal)
			}
			for lane := range f[:LaneBulk] { // each in a frame of its own
				f[lane].send()
				w.run(time.Millisecond / 3)
			}
		}
		for lane, f := range f[:LaneBulk] {
			if f.got != 600 || f.slowest != 100*time.Microsecond {
				t.Errorf("%v cut: lane %d: %d records, the slowest took %v", net, lane, f.got, f.slowest)
			}
		}
	}
}

// TestCarrierResends: what was under way on a network whose carrier goes leaves on
// the other at once, not when it is missed.
func TestCarrierResends(t *testing.T) {
	w := newWorld(t, 8, nil)
	w.up()
	f := flows(w)
	w.onNetwork(B, cut)
	for range 6 {
		f[LaneBulk].send()
	}
	w.run(50 * time.Microsecond)
	w.node[0].session.LinkState(w.now, B, false)
	w.run(150 * time.Microsecond)
	if f[LaneBulk].got != 6 {
		t.Errorf("%d of 6 records arrived 150 µs after the carrier went", f[LaneBulk].got)
	}
}

// TestLossOnOneNetwork: up to 80 % loss on one network is not noticed on the
// duplicated lanes.
func TestLossOnOneNetwork(t *testing.T) {
	for _, loss := range []float64{0.01, 0.05, 0.2, 0.5, 0.8} {
		w := newWorld(t, 4, nil)
		w.onNetwork(B, func(f *fault) { f.loss = loss })
		w.upOn(A)
		f := flows(w)
		for range 500 {
			f[LaneControl].send()
			f[LaneCommit].send()
			for range 4 {
				f[LaneBulk].send()
			}
			w.run(time.Millisecond)
		}
		w.run(50 * time.Millisecond)
		for _, lane := range []Lane{LaneControl, LaneCommit} {
			if f := f[lane]; f.got != f.sent || f.slowest != 100*time.Microsecond {
				t.Errorf("loss %v: lane %d: %d of %d records, the slowest took %v", loss, lane, f.got, f.sent, f.slowest)
			}
		}
		if f := f[LaneBulk]; f.got != f.sent || f.gap > 10*time.Millisecond {
			t.Errorf("loss %v: bulk: %d of %d records, longest gap %v", loss, f.got, f.sent, f.gap)
		}
	}
}

// TestLossOnBoth: with loss on both networks everything still arrives; what was
// sent again stays within its budget.
func TestLossOnBoth(t *testing.T) {
	for _, loss := range []float64{0.01, 0.05, 0.3} {
		w := newWorld(t, 5, nil)
		w.up()
		w.each(func(f *fault) { f.loss = loss })
		f := flows(w)
		for range 1000 {
			for lane := range f {
				f[lane].send()
			}
			w.run(time.Millisecond)
		}
		var st Stats
		w.node[0].session.Stats(&st)
		sent := uint64(f[LaneBulk].sent*f[LaneBulk].size + 3*1000*204)
		// And a fiftieth for what time-outs repeat.
		if budget := (sent/budgetShare + budgetMax + budgetRate) * 51 / 50; st.BytesResent > budget {
			t.Errorf("loss %v: %d bytes sent again of %d, the budget is %d", loss, st.BytesResent, sent, budget)
		}
		w.run(5 * time.Second)
		for lane, f := range f {
			if f.got != f.sent {
				t.Errorf("loss %v: lane %d: %d of %d records arrived", loss, lane, f.got, f.sent)
			}
		}
		t.Logf("loss %v: %d bytes sent again of %d; slowest %v %v %v %v", loss, st.BytesResent, sent,
			f[0].slowest, f[1].slowest, f[2].slowest, f[3].slowest)
	}
}

// TestLate: one packet that was held up costs a spurious loss, which is taken back
// when it arrives: the window is as before, and there is more patience for a while.
func TestLate(t *testing.T) {
	w := newWorld(t, 10, nil)
	w.up()
	f := flows(w)
	p := &w.node[0].session.path[A]
	w.onNetwork(B, cut)
	w.node[0].session.LinkState(w.now, B, false)
	for range 10 { // the window is open
		for range 4 {
			f[LaneBulk].send()
		}
		w.run(time.Millisecond)
	}
	before := p.window
	w.link[0][A].delay = 2 * time.Millisecond // two frames are late, the next ones not
	f[LaneBulk].send()
	w.node[0].flush()
	w.link[0][A].delay = 100 * time.Microsecond
	for range 4 {
		f[LaneBulk].send()
	}
	w.run(1900 * time.Microsecond)
	if p.window >= before || p.slack != 0 {
		t.Errorf("nothing was lost: window %d of %d, slack %v", p.window, before, p.slack)
	}
	w.run(2 * time.Millisecond)
	if p.window < before || p.slack != firstSlack {
		t.Errorf("after it arrived: window %d of %d, slack %v", p.window, before, p.slack)
	}
	w.run(10 * time.Second)
	if p.slack > firstSlack/100 {
		t.Errorf("10 s later the slack is still %v", p.slack)
	}
}

// TestUneven: a network that is much slower than the other, or whose frames are
// held up now and then as by a busy machine, is used, and what is only late is not
// sent again for long.
func TestUneven(t *testing.T) {
	for name, change := range map[string]func(w *world, ms int){
		"slow": func(w *world, ms int) { w.onNetwork(B, func(f *fault) { f.delay = 3 * time.Millisecond }) },
		"uneven": func(w *world, ms int) {
			w.onNetwork(B, func(f *fault) { f.delay = time.Duration(100+ms*37%2500) * time.Microsecond })
		},
	} {
		w := newWorld(t, 9, nil)
		w.each(func(f *fault) { f.rate = 125_000_000 })
		w.up()
		f := flows(w)
		for ms := range 1000 {
			change(w, ms)
			for range 18 { // 147 MB/s: more than one network carries
				f[LaneBulk].send()
			}
			w.run(time.Millisecond)
		}
		w.run(50 * time.Millisecond)
		var st Stats
		w.node[0].session.Stats(&st)
		share := float64(st.BytesResent) / float64(f[LaneBulk].sent*f[LaneBulk].size)
		t.Logf("%s: %.1f %% sent again, B carried %d of %d bytes", name, 100*share, st.Network[B].BytesSent, st.Network[A].BytesSent+st.Network[B].BytesSent)
		if f[LaneBulk].got != f[LaneBulk].sent || share > 0.05 || st.Network[B].BytesSent < st.Network[A].BytesSent/10 {
			t.Errorf("%s: %d of %d records arrived, %.1f %% sent again, %d bytes on B", name, f[LaneBulk].got, f[LaneBulk].sent, 100*share, st.Network[B].BytesSent)
		}
	}
}

// TestFillsNetworks: the bulk lane fills two networks of 1 Gbit/s, and the control
// lane does not wait behind it for longer than the windows allow.
func TestFillsNetworks(t *testing.T) {
	w := newWorld(t, 6, nil)
	w.each(func(f *fault) { f.rate = 125_000_000 })
	w.up()
	f := flows(w)
	start := w.now
	for range 400 {
		f[LaneControl].send()
		for range 64 {
			f[LaneBulk].send()
		}
		w.run(time.Millisecond)
	}
	rate := float64(f[LaneBulk].got*f[LaneBulk].size) / (w.now - start).Seconds() / 1e6
	t.Logf("%.0f MB/s, control took at most %v", rate, f[LaneControl].slowest)
	if rate < 200 {
		t.Errorf("the bulk lane reached %.0f MB/s of 250", rate)
	}
	if f[LaneControl].slowest > 4*time.Millisecond {
		t.Errorf("a control record took %v", f[LaneControl].slowest)
	}
}

// TestOneNetwork: a single network works, without redundancy.
func TestOneNetwork(t *testing.T) {
	for _, net := range []Network{A, B} {
		w := newWorld(t, 7, func(_ int, c *Config) { c.MTU[1-net] = 0 })
		w.up()
		w.onNetwork(net, func(f *fault) { f.loss = 0.05 })
		f := flows(w)
		for range 300 {
			for lane := range f {
				f[lane].send()
			}
			w.run(time.Millisecond)
		}
		w.run(100 * time.Millisecond)
		for lane, f := range f {
			if f.got != f.sent || f.sent != 300 {
				t.Errorf("%v alone: lane %d: %d of %d records arrived", net, lane, f.got, f.sent)
			}
		}
	}
}

// TestAcksTakeTurns: an ack that finds no data to ride with leaves on one network, and
// the next one on the other; a cut of either costs no record and no delay.
func TestAcksTakeTurns(t *testing.T) {
	for _, dead := range []Networks{None, OnA, OnB} {
		w := newWorld(t, 77, nil)
		w.up()
		w.run(100 * time.Millisecond)
		w.each(func(f *fault) { f.delay = 50 * time.Microsecond })
		var before, after Stats
		w.node[1].session.Stats(&before)
		f := flows(w)
		commit := &f[LaneCommit]
		for i := range 100 {
			if i == 50 && dead != None {
				w.onNetwork(Network(dead-OnA), cut)
			}
			commit.send()
			w.run(5 * time.Millisecond)
		}
		if commit.got != 100 || commit.slowest > 100*time.Microsecond {
			t.Errorf("%v cut: %d of 100 records, slowest %v", dead, commit.got, commit.slowest)
		}
		w.node[1].session.Stats(&after)
		for n := A; n < networks && dead == None; n++ {
			// 20 probes, and every other of 100 acks.
			if sent := after.Network[n].FramesSent - before.Network[n].FramesSent; sent < 60 || sent > 80 {
				t.Errorf("%d frames sent on network %v", sent, n)
			}
		}
	}
}
