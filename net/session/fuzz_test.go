package session

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/net/wire"
)

// real is frames of a short exchange from SFU 1 to SFU 2, and a world of the same
// seed in which SFU 2 has received none of those that came after the handshake: to
// it they are genuine.
func real(t testing.TB) (w *world, frames [][]byte) {
	w = newWorld(t, 81, nil)
	for !w.node[1].session.up {
		w.run(10 * time.Microsecond)
	}
	w.queue = nil
	return w, exchange()
}

// exchange is made once: it is the same every time.
var exchange = sync.OnceValue(func() (frames [][]byte) {
	w := newWorld(quiet{}, 81, nil)
	w.tap = func(d *delivery) {
		if d.from == 0 && d.net == A {
			frames = append(frames, bytes.Clone(d.frame))
		}
	}
	w.up()
	f := flows(w)
	for range 5 {
		for lane := range f {
			f[lane].send()
		}
		w.run(time.Millisecond)
	}
	w.run(50 * time.Millisecond)
	return frames
})

// quiet is a testing.TB for what is made outside of a test.
type quiet struct{ testing.TB }

func (quiet) Helper()        {}
func (quiet) Fatal(a ...any) { panic(fmt.Sprint(a...)) }

// sound checks what must hold of a session whatever arrived.
func sound(t *testing.T, s *Session) {
	t.Helper()
	r := &s.recovery
	if s.up && (r.oldest > r.next || r.next-r.oldest > maxPackets) {
		t.Fatalf("packets %d to %d under way", r.oldest, r.next)
	}
	underWay, bytes := 0, [networks]int{}
	for n := r.oldest; s.up && n < r.next; n++ {
		if p := r.at(n); p.state == packetUnderWay {
			underWay++
			for i := range bytes {
				if p.on.Has(Network(i)) {
					bytes[i] += int(p.size)
				}
			}
		}
	}
	for i := range s.path {
		if s.up && s.path[i].inFlight != bytes[i] {
			t.Fatalf("network %v counts %d bytes under way, there are %d", Network(i), s.path[i].inFlight, bytes[i])
		}
	}
	if s.up && underWay != r.underWay {
		t.Fatalf("%d packets counted under way, there are %d", r.underWay, underWay)
	}
	for lane := range s.send {
		l, m := &s.send[lane], &s.receive[lane]
		if l.floor > l.next || l.next > l.end || l.end-l.floor > uint64(l.limit) {
			t.Fatalf("lane %d sends from %d to %d, next %d", lane, l.floor, l.end, l.next)
		}
		if m.taken > m.next || m.next > m.limit || len(m.held) > maxHeld {
			t.Fatalf("lane %d receives %d, taken %d, limit %d, %d pieces held", lane, m.next, m.taken, m.limit, len(m.held))
		}
	}
	if len(s.receipts.got) > maxRanges {
		t.Fatalf("%d ranges of receipts", len(s.receipts.got))
	}
}

// FuzzReceive: frames from anybody, with genuine ones in the corpus.
func FuzzReceive(f *testing.F) {
	_, frames := real(f)
	for _, frame := range frames {
		f.Add(frame)
	}
	f.Fuzz(func(t *testing.T, frame []byte) {
		w, genuine := real(t)
		n := w.node[1]
		known := false
		for _, g := range genuine {
			if h, err := wire.ParseHeader(frame); err == nil && bytes.Equal(g, frame[:h.Length]) {
				known = true
			}
		}
		taken := n.deliver(&delivery{net: A, frame: bytes.Clone(frame)})
		if taken && !known {
			t.Fatal("a frame that nobody sent counts as authentic")
		}
		n.flush()
		sound(t, n.session)
	})
}

