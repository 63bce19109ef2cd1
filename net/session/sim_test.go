package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"
)

// checker holds a session to its promises: what one side sends in one connection
// arrives at the other once, in order and unchanged, between an Up and its Lost.
type checker struct {
	t    testing.TB
	name string
	node *node

	// As sender.
	connection uint64 // Ups seen
	up         bool
	sent       [lanes]uint64

	// As receiver.
	peer      *checker
	from      uint64 // connection of the peer that the records are of; 0: none yet
	last      uint64 // highest from ever
	got       [lanes]uint64
	suspected bool
	netUp     [networks]bool
	total     int
	losses    int
}

func check(t testing.TB, w *world, label string) [2]*checker {
	var c [2]*checker
	for i, n := range w.node {
		c[i] = &checker{t: t, name: fmt.Sprintf("%s, SFU %d", label, n.cfg.Local), node: n}
		n.got = c[i].record
		n.happens = c[i].event
	}
	c[0].peer, c[1].peer = c[1], c[0]
	return c
}

func (c *checker) failf(format string, a ...any) {
	c.t.Helper()
	c.t.Fatalf("%s at %v: %s", c.name, c.node.w.now, fmt.Sprintf(format, a...))
}

// restarted is told when the node got a new session.
func (c *checker) restarted() {
	c.up, c.suspected, c.from = false, false, 0
	c.netUp = [networks]bool{}
}

// send sends the next record of a lane, if there is room.
func (c *checker) send(lane Lane, size int) {
	record := make([]byte, 16+size)
	binary.LittleEndian.PutUint64(record, c.connection)
	binary.LittleEndian.PutUint64(record[8:], c.sent[lane])
	fillPattern(record[16:], c.connection*31+c.sent[lane]*7+uint64(lane))
	switch err := c.node.session.Send(c.node.w.now, lane, record); {
	case err == nil:
		c.sent[lane]++
	case errors.Is(err, ErrPeerDown) && !c.up, errors.Is(err, ErrLaneFull):
	default:
		c.failf("Send: %v", err)
	}
}

func fillPattern(b []byte, seed uint64) {
	for i := range b {
		b[i] = byte(seed + uint64(i)*uint64(i>>8|1))
	}
}

func (c *checker) record(lane Lane, record []byte) {
	if !c.up && c.from == 0 {
		c.failf("a record of lane %d before Up", lane)
	}
	from, sequence := binary.LittleEndian.Uint64(record), binary.LittleEndian.Uint64(record[8:])
	if c.from == 0 {
		if from <= c.last {
			c.failf("records of connection %d after those of %d", from, c.last)
		}
		c.from, c.last = from, from
		c.got = [lanes]uint64{}
	}
	if from != c.from || sequence != c.got[lane] {
		c.failf("record %d of connection %d on lane %d; record %d of %d is next", sequence, from, lane, c.got[lane], c.from)
	}
	c.got[lane]++
	c.total++
	want := make([]byte, len(record)-16)
	fillPattern(want, from*31+sequence*7+uint64(lane))
	if !bytes.Equal(record[16:], want) {
		c.failf("record %d of lane %d is damaged", sequence, lane)
	}
}

func (c *checker) event(e Event) {
	legal := c.up
	switch e.Kind {
	case Up:
		legal = !c.up
		c.up, c.suspected, c.from = true, false, 0
		c.netUp = [networks]bool{}
		c.connection++
		c.sent = [lanes]uint64{}
	case Lost:
		c.up, c.from = false, 0
		c.losses++
	case Suspect:
		legal = legal && !c.suspected
		c.suspected = true
	case Recovered:
		legal = legal && c.suspected
		c.suspected = false
	case NetworkUp:
		legal = legal && !c.netUp[e.Network]
		c.netUp[e.Network] = true
	case NetworkDown:
		legal = legal && c.netUp[e.Network]
		c.netUp[e.Network] = false
	default:
		legal = false
	}
	if !legal {
		c.failf("event %v out of turn", e)
	}
}

// TestSimulation runs many seeds of two sessions through loss, reordering,
// duplication, corruption, cuts, pauses and restarts, then heals everything and
// waits for what was sent. RRTS_SEEDS sets the number of seeds, RRTS_SEED the
// first; alone, it is run with all its events shown.
func TestSimulation(t *testing.T) {
	first, count := 1, 80
	if testing.Short() {
		count = 30
	}
	if n, err := strconv.Atoi(os.Getenv("RRTS_SEED")); err == nil {
		first, count = n, 1
	}
	if n, err := strconv.Atoi(os.Getenv("RRTS_SEEDS")); err == nil {
		count = n
	}
	records, losses := 0, 0
	for seed := first; seed < first+count; seed++ {
		r, l := simulate(t, uint64(seed), count == 1)
		records += r
		losses += l
	}
	t.Logf("%d seeds: %d records arrived, %d connections were lost", count, records, losses)
	if count >= 30 && (records < count*100 || losses < count) {
		t.Errorf("the seeds are too tame")
	}
}

