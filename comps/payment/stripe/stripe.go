// Package stripe is Stripe as a payment provider, by Stripe's own SDK: it answers the
// service PaymentProvider in the child process rrts-stripe, so that the SDK stays out of
// the SFU.
//
// A payment is one PaymentIntent with manual capture, made and confirmed in one call, from
// a token (a PaymentMethod's id, "pm_…") that Stripe made of the customer's card in the
// browser. Its metadata name the payment:
//
//	rrts_payment   the payment's id; on the PaymentIntent and on refunds
//	rrts_refund    the refund's id; on refunds
//
//	status of the PaymentIntent                     the charge is
//	requires_capture                                authorized
//	succeeded                                       captured
//	canceled                                        released
//	processing                                      pending
//	requires_payment_method, _action, _confirmation failed
//
// What a customer would have to confirm is declined: nobody is there to do it.
//
// A payment whose PaymentIntent is not known by its name is searched for by its metadata.
// Stripe's search lags up to a minute behind; a call that is made again meanwhile bears the
// same idempotency key, and Stripe keeps these for a day.
//
// Requests are not repeated by the SDK: the effect is.
package stripe

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/stripe/stripe-go/v85"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

const (
	metaPayment = "rrts_payment"
	metaRefund  = "rrts_refund"
	// pageSize is the longest list that Stripe answers at once.
	pageSize = 100
	// maxEvents bounds the events of one answer, at some 100 bytes each, and maxRefunds those of
	// one payment that are looked at.
	maxEvents  = 5000
	maxRefunds = 1000
	// limited is how long a call waits that came too soon.
	limited = 2 * time.Second
)

// account is one account at Stripe.
type account struct {
	api      *stripe.Client
	currency string
}

func newAccount(in *paymentpb.ProviderAccount) *account {
	cfg := &stripe.BackendConfig{
		HTTPClient: &http.Client{}, // each request has the time of its context
		// What the SDK would log names customers.
		LeveledLogger:     &stripe.LeveledLogger{Level: stripe.LevelNull},
		MaxNetworkRetries: stripe.Int64(0), EnableTelemetry: stripe.Bool(false),
	}
	if in.Url != "" {
		cfg.URL = stripe.String(in.Url)
	}
	return &account{api: stripe.NewClient(in.Key, stripe.WithBackends(stripe.NewBackendsWithConfig(cfg))), currency: in.Currency}
}

// do makes a call.
func (a *account) do(ctx context.Context, in *paymentpb.CallRequest) (*paymentpb.Charge, error) {
	if in.Operation == paymentpb.Authorize {
		return a.authorize(ctx, in)
	}
	intent := in.Reference
	if intent == "" { // what was authorized has one: this is a payment of which nothing is known here
		found, err := a.search(ctx, in.Payment)
		switch {
		case err != nil:
			return nil, err
		case len(found) == 0:
			return nil, refused("stripe: there is no PaymentIntent with the metadata %s = %v", metaPayment, in.Payment)
		case len(found) > 1:
			return nil, misconfigured("stripe: %d PaymentIntents have the metadata %s = %v", len(found), metaPayment, in.Payment)
		}
		intent = found[0].ID
	}
	switch in.Operation {
	case paymentpb.Capture:
		p := &stripe.PaymentIntentCaptureParams{AmountToCapture: stripe.Int64(int64(in.Amount))}
		p.SetIdempotencyKey(in.Key)
		p.AddExpand("latest_charge")
		return a.told(ctx)(a.api.V1PaymentIntents.Capture(ctx, intent, p))
	case paymentpb.Void:
		p := &stripe.PaymentIntentCancelParams{}
		p.SetIdempotencyKey(in.Key)
		p.AddExpand("latest_charge")
		return a.told(ctx)(a.api.V1PaymentIntents.Cancel(ctx, intent, p))
	case paymentpb.Refund:
		p := &stripe.RefundCreateParams{PaymentIntent: stripe.String(intent), Amount: stripe.Int64(int64(in.Amount))}
		p.SetIdempotencyKey(in.Key)
		p.AddMetadata(metaPayment, in.Payment.String())
		p.AddMetadata(metaRefund, in.Refund.String())
		r, err := a.api.V1Refunds.Create(ctx, p)
		if err != nil {
			return nil, err
		}
		c, err := a.retrieve(ctx, intent)
		if err != nil {
			return nil, err
		}
		if !slices.ContainsFunc(c.Refunds, func(x paymentpb.ChargeRefund) bool { return x.Refund == in.Refund }) {
			c.Refunds = append(c.Refunds, refundOf(r)) // the list lags behind
		}
		return c, nil
	}
	return nil, misconfigured("stripe: there is no operation %q", in.Operation)
}

