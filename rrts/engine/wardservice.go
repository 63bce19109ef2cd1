package engine

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// Held implements enginepb.EngineHandler.
func (o ownService) Held(r message.Responder[*enginepb.HeldAnswer], in *enginepb.HeldQuery) {
	query := *in
	o.onWard(r.Request, "", func() {
		answer, err := o.heldAnswer(&query)
		if err != nil {
			refuseHeld(r.Request, query.Id, err)
			return
		}
		r.Reply(answer)
	})
}

// RetryHeld implements enginepb.EngineHandler.
func (o ownService) RetryHeld(r message.Responder[*enginepb.RetryHeldReply], in *enginepb.RetryHeldRequest) {
	id, by := in.Id, in.By
	o.onWard(r.Request, by, func() {
		ctx, cancel := context.WithTimeout(context.Background(), 2*DefaultTimeout) // the call's own is shorter, while the engine runs
		defer cancel()
		reply, err := o.Retry(ctx, id)
		switch {
		case err == nil:
			o.log.Warn("Request was tried again and left quarantine", "id", id, "answer", reply.Code, "by", by, "principal", r.Envelope().Principal)
			r.Reply(&enginepb.RetryHeldReply{Answered: true, Code: uint32(reply.Code), Detail: reply.Detail})
		case reply.Code != message.OK:
			o.log.Warn("Request was tried again and stays in quarantine", "id", id, "answer", reply.Code, "by", by, "principal", r.Envelope().Principal)
			r.Reply(&enginepb.RetryHeldReply{Code: uint32(reply.Code), Detail: reply.Detail})
		default:
			refuseHeld(r.Request, id, err)
		}
	})
}

// DiscardHeld implements enginepb.EngineHandler.
func (o ownService) DiscardHeld(r message.Responder[*enginepb.DiscardHeldReply], in *enginepb.DiscardHeldRequest) {
	id, by := in.Id, in.By
	o.onWard(r.Request, by, func() {
		if err := o.Discard(id); err != nil {
			refuseHeld(r.Request, id, err)
			return
		}
		o.log.Warn("Request was discarded from quarantine", "id", id, "by", by, "principal", r.Envelope().Principal)
		r.Reply(&enginepb.DiscardHeldReply{})
	})
}

// onWard does what an operator asks of the quarantine, beside the goroutine that brought
// the request: it reads the disk, and a try takes seconds.
func (o ownService) onWard(r message.Request, by string, do func()) {
	switch {
	case r.Envelope().Role != message.RoleOperator:
		r.Fail(message.Denied, "engine: only an operator may see and decide what is in quarantine")
		return
	case len(by) > maxBy:
		r.Fail(message.Invalid, fmt.Sprintf("engine: by has %d bytes, at most %d", len(by), maxBy))
		return
	}
	select {
	case o.ward.asked <- struct{}{}:
	default:
		r.Fail(message.Overloaded, fmt.Sprintf("engine: %d others look at the quarantine; ask again in a few seconds", maxAsked))
		return
	}
	go func() {
		defer func() { <-o.ward.asked }()
		do()
	}()
}

// refuseHeld answers that something could not be done with a request in quarantine.
func refuseHeld(r message.Request, id string, err error) {
	code := message.Internal
	switch {
	case errors.Is(err, fs.ErrNotExist):
		r.Fail(message.NotFound, fmt.Sprintf("engine: no request %q is in quarantine here", id))
		return
	case errors.Is(err, ErrDeciding):
		code = message.Overloaded
	case errors.Is(err, ErrNotice):
		code = message.Invalid
	}
	r.Fail(code, err.Error())
}

func (e *Engine) heldAnswer(q *enginepb.HeldQuery) (*enginepb.HeldAnswer, error) {
	if q.Id != "" {
		h := e.held(q.Id)
		if errors.Is(h.Err, fs.ErrNotExist) {
			return nil, h.Err
		}
		return &enginepb.HeldAnswer{Held: []enginepb.HeldRequest{e.describeHeld(&h, true)}}, nil
	}
	ids, err := e.ward.store.List()
	if err != nil {
		return nil, err
	}
	from, found := slices.BinarySearch(ids, q.After)
	if found {
		from++
	}
	ids = ids[from:]
	a := &enginepb.HeldAnswer{More: len(ids) > heldPage}
	for _, id := range ids[:min(len(ids), heldPage)] {
		h := e.held(id)
		if !errors.Is(h.Err, fs.ErrNotExist) { // it was discarded meanwhile
			a.Held = append(a.Held, e.describeHeld(&h, false))
		}
	}
	return a, nil
}

// describeHeld tells of a request in quarantine; with whole all but the values of
// sensitive fields.
func (e *Engine) describeHeld(h *Held, whole bool) enginepb.HeldRequest {
	if h.Err != nil {
		return enginepb.HeldRequest{Id: h.ID, Error: h.Err.Error()}
	}
	env := &h.Request
	out := enginepb.HeldRequest{Id: h.ID, Since: uint64(h.Time), Crashes: uint32(h.Crashes), Component: h.Component, Reason: h.Reason,
		Service: uint32(env.Service), Method: uint32(env.Method), Notice: env.Kind == message.KindNotice, BodyBytes: uint64(len(env.Body))}
	var method *message.MethodDescriptor
	e.mu.Lock()
	s := e.router.Service(env.Service)
	e.mu.Unlock()
	if s != nil {
		if method = s.Method(env.Method); method != nil {
			out.Name, out.Idempotent = s.Name+"."+method.Name, method.Idempotent
		}
	}
	if !whole {
		out.Reason, _, _ = strings.Cut(out.Reason, "\n")
		out.Reason = strings.ToValidUTF8(out.Reason[:min(len(out.Reason), maxHeldLine)], "")
		return out
	}
	out.Reason = strings.ToValidUTF8(out.Reason, "")
	out.Principal, out.Role, out.From, out.Trace = env.Principal, uint32(env.Role), uint32(env.From), env.Trace[:]
	if method != nil {
		out.Body = e.redactedBody(method, env.Body)
	}
	return out
}

// redactedBody is the text of a request's body without the values of sensitive fields;
// empty if its type is not known here, or it is malformed.
func (e *Engine) redactedBody(method *message.MethodDescriptor, body []byte) string {
	m := e.cfg.Registry.New(method.Request)
	text, ok := m.(fmt.Stringer)
	if !ok || m.Parse(body) != nil {
		return ""
	}
	return text.String()
}
