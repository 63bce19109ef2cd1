package gateway

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/engine/trace"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Gateway is the Component.
type Gateway struct {
	cfg   Config
	tls   *tls.Config
	host  engine.Host
	log   *slog.Logger
	queue *queue

	traced   *trace.Ring[traced]
	counters counters
	quiet    quiet
	gate     chan struct{} // one token for each handshake that computes
	ahead    atomic.Int64  // ledger time less wall time, nanoseconds, as last seen
	refusing atomic.Bool   // new requests are answered Draining
	forwards atomic.Int64  // requests to other services without an answer, but for
	// listening, those for events: a stopping gateway does not wait for them
	listening atomic.Int64

	mu        sync.Mutex
	listeners []net.Listener
	conns     map[*conn]struct{}
	outside   int                // of them, those from outside the machine
	opening   map[string][]*conn // those that have not logged in, by address, the oldest first
	openings  int
	users     map[uint64]*user
	watch     sessionWatch
	moved     bool // no new connections
	stopped   bool
	changed   chan struct{} // closed and made anew when a connection ends
}

// user is one user with sessions here.
type user struct {
	number   uint64
	sessions int          // guarded by Gateway.mu
	inFlight atomic.Int64 // transactions

	// How the user stands, as the leader last said. Guarded by Gateway.mu.
	version  uint32 // 0 as long as it has not said
	disabled bool
}

var _ engine.Component = (*Gateway)(nil)

// New makes a gateway. The error lists every fault of cfg.
func New(cfg Config) (*Gateway, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	g := &Gateway{
		cfg:     cfg,
		conns:   make(map[*conn]struct{}),
		opening: make(map[string][]*conn),
		users:   make(map[uint64]*user),
		gate:    make(chan struct{}, runtime.GOMAXPROCS(0)),
		changed: make(chan struct{}),
		watch:   sessionWatch{kick: make(chan struct{}, 1)},
		traced:  trace.NewRing[traced](tracedTransactions),
	}
	g.queue = newQueue(g)
	g.tls = &tls.Config{
		MinVersion: tls.VersionTLS13,
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return g.cfg.Certificate()
		},
		GetConfigForClient:          waitAtGate,
		ClientCAs:                   cfg.ClientCAs,
		DynamicRecordSizingDisabled: true,
	}
	if cfg.ClientCAs != nil {
		g.tls.ClientAuth = tls.VerifyClientCertIfGiven // who has none hears why it is wanted
	}
	return g, nil
}

// Name implements engine.Component.
func (g *Gateway) Name() string { return "gateway" }

// Services implements engine.Component. On the interconnect a gateway tells its
// status; the rest of its service is for clients' connections.
func (g *Gateway) Services() []engine.Service {
	return []engine.Service{{Descriptor: &gatewaypb.GatewayDescriptor}}
}

// Provision implements engine.Component: it opens the listeners.
func (g *Gateway) Provision(h engine.Host) error {
	g.host, g.log = h, h.Log()
	listeners, err := g.cfg.Listen()
	if err == nil && g.cfg.ListenAdmin != nil {
		var l net.Listener
		if l, err = g.cfg.ListenAdmin(); err == nil {
			listeners = append(listeners, l)
		}
	}
	g.mu.Lock()
	g.listeners = listeners
	g.mu.Unlock()
	return err
}

// Validate implements engine.Component; New has done it.
func (g *Gateway) Validate() error { return nil }

// Start implements engine.Component.
func (g *Gateway) Start(context.Context) error {
	g.host.WatchPeers(g.queue.peerChanged)
	g.host.Go("sender", g.queue.send)
	g.host.Go("deadlines", g.queue.keepDeadlines)
	g.host.Go("sweeper", g.sweep)
	g.host.Go("sessions", g.watchSessions)
	for _, l := range g.listeners {
		g.host.Go("accept "+l.Addr().String(), func(ctx context.Context) { g.accept(ctx, l) })
	}
	g.host.Ready(true)
	return nil
}

// Serve implements engine.Component.
func (g *Gateway) Serve(batch []message.Request) {
	for _, r := range batch {
		switch r.Envelope().Method {
		case gatewaypb.GatewayStatusMethod:
			r.Reply(g.status())
		case gatewaypb.GatewayTraceMethod:
			var in txnpb.TraceRequest
			if err := in.Parse(r.Envelope().Body); err != nil {
				r.Fail(message.Invalid, err.Error())
				continue
			}
			r.Reply(g.trace(in.Id))
		default:
			r.Fail(message.NoMethod, "gateway: only its status and its traces are asked over the interconnect")
		}
	}
}

