package payment

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"virtualservicesinc.com/comps/effects"
	"virtualservicesinc.com/comps/payment/life"
	"virtualservicesinc.com/rrts/message/cardnumber"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// desk is one provider: it makes the calls that are owed.
type desk struct {
	cfg      *ProviderConfig
	provider Provider
	close    func() error // of the sandbox's books; nil: none
	book     *book
	watch    watch
}

// Do implements effects.Doer.
func (d *desk) Do(ctx context.Context, batch []effects.Attempt) []effects.Result {
	return effects.Each(ctx, batch, func(ctx context.Context, a *effects.Attempt) effects.Result {
		r := d.do(ctx, a)
		r.Reason, r.Reference = withoutCards(r.Reason), withoutCards(r.Reference)
		return r
	})
}

// withoutCards is a text as it may be kept: what a provider says may repeat what it was
// asked.
func withoutCards(text string) string {
	if cardnumber.In(text) {
		return "(the provider's text is left out: a card's number stands in it)"
	}
	return text
}

func (d *desk) do(ctx context.Context, a *effects.Attempt) effects.Result {
	in, call, err := request(a)
	if err != nil {
		return effects.Fail(err, "")
	}
	p, err := d.book.payment(ctx, call.Payment)
	if err != nil {
		return effects.Retry(err)
	}
	if in.Reference, err = d.book.reference(ctx, p); err != nil {
		return effects.Retry(err)
	}
	if a.InDoubt || a.Number > 1 { // an attempt before this one may have done it
		if r := d.ask(ctx, p, call, in.Reference); r != nil {
			return *r
		}
	}
	switch act, why := life.Judge(p, call); act {
	case life.Already:
		return effects.Done(in.Reference)
	case life.Refuse:
		return effects.Fail(errors.New(why), in.Reference)
	case life.Release:
		void := &paymentpb.CallRequest{Key: in.Key + "-release", Operation: paymentpb.Void, Payment: in.Payment, Reference: in.Reference}
		if _, err := d.provider.Do(ctx, void); err != nil && classOf(err) != paymentpb.FaultClassRefused {
			return fromFault(err)
		}
		return effects.Fail(errors.New(why), in.Reference)
	}
	charge, err := d.provider.Do(ctx, in)
	switch {
	case classOf(err) == paymentpb.FaultClassRefused && err != nil && in.Operation != paymentpb.Authorize:
		// It may be refused because it is done.
		if r := d.ask(ctx, p, call, in.Reference); r != nil {
			return *r
		}
		return fromFault(err)
	case err != nil:
		return fromFault(err)
	}
	r := d.conclude(ctx, p, call, []paymentpb.Charge{*charge})
	if r == nil {
		return effects.Quarantine(fmt.Errorf("the provider says yes to %s, and that payment %v is %s", call.Operation, call.Payment, life.ChargeWord(charge.Status)))
	}
	return *r
}

// ask asks the provider what became of a call; nil: it was not made.
func (d *desk) ask(ctx context.Context, p *life.Payment, call *life.Call, reference string) *effects.Result {
	charges, err := d.provider.Find(ctx, call.Payment, reference)
	if err != nil {
		r := effects.Retry(fmt.Errorf("what became of it is not known: %w", err))
		return &r
	}
	return d.conclude(ctx, p, call, charges)
}

// conclude is what the provider's books mean for a call; nil: it was not made.
func (d *desk) conclude(ctx context.Context, p *life.Payment, call *life.Call, charges []paymentpb.Charge) *effects.Result {
	var r effects.Result
	switch found, reference, reason := life.Find(call, charges); found {
	case life.NotDone:
		return nil
	case life.Done:
		r = effects.Done(reference)
		if call.Operation == paymentpb.Authorize && p.Status == paymentpb.StatusCreated {
			if err := d.book.authorized(ctx, p, reference); err != nil {
				r = effects.Retry(err)
			}
		}
	case life.Refused:
		r = effects.Fail(errors.New(reason), reference)
	case life.Odd:
		r = effects.Quarantine(errors.New(reason))
	default:
		r = effects.Retry(errors.New(reason))
	}
	return &r
}

