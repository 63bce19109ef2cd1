package fabric_test

import (
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/link/linktest"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/rrts/sim/require"
)

// crowd is what a flood of some peers at once was like.
type crowd struct {
	median, p99 time.Duration // of a commit to one of them
	mbytes      float64       // of bulk to all of them, in MB a second
	counters    [2]link.Counters
	paced       time.Duration // in which bulk to the first of them waited for a NIC
}

// floodFills is how long a flood goes on before it is measured what commits take.
const floodFills = 100 * time.Millisecond

// floodEthernet lets SFU 1, whose NICs do mbits, flood its peers with bulk over Ethernet,
// and send a commit record to one of them each millisecond. told is the speed that SFU 1
// takes its NICs for.
func floodEthernet(t testing.TB, peers, mbits, told int, length time.Duration) crowd {
	t.Helper()
	require.Root(t)
	lab := linktest.NewLab(t, peers+1, 2)
	var bulk atomic.Int64
	var nodes []*node
	for host := range peers + 1 {
		sfu := uint16(host + 1)
		speed := 0
		if host == 0 {
			speed = told
		}
		nodes = append(nodes, start(t, nodeConfig{
			sfu: sfu, links: openEthernetAt(t, lab.Namespace(host), sfu, false, speed), peers: peersOf(t, sfu, peers+1),
			tune: func(c *session.Config) {
				patient(c)
				c.LaneBytes[fabric.LaneBulk] = 2 << 20 // what waits behind the windows is not what is measured
			},
			deliver: func(n *node, r fabric.Record) {
				if r.Lane == fabric.LaneBulk {
					bulk.Add(int64(len(r.Data)))
					return
				}
				n.records = append(n.records, record{r.Peer, r.Lane, string(r.Data), time.Now()})
			},
		}))
	}
	one := nodes[0]
	meet(t, nodes, fabric.A, fabric.B)
	for network := range 2 {
		lab.SetSpeed(0, network, mbits)
	}
	began := time.Now()
	var floods sync.WaitGroup
	for _, n := range nodes[1:] {
		floods.Go(func() {
			record := make([]byte, 64<<10)
			for time.Since(began) < length {
				if err := one.SendWait(t.Context(), n.sfu, fabric.LaneBulk, record); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	to := nodes[1]
	// First the lanes are filled, which is work for the processors.
	commits := int((length - floodFills) / time.Millisecond)
	for i := range commits {
		time.Sleep(time.Until(began.Add(floodFills + time.Duration(i)*time.Millisecond)))
		data := make([]byte, 128)
		binary.BigEndian.PutUint64(data, uint64(time.Since(began)))
		if err := one.Send(to.sfu, fabric.LaneCommit, data); err != nil {
			t.Fatal(err)
		}
	}
	floods.Wait()
	c := crowd{mbytes: float64(bulk.Load()) / 1e6 / time.Since(began).Seconds()}
	to.until(t, "the commits", func() bool { return len(to.records) == commits })
	var took []time.Duration
	for _, r := range to.records {
		took = append(took, r.at.Sub(began)-time.Duration(binary.BigEndian.Uint64([]byte(r.data))))
	}
	slices.Sort(took)
	c.median, c.p99 = took[commits/2], took[commits*99/100]
	var st fabric.Stats
	if err := one.Stats(&st); err != nil {
		t.Fatal(err)
	}
	for n := range c.counters {
		c.counters[n] = st.Links[n].Counters
		c.paced += st.Peers[0].Network[n].Paced
	}
	if told := one.told(fabric.PeerLost); len(told) != 0 {
		t.Errorf("lost in the flood: %v", told)
	}
	for _, n := range nodes {
		n.stop()
	}
	return c
}

// TestPacingOverEthernet floods three peers through NICs of 200 Mbit/s, with their speed
// known and without. How long frames stay in a NIC is told apart only on a machine that
// fills it: one that has no time for that gets three tries.
func TestPacingOverEthernet(t *testing.T) {
	if testing.Short() {
		t.Skip("the race detector leaves no processor that fills a NIC: runs without -short")
	}
	const peers, mbits, length = 3, 200, 500 * time.Millisecond
	const wire = 2 * mbits / 8 // MB a second
	for try := range 3 {
		unpaced := floodEthernet(t, peers, mbits, 0, length)
		paced := floodEthernet(t, peers, mbits, mbits, length)
		t.Logf("without: %+v", unpaced)
		t.Logf("with: %+v", paced)
		if paced.paced == 0 || unpaced.paced != 0 {
			t.Errorf("frames waited %v, and %v where the speed is not known", paced.paced, unpaced.paced)
		}
		switch {
		case unpaced.mbytes < 0.8*wire:
			t.Logf("try %d: the machine was too busy to fill the NICs", try)
			continue
		case paced.median > unpaced.median/2:
			t.Errorf("half of the commits took %v, and %v where nothing waits for the NIC", paced.median, unpaced.median)
		}
		return
	}
}

// BenchmarkFlood is the same of six peers at 1 Gbit/s.
func BenchmarkFlood(b *testing.B) {
	for name, told := range map[string]int{"paced": 1000, "unknown": 0} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				c := floodEthernet(b, 6, 1000, told, 2*time.Second)
				b.ReportMetric(float64(c.median.Microseconds()), "p50-µs")
				b.ReportMetric(float64(c.p99.Microseconds()), "p99-µs")
				b.ReportMetric(c.mbytes, "MB/s")
				b.ReportMetric(float64(c.counters[0].SendLost+c.counters[1].SendLost), "refused")
			}
		})
	}
}
