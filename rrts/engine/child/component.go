package child

import (
	"context"
	"fmt"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/schema/childpb"
)

// Component is one life of a child.
type Component struct {
	cfg  Config
	host engine.Host

	mu       sync.Mutex
	process  Process     // nil before it runs
	conn     *frame.Conn // nil before it has said Hello
	stopped  bool
	ended    chan struct{} // closed with the connection
	number   uint64        // of the last request to the child
	pending  map[uint64]*entry
	waiting  []message.Request // that came before Hello
	outward  int               // calls of the child without an answer
	standing map[string]bool   // alarms, by subject
	beat     func()
}

// entry is a request that the child has.
type entry struct {
	request  message.Request // nil for one of the engine's own
	answered func()          // of the engine's own
	deadline time.Duration   // on the host's clock; 0 is none
}

var _ engine.Component = (*Component)(nil)

// New makes a Component. The error lists every fault of cfg.
func New(cfg Config) (*Component, error) {
	cfg = cfg.withDefaults()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Component{cfg: cfg, ended: make(chan struct{}), pending: make(map[uint64]*entry), standing: make(map[string]bool)}, nil
}

// Name implements engine.Component.
func (c *Component) Name() string { return c.cfg.Name }

// Services implements engine.Component. What the child answers of the site it says by
// itself.
func (c *Component) Services() []engine.Service {
	var own []engine.Service
	for _, d := range c.cfg.Own {
		own = append(own, engine.Service{Descriptor: d, Mailbox: c.cfg.InFlight})
	}
	return own
}

// Provision implements engine.Component.
func (c *Component) Provision(h engine.Host) error { c.host = h; return nil }

// Validate implements engine.Component; New has done it.
func (c *Component) Validate() error { return nil }

// Start implements engine.Component. That a child cannot be started is a failure of its
// life and not of the SFU's.
func (c *Component) Start(context.Context) error {
	c.beat = c.host.Pulse("child", c.cfg.Silent)
	c.host.Go("child", c.run)
	return nil
}

// run leads the child from its start to its end.
func (c *Component) run(ctx context.Context) {
	p, err := c.cfg.Launch()
	if err != nil {
		c.host.Fail(fmt.Sprintf("cannot be started: %v", err))
		return
	}
	c.mu.Lock()
	c.process = p
	stopped := c.stopped
	c.mu.Unlock()
	if stopped {
		p.End(stopGrace)
		return
	}
	started := c.host.Now()
	conn, err := frame.Server(ctx, p.Conn(), nil, frame.Limits{Frame: MaxFrame, Backlog: backlog, Stall: stall})
	if err == nil {
		c.host.Go("watch", func(ctx context.Context) { c.watch(ctx, conn, started) })
		err = c.read(conn)
		conn.Close()
	}
	close(c.ended)
	c.mu.Lock()
	stopped = c.stopped
	c.mu.Unlock()
	if stopped {
		return // Stop ends the process
	}
	p.End(stopGrace) // it may have closed the socket and live on
	c.host.Fail(reason(err, p.Reason()))
}

// reason says why a child ended: what it did wrong, or how its process ended.
func reason(err error, process string) string {
	if err == nil {
		return process
	}
	return fmt.Sprintf("%v; %s", err, process)
}

// watch asks for signs of life, and answers for the child what it has not answered in
// time.
func (c *Component) watch(ctx context.Context, conn *frame.Conn, started time.Duration) {
	tick := time.NewTicker(c.cfg.Heartbeat)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.ended:
			return
		case <-tick.C:
		}
		c.mu.Lock()
		greeted := c.conn != nil
		c.mu.Unlock()
		switch {
		case greeted:
			c.ask(conn, childpb.ChildPingMethod, &childpb.PingRequest{}, c.beat)
			c.expire(c.host.Now())
		case c.host.Now()-started > c.cfg.StartWithin:
			c.host.Fail(fmt.Sprintf("did not say Hello within %v of its start", c.cfg.StartWithin))
			return
		default:
			c.beat()
		}
	}
}

