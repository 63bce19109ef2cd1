package session

import (
	"bytes"
	"encoding/binary"
	"math"
	"runtime"
	"testing"
	"time"

	"virtualservicesinc.com/net/wire"
)

// numbered sends numbered records of a lane from SFU 1 and checks that they arrive
// once and in order.
type numbered struct {
	w          *world
	lane       Lane
	sent, next uint64
}

func (f *numbered) send(t *testing.T, size int) {
	record := make([]byte, size)
	binary.LittleEndian.PutUint64(record, f.sent)
	switch err := f.w.node[0].session.Send(f.w.now, f.lane, record); err {
	case nil:
		f.sent++
	case ErrLaneFull:
	default:
		t.Fatal(err)
	}
}

// onAllLanes sets up one flow per lane.
func onAllLanes(t *testing.T, w *world) *[lanes]numbered {
	var f [lanes]numbered
	for lane := range f {
		f[lane] = numbered{w: w, lane: Lane(lane)}
	}
	w.node[1].got = func(lane Lane, record []byte) {
		if number := binary.LittleEndian.Uint64(record); number != f[lane].next {
			t.Fatalf("lane %d: record %d came in place %d", lane, number, f[lane].next)
		}
		f[lane].next++
	}
	return &f
}

// TestReorderingSwitch: switches that overtake, double and delay frames change nothing
// but the time that it takes.
func TestReorderingSwitch(t *testing.T) {
	w := newWorld(t, 81, nil)
	w.up()
	w.each(func(f *fault) { f.reorder, f.jitter, f.copy = 0.3, 2*time.Millisecond, 0.1 })
	f := onAllLanes(t, w)
	for range 1000 {
		for lane := range f {
			f[lane].send(t, 100+700*lane)
		}
		w.run(time.Millisecond)
	}
	w.run(time.Second)
	for lane, f := range f {
		if f.sent != 1000 || f.next != f.sent {
			t.Errorf("lane %d: %d of %d records", lane, f.next, f.sent)
		}
	}
	w.expect(t, 0, "up incarnation=1")
	w.expect(t, 1, "up incarnation=1")
}

// TestCountersNearTheirWrap: every counter of 32 bits that a connection keeps wraps
// without a miss, a loss or an event. Packet numbers and stream positions have 64 bits
// and do not live to wrap; those of keys are told apart by rekeys, and the window's
// positions wrap in TestWindow.
func TestCountersNearTheirWrap(t *testing.T) {
	w := newWorld(t, 82, nil)
	w.up()
	w.run(110 * time.Millisecond) // between two probes, with nothing under way
	const left = 50               // frames and probes until the wrap
	for i, n := range w.node {
		peer := w.node[1-i].session
		for net := range n.session.path {
			p := &n.session.path[net]
			if p.inFlight != 0 {
				t.Fatalf("SFU %d is not idle on network %d: %d bytes under way", i+1, net, p.inFlight)
			}
			// The newest probe is with the peer, which answers it with its own next one.
			p.replied = math.MaxUint32 - left - (p.sequence - p.replied)
			p.sequence = math.MaxUint32 - left
			peer.path[net].probe.Sequence = p.sequence
			shift := math.MaxUint32 - left - uint64(peer.receipts.network[net].received)
			p.sent += shift
			p.ackedSent += shift
			for j := range n.session.recovery.ring {
				n.session.recovery.ring[j].sent[net] += shift
			}
			peer.receipts.network[net].received += uint32(shift)
		}
	}
	f := onAllLanes(t, w)
	for range 1000 {
		for lane := range f {
			f[lane].send(t, 100)
		}
		w.run(3 * time.Millisecond)
	}
	w.run(100 * time.Millisecond)
	for i, n := range w.node {
		var st Stats
		n.session.Stats(&st)
		for net, s := range st.Network {
			if s.FramesLost != 0 || s.ProbesMissed != 0 {
				t.Errorf("SFU %d, network %v: %d frames lost, %d probes missed", i+1, Network(net), s.FramesLost, s.ProbesMissed)
			}
			if p := &n.session.path[net]; p.sequence > 1000 || w.node[1-i].session.receipts.network[net].received > 100_000 {
				t.Errorf("SFU %d, network %d has not wrapped: probe %d", i+1, net, p.sequence)
			}
		}
		w.expect(t, i, "up incarnation=1")
	}
	for lane, f := range f {
		if f.next != 1000 {
			t.Errorf("lane %d: %d of 1000 records", lane, f.next)
		}
	}
}

// TestRestartFasterThanDetection: a peer that restarts under load before anybody could
// miss it is told as one loss and one restart; nothing of the first connection arrives
// in the second.
func TestRestartFasterThanDetection(t *testing.T) {
	w := newWorld(t, 83, nil)
	w.up()
	f := onAllLanes(t, w)
	for i := range 500 {
		if i == 250 {
			w.node[1].start() // the process was gone for less than a millisecond
			w.node[0].happens = func(e Event) {
				if e.Kind == Lost {
					f = onAllLanes(t, w)
				}
			}
		}
		for lane := range f {
			if w.node[0].session.up {
				f[lane].send(t, 500)
			}
		}
		w.run(time.Millisecond)
	}
	w.run(50 * time.Millisecond)
	w.expect(t, 0, "up incarnation=1", "lost incarnation=1 reason=replaced", "up incarnation=2 restarted")
	for lane, f := range f {
		if f.sent < 200 || f.next != f.sent {
			t.Errorf("lane %d: %d of %d records after the restart", lane, f.next, f.sent)
		}
	}
}

