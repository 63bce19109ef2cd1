package link

import (
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"time"
)

// datagram is what the links over UDP and Unix datagrams have in common: one
// socket that lives as long as the link, and a broadcast that is sent to
// everybody in turn.
type datagram struct {
	conn      io.Closer
	rc        syscall.RawConn
	batch     *batch
	status    Status
	everybody func() []Addr
	changed   chan struct{}
	count     counters
	closed    atomic.Bool
	// spread holds a batch with its broadcasts written out, to use it again.
	spread []Frame
}

var _ Pollable = (*datagram)(nil)

func (d *datagram) Send(frames []Frame) (int, error) {
	if d.closed.Load() {
		d.count.sendLost.Add(uint64(len(frames)))
		return 0, net.ErrClosed
	}
	for i := range frames {
		if frames[i].Addr.kind == kindBroadcast {
			return d.sendSpread(frames)
		}
	}
	return d.batch.send(frames, d.status.MTU)
}

// sendSpread sends a batch that holds broadcasts. A broadcast counts as taken
// even if nobody is there to hear it.
func (d *datagram) sendSpread(frames []Frame) (int, error) {
	taken := 0
	var first error
	d.spread = d.spread[:0]
	flush := func() {
		n, err := d.batch.send(d.spread, d.status.MTU)
		clear(d.spread)
		d.spread = d.spread[:0]
		taken += n
		if first == nil {
			first = err
		}
	}
	for _, f := range frames {
		if f.Addr.kind != kindBroadcast {
			d.spread = append(d.spread, f)
			continue
		}
		flush()
		before, fault := taken, first
		for _, to := range d.everybody() {
			d.spread = append(d.spread, Frame{Addr: to, Data: f.Data})
		}
		flush()
		taken, first = before+1, fault
	}
	flush()
	return taken, first
}

func (d *datagram) Receive(frames []Frame) (int, error) {
	for {
		n, err := d.batch.receive(frames)
		switch {
		case err == nil:
			return n, nil
		case d.closed.Load():
			return 0, net.ErrClosed
		}
		// A pending error of the socket (an ICMP answer, say) is told once and
		// says nothing about the next frame.
		time.Sleep(errorPause)
	}
}

func (d *datagram) Poll(frames []Frame) (n int, more bool) {
	// Of an error there is nothing to do here, as in Receive.
	n, more, _ = d.batch.poll(frames)
	return n, more
}

func (d *datagram) attach(p *Poller) (bool, error) { return true, p.add(d.rc) }

func (d *datagram) Status() Status {
	s := d.status
	if d.closed.Load() {
		s.Up, s.Why = false, "closed"
	}
	return s
}

func (d *datagram) Changed() <-chan struct{} { return d.changed }

func (d *datagram) Counters() Counters {
	c := d.count.snapshot()
	c.Overrun = dropped(d.rc)
	return c
}

func (d *datagram) Close() error {
	if d.closed.Swap(true) {
		return nil
	}
	return d.conn.Close()
}
