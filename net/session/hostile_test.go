package session

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"virtualservicesinc.com/net/wire"
)

// capture records every frame that leaves while the world runs.
func capture(w *world) *[]*delivery {
	var frames []*delivery
	w.tap = func(d *delivery) { frames = append(frames, d) }
	return &frames
}

// counters is the part of Stats that hostile frames move.
func counters(s *Session) [6]uint64 {
	var st Stats
	s.Stats(&st)
	return [6]uint64{st.FramesRefused, st.FramesForged, st.FramesReplayed, st.FramesDuplicate, st.FramesMalformed,
		st.Network[A].FramesReceived + st.Network[B].FramesReceived}
}

// busy makes a world with some traffic and the frames of it that arrived at SFU 2.
func busy(t *testing.T) (*world, []*delivery) {
	w := newWorld(t, 11, nil)
	frames := capture(w)
	w.up()
	f := flows(w)
	for range 20 {
		for lane := range f {
			f[lane].send()
		}
		w.run(time.Millisecond)
	}
	w.run(10 * time.Millisecond)
	var to2 []*delivery
	for _, d := range *frames {
		if h, err := wire.ParseHeader(d.frame); d.from == 0 && err == nil && h.Type == wire.TypeData {
			to2 = append(to2, d)
		}
	}
	if len(to2) < 100 {
		t.Fatalf("only %d frames", len(to2))
	}
	w.tap = nil
	return w, to2
}

// TestReplay: a frame seen before on its network is one count and nothing more; in
// particular it does not keep a dead peer alive, and its sender's address is not
// learned.
func TestReplay(t *testing.T) {
	w, frames := busy(t)
	n := w.node[1]
	before := counters(n.session)
	heard := n.session.heard
	w.now += time.Millisecond
	for _, d := range frames {
		if n.session.Receive(w.now, d.net, bytes.Clone(d.frame)) {
			t.Fatal("a replayed frame counts as authentic and new")
		}
	}
	after := counters(n.session)
	if got := after[2] - before[2]; got != uint64(len(frames)) || after[5] != before[5] {
		t.Errorf("%d of %d counted as replayed, %d received", got, len(frames), after[5]-before[5])
	}
	if n.session.heard != heard {
		t.Errorf("a replay counted as a sign of life")
	}
	if len(n.session.Events()) != 0 || len(n.session.Take(LaneBulk)) != 0 {
		t.Errorf("a replay had an effect")
	}
	// A peer that is gone stays gone, however often it is replayed.
	w.node[0].off = true
	for range 120 {
		w.run(10 * time.Millisecond)
		for _, d := range frames[:50] {
			n.session.Receive(w.now, d.net, bytes.Clone(d.frame))
		}
	}
	if last := n.events[len(n.events)-1]; last.Kind != Lost || last.Reason != Silence {
		t.Errorf("under replay: %v", last)
	}
}

// TestReplayOnTheOtherNetwork: a frame of network A that is played on B counts as a
// copy at most once and never as life; that probes of A are heard on B is told.
func TestReplayOnTheOtherNetwork(t *testing.T) {
	w, frames := busy(t)
	n := w.node[1]
	heard, events := n.session.heard, len(n.events)
	w.now += time.Millisecond
	for range 2 {
		for _, d := range frames {
			n.session.Receive(w.now, 1-d.net, bytes.Clone(d.frame))
		}
	}
	n.flush()
	if got := text(n.events[events:]); n.session.heard != heard || got != "cross-wired B\ncross-wired A\n" {
		t.Errorf("a copy counted as a sign of life, or made %v", got)
	}
}

// TestDuplicates: the second copy of a frame is counted, and not delivered.
func TestDuplicates(t *testing.T) {
	w, frames := busy(t)
	var st Stats
	w.node[1].session.Stats(&st)
	both := map[uint64]int{}
	for _, d := range frames {
		h, _ := wire.ParseHeader(d.frame)
		both[h.Number]++
	}
	want := uint64(0)
	for _, n := range both {
		if n == 2 {
			want++
		}
	}
	if st.FramesDuplicate != want || want < 20 {
		t.Errorf("%d duplicates counted, %d frames left twice", st.FramesDuplicate, want)
	}
	if st.Lane[LaneCommit].RecordsReceived != 20 {
		t.Errorf("%d of 20 commit records arrived", st.Lane[LaneCommit].RecordsReceived)
	}
}

