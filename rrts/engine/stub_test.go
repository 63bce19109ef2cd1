package engine

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/engine/alarm/alarmtest"
	"virtualservicesinc.com/rrts/engine/quarantine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// The services of the tests. Method 1 is idempotent, 2 is not, 3 is a notice, 4 is
// idempotent on the control lane, 5 and the notice 6 are sensitive, 7 is a notice on the
// control lane.
const (
	echoService  = 1000 // any
	ownerService = 1001 // leader
	namedService = 1002
	newsService  = 1003 // all: notices only
)

func methods() []message.MethodDescriptor {
	return []message.MethodDescriptor{
		{Number: 1, Name: "Get", Lane: message.LaneRequest, Idempotent: true, MaxBytes: 1 << 20},
		{Number: 2, Name: "Pay", Lane: message.LaneRequest, MaxBytes: 1 << 20},
		{Number: 3, Name: "Tell", Lane: message.LaneCommit, Notice: true, MaxBytes: 1 << 20},
		{Number: 4, Name: "Urgent", Lane: message.LaneControl, Idempotent: true, MaxBytes: 1 << 20},
		{Number: 5, Name: "Confide", Lane: message.LaneRequest, Idempotent: true, Sensitive: true, MaxBytes: 1 << 20},
		{Number: 6, Name: "Whisper", Lane: message.LaneCommit, Notice: true, Sensitive: true, MaxBytes: 1 << 20},
		{Number: 7, Name: "Beat", Lane: message.LaneControl, Notice: true, MaxBytes: 1 << 20},
	}
}

var (
	echo  = &message.ServiceDescriptor{Number: echoService, Name: "Echo", Policy: message.PolicyAny, Methods: methods()}
	owner = &message.ServiceDescriptor{Number: ownerService, Name: "Owner", Policy: message.PolicyLeader, Methods: methods()}
	named = &message.ServiceDescriptor{Number: namedService, Name: "Named", Policy: message.PolicyNamed, Methods: methods()}
	news  = &message.ServiceDescriptor{Number: newsService, Name: "News", Policy: message.PolicyAll, Methods: methods()}
)

func registry(t testing.TB) *message.Registry {
	t.Helper()
	r, err := message.NewRegistry(&enginepb.Schema, &message.Schema{File: "test", Services: []*message.ServiceDescriptor{echo, owner, named, news}})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// raw is a message that is its own encoding.
type raw []byte

func (r *raw) AppendTo(b []byte) []byte { return append(b, *r...) }
func (r *raw) Size() int                { return len(*r) }
func (r *raw) Parse(b []byte) error     { *r = bytes.Clone(b); return nil }

// diary is what happened, in order.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) add(format string, a ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, a...))
}

func (d *diary) take() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	lines := d.lines
	d.lines = nil
	return lines
}

func (d *diary) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := d.take(); !slices.Equal(got, want) {
		t.Fatalf("got  %q\nwant %q", got, want)
	}
}

// stub is a Component whose parts a test can replace. By default it is ready at
// once and echoes.
type stub struct {
	name     string
	services []Service
	life     *diary // nil: nobody cares
	host     Host
	life1    int // which instance this is, from 1

	provision, validate, start, drain func(*stub) error
	serve                             func(*stub, message.Request)
	stop                              func(*stub)
	unready                           bool
}

func (s *stub) note(what string) {
	if s.life != nil {
		s.life.add("%s %s", s.name, what)
	}
}

func (s *stub) Name() string        { return s.name }
func (s *stub) Services() []Service { return s.services }

func (s *stub) Provision(h Host) error {
	s.host = h
	s.note("provision")
	return run(s, s.provision)
}

func (s *stub) Validate() error { s.note("validate"); return run(s, s.validate) }

func (s *stub) Start(context.Context) error {
	s.note("start")
	if err := run(s, s.start); err != nil {
		return err
	}
	s.host.Ready(!s.unready)
	return nil
}

func run(s *stub, f func(*stub) error) error {
	if f == nil {
		return nil
	}
	return f(s)
}

func (s *stub) Serve(batch []message.Request) {
	for _, r := range batch {
		if s.serve != nil {
			s.serve(s, r)
			continue
		}
		body := raw(r.Envelope().Body)
		r.Reply(&body)
	}
}

func (s *stub) Drain(context.Context) error { s.note("drain"); return run(s, s.drain) }

func (s *stub) Stop() {
	s.note("stop")
	if s.stop != nil {
		s.stop(s)
	}
}

var _ Component = (*stub)(nil)

// made returns a constructor of copies of s.
func made(s stub) func() (Component, error) {
	n := 0
	return func() (Component, error) {
		n++
		c := s
		c.life1 = n
		return &c, nil
	}
}

func provides(d *message.ServiceDescriptor) []Service { return []Service{{Descriptor: d}} }

// fixture is an Engine in a bubble of virtual time.
type fixture struct {
	*Engine
	t      *testing.T
	alarms *diary
	saw    alarmtest.Record
	cancel context.CancelFunc
	done   chan error
}

type option func(*Config)

func newFixture(t *testing.T, components []func() (Component, error), options ...option) *fixture {
	t.Helper()
	f := &fixture{t: t, alarms: &diary{}, done: make(chan error, 1)}
	cfg := Config{SFU: 1, Name: "one", Type: "all", Software: "test", Registry: registry(t), Incarnation: 1,
		Log: slog.New(slog.DiscardHandler), Quarantine: new(quarantine.Memory)}
	cfg.OnAlarm = func(a AlarmEvent) {
		if a.Cleared {
			f.saw.End(a.Name)
			f.alarms.add("clear %s", a.Name)
		} else {
			f.saw.Raise(a.Name)
			f.alarms.add("%v %s: %s", a.Severity, a.Name, a.Detail)
		}
	}
	for _, o := range options {
		o(&cfg)
	}
	var err error
	if f.Engine, err = New(cfg); err != nil {
		t.Fatal(err)
	}
	for _, c := range components {
		if err := f.Add(c); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

// begin runs the engine until it is ready.
func (f *fixture) begin() *fixture {
	ctx, cancel := context.WithCancel(context.Background())
	f.cancel = cancel
	go func() { f.done <- f.Run(ctx) }()
	synctest.Wait()
	return f
}

// end stops the engine and expects that Run returns like that.
func (f *fixture) end(want error) {
	f.t.Helper()
	f.cancel()
	if err := <-f.done; !errors.Is(err, want) {
		f.t.Fatalf("Run: %v, want %v", err, want)
	}
}

// ask calls and waits, as somebody outside of all Components.
func (f *fixture) ask(service, method, to uint16, body string) (Reply, time.Duration) {
	p := &pending{wait: make(chan Reply, 1)}
	begin := time.Now()
	f.call(p, &Call{Service: service, Method: method, Target: to, Body: []byte(body)})
	return <-p.wait, time.Since(begin)
}

// later asks without waiting.
func (f *fixture) later(service, method uint16, body string) <-chan Reply {
	p := &pending{wait: make(chan Reply, 1)}
	f.call(p, &Call{Service: service, Method: method, Body: []byte(body)})
	return p.wait
}

func (f *fixture) expect(r Reply, code message.Code, body string) {
	f.t.Helper()
	if r.Code != code || string(r.Body) != body {
		f.t.Fatalf("got %v %q (%s), want %v %q", r.Code, r.Body, r.Detail, code, body)
	}
}

func (f *fixture) state(name string) string {
	for _, c := range f.Status().Components {
		if c.Name == name {
			return c.State
		}
	}
	return "unknown"
}
