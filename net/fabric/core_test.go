package fabric_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"

	"virtualservicesinc.com/net/fabric"
	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
)

// simulation is a few cores on two networks in memory, all driven by one loop:
// what a whole-cluster simulation does.
type simulation struct {
	t     testing.TB
	seed  uint64
	now   time.Duration
	net   networks
	nodes []*simNode
	told  strings.Builder
	tune  func(c *session.Config) // of those that are added; nil: as they are
}

type simNode struct {
	sfu   uint16
	core  *fabric.Core
	links [2]*link.MemoryLink
	in    []link.Frame
	sends []sending
	got   func(r fabric.Record) // takes records instead of the story; nil: nobody does
}

// sending is what a core transmitted in one go.
type sending struct {
	at     time.Duration
	port   fabric.Port
	frames int
}

func newSimulation(t testing.TB, seed uint64) *simulation {
	s := &simulation{t: t, seed: seed}
	for i := range s.net {
		s.net[i] = link.NewNetwork(link.NetworkConfig{Seed: seed + uint64(i), Now: func() time.Duration { return s.now }})
		s.net[i].SetAll(quick)
	}
	return s
}

func (s *simulation) tell(format string, args ...any) {
	fmt.Fprintf(&s.told, "%9.3fms  ", float64(s.now.Microseconds())/1000)
	fmt.Fprintf(&s.told, format+"\n", args...)
}

// add starts SFU sfu, which knows 1 to count, on the given networks.
func (s *simulation) add(sfu uint16, count int, incarnation uint64, on ...fabric.Network) {
	n := &simNode{sfu: sfu, in: make([]link.Frame, link.BatchSize)}
	for i := range n.in {
		n.in[i].Data = make([]byte, link.MaxFrame)
	}
	var links fabric.Links
	for _, network := range on {
		n.links[network] = s.net[network].Link(sfu)
		links[network] = n.links[network]
	}
	var seed [32]byte
	seed[0], seed[1], seed[2] = byte(s.seed), byte(sfu), byte(incarnation)
	var err error
	cfg := session.Config{
		Local: sfu, Key: key(s.t, sfu), PSK: [32]byte{1}, ClusterHash: clusterHash,
		Incarnation: incarnation, Rand: rand.NewChaCha8(seed),
	}
	if s.tune != nil {
		s.tune(&cfg)
	}
	n.core, err = fabric.NewCore(fabric.Config{
		Session: cfg,
		Peers:   peersOf(s.t, sfu, count),
		Links:   links,
		Deliver: func(batch []fabric.Record) {
			for _, r := range batch {
				if n.got != nil {
					n.got(r)
					continue
				}
				s.tell("%d: record from %d on lane %d: %s", sfu, r.Peer, r.Lane, r.Data)
				if reply, ok := strings.CutPrefix(string(r.Data), "echo "); ok {
					if err := n.core.Send(s.now, r.Peer, r.Lane, []byte(reply)); err != nil {
						s.tell("%d: %v", sfu, err)
					}
				}
			}
		},
		Event: func(e fabric.Event) { s.tell("%d: %v", sfu, e) },
	}, func(port fabric.Port, frames []link.Frame) {
		n.sends = append(n.sends, sending{s.now, port, len(frames)})
		n.links[port].Send(frames)
	})
	if err != nil {
		s.t.Fatal(err)
	}
	n.core.Advance(s.now, 0)
	n.core.Flush(s.now)
	s.nodes = append(s.nodes, n)
}

func (s *simulation) node(sfu uint16) *simNode {
	for _, n := range s.nodes {
		if n.sfu == sfu {
			return n
		}
	}
	s.t.Fatalf("no sfu %d", sfu)
	return nil
}

// stop takes an SFU away, without a word or with one.
func (s *simulation) stop(sfu uint16, goodbye bool) {
	n := s.node(sfu)
	if goodbye {
		n.core.Close(s.now)
		n.core.Flush(s.now)
	}
	for _, l := range n.links {
		if l != nil {
			l.Close()
		}
	}
	s.nodes = slices.DeleteFunc(s.nodes, func(x *simNode) bool { return x == n })
}

// run lets time pass, from one thing that happens to the next.
func (s *simulation) run(d time.Duration) {
	end := s.now + d
	for {
		next := end
		for _, network := range s.net {
			if due, ok := network.Deliver(); ok {
				next = min(next, due)
			}
		}
		for _, n := range s.nodes {
			s.serve(n)
			next = min(next, max(n.core.NextTimeout(), s.now))
		}
		for _, network := range s.net {
			if due, ok := network.Deliver(); ok {
				next = min(next, due)
			}
		}
		if s.now >= end {
			return
		}
		s.now = next
	}
}