// TestForged flips every bit of a frame in turn, and cuts it at every length.
func TestForged(t *testing.T) {
	w := newWorld(t, 12, nil)
	w.up()
	n := w.node[1]
	var frame []byte
	w.tap = func(d *delivery) { frame = bytes.Clone(d.frame) }
	w.onNetwork(A, cut) // so that the frame itself stays new
	w.onNetwork(B, cut)
	if err := w.node[0].session.Send(w.now, LaneRequest, []byte("pay 5 to Bob")); err != nil {
		t.Fatal(err)
	}
	w.node[0].flush()
	w.tap = nil
	if len(frame) == 0 {
		t.Fatal("no frame")
	}
	before := counters(n.session)
	for bit := range len(frame) * 8 {
		bad := bytes.Clone(frame)
		bad[bit/8] ^= 1 << (bit % 8)
		if n.deliver(&delivery{net: A, frame: bad}) {
			t.Errorf("bit %d flipped, and authentic", bit)
		}
	}
	for size := range len(frame) {
		short := bytes.Clone(frame[:size])
		if n.session.Receive(w.now, A, short) {
			t.Errorf("cut to %d bytes, and authentic", size)
		}
		if size >= wire.Overhead { // with a length that fits
			binary.BigEndian.PutUint16(short[2:], uint16(size))
			if n.session.Receive(w.now, A, short) {
				t.Errorf("cut to %d bytes with a new length, and authentic", size)
			}
		}
	}
	if got := n.session.Take(LaneRequest); len(got) != 0 {
		t.Errorf("a forged frame delivered %q", got)
	}
	after := counters(n.session)
	// The bits of type that make an initiation of it go to the Responder.
	if moved := after[0] + after[1] - before[0] - before[1]; moved < uint64(len(frame)*9-30) || after[5] != before[5] {
		t.Errorf("%d refused or forged of %d; %d received", moved, len(frame)*9, after[5]-before[5])
	}
	// The frame itself, padded by the link, is fine.
	if !n.session.Receive(w.now, A, append(bytes.Clone(frame), 0, 0, 0)) {
		t.Error("the genuine frame was refused")
	}
	if got := n.session.Take(LaneRequest); len(got) != 1 || string(got[0]) != "pay 5 to Bob" {
		t.Errorf("the genuine frame delivered %q", got)
	}
}

// TestForgedCopy: what claims to be the second copy of a frame is opened like any
// other before it counts as received on its network.
func TestForgedCopy(t *testing.T) {
	w := newWorld(t, 17, nil)
	w.up()
	w.run(10 * time.Millisecond)
	n := w.node[1]
	w.onNetwork(B, cut)
	arrived := 0
	n.got = func(Lane, []byte) { arrived++ }
	var frame []byte
	w.tap = func(d *delivery) { frame = bytes.Clone(d.frame) }
	if err := w.node[0].session.Send(w.now, LaneCommit, []byte("x")); err != nil {
		t.Fatal(err)
	}
	w.run(time.Millisecond / 2)
	if arrived != 1 {
		t.Fatal("the frame did not arrive over A")
	}
	before, receipts := counters(n.session), n.session.receipts.network[B]
	forged := bytes.Clone(frame)
	forged[len(forged)-1] ^= 1
	if n.session.Receive(w.now, B, forged) {
		t.Error("a forged copy counts as authentic")
	}
	if after := counters(n.session); after[1] != before[1]+1 || after[5] != before[5] || n.session.receipts.network[B] != receipts {
		t.Errorf("a forged copy moved the counters from %v to %v", before, after)
	}
	if !n.session.Receive(w.now, B, frame) {
		t.Error("the genuine copy does not count any more")
	}
}

// TestForgedResponse: a response that somebody else makes up does not disturb the
// handshake that it claims to answer.
func TestForgedResponse(t *testing.T) {
	w := newWorld(t, 18, nil)
	w.tap = func(d *delivery) {
		h, err := wire.ParseHeader(d.frame)
		if err != nil || h.Type != wire.TypeInitiation {
			return
		}
		forged := make([]byte, wire.ResponseSize)
		answer := wire.Header{Type: wire.TypeResponse, Length: wire.ResponseSize, Cluster: h.Cluster,
			SFU: uint16(d.from + 1), Slot: w.node[d.from].cfg.Slot, Number: h.Number}
		answer.Put(forged)
		forged[40] = 1
		w.schedule(&delivery{from: 1 - d.from, net: A, frame: forged}, time.Microsecond)
	}
	w.run(10 * time.Millisecond)
	for i, n := range w.node {
		w.expect(t, i, "up incarnation=1")
		if got := counters(n.session); got[1] == 0 {
			t.Errorf("SFU %d: no forged response was counted", i+1)
		}
	}
}

