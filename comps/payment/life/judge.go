package life

import (
	"fmt"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

// Call is one call of the provider that is owed.
type Call struct {
	Operation string
	Payment   u128.Int
	Refund    u128.Int
	Amount    uint64
}

// Act is what is to be done about a call.
type Act uint8

// The acts.
const (
	Make    Act = iota // make the call
	Already            // it is done, here and there
	Refuse             // it must not be made, ever
	// Release is Refuse where the provider may hold money that the ledger does not hold any
	// more: that is to be given up first.
	Release
)

func (a Act) String() string { return [...]string{"make", "already", "refuse", "release"}[a] }

// Judge says what is to be done about a call, as the ledger stands. The reason says why it
// is not made.
func Judge(p *Payment, c *Call) (act Act, reason string) {
	refuse := func(format string, args ...any) (Act, string) { return Refuse, fmt.Sprintf(format, args...) }
	if p.Status == paymentpb.StatusNone {
		return refuse("the ledger holds no money for payment %v: a transfer of that id, pending, from the provider's clearing account, of step %d", c.Payment, paymentpb.StepHold)
	}
	switch c.Operation {
	case paymentpb.Authorize:
		switch {
		case p.Expires:
			return refuse("the hold has a time-out: the money could come free while the provider takes it")
		case c.Amount != p.Amount:
			return refuse("the hold is of %d, and %d is to be authorized", p.Amount, c.Amount)
		case p.Status == paymentpb.StatusCreated:
			return Make, ""
		case p.Status == paymentpb.StatusAuthorized:
			return Already, ""
		case p.voided:
			return Release, "the payment is " + p.Word()
		}
		return refuse("the payment is %s", p.Word())
	case paymentpb.Capture:
		switch {
		case p.Status == paymentpb.StatusCreated:
			return refuse("the payment is not authorized")
		case p.Status != paymentpb.StatusAuthorized:
			return refuse("the payment is %s", p.Word())
		case c.Amount == 0 || c.Amount > p.Amount:
			return refuse("%d is to be captured of a payment of %d", c.Amount, p.Amount)
		}
		return Make, ""
	case paymentpb.Void:
		if !p.Holds() {
			return refuse("the payment is %s", p.Word())
		}
		return Make, ""
	case paymentpb.Refund:
		r := p.Refund(c.Refund)
		switch {
		case r == nil:
			return refuse("the ledger holds no money for refund %v: a transfer of that id, pending, to the provider's clearing account, of step %d", c.Refund, paymentpb.StepRefund)
		case r.Done:
			return Already, ""
		case r.Failed:
			return refuse("the refund is voided")
		case r.Amount != c.Amount || c.Amount == 0:
			return refuse("the hold of the refund is of %d, and %d is to be refunded", r.Amount, c.Amount)
		case p.refundedWith(r) > p.Captured:
			return refuse("%d was captured, and %d would be refunded", p.Captured, p.refundedWith(r))
		}
		return Make, ""
	}
	return refuse("there is no operation %q", c.Operation)
}

// Finding is what the provider's own books say of a call that may have been made.
type Finding uint8

// The findings.
const (
	NotDone Finding = iota
	Done
	Refused // by the provider, for good
	Open    // it has not decided yet
	Odd     // what it says makes no sense: a person must look
)

func (f Finding) String() string {
	return [...]string{"not done", "done", "refused", "open", "odd"}[f]
}

// Find says whether a call was done, by all charges that the provider has for its payment.
func Find(c *Call, charges []paymentpb.Charge) (f Finding, reference, reason string) {
	if len(charges) > 1 {
		return Odd, "", fmt.Sprintf("the provider has %d charges for payment %v, %s and %s among them", len(charges), c.Payment, charges[0].Reference, charges[1].Reference)
	}
	if len(charges) == 0 {
		if c.Operation == paymentpb.Void {
			return Done, "", ""
		}
		return NotDone, "", ""
	}
	g := &charges[0]
	switch c.Operation {
	case paymentpb.Authorize:
		switch g.Status {
		case paymentpb.ChargeStatusAuthorized, paymentpb.ChargeStatusCaptured:
			if g.Amount != c.Amount {
				return Odd, g.Reference, fmt.Sprintf("the provider holds %d, not %d", g.Amount, c.Amount)
			}
			return Done, g.Reference, ""
		case paymentpb.ChargeStatusFailed:
			return Refused, g.Reference, because(g, "the provider refused")
		case paymentpb.ChargeStatusReleased:
			return Refused, g.Reference, "the provider has given the money up"
		case paymentpb.ChargeStatusPending:
			return Open, g.Reference, because(g, "the provider has not decided yet")
		}
		return NotDone, g.Reference, ""
	case paymentpb.Capture:
		switch {
		case g.Status == paymentpb.ChargeStatusCaptured && g.Captured != c.Amount:
			return Odd, g.Reference, fmt.Sprintf("the provider has captured %d, not %d", g.Captured, c.Amount)
		case g.Status == paymentpb.ChargeStatusCaptured:
			return Done, g.Reference, ""
		case g.Status == paymentpb.ChargeStatusReleased || g.Status == paymentpb.ChargeStatusFailed:
			return Refused, g.Reference, because(g, "the provider does not hold the money any more")
		}
	case paymentpb.Void:
		switch g.Status {
		case paymentpb.ChargeStatusReleased, paymentpb.ChargeStatusFailed:
			return Done, g.Reference, ""
		case paymentpb.ChargeStatusCaptured:
			return Refused, g.Reference, "the provider has taken the money"
		}
	case paymentpb.Refund:
		for i := range g.Refunds {
			if r := &g.Refunds[i]; r.Refund == c.Refund {
				switch {
				case r.Failed:
					return Refused, r.Reference, "the provider refused the refund"
				case r.Amount != c.Amount:
					return Odd, r.Reference, fmt.Sprintf("the provider has refunded %d, not %d", r.Amount, c.Amount)
				}
				return Done, r.Reference, ""
			}
		}
	}
	return NotDone, g.Reference, ""
}

func because(g *paymentpb.Charge, text string) string {
	if g.Reason != "" {
		return text + ": " + g.Reason
	}
	return text
}