// serve gives a core what arrived and what is due.
func (s *simulation) serve(n *simNode) {
	for network, l := range n.links {
		if l == nil {
			continue
		}
		select {
		case <-l.Changed():
			n.core.SetLink(s.now, fabric.Port(network), l.Status())
		default:
		}
		for {
			k := l.Poll(n.in)
			if k == 0 {
				break
			}
			n.core.Receive(s.now, fabric.Port(network), n.in[:k])
		}
	}
	n.core.Advance(s.now, 0)
	n.core.Flush(s.now)
}

// drain returns what was told since the last call.
func (s *simulation) drain() string {
	told := s.told.String()
	s.told.Reset()
	if told == "" {
		return "ok\n"
	}
	return told
}

// Transcripts of whole cores, readable and the same at every run.
func TestCore(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		s := newSimulation(t, 1)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			s.t = t
			return s.command(t, d)
		})
	})
}

// command does one line of a transcript.
func (s *simulation) command(t *testing.T, d *datadriven.TestData) string {
	number := func(key string, or uint64) uint64 {
		if d.HasArg(key) {
			d.ScanArgs(t, key, &or)
		}
		return or
	}
	word := func(key, or string) string {
		if d.HasArg(key) {
			d.ScanArgs(t, key, &or)
		}
		return or
	}
	sfu := uint16(number("sfu", 0))
	var on []fabric.Network
	for _, network := range []fabric.Network{fabric.A, fabric.B} {
		if strings.Contains(word("on", "AB"), network.String()) {
			on = append(on, network)
		}
	}
	switch d.Cmd {
	case "start": // sfu=N of=COUNT [incarnation=N] [on=A|B|AB]
		s.add(sfu, int(number("of", 2)), number("incarnation", 1), on...)
	case "stop": // sfu=N
		s.stop(sfu, true)
	case "kill": // sfu=N
		s.stop(sfu, false)
	case "run": // for=DURATION
		length, err := time.ParseDuration(word("for", ""))
		if err != nil {
			t.Fatal(err)
		}
		s.run(length)
	case "send": // sfu=N to=N [lane=N], and the record
		err := s.node(sfu).core.Send(s.now, uint16(number("to", 0)), fabric.Lane(number("lane", 2)), []byte(strings.TrimSuffix(d.Input, "\n")))
		if err != nil {
			return err.Error() + "\n"
		}
	case "network": // [on=A|B|AB] [delay=D] [jitter=D] [loss=P] [cut]
		var p link.Path
		p.Delay, _ = time.ParseDuration(word("delay", "50us"))
		p.Jitter, _ = time.ParseDuration(word("jitter", "0"))
		if _, err := fmt.Sscan(word("loss", "0"), &p.Loss); err != nil {
			t.Fatal(err)
		}
		p.Cut = d.HasArg("cut")
		for _, network := range on {
			s.net[network].SetAll(p)
		}
	case "carrier": // sfu=N on=A|B|AB up|down
		for _, network := range on {
			s.node(sfu).links[network].SetCarrier(d.HasArg("up"))
		}
	case "peers": // sfu=N of=COUNT
		if err := s.node(sfu).core.SetPeers(s.now, peersOf(t, sfu, int(number("of", 2)))); err != nil {
			return err.Error() + "\n"
		}
	default:
		t.Fatalf("no command %s", d.Cmd)
	}
	return s.drain()
}

// Idle, a core sends to all peers in one go, once in 25 ms by each network, and soon
// after the others have sent to it.
func TestProbesLeaveTogether(t *testing.T) {
	s := newSimulation(t, 1)
	for sfu := uint16(1); sfu <= 4; sfu++ {
		s.add(sfu, 4, 1, fabric.A, fabric.B)
	}
	s.run(time.Second)
	for _, n := range s.nodes {
		n.sends = nil
	}
	s.run(time.Second)
	for _, n := range s.nodes {
		var goes [2]int
		for _, x := range n.sends {
			goes[x.port]++
			if x.frames != 3 {
				t.Errorf("SFU %d at %v: %d frames by network %v, to 3 peers", n.sfu, x.at, x.frames, x.port)
			}
		}
		if goes != [2]int{40, 40} {
			t.Errorf("SFU %d sent %v times a second", n.sfu, goes)
		}
	}
	// A Flush a little before they are due takes the probes to all along.
	n := s.node(1)
	n.sends = nil
	for _, c := range []struct {
		after time.Duration
		sends int
	}{{14 * time.Millisecond, 0}, {2 * time.Millisecond, 2}} {
		s.run(c.after)
		if len(n.sends) != c.sends || c.sends > 0 && n.sends[0].frames != 3 {
			t.Errorf("at %v: %v", s.now, n.sends)
		}
	}
}

