package gateway

import (
	"bytes"
	"errors"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/pack"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

var submitMethod = gatewaypb.GatewayDescriptor.Method(gatewaypb.GatewaySubmitMethod)

// request deals with one request. e and its body are the reader's again when it
// returns.
func (c *conn) request(e *message.Envelope) {
	g := c.g
	g.counters.requests.Add(1)
	now := g.host.Now()
	a, ok := g.rule(e.Service, e.Method)
	if !ok {
		c.fail(e.Call, message.NoMethod, "gateway: no such method for clients")
		return
	}
	role, user := message.RoleNone, (*user)(nil)
	if s := c.session.Load(); s != nil && now < s.expires {
		role, user = s.role, s.user
	}
	switch {
	case !a.roles.Has(role) && role == message.RoleNone:
		c.fail(e.Call, message.Unsigned, "gateway: log in first: there is no session, or it has expired")
	case !a.roles.Has(role):
		c.fail(e.Call, message.Denied, "gateway: the user's role may not call "+a.method.Name)
	case uint64(len(e.Body)) > uint64(a.method.MaxBytes):
		c.fail(e.Call, message.Invalid, "gateway: the request is larger than "+a.method.Name+" takes")
	case e.Service != gatewaypb.GatewayService:
		c.forward(e, &a, role, user)
	case e.Method == gatewaypb.GatewaySubmitMethod:
		c.submit(e, role, user, now)
	case e.Method == gatewaypb.GatewayPingMethod:
		c.ping(e)
	case e.Method == gatewaypb.GatewayHelloMethod:
		c.hello(e)
	case e.Method == gatewaypb.GatewayResumeMethod:
		c.resume(e)
	default:
		c.forward(e, &a, role, user)
	}
}

// submit puts a transaction into the open batch.
func (c *conn) submit(e *message.Envelope, role message.Role, u *user, now time.Duration) {
	g := c.g
	if g.refusing.Load() {
		c.fail(e.Call, message.Draining, "gateway: it stops: use another")
		return
	}
	n := len(e.Body)
	if !c.charge(n, int64(g.cfg.Window)) {
		c.fail(e.Call, message.Overloaded, "gateway: too many requests in flight on this connection")
		return
	}
	if u.inFlight.Add(1) > maxUserInFlight {
		u.inFlight.Add(-1)
		c.discharge(n)
		c.fail(e.Call, message.Overloaded, "gateway: too many transactions of this user in flight")
		return
	}
	s := txnpb.Submission{Transaction: e.Body, Principal: u.number, Role: uint32(role), RemainingMillis: e.RemainingMillis}
	deadline := now + maxWait
	if e.RemainingMillis != 0 {
		deadline = now + time.Duration(e.RemainingMillis)*time.Millisecond
	}
	g.counters.submits.Add(1)
	if !g.queue.submit(entry{c: c, user: u, role: role, call: e.Call, deadline: deadline, arrived: now}, &s) {
		u.inFlight.Add(-1)
		c.discharge(n)
		c.fail(e.Call, message.Overloaded, "gateway: too many transactions wait for an answer")
	}
}

// hello tells the client where it is.
func (c *conn) hello(e *message.Envelope) {
	g := c.g
	var in gatewaypb.HelloRequest
	if err := in.Parse(e.Body); err != nil {
		c.fail(e.Call, message.Invalid, err.Error())
		return
	}
	if in.Protocol < 1 {
		c.fail(e.Call, message.Invalid, "gateway: hello names no protocol version: this gateway speaks 1")
		return
	}
	c.agent = in.Agent[:min(len(in.Agent), maxAgent)]
	if !c.greeted && c.session.Load() == nil {
		c.fc.SetReadDeadline(time.Now().Add(signTime))
	}
	c.greeted, c.told = true, g.cfg.Gateways()
	sfus, roster := g.cfg.SFUs()
	packing := in.Packing & pack.All
	c.replySecret(e.Call, message.Marshal(&gatewaypb.HelloReply{ // before anything is packed
		Protocol:        min(in.Protocol, Protocol),
		Cluster:         g.cfg.Cluster,
		ClusterId:       g.cfg.ClusterID[:],
		Sfu:             uint32(g.host.SFU()),
		Epoch:           g.cfg.Epoch(),
		LedgerTime:      g.ledgerTime(),
		Gateways:        c.told,
		HeartbeatMillis: uint32(g.cfg.Heartbeat.Milliseconds()),
		Window:          uint32(g.cfg.Window),
		Sfus:            sfus,
		Roster:          roster,
		Packing:         offered(packing),
	}))
	c.short.Store(packing&pack.ShortOutcomes != 0)
	c.fc.Pack(packing)
	g.mu.Lock()
	moved := g.moved
	g.mu.Unlock()
	if moved { // it came while the others were told
		c.queue(notice(gatewaypb.GatewayMovedMethod, message.Marshal(&gatewaypb.Move{Gateways: g.others()})))
	}
}

// offered is what this gateway reads on a connection whose client packs at all.
func offered(packing uint32) uint32 {
	if packing == 0 {
		return 0
	}
	return pack.All
}

// ping shows life. The gateways of the cluster may have changed since the client was
// told of them.
func (c *conn) ping(e *message.Envelope) {
	reply := &gatewaypb.PingReply{LedgerTime: c.g.ledgerTime()}
	if now := c.g.cfg.Gateways(); c.greeted && !slices.Equal(now, c.told) {
		c.told, reply.Gateways = now, now
	}
	c.replyMessage(e.Call, reply)
}

// others are the addresses of the other gateways.
func (g *Gateway) others() []string {
	return slices.DeleteFunc(slices.Clone(g.cfg.Gateways()), func(a string) bool { return slices.Contains(g.cfg.Own, a) })
}

// resume continues a session.
func (c *conn) resume(e *message.Envelope) {
	var in gatewaypb.ResumeRequest
	if err := in.Parse(e.Body); err != nil {
		c.fail(e.Call, message.Invalid, err.Error())
		return
	}
	s, err := c.enter(in.Token)
	if err != nil {
		c.fail(e.Call, message.Unsigned, err.Error())
		return
	}
	c.replyMessage(e.Call, &gatewaypb.ResumeReply{User: s.user.number, Role: uint32(s.role),
		ValidMillis: uint64((s.expires - c.g.host.Now()).Milliseconds())})
}

// enter gives the connection the session of a sealed token.
func (c *conn) enter(sealed []byte) (*session, error) {
	claims, err := c.g.cfg.Tokens.Open(sealed, c.g.cfg.Wall())
	if err != nil {
		return nil, err
	}
	s, err := c.g.sign(c, &claims)
	if err == nil {
		c.widen()
	}
	return s, err
}

// forward passes a request to its service, wherever that is.
func (c *conn) forward(e *message.Envelope, a *access, role message.Role, u *user) {
	g, m := c.g, a.method
	if g.refusing.Load() {
		c.fail(e.Call, message.Draining, "gateway: it stops: use another")
		return
	}
	n, window := len(e.Body), int64(g.cfg.Window)
	if role == message.RoleNone {
		window = openingWindow
	}
	if !c.charge(n, window) {
		c.fail(e.Call, message.Overloaded, "gateway: too many requests in flight on this connection")
		return
	}
	call := engine.Call{Service: e.Service, Method: e.Method, Target: e.To, Role: role, Trace: e.Trace,
		Epoch: g.cfg.Epoch(), Group: g.cfg.Group, Timeout: time.Duration(e.RemainingMillis) * time.Millisecond}
	if u != nil {
		call.Principal, call.Key = u.number, u.number
	}
	if a.here && call.Target == 0 {
		call.Target = g.host.SFU()
	}
	// Events and stale reads may be asked of any replica, this SFU's own first.
	events := e.Service == txnpb.TxnService && e.Method == txnpb.TxnEventsMethod
	call.Any = events || e.Service == txnpb.TxnService && e.Method == txnpb.TxnReadMethod && stale(e.Body)
	login := e.Service == loginpb.LoginService && e.Method == loginpb.LoginLoginMethod
	if login {
		// The last field of a kind counts: what the client wrote is void. But a body that
		// ends inside a field would swallow what follows it.
		if !wellFormed(e.Body) {
			c.discharge(n)
			c.fail(e.Call, message.Invalid, "gateway: the login request is malformed")
			return
		}
		call.Body = (&loginpb.LoginRequest{Address: c.address}).AppendTo(bytes.Clone(e.Body))
	} else {
		call.Body = bytes.Clone(e.Body)
	}
	if len(call.Body) > int(m.MaxBytes) {
		c.discharge(n)
		c.fail(e.Call, message.Invalid, "gateway: the request is larger than "+m.Name+" takes")
		return
	}
	number, waits := e.Call, &g.forwards
	if events { // they may wait for long, and are asked for again elsewhere
		waits = &g.listening
	}
	waits.Add(1)
	call.Done = func(r engine.Reply) {
		waits.Add(-1)
		c.discharge(n)
		if err := r.Err(); err != nil {
			c.fail(number, r.Code, r.Detail)
		} else if err := c.admit(login, r.Body); err != nil {
			c.fail(number, message.Internal, err.Error())
		} else if m.Sensitive {
			c.replySecret(number, r.Body)
		} else {
			c.reply(number, r.Body)
		}
		c.fc.Flush()
	}
	g.host.Call(call)
}

// stale reports whether an encoded txnpb.Query has its field stale set.
func stale(b []byte) (set bool) {
	const tagStale = 9<<3 | message.WireVarint
	for i := 0; i < len(b); {
		var tag, v uint64
		if tag, i = message.Varint(b, i); i < 0 {
			return false
		}
		if tag != tagStale {
			if i = message.Skip(b, i, tag); i < 0 {
				return false
			}
			continue
		}
		if v, i = message.Varint(b, i); i < 0 {
			return false
		}
		set = v != 0
	}
	return set
}

// wellFormed reports whether b is protobuf, whatever it means.
func wellFormed(b []byte) bool {
	for i := 0; i < len(b); {
		var tag uint64
		if tag, i = message.Varint(b, i); i < 0 {
			return false
		}
		if i = message.Skip(b, i, tag); i < 0 {
			return false
		}
	}
	return true
}

// admit gives the connection the session that a login's reply holds.
func (c *conn) admit(login bool, body []byte) error {
	if !login {
		return nil
	}
	var r loginpb.LoginReply
	if err := r.Parse(body); err != nil {
		return err
	}
	_, err := c.enter(r.Token)
	if err != nil {
		return errors.New("gateway: the login's token does not open here: " + err.Error())
	}
	return nil
}
