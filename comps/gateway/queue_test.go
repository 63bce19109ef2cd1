package gateway

import (
	"bytes"
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
		Body: message.Marshal(&txnpb.Transaction{Id: u128.From64(call)})}, message.RoleClient, s.u, s.h.Now())
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

func TestRequestsOfManyConnectionsShareABatch(t *testing.T) {
	s := newScene(t)
	a, atA := s.client()
	b, atB := s.client()
	s.submit(a, 1, 0)
	s.submit(b, 2, 0)
	s.submit(a, 3, 0)
	calls := s.send()
	if len(calls) != 1 {
		t.Fatalf("%d calls", len(calls))
	}
	equal(t, "batch", ids(t, calls[0]), "1 2 3")
	commit(t, calls[0], nil)
	equal(t, "a", hears(t, atA, 2), "1:committed 3:committed")
	equal(t, "b", hears(t, atB, 1), "2:committed")
	s.empty(a, b)
	if got := s.g.ledgerTime(); got != 5_000_000 {
		t.Errorf("ledger time %d, the outcomes say 5000000", got)
	}
}

// TestWhatArrivesMeanwhileIsTheNextBatch: no more than maxInFlight batches are on
// their way, and the next one takes all that came.
func TestWhatArrivesMeanwhileIsTheNextBatch(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	var calls []engine.Call
	for i := range uint64(maxInFlight) {
		s.submit(c, i+1, 0)
		calls = append(calls, s.send()...)
	}
	if len(calls) != maxInFlight {
		t.Fatalf("%d calls", len(calls))
	}
	for i := range uint64(5) {
		s.submit(c, 100+i, 0)
	}
	if more := s.send(); len(more) != 0 {
		t.Fatalf("%d calls although %d are out", len(more), maxInFlight)
	}
	commit(t, calls[2], nil)
	next := s.send()
	if len(next) != 1 {
		t.Fatalf("%d calls", len(next))
	}
	equal(t, "next batch", ids(t, next[0]), "100 101 102 103 104")
	equal(t, "answer", hears(t, at, 1), "3:committed")
}

func TestBatchesAreBounded(t *testing.T) {
	s := newScene(t)
	c, _ := s.client()
	for i := range uint64(maxBatch + 1) {
		s.submit(c, i+1, 0)
	}
	calls := s.send()
	if len(calls) != 2 || len(strings.Fields(ids(t, calls[0]))) != maxBatch || ids(t, calls[1]) != fmt.Sprint(maxBatch+1) {
		t.Fatalf("%d calls", len(calls))
	}
	// By bytes: three transactions of 600 kB do not fit one batch, each alone does.
	big := message.Marshal(&txnpb.Transaction{Id: u128.From64(9), Users: []txnpb.UserChange{{Verifier: strings.Repeat("x", 600<<10)}}})
	for range 3 {
		c.submit(&message.Envelope{Call: 9, Body: big}, message.RoleClient, s.u, s.h.Now())
	}
	commit(t, calls[0], nil)
	commit(t, calls[1], nil)
	if calls = s.send(); len(calls) != 3 {
		t.Fatalf("%d calls for three large transactions", len(calls))
	}
}

func TestBounds(t *testing.T) {
	s := newScene(t)
	s.g.cfg.Window = 3
	c, at := s.client()
	for i := range uint64(5) {
		s.submit(c, i+1, 0)
	}
	c.fc.Flush()
	equal(t, "over the window", hears(t, at, 2), "4:overloaded 5:overloaded")
	commit(t, s.send()[0], nil)
	equal(t, "within it", hears(t, at, 3), "1:committed 2:committed 3:committed")
	s.submit(c, 6, 0)
	commit(t, s.send()[0], nil)
	equal(t, "room again", hears(t, at, 1), "6:committed")

	s.u.inFlight.Store(maxUserInFlight)
	s.submit(c, 7, 0)
	c.fc.Flush()
	equal(t, "over the user's bound", hears(t, at, 1), "7:overloaded")
	s.u.inFlight.Store(0)

	s.g.queue.count.Store(maxQueued)
	s.submit(c, 8, 0)
	c.fc.Flush()
	equal(t, "over the queue's bound", hears(t, at, 1), "8:overloaded")
	s.g.queue.count.Store(0)

	s.g.queue.bytes = maxQueuedBytes
	s.submit(c, 9, 0)
	c.fc.Flush()
	equal(t, "over the queue's bytes", hears(t, at, 1), "9:overloaded")
	s.g.queue.bytes = 0
	s.empty(c)
	if n := s.g.counters.overloaded.Load(); n != 5 {
		t.Errorf("%d counted as overloaded", n)
	}
}

