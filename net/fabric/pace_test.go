package fabric_test

import (
	"encoding/binary"
	"errors"
	"testing"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
)

// gigabit is a NIC as most have them, with Linux's usual queue.
var gigabit = link.NIC{Rate: 1000, Queue: 1000, Speed: 1000}

const (
	floodPeers  = 6
	floodRecord = 8 << 10
	floodStep   = 430 * time.Microsecond // in no step with what waits for a NIC
	// wireBytes is what a network of 1 Gbit/s carries in frames of 1,500 bytes, a second.
	wireBytes = 125e6 * 1500 / 1538
)

// flood is SFU 1, which has a snapshot for each of its peers, and commits all the time.
type flood struct {
	*simulation
	one     *simNode
	peers   [floodPeers]flooded
	thirsty int           // how many of the peers are flooded, the first ones
	longest time.Duration // that a NIC of SFU 1 had to do
}

// flooded is what arrives at one of the peers.
type flooded struct {
	bulk     int           // bytes
	last     time.Duration // when the last of it came
	gap      time.Duration // the longest between two records of it
	commits  int
	slowest  time.Duration // of the commits
	requests int
	waited   time.Duration // the longest of a request
}

func newFlood(t *testing.T, nic link.NIC) *flood {
	f := &flood{simulation: newSimulation(t, 1), thirsty: floodPeers}
	f.tune = func(c *session.Config) { c.LaneBytes[fabric.LaneBulk] = 1 << 20 }
	for sfu := uint16(1); sfu <= floodPeers+1; sfu++ {
		f.add(sfu, floodPeers+1, 1, fabric.A, fabric.B)
		for _, l := range f.node(sfu).links {
			l.SetNIC(nic)
		}
	}
	f.one = f.node(1)
	for i := range f.peers {
		f.node(uint16(i + 2)).got = func(r fabric.Record) { f.peers[i].take(f.now, r) }
	}
	f.run(time.Second)
	f.drain()
	return f
}

func (p *flooded) take(now time.Duration, r fabric.Record) {
	took := now - time.Duration(binary.BigEndian.Uint64(r.Data))
	switch r.Lane {
	case fabric.LaneCommit:
		p.commits++
		p.slowest = max(p.slowest, took)
	case fabric.LaneRequest:
		p.requests++
		p.waited = max(p.waited, took)
	case fabric.LaneBulk:
		p.bulk += len(r.Data)
		if p.last != 0 {
			p.gap = max(p.gap, now-p.last)
		}
		p.last = now
	}
}

// send gives SFU 1 a record that bears the time; it reports whether the lane took it.
func (f *flood) send(peer int, lane fabric.Lane, size int) bool {
	record := make([]byte, size)
	binary.BigEndian.PutUint64(record, uint64(f.now))
	err := f.one.core.Send(f.now, uint16(peer+2), lane, record)
	if err != nil && !errors.Is(err, fabric.ErrLaneFull) {
		f.t.Fatalf("at %v: %v", f.now, err)
	}
	return err == nil
}

// pour goes on with the flood for a while. A record on each of the lanes small goes to every
// peer beside it.
func (f *flood) pour(d time.Duration, small ...fabric.Lane) {
	for end := f.now + d; f.now < end; {
		for peer := range f.peers {
			for peer < f.thirsty && f.send(peer, fabric.LaneBulk, floodRecord) {
			}
			for _, lane := range small {
				if !f.send(peer, lane, 200) {
					f.t.Fatalf("at %v: lane %d is full", f.now, lane)
				}
			}
		}
		f.run(floodStep)
		for _, l := range f.one.links {
			f.longest = max(f.longest, l.Queued())
		}
	}
}

func (f *flood) refused() (n uint64) {
	for _, l := range f.one.links {
		n += l.Counters().SendLost
	}
	return n
}

