package link_test

import (
	"encoding/binary"
	"net/netip"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/link/linktest"
	"virtualservicesinc.com/rrts/sim/require"
)

// gathered is what a Poller brings from its links.
type gathered struct {
	mu      sync.Mutex
	changed chan struct{}
	got     [][]uint32 // numbers, by link
}

// poll starts a Poller on links; it ends with the test.
func poll(t testing.TB, links ...link.Link) *gathered {
	t.Helper()
	p, err := link.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range links {
		if polled, err := p.Add(l); err != nil || !polled {
			t.Fatalf("polled %v, %v", polled, err)
		}
	}
	g := &gathered{changed: make(chan struct{}), got: make([][]uint32, len(links))}
	frames := make([]link.Frame, link.BatchSize)
	for i := range frames {
		frames[i].Data = make([]byte, link.MaxFrame)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(func() {
			for again := true; again; {
				again = false
				for i, l := range links {
					n, more := l.(link.Pollable).Poll(frames)
					g.mu.Lock()
					for _, f := range frames[:n] {
						g.got[i] = append(g.got[i], binary.BigEndian.Uint32(f.Data))
					}
					close(g.changed)
					g.changed = make(chan struct{})
					g.mu.Unlock()
					again = again || more
				}
			}
		})
	}()
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
		<-ended
	})
	return g
}

// until waits until n frames have come by a link, and fails if they are not 0 to n−1.
func (g *gathered) until(t testing.TB, l, n int) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	for {
		g.mu.Lock()
		got, changed := g.got[l], g.changed
		g.mu.Unlock()
		if len(got) >= n {
			for i, number := range got {
				if number != uint32(i) {
					t.Fatalf("frame %d came in place %d", number, i)
				}
			}
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%d frames of %d came", len(got), n)
		}
	}
}

// numbered is frames from to to−1.
func numbered(to link.Addr, from, end int) []link.Frame {
	var frames []link.Frame
	for i := from; i < end; i++ {
		frames = append(frames, link.Frame{Addr: to, Data: binary.BigEndian.AppendUint32(make([]byte, 0, 100), uint32(i))[:100]})
	}
	return frames
}

// One Poller brings all that comes by two links, whether it comes alone, in more than
// one batch, or while it works.
// queued is how many frames at a time wait for a receiver.
func testPoller(t *testing.T, queued int, open func(testing.TB, int) []link.Link) {
	a, b := open(t, 2), open(t, 2)
	for _, l := range []link.Link{a[0], a[1], b[0], b[1]} {
		t.Cleanup(func() { l.Close() })
	}
	g := poll(t, a[1], b[1])
	sent := 0
	for _, n := range []int{1, 1, 3, 3 * link.BatchSize, 1, link.BatchSize} {
		n = min(n, queued)
		for i, from := range []link.Link{a[0], b[0]} {
			to := []link.Link{a[1], b[1]}[i].Status().Local
			if _, err := from.Send(numbered(to, sent, sent+n)); err != nil {
				t.Fatal(err)
			}
		}
		sent += n
		g.until(t, 0, sent)
		g.until(t, 1, sent)
	}
}

func TestPollerPacket(t *testing.T) {
	require.Root(t)
	testPoller(t, 3*link.BatchSize, openPackets(false))
}

func TestPollerUDP(t *testing.T) {
	testPoller(t, 3*link.BatchSize, func(t testing.TB, n int) []link.Link {
		links := make([]link.Link, n)
		for i := range links {
			l, err := link.OpenUDP(link.UDPConfig{Listen: netip.MustParseAddrPort("127.0.0.1:0")})
			if err != nil {
				t.Fatal(err)
			}
			links[i] = l
		}
		return links
	})
}

func TestPollerUnix(t *testing.T) {
	testPoller(t, 10, func(t testing.TB, n int) []link.Link { // the kernel's default queue
		dir := t.TempDir()
		links := make([]link.Link, n)
		for i := range links {
			l, err := link.OpenUnix(link.UnixConfig{Dir: dir, SFU: uint16(i + 1)})
			if err != nil {
				t.Fatal(err)
			}
			links[i] = l
		}
		return links
	})
}

// A NIC that is exchanged is waited for again.
func TestPollerHotplug(t *testing.T) {
	require.Root(t)
	lab := linktest.NewLab(t, 2, 1)
	links := make([]link.Link, 2)
	for i := range links {
		l, err := link.OpenPacket(link.PacketConfig{Interface: linktest.Interface(0), EtherType: link.EtherTypeA, Namespace: lab.Namespace(i)})
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		links[i] = l
	}
	g := poll(t, links[1])
	to := link.Ethernet([6]byte(linktest.MAC(1, 0)))
	if _, err := links[0].Send(numbered(to, 0, 1)); err != nil {
		t.Fatal(err)
	}
	g.until(t, 0, 1)
	lab.Unplug(1, 0)
	lab.Plug(1, 0)
	for deadline := time.After(10 * time.Second); links[1].Counters().Reopened == 0 || !links[1].Status().Up; {
		select {
		case <-links[1].Changed():
		case <-deadline:
			t.Fatalf("the new NIC is not used: %+v", links[1].Status())
		}
	}
	if _, err := links[0].Send(numbered(to, 1, 3)); err != nil {
		t.Fatal(err)
	}
	g.until(t, 0, 3)
}

// What cannot be waited for says so.
func TestPollerNot(t *testing.T) {
	p, err := link.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if polled, err := p.Add(link.NewNetwork(link.NetworkConfig{}).Link(1)); polled || err != nil {
		t.Errorf("memory: polled %v, %v", polled, err)
	}
	require.Root(t)
	for _, l := range openPackets(true)(t, 1) {
		defer l.Close()
		if polled, err := p.Add(l); polled || err != nil {
			t.Errorf("plain: polled %v, %v", polled, err)
		}
	}
}

// Polling allocates nothing, with frames there and without.
func TestPollAllocations(t *testing.T) {
	l, err := link.OpenUDP(link.UDPConfig{Listen: netip.MustParseAddrPort("127.0.0.1:0")})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	out, in := numbered(l.Status().Local, 0, 1), []link.Frame{{Data: make([]byte, link.MaxFrame)}}
	came := 0
	allocs := testing.AllocsPerRun(100, func() {
		if _, err := l.Send(out); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			n, _ := l.Poll(in)
			came += n
		}
	})
	if came != 101 || allocs != 0 {
		t.Errorf("%d frames of 101, %v allocations each", came, allocs)
	}
}

// The timer calls drain once, when the last Arm said, and costs no allocation.
func TestPollerArm(t *testing.T) {
	p, err := link.NewPoller()
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan time.Time, 10)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		p.Run(func() { drained <- time.Now() })
	}()
	<-drained // the first, before it waits
	const d = 20 * time.Millisecond
	for range 3 {
		p.Arm(time.Millisecond * 5)
		p.Arm(time.Hour)
		began := time.Now()
		p.Arm(d)
		if at := <-drained; at.Sub(began) < d {
			t.Errorf("armed for %v, fired after %v", d, at.Sub(began))
		}
	}
	if n := testing.AllocsPerRun(100, func() { p.Arm(time.Hour) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if len(drained) != 0 {
		t.Error("fired twice")
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	<-ended
}
