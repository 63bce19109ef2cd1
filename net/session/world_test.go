package session

import (
	"bytes"
	"container/heap"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"
	"time"

	"virtualservicesinc.com/net/wire"
)

// world is two SFUs and two networks in virtual time. Everything in it follows
// from its seed.
type world struct {
	t     testing.TB
	seed  uint64
	now   time.Duration
	rng   *rand.Rand
	node  [2]*node
	link  [2][networks]fault // by sending node
	queue deliveries
	order uint64
	tap   func(d *delivery) // sees every frame that leaves, also those that get lost
	log   func(format string, a ...any)
}

// fault is what one direction of one network does to frames. Probabilities are
// per frame.
type fault struct {
	cut                       bool
	loss, copy, flip, reorder float64
	delay, jitter             time.Duration
	rate                      int           // bytes a second; 0: no bound
	busy                      time.Duration // until then earlier frames occupy it
}

// queueLimit is how much a link of bounded rate keeps before it drops, in time.
const queueLimit = 20 * time.Millisecond

type delivery struct {
	at    time.Duration
	order uint64
	from  int
	net   Network
	frame []byte
}

type deliveries []*delivery

func (d deliveries) Len() int { return len(d) }
func (d deliveries) Less(i, j int) bool {
	return d[i].at < d[j].at || d[i].at == d[j].at && d[i].order < d[j].order
}
func (d deliveries) Swap(i, j int) { d[i], d[j] = d[j], d[i] }
func (d *deliveries) Push(x any)   { *d = append(*d, x.(*delivery)) }
func (d *deliveries) Pop() any {
	old := *d
	x := old[len(old)-1]
	*d = old[:len(old)-1]
	return x
}

// node is one SFU.
type node struct {
	w       *world
	index   int
	cfg     Config
	session *Session
	resp    *Responder
	random  io.Reader
	off     bool
	paused  time.Duration // until then it does nothing
	backlog []*delivery   // what arrived in its pause
	buf     [wire.MaxFrame]byte

	events  []Event
	sends   func(frame []byte, on Networks) (drop bool)
	got     func(lane Lane, record []byte)
	happens func(e Event)
}

