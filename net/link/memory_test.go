package link_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/net/link"
)

// story sends numbered frames from node 1 to node 2, one a millisecond, and
// returns what arrives as "number@time".
func story(seed uint64, frames int, p link.Path) []string {
	now := time.Duration(0)
	network := link.NewNetwork(link.NetworkConfig{Seed: seed, Now: func() time.Duration { return now }})
	a, b := network.Link(1), network.Link(2)
	network.SetPath(1, 2, p)
	in := []link.Frame{{Data: make([]byte, 1500)}}
	var arrived []string
	for now = 0; now < time.Duration(frames+100)*time.Millisecond; now += time.Millisecond {
		if i := int(now / time.Millisecond); i < frames {
			a.Send([]link.Frame{{Addr: link.Local(2), Data: []byte{byte(i), 0, 0, 0}}})
		}
		network.Deliver()
		for b.Poll(in) == 1 {
			mark := ""
			if !slices.Equal(in[0].Data[1:], []byte{0, 0, 0}) {
				mark = "!"
			}
			arrived = append(arrived, fmt.Sprintf("%d%s@%d", in[0].Data[0], mark, now/time.Millisecond))
		}
	}
	return arrived
}

func TestMemoryPaths(t *testing.T) {
	const frames = 200
	plain := story(1, frames, link.Path{})
	if len(plain) != frames || plain[0] != "0@0" || plain[199] != "199@199" {
		t.Errorf("plain: %d frames: %v", len(plain), plain)
	}
	if got := story(1, frames, link.Path{Cut: true}); len(got) != 0 {
		t.Errorf("cut: %v", got)
	}
	if got := story(1, 2, link.Path{Delay: 7 * time.Millisecond}); !slices.Equal(got, []string{"0@7", "1@8"}) {
		t.Errorf("delayed: %v", got)
	}
	if got := len(story(1, frames, link.Path{Loss: 0.25})); got < 120 || got > 180 {
		t.Errorf("a quarter lost: %d of %d arrived", got, frames)
	}
	if got := len(story(1, frames, link.Path{Duplicate: 0.5})); got < 260 || got > 340 {
		t.Errorf("a half doubled: %d of %d arrived", got, frames)
	}
	jittered := story(1, frames, link.Path{Jitter: 20 * time.Millisecond})
	order := slices.Clone(jittered)
	slices.SortStableFunc(order, func(a, b string) int {
		var x, y int
		fmt.Sscanf(a, "%d", &x)
		fmt.Sscanf(b, "%d", &y)
		return x - y
	})
	if len(jittered) != frames || slices.Equal(order, jittered) {
		t.Errorf("jitter overtook nothing: %d frames: %v", len(jittered), jittered)
	}
	for _, s := range story(1, frames, link.Path{Corrupt: 1}) {
		if slices.Contains(plain, s) {
			t.Errorf("frame %s came whole although all are damaged", s)
		}
	}
}

func TestMemoryIsDeterministic(t *testing.T) {
	p := link.Path{Delay: time.Millisecond, Jitter: 5 * time.Millisecond, Loss: 0.1, Duplicate: 0.1, Corrupt: 0.1}
	first := story(42, 200, p)
	if !slices.Equal(first, story(42, 200, p)) {
		t.Error("the same seed told another story")
	}
	if slices.Equal(first, story(43, 200, p)) {
		t.Error("another seed told the same story")
	}
}

// In a bubble of virtual time the network runs by itself.
func TestMemoryRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		network := link.NewNetwork(link.NetworkConfig{})
		network.SetAll(link.Path{Delay: 3 * time.Second})
		a, b := network.Link(1), network.Link(2)
		go network.Run(t.Context())
		began := time.Now()
		a.Send([]link.Frame{{Addr: link.Broadcast, Data: []byte("frame")}})
		in := []link.Frame{{Data: make([]byte, 100)}}
		if n, err := b.Receive(in); n != 1 || err != nil || string(in[0].Data) != "frame" {
			t.Fatalf("%d, %v, %q", n, err, in[0].Data)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("took %v", took)
		}
	})
}

func TestMemoryCarrier(t *testing.T) {
	network := link.NewNetwork(link.NetworkConfig{})
	a, b := network.Link(1), network.Link(2)
	pass(t, a, b)
	a.SetCarrier(false)
	if s := waitStatus(t, a, "down", func(s link.Status) bool { return !s.Up }); s.Why != "no carrier" {
		t.Errorf("without a carrier: %+v", s)
	}
	if n, err := a.Send([]link.Frame{{Addr: link.Local(2), Data: []byte{1}}}); n != 0 || err != link.ErrDown {
		t.Errorf("Send without a carrier: %d, %v", n, err)
	}
	b.Send([]link.Frame{{Addr: link.Local(1), Data: []byte{1}}})
	if n := a.Poll([]link.Frame{{Data: make([]byte, 9)}}); n != 0 {
		t.Error("a frame arrived without a carrier")
	}
	a.SetCarrier(true)
	waitStatus(t, a, "up", up)
	pass(t, b, a)
}

// A NIC puts one frame on the wire behind the other, whoever they are for, and refuses
// what its queue has no room for; it says the speed that it is told to.
func TestMemoryNIC(t *testing.T) {
	now := time.Duration(0)
	network := link.NewNetwork(link.NetworkConfig{Now: func() time.Duration { return now }})
	a, b, c := network.Link(1), network.Link(2), network.Link(3)
	network.SetAll(link.Path{Delay: time.Millisecond})
	a.SetNIC(link.NIC{Rate: 100, Queue: 3, Speed: 1000})
	if s := a.Status(); s.Speed != 1000 {
		t.Errorf("the NIC's speed is %d", s.Speed)
	}
	// Each takes 100 µs: one is on the wire, three wait.
	batch := make([]link.Frame, 6)
	for i := range batch {
		batch[i] = link.Frame{Addr: link.Local(uint16(2 + i%2)), Data: make([]byte, 1250-38)}
	}
	batch[0].Addr = link.Broadcast
	n, err := a.Send(batch)
	if n != 4 || !errors.Is(err, link.ErrFull) || a.Counters().SendLost != 2 || a.Queued() != 400*time.Microsecond {
		t.Fatalf("took %d, %v; %v to do, %+v", n, err, a.Queued(), a.Counters())
	}
	in := []link.Frame{{Data: make([]byte, 1500)}}
	var came []string
	for ; now < 2*time.Millisecond; now += 50 * time.Microsecond {
		network.Deliver()
		for i, l := range []*link.MemoryLink{b, c} {
			for l.Poll(in) == 1 {
				came = append(came, fmt.Sprintf("%d@%v", i+2, now))
			}
		}
	}
	if want := []string{"2@1.1ms", "3@1.1ms", "3@1.2ms", "2@1.3ms", "3@1.4ms"}; !slices.Equal(came, want) {
		t.Errorf("arrived: %v", came)
	}
	if n, err := a.Send(batch[:1]); n != 1 || err != nil || a.Queued() != 100*time.Microsecond {
		t.Errorf("an idle NIC took %d, %v; %v to do", n, err, a.Queued())
	}
}
