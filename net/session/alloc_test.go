package session

import (
	"testing"
	"time"
)

// TestAllocations: in the steady state nothing allocates: neither sending, sealing,
// opening, acknowledging and delivering records of a few frames on every lane, nor
// probing, nor losing frames and sending them again, nor waiting for the NIC.
func TestAllocations(t *testing.T) {
	for _, c := range []struct{ loss, paced bool }{{false, false}, {true, false}, {false, true}} {
		p := newPair(t, func(cfg *Config) {
			for net := range cfg.Pacer {
				cfg.Pacer[net] = new(Pacer)
				if c.paced {
					cfg.Pacer[net].SetSpeed(250)
				}
			}
		})
		record := make([]byte, 3000)
		records := 0
		work := func() {
			for i := range 300 { // 60 ms: two probes
				times := 1
				if c.paced { // as many, but more at once than a NIC takes
					times = i % 20 / 18 * 10
				}
				for n := range times * lanes {
					lane := Lane(n % lanes)
					if err := p.s[i%2].Send(p.now, lane, record); err != nil {
						t.Fatal(err)
					}
				}
				if c.loss && i%10 == 0 {
					n, _ := p.s[i%2].Next(p.now, p.frame[0][:])
					if n == 0 {
						t.Fatal("nothing to lose")
					}
				}
				records += p.round()
				p.s[0].Events()
				p.s[1].Events()
			}
		}
		for range 20 {
			work() // buffers reach their size
		}
		if a := testing.AllocsPerRun(20, work); a > 0 {
			t.Errorf("%+v: %v allocations for some 300 records of each lane", c, a)
		}
		for range 100 {
			records += p.round()
		}
		if want := 41 * 300 * lanes; records != want {
			t.Errorf("%+v: %d of %d records", c, records, want)
		}
		var st Stats
		p.s[0].Stats(&st)
		if paced := st.Network[A].Paced > 0 && st.Network[B].Paced > 0; paced != c.paced {
			t.Errorf("%+v: frames waited %v and %v", c, st.Network[A].Paced, st.Network[B].Paced)
		}
	}
}

// TestIdle: a connected session without work calls for its loop at the rate of its
// probes only, and sends nothing but them.
func TestIdle(t *testing.T) {
	w := newWorld(t, 71, nil)
	w.up()
	w.run(time.Second)
	var before, after Stats
	n := w.node[0]
	n.session.Stats(&before)
	calls := 0
	for end := w.now + time.Second; w.now < end; {
		at := n.session.NextTimeout()
		if w.step(end) && w.now == at {
			calls++
		} else if w.now < end && at > end {
			break
		}
		if len(w.queue) == 0 && at > end {
			break
		}
	}
	n.session.Stats(&after)
	if sent := after.Network[A].FramesSent - before.Network[A].FramesSent; sent < 39 || sent > 41 {
		t.Errorf("%d frames a second on network A, probes are 40", sent)
	}
	if calls > 82 {
		t.Errorf("%d timer calls a second", calls)
	}
}