// TestClockSetBack: the wall clock of one side jumps back an hour, and forth a year,
// under load. Nothing happens but that the other side can tell.
func TestClockSetBack(t *testing.T) {
	w := newWorld(t, 84, func(i int, c *Config) { c.RekeyAfter, c.KeepPrevious = 2*time.Second, time.Second })
	w.up()
	f := onAllLanes(t, w)
	wall := int64(1_700_000_000_000_000_000)
	for i := range 5000 {
		switch i {
		case 1000:
			wall -= int64(time.Hour)
		case 3000:
			wall += int64(365 * 24 * time.Hour)
		}
		w.node[0].session.SetWall(w.now, 1_700_000_000_000_000_000+int64(w.now))
		w.node[1].session.SetWall(w.now, wall+int64(w.now))
		for lane := range f {
			f[lane].send(t, 100)
		}
		w.run(time.Millisecond)
		var st Stats
		w.node[0].session.Stats(&st)
		// A clock that was set is noticed with the next answer to a probe.
		if want := time.Duration(wall - 1_700_000_000_000_000_000); i%1000 > 100 && !near(st.ClockOffset, want, time.Millisecond) {
			t.Errorf("step %d: the other clock is off by %v, told %v", i, want, st.ClockOffset)
		}
	}
	w.run(100 * time.Millisecond)
	for i := range w.node {
		w.expect(t, i, "up incarnation=1")
	}
	for lane, f := range f {
		if f.next != 5000 {
			t.Errorf("lane %d: %d of 5000 records", lane, f.next)
		}
	}
}

// TestHostileByTheMillion: a million frames that are replayed, reflected, truncated,
// longer than they say, or forged change nothing but counters, and no memory is kept
// for them.
func TestHostileByTheMillion(t *testing.T) {
	million := 1_000_000
	if testing.Short() {
		million /= 20
	}
	w, frames := busy(t)
	n := w.node[1]
	n.flush()
	// A frame of a duplicated lane: probes have a network of their own.
	i := len(frames) - 1
	for !bytes.Equal(frames[i].frame, frames[i-1].frame) {
		i--
	}
	genuine := frames[i].frame
	forged := bytes.Clone(genuine)
	var reflected []byte
	w.tap = func(d *delivery) {
		if d.from == 1 {
			reflected = bytes.Clone(d.frame)
		}
	}
	w.run(100 * time.Millisecond)
	oversized := append(bytes.Clone(genuine), make([]byte, wire.MaxFrame-len(genuine))...)
	binary.BigEndian.PutUint16(oversized[2:], wire.MaxFrame) // authentic but for its length
	buf := make([]byte, 0, wire.MaxFrame)
	before := counters(n.session)
	events := len(n.events)
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	held := heap()
	for i := range million {
		var frame []byte
		switch i % 5 {
		case 0:
			frame = append(buf, genuine...)
		case 1:
			frame = append(buf, reflected...)
		case 2:
			frame = append(buf, genuine[:i%len(genuine)]...)
		case 3:
			frame = append(buf, oversized...)
			binary.BigEndian.PutUint64(frame[12:], n.session.window.top+1+uint64(i))
		case 4:
			frame = append(buf, forged...)
			binary.BigEndian.PutUint64(frame[12:], n.session.window.top+1+uint64(i))
		}
		if n.session.Receive(w.now, Network(i/5%2), frame) {
			t.Fatalf("frame %d is taken for authentic", i)
		}
	}
	if now := heap(); now > held+64<<10 {
		t.Errorf("%d bytes are held for them", now-held)
	}
	after := counters(n.session)
	total := uint64(0)
	for i := range after {
		total += after[i] - before[i]
	}
	if total != uint64(million) {
		t.Errorf("%d of %d are counted", total, million)
	}
	w.tap = nil
	f := onAllLanes(t, w)
	for lane := range f {
		f[lane].send(t, 100)
	}
	w.run(50 * time.Millisecond)
	for lane, f := range f {
		if f.next != 1 {
			t.Errorf("lane %d does not work any more", lane)
		}
	}
	if len(n.events) != events {
		t.Errorf("it told %v", text(n.events[events:]))
	}
}

// TestMTUBlackHole: a network swallows every full frame and lets short ones pass, so that
// its probes are answered and nothing says that it is down. Duplicated lanes notice
// nothing, everything arrives, and bulk goes on by the other network.
func TestMTUBlackHole(t *testing.T) {
	w := newWorld(t, 86, nil)
	hole := false
	w.tap = func(d *delivery) {
		f := &w.link[d.from][d.net]
		f.cut = hole && d.net == A && len(d.frame) > 1400
	}
	w.up()
	f := flows(w)
	f[LaneCommit].size = 3000 // full frames on a duplicated lane
	for i := range 2000 {
		hole = hole || i == 100
		for lane := range f {
			f[lane].send()
		}
		w.run(time.Millisecond)
	}
	w.run(100 * time.Millisecond)
	for lane, f := range f {
		if f.got != f.sent || f.sent != 2000 {
			t.Errorf("lane %d: %d of %d records", lane, f.got, f.sent)
		}
		if Lane(lane) <= LaneCommit && f.slowest > 200*time.Microsecond {
			t.Errorf("lane %d: the slowest record took %v", lane, f.slowest)
		}
	}
	if gap := f[LaneBulk].gap; gap > 10*time.Millisecond {
		t.Errorf("bulk: longest gap %v", gap)
	}
	for i, n := range w.node {
		for _, e := range n.events[3:] {
			t.Errorf("SFU %d: %v", i+1, e)
		}
	}
}
