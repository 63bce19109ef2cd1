package sim

import (
	"fmt"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestSchedulerOrder(t *testing.T) {
	var s Scheduler
	var got []string
	say := func(word string) func() {
		return func() { got = append(got, fmt.Sprintf("%s@%v", word, s.Now())) }
	}
	s.At(3, say("third"))
	s.At(1, say("first"))
	s.At(3, say("fourth")) // at equal times in the order of scheduling
	s.After(2, func() {
		say("second")()
		s.At(1, say("late")) // what is past runs as soon as possible
		s.After(0, say("now"))
	})
	s.RunUntil(2)
	if want := []string{"first@1ns", "second@2ns", "late@2ns", "now@2ns"}; !slices.Equal(got, want) {
		t.Fatalf("up to 2: %v, want %v", got, want)
	}
	got = nil
	s.RunUntil(10)
	if want := []string{"third@3ns", "fourth@3ns"}; !slices.Equal(got, want) || s.Now() != 10 {
		t.Fatalf("up to 10: %v at %v, want %v", got, s.Now(), want)
	}
	if s.Step() {
		t.Fatal("something is left")
	}
}

// post is a network with ports 1 to 3 that notes what arrives.
type post struct {
	Scheduler
	*Network
	got []string
}

func newPost(seed uint64, w Weather) *post {
	p := &post{}
	p.Network = NewNetwork(&p.Scheduler, rand.New(rand.NewPCG(seed, 1)))
	p.Weather = w
	for port := 1; port <= 3; port++ {
		p.Plug(port, func(from int, frame []byte) {
			p.got = append(p.got, fmt.Sprintf("%d>%d %s", from, port, frame))
		})
	}
	return p
}

func TestNetworkCutsEachDirection(t *testing.T) {
	p := newPost(1, Weather{Delay: 5})
	want := func(step string, want ...string) {
		t.Helper()
		p.RunUntil(p.Now() + 10)
		if !slices.Equal(p.got, want) {
			t.Fatalf("%s: %v, want %v", step, p.got, want)
		}
		p.got = nil
	}
	frame := []byte("a")
	p.Send(1, 2, frame)
	frame[0] = 'x' // the network has its own copy
	want("open", "1>2 a")
	p.Cut(1, 2, true)
	p.Send(1, 2, []byte("b"))
	p.Send(2, 1, []byte("c"))
	p.Send(1, 3, []byte("d"))
	want("one way cut", "2>1 c", "1>3 d")
	p.Cut(1, 2, false)
	p.Send(1, 2, []byte("e"))
	p.Cut(1, 2, true)
	want("cut on the way")
	p.Heal()
	p.Send(1, 2, []byte("f"))
	want("healed", "1>2 f")
	p.Send(1, 2, []byte("g"))
	p.Unplug(2)
	want("unplugged on the way")
}

// TestNetworkWeather: each kind of weather does what it says, about as often as it says.
func TestNetworkWeather(t *testing.T) {
	const frames = 2000
	about := func(name string, got, want int) {
		t.Helper()
		if got < want*8/10 || got > want*12/10 {
			t.Errorf("%s: %d, want about %d", name, got, want)
		}
	}
	count := func(w Weather, frame string) []string {
		p := newPost(7, w)
		for range frames {
			p.Send(1, 2, []byte(frame))
		}
		p.RunUntil(time.Second)
		return p.got
	}
	about("lost", frames-len(count(Weather{Loss: 0.25}, "x")), frames/4)
	about("doubled", len(count(Weather{Double: 0.25}, "x"))-frames, frames/4)
	flipped := 0
	for _, got := range count(Weather{Corrupt: 0.25}, "frame") {
		n := 0
		for i, c := range []byte(got[len("1>2 "):]) {
			n += bits.OnesCount8(c ^ "frame"[i])
		}
		if n > 1 {
			t.Fatalf("%q: %d bits flipped", got, n)
		}
		flipped += n
	}
	about("corrupted", flipped, frames/4)

	p := newPost(7, Weather{Delay: 10, Jitter: 10})
	for i := range 100 {
		p.Send(1, 2, []byte{byte(i)})
	}
	if p.RunUntil(9); len(p.got) != 0 {
		t.Error("something arrived before the least delay")
	}
	if p.RunUntil(20); len(p.got) != 100 || slices.IsSorted(p.got) {
		t.Errorf("%d frames arrived within delay and jitter, want 100, out of order", len(p.got))
	}
}

// TestSameSeedSameWorld: nothing but the seed decides.
func TestSameSeedSameWorld(t *testing.T) {
	run := func(seed uint64) []string {
		p := newPost(seed, Weather{Loss: 0.1, Double: 0.1, Corrupt: 0.1, Delay: 3, Jitter: 50})
		for i := range 500 {
			p.Send(1+i%3, 1+i/3%3, []byte{byte(i), byte(i >> 8)})
			p.RunUntil(p.Now() + 1)
		}
		p.RunUntil(time.Second)
		return p.got
	}
	if a, b := run(1), run(1); !slices.Equal(a, b) {
		t.Error("one seed gave two worlds")
	}
	if a, b := run(1), run(2); slices.Equal(a, b) {
		t.Error("two seeds gave one world")
	}
}