func key(t testing.TB, n byte) KeyPair {
	t.Helper()
	k, err := NewKeyPair([32]byte{1: n}) // the low bits of the first byte do not count
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// newWorld makes SFUs 1 and 2 on two networks of 100 µs each way. change may
// alter each side's Config.
func newWorld(t testing.TB, seed uint64, change func(i int, c *Config)) *world {
	w := &world{t: t, seed: seed, rng: rand.New(rand.NewPCG(seed, 1)), log: func(string, ...any) {}}
	for i := range w.node {
		for n := range w.link[i] {
			w.link[i][n] = fault{delay: 100 * time.Microsecond}
		}
		var chacha [32]byte
		binary.LittleEndian.PutUint64(chacha[:], seed)
		chacha[31] = byte(i)
		n := &node{w: w, index: i, random: rand.NewChaCha8(chacha)}
		n.cfg = Config{
			Local: uint16(i + 1), Key: key(t, byte(i+1)),
			Peer: Peer{SFU: uint16(2 - i), Public: key(t, byte(2-i)).Public},
			PSK:  [32]byte{9}, ClusterHash: 0xc1c1c1c1, Slot: uint16(10 + i), Rand: n.random,
			MTU: [networks]int{1500, 1500},
		}
		if change != nil {
			change(i, &n.cfg)
		}
		n.start()
		w.node[i] = n
	}
	return w
}

// start begins a new life of the node.
func (n *node) start() {
	n.cfg.Incarnation++
	var err error
	if n.session, err = New(n.cfg); err != nil {
		n.w.t.Fatal(err)
	}
	n.resp, err = NewResponder(ResponderConfig{Local: n.cfg.Local, Key: n.cfg.Key, PSK: n.cfg.PSK, ClusterHash: n.cfg.ClusterHash,
		Rand: n.random, Peers: []Peer{n.cfg.Peer}})
	if err != nil {
		n.w.t.Fatal(err)
	}
	n.off, n.backlog = false, nil
}

// flush takes everything that the session has to give.
func (n *node) flush() {
	w := n.w
	for again := true; again; {
		again = false
		for {
			size, on := n.session.Next(w.now, n.buf[:])
			if size == 0 {
				break
			}
			if size > wire.MaxFrame || on == None {
				w.t.Fatalf("frame of %d bytes on %v", size, on)
			}
			if n.sends != nil && n.sends(n.buf[:size], on) {
				continue
			}
			for net := A; net < networks; net++ {
				if on.Has(net) {
					w.carry(n.index, net, n.buf[:size])
				}
			}
		}
		for lane := range Lane(lanes) {
			for _, record := range n.session.Take(lane) {
				again = true // a credit may be due
				if n.got != nil {
					n.got(lane, record)
				}
			}
		}
		for _, e := range n.session.Events() {
			again = true // and records after an Up
			w.log("%v %d: %v\n", w.now, n.cfg.Local, e)
			n.events = append(n.events, e)
			if n.happens != nil {
				n.happens(e)
			}
		}
	}
}

// carry puts a frame on a network, with that network's faults.
func (w *world) carry(from int, net Network, frame []byte) {
	f := &w.link[from][net]
	d := &delivery{from: from, net: net, frame: bytes.Clone(frame)}
	if w.tap != nil {
		w.tap(d)
	}
	if f.cut || w.rng.Float64() < f.loss {
		return
	}
	copies := 1
	if w.rng.Float64() < f.copy {
		copies = 2
	}
	for range copies {
		c := *d
		c.frame = bytes.Clone(frame)
		if w.rng.Float64() < f.flip {
			c.frame[w.rng.IntN(len(c.frame))] ^= 1 << w.rng.IntN(8)
		}
		delay := f.delay
		if f.rate > 0 {
			f.busy = max(f.busy, w.now)
			if f.busy > w.now+queueLimit {
				return
			}
			f.busy += time.Duration(len(frame)+24) * time.Second / time.Duration(f.rate) // and Ethernet's own
			delay += f.busy - w.now
		}
		if f.jitter > 0 && w.rng.Float64() < f.reorder {
			delay += time.Duration(w.rng.Int64N(int64(f.jitter)))
		}
		w.schedule(&c, delay)
	}
}

// schedule delivers d after a delay.
func (w *world) schedule(d *delivery, delay time.Duration) {
	d.at, d.order = w.now+delay, w.order
	w.order++
	heap.Push(&w.queue, d)
}

// deliver gives a frame to a node as the fabric would.
func (n *node) deliver(d *delivery) bool {
	h, err := wire.ParseHeader(d.frame)
	if err == nil && h.Type == wire.TypeInitiation {
		in, err := n.resp.Open(n.w.now, d.frame)
		if err != nil {
			return false
		}
		n.session.Accept(n.w.now, in)
		return true
	}
	return n.session.Receive(n.w.now, d.net, d.frame)
}

// run lets the world go on for a time.
func (w *world) run(d time.Duration) {
	end := w.now + d
	for _, n := range w.node {
		if !n.off && w.now >= n.paused {
			n.flush()
		}
	}
	for w.step(end) {
	}
	w.now = end
}

// step does the next thing that happens until end, if there is one.
func (w *world) step(end time.Duration) bool {
	at := never
	who := -1
	for i, n := range w.node {
		if n.off {
			continue
		}
		next := max(n.session.NextTimeout(), w.now)
		if n.paused > w.now {
			next = max(next, n.paused)
			if len(n.backlog) > 0 {
				next = n.paused
			}
		}
		if next < at {
			at, who = next, i
		}
	}
	if len(w.queue) > 0 && w.queue[0].at <= at {
		if w.queue[0].at > end {
			return false
		}
		d := heap.Pop(&w.queue).(*delivery)
		w.now = d.at
		n := w.node[1-d.from]
		switch {
		case n.off:
		case w.now < n.paused:
			n.backlog = append(n.backlog, d)
		default:
			n.deliver(d)
			n.flush()
		}
		return true
	}
	if who < 0 || at > end {
		return false
	}
	w.now = at
	n := w.node[who]
	// After a pause the fabric may look at its timers or at its sockets first.
	if len(n.backlog) > 0 {
		for _, d := range n.backlog {
			n.deliver(d)
		}
		n.backlog = nil
	}
	again := w.now
	for range 3 { // a timer may make another due, but not for ever
		if again <= w.now {
			n.session.Advance(w.now)
			n.flush()
			again = n.session.NextTimeout()
		}
	}
	if again <= w.now {
		w.t.Fatalf("seed %d at %v: NextTimeout of %d stays at %v after Advance", w.seed, w.now, n.cfg.Local, again)
	}
	return true
}

// up runs until both sides are up and all networks are.
func (w *world) up() {
	w.t.Helper()
	w.upOn(A, B)
}

// upOn runs until both sides are up and these networks are.
func (w *world) upOn(nets ...Network) {
	w.t.Helper()
	for range 1000 {
		w.run(5 * time.Millisecond)
		ready := true
		for _, n := range w.node {
			var st Stats
			n.session.Stats(&st)
			for _, net := range nets {
				ready = ready && st.Up && (st.Network[net].Up || !st.Network[net].Configured)
			}
		}
		if ready {
			return
		}
	}
	w.t.Fatal("the two did not come up within 5 s")
}

// each is for both networks, for both directions of one, and for one direction.
func (w *world) each(change func(f *fault)) {
	w.onNetwork(A, change)
	w.onNetwork(B, change)
}

func (w *world) onNetwork(net Network, change func(f *fault)) {
	for i := range w.link {
		change(&w.link[i][net])
	}
}

func cut(f *fault)  { f.cut = true }
func heal(f *fault) { f.cut = false }

// text is a readable list of events.
func text(events []Event) string {
	var b bytes.Buffer
	for _, e := range events {
		fmt.Fprintln(&b, e)
	}
	return b.String()
}
