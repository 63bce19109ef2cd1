// Package linktest holds what every link must do, as tests that any carrier can
// be put through, and a lab of network namespaces to do it on real Ethernet.
package linktest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/net/link"
)

// patience bounds the wait for what must come, on a busy machine.
const patience = 10 * time.Second

// Carrier is one way to carry frames.
type Carrier struct {
	// Open returns n links that hear each other, on a network of their own. It
	// registers with t what is left to clean up; the links are closed already.
	Open func(t testing.TB, n int) []link.Link
	// Queued is how many frames of 1000 bytes wait for a slow receiver at least.
	Queued int
	// Allocates says that the carrier allocates for every frame.
	Allocates bool
	// Stranger is an address that nobody has.
	Stranger link.Addr
	// Foreign is an address of another kind of link.
	Foreign link.Addr
}

// Run puts the carrier through all of it.
func Run(t *testing.T, c Carrier) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, Carrier)
	}{
		{"unicast", testUnicast},
		{"broadcast", testBroadcast},
		{"batches", testBatches},
		{"sizes", testSizes},
		{"truncated", testTruncated},
		{"stranger", testStranger},
		{"flood", testFlood},
		{"both ways", testBothWays},
		{"close", testClose},
		{"close under load", testCloseUnderLoad},
		{"status", testStatus},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, c) })
	}
	if !c.Allocates {
		t.Run("allocations", func(t *testing.T) { testAllocations(t, c) })
	}
}

// open returns n links that are closed with the test.
func open(t testing.TB, c Carrier, n int) []link.Link {
	t.Helper()
	links := c.Open(t, n)
	t.Cleanup(func() {
		for _, l := range links {
			if err := l.Close(); err != nil {
				t.Errorf("Close: %v", err)
			}
		}
	})
	return links
}

// buffers returns frames that can take anything.
func buffers(n int) []link.Frame {
	frames := make([]link.Frame, n)
	for i := range frames {
		frames[i].Data = make([]byte, link.MaxFrame)
	}
	return frames
}

// payload makes a frame of size bytes that carries its own length and number, as
// real ones do: Ethernet pads short ones.
func payload(number uint32, size int) []byte {
	b := make([]byte, size)
	binary.BigEndian.PutUint16(b, uint16(size))
	binary.BigEndian.PutUint32(b[2:], number)
	for i := 6; i < size; i++ {
		b[i] = byte(number) + byte(i)
	}
	return b
}

// minPayload holds the length and the number.
const minPayload = 6

// minEthernet is the least payload of an Ethernet packet: shorter ones may be
// padded to it.
const minEthernet = 46

// check reads a payload and returns its number.
func check(b []byte) (uint32, error) {
	if len(b) < minPayload {
		return 0, fmt.Errorf("frame of %d bytes", len(b))
	}
	size := int(binary.BigEndian.Uint16(b))
	if size < minPayload || size > len(b) || size < len(b) && len(b) > minEthernet {
		return 0, fmt.Errorf("frame of %d bytes says it has %d", len(b), size)
	}
	number := binary.BigEndian.Uint32(b[2:])
	if !bytes.Equal(b[:size], payload(number, size)) {
		return 0, fmt.Errorf("frame %d is damaged", number)
	}
	return number, nil
}

// arrival is a frame that arrived.
type arrival struct {
	number uint32
	from   link.Addr
}

// send sends one frame that must be taken.
func send(t testing.TB, l link.Link, to link.Addr, data []byte) {
	t.Helper()
	if n, err := l.Send([]link.Frame{{Addr: to, Data: data}}); n != 1 || err != nil {
		t.Fatalf("Send to %v: %d, %v", to, n, err)
	}
}