// FuzzPayload: payloads under the right keys, as a peer of another version or with
// a fault would send them. Each byte string is cut into payloads by its first bytes.
func FuzzPayload(f *testing.F) {
	w, _ := real(f)
	s := w.node[0].session
	for range 3 {
		for lane := range Lane(lanes) {
			if err := s.Send(w.now, lane, []byte("a record of some length")); err != nil {
				f.Fatal(err)
			}
		}
		w.now += 30 * time.Millisecond
		s.Advance(w.now)
		var all []byte
		for {
			n, _ := s.Next(w.now, w.node[0].buf[:])
			if n == 0 {
				break
			}
			// The peer's session opens it, to see what it holds.
			frame := bytes.Clone(w.node[0].buf[:n])
			h, err := wire.ParseHeader(frame)
			if err != nil {
				f.Fatal(err)
			}
			if k := w.node[1].session.ring.phase[h.Phase]; k != nil && h.Type == wire.TypeData {
				if payload, ok := k.openFrame(frame, h.Number); ok {
					all = append(append(all, byte(len(payload)>>8), byte(len(payload))), payload...)
				}
			}
		}
		f.Add(all)
	}
	ack := wire.AppendAck(nil, &wire.Ack{Ranges: []wire.Range{{First: 3, Last: 9}, {First: 0, Last: 1}}})
	f.Add(append([]byte{0, byte(len(ack))}, ack...))
	f.Add([]byte{0, 2, 7, 3})
	f.Fuzz(func(t *testing.T, b []byte) {
		w, _ := real(t)
		from, to := w.node[0], w.node[1]
		for _, lane := range []Lane{LaneCommit, LaneBulk} { // something to acknowledge
			if err := to.session.Send(w.now, lane, make([]byte, 5000)); err != nil {
				t.Fatal(err)
			}
		}
		to.flush()
		w.tap, w.queue = nil, nil
		for i := 0; len(b) >= 2 && i < 50; i++ {
			n := min(int(b[0])<<8|int(b[1]), len(b)-2, 1400)
			payload := b[2 : 2+n]
			b = b[2+n:]
			if !from.session.up {
				break
			}
			copy(from.buf[wire.HeaderSize:], payload)
			from.session.draft = packet{}
			size, _ := from.session.seal(w.now, from.buf[:], wire.HeaderSize+n, OnA)
			to.session.Receive(w.now, Network(i%2), bytes.Clone(from.buf[:size]))
			to.flush()
			sound(t, to.session)
			w.now += time.Millisecond
			to.session.Advance(w.now)
			to.flush()
		}
		w.run(100 * time.Millisecond)
		sound(t, to.session)
	})
}

// FuzzHandshake: handshake frames whose MAC is right, as only a peer could send
// them, to a Responder and to a session that waits for a response.
func FuzzHandshake(f *testing.F) {
	seed := newWorld(f, 82, nil)
	seed.tap = func(d *delivery) {
		if h, err := wire.ParseHeader(d.frame); err == nil && h.Type != wire.TypeData {
			f.Add(bytes.Clone(d.frame))
		}
	}
	seed.up()
	f.Fuzz(func(t *testing.T, frame []byte) {
		w := newWorld(t, 82, nil)
		w.each(cut)
		w.run(time.Millisecond) // both have sent an initiation
		n := w.node[0]
		h, err := wire.ParseHeader(frame)
		if err != nil {
			return
		}
		frame = bytes.Clone(frame[:h.Length])
		if h.Type == wire.TypeData {
			return
		}
		n.session.toUs.put(frame)
		n.deliver(&delivery{net: B, frame: frame})
		n.flush()
		w.run(20 * time.Millisecond)
		if n.session.up && h.Type == wire.TypeInitiation {
			t.Fatal("an initiation alone brought the peer up")
		}
		sound(t, n.session)
	})
}

// TestCorpusIsReal: the frames of the corpus are genuine to the session that the
// fuzzing gives them to.
func TestCorpusIsReal(t *testing.T) {
	w, frames := real(t)
	taken := 0
	for _, frame := range frames {
		if w.node[1].deliver(&delivery{net: A, frame: bytes.Clone(frame)}) {
			taken++
		}
	}
	if len(frames) < 10 || taken < len(frames)-2 { // an initiation, and what arrived before
		t.Errorf("%d of %d frames were taken", taken, len(frames))
	}
	sound(t, w.node[1].session)
}
