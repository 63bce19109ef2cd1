package child

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/schema/childpb"
)

// Protocol is the newest version of the protocol on the socket.
const Protocol = 1

// errProtocol is what every breach of the protocol is.
var errProtocol = errors.New("breach of the protocol")

// read takes what the child says, until the stream ends or the child breaks the
// protocol. A stream that ends between two frames is no error.
func (c *Component) read(conn *frame.Conn) error {
	for {
		b, err := conn.Next()
		switch {
		case errors.Is(err, frame.ErrFrame):
			return fmt.Errorf("%w: %w", errProtocol, err)
		case errors.Is(conn.Err(), frame.ErrSlow):
			return conn.Err()
		case err != nil: // the end, or a write that met it first: how the process ended says more
			return nil
		}
		var e message.Envelope
		if err := e.Parse(b); err != nil {
			return fmt.Errorf("%w: %w", errProtocol, err)
		}
		if err := c.take1(conn, &e); err != nil {
			return err
		}
		if !conn.Ready() {
			conn.Flush()
		}
	}
}

// take1 deals with one envelope, whose bytes are the reader's again when it returns.
func (c *Component) take1(conn *frame.Conn, e *message.Envelope) error {
	switch {
	case e.Kind == message.KindReply || e.Kind == message.KindFailure:
		c.answered(e)
		return nil
	case e.Kind != message.KindRequest && e.Kind != message.KindNotice:
		return fmt.Errorf("%w: an envelope of kind %d", errProtocol, e.Kind)
	case e.Service == childpb.ChildService && e.Method == childpb.ChildHelloMethod && e.Kind == message.KindRequest:
		return c.hello(conn, e)
	}
	c.mu.Lock()
	greeted := c.conn != nil
	c.mu.Unlock()
	switch {
	case !greeted:
		return fmt.Errorf("%w: service %d, method %d before Hello", errProtocol, e.Service, e.Method)
	case e.Service == childpb.ChildService:
		return c.said(conn, e)
	case e.Kind == message.KindNotice:
		return c.notify(e)
	}
	c.call(conn, e)
	return nil
}

// raw is a body that is encoded already.
type raw []byte

func (r raw) AppendTo(b []byte) []byte { return append(b, r...) }
func (r raw) Size() int                { return len(r) }
func (r raw) Parse([]byte) error       { return message.ErrMalformed } // nobody parses into one

// answered takes an answer of the child to where it is waited for. One that nobody
// waits for came too late.
func (c *Component) answered(e *message.Envelope) {
	held := c.take(e.Call)
	switch {
	case held == nil:
	case held.request == nil:
		if e.Kind == message.KindReply {
			held.answered()
		}
	case e.Kind == message.KindReply:
		held.request.Reply(raw(e.Body))
	default:
		code := e.Code
		if code == message.OK {
			code = message.Internal
		}
		held.request.Fail(code, e.Detail[:min(len(e.Detail), frame.MaxDetail)])
	}
}

// hello takes in what the child answers. A child that says what is not granted to it is
// told so, and that is its end.
func (c *Component) hello(conn *frame.Conn, e *message.Envelope) error {
	var in childpb.HelloRequest
	refuse := func(code message.Code, err error) error {
		fail(conn, e.Call, code, err.Error())
		conn.Flush()
		return err
	}
	if err := in.Parse(e.Body); err != nil {
		return refuse(message.Invalid, fmt.Errorf("%w: Hello: %w", errProtocol, err))
	}
	if in.Protocol < 1 {
		return refuse(message.Invalid, fmt.Errorf("%w: Hello names no protocol version: this engine speaks %d", errProtocol, Protocol))
	}
	c.mu.Lock()
	again := c.conn != nil
	c.mu.Unlock()
	if again {
		return refuse(message.Invalid, fmt.Errorf("%w: a second Hello", errProtocol))
	}
	services, err := c.services(&in)
	if err == nil {
		err = c.host.Offer(services)
	}
	if err != nil {
		return refuse(message.Denied, err)
	}
	reply := childpb.HelloReply{Protocol: min(in.Protocol, Protocol), Component: c.cfg.Name, Sfu: uint32(c.host.SFU()), SfuName: c.cfg.SFUName,
		Principal: c.cfg.Principal, Role: uint32(c.cfg.Role), HeartbeatMillis: uint32(c.cfg.Heartbeat.Milliseconds()),
		SilentMillis: uint32(c.cfg.Silent.Milliseconds()), InFlight: uint32(c.cfg.InFlight)}
	answer := message.Envelope{Kind: message.KindReply, Call: e.Call}
	if err := conn.QueueMessage(&answer, &reply); err != nil {
		return err
	}
	c.host.Log().Info("Child process runs", "agent", in.Agent[:min(len(in.Agent), maxAgent)], "services", len(services))
	c.beat()
	c.mu.Lock()
	c.conn = conn
	waiting := c.waiting
	c.waiting = nil
	c.mu.Unlock()
	c.give(conn, waiting)
	return nil
}

