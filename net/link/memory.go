package link

import (
	"container/heap"
	"context"
	"math/rand/v2"
	"sync"
	"time"
)

// Path says what happens to frames from one node of a Network to another. The
// zero Path delivers at once and whole.
type Path struct {
	// Cut drops every frame, silently, as a broken cable in a switch does.
	Cut bool
	// Delay is how long a frame is under way; up to Jitter is added to it at
	// random, frame by frame, so that frames overtake each other.
	Delay, Jitter time.Duration
	// Loss, Duplicate and Corrupt are probabilities from 0 to 1: the frame is
	// dropped, arrives twice, arrives with one bit turned.
	Loss, Duplicate, Corrupt float64
}

// NetworkConfig describes a network in memory.
type NetworkConfig struct {
	// Seed decides every draw. With the same seed and the same calls in the
	// same order, the same frames arrive in the same order.
	Seed uint64
	// MTU is the longest frame in bytes; 0 means 1500.
	MTU int
	// Now is the network's clock, from any origin; it never goes back. nil means
	// the time since NewNetwork, which is virtual in a testing/synctest bubble.
	Now func() time.Duration
}

const (
	defaultMemoryMTU = 1500
	// memoryDepth bounds a node's queue in frames: about what a real socket's
	// buffer holds.
	memoryDepth = 4096
)

// Network is a network in memory for tests and simulation. Its nodes are known
// by number; what happens between two of them is set by SetPath.
type Network struct {
	mtu  int
	now  func() time.Duration
	kick chan struct{} // a token: the next delivery may be earlier

	mu      sync.Mutex
	rng     *rand.Rand
	nodes   map[uint16]*MemoryLink
	order   []uint16 // of nodes, so that a broadcast has an order
	paths   map[[2]uint16]Path
	common  Path
	flights flights
	serial  uint64
}

// NewNetwork returns a network without nodes.
func NewNetwork(cfg NetworkConfig) *Network {
	n := &Network{
		mtu:   cfg.MTU,
		now:   cfg.Now,
		kick:  make(chan struct{}, 1),
		rng:   rand.New(rand.NewPCG(cfg.Seed, 0)),
		nodes: make(map[uint16]*MemoryLink),
		paths: make(map[[2]uint16]Path),
	}
	if n.mtu == 0 {
		n.mtu = defaultMemoryMTU
	}
	if n.now == nil {
		origin := time.Now()
		n.now = func() time.Duration { return time.Since(origin) }
	}
	return n
}

// SetPath sets what happens to frames from one node to another from now on.
// Frames already under way arrive as they would have.
func (n *Network) SetPath(from, to uint16, p Path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.paths[[2]uint16{from, to}] = p
}

// SetAll sets every path, those set by SetPath too.
func (n *Network) SetAll(p Path) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.common = p
	clear(n.paths)
}

// Deliver moves the frames that are due into their receivers' queues and returns
// when the next one is due; ok is false when none is under way.
func (n *Network) Deliver() (next time.Duration, ok bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.deliverLocked()
	if len(n.flights) == 0 {
		return 0, false
	}
	return n.flights[0].due, true
}

// Run calls Deliver whenever it is time to, until ctx ends. Paths without delay
// need no Run.
func (n *Network) Run(ctx context.Context) {
	for {
		var timer <-chan time.Time
		if next, ok := n.Deliver(); ok {
			timer = time.After(next - n.now())
		}
		select {
		case <-ctx.Done():
			return
		case <-n.kick:
		case <-timer:
		}
	}
}

// sendLocked puts one frame, which leaves its NIC at left, on its way to one node.
func (n *Network) sendLocked(from, to uint16, data []byte, left time.Duration) {
	p, ok := n.paths[[2]uint16{from, to}]
	if !ok {
		p = n.common
	}
	if p.Cut || n.chanceLocked(p.Loss) {
		return
	}
	copies := 1
	if n.chanceLocked(p.Duplicate) {
		copies = 2
	}
	for range copies {
		due := left + p.Delay
		if p.Jitter > 0 {
			due += time.Duration(n.rng.Int64N(int64(p.Jitter)))
		}
		frame := append([]byte(nil), data...)
		if n.chanceLocked(p.Corrupt) {
			frame[n.rng.IntN(len(frame))] ^= 1 << n.rng.IntN(8)
		}
		n.serial++
		heap.Push(&n.flights, flight{due: due, serial: n.serial, from: from, to: to, data: frame})
	}
}

// chanceLocked draws with probability p, and draws nothing when p is 0.
func (n *Network) chanceLocked(p float64) bool { return p > 0 && n.rng.Float64() < p }

func (n *Network) deliverLocked() {
	now := n.now()
	for len(n.flights) > 0 && n.flights[0].due <= now {
		f := heap.Pop(&n.flights).(flight)
		if l := n.nodes[f.to]; l != nil {
			l.arriveLocked(Frame{Addr: Local(f.from), Data: f.data})
		}
	}
}

// flight is a frame under way.
type flight struct {
	due      time.Duration
	serial   uint64
	from, to uint16
	data     []byte
}

// flights is a heap by due time, then by serial.
type flights []flight

func (f flights) Len() int { return len(f) }
func (f flights) Less(i, j int) bool {
	if f[i].due != f[j].due {
		return f[i].due < f[j].due
	}
	return f[i].serial < f[j].serial
}
func (f flights) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flights) Push(x any)   { *f = append(*f, x.(flight)) }
func (f *flights) Pop() any {
	last := len(*f) - 1
	x := (*f)[last]
	(*f)[last] = flight{}
	*f = (*f)[:last]
	return x
}
