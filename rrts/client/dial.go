package client

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/message/pack"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
)

// Protocol is the version of the client protocol that this SDK speaks. Its history:
//
//	1  Hello, Login, Resume, Ping, Moved, Closed; Submit; services by number
//	2  logins are sealed: Schema, Enter, ChangePassword
const Protocol = 2

const (
	// openTime bounds connecting, TLS and Hello at one gateway. Far longer than it
	// takes: other gateways are tried meanwhile, and one that is busy with hundreds of
	// clients must not see them all come again.
	openTime = 10 * time.Second
	// loginTime bounds a login: it waits its turn at a login service that others use
	// as well, and for a leader to be there.
	loginTime = 30 * time.Second
	// backlog is what may wait for a gateway, in bytes. More stays with the Client.
	backlog = 8 << 20
	// stall is how long a gateway may take for the next 64 KiB.
	stall = 5 * time.Second
	// failFirst and failMost bound the pause before a gateway is tried again.
	failFirst = 20 * time.Millisecond
	failMost  = 2 * time.Second
)

// gateway is one address. All but the address is guarded by Client.mu.
type gateway struct {
	address   string
	sfu       uint32 // as it said when it was reached; one SFU may have several addresses
	trying    bool
	reached   bool // trying, and its machine has answered
	failures  int  // in a row
	notBefore time.Time
	err       error // of the last try
}

func newGateway(address string) *gateway { return &gateway{address: address} }

// failed lets the gateway rest, longer with every failure in a row. Half of the
// pause is drawn, so that those who failed together do not return together.
func (g *gateway) failed(err error, now time.Time) {
	g.err = err
	pause := min(failFirst<<min(g.failures, 16), failMost)
	if t := now.Add(pause/2 + rand.N(pause/2)); t.After(g.notBefore) {
		g.notBefore = t
	}
	g.failures++
}

// learnLocked takes addresses that a gateway told. At an admin socket the others
// are not asked for.
func (c *Client) learnLocked(addresses []string) {
	if strings.HasPrefix(c.config.Gateways[0], unixPrefix) {
		return
	}
	for _, a := range addresses {
		known := slices.ContainsFunc(c.gateways, func(g *gateway) bool { return g.address == a })
		if _, _, err := net.SplitHostPort(a); !known && err == nil && len(c.gateways) < MaxGateways {
			c.gateways = append(c.gateways, newGateway(a))
		}
	}
}

// try opens a connection to g and gives it its place.
func (c *Client) try(g *gateway) {
	cn, err := c.open(c.ctx, g)
	now := time.Now()
	c.mu.Lock()
	g.trying, g.reached = false, false
	if err != nil {
		c.log.Debug("gateway does not serve", "gateway", g.address, "err", err)
		g.failed(err, now)
		if !hopeless(err) {
			err = c.misledLocked()
		}
		c.mu.Unlock()
		if err != nil {
			c.end(err)
		}
		c.wake()
		return
	}
	g.failures, g.err, g.sfu = 0, nil, cn.sfu
	if c.err != nil {
		c.mu.Unlock()
		cn.fc.Close()
		return
	}
	switch {
	case c.active == nil || c.active.leaving || c.active.silent >= suspectLooks:
		if old := c.active; old != nil && !old.leaving {
			c.moveCallsLocked(old)
		}
		former := c.spare
		c.spare = cn
		c.promoteLocked()
		c.spare = former
		c.spareAfter = now.Add(rand.N(spareDelay))
	case c.spare == nil && !c.config.SingleConnection && c.active.gw.sfu != g.sfu:
		c.spare = cn
	default:
		c.mu.Unlock()
		cn.fc.Close() // it came second, or leads to the same SFU
		c.wake()
		return
	}
	flush := c.fillLocked()
	select {
	case <-c.opened:
	default:
		close(c.opened)
	}
	c.run.Go(cn.read)
	c.mu.Unlock()
	if flush != nil {
		flush.fc.Flush()
	}
	c.wake()
}

// misledLocked returns an error if the Client never had a connection and every
// gateway fails in a way that waiting does not cure: certificates that the given
// authorities did not sign, or no socket.
func (c *Client) misledLocked() error {
	select {
	case <-c.opened:
		return nil
	default:
	}
	for _, g := range c.gateways {
		var cert *tls.CertificateVerificationError
		if !errors.As(g.err, &cert) && !(g.err != nil && strings.HasPrefix(g.address, unixPrefix)) {
			return nil
		}
	}
	return c.troublesLocked(errors.New("none can be used"))
}

// hopeless reports whether no other gateway would answer otherwise.
func hopeless(err error) bool {
	if errors.Is(err, ErrSession) || errors.Is(err, ErrOtherCluster) {
		return true
	}
	var refusal *message.Error
	return errors.As(err, &refusal) && (refusal.Code == message.Denied || refusal.Code == message.Invalid)
}

// open connects to g, says hello and gets the user accepted.
func (c *Client) open(ctx context.Context, g *gateway) (_ *conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, openTime)
	defer cancel()
	fc, err := c.connect(ctx, g)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			fc.Close()
		}
	}()
	stop := context.AfterFunc(c.ctx, fc.Close)
	defer stop()
	fc.SetReadDeadline(time.Now().Add(openTime))
	cn := &conn{c: c, gw: g, fc: fc, pending: make(map[uint64]*call), beat: time.Now()}
	if err := cn.hello(); err != nil {
		return nil, err
	}
	if err := cn.sign(); err != nil {
		return nil, err
	}
	fc.SetReadDeadline(time.Time{})
	cn.alive.Store(true)
	return cn, nil
}

