package payment

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/comps/effects"
	"virtualservicesinc.com/comps/payment/life"
	"virtualservicesinc.com/comps/payment/sandbox"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// mailbox bounds the requests that wait: people make them by hand. maxRequests bounds
	// those that are worked on at a time, and requestWithin how long one takes.
	mailbox       = 64
	maxRequests   = 8
	requestWithin = 2 * time.Minute
	// callTimeout is how long one call of a provider may take by default: card networks take
	// some seconds, and providers give up on them after half a minute.
	callTimeout = 40 * time.Second
	// settleWithin is the room for what belongs to a call: reading and noting in the ledger.
	settleWithin = 20 * time.Second
)

// Kind says how a provider is reached.
type Kind string

// The kinds.
const (
	Sandbox Kind = "sandbox"
	Stripe  Kind = "stripe"
)

// ProviderConfig describes a provider. Where 0 has a meaning it is said.
type ProviderConfig struct {
	Name     string
	Kind     Kind
	Currency string // ISO 4217, lower case
	Accounts life.Accounts
	// Books are the sandbox's.
	Books sandbox.Config
	// URL is where a provider of another kind answers, "" for where its SDK says, and Key
	// what it knows us by.
	URL, Key string
	// Timeout bounds one call; 0 means 40 s. Parallel bounds those at a time; 0 means 8.
	Timeout  time.Duration
	Parallel int
	// Attempts is how often a call is tried before it goes into quarantine; 0 means 30, with
	// pauses from RetryFirst on, which double up to RetryMost; 0 means 1 s and 1 hour: a day.
	Attempts              uint32
	RetryFirst, RetryMost time.Duration
	// Poll is how often events are asked for, and Reconcile how often ledger and provider are
	// compared, as far as payments are not older than ReconcileBack; 0 means a minute, an
	// hour and 7 days.
	Poll, Reconcile, ReconcileBack time.Duration
}

func (c *ProviderConfig) fill() {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.Timeout, callTimeout)
	set(&c.RetryFirst, time.Second)
	set(&c.RetryMost, time.Hour)
	set(&c.Poll, time.Minute)
	set(&c.Reconcile, time.Hour)
	set(&c.ReconcileBack, 7*24*time.Hour)
	if c.Attempts == 0 {
		c.Attempts = 30
	}
	if c.Parallel == 0 {
		c.Parallel = 8
	}
}

func (c *ProviderConfig) validate() error {
	var faults []error
	fault := func(format string, args ...any) {
		faults = append(faults, fmt.Errorf("payment: provider %q: "+format, append([]any{c.Name}, args...)...))
	}
	if c.Kind != Sandbox && c.Kind != Stripe {
		fault("kind is %q, must be sandbox or stripe", c.Kind)
	}
	if c.Accounts.Ledger == 0 || c.Accounts.Code == 0 || c.Accounts.Clearing.IsZero() {
		fault("ledger, code and clearing account must be given")
	}
	if c.Accounts.Settled.IsZero() && !c.Accounts.Fees.IsZero() {
		fault("fees without an account of payouts are not followed: give settled, too")
	}
	if c.Kind == Stripe && c.Key == "" {
		fault("the key is empty")
	}
	return errors.Join(faults...)
}

// Component makes the calls of payment providers; see the package comment.
type Component struct {
	cfg   []ProviderConfig
	fault error
	host  engine.Host
	desks []*desk

	runners  []*effects.Runner
	requests chan struct{} // one token for each that is worked on
	stop     context.CancelFunc
	crew     engine.Crew
}

var _ engine.Component = (*Component)(nil)

// New returns the Component of these providers. fault is why they could not be read; it is
// the Component's failure then.
func New(providers []ProviderConfig, fault error) *Component {
	c := &Component{cfg: providers, fault: fault, requests: make(chan struct{}, maxRequests)}
	for i := range c.cfg {
		c.cfg[i].fill()
	}
	return c
}

// settingsOf is what the child process is told of the providers that it runs the SDK of; nil
// where there is none. Its revision is made of the rest.
func settingsOf(providers []ProviderConfig) *paymentpb.ProviderSettings {
	var s *paymentpb.ProviderSettings
	for i := range providers {
		c := &providers[i]
		if c.Kind == Sandbox {
			continue
		}
		if s == nil {
			s = &paymentpb.ProviderSettings{}
		}
		s.Accounts = append(s.Accounts, paymentpb.ProviderAccount{Name: c.Name, Key: c.Key, Url: c.URL, Currency: c.Currency})
	}
	if s != nil {
		sum := sha256.Sum256(message.Marshal(s))
		s.Revision = binary.BigEndian.Uint64(sum[:]) | 1
	}
	return s
}

// Name implements engine.Component.
func (c *Component) Name() string { return "payment" }

// Services implements engine.Component.
func (c *Component) Services() []engine.Service {
	return []engine.Service{{Descriptor: &paymentpb.PaymentsDescriptor, Mailbox: mailbox}}
}

// Provision implements engine.Component: it opens the sandboxes' books.
func (c *Component) Provision(h engine.Host) error {
	c.host = h
	if c.fault != nil {
		return c.fault
	}
	settings := settingsOf(c.cfg)
	for i := range c.cfg {
		cfg := &c.cfg[i]
		if err := cfg.validate(); err != nil {
			return err
		}
		d := &desk{cfg: cfg, book: &book{txn: txnpb.TxnClient{Caller: h.Caller(0)}, at: &cfg.Accounts, provider: cfg.Name, references: map[u128.Int]string{}}}
		switch cfg.Kind {
		case Sandbox:
			s, err := sandbox.Open(cfg.Books)
			if err != nil {
				return err
			}
			d.provider, d.close = local{s}, s.Close
		case Stripe:
			d.provider = remote{&child{paymentpb.PaymentProviderClient{Caller: engine.OwnCaller{Host: h}}, settings}, cfg.Name}
		}
		d.provider = timed{d.provider, cfg.Timeout}
		c.desks = append(c.desks, d)
	}
	return nil
}

// Validate implements engine.Component.
func (c *Component) Validate() error { return nil }

// Start implements engine.Component.
func (c *Component) Start(ctx context.Context) error {
	ctx, c.stop = context.WithCancel(ctx)
	for _, d := range c.desks {
		r := effects.NewRunner(effects.Config{
			CoreConfig: effects.CoreConfig{Service: paymentpb.EffectService, Target: d.cfg.Name, Parallel: d.cfg.Parallel, Attempts: d.cfg.Attempts,
				RetryFirst: d.cfg.RetryFirst, RetryMost: d.cfg.RetryMost},
			Do: d, Timeout: 2*d.cfg.Timeout + settleWithin, // a call, and the question what became of it
		}, c.host)
		c.runners = append(c.runners, r)
		c.crew.Go(ctx, c.host, "effects of "+d.cfg.Name, r.Run)
		c.crew.Go(ctx, c.host, "events of "+d.cfg.Name, func(ctx context.Context) { c.watchOver(ctx, d) })
	}
	c.host.Ready(true)
	return nil
}

// Drain implements engine.Component: it finishes what is under way and gives the queues
// up.
func (c *Component) Drain(ctx context.Context) error {
	return effects.Drain(ctx, c.runners)
}

// Stop implements engine.Component.
func (c *Component) Stop() {
	if c.stop != nil {
		c.stop()
		c.crew.Wait()
		c.stop = nil
	}
	for _, d := range c.desks {
		if d.close != nil {
			d.close() // nothing is left to be written
		}
	}
	c.desks = nil
}
