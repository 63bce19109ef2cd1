package site

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/schema/childpb"
)

const (
	// maxFrame is the longest frame either way: package rrts/engine/child says so.
	maxFrame = 16<<20 + frame.Overhead
	// backlog bounds what waits for an SFU that does not read, in bytes: two longest
	// frames. An SFU that stands still for longer than stall is gone.
	backlog = 2 * maxFrame
	stall   = 30 * time.Second
	// greetWithin bounds the wait for the SFU's answer to Hello.
	greetWithin = 10 * time.Second
	// protocol is the newest version that this package speaks.
	protocol = 1
)

// ErrStopped says that the SFU has ended the connection: the program is to end.
var ErrStopped = errors.New("site: the SFU has ended the connection")

// Host is the SFU as a Component sees it. Any goroutine may use it.
type Host struct {
	conn  *frame.Conn
	hello childpb.HelloReply
	ctx   context.Context // ends with the connection
	end   context.CancelFunc

	answers map[uint16]answer // fixed before Hello
	drain   func(context.Context)

	mu      sync.Mutex
	number  uint64
	pending map[uint64]chan message.Envelope // calls without an answer; closed at the end
	err     error                            // why there are no more
}

// answer is one service that the Component answers.
type answer struct {
	desc  *message.ServiceDescriptor
	serve func(message.Request)
}

// Main runs a Component and ends the process: with status 0 when the SFU has stopped it,
// and 1 after an error, which it writes to the standard error first. agent is what
// people are shown: name and version. setup is called before the SFU is told what the
// Component answers; it calls Host.Answer for each service.
func Main(agent string, setup func(*Host) error) {
	if err := Run(agent, setup); err != nil {
		fmt.Fprintf(os.Stderr, "<3>%v\n", err)
		os.Exit(1)
	}
}

// Run is Main for a program that has something to do afterwards.
func Run(agent string, setup func(*Host) error) error {
	fd, err := strconv.ParseUint(os.Getenv("RRTS_SOCKET"), 10, 16)
	if err != nil {
		return errors.New("site: RRTS_SOCKET is not set: this program is started by an SFU, as a file in /etc/rrts/components.d says")
	}
	f := os.NewFile(uintptr(fd), "rrts")
	raw, err := net.FileConn(f)
	f.Close()
	if err != nil {
		return fmt.Errorf("site: RRTS_SOCKET: %w", err)
	}
	return Serve(raw, agent, setup)
}

// Serve is Run on a socket that the caller has.
func Serve(raw net.Conn, agent string, setup func(*Host) error) error {
	h := &Host{answers: make(map[uint16]answer), pending: make(map[uint64]chan message.Envelope)}
	h.ctx, h.end = context.WithCancel(context.Background())
	defer h.end()
	var err error
	if h.conn, err = frame.Client(h.ctx, raw, nil, frame.Limits{Frame: maxFrame, Backlog: backlog, Stall: stall}); err != nil {
		return err
	}
	defer h.conn.Close()
	if err := setup(h); err != nil {
		return err
	}
	if err := h.greet(agent); err != nil {
		return err
	}
	h.Ready(true)
	err = h.read()
	h.ended(err)
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}

// Answer makes the Component answer a service: serve is called for each request, on a
// goroutine of its own, and gives it to the generated ServeX. It must be called in setup.
func (h *Host) Answer(desc *message.ServiceDescriptor, serve func(message.Request)) {
	h.answers[desc.Number] = answer{desc, serve}
}

// OnDrain makes f be called when the SFU stops, to finish what the Component does of its
// own accord; requests are waited for anyway. It must be called in setup.
func (h *Host) OnDrain(f func(ctx context.Context)) { h.drain = f }

// greet says Hello and takes the answer.
func (h *Host) greet(agent string) error {
	in := childpb.HelloRequest{Protocol: protocol, Agent: agent}
	for _, a := range h.answers {
		in.Services = append(in.Services, describe(a.desc))
	}
	h.conn.SetReadDeadline(time.Now().Add(greetWithin))
	e := message.Envelope{Kind: message.KindRequest, Service: childpb.ChildService, Method: childpb.ChildHelloMethod}
	if err := h.conn.QueueMessage(&e, &in); err != nil {
		return err
	}
	if err := h.conn.Flush(); err != nil {
		return err
	}
	b, err := h.conn.Next()
	if err != nil {
		return fmt.Errorf("site: no answer to Hello: %w", err)
	}
	h.conn.SetReadDeadline(time.Time{})
	var out message.Envelope
	if err := out.Parse(b); err != nil {
		return err
	}
	if out.Kind != message.KindReply {
		return fmt.Errorf("site: the SFU refuses: %w", &message.Error{Code: out.Code, Detail: out.Detail})
	}
	return h.hello.Parse(append([]byte(nil), out.Body...))
}