// TestReflected sends a side's own frames back to it, handshake included.
func TestReflected(t *testing.T) {
	w := newWorld(t, 13, nil)
	frames := capture(w)
	w.up()
	w.run(100 * time.Millisecond)
	for i, n := range w.node {
		before := counters(n.session)
		for _, d := range *frames {
			if d.from != i {
				continue
			}
			back := bytes.Clone(d.frame)
			if n.deliver(&delivery{net: d.net, frame: back}) {
				t.Fatal("a reflected frame was taken")
			}
			// Addressed to ourselves it is under the wrong keys.
			h, err := wire.ParseHeader(d.frame)
			if err != nil {
				t.Fatal(err)
			}
			h.SFU = n.cfg.Local
			if h.Slot != 0 {
				h.Slot = n.cfg.Slot
			}
			back = bytes.Clone(d.frame)
			h.Put(back)
			if n.deliver(&delivery{net: d.net, frame: back}) {
				t.Fatal("a reflected and readdressed frame was taken")
			}
		}
		if after := counters(n.session); after[5] != before[5] {
			t.Errorf("SFU %d received %d of its own frames", n.cfg.Local, after[5]-before[5])
		}
	}
}

// TestOtherCluster: two clusters on one wire do not see each other; nor do peers
// with another pre-shared key, or an SFU with an unknown key.
func TestOtherCluster(t *testing.T) {
	for name, change := range map[string]func(i int, c *Config){
		"cluster hash":   func(i int, c *Config) { c.ClusterHash += uint32(i) },
		"pre-shared key": func(i int, c *Config) { c.PSK[5] += byte(i) },
		"own key": func(i int, c *Config) {
			if i == 0 {
				c.Key = key(t, 50)
			}
		},
		"number": func(i int, c *Config) { c.Local += uint16(7 * i) },
	} {
		w := newWorld(t, 14, change)
		w.run(10 * time.Second)
		if len(w.node[0].events)+len(w.node[1].events) != 0 {
			t.Errorf("other %s: %v%v", name, text(w.node[0].events), text(w.node[1].events))
		}
	}
}

