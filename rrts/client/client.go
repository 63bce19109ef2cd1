package client

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// Client is a user's way into a cluster. Its methods may be used from any number
// of goroutines.
type Client struct {
	config Config
	log    *slog.Logger
	ids    idMaker
	csn    atomic.Uint64 // the highest that an answer told: later reads see at least that
	slots  chan struct{} // one token for each request without an answer
	kick   chan struct{} // wakes the keeper
	ended  chan struct{} // closed by end
	opened chan struct{} // closed when the first connection stands
	run    sync.WaitGroup
	ctx    context.Context // ends with the Client
	cancel context.CancelFunc
	login  chan struct{} // held by the one connection that logs in

	mu         sync.Mutex
	gateways   []*gateway // configured first, then learned
	active     *conn      // carries new requests
	spare      *conn      // stands ready
	spareAfter time.Time  // when to open one
	others     []*conn    // asked to leave, or surplus: they finish what they hold
	waiting    []*call    // to be sent as soon as there is room, in order
	delayed    []*call    // to be sent again when their time has come
	sequence   uint64
	watching   bool // the keeper looks at the connections every watchTick
	moves      int  // from gateways at which nothing was decided, since something was
	token      []byte
	user       Session
	err        error // why the Client has ended
}

// Session is who the user is, as the cluster says.
type Session struct {
	Cluster    string
	User       uint64
	PublicName string
	// Role is a message.Role: client, operator or auditor.
	Role uint32
	// Gateway is the address through which new requests go; empty while there is none.
	Gateway string
}

// Open connects to a cluster and logs in. It returns when a gateway has accepted
// the user; the error is the gateway's refusal (Denied: unknown login name or wrong
// password), what went wrong at every gateway, or ctx's. After Open the Client
// finds its way alone; ctx does not matter any more. A ctx without a deadline gets
// one of OpenTimeout.
func Open(ctx context.Context, config Config) (*Client, error) {
	if err := config.validate(); err != nil {
		return nil, err
	}
	if config.MaxInFlight == 0 {
		config.MaxInFlight = DefaultMaxInFlight
	}
	if config.Agent == "" {
		config.Agent = "rrts-go"
	}
	c := &Client{
		config: config,
		log:    config.Logger,
		slots:  make(chan struct{}, config.MaxInFlight),
		kick:   make(chan struct{}, 1),
		ended:  make(chan struct{}),
		opened: make(chan struct{}),
		login:  make(chan struct{}, 1),
		token:  config.Token,
	}
	if c.log == nil {
		c.log = slog.New(slog.DiscardHandler)
	}
	// Clients of one cluster spread over its gateways.
	first := rand.IntN(len(config.Gateways))
	for i := range config.Gateways {
		c.gateways = append(c.gateways, newGateway(config.Gateways[(first+i)%len(config.Gateways)]))
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, OpenTimeout)
		defer cancel()
	}
	c.ctx, c.cancel = context.WithCancel(context.Background())
	c.run.Go(c.keep)
	select {
	case <-c.opened:
		return c, nil
	case <-c.ended:
		err := c.Err()
		c.Close()
		return nil, err
	case <-ctx.Done():
		c.mu.Lock()
		err := c.troublesLocked(ctx.Err())
		c.mu.Unlock()
		c.Close()
		return nil, err
	}
}

// Close ends the Client and every goroutine of it. What is still in flight ends
// with a PendingError.
func (c *Client) Close() error {
	c.end(ErrClosed)
	c.run.Wait()
	return nil
}

// Err returns why the Client has ended, or nil: ErrClosed, or why every further
// attempt would be refused as well.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Session returns who the user is.
func (c *Client) Session() Session {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.user
	if c.active != nil {
		s.Gateway = c.active.gw.address
	}
	return s
}

// Token returns the session's token, for another Client of the same user; nil at
// an admin socket. It is a secret.
func (c *Client) Token() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.token
}

// end ends the Client because of err; only the first one counts.
func (c *Client) end(err error) {
	c.mu.Lock()
	if c.err != nil {
		c.mu.Unlock()
		return
	}
	c.err = err
	conns := c.connsLocked()
	var open []*call
	for _, cn := range conns {
		for _, k := range cn.pending {
			open = append(open, k)
		}
	}
	open = append(append(open, c.waiting...), c.delayed...)
	c.waiting, c.delayed = nil, nil
	for _, k := range open {
		c.finishLocked(k, nil, nil, err)
	}
	c.mu.Unlock()
	close(c.ended)
	c.cancel()
	for _, cn := range conns {
		cn.fc.Close()
	}
}

// connsLocked lists the connections that stand.
func (c *Client) connsLocked() []*conn {
	all := append([]*conn(nil), c.others...)
	for _, cn := range []*conn{c.active, c.spare} {
		if cn != nil {
			all = append(all, cn)
		}
	}
	return all
}

// wake makes the keeper look at once.
func (c *Client) wake() {
	select {
	case c.kick <- struct{}{}:
	default:
	}
}

// troublesLocked says why no gateway was reached.
func (c *Client) troublesLocked(err error) error {
	for _, g := range c.gateways {
		if g.err != nil {
			err = fmt.Errorf("%w; %s: %w", err, g.address, g.err)
		}
	}
	return fmt.Errorf("client: no gateway: %w", err)
}
