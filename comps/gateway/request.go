package gateway

import (
	"bytes"
	"crypto/rand"
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
	role, s := message.RoleNone, c.session.Load()
	if s != nil && now < s.expires {
		role = s.role
	} else {
		s = nil
	}
	switch {
	case !c.certified && s == nil && !harmless(e):
		c.fail(e.Call, message.Denied, "gateway: clients need a certificate of the authority that the operator named in gateway.client_ca")
	case !a.roles.Has(role) && role == message.RoleNone:
		c.fail(e.Call, message.Unsigned, "gateway: log in first: there is no session, or it has expired")
	case !a.roles.Has(role):
		c.fail(e.Call, message.Denied, "gateway: the user's role may not call "+a.method.Name)
	case uint64(len(e.Body)) > uint64(a.method.MaxBytes):
		c.fail(e.Call, message.Invalid, "gateway: the request is larger than "+a.method.Name+" takes")
	case e.Service != gatewaypb.GatewayService:
		c.forward(e, &a, s)
	case e.Method == gatewaypb.GatewaySubmitMethod:
		c.submit(e, s, now)
	case e.Method == gatewaypb.GatewayPingMethod:
		c.ping(e)
	case e.Method == gatewaypb.GatewayHelloMethod:
		c.hello(e)
	case e.Method == gatewaypb.GatewayResumeMethod:
		c.resume(e)
	default:
		c.forward(e, &a, s)
	}
}

// harmless reports whether a request may be made by a client without a certificate
// where one is wanted: to learn where it is.
func harmless(e *message.Envelope) bool {
	return e.Service == gatewaypb.GatewayService && (e.Method == gatewaypb.GatewayHelloMethod || e.Method == gatewaypb.GatewayPingMethod)
}

// submit puts a transaction of a session into the open batch.
func (c *conn) submit(e *message.Envelope, in *session, now time.Duration) {
	g, u := c.g, in.user
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
	s := txnpb.Submission{Transaction: e.Body, Principal: u.number, Role: uint32(in.role), UserVersion: in.version, RemainingMillis: e.RemainingMillis}
	deadline := now + maxWait
	if e.RemainingMillis != 0 {
		deadline = now + time.Duration(e.RemainingMillis)*time.Millisecond
	}
	g.counters.submits.Add(1)
	if !g.queue.submit(entry{c: c, in: in, call: e.Call, deadline: deadline, arrived: now}, &s) {
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
		c.fail(e.Call, message.Invalid, "gateway: hello names no protocol version: this gateway speaks 1 and 2")
		return
	}
	c.agent = in.Agent[:min(len(in.Agent), maxAgent)]
	if !c.greeted && c.session.Load() == nil {
		c.fc.SetReadDeadline(time.Now().Add(signTime))
	}
	if !c.greeted {
		rand.Read(c.challenge[:])
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
		Challenge:       c.challenge[:],
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
	claims, err := c.g.openToken(in.Token)
	if err != nil {
		c.fail(e.Call, message.Unsigned, err.Error())
		return
	}
	if !c.charge(0, openingWindow) {
		c.fail(e.Call, message.Overloaded, "gateway: too many requests in flight on this connection")
		return
	}
	c.g.resumeSession(c, e.Call, claims)
}

// forward passes a request to its service, wherever that is. Before the login there is no
// session.
func (c *conn) forward(e *message.Envelope, a *access, in *session) {
	g, m := c.g, a.method
	if g.refusing.Load() {
		c.fail(e.Call, message.Draining, "gateway: it stops: use another")
		return
	}
	n, window := len(e.Body), int64(g.cfg.Window)
	if in == nil {
		window = openingWindow
	}
	if !c.charge(n, window) {
		c.fail(e.Call, message.Overloaded, "gateway: too many requests in flight on this connection")
		return
	}
	call := engine.Call{Service: e.Service, Method: e.Method, Target: e.To, Role: message.RoleNone, Trace: e.Trace,
		Epoch: g.cfg.Epoch(), Group: g.cfg.Group, Timeout: time.Duration(e.RemainingMillis) * time.Millisecond}
	if in != nil {
		call.Principal, call.Role, call.Key = in.user.number, in.role, in.user.number
	}
	if a.here && call.Target == 0 {
		call.Target = g.host.SFU()
	}
	// Events and stale reads may be asked of any replica, this SFU's own first.
	events := e.Service == txnpb.TxnService && e.Method == txnpb.TxnEventsMethod
	call.Any = events || e.Service == txnpb.TxnService && e.Method == txnpb.TxnReadMethod && stale(e.Body)
	login := e.Service == loginpb.LoginService && proves(e.Method)
	vouched := e.Service == loginpb.LoginService && bound(e.Method)
	call.Body = bytes.Clone(e.Body)
	if vouched {
		if err := c.vouch(&call); err != nil {
			c.discharge(n)
			c.fail(e.Call, message.Invalid, err.Error())
			return
		}
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
		if vouched && call.Target != 0 && absent(r.Code) {
			// The SFU that made the client's schema does not answer: any other one gives the
			// client its own.
			call.Target, call.Body = 0, bytes.Clone(call.Body)
			g.host.Call(call)
			return
		}
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

// admit gives the connection the session that a login's reply holds.
func (c *conn) admit(login bool, body []byte) error {
	if !login {
		return nil
	}
	var r loginpb.LoginReply
	if err := r.Parse(body); err != nil {
		return err
	}
	if len(r.Schema) > 0 { // no session yet
		return nil
	}
	return c.loggedIn(r.Token)
}
