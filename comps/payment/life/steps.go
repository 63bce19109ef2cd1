package life

import (
	"virtualservicesinc.com/rrts/message/txid"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

// The transfers that the Component makes itself have ids that are made of the payment's, or
// of the refund's: made again they are there already. The places are beyond those of any
// transaction.
const (
	placeAuthorized = 1<<30 + iota
	placeReleased
	placeSettled
	placeFee
	placeTakenBack
)

// AuthorizedID, SettledID and TakenBackID are the ids of such transfers; the last is made
// of a refund's id.
func AuthorizedID(payment u128.Int) u128.Int { return txid.Transfer(payment, placeAuthorized) }

// SettledID is described with AuthorizedID.
func SettledID(payment u128.Int) u128.Int { return txid.Transfer(payment, placeSettled) }

// TakenBackID is described with AuthorizedID.
func TakenBackID(refund u128.Int) u128.Int { return txid.Transfer(refund, placeTakenBack) }

func (at *Accounts) transfer(p *Payment, id, debit, credit u128.Int, amount uint64, step paymentpb.Step) ledgerpb.Transfer {
	return ledgerpb.Transfer{Id: id, DebitAccountId: debit, CreditAccountId: credit, Amount: u128.From64(amount),
		UserData128: p.ID, UserData32: uint32(step), Ledger: at.Ledger, Code: at.Code}
}

// Authorized is the transfer that says that the provider holds the money.
func (at *Accounts) Authorized(p *Payment) ledgerpb.Transfer {
	return at.transfer(p, AuthorizedID(p.ID), at.Clearing, p.Merchant, 0, paymentpb.StepAuthorized)
}

// Happened is what the ledger is to do for an event of the provider's; none: nothing, since
// it has done so, does not follow it, or does not know the payment. A payment that is held
// is given up when the provider holds it no longer, unless a call is owed that will say so.
// The time of the event stands in user_data_64.
func (at *Accounts) Happened(p *Payment, e *paymentpb.ChargeEvent, owed bool) (out []ledgerpb.Transfer) {
	follows := !at.Settled.IsZero()
	switch e.Kind {
	case paymentpb.ChargeEventKindReleased:
		if p.Status == paymentpb.StatusAuthorized && !owed {
			t := at.transfer(p, txid.Transfer(p.ID, placeReleased), u128.Int{}, u128.Int{}, 0, paymentpb.StepVoided)
			t.Flags, t.PendingId, t.Ledger, t.Code = void, p.ID, 0, 0
			out = append(out, t)
		}
	case paymentpb.ChargeEventKindSettled:
		if follows && p.Captured > 0 && !p.Has(paymentpb.StepSettled) && e.Amount+e.Fee <= p.Captured {
			out = append(out, at.transfer(p, SettledID(p.ID), at.Settled, at.Clearing, e.Amount, paymentpb.StepSettled))
			if e.Fee > 0 && !at.Fees.IsZero() {
				out = append(out, at.transfer(p, txid.Transfer(p.ID, placeFee), at.Fees, at.Clearing, e.Fee, paymentpb.StepFee))
			}
		}
	case paymentpb.ChargeEventKindTakenBack:
		if r := p.Refund(e.Refund); follows && r != nil && r.Done && !r.TakenBack && e.Amount == r.Amount {
			out = append(out, at.transfer(p, TakenBackID(r.ID), at.Clearing, at.Settled, e.Amount, paymentpb.StepTakenBack))
		}
	}
	for i := range out {
		out[i].UserData64 = e.Time
	}
	return out
}
