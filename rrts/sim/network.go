package sim

import (
	"math/rand/v2"
	"slices"
	"time"
)

// Weather is how a network treats frames.
type Weather struct {
	// Loss, Double and Corrupt are the odds that a frame is lost, arrives twice, or
	// arrives with a flipped bit.
	Loss, Double, Corrupt float64
	// Delay is the least time that a frame takes; Jitter is added at random, so
	// that frames overtake each other.
	Delay, Jitter time.Duration
}

// Network carries frames between ports. It belongs to the goroutine of its
// Scheduler.
type Network struct {
	// Weather may be changed at any time.
	Weather Weather

	clock *Scheduler
	rng   *rand.Rand
	ports map[int]func(from int, frame []byte)
	cut   map[[2]int]bool
}

// NewNetwork returns a network without ports.
func NewNetwork(clock *Scheduler, rng *rand.Rand) *Network {
	return &Network{clock: clock, rng: rng, ports: map[int]func(int, []byte){}, cut: map[[2]int]bool{}}
}

// Plug connects a port. receive gets frames of its own to keep.
func (n *Network) Plug(port int, receive func(from int, frame []byte)) { n.ports[port] = receive }

// Unplug disconnects a port: what is on the way to it is lost.
func (n *Network) Unplug(port int) { delete(n.ports, port) }

// Cut stops, or lets pass again, what goes from one port to another; the other
// direction is cut apart from it.
func (n *Network) Cut(from, to int, cut bool) {
	if cut {
		n.cut[[2]int{from, to}] = true
	} else {
		delete(n.cut, [2]int{from, to})
	}
}

// Heal undoes every Cut.
func (n *Network) Heal() { clear(n.cut) }

// Send carries a copy of frame from one port to another.
func (n *Network) Send(from, to int, frame []byte) {
	w := &n.Weather
	if n.cut[[2]int{from, to}] || n.rng.Float64() < w.Loss {
		return
	}
	times := 1
	if n.rng.Float64() < w.Double {
		times = 2
	}
	for range times {
		copied := slices.Clone(frame)
		if n.rng.Float64() < w.Corrupt && len(copied) > 0 {
			copied[n.rng.IntN(len(copied))] ^= 1 << n.rng.IntN(8)
		}
		delay := w.Delay
		if w.Jitter > 0 {
			delay += time.Duration(n.rng.Int64N(int64(w.Jitter)))
		}
		n.clock.After(delay, func() {
			if receive := n.ports[to]; receive != nil && !n.cut[[2]int{from, to}] {
				receive(from, copied)
			}
		})
	}
}
