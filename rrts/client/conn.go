package client

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// conn is one connection whose user has been accepted.
type conn struct {
	c         *Client
	gw        *gateway
	fc        *frame.Conn
	sfu       uint32
	protocol  uint32        // version that the gateway speaks
	window    int           // requests in flight that the gateway takes
	heartbeat time.Duration // something must be sent this often
	heard     atomic.Bool   // something came since the keeper last looked
	alive     atomic.Bool   // something came since the last heartbeat

	// Guarded by Client.mu.
	token   []byte // of its session; nil at an admin socket
	number  uint64 // of the last request sent
	pending map[uint64]*call
	patient int       // those of pending that may wait for long
	silent  int       // looks of the keeper in a row at which nothing had come
	stuck   int       // looks in a row at which requests were open and nothing had been decided
	decided bool      // something was, since the keeper last looked
	leaving bool      // the gateway is about to stop
	beat    time.Time // when a Ping was last sent, or the connection began
	ping    uint64    // the number of that Ping
}

// read takes what the gateway says until the connection ends.
func (cn *conn) read() {
	var e message.Envelope
	var err error
	for {
		var b []byte
		if b, err = cn.fc.Next(); err != nil {
			break
		}
		cn.heard.Store(true)
		cn.alive.Store(true)
		if err = e.Parse(b); err != nil {
			break
		}
		switch {
		case e.Kind == message.KindReply || e.Kind == message.KindFailure:
			cn.c.answered(cn, &e)
		case e.Kind == message.KindNotice && e.Service == gatewaypb.GatewayService:
			err = cn.c.told(cn, &e)
		}
		if err != nil {
			break
		}
	}
	if cause := cn.fc.Err(); cause != nil {
		err = cause // what Next says is only that the connection is closed
	}
	cn.fc.Close()
	cn.c.lost(cn, err)
}

// ping asks the gateway to show life.
func (cn *conn) pingLocked(now time.Time) {
	cn.number++ // nobody waits for the answer: that it comes is enough, as a rule
	cn.beat, cn.ping = now, cn.number
	cn.fc.Queue(&message.Envelope{Kind: message.KindRequest, Service: gatewaypb.GatewayService,
		Method: gatewaypb.GatewayPingMethod, Call: cn.number})
}

// pongLocked takes the answer to a Ping, which may tell of gateways that are new.
func (c *Client) pongLocked(e *message.Envelope) {
	var m gatewaypb.PingReply
	if m.Parse(e.Body) == nil { // it shows life in any case
		c.learnLocked(m.Gateways)
	}
}

// answered takes the answer to a request.
func (c *Client) answered(cn *conn, e *message.Envelope) {
	c.mu.Lock()
	k := cn.pending[e.Call]
	if k == nil { // a Ping, or the caller does not wait any longer
		if e.Call == cn.ping && e.Kind == message.KindReply {
			c.pongLocked(e)
		}
		c.mu.Unlock()
		return
	}
	k.dropLocked()
	c.mu.Unlock()

	var outcome *txnpb.Outcome
	var reply []byte
	var err error
	again := false   // the answer decides nothing
	refused := false // nothing was executed, and never will be
	switch {
	case e.Kind == message.KindFailure:
		err = &message.Error{Code: e.Code, Detail: e.Detail}
		again = k.mayRetry(e.Code)
		refused = k.sent == 1 && refuses(e.Code)
	case k.submit:
		outcome = new(txnpb.Outcome)
		if err = outcome.Parse(e.Body); err == nil {
			if outcome.Id.IsZero() { // a short one
				outcome.Id = k.id
			}
			again = !final(outcome.State)
			c.saw(outcome.Csn)
		}
	default:
		reply = bytes.Clone(e.Body)
	}

	c.mu.Lock()
	if again {
		if k.last = err; err == nil {
			k.last = &NotCommittedError{Outcome: outcome}
		}
	}
	switch {
	case k.finished:
	case c.err != nil:
		c.finishLocked(k, nil, nil, c.err)
	case !again:
		cn.decided, c.moves = true, 0
		k.refused = refused
		c.finishLocked(k, outcome, reply, err)
	case e.Code == message.Unsigned:
		c.unsignedLocked(cn, k)
	case e.Code == message.Draining && c.active != cn:
		c.againLocked([]*call{k})
	default:
		c.laterLocked(k, time.Now())
	}
	var flush *conn
	if len(c.waiting) > 0 {
		flush = c.fillLocked()
	}
	idle := len(cn.pending) == 0 && slices.Contains(c.others, cn)
	c.mu.Unlock()
	if flush != nil {
		flush.fc.Flush()
	}
	if idle {
		cn.fc.Close()
	}
}

// mayRetry reports whether a request may and should be sent again after a failure.
func (k *call) mayRetry(code message.Code) bool {
	switch code {
	case message.Overloaded, message.NotLeader, message.Unavailable, message.Draining, message.Unsigned:
		return true
	case message.Unknown, message.Expired:
		return k.submit || k.method.Idempotent
	}
	return false
}

// refuses reports whether a failure promises that the request was not executed and
// would not be another time. Only the first attempt can be sure of that: an earlier
// one may have been executed.
func refuses(code message.Code) bool {
	return code == message.Denied || code == message.Invalid || code == message.NoMethod
}

