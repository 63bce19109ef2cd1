package session

import (
	"fmt"
	"testing"
	"time"

	"virtualservicesinc.com/net/wire"
)

// pair is two sessions joined by memory: what one sends the other receives at
// once, on each network of the frame.
type pair struct {
	now    time.Duration
	s      [2]*Session
	frame  [2][wire.MaxFrame]byte
	frames int
}

func newPair(t testing.TB, change func(c *Config)) *pair {
	w := newWorld(t, 1, func(_ int, c *Config) {
		if change != nil {
			change(c)
		}
	})
	w.up()
	w.run(100 * time.Millisecond)
	return &pair{now: w.now, s: [2]*Session{w.node[0].session, w.node[1].session}}
}

// step moves every frame that side i has to send, at most max, and reports whether
// there were any.
func (p *pair) step(i, max int) bool {
	moved := false
	for range max {
		n, on := p.s[i].Next(p.now, p.frame[0][:])
		if n == 0 {
			break
		}
		moved = true
		p.frames++
		copy(p.frame[1][:], p.frame[0][:n]) // opened in place on each network
		for net := A; net < networks; net++ {
			if on.Has(net) {
				p.s[1-i].Receive(p.now, net, p.frame[net][:n])
			}
		}
	}
	return moved
}

// round is one turn of both sides' loops.
func (p *pair) round() (records int) {
	p.now += 200 * time.Microsecond
	for i, s := range p.s {
		if p.now >= s.NextTimeout() {
			s.Advance(p.now)
		}
		p.step(i, 256)
		for lane := range Lane(lanes) {
			records += len(p.s[1-i].Take(lane))
		}
	}
	return records
}

func BenchmarkPair(b *testing.B) {
	for _, c := range []struct {
		lane    Lane
		size    int
		mtu     int
		chacha  bool
		comment string
	}{
		{LaneCommit, 128, 1500, false, "both"},
		{LaneRequest, 128, 1500, false, "both while there is room"},
		{LaneBulk, 128, 1500, false, "striped"},
		{LaneBulk, 64 << 10, 1500, false, "striped"},
		{LaneBulk, 64 << 10, 9000, false, "striped"},
		{LaneBulk, 64 << 10, 1500, true, "striped"},
		{LaneCommit, 64 << 10, 1500, false, "both"},
	} {
		name := fmt.Sprintf("lane=%d/size=%d/mtu=%d/chacha=%v", c.lane, c.size, c.mtu, c.chacha)
		b.Run(name, func(b *testing.B) {
			p := newPair(b, func(cfg *Config) {
				cfg.MTU, cfg.NoAES = [networks]int{c.mtu, c.mtu}, c.chacha
			})
			record := make([]byte, c.size)
			b.SetBytes(int64(c.size))
			b.ReportAllocs()
			p.frames = 0
			sent, got := 0, 0
			for b.Loop() {
				for p.s[0].Send(p.now, c.lane, record) != nil {
					got += p.round()
				}
				if sent++; sent%64 == 0 {
					got += p.round()
				}
			}
			for range 1000 {
				if got == sent {
					break
				}
				got += p.round()
			}
			if got != sent {
				b.Fatalf("%d of %d records arrived", got, sent)
			}
			b.ReportMetric(float64(p.frames)/b.Elapsed().Seconds(), "frames/s")
		})
	}
}

// BenchmarkHandshake is what one initiation costs: its sender, and who opens and
// answers it.
func BenchmarkHandshake(b *testing.B) {
	w := newWorld(b, 1, nil)
	one, two := w.node[0], w.node[1]
	var begin, answer time.Duration
	for i := 0; b.Loop(); i++ {
		now := time.Duration(i) * time.Second
		start := time.Now()
		one.session.initiate(now)
		begin += time.Since(start)
		start = time.Now()
		in, err := two.resp.Open(now, one.session.initiating.frame[:])
		if err != nil {
			b.Fatal(err)
		}
		two.session.Accept(now, in)
		answer += time.Since(start)
	}
	b.ReportMetric(float64(begin.Microseconds())/float64(b.N), "begin-µs")
	b.ReportMetric(float64(answer.Microseconds())/float64(b.N), "answer-µs")
}

// BenchmarkGarbage is what a frame costs that is not from the cluster.
func BenchmarkGarbage(b *testing.B) {
	p := newPair(b, nil)
	w := newWorld(b, 1, nil)
	n := w.node[0]
	frame := make([]byte, 1500)
	for _, c := range []struct {
		name string
		head wire.Header
	}{
		{"initiation", wire.Header{Type: wire.TypeInitiation, Length: wire.InitiationSize}},
		{"data", wire.Header{Type: wire.TypeData, Length: 1500, Slot: n.cfg.Slot, Number: 1 << 20}},
	} {
		b.Run(c.name, func(b *testing.B) {
			c.head.Cluster, c.head.SFU = n.cfg.ClusterHash, n.cfg.Local
			c.head.Put(frame)
			b.ReportAllocs()
			for b.Loop() {
				if c.head.Type == wire.TypeInitiation {
					if _, err := n.resp.Open(0, frame); err != ErrInitiation {
						b.Fatal(err)
					}
				} else if p.s[0].Receive(p.now, A, frame) {
					b.Fatal("garbage is authentic")
				}
			}
		})
	}
}