// services returns what the child answers, as the configuration grants it, or every
// reason why not.
func (c *Component) services(in *childpb.HelloRequest) ([]engine.Service, error) {
	var faults []error
	fault := func(bad bool, format string, a ...any) {
		if bad {
			faults = append(faults, fmt.Errorf("child: "+format, a...))
		}
	}
	var all []engine.Service
	for i := range in.Services {
		s := &in.Services[i]
		if c.cfg.own(uint16(s.Number)) {
			continue
		}
		d := engine.Described(s)
		if d == nil {
			fault(true, "the description of service %d %q is malformed", s.Number, s.Name)
			continue
		}
		fault(d.Policy == message.PolicyLeader, "%s has the policy LEADER: a child cannot name a leader; take ANY or KEY", d.Name)
		grant := c.cfg.grant(d.Number)
		if grant == nil {
			fault(true, "service %d (%s) is not granted: add it to the file of the component", d.Number, d.Name)
			continue
		}
		for m := range d.Methods {
			m := &d.Methods[m]
			fault(m.MaxBytes > MaxBytes, "%s.%s: max_bytes %d, at most %d in a child process", d.Name, m.Name, m.MaxBytes, MaxBytes)
			m.Clients = grant.clients(m.Name)
		}
		for name := range grant.Clients {
			fault(name != "*" && !hasMethod(d, name), "clients are granted %s.%s, which the component does not answer", d.Name, name)
		}
		all = append(all, engine.Service{Descriptor: d, Mailbox: c.cfg.InFlight})
	}
	return all, errors.Join(faults...)
}

func hasMethod(d *message.ServiceDescriptor, name string) bool {
	for i := range d.Methods {
		if d.Methods[i].Name == name {
			return true
		}
	}
	return false
}

// said takes in what the child says of itself.
func (c *Component) said(conn *frame.Conn, e *message.Envelope) error {
	switch {
	case e.Kind == message.KindNotice && e.Method == childpb.ChildBecameMethod:
		var in childpb.State
		if err := in.Parse(e.Body); err != nil {
			return fmt.Errorf("%w: Became: %w", errProtocol, err)
		}
		c.host.Ready(in.Ready)
	case e.Kind == message.KindNotice && e.Method == childpb.ChildObserveMethod:
		var in childpb.Condition
		if err := in.Parse(e.Body); err != nil {
			return fmt.Errorf("%w: Observe: %w", errProtocol, err)
		}
		return c.observe(&in)
	case e.Kind == message.KindRequest:
		fail(conn, e.Call, message.NoMethod, fmt.Sprintf("child: the engine has no method %d for a child", e.Method))
	}
	return nil // a notice of a newer version
}

// observe raises or ends an alarm of the child.
func (c *Component) observe(in *childpb.Condition) error {
	if !subjectForm.MatchString(in.Subject) || in.Severity > uint32(engine.Critical) {
		return fmt.Errorf("%w: Observe: subject %q, severity %d", errProtocol, in.Subject, in.Severity)
	}
	c.mu.Lock()
	if in.Ended {
		delete(c.standing, in.Subject)
	} else if c.stopped || !c.standing[in.Subject] && len(c.standing) >= maxConditions {
		c.mu.Unlock()
		return nil
	} else {
		c.standing[in.Subject] = true
	}
	c.mu.Unlock()
	if in.Ended {
		c.host.ClearAlarm(c.alarm(in.Subject))
	} else {
		c.host.Alarm(c.alarm(in.Subject), engine.Severity(in.Severity), in.Detail[:min(len(in.Detail), frame.MaxDetail)])
	}
	return nil
}