// final reports whether an outcome in that state stays as it is.
func final(s txnpb.State) bool {
	switch s {
	case txnpb.StateUnknown, txnpb.StatePending, txnpb.StateOverloaded, txnpb.StateNotLeader, txnpb.StateClockUnsynced, txnpb.StateSessionOver:
		return false
	}
	return true
}

// saw remembers the highest CSN, for reads.
func (c *Client) saw(csn uint64) {
	for {
		old := c.csn.Load()
		if csn <= old || c.csn.CompareAndSwap(old, csn) {
			return
		}
	}
}

// unsignedLocked deals with a session that is over while its connection stands:
// the next connection logs in again.
func (c *Client) unsignedLocked(cn *conn, k *call) {
	if bytes.Equal(c.token, cn.token) {
		c.token = nil
	}
	c.againLocked([]*call{k})
	cn.fc.Close() // its reader moves what else it holds
}

// told takes a notice of the gateway.
func (c *Client) told(cn *conn, e *message.Envelope) error {
	switch e.Method {
	case gatewaypb.GatewayMovedMethod:
		var m gatewaypb.Move
		if err := m.Parse(e.Body); err != nil {
			return err
		}
		c.moved(cn, &m)
	case gatewaypb.GatewayClosedMethod:
		var m gatewaypb.Closing
		if err := m.Parse(e.Body); err != nil {
			return err
		}
		code := message.Code(m.Code)
		if code == message.Unsigned || code == message.Denied {
			c.mu.Lock()
			if bytes.Equal(c.token, cn.token) { // not one that another connection has got meanwhile
				c.token = nil
			}
			c.mu.Unlock()
		}
		return &message.Error{Code: code, Detail: "the gateway closed the connection: " + m.Reason}
	}
	return nil
}

// moved turns to another gateway, because that of cn is about to stop. If none is
// at hand cn carries on until one is.
func (c *Client) moved(cn *conn, m *gatewaypb.Move) {
	now := time.Now()
	c.mu.Lock()
	c.log.Info("the gateway is about to stop", "gateway", cn.gw.address, "within_ms", m.WithinMillis)
	c.learnLocked(m.Gateways)
	cn.leaving = true
	cn.gw.notBefore = now.Add(time.Duration(m.WithinMillis)*time.Millisecond + leaveRest)
	if c.spare == cn {
		c.spare = nil
		c.others = append(c.others, cn)
	}
	if c.active == cn && c.spare != nil {
		c.promoteLocked()
	}
	idle := c.active != cn && len(cn.pending) == 0
	c.mu.Unlock()
	if idle {
		cn.fc.Close()
	}
	c.wake()
}

// leaveRest is how long a gateway that has stopped is left alone: a planned stop
// is mostly a restart, and others carry the load meanwhile.
const leaveRest = time.Second

// promoteLocked makes the spare connection the active one. The former stays until
// it has finished what it holds.
func (c *Client) promoteLocked() {
	former := c.active
	if former != nil {
		c.others = append(c.others, former)
	}
	c.active, c.spare = c.spare, nil
	if former != nil {
		c.moveListenersLocked(former)
	}
	c.log.Info("requests go through", "gateway", c.active.gw.address)
}

// lost deals with the end of a connection: what it held goes through another.
func (c *Client) lost(cn *conn, err error) {
	now := time.Now()
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	clean := cn.leaving || errors.Is(err, frame.ErrClosed)
	if !clean {
		c.log.Warn("connection lost", "gateway", cn.gw.address, "in_flight", len(cn.pending), "err", err)
		if err == io.EOF {
			err = errors.New("closed by the gateway")
		}
		cn.gw.failed(err, now)
	}
	c.dropLocked(cn)
	flush := c.fillLocked()
	c.mu.Unlock()
	if flush != nil {
		flush.fc.Flush()
	}
	c.wake()
}

// dropLocked takes a connection out, puts the spare one in its place if it was the
// active one, and lets what it held be sent again.
func (c *Client) dropLocked(cn *conn) {
	switch cn {
	case c.active:
		c.active = nil
		if c.spare != nil {
			c.promoteLocked()
		}
	case c.spare:
		c.spare = nil
	default:
		c.others = slices.DeleteFunc(c.others, func(o *conn) bool { return o == cn })
	}
	c.moveCallsLocked(cn)
}

// moveListenersLocked lets the calls that may wait for long be sent again elsewhere: cn is
// to end soon.
func (c *Client) moveListenersLocked(cn *conn) {
	var again []*call
	for _, k := range cn.pending {
		if k.patient {
			k.dropLocked()
			again = append(again, k)
		}
	}
	c.againLocked(again)
	c.wake()
}

// moveCallsLocked lets what cn holds be sent again elsewhere.
func (c *Client) moveCallsLocked(cn *conn) {
	var again []*call
	for _, k := range cn.pending {
		k.dropLocked()
		if k.submit || k.method.Idempotent {
			again = append(again, k)
		} else {
			c.finishLocked(k, nil, nil, message.Errorf(message.Unknown, "the connection to gateway %s was lost", cn.gw.address))
		}
	}
	c.againLocked(again)
}