// ask sends a request of the engine's own.
func (c *Component) ask(conn *frame.Conn, method uint16, m message.Message, answered func()) error {
	c.mu.Lock()
	c.number++
	n := c.number
	c.pending[n] = &entry{answered: answered}
	c.mu.Unlock()
	e := message.Envelope{Kind: message.KindRequest, Service: childpb.ChildService, Method: method, Call: n}
	if err := conn.QueueMessage(&e, m); err != nil {
		c.take(n)
		return err
	}
	return conn.Flush()
}

// take takes the request of that number off those that the child has.
func (c *Component) take(number uint64) *entry {
	c.mu.Lock()
	defer c.mu.Unlock()
	e := c.pending[number]
	delete(c.pending, number)
	return e
}

// expire answers what is long overdue: the child may do so never.
func (c *Component) expire(now time.Duration) {
	var late []*entry
	c.mu.Lock()
	for n, e := range c.pending {
		if e.deadline != 0 && now > e.deadline+lateGrace {
			late = append(late, e)
			delete(c.pending, n)
		}
	}
	c.mu.Unlock()
	for _, e := range late {
		e.request.Fail(message.Expired, fmt.Sprintf("child: %s did not answer in time", c.cfg.Name))
	}
}

// Serve implements engine.Component: it gives requests to the child.
func (c *Component) Serve(batch []message.Request) {
	c.mu.Lock()
	conn := c.conn
	if conn == nil {
		// Kept through a restart: they wait until the child is there.
		for _, r := range batch {
			if len(c.waiting) >= c.cfg.InFlight {
				c.mu.Unlock()
				c.overloaded(r)
				c.mu.Lock()
				continue
			}
			c.waiting = append(c.waiting, r)
		}
		c.mu.Unlock()
		return
	}
	c.mu.Unlock()
	c.give(conn, batch)
}

func (c *Component) overloaded(r message.Request) {
	r.Fail(message.Overloaded, fmt.Sprintf("child: %s has %d requests", c.cfg.Name, c.cfg.InFlight))
}

// give gives requests to the child.
func (c *Component) give(conn *frame.Conn, batch []message.Request) {
	for _, r := range batch {
		e := *r.Envelope()
		e.From, e.To, e.Call = 0, 0, 0
		if e.Kind == message.KindRequest {
			c.mu.Lock()
			if len(c.pending) >= c.cfg.InFlight {
				c.mu.Unlock()
				c.overloaded(r)
				continue
			}
			c.number++
			e.Call = c.number
			held := &entry{request: r}
			if e.RemainingMillis != 0 {
				held.deadline = c.host.Now() + time.Duration(e.RemainingMillis)*time.Millisecond
			}
			c.pending[e.Call] = held
			c.mu.Unlock()
		}
		if err := conn.Queue(&e); err != nil && e.Call != 0 {
			// Once the connection is lost the child's end comes, and with it the engine's
			// decision what becomes of what it had.
			if held := c.take(e.Call); held != nil && conn.Err() == nil {
				c.overloaded(r)
			}
		}
	}
	conn.Flush()
}

// Drain implements engine.Component: the child finishes what it does of its own accord.
// What was asked of it the engine waits for.
func (c *Component) Drain(ctx context.Context) error {
	c.mu.Lock()
	conn := c.conn
	c.mu.Unlock()
	if conn == nil {
		return nil
	}
	finished := make(chan struct{})
	if err := c.ask(conn, childpb.ChildDrainMethod, &childpb.DrainRequest{}, func() { close(finished) }); err != nil {
		return fmt.Errorf("child: %s: %w", c.cfg.Name, err)
	}
	select {
	case <-finished:
	case <-c.ended:
	case <-ctx.Done():
		return fmt.Errorf("child: %s did not finish: %w", c.cfg.Name, ctx.Err())
	}
	return nil
}

// Stop implements engine.Component: it ends the child.
func (c *Component) Stop() {
	c.mu.Lock()
	c.stopped = true
	p := c.process
	subjects := c.standing
	c.standing = make(map[string]bool)
	c.mu.Unlock()
	if p != nil {
		p.Conn().Close()
		p.End(stopGrace)
	}
	for s := range subjects { // a next life raises them again
		c.host.ClearAlarm(c.alarm(s))
	}
}

func (c *Component) alarm(subject string) string { return "site-alarm@" + c.cfg.Name + "/" + subject }
