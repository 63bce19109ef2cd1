package gateway

import (
	"errors"
	"io"
	"net"
	"os"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
)

// conn is one client's connection. Its own goroutine reads requests; answers are
// queued by whoever has them.
type conn struct {
	g       *Gateway
	raw     net.Conn
	fc      *frame.Conn // nil until the handshake is done
	address string
	admin   bool
	// certified says that the client's certificate was verified, or that none is wanted.
	certified bool
	session   atomic.Pointer[session]

	inFlight atomic.Int64 // requests without an answer
	bytes    atomic.Int64 // and their bodies
	spoke    atomic.Bool  // something came since the last heartbeat was due
	dirty    atomic.Bool  // somebody is going to flush it
	ended    atomic.Bool  // cut was called
	short    atomic.Bool  // it takes outcomes without the id

	missed int // heartbeats in a row; the sweeper's

	// The reader's own.
	greeted bool
	agent   string
	told    []string // the gateways, as the client knows them
	// challenge is what a client without a TLS exporter binds its login to.
	challenge [challengeSize]byte
}

// attach gives c its stream, which must say hello soon. It reports false if the
// gateway has stopped meanwhile.
func (c *conn) attach(fc *frame.Conn) bool {
	fc.SetReadDeadline(time.Now().Add(helloTime))
	c.spoke.Store(true)
	c.g.mu.Lock()
	defer c.g.mu.Unlock()
	if c.g.stopped {
		fc.Close()
		return false
	}
	c.fc = fc
	state := fc.TLS()
	c.certified = c.g.cfg.ClientCAs == nil || state == nil || len(state.VerifiedChains) > 0
	return true
}

// widen lifts the bounds that hold before the login.
func (c *conn) widen() {
	c.fc.SetFrameLimit(int(submitMethod.MaxBytes) + frame.Overhead)
	c.fc.SetReadDeadline(time.Time{})
}

// serve takes requests until the connection ends.
func (c *conn) serve() {
	var e message.Envelope
	var err error
	for {
		if !c.fc.Ready() {
			c.fc.Flush()
		}
		var b []byte
		if b, err = c.fc.Next(); err != nil {
			break
		}
		c.spoke.Store(true)
		if err = e.Parse(b); err != nil {
			break
		}
		if e.Kind != message.KindRequest {
			err = errKind
			break
		}
		if !c.ended.Load() {
			c.request(&e)
		}
	}
	c.over(err)
}

// errKind is a frame that only a gateway may send.
var errKind = errors.New("gateway: a client sends requests only")

// over deals with the end of what the client says.
func (c *conn) over(err error) {
	g := c.g
	switch {
	case c.ended.Load():
		c.fc.Discard()
	case errors.Is(c.fc.Err(), frame.ErrSlow):
		g.counters.slowReaders.Add(1)
		g.complain("client cut off: it reads too slowly", "address", c.address, "agent", c.agent)
	case errors.Is(err, frame.ErrFrame), errors.Is(err, message.ErrMalformed), errors.Is(err, errKind):
		g.counters.badFrames.Add(1)
		g.complain("client cut off: it breaks the protocol", "address", c.address, "agent", c.agent, "err", err)
		c.cut(message.Invalid, err.Error())
		c.fc.Discard()
	case errors.Is(err, os.ErrDeadlineExceeded):
		g.counters.mute.Add(1)
		g.complain("client cut off: it does not log in", "address", c.address, "agent", c.agent)
		c.cut(message.Expired, "log in sooner")
		c.fc.Discard()
	case err != io.EOF && !errors.Is(err, net.ErrClosed):
		g.log.Debug("connection lost", "address", c.address, "err", err)
	}
	c.fc.Close()
}

// cut ends the connection from any goroutine, after a last word.
func (c *conn) cut(code message.Code, reason string) {
	if !c.ended.CompareAndSwap(false, true) {
		return
	}
	c.fc.CloseAfter(linger, notice(gatewaypb.GatewayClosedMethod,
		message.Marshal(&gatewaypb.Closing{Code: uint32(code), Reason: bounded(reason)})))
}

// notice returns a notice of the gateway's service.
func notice(method uint16, body []byte) *message.Envelope {
	return &message.Envelope{Kind: message.KindNotice, Service: gatewaypb.GatewayService, Method: method, Body: body}
}

// bounded cuts a text for people to what a frame may hold of it.
func bounded(s string) string {
	if len(s) > frame.MaxDetail {
		return s[:frame.MaxDetail-3] + "..."
	}
	return s
}

// queue queues an answer or notice, which is flushed by the caller. A client that
// does not read is cut off.
func (c *conn) queue(a *message.Envelope) {
	if err := c.fc.Queue(a); errors.Is(err, frame.ErrBacklog) {
		c.g.slow(c)
	}
}

// slow cuts off a client that does not read.
func (g *Gateway) slow(c *conn) {
	if !c.ended.Load() {
		g.counters.slowReaders.Add(1)
		g.complain("client cut off: too much waits for it", "address", c.address, "bytes", c.fc.Backlog())
		c.cut(message.Overloaded, "too many answers wait to be read: read them, or ask for less at once")
	}
}

// reply answers call with an encoded body.
func (c *conn) reply(call uint64, body []byte) {
	a := message.Envelope{Kind: message.KindReply, Call: call, Body: body}
	c.queue(&a)
}

// replySecret is reply for what must not be packed.
func (c *conn) replySecret(call uint64, body []byte) {
	a := message.Envelope{Kind: message.KindReply, Call: call, Body: body}
	if err := c.fc.QueuePlain(&a); errors.Is(err, frame.ErrBacklog) {
		c.g.slow(c)
	}
}

// replyMessage answers call with m.
func (c *conn) replyMessage(call uint64, m message.Message) {
	a := message.Envelope{Kind: message.KindReply, Call: call}
	if err := c.fc.QueueMessage(&a, m); errors.Is(err, frame.ErrBacklog) {
		c.g.slow(c)
	}
}

// fail answers call with a failure.
func (c *conn) fail(call uint64, code message.Code, detail string) {
	if code == message.Overloaded {
		c.g.counters.overloaded.Add(1)
	}
	a := message.Envelope{Kind: message.KindFailure, Call: call, Code: code, Detail: bounded(detail)}
	c.queue(&a)
}

// charge counts a request with a body of n bytes in, if the connection's bounds
// allow it.
func (c *conn) charge(n int, window int64) bool {
	requests, bytes := c.inFlight.Add(1), c.bytes.Add(int64(n))
	if requests > window || requests > 1 && bytes > maxConnectionBytes {
		c.discharge(n)
		return false
	}
	return true
}

// discharge counts it out.
func (c *conn) discharge(n int) {
	c.inFlight.Add(-1)
	c.bytes.Add(int64(-n))
}