// outgoing makes a call of what the child asks for, if it may.
func (c *Component) outgoing(e *message.Envelope) (engine.Call, *message.Error) {
	d := c.host.Service(e.Service)
	if d == nil {
		return engine.Call{}, message.Errorf(message.NoMethod, "child: there is no service %d", e.Service)
	}
	m := d.Method(e.Method)
	if m == nil {
		return engine.Call{}, message.Errorf(message.NoMethod, "child: %s has no method %d", d.Name, e.Method)
	}
	if !c.cfg.mayCall(d.Name, m.Name) {
		return engine.Call{}, message.Errorf(message.Denied, "child: %s may not call %s.%s: add it to calls in the component's file", c.cfg.Name, d.Name, m.Name)
	}
	call := engine.Call{Service: e.Service, Method: e.Method, Target: e.To, Trace: e.Trace, Principal: c.cfg.Principal, Role: c.cfg.Role,
		Timeout: time.Duration(e.RemainingMillis) * time.Millisecond, Body: bytes.Clone(e.Body)}
	if e.Principal != 0 && e.Principal != c.cfg.Principal {
		role, ok := c.behalf(e.Principal)
		if !ok {
			return engine.Call{}, message.Errorf(message.Denied, "child: %s has no request of user %d at hand, so it cannot call in that name", c.cfg.Name, e.Principal)
		}
		call.Principal, call.Role = e.Principal, role
	}
	call.Key = call.Principal
	if c.cfg.Outward != nil {
		if err := c.cfg.Outward(&call); err != nil {
			return engine.Call{}, err
		}
	}
	return call, nil
}

// behalf returns the role of a user who waits for an answer of the child.
func (c *Component) behalf(principal uint64) (role message.Role, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, held := range c.pending {
		if held.request != nil && held.request.Envelope().Principal == principal {
			return held.request.Envelope().Role, true
		}
	}
	return 0, false
}

// call passes a request of the child on.
func (c *Component) call(conn *frame.Conn, e *message.Envelope) {
	number := e.Call
	call, refused := c.outgoing(e)
	if refused == nil {
		c.mu.Lock()
		if c.outward >= c.cfg.InFlight {
			refused = message.Errorf(message.Overloaded, "child: %s waits for %d answers", c.cfg.Name, c.outward)
		} else {
			c.outward++
		}
		c.mu.Unlock()
	}
	if refused != nil {
		fail(conn, number, refused.Code, refused.Detail)
		return
	}
	call.Done = func(r engine.Reply) {
		c.mu.Lock()
		c.outward--
		c.mu.Unlock()
		if r.Code != message.OK {
			fail(conn, number, r.Code, r.Detail)
		} else if err := conn.Queue(&message.Envelope{Kind: message.KindReply, Call: number, Body: r.Body}); errors.Is(err, frame.ErrBacklog) {
			fail(conn, number, message.Unknown, "child: the answer found no room: read faster")
		}
		conn.Flush()
	}
	c.host.Call(call)
}

// notify passes a notice of the child on. That it may not is told in the log alone:
// nobody waits for an answer.
func (c *Component) notify(e *message.Envelope) error {
	call, refused := c.outgoing(e)
	if refused == nil {
		if err := c.host.Notify(engine.Notice{To: call.Target, Service: call.Service, Method: call.Method, Trace: call.Trace,
			Epoch: call.Epoch, Group: call.Group, Body: call.Body}); err == nil {
			return nil
		} else if !errors.As(err, &refused) {
			return err
		}
	}
	c.host.Log().Warn("A notice of the child process was not sent", "reason", refused.Error())
	return nil
}

// fail answers a request of the child with a failure.
func fail(conn *frame.Conn, number uint64, code message.Code, detail string) {
	conn.Queue(&message.Envelope{Kind: message.KindFailure, Call: number, Code: code, Detail: detail[:min(len(detail), frame.MaxDetail)]})
}
