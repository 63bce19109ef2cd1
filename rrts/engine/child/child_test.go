package child_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/alarm/alarmtest"
	"virtualservicesinc.com/rrts/engine/child"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/schema/childpb"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/site"
)

// TestMain: the test's own program is also what becomes a child, and the children.
func TestMain(m *testing.M) {
	child.Become()
	if len(os.Args) == 2 && os.Args[1] == "execute" {
		c, err := net.FileConn(os.Stdin)
		if err == nil {
			err = child.Execute(c.(*net.UnixConn))
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	if len(os.Args) == 2 && children[os.Args[1]] != nil {
		children[os.Args[1]]()
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// The service of the tests' children, and one of the engine's own side.
const (
	echoService = 1000
	bankService = 2
)

var echo = &message.ServiceDescriptor{Number: echoService, Name: "Echo", Policy: message.PolicyAny, Methods: []message.MethodDescriptor{
	{Number: 1, Name: "Say", Lane: message.LaneRequest, Idempotent: true, MaxBytes: 1 << 20},
	{Number: 2, Name: "Once", Lane: message.LaneRequest, MaxBytes: 1 << 20},
	{Number: 3, Name: "Ask", Lane: message.LaneRequest, Idempotent: true, MaxBytes: 1 << 20},
	{Number: 4, Name: "Tell", Lane: message.LaneRequest, Notice: true, MaxBytes: 1 << 20},
}}

// bank stands for what a child may call, or not.
var bank = &message.ServiceDescriptor{Number: bankService, Name: "Bank", Policy: message.PolicyAny, Methods: []message.MethodDescriptor{
	{Number: 1, Name: "Look", Lane: message.LaneRequest, Idempotent: true, MaxBytes: 1 << 20},
	{Number: 2, Name: "Rob", Lane: message.LaneRequest, MaxBytes: 1 << 20},
}}

// text is a message that is its own encoding.
type text string

func (t *text) AppendTo(b []byte) []byte { return append(b, *t...) }
func (t *text) Size() int                { return len(*t) }
func (t *text) Parse(b []byte) error     { *t = text(b); return nil }

// children are the programs of the tests, by their one argument.
var children = map[string]func(){
	"echo":   func() { site.Main("echo 1", serveEcho) },
	"silent": func() { time.Sleep(time.Hour) },
	"dumb":   func() { fmt.Fprintln(os.Stderr, "<3>no licence was found"); os.Exit(3) },
	"stubborn": func() { // ends neither with the stream nor by SIGTERM
		go site.Run("stubborn", serveEcho)
		ignore := make(chan os.Signal, 1)
		notify(ignore)
		select {}
	},
	"foreign": func() {
		site.Main("foreign", func(h *site.Host) error {
			h.Answer(&message.ServiceDescriptor{Number: 1001, Name: "Other", Methods: echo.Methods[:1]}, nil)
			return nil
		})
	},
	"garbage": func() {
		c, err := net.FileConn(os.NewFile(3, "socket"))
		if err == nil {
			c.Write([]byte{0xff, 0xff, 0xff, 0xff})
		}
		select {}
	},
}

func serveEcho(h *site.Host) error {
	h.OnDrain(func(context.Context) { fmt.Fprintln(os.Stderr, "drained") })
	h.Answer(echo, func(r message.Request) {
		e := r.Envelope()
		body := string(e.Body)
		reply := func(s string) { t := text(s); r.Reply(&t) }
		switch {
		case e.Method == 4:
			fmt.Fprintln(os.Stderr, "told", body)
		case body == "die":
			os.Exit(4)
		case body == "hang":
		case body == "stop":
			syscall.Kill(os.Getpid(), syscall.SIGSTOP)
		case body == "who":
			limit := func(n int) uint64 { var l syscall.Rlimit; syscall.Getrlimit(n, &l); return l.Max }
			status, _ := os.ReadFile("/proc/self/status")
			var caps []string
			for line := range strings.Lines(string(status)) {
				for _, p := range []string{"CapEff", "CapPrm", "CapAmb", "NoNewPrivs", "Groups"} {
					if strings.HasPrefix(line, p) {
						caps = append(caps, strings.Join(strings.Fields(line), ""))
					}
				}
			}
			fds, _ := os.ReadDir("/proc/self/fd")
			var strange []string // descriptors other than its own and its runtime's
			for _, fd := range fds {
				to, err := os.Readlink("/proc/self/fd/" + fd.Name())
				own := slices.ContainsFunc([]string{"pipe:", "socket:", "anon_inode:", "/dev/null", "/proc/", "/sys/fs/cgroup/"}, func(p string) bool { return strings.HasPrefix(to, p) })
				if err == nil && !own {
					strange = append(strange, to)
				}
			}
			reply(fmt.Sprintf("%s as %v of %s on %d, uid %d, files %d, processes %d, data %d, core %d, open %v, %v, %v", h.Name(), e.Principal, h.SFUName(), h.SFU(), os.Getuid(),
				limit(syscall.RLIMIT_NOFILE), limit(6), limit(syscall.RLIMIT_DATA), limit(syscall.RLIMIT_CORE), strange, caps, os.Environ()))
		case body == "alarm":
			h.Alarm("stock-low", site.Warning, "3 left")
			reply("raised")
		case body == "calm":
			h.ClearAlarm("stock-low")
			reply("cleared")
		case e.Method == 3: // calls the bank: "Look own", "Rob own", "Look for", "Look 99"
			method, name, _ := strings.Cut(body, " ")
			c := h.For(r)
			switch name {
			case "own":
				c = h.Own()
			case "99":
				other := &stranger{Request: r}
				c = h.For(other)
			}
			n := slices.IndexFunc(bank.Methods, func(m message.MethodDescriptor) bool { return m.Name == method })
			out, err := c.Call(site.Context(r), &bank.Methods[n], bankService, []byte("please"))
			if err != nil {
				reply(err.Error())
				return
			}
			reply(string(out))
		default:
			reply(body)
		}
	})
	return nil
}

// stranger is a request as if it had come from user 99.
type stranger struct{ message.Request }

func (s *stranger) Envelope() *message.Envelope { return &message.Envelope{Principal: 99} }

// stage is an engine with one child, and somebody who calls it.
type stage struct {
	*engine.Engine
	t      testing.TB
	log    *book
	alarms *book
	saw    alarmtest.Record
	cancel context.CancelFunc
	done   chan error
	host   engine.Host
}

// book is text that can be waited for.
type book struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *book) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *book) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// bankComponent answers the bank.
type bankComponent struct{ s *stage }

func (b bankComponent) Name() string                    { return "bank" }
func (b bankComponent) Services() []engine.Service      { return []engine.Service{{Descriptor: bank}} }
func (b bankComponent) Provision(h engine.Host) error   { b.s.host = h; return nil }
func (b bankComponent) Validate() error                 { return nil }
func (b bankComponent) Start(context.Context) error     { b.s.host.Ready(true); return nil }
func (b bankComponent) Drain(ctx context.Context) error { return nil }
func (b bankComponent) Stop()                           {}
func (b bankComponent) Serve(batch []message.Request) {
	for _, r := range batch {
		e := r.Envelope()
		t := text(fmt.Sprintf("%s for %d with role %d", e.Body, e.Principal, e.Role))
		r.Reply(&t)
	}
}

// executable is where users without rights find this program.
var executable = sync.OnceValues(func() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	b, err := os.ReadFile(self)
	if err != nil {
		return "", err
	}
	dir, err := os.MkdirTemp("", "rrts-child-")
	if err != nil {
		return "", err
	}
	name := filepath.Join(dir, "child")
	return name, errors.Join(os.Chmod(dir, 0o755), os.WriteFile(name, b, 0o755))
})

func newStage(t testing.TB, kind string, adjust ...func(*child.Config, *child.Program)) *stage {
	t.Helper()
	path, err := executable()
	if err != nil {
		t.Fatal(err)
	}
	s := &stage{t: t, log: &book{}, alarms: &book{}, done: make(chan error, 1)}
	log := slog.New(slog.NewTextHandler(s.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	registry, err := message.NewRegistry(&enginepb.Schema, &message.Schema{File: "test", Services: []*message.ServiceDescriptor{bank}})
	if err != nil {
		t.Fatal(err)
	}
	s.Engine, err = engine.New(engine.Config{SFU: 7, Name: "alpha", Registry: registry, Incarnation: 1, Log: log, DrainWithin: 15 * time.Second,
		OnAlarm: func(a engine.AlarmEvent) {
			if a.Cleared {
				s.saw.End(a.Name)
			} else {
				s.saw.Raise(a.Name)
			}
			fmt.Fprintf(s.alarms, "%v %s %s cleared=%v\n", a.Severity, a.Name, a.Detail, a.Cleared)
		}})
	if err != nil {
		t.Fatal(err)
	}
	user, err := child.FindUser(child.UserDynamic, "shop")
	if err != nil {
		t.Fatal(err)
	}
	if os.Getuid() != 0 {
		user = nil
	}
	program := child.Program{Name: "shop", Executable: path, Arguments: []string{kind}, User: user, Log: log.With("component", "shop"),
		Limits: child.Limits{Memory: memory, Files: 64, Processes: 128, Nice: 5}}
	cfg := child.Config{Name: "shop", SFUName: "alpha", Principal: 500, Role: message.RoleClient,
		Services: []child.Grant{{Number: echoService, Clients: map[string]message.Roles{"Say": message.RoleSet(message.RoleClient)}}},
		Calls:    []string{"Bank.Look"}, Heartbeat: 50 * time.Millisecond, Silent: 20 * time.Second, StartWithin: 30 * time.Second}
	cfg.Launch = program.Start
	for _, f := range adjust {
		f(&cfg, &program)
	}
	if err := s.Add(func() (engine.Component, error) { return bankComponent{s}, nil }); err != nil {
		t.Fatal(err)
	}
	if err := s.AddApart(func() (engine.Component, error) { return child.New(cfg) }); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	go func() { s.done <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-s.done; err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log:\n%s\nalarms:\n%s", s.log, s.alarms)
		}
	})
	wait, end := context.WithTimeout(ctx, 30*time.Second)
	defer end()
	if err := s.WaitReady(wait); err != nil { // whatever becomes of the child
		t.Fatal(err)
	}
	return s
}

// ask calls the child for user 42.
func (s *stage) ask(method uint16, body string) (string, error) {
	s.t.Helper()
	done := make(chan engine.Reply, 1)
	s.host.Call(engine.Call{Service: echoService, Method: method, Principal: 42, Role: message.RoleAuditor, Timeout: 30 * time.Second,
		Body: []byte(body), Done: func(r engine.Reply) { done <- r }})
	r := <-done
	return string(r.Body), r.Err()
}

// present waits until the child's service is known.
func (s *stage) present() *stage {
	s.t.Helper()
	within(s.t, "the child says Hello", func() bool { return s.host.Service(echoService) != nil })
	return s
}

func (s *stage) expect(method uint16, body, want string) {
	s.t.Helper()
	if got, err := s.ask(method, body); err != nil || got != want {
		s.t.Errorf("%s: got %q, %v, want %q", body, got, err, want)
	}
}

func within(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(40 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("%s: it does not happen", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func codeOf(err error) message.Code {
	var e *message.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return message.OK
}

// TestCalls: requests, notices and calls of its own go both ways, in whose name they may
// and to what is granted.
func TestCalls(t *testing.T) {
	s := newStage(t, "echo").present()
	s.expect(1, "hello", "hello")
	s.expect(3, "Look own", "please for 500 with role 1")
	s.expect(3, "Look for", "please for 42 with role 3")
	s.expect(3, "Look 99", "denied: child: shop has no request of user 99 at hand, so it cannot call in that name")
	s.expect(3, "Rob own", "denied: child: shop may not call Bank.Rob: add it to calls in the component's file")
	if err := s.host.Notify(engine.Notice{Service: echoService, Method: 4, Body: []byte("news")}); err != nil {
		t.Error(err)
	}
	within(t, "the notice arrives", func() bool { return strings.Contains(s.log.String(), "told news") })
	if m := s.host.Service(echoService).Method(1); !m.Clients.Has(message.RoleClient) || m.Clients.Has(message.RoleOperator) || !m.Idempotent {
		t.Errorf("%+v", m)
	}
	if m := s.host.Service(echoService).Method(2); m.Clients != 0 {
		t.Errorf("clients may call what nobody granted: %+v", m)
	}
	const many = 200 // in flight together
	done := make(chan engine.Reply, many)
	for i := range many {
		s.host.Call(engine.Call{Service: echoService, Method: 1, Body: fmt.Append(nil, i), Done: func(r engine.Reply) { done <- r }})
	}
	for range many {
		if r := <-done; r.Err() != nil {
			t.Fatal(r.Err())
		}
	}
}

// TestConfined: a child has limits, no privileges, and nothing of the engine.
func TestConfined(t *testing.T) {
	t.Setenv("RRTS_SECRET", "do not tell")
	s := newStage(t, "echo").present()
	got, err := s.ask(1, "who")
	if err != nil {
		t.Fatal(err)
	}
	uid := os.Getuid()
	if uid == 0 {
		u, err := child.FindUser(child.UserDynamic, "shop")
		if err != nil {
			t.Fatal(err)
		}
		uid = int(u.UID)
	}
	for _, want := range []string{"shop as 42 of alpha on 7", fmt.Sprintf("uid %d,", uid), fmt.Sprintf("files 64, processes 128, data %d, core 0, open []", uint64(dataLimit)),
		"CapEff:0000000000000000", "CapPrm:0000000000000000", "CapAmb:0000000000000000", "NoNewPrivs:1", "RRTS_COMPONENT=shop"} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in %q", want, got)
		}
	}
	if strings.Contains(got, "do not tell") {
		t.Errorf("the engine's environment is the child's: %q", got)
	}
}

// TestCrash: the death of a child is its own: requests that may be given again are, others
// have an unknown outcome, and one that kills thrice is put aside.
func TestCrash(t *testing.T) {
	s := newStage(t, "echo").present()
	if _, err := s.ask(2, "die"); codeOf(err) != message.Unknown {
		t.Errorf("a request that may not be given again: %v", err)
	}
	s.expect(1, "hello", "hello") // by the next child
	if _, err := s.ask(1, "die"); codeOf(err) != message.Quarantined {
		t.Errorf("a request that kills: %v", err)
	}
	s.expect(1, "again", "again")
	if held, err := s.Quarantine(); err != nil || len(held) != 1 || held[0].Component != "shop" {
		t.Errorf("quarantine: %v, %v", held, err)
	}
	if !strings.Contains(s.alarms.String(), "component-failed@shop exit status 4") {
		t.Errorf("alarms:\n%s", s.alarms)
	}
	for _, c := range s.Status().Components {
		if c.Name == "bank" && c.Restarts != 0 {
			t.Error("another Component went down with it")
		}
	}
}

// TestHeartbeat: a child that shows no life is killed and started again.
func TestHeartbeat(t *testing.T) {
	s := newStage(t, "echo", func(c *child.Config, _ *child.Program) { c.Silent = time.Second }).present()
	if _, err := s.ask(2, "stop"); codeOf(err) != message.Unknown {
		t.Errorf("a request to a stopped child: %v", err)
	}
	s.expect(1, "hello", "hello")
	if !strings.Contains(s.alarms.String(), "no heartbeat of child") {
		t.Errorf("alarms:\n%s", s.alarms)
	}
}

// TestRefusals: what a child may not do is its end, with a reason.
func TestRefusals(t *testing.T) {
	for kind, want := range map[string]string{
		"foreign": "service 1001 (Other) is not granted",
		"garbage": "breach of the protocol: frame: malformed",
		"dumb":    "exit status 3: no licence was found",
		"silent":  "did not say Hello within 200ms",
	} {
		t.Run(kind, func(t *testing.T) {
			s := newStage(t, kind, func(c *child.Config, _ *child.Program) {
				if kind == "silent" {
					c.StartWithin = 200 * time.Millisecond
				}
			})
			within(t, "the alarm", func() bool { return strings.Contains(s.alarms.String(), want) })
		})
	}
	t.Run("missing", func(t *testing.T) {
		s := newStage(t, "echo", func(_ *child.Config, p *child.Program) { p.Executable = "/nonexistent/program" })
		within(t, "the alarm", func() bool { return strings.Contains(s.alarms.String(), "/nonexistent/program: no such file") })
	})
}

// TestAlarm: site-alarm, raised and cleared by a child, and by its end.
func TestAlarm(t *testing.T) {
	s := newStage(t, "echo").present()
	s.expect(1, "alarm", "raised")
	within(t, "the alarm", func() bool {
		return strings.Contains(s.alarms.String(), "warning site-alarm@shop/stock-low 3 left cleared=false")
	})
	s.expect(1, "calm", "cleared")
	within(t, "its end", func() bool {
		return strings.Contains(s.alarms.String(), "site-alarm@shop/stock-low 3 left cleared=true")
	})
	s.expect(1, "alarm", "raised")
	s.ask(2, "die")
	within(t, "its end with the child", func() bool {
		return strings.Count(s.alarms.String(), "site-alarm@shop/stock-low 3 left cleared=true") == 2
	})
	s.saw.Proves(t)
}

// TestDrain: a child finishes what it has before it is stopped, and one that will not
// go is killed.
func TestDrain(t *testing.T) {
	s := newStage(t, "echo").present()
	s.expect(1, "hello", "hello")
	s.cancel()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	s.done <- nil
	if !strings.Contains(s.log.String(), "drained") {
		t.Errorf("the child was not told to drain:\n%s", s.log)
	}
	s = newStage(t, "stubborn").present()
	s.cancel()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	s.done <- nil
}

// TestBounds: what a child has in flight is bounded, and it cannot keep what it never
// answers.
func TestBounds(t *testing.T) {
	s := newStage(t, "echo", func(c *child.Config, _ *child.Program) { c.InFlight = 2 }).present()
	s.expect(1, "hello", "hello")
	done := make(chan engine.Reply, 3)
	for range 3 {
		s.host.Call(engine.Call{Service: echoService, Method: 1, Timeout: time.Second, Body: []byte("hang"), Done: func(r engine.Reply) { done <- r }})
	}
	var codes []message.Code
	for range 3 {
		codes = append(codes, (<-done).Code)
	}
	slices.Sort(codes)
	if !slices.Equal(codes, []message.Code{message.Overloaded, message.Expired, message.Expired}) {
		t.Errorf("three requests where two fit: %v", codes)
	}
	within(t, "there is room again", func() bool { got, _ := s.ask(1, "hello"); return got == "hello" })
}

// TestConfig: every fault is named at once.
func TestConfig(t *testing.T) {
	_, err := child.New(child.Config{InFlight: -1, Heartbeat: time.Second, Silent: time.Second, Services: []child.Grant{{Number: 999}}})
	for _, want := range []string{"Name", "Launch", "InFlight", "Silent", "service 999"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s is not named: %v", want, err)
		}
	}
}

// FuzzChild: whatever a child says, the engine neither panics nor hangs.
func FuzzChild(f *testing.F) {
	hello := message.Marshal(&childpb.HelloRequest{Protocol: 1, Services: []enginepb.ServiceDescription{*engine.Describe(echo)}})
	start := frame.Append(nil, &message.Envelope{Kind: message.KindRequest, Service: childpb.ChildService, Method: childpb.ChildHelloMethod, Call: 1, Body: hello})
	f.Add(start)
	f.Add(frame.Append(slices.Clone(start), &message.Envelope{Kind: message.KindNotice, Service: childpb.ChildService, Method: childpb.ChildBecameMethod, Body: message.Marshal(&childpb.State{Ready: true})}))
	f.Add(frame.Append(slices.Clone(start), &message.Envelope{Kind: message.KindRequest, Service: bankService, Method: 1, Call: 9, Principal: 42}))
	f.Add(frame.Append(slices.Clone(start), &message.Envelope{Kind: message.KindFailure, Call: 1, Code: 99, Detail: "x"}))
	f.Fuzz(func(t *testing.T, said []byte) {
		p := newMouth(t, said)
		c, err := child.New(child.Config{Name: "shop", Launch: func() (child.Process, error) { return p, nil }, Services: []child.Grant{{Number: echoService}}, Calls: []string{"Bank.*"}})
		if err != nil {
			t.Fatal(err)
		}
		h := &quietHost{failed: make(chan string, 1)}
		if err := c.Provision(h); err != nil {
			t.Fatal(err)
		}
		if err := c.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		<-h.failed // the stream has ended
		c.Stop()
		h.running.Wait()
	})
}

// TestCommission: what another process runs for the SFU is like what it runs itself:
// calls, the reason of its end, a new start, and a stop that is obeyed or enforced.
func TestCommission(t *testing.T) {
	socket := listener(t)
	launch := func(c *child.Config, p *child.Program) {
		p.User = nil
		c.Launch = func() (child.Process, error) { return p.Commission(socket) }
	}
	s := newStage(t, "echo", launch).present()
	s.expect(1, "hello", "hello")
	if got, err := s.ask(1, "who"); err != nil || !strings.Contains(got, "CapEff:0000000000000000") || !strings.Contains(got, "NoNewPrivs:1") || !strings.Contains(got, "files 64,") {
		t.Errorf("%q, %v", got, err)
	}
	if _, err := s.ask(2, "die"); codeOf(err) != message.Unknown {
		t.Error(err)
	}
	s.expect(1, "again", "again")
	if !strings.Contains(s.alarms.String(), "component-failed@shop exit status 4") {
		t.Errorf("alarms:\n%s", s.alarms)
	}
	s.cancel()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	s.done <- nil
	if !strings.Contains(s.log.String(), "drained") {
		t.Errorf("what it wrote is not in the log:\n%s", s.log)
	}
	s = newStage(t, "stubborn", launch).present()
	s.cancel()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	s.done <- nil
	socket = "/nonexistent/socket"
	s = newStage(t, "echo", launch)
	within(t, "the alarm", func() bool { return strings.Contains(s.alarms.String(), "systemctl start rrts-component.socket") })
}

// listener does what rrts-component.socket does: a process for each connection.
func listener(t *testing.T) string {
	path := filepath.Join(t.TempDir(), "component.sock")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	self, err := executable()
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() {
		for {
			c, err := l.AcceptUnix()
			if err != nil {
				return
			}
			f, err := c.File()
			c.Close()
			if err != nil {
				t.Error(err)
				return
			}
			cmd := exec.Command(self, "execute")
			cmd.Stdin, cmd.Stderr = f, os.Stderr
			running.Go(func() {
				defer f.Close()
				if err := cmd.Run(); err != nil {
					t.Error(err)
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); running.Wait() })
	return path
}

// TestOrders: what is no order runs nothing.
func TestOrders(t *testing.T) {
	for _, text := range []string{"", "{}\n", "nonsense\n", strings.Repeat("x", 200<<10)} {
		path := filepath.Join(t.TempDir(), "s")
		l, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
		if err != nil {
			t.Fatal(err)
		}
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.AcceptUnix()
		if err != nil {
			t.Fatal(err)
		}
		go func() {
			c.Write([]byte(text))
			c.(*net.UnixConn).CloseWrite()
		}()
		if err := child.Execute(server); err == nil || !strings.Contains(err.Error(), "child: malformed order") {
			t.Errorf("%.20q: %v", text, err)
		}
		c.Close()
		l.Close()
	}
}
