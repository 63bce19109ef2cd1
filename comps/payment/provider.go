package payment

import (
	"context"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/comps/payment/sandbox"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

// Provider is a payment provider. Its methods may be called from any number of goroutines;
// ctx always has a deadline. An error is a *Fault, or means that nobody knows.
type Provider interface {
	// Do makes a call and returns the payment after it.
	Do(ctx context.Context, in *paymentpb.CallRequest) (*paymentpb.Charge, error)
	// Find returns all charges of a payment; reference is the provider's name for it, "" where
	// that is not known.
	Find(ctx context.Context, payment u128.Int, reference string) ([]paymentpb.Charge, error)
	// Charges and Events return a page of what was made, or has happened, from a time on.
	// next is the cursor of the next page; empty: there is none.
	Charges(ctx context.Context, since, until time.Time, cursor string) (page []paymentpb.Charge, next string, err error)
	Events(ctx context.Context, since time.Time, cursor string) (page []paymentpb.ChargeEvent, next string, err error)
}

// Fault is an answer that is none to build on.
type Fault struct{ paymentpb.ProviderFault }

func (f *Fault) Error() string { return f.Reason }

// faultOf is the answer of a provider as an error; nil for none.
func faultOf(f *paymentpb.ProviderFault) error {
	if f == nil {
		return nil
	}
	return &Fault{*f}
}

// classOf is what an error of a provider means.
func classOf(err error) paymentpb.FaultClass {
	var f *Fault
	if errors.As(err, &f) {
		return f.Class
	}
	return paymentpb.FaultClassUnknown
}

// timed gives each call of a provider its time.
type timed struct {
	Provider
	timeout time.Duration
}

// Do implements Provider.
func (t timed) Do(ctx context.Context, in *paymentpb.CallRequest) (*paymentpb.Charge, error) {
	ctx, stop := context.WithTimeout(ctx, t.timeout)
	defer stop()
	return t.Provider.Do(ctx, in)
}

// Find implements Provider.
func (t timed) Find(ctx context.Context, payment u128.Int, reference string) ([]paymentpb.Charge, error) {
	ctx, stop := context.WithTimeout(ctx, t.timeout)
	defer stop()
	return t.Provider.Find(ctx, payment, reference)
}

// Charges implements Provider.
func (t timed) Charges(ctx context.Context, since, until time.Time, cursor string) ([]paymentpb.Charge, string, error) {
	ctx, stop := context.WithTimeout(ctx, t.timeout)
	defer stop()
	return t.Provider.Charges(ctx, since, until, cursor)
}

// Events implements Provider.
func (t timed) Events(ctx context.Context, since time.Time, cursor string) ([]paymentpb.ChargeEvent, string, error) {
	ctx, stop := context.WithTimeout(ctx, t.timeout)
	defer stop()
	return t.Provider.Events(ctx, since, cursor)
}

// local is the sandbox as a Provider.
type local struct{ *sandbox.Sandbox }

// Do implements Provider.
func (l local) Do(ctx context.Context, in *paymentpb.CallRequest) (*paymentpb.Charge, error) {
	c, fault, err := l.Sandbox.Do(ctx, in)
	return c, errors.Join(err, faultOf(fault))
}

// Find implements Provider.
func (l local) Find(ctx context.Context, payment u128.Int, _ string) ([]paymentpb.Charge, error) {
	all, fault, err := l.Sandbox.Find(ctx, payment)
	return all, errors.Join(err, faultOf(fault))
}

// Charges implements Provider.
func (l local) Charges(_ context.Context, since, until time.Time, cursor string) ([]paymentpb.Charge, string, error) {
	return l.Sandbox.Charges(since, until, cursor)
}

// Events implements Provider.
func (l local) Events(_ context.Context, since time.Time, cursor string) ([]paymentpb.ChargeEvent, string, error) {
	return l.Sandbox.Events(since, cursor)
}

// child is the way to the process that runs a provider's SDK.
type child struct {
	client   paymentpb.PaymentProviderClient
	settings *paymentpb.ProviderSettings
}

// remote is a provider in it.
type remote struct {
	*child
	name string
}

// ask asks the child by f, which reports whether its settings are others; it is told then,
// and asked again.
func (c *child) ask(ctx context.Context, f func() (stale bool, fault *paymentpb.ProviderFault, err error)) error {
	for range 2 {
		stale, fault, err := f()
		switch {
		case err != nil:
			return fmt.Errorf("payment: the child process: %w", err)
		case !stale:
			return faultOf(fault)
		}
		if _, err := c.client.Configure(ctx, c.settings); err != nil {
			return fmt.Errorf("payment: the settings of the child process: %w", err)
		}
	}
	return errors.New("payment: the child process does not keep its settings")
}

// Do implements Provider.
func (r remote) Do(ctx context.Context, in *paymentpb.CallRequest) (charge *paymentpb.Charge, err error) {
	in.Revision, in.Provider = r.settings.Revision, r.name
	err = r.ask(ctx, func() (bool, *paymentpb.ProviderFault, error) {
		out, err := r.client.Do(ctx, in)
		if err != nil {
			return false, nil, err
		}
		charge = out.Charge
		return out.Stale, out.Fault, nil
	})
	if err == nil && charge == nil {
		err = errors.New("payment: the child process: an answer without a charge")
	}
	return charge, err
}

// Find implements Provider.
func (r remote) Find(ctx context.Context, payment u128.Int, reference string) (all []paymentpb.Charge, err error) {
	err = r.ask(ctx, func() (bool, *paymentpb.ProviderFault, error) {
		out, err := r.client.Find(ctx, &paymentpb.FindRequest{Revision: r.settings.Revision, Provider: r.name, Payment: payment, Reference: reference})
		if err != nil {
			return false, nil, err
		}
		all = out.Charges
		return out.Stale, out.Fault, nil
	})
	return all, err
}

// Charges implements Provider.
func (r remote) Charges(ctx context.Context, since, until time.Time, cursor string) (page []paymentpb.Charge, next string, err error) {
	err = r.ask(ctx, func() (bool, *paymentpb.ProviderFault, error) {
		out, err := r.client.Charges(ctx, &paymentpb.ChargesRequest{Revision: r.settings.Revision, Provider: r.name,
			Since: uint64(since.UnixNano()), Until: uint64(until.UnixNano()), Cursor: cursor})
		if err != nil {
			return false, nil, err
		}
		page, next = out.Charges, out.Cursor
		return out.Stale, out.Fault, nil
	})
	return page, next, err
}

// Events implements Provider.
func (r remote) Events(ctx context.Context, since time.Time, cursor string) (page []paymentpb.ChargeEvent, next string, err error) {
	err = r.ask(ctx, func() (bool, *paymentpb.ProviderFault, error) {
		out, err := r.client.Events(ctx, &paymentpb.EventsRequest{Revision: r.settings.Revision, Provider: r.name, Since: uint64(since.UnixNano()), Cursor: cursor})
		if err != nil {
			return false, nil, err
		}
		page, next = out.Events, out.Cursor
		return out.Stale, out.Fault, nil
	})
	return page, next, err
}