// One seed tells one story, to the last frame.
func TestCoreIsDeterministic(t *testing.T) {
	story := func(seed uint64) string {
		s := newSimulation(t, seed)
		bad := link.Path{Delay: 100 * time.Microsecond, Jitter: 400 * time.Microsecond, Loss: 0.1, Duplicate: 0.05, Corrupt: 0.05}
		for i := range s.net {
			s.net[i].SetAll(bad)
		}
		for sfu := uint16(1); sfu <= 3; sfu++ {
			s.add(sfu, 3, 1, fabric.A, fabric.B)
		}
		s.run(500 * time.Millisecond)
		for i := range 300 {
			s.run(3 * time.Millisecond)
			from := s.nodes[i%3]
			to := s.nodes[(i+1)%3]
			if err := from.core.Send(s.now, to.sfu, fabric.Lane(i%4), fmt.Appendf(nil, "echo %d", i)); err != nil {
				s.tell("%d: send: %v", from.sfu, err)
			}
		}
		s.run(time.Second)
		for _, n := range s.nodes {
			var st fabric.Stats
			n.core.Stats(&st)
			s.tell("%+v", st)
		}
		return s.drain()
	}
	first := story(1)
	if again := story(1); again != first {
		t.Error("the same seed told another story")
	}
	if story(2) == first {
		t.Error("another seed told the same story")
	}
	if got := strings.Count(first, ": record from "); got != 600 {
		t.Errorf("%d records arrived of 300 and their echoes", got)
	}
}

// A record on its way, there and acknowledged, allocates nothing.
func TestCoreAllocations(t *testing.T) {
	now := time.Duration(0)
	var cores [2]*fabric.Core
	type parcel struct {
		port  fabric.Port
		frame link.Frame
	}
	var wire [2][]parcel // what is under way to each
	arrived := 0
	for i := range cores {
		sfu, other := uint16(1+i), 1-i
		core, err := fabric.NewCore(fabric.Config{
			Session: session.Config{
				Local: sfu, Key: key(t, sfu), PSK: [32]byte{1}, ClusterHash: clusterHash,
				Incarnation: 1, Rand: rand.NewChaCha8([32]byte{byte(i)}),
			},
			Peers: peersOf(t, sfu, 2),
			Links: fabric.Links{
				link.NewNetwork(link.NetworkConfig{}).Link(sfu),
				link.NewNetwork(link.NetworkConfig{}).Link(sfu),
			},
			Deliver: func(batch []fabric.Record) { arrived += len(batch) },
			Event:   func(fabric.Event) {},
		}, func(port fabric.Port, frames []link.Frame) {
			for _, f := range frames {
				w := &wire[other]
				if len(*w) == cap(*w) {
					*w = append(*w, parcel{frame: link.Frame{Data: make([]byte, link.MaxFrame)}})
				} else {
					*w = (*w)[:len(*w)+1]
				}
				p := &(*w)[len(*w)-1]
				if p.frame.Data == nil {
					p.frame.Data = make([]byte, link.MaxFrame)
				}
				p.port, p.frame.Addr = port, link.Local(sfu)
				p.frame.Data = append(p.frame.Data[:0], f.Data...)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		cores[i] = core
	}
	var in [1]link.Frame
	pass := func(d time.Duration) {
		for end := now + d; now < end; now += 100 * time.Microsecond {
			for i, core := range cores {
				under := wire[i]
				wire[i] = wire[i][:0]
				for j := range under {
					in[0] = under[j].frame
					core.Receive(now, under[j].port, in[:])
				}
				core.Advance(now, 0)
				core.Flush(now)
			}
		}
	}
	pass(time.Second)
	record := make([]byte, 500)
	sent := 0
	allocs := testing.AllocsPerRun(1000, func() {
		for lane := range fabric.Lane(4) {
			if err := cores[0].Send(now, 2, lane, record); err != nil {
				t.Fatal(err)
			}
			sent++
		}
		pass(time.Millisecond)
	})
	if arrived != sent {
		t.Fatalf("%d records of %d arrived", arrived, sent)
	}
	if allocs != 0 {
		t.Errorf("%v allocations for 4 records", allocs)
	}
}
