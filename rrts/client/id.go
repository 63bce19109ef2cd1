package client

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/message/u128"
)

// idMaker makes UUIDv7 (RFC 9562) by ledger time, each larger than the one before:
//
//	Hi: 48 bits milliseconds since 1970 | 0111 | 12 bits counter
//	Lo: 10 | 62 random bits
//
// The counter starts at a random value below 2,048 in each millisecond; when it
// runs over, the next millisecond is begun early.
type idMaker struct {
	// offset is ledger time less this machine's clock, in nanoseconds.
	offset atomic.Int64

	mu      sync.Mutex
	millis  int64
	counter uint64
}

// maxAhead is how far ids may run ahead of ledger time to stay in order, when the
// clock is set back or ledger time corrects it. Ids five minutes ahead are refused.
const maxAhead = 10 * time.Second

// correct takes ledger time, in nanoseconds since 1970, as it was at wall time now.
func (m *idMaker) correct(ledger uint64, now time.Time) {
	if ledger != 0 {
		m.offset.Store(int64(ledger) - now.UnixNano())
	}
}

func (m *idMaker) next(now time.Time) u128.Int {
	millis := (now.UnixNano() + m.offset.Load()) / int64(time.Millisecond)
	random := rand.Uint64() >> 53 // 11 bits
	m.mu.Lock()
	switch {
	case millis > m.millis || m.millis-millis > maxAhead.Milliseconds():
		m.millis, m.counter = millis, random
	case m.counter == 1<<12-1:
		m.millis, m.counter = m.millis+1, 0
	default:
		m.counter++
	}
	hi := uint64(m.millis)<<16 | 7<<12 | m.counter
	m.mu.Unlock()
	return u128.Int{Hi: hi, Lo: 1<<63 | rand.Uint64()>>2}
}

// NewID returns a fresh id for a transaction, an account or a transfer: a UUIDv7,
// by ledger time as the gateways tell it, larger than all that this Client made
// before.
func (c *Client) NewID() u128.Int { return c.ids.next(time.Now()) }
