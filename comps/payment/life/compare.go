package life

import (
	"fmt"

	"virtualservicesinc.com/rrts/schema/paymentpb"
)

// The kinds of differences.
const (
	DiffStatus       = "status"
	DiffCaptured     = "captured"
	DiffRefunded     = "refunded"
	DiffUnknownHere  = "unknown-here"
	DiffUnknownThere = "unknown-there"
	DiffTwice        = "twice"
)

// Compare returns where ledger and provider differ about a payment, nil where they do not:
// the worst of it. It is to be asked when no call is owed.
func Compare(p *Payment, charges []paymentpb.Charge) *paymentpb.Difference {
	d := &paymentpb.Difference{Payment: p.ID, Here: p.Word()}
	if p.Status != paymentpb.StatusNone {
		d.Here = fmt.Sprintf("%s, %d of %d captured, %d refunded", p.Word(), p.Captured, p.Amount, p.Refunded)
	}
	g := &paymentpb.Charge{}
	d.There = "unknown"
	if len(charges) > 0 {
		g = &charges[0]
		d.Reference = g.Reference
		d.There = fmt.Sprintf("%s, %d of %d captured, %d refunded", ChargeWord(g.Status), g.Captured, g.Amount, g.Refunded)
	}
	takes := g.Status == paymentpb.ChargeStatusAuthorized || g.Status == paymentpb.ChargeStatusCaptured
	switch {
	case len(charges) > 1:
		d.Kind = DiffTwice
		d.There = fmt.Sprintf("%d charges", len(charges))
	case p.Status == paymentpb.StatusNone && takes:
		d.Kind = DiffUnknownHere
	case p.Status == paymentpb.StatusNone:
		return nil
	case p.Captured != g.Captured:
		d.Kind = DiffCaptured
		if len(charges) == 0 {
			d.Kind = DiffUnknownThere
		}
	case p.Refunded != g.Refunded:
		d.Kind = DiffRefunded
	case p.Captured > 0: // and equal
		return nil
	case p.Status == paymentpb.StatusAuthorized && len(charges) == 0:
		d.Kind = DiffUnknownThere
	case (p.Status == paymentpb.StatusAuthorized) != (g.Status == paymentpb.ChargeStatusAuthorized), p.Status == paymentpb.StatusCreated:
		d.Kind = DiffStatus // nobody will ever decide about one that is only created
	default:
		return nil
	}
	return d
}

// ChargeWord is the one word of a charge's status.
func ChargeWord(s paymentpb.ChargeStatus) string {
	words := [...]string{"unknown", "authorized", "captured", "released", "failed", "pending"}
	if int(s) < len(words) {
		return words[s]
	}
	return s.String()
}