func simulate(t *testing.T, seed uint64, verbose bool) (records, losses int) {
	w := newWorld(t, seed, func(i int, c *Config) {
		if seed%5 == 0 {
			c.MTU = [networks]int{1500, 9000}
		}
		if seed%7 == 0 {
			c.MTU[B] = 0
		}
		c.NoAES = seed%3 == uint64(i)
		if seed%6 == 1 {
			for net := range c.Pacer {
				c.Pacer[net] = new(Pacer)
				c.Pacer[net].SetSpeed(10)
			}
		}
		c.LaneBytes = [lanes]int{64 << 10, 1 << 20, 1 << 20, 1 << 20}
		if seed%4 == 0 {
			c.RekeyAfter = 6 * time.Second
		}
	})
	if verbose {
		w.log = func(f string, a ...any) { t.Logf(f, a...) }
	}
	c := check(t, w, fmt.Sprintf("seed %d", seed))
	sealedOnce(t, w)
	rng := w.rng
	millis := func(least, most int) time.Duration {
		return time.Duration(least+rng.IntN(most-least)) * time.Millisecond
	}
	traffic := func(d time.Duration) {
		for end := w.now + d; w.now < end; {
			n := w.node[rng.IntN(2)]
			if !n.off && w.now >= n.paused && rng.IntN(4) > 0 {
				lane := Lane(rng.IntN(lanes))
				for range 1 + rng.IntN(4) {
					c[n.index].send(lane, rng.IntN(1<<rng.IntN(8+4*int(min(lane, 2)))))
				}
			}
			w.run(time.Duration(rng.IntN(int(20 * time.Millisecond))))
		}
	}
	for range 6 + rng.IntN(6) {
		calm := Network(rng.IntN(2)) // one network is often good
		for i := range w.link {
			for net := range w.link[i] {
				f := &w.link[i][net]
				*f = fault{delay: time.Duration(50+rng.IntN(200)) * time.Microsecond}
				if Network(net) == calm && rng.IntN(4) > 0 {
					continue
				}
				switch rng.IntN(6) {
				case 0:
					f.cut = true
				case 1:
					f.loss = rng.Float64() * 0.8
				case 2:
					f.reorder, f.jitter = rng.Float64(), time.Duration(1+rng.IntN(8000))*time.Microsecond
				case 3:
					f.copy, f.flip = rng.Float64()*0.5, rng.Float64()*0.3
				case 4:
					f.loss, f.copy, f.flip = rng.Float64()*0.3, 0.1, 0.05
					f.reorder, f.jitter = 0.5, time.Millisecond
				}
			}
		}
		n := w.node[rng.IntN(2)]
		switch rng.IntN(8) {
		case 0: // a pause, with the other still sending
			n.paused = w.now + millis(10, 3000)
		case 1: // a crash
			n.off = true
			traffic(millis(1, 1500))
			n.start()
			c[n.index].restarted()
		case 2: // both networks cut, perhaps for good
			w.each(cut)
			traffic(millis(1, 1800))
		case 3: // carriers flap
			net := Network(rng.IntN(2))
			for range 1 + rng.IntN(3) {
				n.session.LinkState(w.now, net, false)
				traffic(millis(1, 100))
				n.session.LinkState(w.now, net, true)
				traffic(millis(1, 100))
			}
		case 4: // an orderly stop
			if rng.IntN(3) == 0 {
				n.session.Close(w.now)
				n.flush()
				n.off = true
				traffic(millis(1, 500))
				n.start()
				c[n.index].restarted()
			}
		}
		traffic(millis(50, 800))
	}
	// Everything heals; whatever was sent in a connection that stays must arrive.
	w.each(func(f *fault) { *f = fault{delay: 100 * time.Microsecond} })
	for _, n := range w.node {
		n.paused = 0
	}
	w.run(5 * time.Second)
	traffic(200 * time.Millisecond)
	w.run(31 * time.Second)
	for i, k := range c {
		if !k.up {
			k.failf("not up after everything healed")
		}
		if peer := k.peer; k.got != peer.sent && (k.from != 0 || peer.sent != [lanes]uint64{}) {
			k.failf("%v of %v records arrived", k.got, peer.sent)
		}
		for net, mtu := range w.node[i].cfg.MTU {
			if k.netUp[net] != (mtu > 0) {
				k.failf("network %v: up is %v", Network(net), k.netUp[net])
			}
		}
		var st Stats
		w.node[i].session.Stats(&st)
		for lane, l := range st.Lane {
			if l.Queued != 0 || l.Untaken != 0 {
				k.failf("lane %d keeps %d bytes to send and %d to take", lane, l.Queued, l.Untaken)
			}
		}
		records += k.total
		losses += k.losses
	}
	return records, losses
}
