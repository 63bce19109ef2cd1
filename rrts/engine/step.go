package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/message"
)

// The router belongs to whoever holds Engine.mu, for the few hundred nanoseconds
// of a step: a goroutine of its own would cost two more switches a call. What the
// step decided is done after the lock was released, by the same goroutine, so that
// what one caller sends stays in order.

// work is one turn with the router.
type work struct {
	*Engine
	now  time.Duration
	out  []router.Output
	told int // outputs whose news of peers was told
}

var works = sync.Pool{New: func() any { return new(work) }}

// begin makes the caller the router's owner, until end.
func (e *Engine) begin() *work {
	w := works.Get().(*work)
	w.Engine = e
	e.mu.Lock()
	w.now = e.clock() // inside, so that the router's time never goes back
	return w
}

// end gives the router back and does what it decided.
func (w *work) end() {
	w.unlock()
	for i := 0; i < len(w.out); i++ { // doing may append
		w.do(i)
	}
	clear(w.out)
	w.out, w.told = w.out[:0], 0
	w.Engine = nil
	works.Put(w)
}

// unlock gives the router back. News of peers are told before, so that everybody
// hears them in their order.
func (w *work) unlock() {
	for ; w.told < len(w.out); w.told++ {
		if o := &w.out[w.told]; o.Action == router.Tell {
			w.tellWatchersLocked(o.Event)
		}
	}
	next, waiting := w.router.Next()
	early := waiting && next < w.armed
	if early {
		w.armed = next
	}
	w.mu.Unlock()
	if early {
		w.wakeLoop()
	}
}

// wakeLoop makes the engine's loop look at what there is to do.
func (e *Engine) wakeLoop() {
	select {
	case e.rearm <- struct{}{}:
	default: // it has been told
	}
}

func (w *work) do(i int) {
	switch o := &w.out[i]; o.Action {
	case router.Done:
		p := o.Call.Owner.(*pending)
		if p.wait != nil {
			p.wait <- o.Reply
		} else {
			p.in.unit.box.complete(p.in, completion{p.done, o.Reply})
		}
	case router.Deliver:
		if code, detail := w.deliverHere(&o.Envelope); code != message.OK {
			w.refused(o.Envelope.To, o.Envelope.Call, code, detail)
		}
	case router.Send:
		if err := w.send(&o.Envelope, o.To, o.Lane, o.Plain); err != nil {
			code := message.Unavailable
			if errors.Is(err, ErrFull) {
				code = message.Overloaded
			}
			w.refused(o.To, o.Envelope.Call, code, err.Error())
		}
	case router.Announce:
		w.sendAnnouncement(o.To, o.Announcement)
	case router.Tell: // told already
	}
}

// refused tells the router that a call did not get through.
func (w *work) refused(to uint16, call uint64, code message.Code, detail string) {
	w.mu.Lock()
	w.router.Answer(w.now, to, call, router.Reply{Code: code, Detail: detail}, &w.out)
	w.unlock()
}

// pending is a call of a Component, or of somebody who waits.
type pending struct {
	router.Call
	in   *instance // on whose goroutine done is called
	done func(Reply)
	wait chan Reply // has room; instead of done
}

func (e *Engine) call(p *pending, c *Call) {
	p.Envelope = message.Envelope{Service: c.Service, Method: c.Method, Trace: c.Trace, Epoch: c.Epoch, Group: c.Group,
		Principal: c.Principal, Role: c.Role, Body: c.Body}
	p.Target, p.Any, p.Key, p.Plain = c.Target, c.Any, c.Key, c.Plain
	if p.Timeout = min(c.Timeout, MaxTimeout); p.Timeout <= 0 {
		p.Timeout = DefaultTimeout
	}
	p.Owner = p
	w := e.begin()
	w.router.Call(w.now, &p.Call, &w.out)
	w.end()
}

// answer takes the answer of a Component of this engine to a call from this engine.
func (e *Engine) answer(call uint64, reply Reply) {
	w := e.begin()
	w.router.Answer(w.now, e.cfg.SFU, call, reply, &w.out)
	w.end()
}

