package netbench

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"virtualservicesinc.com/net/fabric"
)

// maxFaults bounds the changes of a network that wait to be made; a measurement has
// two at a time.
const maxFaults = 8

// server is the serving side.
type server struct {
	stream stream // of the fabric's goroutine
	faults chan request
}

// Serve answers a measuring side until ctx ends: over the interconnect, by TCP at
// address, and as the bare echo.
func Serve(ctx context.Context, h Host, address string) error {
	rivals, err := serveRivals(h, address)
	if err != nil {
		return err
	}
	s := &server{faults: make(chan request, maxFaults)}
	b, err := newHost(serving, h, s.deliver)
	if err != nil {
		return errors.Join(err, rivals.close())
	}
	var running sync.WaitGroup
	running.Go(func() { s.applyFaults(ctx, b) })
	<-ctx.Done()
	running.Wait()
	return errors.Join(b.close(), rivals.close())
}

// deliver counts, echoes and answers.
func (s *server) deliver(b *host, batch []fabric.Record) {
	now := time.Now()
	for i := range batch {
		r := &batch[i]
		switch r.Data[0] {
		case kindData:
			s.stream.arrived(binary.BigEndian.Uint64(r.Data[1:]), now)
		case kindEcho:
			r.Data[0] = kindReply
			// A lane that is full loses the echo, and who waits for it sees that.
			b.Send(b.peer, r.Lane, r.Data)
		case kindRequest:
			s.request(b, r)
		}
	}
}

func (s *server) request(b *host, r *fabric.Record) {
	var q request
	if json.Unmarshal(r.Data[1:], &q) != nil {
		return
	}
	if q.Fault != nil {
		select {
		case s.faults <- q:
		default:
			b.Send(b.peer, r.Lane, encode(kindAnswer, answer{ID: q.ID, Error: "too many faults at a time"}))
		}
		return
	}
	a := s.stream.answer()
	a.ID, a.CPU = q.ID, cpuTime()
	if q.Begin {
		s.stream = stream{gaps: new(histogram)}
	}
	b.Send(b.peer, r.Lane, encode(kindAnswer, a))
}

// applyFaults makes the faults that are asked for, beside the fabric's goroutine,
// because the kernel takes its time over them.
func (s *server) applyFaults(ctx context.Context, b *host) {
	for {
		select {
		case <-ctx.Done():
			return
		case q := <-s.faults:
			a := answer{ID: q.ID}
			if err := b.apply(*q.Fault); err != nil {
				a.Error = err.Error()
			}
			b.Send(b.peer, fabric.LaneControl, encode(kindAnswer, a))
		}
	}
}

// stream checks numbered records.
type stream struct {
	next      uint64 // number expected
	received  uint64
	reordered uint64
	last      time.Time
	gaps      *histogram
}

func (s *stream) arrived(number uint64, now time.Time) {
	if s.gaps == nil {
		return // of a measurement that was given up
	}
	s.received++
	if number < s.next {
		s.reordered++
	} else {
		s.next = number + 1
	}
	if !s.last.IsZero() {
		s.gaps.add(now.Sub(s.last))
	}
	s.last = now
}

func (s *stream) answer() answer {
	a := answer{Received: s.received, Reordered: s.reordered}
	if s.gaps != nil {
		a.Longest, a.GapP99 = s.gaps.max, s.gaps.at(0.99)
	}
	return a
}