// TestPacing floods six peers at once with bulk at 1 Gbit/s: what the NIC's queue holds,
// what a commit record finds before it, and what of the wire is used; and the same where
// the NIC's speed is not known.
func TestPacing(t *testing.T) {
	unknown := gigabit
	unknown.Speed = 0
	for name, nic := range map[string]link.NIC{"1 Gbit/s": gigabit, "unknown speed": unknown} {
		t.Run(name, func(t *testing.T) {
			f := newFlood(t, nic)
			length := 300 * time.Millisecond
			if testing.Short() {
				length = 100 * time.Millisecond
			}
			f.pour(length, fabric.LaneCommit)
			total, least, slowest := 0, 1<<62, time.Duration(0)
			for i, p := range f.peers {
				total, least, slowest = total+p.bulk, min(least, p.bulk), max(slowest, p.slowest)
				if p.commits < int(length/floodStep)-20 {
					t.Errorf("peer %d got %d commits", i, p.commits)
				}
			}
			share := float64(total) / length.Seconds() / (2 * wireBytes)
			var st fabric.Stats
			f.one.core.Stats(&st)
			paced := st.Peers[0].Network[fabric.A].Paced + st.Peers[0].Network[fabric.B].Paced
			t.Logf("slowest commit %v, the NIC's longest queue %v, %d frames refused, %.1f %% of the wire, the slowest peer has %.1f %% of a share, frames waited %v",
				slowest, f.longest, f.refused(), 100*share, 100*float64(least*floodPeers)/float64(total), paced)
			if nic.Speed == 0 {
				// The test can tell the difference.
				if slowest < 5*time.Millisecond || paced != 0 {
					t.Errorf("without a speed: the slowest commit took %v, frames waited %v", slowest, paced)
				}
				return
			}
			// The queue, the frame that is just leaving, and its way.
			if limit := time.Millisecond + 2*quick.Delay; slowest > limit+100*time.Microsecond {
				t.Errorf("a commit took %v", slowest)
			}
			if f.longest > 1100*time.Microsecond || f.refused() != 0 {
				t.Errorf("the NIC's queue was %v long, %d frames were refused", f.longest, f.refused())
			}
			if share < 0.9 {
				t.Errorf("bulk got %.1f %% of the wire", 100*share)
			}
			if least < total/floodPeers*9/10 {
				t.Errorf("a peer got %d of %d bytes", least, total)
			}
			if paced < length/2 {
				t.Errorf("frames waited %v in %v of flood", paced, length)
			}
		})
	}
}

// TestPacingIsFair: a snapshot that begins while others fill the NICs has its share of
// them at once, although nothing but time makes room for it.
func TestPacingIsFair(t *testing.T) {
	f := newFlood(t, gigabit)
	f.thirsty--
	f.pour(50 * time.Millisecond)
	f.thirsty++
	f.peers = [floodPeers]flooded{}
	f.pour(50 * time.Millisecond)
	total := 0
	for _, p := range f.peers {
		total += p.bulk
	}
	for i, p := range f.peers {
		if share := float64(p.bulk*floodPeers) / float64(total); share < 0.8 || share > 1.2 {
			t.Errorf("peer %d has %.2f of its share", i, share)
		}
	}
}

// TestCutPaced cuts network A under the flood, at many moments: bulk goes on by the other
// network within 10 ms, and commits do not notice.
func TestCutPaced(t *testing.T) {
	for name, cut := range map[string]func(f *flood){
		"silent":                func(f *flood) { f.net[fabric.A].SetAll(link.Path{Cut: true}) },
		"carrier of the sender": func(f *flood) { f.one.links[fabric.A].SetCarrier(false) },
	} {
		t.Run(name, func(t *testing.T) {
			var worst, slowest, waited time.Duration
			moments := 3
			if testing.Short() {
				moments = 1
			}
			for moment := range moments {
				f := newFlood(t, gigabit)
				f.pour(30*time.Millisecond+time.Duration(moment)*floodStep/3, fabric.LaneCommit, fabric.LaneRequest)
				cut(f)
				f.pour(100*time.Millisecond, fabric.LaneCommit, fabric.LaneRequest)
				for _, p := range f.peers {
					worst, slowest, waited = max(worst, p.gap), max(slowest, p.slowest), max(waited, p.waited)
				}
				if f.refused() != 0 && name == "silent" {
					t.Errorf("moment %d: %d frames were refused", moment, f.refused())
				}
				for sfu := uint16(2); sfu < 2+floodPeers; sfu++ {
					var st fabric.Stats
					f.node(sfu).core.Stats(&st)
					if !st.Peers[0].Up || st.Peers[0].Losses != 0 {
						t.Errorf("moment %d: SFU %d lost its peer", moment, sfu)
					}
				}
			}
			t.Logf("bulk stalled for %v, the slowest commit took %v, the slowest request %v", worst, slowest, waited)
			if worst > 10*time.Millisecond {
				t.Errorf("bulk stalled for %v", worst)
			}
			if slowest > 1200*time.Microsecond {
				t.Errorf("a commit took %v", slowest)
			}
		})
	}
}