func (a *account) authorize(ctx context.Context, in *paymentpb.CallRequest) (*paymentpb.Charge, error) {
	p := &stripe.PaymentIntentCreateParams{
		Amount: stripe.Int64(int64(in.Amount)), Currency: stripe.String(a.currency), PaymentMethod: stripe.String(in.Token),
		CaptureMethod: stripe.String(string(stripe.PaymentIntentCaptureMethodManual)), Confirm: stripe.Bool(true), ErrorOnRequiresAction: stripe.Bool(true),
		AutomaticPaymentMethods: &stripe.PaymentIntentCreateAutomaticPaymentMethodsParams{Enabled: stripe.Bool(true), AllowRedirects: stripe.String("never")},
	}
	if in.Description != "" {
		p.Description = stripe.String(in.Description)
	}
	p.SetIdempotencyKey(in.Key)
	p.AddMetadata(metaPayment, in.Payment.String())
	p.AddExpand("latest_charge")
	return a.told(ctx)(a.api.V1PaymentIntents.Create(ctx, p))
}

// told makes a charge of what the SDK answers.
func (a *account) told(ctx context.Context) func(*stripe.PaymentIntent, error) (*paymentpb.Charge, error) {
	return func(pi *stripe.PaymentIntent, err error) (*paymentpb.Charge, error) {
		if err != nil {
			return nil, err
		}
		c := chargeOf(pi)
		return &c, nil
	}
}

// retrieve reads one payment with its refunds.
func (a *account) retrieve(ctx context.Context, intent string) (*paymentpb.Charge, error) {
	p := &stripe.PaymentIntentRetrieveParams{}
	p.AddExpand("latest_charge")
	pi, err := a.api.V1PaymentIntents.Retrieve(ctx, intent, p)
	if err != nil {
		return nil, err
	}
	c := chargeOf(pi)
	return &c, a.refunds(ctx, &c)
}

// refunds adds a charge's refunds to it.
func (a *account) refunds(ctx context.Context, c *paymentpb.Charge) error {
	if c.Status != paymentpb.ChargeStatusCaptured {
		return nil
	}
	p := &stripe.RefundListParams{PaymentIntent: stripe.String(c.Reference)}
	p.Limit = stripe.Int64(pageSize)
	for r, err := range a.api.V1Refunds.List(ctx, p).All(ctx) {
		if err != nil {
			return err
		}
		if c.Refunds = append(c.Refunds, refundOf(r)); len(c.Refunds) == maxRefunds {
			break
		}
	}
	return nil
}

// search looks for payments by their metadata.
func (a *account) search(ctx context.Context, payment u128.Int) (out []*stripe.PaymentIntent, err error) {
	p := &stripe.PaymentIntentSearchParams{}
	p.Query = fmt.Sprintf("metadata['%s']:'%v'", metaPayment, payment)
	p.AddExpand("data.latest_charge")
	for pi, err := range a.api.V1PaymentIntents.Search(ctx, p).All(ctx) {
		if err != nil {
			return nil, err
		}
		if pi.Metadata[metaPayment] == payment.String() {
			if out = append(out, pi); len(out) == pageSize {
				break
			}
		}
	}
	return out, nil
}

