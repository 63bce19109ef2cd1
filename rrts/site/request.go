package site

import (
	"context"
	"sync/atomic"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// request is a request as its handler sees it.
type request struct {
	host     *Host
	env      message.Envelope
	ctx      context.Context
	cancel   context.CancelFunc
	answered atomic.Bool
}

var _ message.Request = (*request)(nil)

// Context returns what ends when nobody waits for the answer to r any more: its deadline
// has come, or the SFU has stopped the Component.
func Context(r message.Request) context.Context {
	if q, ok := r.(*request); ok && q.ctx != nil {
		return q.ctx
	}
	return context.Background()
}

// Envelope implements message.Request.
func (r *request) Envelope() *message.Envelope { return &r.env }

// Reply implements message.Request.
func (r *request) Reply(m message.Message) {
	if !r.settle() {
		return
	}
	e := message.Envelope{Kind: message.KindReply, Call: r.env.Call, Trace: r.env.Trace}
	if err := r.host.conn.QueueMessage(&e, m); err == nil {
		r.host.conn.Flush()
	}
}

// Fail implements message.Request.
func (r *request) Fail(code message.Code, detail string) {
	if !r.settle() {
		return
	}
	e := message.Envelope{Kind: message.KindFailure, Call: r.env.Call, Trace: r.env.Trace, Code: code, Detail: detail[:min(len(detail), frame.MaxDetail)]}
	if err := r.host.conn.Queue(&e); err == nil {
		r.host.conn.Flush()
	}
}

// settle reports false for a second answer, and for one to a notice.
func (r *request) settle() bool {
	if r.env.Kind == message.KindNotice || !r.answered.CompareAndSwap(false, true) {
		return false
	}
	if r.cancel != nil {
		r.cancel()
	}
	return true
}

// describe is what an SFU is told of a service.
func describe(d *message.ServiceDescriptor) enginepb.ServiceDescription {
	out := enginepb.ServiceDescription{Number: uint32(d.Number), Name: d.Name, Policy: uint32(d.Policy)}
	for _, m := range d.Methods {
		out.Methods = append(out.Methods, enginepb.MethodDescription{Number: uint32(m.Number), Name: m.Name, Lane: uint32(m.Lane),
			Idempotent: m.Idempotent, Notice: m.Notice, Sensitive: m.Sensitive, MaxBytes: m.MaxBytes, Request: m.Request, Reply: m.Reply})
	}
	return out
}
