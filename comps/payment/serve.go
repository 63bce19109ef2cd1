package payment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"virtualservicesinc.com/comps/payment/life"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/cardnumber"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

const (
	// listDefault and listMost are how many payments are listed, and listLooked how many are
	// looked at for one list of a status.
	listDefault = 50
	listMost    = 1000
	listLooked  = 5000
)

var _ paymentpb.PaymentsHandler = (*Component)(nil)

// Serve implements engine.Component.
func (c *Component) Serve(batch []message.Request) {
	for _, r := range batch {
		paymentpb.ServePayments(c, r)
	}
}

// work runs f beside Serve, for who may see everything.
func (c *Component) work(r message.Request, roles message.Roles, f func(ctx context.Context) error) {
	if !roles.Has(r.Envelope().Role) {
		r.Fail(message.Denied, "payment: the user's role may not see this")
		return
	}
	select {
	case c.requests <- struct{}{}:
	default:
		r.Fail(message.Overloaded, "payment: too many requests at a time")
		return
	}
	c.crew.Go(context.Background(), c.host, "request", func(ctx context.Context) {
		defer func() { <-c.requests }()
		ctx, cancel := context.WithTimeout(ctx, requestWithin)
		defer cancel()
		if err := f(ctx); err != nil {
			var e *message.Error
			if errors.As(err, &e) {
				r.Fail(e.Code, e.Detail)
				return
			}
			r.Fail(message.Unavailable, withoutCards(err.Error()))
		}
	})
}

var (
	users    = message.RoleSet(message.RoleSFU, message.RoleClient, message.RoleOperator, message.RoleAuditor)
	watchers = message.RoleSet(message.RoleSFU, message.RoleOperator, message.RoleAuditor)
)

// Providers implements paymentpb.PaymentsHandler.
func (c *Component) Providers(r message.Responder[*paymentpb.ProvidersReply], _ *paymentpb.ProvidersRequest) {
	c.work(r.Request, users, func(ctx context.Context) error {
		ask := r.Envelope().Role != message.RoleClient
		out := &paymentpb.ProvidersReply{}
		for _, d := range c.desks {
			p := paymentpb.Provider{Name: d.cfg.Name, Kind: string(d.cfg.Kind), Currency: d.cfg.Currency, Ledger: d.cfg.Accounts.Ledger, Code: d.cfg.Accounts.Code,
				ClearingAccount: d.cfg.Accounts.Clearing, SettledAccount: d.cfg.Accounts.Settled, FeesAccount: d.cfg.Accounts.Fees}
			if ask {
				if _, _, err := d.provider.Events(ctx, time.Now(), ""); err != nil {
					p.Fault = withoutCards(err.Error())
				}
			}
			out.Providers = append(out.Providers, p)
		}
		r.Reply(out)
		return nil
	})
}

// desk returns the one of a provider.
func (c *Component) desk(name string) (*desk, error) {
	for _, d := range c.desks {
		if d.cfg.Name == name {
			return d, nil
		}
	}
	if cardnumber.In(name) {
		return nil, message.Errorf(message.Invalid, "payment: field provider: a card's number")
	}
	return nil, message.Errorf(message.NotFound, "payment: this SFU has no provider %q: write /etc/rrts/payment/%s.toml, and restart it", name, name)
}

// find returns a payment and the desk whose it is; nil where no provider has it.
func (c *Component) find(ctx context.Context, id u128.Int) (*desk, *life.Payment, error) {
	for _, d := range c.desks {
		p, err := d.book.payment(ctx, id)
		if err != nil || p.Status != paymentpb.StatusNone {
			return d, p, err
		}
	}
	return nil, nil, nil
}

// Show implements paymentpb.PaymentsHandler.
func (c *Component) Show(r message.Responder[*paymentpb.Payment], in *paymentpb.ShowRequest) {
	c.work(r.Request, watchers, func(ctx context.Context) error {
		d, p, err := c.find(ctx, in.Id)
		switch {
		case err != nil:
			return err
		case d == nil:
			return message.Errorf(message.NotFound, "payment: there is no payment %v", in.Id)
		}
		out := d.told(p)
		if out.Reference, err = d.book.reference(ctx, p); err != nil {
			return err
		}
		owed, err := d.book.owed(ctx, p.ID)
		if err != nil {
			return err
		}
		out.Owed = owed[p.ID]
		if in.Ask {
			charges, err := d.provider.Find(ctx, p.ID, out.Reference)
			switch {
			case err != nil:
				out.ChargeFault = withoutCards(err.Error())
			case len(charges) > 1:
				out.ChargeFault = fmt.Sprintf("the provider has %d charges", len(charges))
			case len(charges) == 1:
				charges[0].Reason = withoutCards(charges[0].Reason)
				out.Charge = &charges[0]
			}
		}
		r.Reply(out)
		return nil
	})
}