func TestConnectionBytesAreBounded(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	big := message.Marshal(&txnpb.Transaction{Id: u128.From64(1), Users: []txnpb.UserChange{{Verifier: strings.Repeat("x", 4<<20-100)}}})
	for range 4 {
		c.submit(&message.Envelope{Call: 1, Body: big}, message.RoleClient, s.u, s.h.Now())
	}
	s.submit(c, 2, 0)
	s.submit(c, 3, 0)
	c.fc.Flush()
	for i := range 300 { // what is left of 16 MiB
		s.submit(c, uint64(100+i), 0)
	}
	c.fc.Flush()
	if got := hears(t, at, 1); !strings.HasSuffix(got, ":overloaded") {
		t.Fatal(got)
	}
}

// TestRetries: what no leader executed, or what nothing is known of, is sent again
// under the same id, and the client hears the final outcome alone.
func TestRetries(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	for i := range uint64(5) {
		s.submit(c, i+1, time.Second)
	}
	commit(t, s.send()[0], map[uint64]txnpb.State{2: txnpb.StateNotLeader, 4: txnpb.StateUnknown, 5: txnpb.StateAborted})
	equal(t, "first answers", hears(t, at, 3), "1:committed 3:committed 5:aborted")
	if calls := s.send(); len(calls) != 0 {
		t.Fatal("sent again without a pause")
	}
	s.pass(expiryTick)
	calls := s.send()
	equal(t, "sent again", ids(t, calls[0]), "2 4")
	var in txnpb.SubmitBatch
	if err := in.Parse(calls[0].Body); err != nil || in.Submissions[0].RemainingMillis > 1000 || in.Submissions[0].RemainingMillis < 980 {
		t.Fatalf("remaining %d ms: %v", in.Submissions[0].RemainingMillis, err)
	}
	// The leader was lost with it.
	calls[0].Done(engine.Reply{Code: message.Unknown})
	s.pass(expiryTick)
	calls = s.send()
	equal(t, "and again", ids(t, calls[0]), "2 4")
	// Overloaded is no answer now: an earlier sending may have been executed.
	calls[0].Done(engine.Reply{Code: message.Overloaded})
	s.pass(2 * expiryTick)
	calls = s.send()
	equal(t, "and again", ids(t, calls[0]), "2 4")
	commit(t, calls[0], map[uint64]txnpb.State{2: txnpb.StateOverloaded})
	equal(t, "one final", hears(t, at, 1), "4:committed")
	s.pass(5 * expiryTick)
	calls = s.send()
	equal(t, "the other once more", ids(t, calls[0]), "2")
	commit(t, calls[0], nil)
	equal(t, "the other final", hears(t, at, 1), "2:committed")
	s.empty(c)
	if n := s.g.counters.retries.Load(); n != 7 {
		t.Errorf("%d counted as retries", n)
	}
}

func TestMalformedOutcomesDecideNothing(t *testing.T) {
	for name, body := range map[string][]byte{
		"none":     nil,
		"too few":  message.Marshal(&txnpb.Outcomes{Outcomes: []txnpb.Outcome{{Id: u128.From64(1), State: txnpb.StateCommitted}}}),
		"rubbish":  {0xff, 0xff, 0xff},
		"half one": {tagOutcome, 40, 0x10},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			c, at := s.client()
			s.submit(c, 1, time.Second)
			s.submit(c, 2, time.Second)
			s.send()[0].Done(engine.Reply{Body: body})
			s.pass(expiryTick)
			commit(t, s.send()[0], nil)
			if got := hears(t, at, 2); got != "1:committed 2:committed" {
				t.Fatal(got)
			}
			s.empty(c)
		})
	}
}

// TestDeadlines: at the deadline the answer is PENDING, whatever the batch is
// doing, and the outcome that comes later is told to nobody.
func TestDeadlines(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	s.submit(c, 1, 50*time.Millisecond)
	s.submit(c, 2, 5*time.Second)
	calls := s.send()
	if d := calls[0].Timeout; d != 5*time.Second+expiryTick {
		t.Errorf("the call is given %v", d)
	}
	s.pass(40 * time.Millisecond)
	s.silent(at)
	s.pass(10 * time.Millisecond)
	equal(t, "at the deadline", hears(t, at, 1), "1:pending")
	commit(t, calls[0], nil)
	equal(t, "the other", hears(t, at, 1), "2:committed")
	s.silent(at)
	s.empty(c)

	// Never sent: the queue was stuck behind others.
	for i := range uint64(maxInFlight) {
		s.submit(c, 10+i, time.Hour)
		s.send()
	}
	s.submit(c, 3, 50*time.Millisecond)
	s.submit(c, 4, 0)
	s.pass(50 * time.Millisecond)
	equal(t, "in the queue", hears(t, at, 1), "3:pending")
	s.pass(maxWait)
	equal(t, "without a deadline", hears(t, at, 1), "4:pending")
	// What is overdue is not sent any more.
	s.submit(c, 5, time.Second)
	s.submit(c, 6, 10*time.Second)
	s.pass(time.Second)
	equal(t, "in the queue", hears(t, at, 1), "5:pending")
	s.calls()
	for _, b := range s.g.queue.flying {
		s.g.queue.done(b, &engine.Reply{Code: message.Draining})
		break
	}
	calls = s.send()
	if len(calls) != 1 {
		t.Fatalf("%d calls", len(calls))
	}
	equal(t, "still in time", ids(t, calls[0]), "6")
	if n := s.g.counters.pending.Load(); n != 4 {
		t.Errorf("%d counted as pending", n)
	}
}

