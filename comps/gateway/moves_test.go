package gateway_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"virtualservicesinc.com/comps/gateway"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// load keeps payments coming until it is stopped, and tells about them.
type load struct {
	wg      sync.WaitGroup
	stopped atomic.Bool
	count   atomic.Int64
	mu      sync.Mutex
	ids     []u128.Int
	errs    []error
	gap     time.Duration // the longest time for one payment
}

func (l *load) start(t *testing.T, workers int, c *client.Client) *load {
	for range workers {
		l.wg.Go(func() {
			for !l.stopped.Load() {
				start := time.Now()
				tx := payment(c)
				o, err := c.Submit(t.Context(), tx)
				l.mu.Lock()
				if err != nil {
					l.errs = append(l.errs, fmt.Errorf("%v: %v", o, err))
				}
				l.ids = append(l.ids, tx.Id)
				l.gap = max(l.gap, time.Since(start))
				l.mu.Unlock()
				l.count.Add(1)
			}
		})
	}
	return l
}

// end stops the load and holds every payment against the world's rows.
func (l *load) end(t *testing.T, w *world) {
	t.Helper()
	l.stopped.Store(true)
	l.wg.Wait()
	w.mu.Lock()
	defer w.mu.Unlock()
	lost := 0
	for _, id := range l.ids {
		if r := w.rows[id]; r == nil || r.outcome.State != txnpb.StateCommitted {
			lost++
		}
	}
	if lost > 0 || len(l.errs) > 0 {
		t.Errorf("%d payments, %d lost, %d failed: %v", len(l.ids), lost, len(l.errs), l.errs)
	}
	if n := len(l.ids); n < 100 {
		t.Errorf("only %d payments: the test does not test", n)
	}
	if int(w.csn) != len(l.ids)+len(w.users) {
		t.Errorf("%d executed, %d submitted", w.csn, len(l.ids)+len(w.users))
	}
	t.Logf("%d payments, %d sent twice, the slowest took %v", len(l.ids), w.twice, l.gap)
}

// TestGatewayStops: a planned stop costs no failure, no repetition and no pause to
// speak of.
func TestGatewayStops(t *testing.T) {
	w := newWorld(t).start(2).register()
	c := w.open()
	within(t, "a spare connection", func() bool { return strings.Contains(w.log.String(), "login user=1000") && sessions(t, w) == 2 })
	l := new(load).start(t, 16, c)
	within(t, "payments", func() bool { return l.count.Load() > 200 })
	first := c.Session().Gateway
	for _, s := range w.sfus {
		if s.address == first {
			s.stop()
			if err := <-s.done; err != nil {
				t.Error(err)
			}
			s.done <- nil
		}
	}
	before := l.count.Load()
	within(t, "payments after the stop", func() bool { return l.count.Load() > before+200 })
	l.end(t, w)
	if c.Session().Gateway == first {
		t.Error("it did not move")
	}
	if w.twice != 0 {
		t.Errorf("%d transactions were sent twice by a planned stop", w.twice)
	}
}

func sessions(t *testing.T, w *world) (n uint32) {
	t.Helper()
	for i, s := range w.sfus {
		op := w.operator(i)
		st, err := gatewaypb.GatewayClient{Caller: op.To(s.number)}.Status(t.Context(), &gatewaypb.GatewayStatusRequest{})
		if err != nil {
			t.Fatal(err)
		}
		op.Close()
		n += st.Sessions - 1
	}
	return n
}

// TestGatewayKilled: what was in flight goes through another gateway under the same
// ids, and is executed once.
func TestGatewayKilled(t *testing.T) {
	w := newWorld(t).start(2).register()
	// Before the kill some are executed and never answered.
	var mute atomic.Bool
	var unanswered atomic.Int64
	w.fate = func(r message.Responder[*txnpb.Outcomes], in *txnpb.SubmitBatch) bool {
		out := &txnpb.Outcomes{}
		for i := range in.Submissions {
			out.Outcomes = append(out.Outcomes, w.execute(&in.Submissions[i]))
		}
		if mute.Load() {
			unanswered.Add(int64(len(out.Outcomes)))
			return true
		}
		r.Reply(out)
		return true
	}
	c := w.open()
	within(t, "a spare connection", func() bool { return sessions(t, w) == 2 })
	l := new(load).start(t, 32, c)
	within(t, "payments", func() bool { return l.count.Load() > 200 })
	first := c.Session().Gateway
	mute.Store(true)
	within(t, "executed and not answered", func() bool { return unanswered.Load() > 0 })
	mute.Store(false)
	for _, s := range w.sfus {
		if s.address == first {
			s.gateway.Stop() // no farewell
		}
	}
	before := l.count.Load()
	within(t, "payments after the kill", func() bool { return l.count.Load() > before+200 })
	l.end(t, w)
	if w.twice == 0 {
		t.Error("what was executed and not answered was never sent again")
	}
}

