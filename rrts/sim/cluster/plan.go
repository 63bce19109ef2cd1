package cluster

import (
	"cmp"
	"math/rand/v2"
	"slices"
	"time"
)

const (
	// quiet is the beginning without faults, so that every run commits something.
	quiet = 500 * time.Millisecond
	// maxJump is how far a clock may jump, either way.
	maxJump = 10 * time.Minute
	// maxAdded is up to how many numbers beyond the founders' faults aim at.
	maxAdded = 8
)

// Plan completes a run: what Config leaves open is drawn from its seed, the events
// among it. What has events keeps them.
func Plan(c Config) Config {
	rng := rand.New(rand.NewPCG(c.Seed, 0x706c616e))
	nodes := [...]int{3, 3, 3, 3, 3, 3, 5, 1}[rng.IntN(8)]
	if c.Nodes == 0 {
		c.Nodes = nodes
		c.Witness = nodes == 3 && rand.New(rand.NewPCG(c.Seed, 0x7769746e)).IntN(4) == 0
	}
	if c.Force {
		c.Nodes, c.Witness = 2, false
	}
	if c.Clients == 0 {
		c.Clients = 6
	}
	if c.Safety == 0 {
		c.Safety = 3 * time.Second
	}
	if c.Events != nil {
		return c
	}
	// A forced recovery takes back what an overruled node was told, its effects among it.
	c.Effects = !c.Force && rand.New(rand.NewPCG(c.Seed, 0x65666665)).IntN(2) == 0
	p := planner{c: &c, rng: rng}
	p.until(75*time.Millisecond, p.fault)
	if !c.Force { // the only change then is the one that it brings about
		p.until(120*time.Millisecond, p.change)
		p.until(100*time.Millisecond, p.software)
	}
	for n := range uint64(c.Nodes) {
		p.node = n + 1
		p.until(450*time.Millisecond, p.disk)
	}
	p.node = 0
	p.until(450*time.Millisecond, p.disk) // of those that come later
	p.rng = rand.New(rand.NewPCG(c.Seed, 0x726f7473))
	p.until(2*time.Second, p.rows)
	slices.SortStableFunc(c.Events, func(a, b Event) int { return cmp.Compare(a.At, b.At) })
	return c
}

// planner draws events.
type planner struct {
	c    *Config
	rng  *rand.Rand
	node uint64 // whose disk it is at; 0: any that was added
}

// until draws an event again and again, that long after each other in the mean, until
// the safety phase ends.
func (p *planner) until(mean time.Duration, draw func() Event) {
	for at := quiet; ; {
		if at += p.upTo(2 * mean); at >= p.c.Safety {
			return
		}
		e := draw()
		e.At = at
		p.c.Events = append(p.c.Events, e)
	}
}

func (p *planner) upTo(d time.Duration) time.Duration {
	return time.Duration(p.rng.Int64N(int64(d))).Round(time.Microsecond)
}

// downtime is how long a node is down.
func (p *planner) downtime() time.Duration { return 5*time.Millisecond + p.upTo(800*time.Millisecond) }

// any is a node: a founder as a rule.
func (p *planner) any() uint64 {
	if p.rng.IntN(3) > 0 {
		return 1 + p.rng.Uint64N(uint64(p.c.Nodes))
	}
	return p.added()
}

func (p *planner) added() uint64 { return uint64(p.c.Nodes) + 1 + p.rng.Uint64N(maxAdded) }

// fault is one of those that come from outside of a node.
func (p *planner) fault() Event {
	node, net := p.any(), p.rng.IntN(2)
	switch p.rng.IntN(11) {
	case 0:
		return Event{Kind: Crash, Node: node, For: p.downtime()}
	case 1, 2:
		return Event{Kind: Cut, Node: node, To: p.any(), Net: net}
	case 3:
		return Event{Kind: Isolate, Node: node}
	case 4, 5:
		return Event{Kind: Heal}
	case 6:
		return Event{Kind: Storm, Net: net, Loss: p.share(0.9) * p.share(1), Double: p.share(0.2), Corrupt: p.share(0.05),
			Jitter: p.upTo(2*time.Millisecond) + time.Microsecond}
	case 7:
		return Event{Kind: Pause, Node: node, For: p.upTo(600 * time.Millisecond)}
	case 8:
		return Event{Kind: HandOver, Node: node}
	case 9:
		return Event{Kind: Clock, Node: node, Off: p.upTo(400*time.Millisecond) - 200*time.Millisecond}
	}
	return Event{Kind: Clock, Node: node, Off: p.upTo(2*maxJump) - maxJump}
}

// share is up to most, in thousandths.
func (p *planner) share(most float64) float64 {
	return float64(p.rng.IntN(int(most*1000)+1)) / 1000
}

// disk is one of a node's disk.
func (p *planner) disk() Event {
	e := Event{Node: p.node, For: p.downtime()}
	if e.Node == 0 {
		e.Node = p.added()
	}
	switch p.rng.IntN(10) {
	case 0, 1, 2:
		e.Kind, e.Op = Power, 1+p.rng.IntN(60)
	case 3:
		e.Kind = PowerState
	case 4:
		e.Kind, e.Op = FailedSync, 1+p.rng.IntN(20)
	case 5:
		e.Kind, e.Pick = Rot, p.rng.Uint64()
	case 6:
		e.Kind, e.Pick = Unreadable, p.rng.Uint64()
	case 7:
		e.Kind, e.Bytes, e.For = Full, p.rng.Int64N(segmentBytes), 200*time.Millisecond+p.upTo(1200*time.Millisecond)
	case 8:
		e.Kind, e.Delay = Slow, p.upTo(80*time.Millisecond)+time.Microsecond
	case 9: // one that stands still for a moment
		e.Kind, e.Delay, e.For = Slow, p.upTo(400*time.Millisecond)+time.Microsecond, p.upTo(20*time.Millisecond)
	}
	return e
}

// rows is rot in the state of one.
func (p *planner) rows() Event { return Event{Kind: RotRows, Node: p.any(), Pick: p.rng.Uint64()} }

// software is a change of what is installed, or of what all of it is asked to use.
func (p *planner) software() Event {
	switch p.rng.IntN(12) {
	case 0: // after the activation it halts, and somebody has to come
		return Event{Kind: Older, Node: p.any(), For: p.downtime() / 4}
	case 1, 2, 3:
		return Event{Kind: Activate, Node: p.any()}
	}
	return Event{Kind: Newer, Node: p.any(), For: p.downtime() / 4}
}

// change is one that the operator wants, or has to make.
func (p *planner) change() Event {
	node := p.any()
	switch p.rng.IntN(12) {
	case 0, 1, 2, 3:
		e := Event{Kind: Add, Replica: p.rng.IntN(8) > 0, Voter: p.rng.IntN(4) > 0, For: p.upTo(50 * time.Millisecond)}
		e.Witness = p.c.Witness && e.Replica && e.Voter && p.rng.IntN(3) == 0
		return e
	case 4:
		return Event{Kind: Lose, Node: node}
	case 5, 6:
		return Event{Kind: Demote, Node: node}
	}
	return Event{Kind: Remove, Node: node}
}
