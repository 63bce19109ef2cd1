package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
)

// Bounds of the pause after a failed accept, such as too many open files.
const (
	acceptPauseFirst = 5 * time.Millisecond
	acceptPauseMost  = time.Second
)

// accept takes connections until the listener is closed.
func (g *Gateway) accept(ctx context.Context, l net.Listener) {
	pause := acceptPauseFirst
	for {
		raw, err := l.Accept()
		switch {
		case err == nil:
			pause = acceptPauseFirst
			g.take(raw)
			continue
		case errors.Is(err, net.ErrClosed) || ctx.Err() != nil:
			return
		}
		g.complain("no connection could be accepted", "address", l.Addr().String(), "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
		}
		pause = min(2*pause, acceptPauseMost)
	}
}

// take admits a new connection, or closes it.
func (g *Gateway) take(raw net.Conn) {
	c := &conn{g: g, raw: raw, address: host(raw.RemoteAddr())}
	_, c.admin = raw.(*net.UnixConn)
	g.mu.Lock()
	err := g.admitLocked(c)
	g.mu.Unlock()
	if err != nil {
		g.counters.turnedAway.Add(1)
		g.complain("connection turned away", "address", c.address, "err", err)
		raw.Close()
		return
	}
	g.host.Go("connection", func(ctx context.Context) { g.open(ctx, c, raw) })
}

// admitLocked counts c in, if there is room.
func (g *Gateway) admitLocked(c *conn) error {
	switch {
	case g.moved:
		return fmt.Errorf("%w: the gateway stops", errTurnedAway)
	case g.outside >= g.cfg.MaxConnections && !c.admin:
		return fmt.Errorf("%w: %d connections: raise gateway.max_connections", errTurnedAway, g.outside)
	case len(g.opening[c.address]) >= maxOpeningAddress && !c.admin:
		return fmt.Errorf("%w: %d connections of one address have not logged in", errTurnedAway, len(g.opening[c.address]))
	case !g.roomLocked(c.address) && !c.admin:
		return fmt.Errorf("%w: %d connections have not logged in", errTurnedAway, g.openings)
	}
	g.conns[c] = struct{}{}
	if !c.admin {
		g.outside++
	}
	g.openings++
	g.opening[c.address] = append(g.opening[c.address], c)
	return nil
}

// forget counts c out.
func (g *Gateway) forget(c *conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.conns, c)
	if !c.admin {
		g.outside--
	}
	if s := c.session.Load(); s != nil {
		g.leaveLocked(s.user)
	} else {
		g.openedLocked(c)
	}
	close(g.changed)
	g.changed = make(chan struct{})
}

// open does the handshake and then serves the connection to its end.
func (g *Gateway) open(ctx context.Context, c *conn, raw net.Conn) {
	defer g.forget(c)
	limits := frame.Limits{Frame: openingFrame, Backlog: maxBacklog, Stall: stall}
	config := g.tls
	if tcp, ok := raw.(*net.TCPConn); ok {
		gated := &gatedConn{TCPConn: tcp, gate: g.gate}
		defer gated.leave()
		raw = gated
	} else {
		config = nil
	}
	shake, cancel := context.WithTimeout(ctx, handshakeTime)
	fc, err := frame.Server(shake, raw, config, limits)
	cancel()
	if err != nil {
		g.counters.failedHandshakes.Add(1)
		g.complain("no TLS 1.3 handshake", "address", c.address, "err", err)
		return
	}
	if !c.attach(fc) {
		return
	}
	if c.admin {
		if err := g.authorize(raw.(*net.UnixConn)); err != nil {
			g.complain("admin socket refused", "err", err)
			c.cut(message.Denied, err.Error())
		} else {
			g.signed(c, 0, session{role: message.RoleOperator, expires: forever})
			c.widen()
		}
	}
	c.serve()
}

// gatedConn is a TCP connection whose TLS handshake waits for its turn to compute:
// between the client's hello, which may take as long as it likes, and the answer.
// When hundreds of clients come at once, after another gateway was lost, they are
// served one after the other; all of them together would each be so slow that most
// gave up and came again.
type gatedConn struct {
	*net.TCPConn
	gate   chan struct{}
	inside bool // the handshake's own
}

// waitAtGate is called by crypto/tls when the client's hello is there.
func waitAtGate(hello *tls.ClientHelloInfo) (*tls.Config, error) {
	c, ok := frame.Raw(hello.Conn).(*gatedConn)
	if !ok || c.inside {
		return nil, nil
	}
	select {
	case c.gate <- struct{}{}:
		c.inside = true
		return nil, nil
	case <-hello.Context().Done():
		return nil, hello.Context().Err()
	}
}

// Write sends the answer: what is hard is done.
func (c *gatedConn) Write(b []byte) (int, error) {
	c.leave()
	return c.TCPConn.Write(b)
}

func (c *gatedConn) leave() {
	if c.inside {
		c.inside = false
		<-c.gate
	}
}

// forever is when the session of an operator at the machine expires.
const forever = time.Duration(1<<63 - 1)

// host returns an address without its port.
func host(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.AddrPort().Addr().Unmap().String()
	}
	return "local"
}