func testUnicast(t *testing.T, c Carrier) {
	links := open(t, c, 3)
	from, to := links[0].Status().Local, links[1].Status().Local
	send(t, links[0], to, payload(1, 100))
	if got := read(t, links[1]).next(1); got[0] != (arrival{1, from}) {
		t.Fatalf("got %v, want frame 1 from %v", got[0], from)
	}
	// An address that was heard can be answered.
	send(t, links[1], from, payload(2, 100))
	if got := read(t, links[0]).next(1); got[0] != (arrival{2, to}) {
		t.Fatalf("got %v, want frame 2 from %v", got[0], to)
	}
	// The third heard nothing of it.
	send(t, links[0], links[2].Status().Local, payload(3, 100))
	if got := read(t, links[2]).next(1); got[0].number != 3 {
		t.Fatalf("the third link heard frame %d", got[0].number)
	}
}

func testBroadcast(t *testing.T, c Carrier) {
	links := open(t, c, 3)
	send(t, links[0], link.Broadcast, payload(7, 64))
	for _, l := range links[1:] {
		if got := read(t, l).next(1); got[0] != (arrival{7, links[0].Status().Local}) {
			t.Fatalf("got %v", got[0])
		}
	}
	// The sender itself does not: the next frame it hears is another one.
	send(t, links[1], links[0].Status().Local, payload(8, 64))
	if got := read(t, links[0]).next(1); got[0].number != 8 {
		t.Fatalf("the sender heard frame %d", got[0].number)
	}
}

func testBatches(t *testing.T, c Carrier) {
	for _, size := range []uint32{1, 2, link.BatchSize - 1, link.BatchSize, link.BatchSize + 1, 3 * link.BatchSize} {
		links := open(t, c, 2)
		to := links[1].Status().Local
		batch := make([]link.Frame, size)
		bytes := 0
		for i := range batch {
			batch[i] = link.Frame{Addr: to, Data: payload(uint32(i), 60+i*5)}
			bytes += len(batch[i].Data)
		}
		r := read(t, links[1])
		n, err := links[0].Send(batch)
		if n != len(batch) && !errors.Is(err, link.ErrFull) {
			t.Fatalf("Send of %d: %d, %v", size, n, err)
		}
		if int(size) <= c.Queued {
			r.next(int(size))
		} else {
			r.settle(links[0], size, c.Queued)
		}
		sent, received := links[0].Counters(), links[1].Counters()
		if sent.SentFrames != uint64(n) || sent.SendLost != uint64(len(batch)-n) {
			t.Fatalf("batch of %d of which %d were taken: %+v", size, n, sent)
		}
		if sent.SentFrames != received.ReceivedFrames+received.Overrun {
			t.Fatalf("sent %+v, received %+v", sent, received)
		}
		if n == len(batch) && received.Overrun == 0 && (sent.SentBytes != uint64(bytes) || received.ReceivedBytes < sent.SentBytes) {
			t.Fatalf("%d bytes: sent %d, received %d", bytes, sent.SentBytes, received.ReceivedBytes)
		}
	}
}

func testSizes(t *testing.T, c Carrier) {
	links := open(t, c, 2)
	to := links[1].Status().Local
	mtu := links[0].Status().MTU
	send(t, links[0], to, payload(1, minPayload))
	send(t, links[0], to, payload(2, mtu))
	batch := []link.Frame{
		{Addr: to, Data: payload(3, mtu+1)},
		{Addr: to, Data: nil},
		{Addr: c.Foreign, Data: payload(4, 100)},
		{Addr: link.Addr{}, Data: payload(5, 100)},
		{Addr: to, Data: payload(6, 100)},
	}
	n, err := links[0].Send(batch)
	if n != 1 || !errors.Is(err, link.ErrSize) {
		t.Fatalf("Send of one good frame behind bad ones: %d, %v", n, err)
	}
	if n, err := links[0].Send(batch[2:3]); n != 0 || !errors.Is(err, link.ErrAddr) {
		t.Fatalf("Send to a foreign address: %d, %v", n, err)
	}
	if lost := links[0].Counters().SendLost; lost != 5 {
		t.Fatalf("SendLost is %d, want 5", lost)
	}
	got := read(t, links[1]).next(3)
	for i, want := range []uint32{1, 2, 6} {
		if got[i].number != want {
			t.Fatalf("frame %d came in place %d", got[i].number, i)
		}
	}
}