func (g *Gateway) status() *gatewaypb.GatewayStatus {
	c := &g.counters
	s := &gatewaypb.GatewayStatus{
		Sfu:              uint32(g.host.SFU()),
		Requests:         c.requests.Load(),
		Submits:          c.submits.Load(),
		Batches:          c.batches.Load(),
		Retries:          c.retries.Load(),
		Pending:          c.pending.Load(),
		Overloaded:       c.overloaded.Load(),
		TurnedAway:       c.turnedAway.Load(),
		FailedHandshakes: c.failedHandshakes.Load(),
		BadFrames:        c.badFrames.Load(),
		SlowReaders:      c.slowReaders.Load(),
		Silent:           c.mute.Load(),
		InFlight:         uint32(g.queue.waiting()) + uint32(g.forwards.Load()) + uint32(g.listening.Load()),
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	s.Connections, s.Sessions = uint32(len(g.conns)), uint32(len(g.conns)-g.openings)
	return s
}

// Drain implements engine.Component: clients are told to move, their requests are
// taken until they had the time for it, and what is in flight is answered.
func (g *Gateway) Drain(ctx context.Context) error {
	others := g.others()
	grace := g.cfg.MoveGrace
	if len(others) == 0 {
		grace = 0
	}
	g.mu.Lock()
	g.moved = true
	conns := g.connsLocked()
	g.mu.Unlock()
	body := message.Marshal(&gatewaypb.Move{Gateways: others, WithinMillis: uint32(grace.Milliseconds())})
	for _, c := range conns {
		c.queue(notice(gatewaypb.GatewayMovedMethod, body))
		c.fc.Flush()
	}
	graceCtx, cancel := context.WithTimeout(ctx, grace)
	g.waitFor(graceCtx, func() bool { return g.clients() == 0 })
	cancel()
	g.refusing.Store(true)
	err := g.waitFor(ctx, func() bool { return g.queue.waiting() == 0 && g.forwards.Load() == 0 })
	g.mu.Lock()
	conns = g.connsLocked()
	g.mu.Unlock()
	for _, c := range conns {
		c.cut(message.Draining, "the gateway stops: use another")
	}
	lingerCtx, cancel := context.WithTimeout(ctx, stopLinger)
	defer cancel()
	g.waitFor(lingerCtx, func() bool { return g.clients() == 0 })
	return err
}

// waitFor waits until done, looking again whenever a connection ends and every
// expiryTick.
func (g *Gateway) waitFor(ctx context.Context, done func() bool) error {
	ticker := time.NewTicker(expiryTick)
	defer ticker.Stop()
	for !done() {
		g.mu.Lock()
		changed := g.changed
		g.mu.Unlock()
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-ticker.C:
		}
	}
	return nil
}

// Stop implements engine.Component.
func (g *Gateway) Stop() {
	g.refusing.Store(true)
	g.mu.Lock()
	g.moved, g.stopped = true, true
	listeners, conns := g.listeners, g.connsLocked()
	g.listeners = nil
	g.mu.Unlock()
	for _, l := range listeners {
		l.Close()
	}
	for _, c := range conns {
		c.fc.Close()
	}
	g.queue.stop()
}

// connsLocked lists the connections whose handshake is done.
func (g *Gateway) connsLocked() []*conn {
	all := make([]*conn, 0, len(g.conns))
	for c := range g.conns {
		if c.fc != nil {
			all = append(all, c)
		}
	}
	return all
}

// clients counts the connections from outside the machine.
func (g *Gateway) clients() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.outside
}

// ledgerTime is ledger time as far as this gateway knows it: wall time, corrected
// by the stamps of the outcomes that pass through.
func (g *Gateway) ledgerTime() uint64 { return uint64(max(g.cfg.Wall()+g.ahead.Load(), 0)) }

// sweep cuts off the silent and the slow.
func (g *Gateway) sweep(ctx context.Context) {
	ticker := time.NewTimer(timer.Next(min(sweepTick, g.cfg.Heartbeat)))
	defer ticker.Stop()
	next := g.host.Now() + g.cfg.Heartbeat
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			ticker.Reset(timer.Next(min(sweepTick, g.cfg.Heartbeat)))
		}
		g.mu.Lock()
		conns := g.connsLocked()
		g.mu.Unlock()
		g.sweepBacklogs(conns)
		if now := g.host.Now(); now >= next {
			next = now + g.cfg.Heartbeat
			g.sweepSilent(conns)
		}
	}
}

func (g *Gateway) sweepSilent(conns []*conn) {
	for _, c := range conns {
		if c.spoke.Swap(false) {
			c.missed = 0
			continue
		}
		if c.missed++; c.missed >= heartbeatsMissed && c.inFlight.Load() == 0 && !c.ended.Load() {
			g.counters.mute.Add(1)
			c.cut(message.Expired, "nothing was heard for three heartbeats: send a Ping when idle")
		}
	}
}

func (g *Gateway) sweepBacklogs(conns []*conn) {
	sum, most := 0, 0
	var worst *conn
	for _, c := range conns {
		n := c.fc.Backlog()
		sum += n
		if n > most {
			most, worst = n, c
		}
	}
	if sum > maxBacklogs {
		g.slow(worst)
	}
}

// complain writes a line about a client, unless there were too many just now.
func (g *Gateway) complain(text string, a ...any) {
	if held, ok := g.quiet.ask(g.host.Now()); ok {
		if held > 0 {
			a = append(a, "lines_held_back", held)
		}
		g.log.Warn(text, a...)
	}
}

// leaveLocked takes one session off a user.
func (g *Gateway) leaveLocked(u *user) {
	if u.sessions--; u.sessions == 0 {
		delete(g.users, u.number)
	}
}

// openedLocked ends the time in which c counts as opening.
func (g *Gateway) openedLocked(c *conn) {
	i := slices.Index(g.opening[c.address], c)
	if i < 0 {
		return // it has given way
	}
	g.openings--
	if g.opening[c.address] = slices.Delete(g.opening[c.address], i, i+1); len(g.opening[c.address]) == 0 {
		delete(g.opening, c.address)
	}
}

// roomLocked makes room for one more connection of an address that has not logged in,
// where there is none: the address that has the most of them loses its oldest, as long as
// it has more than the newcomer's. So a flood of many connections displaces its own, and
// who comes from elsewhere comes in. It reports false if there is no room.
func (g *Gateway) roomLocked(address string) bool {
	if g.openings < maxOpening {
		return true
	}
	most := g.opening[address]
	for _, all := range g.opening {
		if len(all) > len(most) {
			most = all
		}
	}
	if len(most) == len(g.opening[address]) {
		return false
	}
	oldest := most[0]
	g.openedLocked(oldest)
	g.counters.turnedAway.Add(1)
	oldest.raw.Close() // its goroutine ends
	return true
}

// errTurnedAway is why a connection was not taken.
var errTurnedAway = errors.New("gateway: turned away")