// TestSilentGateway: a machine that is gone says nothing, not even that it is gone.
func TestSilentGateway(t *testing.T) {
	w := newWorld(t).start(2).register()
	hole := newHole(t, w.sfus[0].address)
	c := w.open(func(o *client.Config) { o.Gateways = []string{hole.address} })
	within(t, "a spare connection", func() bool { return sessions(t, w) == 2 })
	if got := c.Session().Gateway; got != hole.address {
		t.Fatalf("it goes through %s", got)
	}
	l := new(load).start(t, 8, c)
	within(t, "payments", func() bool { return l.count.Load() > 100 })
	hole.shut.Store(true)
	before := l.count.Load()
	within(t, "payments after the silence", func() bool { return l.count.Load() > before+100 })
	l.end(t, w)
	if l.gap > time.Second {
		t.Errorf("the slowest payment took %v", l.gap)
	}
}

// TestGatewayWithoutLeader: a gateway that answers Pings and reaches no leader loses its
// clients after a moment; where no gateway reaches one they do not run from one to the other.
func TestGatewayWithoutLeader(t *testing.T) {
	w := newWorld(t).start(2).register()
	c := w.open(func(o *client.Config) { o.Gateways = []string{w.sfus[0].address} })
	within(t, "a spare connection", func() bool { return sessions(t, w) == 2 })
	l := new(load).start(t, 8, c)
	within(t, "payments", func() bool { return l.count.Load() > 100 })
	w.cutOff.Store(1)
	before := l.count.Load()
	within(t, "payments through the other gateway", func() bool { return l.count.Load() > before+100 })
	if got := c.Session().Gateway; got != w.sfus[1].address {
		t.Errorf("requests go through %s", got)
	}
	l.end(t, w)
	if l.gap > 3*time.Second {
		t.Errorf("the slowest payment took %v", l.gap)
	}

	w.mu.Lock()
	w.fate = func(r message.Responder[*txnpb.Outcomes], _ *txnpb.SubmitBatch) bool {
		r.Fail(message.NotLeader, "")
		return true
	}
	w.mu.Unlock()
	w.cutOff.Store(0)
	moves := func() int { return strings.Count(w.log.String(), "the gateway decides nothing") }
	already := moves()
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	var pending *client.PendingError
	if _, err := c.Submit(ctx, payment(c)); !errors.As(err, &pending) {
		t.Errorf("nobody decides, and the payment is %v", err)
	}
	if n := moves() - already; n < 1 || n > 3 { // after 0.6, 1.2 and 2.4 s
		t.Errorf("it moved %d times in 4 s", n)
	}
}

// TestNewGateway: a client hears of a gateway that the cluster got after it connected,
// and has a second connection from then on.
func TestNewGateway(t *testing.T) {
	var grown atomic.Bool
	w := newWorld(t).start(2, func(cfg *gateway.Config) {
		all := cfg.Gateways()
		cfg.Heartbeat = 100 * time.Millisecond
		cfg.Gateways = func() []string {
			if grown.Load() {
				return all
			}
			return all[:1]
		}
	}).register()
	c := w.open(func(o *client.Config) { o.Gateways = []string{w.sfus[0].address} })
	if _, err := c.Submit(t.Context(), payment(c)); err != nil {
		t.Fatal(err)
	}
	if n := sessions(t, w); n != 1 {
		t.Fatalf("%d sessions of a client that knows one gateway", n)
	}
	grown.Store(true)
	within(t, "a connection to the new gateway", func() bool { return sessions(t, w) == 2 })
}

// hole is a way to a gateway that can swallow everything.
type hole struct {
	address string
	shut    atomic.Bool
}

func newHole(t *testing.T, to string) *hole {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	h := &hole{address: l.Addr().String()}
	pipe := func(from, to net.Conn) {
		buf := make([]byte, 64<<10)
		for {
			n, err := from.Read(buf)
			if err != nil {
				to.Close()
				return
			}
			if !h.shut.Load() {
				to.Write(buf[:n])
			}
		}
	}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				in.Close()
				continue
			}
			go pipe(in, out)
			go pipe(out, in)
		}
	}()
	return h
}
