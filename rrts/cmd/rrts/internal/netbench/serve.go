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
	if q.Window != noWindow {
		s.stream.window(q.Window, time.Now())
	}
	if q.Fault != nil {
		select {
		case s.faults <- q:
		default:
			b.Send(b.peer, r.Lane, encode(kindAnswer, answer{ID: q.ID, Error: "too many faults at a time"}))
		}
		return
	}
	if q.ID == 0 {
		return // nobody waits
	}
	a := s.stream.answer()
	a.ID, a.CPU = q.ID, cpuTime()
	if q.Begin {
		s.stream = newStream()
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
