package mail

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"virtualservicesinc.com/comps/effects"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/mailpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Service is the service of effects that are mails.
const Service = "mail"

const (
	// mailbox bounds the requests that wait: operators make them by hand.
	mailbox = 64
	// requestWithin bounds one of them.
	requestWithin = sendTimeout
)

// Component sends mails; see the package comment.
type Component struct {
	cfg       Config
	host      engine.Host
	txn       txnpb.TxnClient
	seal      sealer
	relay     *relay
	templates map[string]*template
	runner    *effects.Runner

	stop context.CancelFunc
	crew engine.Crew
}

var _ engine.Component = (*Component)(nil)

// New returns the Component.
func New(cfg Config) *Component {
	cfg.fill()
	return &Component{cfg: cfg}
}

// Name implements engine.Component.
func (c *Component) Name() string { return "mail" }

// Services implements engine.Component.
func (c *Component) Services() []engine.Service {
	return []engine.Service{{Descriptor: &mailpb.MailDescriptor, Mailbox: mailbox}}
}

// Provision implements engine.Component: it reads the templates.
func (c *Component) Provision(h engine.Host) error {
	c.host, c.txn = h, txnpb.TxnClient{Caller: h.Caller(0)}
	err := c.cfg.validate()
	if err != nil {
		return err
	}
	if c.seal, err = newSealer(c.cfg.AddressKey); err != nil {
		return err
	}
	if c.relay, err = newRelay(&c.cfg); err != nil {
		return err
	}
	c.templates, err = loadTemplates(c.cfg.Templates)
	return err
}

// Validate implements engine.Component.
func (c *Component) Validate() error {
	var faults []error
	for _, name := range c.cfg.ClientTemplates {
		if c.templates[name] == nil {
			faults = append(faults, fmt.Errorf("mail: client_templates names %q, and there is no such template in %s", name, c.cfg.Templates))
		}
	}
	return errors.Join(faults...)
}

// Start implements engine.Component.
func (c *Component) Start(ctx context.Context) error {
	ctx, c.stop = context.WithCancel(ctx)
	c.runner = effects.NewRunner(effects.Config{
		CoreConfig: effects.CoreConfig{Service: Service, Parallel: c.cfg.Parallel, Attempts: c.cfg.Attempts, RetryFirst: c.cfg.RetryFirst, RetryMost: c.cfg.RetryMost},
		Do:         c, Timeout: sendTimeout + maxWait + 10*time.Second,
	}, c.host)
	c.crew.Go(ctx, c.host, "effects", c.runner.Run)
	c.host.Ready(true)
	return nil
}

// Drain implements engine.Component.
func (c *Component) Drain(ctx context.Context) error { return c.runner.Drain(ctx) }

// Stop implements engine.Component.
func (c *Component) Stop() {
	if c.stop != nil {
		c.stop()
		c.crew.Wait()
		c.stop = nil
	}
}

// Do implements effects.Doer.
func (c *Component) Do(ctx context.Context, batch []effects.Attempt) []effects.Result {
	return effects.Each(ctx, batch, c.do)
}

func (c *Component) do(ctx context.Context, a *effects.Attempt) effects.Result {
	t := c.templates[a.Operation]
	if t == nil {
		return effects.Quarantine(fmt.Errorf("operation: there is no template %q", a.Operation))
	}
	if message.Role(a.Role) == message.RoleClient && !slices.Contains(c.cfg.ClientTemplates, a.Operation) {
		return effects.Quarantine(fmt.Errorf("operation: transactions of clients may not use template %q: see client_templates", a.Operation))
	}
	name, err := a.Args.Text("to")
	if err != nil {
		return effects.Quarantine(err)
	}
	body, err := t.render(a.Args)
	if err != nil {
		return effects.Quarantine(err)
	}
	to, err := c.address(ctx, name)
	if err != nil {
		return resultOf(err)
	}
	return resultOf(c.relay.send(ctx, to, c.relay.messageID(a.Key.String()), a.Owed, body))
}

// address finds a user's address. What an operator has to mend is a *permanent.
func (c *Component) address(ctx context.Context, name string) (string, error) {
	u, err := c.user(ctx, name)
	if err != nil {
		return "", err
	}
	switch {
	case u == nil:
		return "", &permanent{`argument "to"`, fmt.Errorf("there is no user %q", name)}
	case len(u.SealedAddress) == 0:
		return "", &permanent{`argument "to"`, fmt.Errorf("user %q has no address: give it with rrts user address", name)}
	}
	address, err := c.seal.open(u.Number, u.SealedAddress)
	if err != nil {
		return "", &permanent{`argument "to"`, err}
	}
	return address, nil
}

func (c *Component) user(ctx context.Context, name string) (*txnpb.User, error) {
	if name == "" {
		return nil, nil
	}
	a, err := c.txn.FindUser(ctx, &txnpb.UserQuery{PublicName: name})
	if err != nil {
		return nil, fmt.Errorf("mail: looking for a user: %w", err)
	}
	return a.User, nil
}