func (c *Client) connect(ctx context.Context, g *gateway) (*frame.Conn, error) {
	limits := frame.Limits{Frame: MaxAnswer + frame.Overhead, Backlog: backlog, Stall: stall}
	var d net.Dialer
	if path, ok := strings.CutPrefix(g.address, unixPrefix); ok {
		raw, err := d.DialContext(ctx, "unix", path)
		if err != nil {
			return nil, err
		}
		return frame.Client(ctx, raw, nil, limits)
	}
	raw, err := d.DialContext(ctx, "tcp", g.address)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	g.reached = true
	c.mu.Unlock()
	host, _, _ := net.SplitHostPort(g.address)
	config := &tls.Config{MinVersion: tls.VersionTLS13, RootCAs: c.config.RootCAs, ServerName: host, DynamicRecordSizingDisabled: true}
	if c.config.Certificate != nil {
		config.Certificates = []tls.Certificate{*c.config.Certificate}
	}
	return frame.Client(ctx, raw, config, limits)
}

// ask sends a request of the opening and waits for its answer.
func (cn *conn) ask(service, method uint16, in, out message.Message) error {
	cn.number++
	e := message.Envelope{Kind: message.KindRequest, Service: service, Method: method, Call: cn.number, Body: message.Marshal(in)}
	if err := cn.fc.QueuePlain(&e); err != nil { // it may hold a password
		return err
	}
	if err := cn.fc.Flush(); err != nil {
		return err
	}
	for {
		b, err := cn.fc.Next()
		if err != nil {
			return err
		}
		var a message.Envelope
		if err := a.Parse(b); err != nil {
			return err
		}
		switch {
		case a.Kind == message.KindNotice && a.Service == gatewaypb.GatewayService:
			if err := cn.c.told(cn, &a); err != nil {
				return err
			}
			if cn.leaving {
				return message.Errorf(message.Draining, "the gateway is about to stop")
			}
		case a.Call != cn.number:
		case a.Kind == message.KindReply:
			return out.Parse(a.Body)
		case a.Kind == message.KindFailure:
			return &message.Error{Code: a.Code, Detail: a.Detail}
		}
	}
}

func (cn *conn) hello() error {
	c := cn.c
	var r gatewaypb.HelloReply
	before := time.Now()
	err := cn.ask(gatewaypb.GatewayService, gatewaypb.GatewayHelloMethod,
		&gatewaypb.HelloRequest{Protocol: Protocol, Agent: c.config.Agent, Packing: c.packing(cn.fc)}, &r)
	if err != nil {
		return fmt.Errorf("hello: %w", err)
	}
	cn.fc.Pack(r.Packing)
	if id := c.config.ClusterID; id != ([16]byte{}) && string(r.ClusterId) != string(id[:]) {
		return fmt.Errorf("%w: %q; if that was restored from a backup, use its new client-kit.toml", ErrOtherCluster, r.Cluster)
	}
	after := time.Now()
	c.ids.correct(r.LedgerTime, before.Add(after.Sub(before)/2))
	cn.sfu, cn.protocol = r.Sfu, r.Protocol
	cn.window = max(int(r.Window), 1)
	cn.heartbeat = max(time.Duration(r.HeartbeatMillis)*time.Millisecond, minHeartbeat)
	c.mu.Lock()
	c.user.Cluster = r.Cluster
	c.learnLocked(r.Gateways)
	c.mu.Unlock()
	return nil
}

// minHeartbeat is the shortest heartbeat that a gateway can ask for.
const minHeartbeat = 50 * time.Millisecond

// sign gets the user accepted: by the token, or by a login when there is none or
// it is not taken any more. Only one connection logs in; the others use its token.
func (cn *conn) sign() error {
	c := cn.c
	if strings.HasPrefix(cn.gw.address, unixPrefix) && c.config.LoginName == "" {
		c.mu.Lock()
		c.user.Role = uint32(message.RoleOperator)
		c.mu.Unlock()
		return nil
	}
	token := c.Token()
	if len(token) > 0 {
		err := cn.resume(token)
		if !errors.Is(err, &message.Error{Code: message.Unsigned}) {
			return err
		}
	}
	if c.config.LoginName == "" {
		return ErrSession
	}
	cn.fc.SetReadDeadline(time.Now().Add(loginTime))
	select {
	case c.login <- struct{}{}:
		defer func() { <-c.login }()
	case <-c.ended:
		return ErrClosed
	}
	if fresh := c.Token(); len(fresh) > 0 && string(fresh) != string(token) {
		return cn.resume(fresh)
	}
	c.mu.Lock()
	password := c.config.Password
	c.mu.Unlock()
	return cn.logIn(password)
}

func (cn *conn) resume(token []byte) error {
	var r gatewaypb.ResumeReply
	if err := cn.ask(gatewaypb.GatewayService, gatewaypb.GatewayResumeMethod, &gatewaypb.ResumeRequest{Token: token}, &r); err != nil {
		return err
	}
	c := cn.c
	c.mu.Lock()
	cn.token = token
	c.user.User, c.user.Role = r.User, r.Role
	c.mu.Unlock()
	return nil
}

// packing is what is offered to a gateway: nothing within this machine, unless it is asked
// for.
func (c *Client) packing(fc *frame.Conn) uint32 {
	remote, tcp := fc.RemoteAddr().(*net.TCPAddr)
	switch c.config.Compression {
	case CompressionAuto:
		if !tcp || remote.IP.IsLoopback() {
			return 0
		}
	case CompressionOff:
		return 0
	}
	return pack.All
}