// fromFault is the result of a call that did not succeed.
func fromFault(err error) effects.Result {
	var f *Fault
	if errors.As(err, &f) {
		switch f.Class {
		case paymentpb.FaultClassRefused:
			return effects.Fail(err, "")
		case paymentpb.FaultClassMisconfigured:
			return effects.Quarantine(err)
		}
		r := effects.Retry(err)
		r.After = time.Duration(f.AfterMillis) * time.Millisecond
		return r
	}
	return effects.Retry(err)
}

// request is what an effect asks for. The error names the argument: nothing was asked of
// the provider, and never will be.
func request(a *effects.Attempt) (*paymentpb.CallRequest, *life.Call, error) {
	in := &paymentpb.CallRequest{Key: a.Key.String(), Operation: a.Operation}
	known := map[string]bool{paymentpb.ArgPayment: true}
	var err error
	amount := func() {
		known[paymentpb.ArgAmount] = true
		var n int64
		if n, err = a.Args.Integer(paymentpb.ArgAmount); err == nil && (n < 1 || n > paymentpb.MaxAmount) {
			err = fmt.Errorf("argument %q is %d, it must be 1 to %d", paymentpb.ArgAmount, n, int64(paymentpb.MaxAmount))
		}
		in.Amount = uint64(n)
	}
	if in.Payment, err = idArgument(a, paymentpb.ArgPayment); err != nil {
		return nil, nil, err
	}
	switch a.Operation {
	case paymentpb.Authorize:
		known[paymentpb.ArgToken], known[paymentpb.ArgDescription] = true, true
		if in.Token, err = a.Args.Text(paymentpb.ArgToken); err != nil {
			return nil, nil, err
		}
		if in.Description, err = a.Args.OptionalText(paymentpb.ArgDescription); err != nil {
			return nil, nil, err
		}
		switch {
		case in.Token == "" || len(in.Token) > paymentpb.MaxToken || strings.ContainsFunc(in.Token, unprintable):
			return nil, nil, fmt.Errorf("argument %q: it must have 1 to %d bytes of text on one line", paymentpb.ArgToken, paymentpb.MaxToken)
		case len(in.Description) > paymentpb.MaxDescription || strings.ContainsFunc(in.Description, unprintable):
			return nil, nil, fmt.Errorf("argument %q: it must have at most %d bytes of text on one line", paymentpb.ArgDescription, paymentpb.MaxDescription)
		}
		amount()
	case paymentpb.Capture:
		amount()
	case paymentpb.Refund:
		known[paymentpb.ArgRefund] = true
		if in.Refund, err = idArgument(a, paymentpb.ArgRefund); err != nil {
			return nil, nil, err
		}
		amount()
	case paymentpb.Void:
	default:
		err = fmt.Errorf("operation %q: it must be %s, %s, %s or %s", a.Operation, paymentpb.Authorize, paymentpb.Capture, paymentpb.Void, paymentpb.Refund)
	}
	if err != nil {
		return nil, nil, err
	}
	if a.Order != in.Payment.String() {
		return nil, nil, fmt.Errorf("key %q: it must be the payment's id, %v: its calls are made one after the other", a.Order, in.Payment)
	}
	for i := range a.Args {
		if !known[a.Args[i].Name] {
			return nil, nil, fmt.Errorf("argument %q: %s has no such argument", a.Args[i].Name, a.Operation)
		}
		if cardnumber.In(a.Args[i].Value) { // of a transaction that an older leader has let in
			return nil, nil, fmt.Errorf("argument %q: a card's number", a.Args[i].Name)
		}
	}
	return in, &life.Call{Operation: in.Operation, Payment: in.Payment, Refund: in.Refund, Amount: in.Amount}, nil
}

func unprintable(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }

// leastID is the least id of a payment or refund, 20 digits: those that clients make are
// far above it, and no card's number is as long.
var leastID = u128.Int{Hi: 1}

func idArgument(a *effects.Attempt, name string) (u128.Int, error) {
	arg := a.Args.Find(name)
	if arg == nil || arg.Kind != txnpb.ArgumentKindInteger {
		return u128.Int{}, fmt.Errorf("argument %q is missing, or no integer", name)
	}
	id, err := u128.Parse(string(arg.Value))
	if err != nil || id.Less(leastID) || id.String() != string(arg.Value) {
		return u128.Int{}, fmt.Errorf("argument %q: it must be an id that a client has made, of 20 digits or more", name)
	}
	return id, nil
}