// TestRefusedBatches: a refusal of the whole batch is found out one by one, so that
// one transaction does not spoil it for the others.
func TestRefusedBatches(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	for i := range uint64(3) {
		s.submit(c, i+1, time.Minute)
	}
	s.send()[0].Done(engine.Reply{Code: message.Quarantined, Detail: "it crashed the Component"})
	s.pass(expiryTick)
	calls := s.send()
	if len(calls) != 3 {
		t.Fatalf("%d calls", len(calls))
	}
	commit(t, calls[0], nil)
	calls[1].Done(engine.Reply{Code: message.Quarantined})
	commit(t, calls[2], nil)
	// Whether the crash came before or after it was made durable is not known.
	equal(t, "answers", hears(t, at, 3), "1:committed 2:unknown 3:committed")
	s.submit(c, 4, time.Minute)
	s.send()[0].Done(engine.Reply{Code: message.Denied})
	equal(t, "alone", hears(t, at, 1), "4:denied")
	s.submit(c, 5, time.Minute)
	s.submit(c, 6, time.Minute)
	s.send()[0].Done(engine.Reply{Code: message.Overloaded})
	equal(t, "overloaded", hears(t, at, 2), "5:overloaded 6:overloaded")
	s.empty(c)
}

// TestDoubt: when an SFU is suspected, batches without an answer are sent again,
// and the first answer counts.
func TestDoubt(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	s.submit(c, 1, time.Minute)
	first := s.send()
	s.pass(time.Second)
	if calls := s.calls(); len(calls) != 0 {
		t.Fatalf("%d calls although nobody is suspected", len(calls))
	}
	s.g.queue.peerChanged(engine.PeerEvent{Change: engine.PeerSuspect})
	s.pass(3 * doubtEvery)
	calls := s.calls()
	if len(calls) != 3 || !bytes.Equal(calls[2].Body, first[0].Body) {
		t.Fatalf("%d calls", len(calls))
	}
	calls[0].Done(engine.Reply{Code: message.Unavailable}) // others are out yet
	s.silent(at)
	commit(t, calls[1], nil)
	equal(t, "the first answer", hears(t, at, 1), "1:committed")
	commit(t, first[0], nil)
	calls[2].Done(engine.Reply{Code: message.Unknown})
	s.silent(at)
	s.empty(c)

	// Doubt ends, and sendings without an answer are bounded.
	s.submit(c, 2, time.Minute)
	s.send()
	s.pass(doubtAfter + time.Second)
	if n := len(s.calls()); n != maxUnder-1 {
		t.Errorf("%d more calls, want %d", n, maxUnder-1)
	}
	s.pass(time.Second)
	if n := len(s.calls()); n != 0 {
		t.Errorf("%d calls after the doubt", n)
	}
	s.g.queue.peerChanged(engine.PeerEvent{Change: engine.PeerRecovered})
	s.pass(time.Second)
	if n := len(s.calls()); n != 0 {
		t.Errorf("%d calls after a recovery", n)
	}
}

// TestBatchIsASubmitBatch: the bytes that are put together by hand are those of the
// generated code.
func TestBatchIsASubmitBatch(t *testing.T) {
	var want txnpb.SubmitBatch
	var b batch
	for i, tx := range []string{"", "x", strings.Repeat("y", 126), strings.Repeat("y", 127), strings.Repeat("y", 130), strings.Repeat("z", 20_000)} {
		s := txnpb.Submission{Transaction: []byte(tx), Principal: uint64(i) << 40, Role: uint32(i), RemainingMillis: uint32(i * 1000)}
		want.Submissions = append(want.Submissions, s)
		b.add(entry{deadline: time.Duration(100 - i)}, &s)
		if got := b.transaction(&b.entries[i]); string(got) != tx {
			t.Errorf("transaction %d reads %.20q…", i, got)
		}
	}
	if got := message.Marshal(&want); !bytes.Equal(b.body, got) {
		t.Errorf("got  %x\nwant %x", b.body, got)
	}
	if b.earliest != 95 {
		t.Errorf("earliest %v", b.earliest)
	}
}

