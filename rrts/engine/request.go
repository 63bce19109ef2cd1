package engine

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/message"
)

// request is a request or notice on its way through a mailbox.
type request struct {
	env      message.Envelope
	engine   *Engine
	box      *mailbox // nil for the engine's own service
	service  *served
	method   int // index in service.desc.Methods
	arrived  time.Duration
	deadline time.Duration // 0 is none
	answered atomic.Bool
	maybe    atomic.Bool // an instance failed that had taken it: it may have been executed

	// Guarded by box.mu.
	held       bool
	prev, next *request // among the held
}

var _ message.Request = (*request)(nil)

func (r *request) notice() bool     { return r.env.Kind == message.KindNotice }
func (r *request) lane() int        { return int(r.descriptor().Lane) }
func (r *request) idempotent() bool { return r.descriptor().Idempotent }

func (r *request) descriptor() *message.MethodDescriptor {
	return &r.service.desc.Methods[r.method]
}

// Envelope implements message.Request.
func (r *request) Envelope() *message.Envelope { return &r.env }

// Reply implements message.Request.
func (r *request) Reply(m message.Message) { r.reply(m, !r.descriptor().Sensitive) }

// ReplyPlain is for message.Responder.
func (r *request) ReplyPlain(m message.Message) { r.reply(m, true) }

func (r *request) reply(m message.Message, plain bool) {
	if !r.settle() {
		return
	}
	if r.local() {
		r.engine.answer(r.env.Call, router.Reply{Body: m.AppendTo(make([]byte, 0, m.Size()))})
		return
	}
	head := r.answerHead(message.KindReply)
	size := m.Size()
	b := scratch.Get().(*[]byte)
	*b = m.AppendTo(head.AppendHeader((*b)[:0], size))
	r.engine.respond(r.env.From, r.descriptor().Lane, *b, plain)
	release(b)
}

// Fail implements message.Request.
func (r *request) Fail(code message.Code, detail string) {
	if !r.settle() {
		return
	}
	if r.maybe.Load() && code.NotExecuted() {
		detail = fmt.Sprintf("engine: an instance that failed may have executed it; the next answered %v: %s", code, detail)
		code = message.Unknown
	}
	r.refuse(code, detail)
}

// refuse answers without asking whether r was answered before.
func (r *request) refuse(code message.Code, detail string) {
	if r.notice() {
		return
	}
	if r.local() {
		r.engine.answer(r.env.Call, router.Reply{Code: code, Detail: detail})
		return
	}
	head := r.answerHead(message.KindFailure)
	head.Code, head.Detail = code, detail
	b := scratch.Get().(*[]byte)
	*b = head.AppendTo((*b)[:0])
	r.engine.respond(r.env.From, r.descriptor().Lane, *b, false)
	release(b)
}

// settle marks r as answered. It reports false for a second answer, and for one
// to a notice.
func (r *request) settle() bool {
	if r.notice() || !r.answered.CompareAndSwap(false, true) {
		return false
	}
	if r.box != nil {
		r.box.settled(r)
	}
	return true
}

func (r *request) local() bool { return r.env.From == r.engine.cfg.SFU }

func (r *request) answerHead(kind message.Kind) message.Envelope {
	return message.Envelope{Kind: kind, Call: r.env.Call, Trace: r.env.Trace, From: r.engine.cfg.SFU, To: r.env.From, Epoch: r.env.Epoch, Group: r.env.Group}
}

// scratch holds buffers for records on their way out.
var scratch = sync.Pool{New: func() any { return new([]byte) }}

func release(b *[]byte) {
	if cap(*b) <= maxScratch {
		scratch.Put(b)
	}
}
