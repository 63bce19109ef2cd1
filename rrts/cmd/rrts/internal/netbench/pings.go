package netbench

import (
	"fmt"
	"io"
	"sync"
	"time"

	"virtualservicesinc.com/net/fabric"
)

// pinger measures round trips over the fabric, one at a time. The next record leaves from
// where the last one's echo is delivered: that is how the fabric is used, as a connection
// is read by who has just written to it. To hand the echo over to another goroutine first
// would measure the waking of a thread.
type pinger struct {
	mu   sync.Mutex
	ping *ping // under way; nil: none
}

// ping is round trips one behind the other.
type ping struct {
	lane   fabric.Lane
	record []byte
	left   int // of the warm-up
	sent   time.Time
	until  time.Time
	h      *histogram
	ended  chan error // its end, once
}

// run measures round trips of a record of size bytes for a while.
func (p *pinger) run(b *host, lane fabric.Lane, size int, d time.Duration, h *histogram) error {
	return p.begin(b, &ping{lane: lane, record: make([]byte, size), left: warmUp, until: time.Now().Add(d), h: h})
}

// once is one round trip.
func (p *pinger) once(b *host, lane fabric.Lane, size int, h *histogram) error {
	return p.begin(b, &ping{lane: lane, record: make([]byte, size), h: h})
}

// begin sends the first record of q and waits for the end.
func (p *pinger) begin(b *host, q *ping) error {
	q.record[0] = kindEcho
	q.ended = make(chan error, 1)
	p.mu.Lock()
	p.ping, q.sent = q, time.Now()
	p.mu.Unlock()
	if err := b.Send(serving, q.lane, q.record); err != nil {
		return fmt.Errorf("netbench: %w", err)
	}
	select {
	case err := <-q.ended:
		return err
	case <-b.lost:
		return errPeerGone
	}
}

// replied takes an echo, on the fabric's goroutine.
func (p *pinger) replied(b *host) {
	p.mu.Lock()
	defer p.mu.Unlock()
	q := p.ping
	if q == nil {
		return // of a measurement that was given up
	}
	now := time.Now()
	if q.left > 0 {
		q.left--
	} else {
		q.h.add(now.Sub(q.sent))
	}
	var err error
	if q.sent = now; now.Before(q.until) {
		if err = b.Send(serving, q.lane, q.record); err == nil {
			return
		}
		err = fmt.Errorf("netbench: %w", err)
	}
	p.ping = nil
	q.ended <- err
}

// pingTCP measures round trips over one TCP connection with TCP_NODELAY.
func pingTCP(address string, size int, d time.Duration, h *histogram) error {
	c, err := dial(address, tcpEcho)
	if err != nil {
		return err
	}
	defer c.Close()
	message := make([]byte, size)
	began := time.Now()
	for i := 0; time.Since(began) < d; i++ {
		at := time.Now()
		if _, err := c.Write(message); err != nil {
			return fmt.Errorf("netbench: %w", err)
		}
		if _, err := io.ReadFull(c, message); err != nil {
			return fmt.Errorf("netbench: %w", err)
		}
		if i >= warmUp {
			h.add(time.Since(at))
		}
	}
	return nil
}
