package fabric_test

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/link/linktest"
	"virtualservicesinc.com/rrts/sim/require"
)

// benchPair is SFU 1 here and SFU 2 in a process of its own, on two Ethernet
// networks between network namespaces. What comes back is told by a token.
func benchPair(b *testing.B) (one *node, back <-chan struct{}) {
	b.Helper()
	require.Root(b)
	lab := linktest.NewLab(b, 2, 2)
	tokens := make(chan struct{}, 1)
	one = start(b, nodeConfig{
		sfu: 1, links: openEthernet(b, lab.Namespace(0), 1, false), peers: peersOf(b, 1, 2),
		deliver: func(*node, fabric.Record) { tokens <- struct{}{} },
	})
	spawn(b, 1, "ethernet", lab.Namespace(1))
	one.sees(b, 2, fabric.A, fabric.B)
	return one, tokens
}

// BenchmarkRoundTrip is a record of 128 bytes there and back on the request lane,
// one at a time; and, to compare with in the same run, a bare frame of that size
// there and back through the same kind of link, on one network.
func BenchmarkRoundTrip(b *testing.B) {
	b.Run("fabric", func(b *testing.B) {
		one, back := benchPair(b)
		record := make([]byte, 128)
		record[0] = '!'
		measure(b, func() {
			if err := one.Send(2, fabric.LaneRequest, record); err != nil {
				b.Fatal(err)
			}
			<-back
		})
	})
	b.Run("bare", func(b *testing.B) {
		require.Root(b)
		lab := linktest.NewLab(b, 2, 1)
		l, err := link.OpenPacket(link.PacketConfig{
			Interface: linktest.Interface(0), EtherType: link.EtherTypeA,
			Namespace: lab.Namespace(0),
		})
		if err != nil {
			b.Fatal(err)
		}
		defer l.Close()
		spawn(b, 1, "bare", lab.Namespace(1))
		out := []link.Frame{{Addr: link.Broadcast, Data: make([]byte, 128)}}
		binary.BigEndian.PutUint32(out[0].Data[4:], clusterHash)
		in := []link.Frame{{Data: make([]byte, link.MaxFrame)}}
		came := make(chan struct{}, 1)
		go func() {
			for {
				if _, err := l.Receive(in); err != nil {
					return
				}
				came <- struct{}{}
			}
		}()
		// The other process is there when something comes back.
		for ready := false; !ready; {
			l.Send(out)
			select {
			case <-came:
				ready = true
			case <-time.After(10 * time.Millisecond):
			}
		}
		measure(b, func() {
			l.Send(out)
			<-came
		})
	})
}

// measure times one round trip after the other.
func measure(b *testing.B, trip func()) {
	var times []time.Duration
	for b.Loop() {
		began := time.Now()
		trip()
		times = append(times, time.Since(began))
	}
	slices.Sort(times)
	b.ReportMetric(float64(times[len(times)/2].Microseconds()), "p50-µs")
	b.ReportMetric(float64(times[len(times)*99/100].Microseconds()), "p99-µs")
}

// BenchmarkStream is records of one size sent as fast as the lane takes them.
func BenchmarkStream(b *testing.B) {
	for _, lane := range []fabric.Lane{fabric.LaneCommit, fabric.LaneBulk} {
		for _, size := range []int{128, 1400, 64 << 10} {
			b.Run(fmt.Sprintf("lane=%d/size=%d", lane, size), func(b *testing.B) {
				one, back := benchPair(b)
				record := make([]byte, size)
				b.SetBytes(int64(size))
				for b.Loop() {
					if err := one.SendWait(b.Context(), 2, lane, record); err != nil {
						b.Fatal(err)
					}
				}
				// The last one comes back when all have arrived.
				if err := one.SendWait(b.Context(), 2, lane, []byte("!")); err != nil {
					b.Fatal(err)
				}
				<-back
				b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "records/s")
			})
		}
	}
}