// TestResponder: what the responder refuses and what it costs.
func TestResponder(t *testing.T) {
	w := newWorld(t, 15, nil)
	frames := capture(w)
	w.each(cut)
	w.run(30 * time.Second) // each tries again and again
	var initiations [][]byte
	for _, d := range *frames {
		if d.from == 0 && d.net == A {
			initiations = append(initiations, d.frame)
		}
	}
	if n := len(initiations); n < 60 || n > 80 {
		t.Fatalf("%d initiations in 30 s", n)
	}
	open := func(r *Responder, now time.Duration, frame []byte) error {
		_, err := r.Open(now, frame)
		return err
	}
	r := w.node[1].resp
	good := initiations[0]
	for name, frame := range map[string][]byte{
		"empty":       {},
		"short":       good[:100],
		"a data type": append([]byte{wire.Version<<4 | 3}, good[1:]...),
	} {
		if err := open(r, 0, frame); !errors.Is(err, ErrInitiation) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for bit := range len(good) * 8 {
		bad := bytes.Clone(good)
		bad[bit/8] ^= 1 << (bit % 8)
		if err := open(r, 0, bad); !errors.Is(err, ErrInitiation) {
			t.Fatalf("bit %d flipped: %v", bit, err)
		}
	}
	in, err := r.Open(0, good)
	if err != nil || in.Peer != 1 {
		t.Fatalf("the genuine one: %v", err)
	}
	if err := open(r, 0, good); !errors.Is(err, ErrCopy) {
		t.Errorf("its copy: %v", err)
	}
	if err := r.SetPeers(nil); err != nil {
		t.Fatal(err)
	}
	if err := open(r, 0, initiations[1]); !errors.Is(err, ErrInitiation) {
		t.Errorf("of a peer that is not known any more: %v", err)
	}
	// A flood of recorded ones is opened at the named rate only. Two initiations in
	// turn, pushed out of the memory for copies by hand.
	if err := r.SetPeers([]Peer{w.node[1].cfg.Peer}); err != nil {
		t.Fatal(err)
	}
	opened, limited := 0, 0
	for i := range 4000 {
		r.recent = [recentInitiations][wire.TagSize]byte{}
		switch err := open(r, time.Duration(i)*time.Millisecond, initiations[i%len(initiations)]); {
		case err == nil:
			opened++
		case errors.Is(err, ErrRateLimited):
			limited++
		default:
			t.Fatal(err)
		}
	}
	if opened+limited != 4000 || opened > InitiationBurst+4*InitiationRate || opened < 4*InitiationRate {
		t.Errorf("%d opened in 4 s, %d refused", opened, limited)
	}
}

func TestResponderConfig(t *testing.T) {
	if _, err := NewResponder(ResponderConfig{}); err == nil {
		t.Error("an empty configuration was accepted")
	}
	good := ResponderConfig{Local: 1, Key: key(t, 1), PSK: [32]byte{1}, Rand: rand.NewChaCha8([32]byte{})}
	for name, peers := range map[string][]Peer{
		"number 0":  {{SFU: 0, Public: key(t, 2).Public}},
		"ourselves": {{SFU: 1, Public: key(t, 2).Public}},
		"twice":     {{SFU: 2, Public: key(t, 2).Public}, {SFU: 3, Public: key(t, 2).Public}},
	} {
		good.Peers = peers
		if _, err := NewResponder(good); err == nil {
			t.Errorf("peers with %s were accepted", name)
		}
	}
}

// TestHostileCostsNothing: no frame that is refused allocates.
func TestHostileCostsNothing(t *testing.T) {
	w, frames := busy(t)
	n := w.node[1]
	n.resp.allow(0)
	replay := bytes.Clone(frames[len(frames)-1].frame)
	forged := bytes.Clone(replay)
	binary.BigEndian.PutUint64(forged[12:], n.session.window.top+5)
	initiation := make([]byte, wire.InitiationSize)
	h := wire.Header{Type: wire.TypeInitiation, Length: wire.InitiationSize, Cluster: n.cfg.ClusterHash, SFU: n.cfg.Local}
	h.Put(initiation)
	response := make([]byte, wire.ResponseSize)
	h = wire.Header{Type: wire.TypeResponse, Length: wire.ResponseSize, Cluster: n.cfg.ClusterHash, SFU: n.cfg.Local, Slot: n.cfg.Slot}
	h.Put(response)
	if a := testing.AllocsPerRun(100, func() {
		n.session.Receive(w.now, A, replay[:10])
		n.session.Receive(w.now, A, replay)
		n.session.Receive(w.now, A, forged)
		n.session.Receive(w.now, A, response)
		if _, err := n.resp.Open(w.now, initiation); err != ErrInitiation {
			t.Fatal(err)
		}
	}); a != 0 {
		t.Errorf("%v allocations", a)
	}
	if got := counters(n.session); got[0] < 100 || got[1] < 100 || got[2] < 100 {
		t.Errorf("not all were counted: %v", got)
	}
}

// TestMalformedInside: a frame that is authentic but no valid payload, or beyond
// the credit, is counted and not acknowledged.
func TestMalformedInside(t *testing.T) {
	w := newWorld(t, 16, nil)
	w.up()
	from, n := w.node[0].session, w.node[1]
	send := func(payload []byte) [6]uint64 {
		before := counters(n.session)
		copy(w.node[0].buf[wire.HeaderSize:], payload)
		from.draft = packet{}
		size, _ := from.seal(w.now, w.node[0].buf[:], wire.HeaderSize+len(payload), OnA)
		n.session.Receive(w.now, A, bytes.Clone(w.node[0].buf[:size]))
		after := counters(n.session)
		for i := range after {
			after[i] -= before[i]
		}
		return after
	}
	fragment := func(lane Lane, position uint64, data string) []byte {
		return append(wire.AppendFragmentHead(nil, lane, position, len(data)), data...)
	}
	limit := n.session.receive[LaneControl].limit
	for name, payload := range map[string][]byte{
		"unknown chunk":                  {200},
		"good chunk, then a bad one":     append(fragment(0, 0, "\x00\x00\x00\x01x"), 77),
		"fragment beyond the credit":     fragment(0, limit-2, "abc"),
		"fragment far beyond the credit": fragment(0, 1<<60, "abc"),
	} {
		if got := send(payload); got != [6]uint64{4: 1} {
			t.Errorf("%s: counters moved by %v", name, got)
		}
	}
	if got := n.session.Take(LaneControl); len(got) != 0 {
		t.Errorf("delivered %q", got)
	}
	// What acknowledges packets that were never sent is dropped as well.
	ack := wire.AppendAck(nil, &wire.Ack{Ranges: []wire.Range{{First: 1 << 40, Last: 1 << 40}}})
	if got := send(ack); got[4] != 1 {
		t.Errorf("an ack from the future: counters moved by %v", got)
	}
	// Numbers left out make ranges of receipts, a bounded number of them.
	for range 1000 {
		from.recovery.next += 1 + uint64(from.recovery.next%3)
		from.recovery.oldest = from.recovery.next
		send(nil)
	}
	sound(t, n.session)
	// A record longer than the lane allows ends the connection.
	send(fragment(0, 0, "\xff\xff\xff\xff"))
	n.flush()
	if last := n.events[len(n.events)-1]; last.Kind != Lost || last.Reason != Protocol {
		t.Errorf("an impossible record: %v", last)
	}
}