// Name is the Component's in the configuration, SFU the number and SFUName the name of
// the SFU that runs it. They are known once setup has returned.
func (h *Host) Name() string    { return h.hello.Component }
func (h *Host) SFU() uint16     { return uint16(h.hello.Sfu) }
func (h *Host) SFUName() string { return h.hello.SfuName }

// Context ends when the SFU has ended the connection.
func (h *Host) Context() context.Context { return h.ctx }

// Ready tells the SFU whether the Component can answer. It is told true after setup.
func (h *Host) Ready(ready bool) error {
	return h.tell(childpb.ChildBecameMethod, &childpb.State{Ready: ready})
}

// Severities of Alarm.
const (
	Info = iota
	Warning
	Critical
)

// Alarm raises the alarm site-alarm@NAME/subject at the SFU: subject is lower-case
// letters, digits and hyphens, detail one line for people.
func (h *Host) Alarm(subject string, severity uint32, detail string) error {
	return h.tell(childpb.ChildObserveMethod, &childpb.Condition{Subject: subject, Severity: severity, Detail: detail})
}

// ClearAlarm ends an alarm.
func (h *Host) ClearAlarm(subject string) error {
	return h.tell(childpb.ChildObserveMethod, &childpb.Condition{Subject: subject, Ended: true})
}

func (h *Host) tell(method uint16, m message.Message) error {
	e := message.Envelope{Kind: message.KindNotice, Service: childpb.ChildService, Method: method}
	if err := h.conn.QueueMessage(&e, m); err != nil {
		return err
	}
	return h.conn.Flush()
}

// read takes what the SFU says until the connection ends.
func (h *Host) read() error {
	for {
		b, err := h.conn.Next()
		if err != nil {
			return err
		}
		var e message.Envelope
		if err := e.Parse(b); err != nil {
			return err
		}
		e.Body = append([]byte(nil), e.Body...) // b is the reader's again
		switch e.Kind {
		case message.KindReply, message.KindFailure:
			h.mu.Lock()
			answer := h.pending[e.Call]
			delete(h.pending, e.Call)
			h.mu.Unlock()
			if answer != nil {
				answer <- e
			}
		case message.KindRequest, message.KindNotice:
			h.request(&e)
		}
		if !h.conn.Ready() {
			h.conn.Flush()
		}
	}
}

// request gives a request to who answers it.
func (h *Host) request(e *message.Envelope) {
	r := &request{host: h, env: *e}
	if e.Service == childpb.ChildService {
		switch e.Method {
		case childpb.ChildPingMethod:
			r.Reply(&childpb.PingReply{})
		case childpb.ChildDrainMethod:
			go h.drained(r)
		default:
			r.Fail(message.NoMethod, "site: no such method")
		}
		return
	}
	a, ok := h.answers[e.Service]
	if !ok {
		r.Fail(message.NoMethod, fmt.Sprintf("site: this component does not answer service %d", e.Service))
		return
	}
	var cancel context.CancelFunc
	r.ctx, cancel = h.ctx, func() {}
	if e.RemainingMillis != 0 {
		r.ctx, cancel = context.WithTimeout(h.ctx, time.Duration(e.RemainingMillis)*time.Millisecond)
	}
	r.cancel = cancel
	go func() {
		if e.Kind == message.KindNotice {
			defer cancel()
		}
		a.serve(r)
	}()
}

// drained finishes what the Component does of its own accord.
func (h *Host) drained(r *request) {
	if h.drain != nil {
		h.drain(h.ctx)
	}
	r.Reply(&childpb.DrainReply{})
}

// ended ends every call that still waits.
func (h *Host) ended(err error) {
	h.end()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.err = ErrStopped
	if err != nil && !errors.Is(err, io.EOF) {
		h.err = fmt.Errorf("%w: %w", ErrStopped, err)
	}
	for n, answer := range h.pending {
		close(answer)
		delete(h.pending, n)
	}
}