func testTruncated(t *testing.T, c Carrier) {
	links := open(t, c, 2)
	to := links[1].Status().Local
	send(t, links[0], to, payload(1, 500))
	send(t, links[0], to, payload(2, 200))
	small := make([]link.Frame, 4)
	for i := range small {
		small[i].Data = make([]byte, 0, 200)
	}
	n, err := links[1].Receive(small)
	if n != 1 || err != nil {
		t.Fatalf("Receive: %d, %v", n, err)
	}
	if number, err := check(small[0].Data); number != 2 || err != nil {
		t.Fatalf("got frame %d, %v", number, err)
	}
	if got := links[1].Counters().Truncated; got != 1 {
		t.Fatalf("Truncated is %d, want 1", got)
	}
}

func testStranger(t *testing.T, c Carrier) {
	links := open(t, c, 2)
	to := links[1].Status().Local
	// Whether Send can tell is the carrier's business; what comes behind must
	// get through.
	batch := []link.Frame{
		{Addr: to, Data: payload(1, 100)},
		{Addr: c.Stranger, Data: payload(2, 100)},
		{Addr: to, Data: payload(3, 100)},
	}
	n, err := links[0].Send(batch)
	if n < 2 || (n == 2) != (err != nil) {
		t.Fatalf("Send: %d, %v", n, err)
	}
	got := read(t, links[1]).next(2)
	if got[0].number != 1 || got[1].number != 3 {
		t.Fatalf("got %v", got)
	}
}

func testFlood(t *testing.T, c Carrier) {
	links := open(t, c, 2)
	to := links[1].Status().Local
	batch := make([]link.Frame, link.BatchSize)
	for i := range batch {
		batch[i] = link.Frame{Addr: to, Data: payload(0, 1000)}
	}
	// Nobody receives. Send may lose frames and says so; it must not hang.
	const rounds = 400
	taken, worst := 0, time.Duration(0)
	for range rounds {
		began := time.Now()
		n, err := links[0].Send(batch)
		worst = max(worst, time.Since(began))
		if n < len(batch) && err == nil {
			t.Fatalf("took %d of %d without a reason", n, len(batch))
		}
		taken += n
	}
	// The bound is a millisecond; the rest is for a machine with other work.
	if worst > time.Second {
		t.Fatalf("Send took %v", worst)
	}
	lost := links[0].Counters().SendLost
	if lost != uint64(rounds*len(batch)-taken) {
		t.Fatalf("SendLost is %d after %d of %d", lost, taken, rounds*len(batch))
	}
	if lost+links[1].Counters().Overrun == 0 {
		t.Fatalf("a queue held %d frames: it has no bound", taken)
	}
	// Those that waited are still whole, and the link works on.
	r := read(t, links[1])
	r.until("what waited", func(got []arrival) bool { return len(got) >= c.Queued })
	for began := time.Now(); time.Since(began) < patience; {
		links[0].Send([]link.Frame{{Addr: to, Data: payload(9, 100)}})
		time.Sleep(time.Millisecond)
		got := r.until("anything", func([]arrival) bool { return true })
		if len(got) > 0 && got[len(got)-1].number == 9 {
			return
		}
	}
	t.Fatal("nothing came after the flood")
}