// told is a payment as it is told.
func (d *desk) told(p *life.Payment) *paymentpb.Payment {
	return &paymentpb.Payment{Id: p.ID, Provider: d.cfg.Name, Status: p.Status, Amount: p.Amount, Captured: p.Captured, Refunded: p.Refunded, Refunding: p.Refunding,
		Settled: p.Settled, Fee: p.Fee, MerchantAccount: p.Merchant, Created: p.Created, Changed: p.Changed, Steps: p.Steps}
}

// List implements paymentpb.PaymentsHandler.
func (c *Component) List(r message.Responder[*paymentpb.ListReply], in *paymentpb.ListRequest) {
	c.work(r.Request, watchers, func(ctx context.Context) error {
		desks := c.desks
		if in.Provider != "" {
			d, err := c.desk(in.Provider)
			if err != nil {
				return err
			}
			desks = []*desk{d}
		}
		limit := int(min(in.Limit, listMost))
		if limit == 0 {
			limit = listDefault
		}
		out := &paymentpb.ListReply{}
		for _, d := range desks {
			next, err := d.list(ctx, in, limit, &out.Payments)
			if err != nil {
				return err
			}
			out.Next = max(out.Next, next)
		}
		slices.SortFunc(out.Payments, func(a, b paymentpb.Payment) int { return int(int64(b.Created - a.Created)) })
		if len(out.Payments) > limit {
			out.Payments = out.Payments[:limit]
			out.Next = out.Payments[limit-1].Created
		} else if out.Next != 0 && len(desks) > 1 {
			// Below the place where one provider's list ended, another one's is not complete.
			out.Payments = slices.DeleteFunc(out.Payments, func(p paymentpb.Payment) bool { return p.Created < out.Next })
		}
		r.Reply(out)
		return nil
	})
}

// list appends a provider's newest payments, and returns before what the rest stands.
func (d *desk) list(ctx context.Context, in *paymentpb.ListRequest, limit int, out *[]paymentpb.Payment) (next uint64, err error) {
	filter := ledgerpb.QueryFilter{Ledger: d.book.at.Ledger, Code: d.book.at.Code, UserData32: uint32(paymentpb.StepHold), Flags: uint32(ledgerpb.QueryFilterFlagsReversed)}
	if in.Before > 0 {
		filter.TimestampMax = in.Before - 1
	}
	found, looked := 0, 0
	var failed error
	err = d.book.transfers(ctx, filter, func(t *ledgerpb.Transfer) bool {
		if t.Id != t.UserData128 || t.DebitAccountId != d.book.at.Clearing {
			return true
		}
		if found == limit || looked == listLooked {
			next = t.Timestamp + 1
			return false
		}
		looked++
		p, err := d.book.payment(ctx, t.Id)
		if err != nil {
			failed = err
			return false
		}
		if p.Status != paymentpb.StatusNone && (in.Status == paymentpb.StatusNone || in.Status == p.Status) {
			*out = append(*out, *d.told(p))
			found++
		}
		return true
	})
	return next, errors.Join(err, failed)
}

// Reconcile implements paymentpb.PaymentsHandler.
func (c *Component) Reconcile(r message.Responder[*paymentpb.ReconcileReply], in *paymentpb.ReconcileRequest) {
	c.work(r.Request, watchers, func(ctx context.Context) error {
		d, err := c.desk(in.Provider)
		if err != nil {
			return err
		}
		until := time.Now()
		if in.Until != 0 {
			until = time.Unix(0, int64(in.Until))
		}
		out, err := d.reconcile(ctx, time.Unix(0, int64(in.Since)), until)
		if err == nil {
			r.Reply(out)
		}
		return err
	})
}