// deliverHere puts a call of this engine into a mailbox of this engine.
func (e *Engine) deliverHere(env *message.Envelope) (message.Code, string) {
	r, code, detail := e.request(env)
	if code == message.OK {
		code, detail = e.accept(r)
	}
	return code, detail
}

// accept puts one request where it belongs.
func (e *Engine) accept(r *request) (message.Code, string) {
	if r.box == nil {
		e.serveOwn(r)
		return message.OK, ""
	}
	return r.box.pushOne(r)
}

// request makes a request of an envelope that is for this SFU.
func (e *Engine) request(env *message.Envelope) (*request, message.Code, string) {
	s, found := (*e.byService.Load())[env.Service]
	if !found {
		return nil, message.NoMethod, fmt.Sprintf("engine: SFU %d does not answer service %d", e.cfg.SFU, env.Service)
	}
	method := -1
	for i := range s.served.desc.Methods {
		if s.served.desc.Methods[i].Number == env.Method {
			method = i
		}
	}
	if method < 0 {
		return nil, message.NoMethod, fmt.Sprintf("engine: %s has no method %d", s.served.desc.Name, env.Method)
	}
	r := &request{env: *env, engine: e, service: s.served, method: method, arrived: e.clock()}
	if s.unit != nil {
		r.box = s.unit.box
	}
	if env.RemainingMillis != 0 {
		r.deadline = r.arrived + time.Duration(env.RemainingMillis)*time.Millisecond
	}
	if e.ward.any() && e.ward.holds(env) {
		return nil, message.Quarantined, "engine: the same request crashed its Component too often and is held for the operator"
	}
	return r, message.OK, ""
}

// notify sends a notice to whom it may concern.
func (e *Engine) notify(n *Notice) error {
	var room [16]uint16
	e.mu.Lock()
	to, method, bad := e.router.Notify(n.To, n.Service, n.Method, len(n.Body), room[:0])
	e.mu.Unlock()
	if bad != nil {
		return bad
	}
	env := message.Envelope{Kind: message.KindNotice, Service: n.Service, Method: n.Method, Trace: n.Trace,
		Epoch: n.Epoch, Group: n.Group, From: e.cfg.SFU}
	var failed error
	for _, sfu := range to {
		env.To = sfu
		if err := e.notifyOne(&env, n.Body, method.Lane, n.Plain || !method.Sensitive); err != nil {
			failed = err
		}
	}
	if n.To == 0 {
		return nil // a publisher does not count its listeners
	}
	return failed
}

func (e *Engine) notifyOne(env *message.Envelope, body []byte, lane message.Lane, plain bool) error {
	if env.To == e.cfg.SFU {
		here := *env
		here.Body = append([]byte(nil), body...)
		if code, detail := e.deliverHere(&here); code != message.OK {
			return &message.Error{Code: code, Detail: detail}
		}
		return nil
	}
	b := scratch.Get().(*[]byte)
	defer release(b)
	*b = append(env.AppendHeader((*b)[:0], len(body)), body...)
	if err := e.sendRecord(env.To, lane, *b, plain); errors.Is(err, ErrFull) {
		return message.Errorf(message.Overloaded, "%v", err)
	} else if err != nil {
		return message.Errorf(message.Unavailable, "%v", err)
	}
	return nil
}

// caller calls and waits, for typed clients.
type caller struct {
	engine *Engine
	to     uint16
}

// Call implements message.Caller. A notice is sent, and nothing is waited for.
func (c caller) Call(ctx context.Context, method *message.MethodDescriptor, service uint16, body []byte) ([]byte, error) {
	if method.Notice {
		return nil, c.engine.notify(&Notice{To: c.to, Service: service, Method: method.Number, Body: body})
	}
	call := Call{Service: service, Method: method.Number, Target: c.to, Body: body}
	if deadline, ok := ctx.Deadline(); ok {
		if call.Timeout = time.Until(deadline); call.Timeout <= 0 {
			return nil, context.DeadlineExceeded
		}
	}
	p := &pending{wait: make(chan Reply, 1)}
	c.engine.call(p, &call)
	select {
	case reply := <-p.wait:
		if err := reply.Err(); err != nil {
			return nil, err
		}
		return reply.Body, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