func testBothWays(t *testing.T, c Carrier) {
	links := open(t, c, 2)
	const total = 2000
	readers := [2]*reader{read(t, links[0]), read(t, links[1])}
	var senders sync.WaitGroup
	for i, l := range links {
		to := links[1-i].Status().Local
		senders.Go(func() {
			frames := make([]link.Frame, 4)
			for number := uint32(0); number < total; number += uint32(len(frames)) {
				for i := range frames {
					frames[i] = link.Frame{Addr: to, Data: payload(number+uint32(i), 200)}
				}
				if _, err := l.Send(frames); err != nil && !errors.Is(err, link.ErrFull) {
					t.Error(err)
					return
				}
			}
		})
	}
	senders.Wait()
	for i, r := range readers {
		r.settle(links[1-i], total, c.Queued)
	}
}

func testClose(t *testing.T, c Carrier) {
	links := open(t, c, 2)
	result := make(chan error, 1)
	go func() {
		_, err := links[0].Receive(buffers(1))
		result <- err
	}()
	time.Sleep(10 * time.Millisecond)
	if err := links[0].Close(); err != nil {
		t.Fatalf("Close: %v", err)
	}
	select {
	case err := <-result:
		if !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Receive under Close: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("Close left Receive waiting")
	}
	if _, err := links[0].Receive(buffers(1)); !errors.Is(err, net.ErrClosed) {
		t.Fatalf("Receive after Close: %v", err)
	}
	for _, to := range []link.Addr{links[1].Status().Local, link.Broadcast} {
		n, err := links[0].Send([]link.Frame{{Addr: to, Data: payload(1, 100)}})
		if n != 0 || !errors.Is(err, net.ErrClosed) {
			t.Fatalf("Send to %v after Close: %d, %v", to, n, err)
		}
	}
	if s := links[0].Status(); s.Up || s.Why == "" {
		t.Fatalf("Status after Close: %+v", s)
	}
	if err := links[0].Close(); err != nil {
		t.Fatalf("second Close: %v", err)
	}
}

func testCloseUnderLoad(t *testing.T, c Carrier) {
	links := open(t, c, 2)
	to := links[1].Status().Local
	done := make(chan error, 2)
	go func() {
		for {
			if _, err := links[0].Send([]link.Frame{{Addr: to, Data: payload(1, 100)}}); errors.Is(err, net.ErrClosed) {
				done <- nil
				return
			}
		}
	}()
	go func() {
		frames := buffers(link.BatchSize)
		for {
			if _, err := links[1].Receive(frames); err != nil {
				done <- err
				return
			}
		}
	}()
	time.Sleep(20 * time.Millisecond)
	links[1].Close()
	time.Sleep(5 * time.Millisecond)
	links[0].Close()
	for range 2 {
		select {
		case err := <-done:
			if err != nil && !errors.Is(err, net.ErrClosed) {
				t.Fatal(err)
			}
		case <-time.After(patience):
			t.Fatal("a goroutine outlived its link")
		}
	}
}

func testStatus(t *testing.T, c Carrier) {
	for i, l := range open(t, c, 2) {
		s := l.Status()
		if !s.Up || s.Why != "" || !s.Local.IsValid() {
			t.Errorf("link %d: %+v", i, s)
		}
		if s.MTU < 576 || s.MTU > link.MaxFrame {
			t.Errorf("link %d: MTU %d", i, s.MTU)
		}
		if l.Changed() == nil {
			t.Errorf("link %d tells no changes", i)
		}
	}
}

func testAllocations(t *testing.T, c Carrier) {
	links := open(t, c, 2)
	to := links[1].Status().Local
	out := make([]link.Frame, 8)
	for i := range out {
		out[i] = link.Frame{Addr: to, Data: payload(uint32(i), 1000)}
	}
	in := buffers(link.BatchSize)
	got := testing.AllocsPerRun(200, func() {
		if n, err := links[0].Send(out); n != len(out) || err != nil {
			t.Fatalf("Send: %d, %v", n, err)
		}
		for n := 0; n < len(out); {
			k, err := links[1].Receive(in)
			if err != nil {
				t.Fatal(err)
			}
			n += k
		}
	})
	if got != 0 {
		t.Errorf("%v allocations for %d frames there and received", got, len(out))
	}
}
