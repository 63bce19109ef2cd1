package gateway

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/message/token"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// stage is an engine.Host whose clock stands still and whose calls are kept until
// the test answers them.
type stage struct {
	engine.Host // what is not there is not called

	mu    sync.Mutex
	now   time.Duration
	calls []engine.Call
	log   *slog.Logger
}

func (s *stage) SFU() uint16 { return 1 }
func (s *stage) Log() *slog.Logger {
	return s.log
}
func (s *stage) Now() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}
func (s *stage) Service(uint16) *message.ServiceDescriptor { return nil }
func (s *stage) Call(c engine.Call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
}

// scene is a gateway without goroutines: the test sends batches and lets time pass.
type scene struct {
	t testing.TB
	g *Gateway
	h *stage
	u *user
}

func newScene(t testing.TB) *scene {
	t.Helper()
	tokens, err := token.NewKeyring([16]byte{}, make([]byte, token.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	g, err := New(Config{
		Listen:      func() ([]net.Listener, error) { return nil, nil },
		Certificate: func() (*tls.Certificate, error) { return nil, nil },
		Tokens:      tokens, Wall: func() int64 { return 1_000_000 }, Window: 10_000,
	})
	if err != nil {
		t.Fatal(err)
	}
	h := &stage{now: time.Hour, log: slog.New(slog.DiscardHandler)}
	if err := g.Provision(h); err != nil {
		t.Fatal(err)
	}
	return &scene{t: t, g: g, h: h, u: &user{number: 7}}
}

// client returns a connection of the gateway and the client's end of it.
func (s *scene) client() (*conn, *frame.Conn) {
	s.t.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		s.t.Fatal(err)
	}
	ends := make([]*frame.Conn, 2)
	for i, fd := range fds {
		f := os.NewFile(uintptr(fd), "socketpair")
		raw, err := net.FileConn(f)
		f.Close()
		if err != nil {
			s.t.Fatal(err)
		}
		if ends[i], err = frame.Server(context.Background(), raw, nil, frame.Limits{Frame: 1 << 20, Backlog: maxBacklog, Stall: time.Second}); err != nil {
			s.t.Fatal(err)
		}
		s.t.Cleanup(ends[i].Close)
	}
	return &conn{g: s.g, fc: ends[0], address: "test"}, ends[1]
}

// submit submits the transaction with that id, as the client's request call.
func (s *scene) submit(c *conn, call uint64, remaining time.Duration) {
	s.t.Helper()
	s.g.counters.requests.Add(1)
	c.submit(&message.Envelope{Call: call, RemainingMillis: uint32(remaining.Milliseconds()),
		Body: message.Marshal(&txnpb.Transaction{Id: u128.From64(call)})}, &session{user: s.u, role: message.RoleClient}, s.h.Now())
}

// send does what the sender goroutine would, and returns the calls made.
func (s *scene) send() []engine.Call {
	q := s.g.queue
	for {
		q.mu.Lock()
		var b *batch
		if len(q.flying) < maxInFlight {
			b = q.nextLocked()
		}
		q.mu.Unlock()
		if b == nil {
			return s.calls()
		}
		q.call(b)
	}
}

func (s *scene) calls() []engine.Call {
	s.h.mu.Lock()
	defer s.h.mu.Unlock()
	c := s.h.calls
	s.h.calls = nil
	return c
}

// pass lets time pass, tick by tick.
func (s *scene) pass(d time.Duration) {
	for ; d > 0; d -= expiryTick {
		s.h.mu.Lock()
		s.h.now += expiryTick
		s.h.mu.Unlock()
		s.g.queue.tick(s.h.Now())
	}
}

// ids returns the ids in a call's batch.
func ids(t testing.TB, c engine.Call) string {
	t.Helper()
	var in txnpb.SubmitBatch
	if err := in.Parse(c.Body); err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, sub := range in.Submissions {
		var tx txnpb.Transaction
		if err := tx.Parse(sub.Transaction); err != nil {
			t.Fatal(err)
		}
		if sub.Principal != 7 || sub.Role != uint32(message.RoleClient) {
			t.Fatalf("on behalf of %d with role %d", sub.Principal, sub.Role)
		}
		list = append(list, tx.Id.String())
	}
	return strings.Join(list, " ")
}

// commit answers a call: each of its transactions with the state that is given for
// its id, COMMITTED otherwise.
func commit(t testing.TB, c engine.Call, states map[uint64]txnpb.State) {
	t.Helper()
	var in txnpb.SubmitBatch
	if err := in.Parse(c.Body); err != nil {
		t.Fatal(err)
	}
	out := &txnpb.Outcomes{}
	for _, sub := range in.Submissions {
		var tx txnpb.Transaction
		if err := tx.Parse(sub.Transaction); err != nil {
			t.Fatal(err)
		}
		o := txnpb.Outcome{Id: tx.Id, State: txnpb.StateCommitted, Csn: tx.Id.Lo, Results: &txnpb.Results{Timestamp: 5_000_000, Count: 1}}
		if s, ok := states[tx.Id.Lo]; ok {
			o = txnpb.Outcome{Id: tx.Id, State: s}
		}
		out.Outcomes = append(out.Outcomes, o)
	}
	c.Done(engine.Reply{Body: message.Marshal(out)})
}

// hears takes n answers off the client's end, as "call:state" or "call:failure".
func hears(t testing.TB, client *frame.Conn, n int) string {
	t.Helper()
	var list []string
	for range n {
		client.SetReadDeadline(time.Now().Add(5 * time.Second))
		b, err := client.Next()
		if err != nil {
			t.Fatalf("after %v: %v", list, err)
		}
		var e message.Envelope
		if err := e.Parse(b); err != nil {
			t.Fatal(err)
		}
		if e.Kind == message.KindFailure {
			list = append(list, fmt.Sprintf("%d:%v", e.Call, e.Code))
			continue
		}
		var o txnpb.Outcome
		if err := o.Parse(e.Body); err != nil {
			t.Fatal(err)
		}
		if o.Id != u128.From64(e.Call) {
			t.Fatalf("call %d got the outcome of transaction %v", e.Call, o.Id)
		}
		list = append(list, fmt.Sprintf("%d:%v", e.Call, o.State))
	}
	return strings.Join(list, " ")
}

func (s *scene) silent(client *frame.Conn) {
	s.t.Helper()
	client.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	if b, err := client.Next(); err == nil {
		s.t.Fatalf("an answer came: %x", b)
	}
}

func equal(t testing.TB, what, got, want string) {
	t.Helper()
	if got != want {
		t.Fatalf("%s: got %q, want %q", what, got, want)
	}
}

// empty checks that nothing is charged to anybody any more.
func (s *scene) empty(conns ...*conn) {
	s.t.Helper()
	q := s.g.queue
	if q.count.Load() != 0 || q.bytes != 0 || len(q.flying)+len(q.resting)+len(q.again)+len(q.filling) != 0 || s.u.inFlight.Load() != 0 {
		s.t.Fatalf("left behind: %d transactions, %d bytes, %d+%d+%d+%d batches, %d of the user", q.count.Load(), q.bytes,
			len(q.flying), len(q.resting), len(q.again), len(q.filling), s.u.inFlight.Load())
	}
	for _, c := range conns {
		if c.inFlight.Load() != 0 || c.bytes.Load() != 0 {
			s.t.Fatalf("left behind at a connection: %d requests, %d bytes", c.inFlight.Load(), c.bytes.Load())
		}
	}
}