// find returns all charges of a payment.
func (a *account) find(ctx context.Context, payment u128.Int, reference string) ([]paymentpb.Charge, error) {
	if reference != "" {
		c, err := a.retrieve(ctx, reference)
		if err != nil {
			return nil, err
		}
		return []paymentpb.Charge{*c}, nil
	}
	found, err := a.search(ctx, payment)
	if err != nil {
		return nil, err
	}
	var out []paymentpb.Charge
	for _, pi := range found {
		c := chargeOf(pi)
		if err := a.refunds(ctx, &c); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// charges returns a page of charges; the cursor is the last one's name.
func (a *account) charges(ctx context.Context, since, until time.Time, cursor string) (out []paymentpb.Charge, next string, err error) {
	p := &stripe.PaymentIntentListParams{CreatedRange: &stripe.RangeQueryParams{GreaterThanOrEqual: max(since.Unix(), 1), LesserThan: until.Unix() + 1}}
	p.Limit, p.Single = stripe.Int64(pageSize), true
	p.AddExpand("data.latest_charge")
	if cursor != "" {
		p.StartingAfter = stripe.String(cursor)
	}
	list := a.api.V1PaymentIntents.List(ctx, p)
	if err := list.Err(); err != nil {
		return nil, "", err
	}
	for _, pi := range list.Data() {
		next = pi.ID
		if pi.Metadata[metaPayment] != "" { // others are not RRTS's business
			out = append(out, chargeOf(pi))
		}
	}
	if !list.Meta().HasMore {
		next = ""
	}
	return out, next, nil
}

// events returns what has happened from a time on, the oldest first: authorizations that
// ended, and what payouts were made of. The cursor is the time from which the next page
// begins, in seconds.
func (a *account) events(ctx context.Context, since time.Time, cursor string) (out []paymentpb.ChargeEvent, next string, err error) {
	from := since.Unix()
	if cursor != "" {
		if from, err = strconv.ParseInt(cursor, 10, 64); err != nil {
			return nil, "", misconfigured("stripe: the cursor is none of its own")
		}
	}
	from = max(from, 1)
	p := &stripe.EventListParams{Type: stripe.String("payment_intent.canceled"), CreatedRange: &stripe.RangeQueryParams{GreaterThanOrEqual: from}}
	p.Limit = stripe.Int64(pageSize)
	for e, err := range a.api.V1Events.List(ctx, p).All(ctx) {
		if err != nil {
			return nil, "", err
		}
		if id := payment(e.GetObjectValue("metadata", metaPayment)); !id.IsZero() {
			out = append(out, paymentpb.ChargeEvent{Kind: paymentpb.ChargeEventKindReleased, Payment: id, Time: nanos(e.Created), Reference: e.ID})
		}
	}
	q := &stripe.PayoutListParams{Status: stripe.String(string(stripe.PayoutStatusPaid)), ArrivalDateRange: &stripe.RangeQueryParams{GreaterThanOrEqual: from}}
	q.Limit = stripe.Int64(pageSize)
	for po, err := range a.api.V1Payouts.List(ctx, q).All(ctx) {
		if err != nil {
			return nil, "", err
		}
		if out, err = a.payout(ctx, po, out); err != nil {
			return nil, "", err
		}
	}
	slices.SortStableFunc(out, func(x, y paymentpb.ChargeEvent) int { return cmp.Compare(x.Time, y.Time) })
	if len(out) > maxEvents {
		// The page ends before a second that would be cut in two, unless it is nothing else.
		last := out[maxEvents].Time
		n, _ := slices.BinarySearchFunc(out, last, func(x paymentpb.ChargeEvent, t uint64) int { return cmp.Compare(x.Time, t) })
		if n > 0 {
			return out[:n], strconv.FormatUint(last/uint64(time.Second), 10), nil
		}
	}
	return out, "", nil
}

// payout adds what a payout was made of. Of one that was ordered by hand Stripe does not
// say.
func (a *account) payout(ctx context.Context, po *stripe.Payout, out []paymentpb.ChargeEvent) ([]paymentpb.ChargeEvent, error) {
	if !po.Automatic {
		return out, nil
	}
	p := &stripe.BalanceTransactionListParams{Payout: stripe.String(po.ID)}
	p.Limit = stripe.Int64(pageSize)
	p.AddExpand("data.source")
	for b, err := range a.api.V1BalanceTransactions.List(ctx, p).All(ctx) {
		if err != nil {
			return nil, err
		}
		if b.Source == nil {
			continue
		}
		e := paymentpb.ChargeEvent{Time: nanos(po.ArrivalDate), Reference: b.ID}
		switch {
		case b.Source.Charge != nil && b.Net >= 0 && b.Fee >= 0:
			e.Kind, e.Payment = paymentpb.ChargeEventKindSettled, payment(b.Source.Charge.Metadata[metaPayment])
			e.Amount, e.Fee = uint64(b.Net), uint64(b.Fee)
		case b.Source.Refund != nil && b.Amount <= 0:
			e.Kind, e.Payment, e.Refund = paymentpb.ChargeEventKindTakenBack, payment(b.Source.Refund.Metadata[metaPayment]), payment(b.Source.Refund.Metadata[metaRefund])
			e.Amount = uint64(-b.Amount)
		}
		if !e.Payment.IsZero() {
			out = append(out, e)
		}
	}
	return out, nil
}

func nanos(seconds int64) uint64 { return uint64(seconds) * uint64(time.Second) }

// payment reads an id of our metadata; 0 for none.
func payment(text string) u128.Int {
	id, err := u128.Parse(text)
	if err != nil {
		return u128.Int{}
	}
	return id
}

// chargeOf is a PaymentIntent as a charge, without its refunds.
func chargeOf(pi *stripe.PaymentIntent) paymentpb.Charge {
	c := paymentpb.Charge{Payment: payment(pi.Metadata[metaPayment]), Reference: pi.ID, Amount: uint64(max(pi.Amount, 0)), Created: nanos(pi.Created)}
	switch pi.Status {
	case stripe.PaymentIntentStatusRequiresCapture:
		c.Status = paymentpb.ChargeStatusAuthorized
	case stripe.PaymentIntentStatusSucceeded:
		c.Status, c.Captured = paymentpb.ChargeStatusCaptured, uint64(max(pi.AmountReceived, 0))
	case stripe.PaymentIntentStatusCanceled:
		c.Status = paymentpb.ChargeStatusReleased
	case stripe.PaymentIntentStatusProcessing:
		c.Status = paymentpb.ChargeStatusPending
	default:
		c.Status, c.Reason = paymentpb.ChargeStatusFailed, "stripe: "+string(pi.Status)
		if pi.LastPaymentError != nil && pi.LastPaymentError.Msg != "" {
			c.Reason = "stripe: " + pi.LastPaymentError.Msg
		}
	}
	if pi.LatestCharge != nil && c.Status == paymentpb.ChargeStatusCaptured {
		c.Refunded = uint64(max(pi.LatestCharge.AmountRefunded, 0))
	}
	return c
}

func refundOf(r *stripe.Refund) paymentpb.ChargeRefund {
	return paymentpb.ChargeRefund{Refund: payment(r.Metadata[metaRefund]), Reference: r.ID, Amount: uint64(max(r.Amount, 0)),
		Failed: r.Status == stripe.RefundStatusFailed || r.Status == stripe.RefundStatusCanceled}
}

// fault is an answer of this package's own.
type fault struct {
	class  paymentpb.FaultClass
	reason string
}

func (f *fault) Error() string { return f.reason }

func refused(format string, args ...any) error {
	return &fault{paymentpb.FaultClassRefused, fmt.Sprintf(format, args...)}
}

func misconfigured(format string, args ...any) error {
	return &fault{paymentpb.FaultClassMisconfigured, fmt.Sprintf(format, args...)}
}

// faultOf says what an error means: whether Stripe has decided, and how.
func faultOf(err error) *paymentpb.ProviderFault {
	if err == nil {
		return nil
	}
	var own *fault
	if errors.As(err, &own) {
		return &paymentpb.ProviderFault{Class: own.class, Reason: own.reason}
	}
	var e *stripe.Error
	if !errors.As(err, &e) { // nothing came back, or not all of it
		return &paymentpb.ProviderFault{Class: paymentpb.FaultClassUnknown, Reason: "stripe: no answer: " + err.Error()}
	}
	out := &paymentpb.ProviderFault{Reason: fmt.Sprintf("stripe: %d %s", e.HTTPStatusCode, e.Type)}
	for _, more := range []string{string(e.Code), string(e.DeclineCode), e.Param, e.Msg} {
		if more != "" {
			out.Reason += ": " + more
		}
	}
	if e.RequestID != "" {
		out.Reason += " (" + e.RequestID + ")"
	}
	switch {
	case e.HTTPStatusCode == http.StatusTooManyRequests:
		out.Class, out.AfterMillis = paymentpb.FaultClassUnknown, uint64(limited.Milliseconds())
	case e.HTTPStatusCode == http.StatusConflict, e.HTTPStatusCode >= 500, e.HTTPStatusCode == 0:
		out.Class = paymentpb.FaultClassUnknown // a call with the same key is under way, or nobody knows
	case e.HTTPStatusCode == http.StatusUnauthorized, e.HTTPStatusCode == http.StatusForbidden, e.Type == stripe.ErrorTypeIdempotency:
		out.Class = paymentpb.FaultClassMisconfigured
	default: // a card was declined, or the request can never succeed
		out.Class = paymentpb.FaultClassRefused
	}
	return out
}