// TestOutcomesAreSplit: what the gateway looks for in an outcome is where the
// generated code puts it.
func TestOutcomesAreSplit(t *testing.T) {
	want := []txnpb.Outcome{
		{Id: u128.Max, State: txnpb.StateCommitted, Csn: 1 << 60, Results: &txnpb.Results{Timestamp: 1 << 62, Count: 2}, UserNumbers: []uint64{1, 2}},
		{},
		{Id: u128.From64(1), State: txnpb.StateRefused, Reason: strings.Repeat("r", 300)},
		{State: txnpb.StateAborted, Results: &txnpb.Results{Count: 1, Exceptions: []txnpb.Exception{{Index: 1, Status: 9, Timestamp: 5}}}},
	}
	body := message.Marshal(&txnpb.Outcomes{Outcomes: want})
	at := 0
	for i := range want {
		var o outcome
		if o, at = nextOutcome(body, at); at < 0 {
			t.Fatalf("outcome %d is not found", i)
		}
		stamp := uint64(0)
		if want[i].Results != nil {
			stamp = want[i].Results.Timestamp
		}
		if !bytes.Equal(o.body, message.Marshal(&want[i])) || o.state != want[i].State || o.timestamp != stamp {
			t.Errorf("outcome %d: %+v", i, o)
		}
	}
	if _, at = nextOutcome(body, at); at >= 0 {
		t.Error("one outcome too many")
	}
}

// TestStaleReads: only a read that says so goes to any replica.
func TestStaleReads(t *testing.T) {
	s := newScene(t)
	c, _ := s.client()
	for _, q := range []txnpb.Query{{}, {Stale: true}, {MinCsn: 9}, {MinCsn: 9, Stale: true}} {
		c.forward(&message.Envelope{Service: txnpb.TxnService, Method: txnpb.TxnReadMethod, Body: message.Marshal(&q)},
			txnpb.TxnDescriptor.Method(txnpb.TxnReadMethod), message.RoleClient, s.u)
		if calls := s.calls(); len(calls) != 1 || calls[0].Any != q.Stale || calls[0].Principal != 7 {
			t.Errorf("%v: %+v", q, calls)
		}
	}
	if stale(message.Marshal(&txnpb.StatusRequest{Id: u128.Max})) || stale([]byte{0x48}) || stale([]byte{0xff}) {
		t.Error("what is no stale query is one")
	}
}

func FuzzNextOutcome(f *testing.F) {
	f.Add(message.Marshal(&txnpb.Outcomes{Outcomes: []txnpb.Outcome{{Id: u128.Max, State: txnpb.StateCommitted, Results: &txnpb.Results{Timestamp: 9}}, {}}}))
	f.Add([]byte{tagOutcome, 4, tagResults, 2, tagTimestamp, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		for i := 0; i >= 0; {
			before := i
			if _, i = nextOutcome(b, i); i >= 0 && i <= before {
				t.Fatalf("no progress at %d", before)
			}
		}
	})
}

// TestAllocations: taking a transaction into a batch and answering it allocates
// nothing by itself; a batch does.
func TestAllocations(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	go func() {
		for {
			if _, err := at.Next(); err != nil {
				return
			}
		}
	}()
	const perBatch = 100
	body := message.Marshal(&txnpb.Transaction{Id: u128.Max})
	out := &txnpb.Outcomes{Outcomes: make([]txnpb.Outcome, perBatch)}
	for i := range out.Outcomes {
		out.Outcomes[i] = txnpb.Outcome{Id: u128.Max, State: txnpb.StateCommitted, Csn: 9}
	}
	answer := message.Marshal(out)
	e := message.Envelope{Call: 1, Body: body}
	round := func() {
		for range perBatch {
			c.submit(&e, message.RoleClient, s.u, s.h.now)
		}
		q := s.g.queue
		q.mu.Lock()
		b := q.nextLocked()
		q.mu.Unlock()
		q.call(b)
		s.h.calls[0].Done(engine.Reply{Body: answer})
		s.h.calls = s.h.calls[:0]
	}
	round()
	if n := testing.AllocsPerRun(100, round) / perBatch; n > 0.1 && !raceEnabled {
		t.Errorf("%v allocations for each transaction", n)
	}
	s.empty(c)
}
