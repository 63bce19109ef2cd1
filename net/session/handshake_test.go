package session

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
	"testing"
	"time"

	"virtualservicesinc.com/net/wire"
)

// expect checks what a node saw, network events left out.
func (w *world) expect(t *testing.T, i int, want ...string) {
	t.Helper()
	var got []string
	for _, e := range w.node[i].events {
		if e.Kind != NetworkUp && e.Kind != NetworkDown {
			got = append(got, e.String())
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("SFU %d saw\n %q, want\n %q", i+1, got, want)
	}
}

// TestBothBegin lets the second side begin at many moments around the first: one
// connection comes of it, soon.
func TestBothBegin(t *testing.T) {
	for offset := time.Duration(0); offset < 400*time.Microsecond; offset += 20 * time.Microsecond {
		for late := range 2 {
			w := newWorld(t, uint64(offset+1), nil)
			w.node[late].off = true
			w.run(offset)
			w.node[late].off = false
			w.run(600 * time.Millisecond)
			for i := range w.node {
				w.expect(t, i, "up incarnation=1")
			}
			if a, b := w.node[0].session, w.node[1].session; !a.up || !b.up || a.connection != b.connection {
				t.Errorf("offset %v, SFU %d late: not one connection", offset, late+1)
			}
		}
	}
}

// TestHandshakeUnderLoss: half of all frames lost on both networks delays a
// connection, and prevents none.
func TestHandshakeUnderLoss(t *testing.T) {
	for seed := range uint64(20) {
		w := newWorld(t, seed, nil)
		w.each(func(f *fault) { f.loss = 0.5 })
		w.run(4 * time.Second)
		if !w.node[0].session.up || !w.node[1].session.up {
			t.Errorf("seed %d: not up after 4 s", seed)
		}
	}
}

// TestCrossedOneWays: a network that works forth and another that works back are
// enough to connect and to stay so.
func TestCrossedOneWays(t *testing.T) {
	w := newWorld(t, 1, nil)
	cut(&w.link[0][A])
	cut(&w.link[1][B])
	w.run(100 * time.Millisecond)
	f := flows(w)
	for range 100 {
		for lane := range f {
			f[lane].send()
		}
		w.run(10 * time.Millisecond)
	}
	w.run(100 * time.Millisecond)
	for lane, f := range f {
		if f.got != 100 {
			t.Errorf("lane %d: %d of 100 records", lane, f.got)
		}
	}
	w.expect(t, 0, "up incarnation=1")
	w.expect(t, 1, "up incarnation=1")
}

// TestInitiationReplayed: recorded initiations change nothing, neither for a
// connection nor for a process that does not know them, and do not keep the genuine
// peer out.
func TestInitiationReplayed(t *testing.T) {
	w := newWorld(t, 21, nil)
	var recorded [][]byte
	w.tap = func(d *delivery) {
		if h, err := wire.ParseHeader(d.frame); err == nil && h.Type == wire.TypeInitiation && d.from == 0 && d.net == A {
			recorded = append(recorded, bytes.Clone(d.frame))
		}
	}
	w.each(cut)
	w.run(5 * time.Second) // initiations that nobody answers
	w.each(heal)
	w.run(2 * time.Second)
	w.tap = nil
	if len(recorded) < 5 {
		t.Fatalf("%d initiations", len(recorded))
	}
	replay := func() {
		for _, frame := range recorded {
			w.node[1].deliver(&delivery{net: B, frame: bytes.Clone(frame)})
			w.node[1].flush()
		}
	}
	f := flows(w)
	for range 50 {
		replay()
		f[LaneCommit].send()
		w.run(20 * time.Millisecond)
		if w.node[1].session.responding != nil {
			t.Fatal("a replayed initiation was answered")
		}
	}
	if f[LaneCommit].got != 50 {
		t.Errorf("%d of 50 records arrived under replay", f[LaneCommit].got)
	}
	w.expect(t, 0, "up incarnation=1")
	w.expect(t, 1, "up incarnation=1")

	// A new life of SFU 2 knows none of them; both sides are up again soon.
	w.node[1].start()
	w.node[1].events = nil
	for range 100 {
		replay()
		w.run(10 * time.Millisecond)
	}
	w.expect(t, 0, "up incarnation=1", "lost incarnation=1 reason=replaced", "up incarnation=2 restarted")
	w.expect(t, 1, "up incarnation=1")

	// A new life of SFU 1: its old initiations do not count any more.
	w.node[0].start()
	w.node[0].events, w.node[1].events = nil, nil
	for range 100 {
		replay()
		w.run(10 * time.Millisecond)
	}
	w.expect(t, 0, "up incarnation=2")
	w.expect(t, 1, "lost incarnation=1 reason=replaced", "up incarnation=2 restarted")
}

// TestReplayDuringRekey: while an answered rekey waits for its confirmation, neither
// replayed initiations of the same life nor of an older one take its place.
func TestReplayDuringRekey(t *testing.T) {
	for _, older := range []bool{false, true} {
		w := newWorld(t, 31, func(i int, c *Config) { c.RekeyAfter = 10 * time.Second })
		var recorded [][]byte
		w.tap = func(d *delivery) {
			if h, err := wire.ParseHeader(d.frame); err == nil && h.Type == wire.TypeInitiation && d.from == 0 && d.net == A {
				recorded = append(recorded, bytes.Clone(d.frame))
			}
		}
		w.each(cut)
		w.run(2 * time.Second)
		if older {
			w.node[0].start()
		}
		w.tap = nil
		w.each(heal)
		w.up()
		from := len(w.node[1].events)
		for w.node[1].session.responding == nil {
			w.run(100 * time.Microsecond)
		}
		for _, frame := range recorded {
			w.node[1].deliver(&delivery{net: B, frame: frame})
			w.node[1].flush()
		}
		w.run(2 * time.Second)
		if got := w.node[1].events[from:]; len(got) != 0 || w.node[1].session.stats.Rekeys != 1 || w.node[0].session.stats.Rekeys != 1 {
			t.Errorf("older life %v: %d rekeys, events %v", older, w.node[1].session.stats.Rekeys, text(got))
		}
	}
}

// TestResumeOfALoss: a handshake that wants to go on with a connection that the
// other side has lost begins a new one.
func TestResumeOfALoss(t *testing.T) {
	w := newWorld(t, 32, nil)
	w.up()
	cut(&w.link[0][A])
	cut(&w.link[0][B])
	w.at(t, 1, Lost, 2*time.Second)
	w.each(heal)
	w.node[1].session.retryAt = never // SFU 2 does not begin by itself here
	w.node[1].session.initiating, w.node[1].session.sendInitiation = nil, false
	w.queue = nil
	if !w.node[0].session.up {
		t.Fatal("SFU 1 lost it too")
	}
	w.node[0].session.initiate(w.now)
	w.run(10 * time.Millisecond)
	w.expect(t, 1, "up incarnation=1", "suspect", "lost incarnation=1 reason=silence", "up incarnation=1")
	w.expect(t, 0, "up incarnation=1", "lost incarnation=1 reason=replaced", "up incarnation=1")
}

// TestRestart tells a restart from a silence.
func TestRestart(t *testing.T) {
	w := newWorld(t, 22, nil)
	w.up()
	w.each(cut)
	w.run(1500 * time.Millisecond)
	w.each(heal)
	w.run(2 * time.Second)
	w.node[1].off = true
	w.run(200 * time.Millisecond)
	w.node[1].start()
	w.run(time.Second)
	w.expect(t, 0, "up incarnation=1", "suspect", "lost incarnation=1 reason=silence", "up incarnation=1", "suspect",
		"lost incarnation=1 reason=replaced", "up incarnation=2 restarted")
	w.expect(t, 1, "up incarnation=1", "suspect", "lost incarnation=1 reason=silence", "up incarnation=1", "up incarnation=1")
}

// TestSetBack: a peer whose incarnation went back (its disk was restored) still
// gets a connection, because it can confirm its keys.
func TestSetBack(t *testing.T) {
	w := newWorld(t, 23, func(i int, c *Config) { c.Incarnation = 100 })
	w.up()
	w.node[0].cfg.Incarnation = 5
	w.node[0].start()
	w.run(12 * time.Second)
	if !w.node[0].session.up || w.node[1].session.incarnation != 6 {
		t.Errorf("SFU 2 saw %v", text(w.node[1].events))
	}
}

// TestNewSession: a second session for the same peer in the same process, thus of
// the same incarnation, connects again at once.
func TestNewSession(t *testing.T) {
	w := newWorld(t, 24, nil)
	w.up()
	w.run(3 * time.Second)
	w.node[0].cfg.Incarnation-- // start counts it up again
	w.node[0].start()
	w.run(300 * time.Millisecond)
	w.expect(t, 1, "up incarnation=1", "lost incarnation=1 reason=replaced", "up incarnation=1")
}

// TestClose: both sides know at once; the peer comes back when it wants to.
func TestClose(t *testing.T) {
	w := newWorld(t, 25, nil)
	w.up()
	f := flows(w)
	f[LaneBulk].send()
	f[LaneCommit].send()
	w.run(time.Millisecond)
	w.onNetwork(A, cut)
	w.node[0].session.Close(w.now)
	w.node[0].session.Close(w.now)
	if err := w.node[0].session.Send(w.now, 0, nil); err != ErrPeerDown {
		t.Errorf("Send after Close: %v", err)
	}
	w.run(time.Millisecond)
	w.expect(t, 0, "up incarnation=1", "lost incarnation=1 reason=local")
	w.expect(t, 1, "up incarnation=1", "lost incarnation=1 reason=closed")
	if f[LaneBulk].got+f[LaneCommit].got != 2 {
		t.Error("what was sent before did not arrive")
	}
	if at := w.node[0].session.NextTimeout(); at != never {
		t.Errorf("a closed session wants to be called at %v", at)
	}
	w.run(3 * time.Second)
	w.node[0].start()
	w.onNetwork(A, heal)
	w.run(2 * time.Second)
	w.expect(t, 1, "up incarnation=1", "lost incarnation=1 reason=closed", "up incarnation=2 restarted")
}

// sealedOnce watches that no packet number is sealed twice under one key: whatever
// leaves under the same key and number has the same bytes.
func sealedOnce(t *testing.T, w *world) {
	seen := map[*keys]map[uint64]uint64{}
	seed := maphash.MakeSeed()
	w.tap = func(d *delivery) {
		h, err := wire.ParseHeader(d.frame)
		if err != nil {
			t.Fatal(err)
		}
		if h.Type != wire.TypeData {
			return
		}
		k := w.node[d.from].session.ring.current
		if seen[k] == nil {
			seen[k] = map[uint64]uint64{}
		}
		sum := maphash.Bytes(seed, d.frame)
		if old, known := seen[k][h.Number]; known && old != sum {
			t.Fatalf("%v: SFU %d sealed two frames as number %d", w.now, d.from+1, h.Number)
		}
		seen[k][h.Number] = sum
	}
}

// TestRekey: streams go on through many rekeys, by age and by count, under loss.
func TestRekey(t *testing.T) {
	for name, change := range map[string]func(i int, c *Config){
		"age":    func(i int, c *Config) { c.RekeyAfter, c.KeepPrevious = 2*time.Second, time.Second },
		"frames": func(i int, c *Config) { c.RekeyFrames = 300 },
	} {
		w := newWorld(t, 26, change)
		sealedOnce(t, w)
		w.up()
		w.each(func(f *fault) { f.loss = 0.05 })
		f := flows(w)
		for range 1500 {
			for lane := range f {
				f[lane].send()
			}
			w.run(10 * time.Millisecond)
		}
		w.run(time.Second)
		for lane, f := range f {
			if f.got != 1500 {
				t.Errorf("%s: lane %d: %d of 1500 records arrived", name, lane, f.got)
			}
		}
		for i, n := range w.node {
			var st Stats
			n.session.Stats(&st)
			if st.Rekeys < 5 || st.FramesForged != 0 {
				t.Errorf("%s: SFU %d: %d rekeys, %d frames that did not open", name, i+1, st.Rekeys, st.FramesForged)
			}
			w.expect(t, i, "up incarnation=1")
		}
	}
}

// TestPreviousKey: a frame under the replaced key is taken for 5 s, and not longer.
func TestPreviousKey(t *testing.T) {
	for _, test := range []struct {
		late  time.Duration
		taken bool
	}{{4900 * time.Millisecond, true}, {5100 * time.Millisecond, false}} {
		w := newWorld(t, 27, func(i int, c *Config) { c.RekeyAfter = 10 * time.Second })
		w.up()
		w.run(9 * time.Second)
		var frame []byte
		w.tap = func(d *delivery) { frame = bytes.Clone(d.frame) }
		w.each(cut)
		if err := w.node[0].session.Send(w.now, LaneCommit, []byte("late")); err != nil {
			t.Fatal(err)
		}
		w.node[0].flush()
		w.tap = nil
		w.each(heal)
		before := w.node[1].session.stats.Rekeys
		for w.node[1].session.stats.Rekeys == before {
			w.run(time.Millisecond)
		}
		w.run(test.late)
		if got := w.node[1].session.Receive(w.now, A, frame); got != test.taken {
			t.Errorf("%v after the rekey: taken is %v", test.late, got)
		}
	}
}

// TestKeyEnds: a key that could not be replaced seals no more than its bound.
func TestKeyEnds(t *testing.T) {
	w := newWorld(t, 28, nil)
	w.up()
	s := w.node[0].session
	s.ring.current.sealed = maxKeyFrames - 2
	w.each(cut) // no rekey comes through
	for range 10 {
		if err := s.Send(w.now, LaneControl, make([]byte, 3000)); err != nil {
			t.Fatal(err)
		}
	}
	w.node[0].flush()
	if got := s.ring.current.sealed; got != maxKeyFrames {
		t.Errorf("%d frames sealed, the bound is %d", got, uint64(maxKeyFrames))
	}
}

// TestCiphers: AES-GCM unless one side has no AES.
func TestCiphers(t *testing.T) {
	for _, test := range []struct {
		noAES [2]bool
		want  string
	}{
		{[2]bool{false, false}, "AES-256-GCM"},
		{[2]bool{true, false}, "ChaCha20-Poly1305"},
		{[2]bool{false, true}, "ChaCha20-Poly1305"},
		{[2]bool{true, true}, "ChaCha20-Poly1305"},
	} {
		w := newWorld(t, 29, func(i int, c *Config) { c.NoAES = test.noAES[i] })
		w.up()
		for _, n := range w.node {
			var st Stats
			if n.session.Stats(&st); st.Cipher != test.want {
				t.Errorf("no AES %v: %s, want %s", test.noAES, st.Cipher, test.want)
			}
		}
	}
}

// TestBrokenRandomness: without randomness there is no connection, and no panic.
func TestBrokenRandomness(t *testing.T) {
	w := newWorld(t, 30, func(i int, c *Config) { c.Rand = bytes.NewReader(nil) })
	w.node[0].random, w.node[1].random = rand.NewChaCha8([32]byte{1}), bytes.NewReader(nil)
	w.run(5 * time.Second)
	var st Stats
	if w.node[0].session.Stats(&st); st.Up || st.HandshakesFailed == 0 {
		t.Errorf("up %v, %d failed handshakes", st.Up, st.HandshakesFailed)
	}
}
