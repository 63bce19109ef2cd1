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
