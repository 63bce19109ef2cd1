package client

import (
	"context"
	"fmt"

	"virtualservicesinc.com/rrts/message/cardnumber"
	"virtualservicesinc.com/rrts/message/txid"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Payment is what a customer is to pay through a payment provider: its steps are transfers
// and effects, to be put into transactions.
//
//	p, err := client.NewPayment(provider, c.NewID(), shop, 1999, token)
//	tx := c.Transaction()
//	tx.Transfers = []ledgerpb.Transfer{p.Hold()}
//	tx.Effects = []txnpb.Effect{p.Authorize()}
//
// holds the money in the ledger and asks the provider to hold it, too; when that says no the
// hold is voided. What follows stands in transactions of its own,
//
//	tx.Effects = []txnpb.Effect{p.Capture(1500)}
//
// or behind the authorization, all in one:
//
//	authorize, capture := p.Authorize(), p.Capture(1999)
//	authorize.Done = &txnpb.Continuation{Effects: []txnpb.Effect{capture}}
//
// Whoever submits these needs the right to debit the provider's clearing account, and for
// refunds the merchant's. A card's number must not stand in any text; a transaction with
// one is refused.
type Payment struct {
	// ID is made by NewID. The hold has it, and everything that follows.
	ID       u128.Int
	Provider *paymentpb.Provider
	Merchant u128.Int // the account that is paid
	Amount   uint64   // in the smallest unit of the currency
	// Token is what stands for the customer's card at the provider.
	Token string
	// Description is what the customer reads on the bill; optional.
	Description string
}

// Providers returns the payment providers of the cluster, as an SFU that has some is
// configured.
func (c *Client) Providers(ctx context.Context) ([]paymentpb.Provider, error) {
	a, err := paymentpb.PaymentsClient{Caller: c}.Providers(ctx, &paymentpb.ProvidersRequest{})
	if err != nil {
		return nil, err
	}
	return a.Providers, nil
}

// Provider returns the payment provider of that name.
func (c *Client) Provider(ctx context.Context, name string) (*paymentpb.Provider, error) {
	all, err := c.Providers(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if all[i].Name == name {
			return &all[i], nil
		}
	}
	return nil, fmt.Errorf("client: there is no payment provider %q: see rrts payment providers", name)
}

// NewPayment returns a payment that can be made; the error says what of it is wrong.
func NewPayment(at *paymentpb.Provider, id, merchant u128.Int, amount uint64, token string) (*Payment, error) {
	switch {
	case id.Hi == 0:
		return nil, fmt.Errorf("client: payment %v: its id must be one that NewID has made", id)
	case amount == 0 || amount > paymentpb.MaxAmount:
		return nil, fmt.Errorf("client: a payment of %d, it must be 1 to %d", amount, uint64(paymentpb.MaxAmount))
	case cardnumber.In(token):
		return nil, fmt.Errorf("client: the token is a card's number: let the provider make a token of it")
	}
	return &Payment{ID: id, Provider: at, Merchant: merchant, Amount: amount, Token: token}, nil
}

func (p *Payment) effect(operation string, amount uint64) txnpb.Effect {
	e := txnpb.Effect{Service: paymentpb.EffectService, Target: p.Provider.Name, Operation: operation, Key: p.ID.String(), Arguments: []txnpb.Argument{
		{Name: paymentpb.ArgPayment, Kind: txnpb.ArgumentKindInteger, Value: p.ID.Append(nil)},
	}}
	if amount > 0 {
		e.Arguments = append(e.Arguments, Integer(paymentpb.ArgAmount, int64(amount)))
	}
	return e
}

// end is the transfer that posts or voids a pending one.
func (p *Payment) end(id, pending u128.Int, amount uint64, flag ledgerpb.TransferFlags, step paymentpb.Step) ledgerpb.Transfer {
	return ledgerpb.Transfer{Id: id, PendingId: pending, Amount: u128.From64(amount), Flags: uint32(flag), UserData128: p.ID, UserData32: uint32(step)}
}

// The places of the transfers by which a payment ends, of which their ids are made: each
// happens once.
const (
	placeEnd    = 1<<29 + iota // of the hold
	placeRefund                // of a refund
)

func (p *Payment) endHold(amount uint64, flag ledgerpb.TransferFlags, step paymentpb.Step) *txnpb.Continuation {
	return &txnpb.Continuation{Transfers: []ledgerpb.Transfer{p.end(txid.Transfer(p.ID, placeEnd), p.ID, amount, flag, step)}}
}

// Hold is the transfer that holds the money: pending, from the provider's clearing account.
func (p *Payment) Hold() ledgerpb.Transfer {
	return ledgerpb.Transfer{Id: p.ID, DebitAccountId: p.Provider.ClearingAccount, CreditAccountId: p.Merchant, Amount: u128.From64(p.Amount),
		UserData128: p.ID, UserData32: uint32(paymentpb.StepHold), Ledger: p.Provider.Ledger, Code: p.Provider.Code, Flags: uint32(ledgerpb.TransferFlagsPending)}
}

// Authorize is the call by which the provider holds the money; it belongs into the
// transaction of Hold. Where it fails the hold is voided; what more is to follow a failure
// can be added to its Failed.
func (p *Payment) Authorize() txnpb.Effect {
	e := p.effect(paymentpb.Authorize, p.Amount)
	e.Arguments = append(e.Arguments, Text(paymentpb.ArgToken, p.Token))
	if p.Description != "" {
		e.Arguments = append(e.Arguments, Text(paymentpb.ArgDescription, p.Description))
	}
	e.Failed = p.endHold(0, ledgerpb.TransferFlagsVoidPendingTransfer, paymentpb.StepFailed)
	return e
}

// Capture is the call by which the provider takes the money, or a part of it: what is left
// over is free. The hold is posted when it has. Where it fails nothing follows by itself:
// the provider may still hold the money, and Void gives it up.
func (p *Payment) Capture(amount uint64) txnpb.Effect {
	e := p.effect(paymentpb.Capture, amount)
	e.Done = p.endHold(amount, ledgerpb.TransferFlagsPostPendingTransfer, paymentpb.StepCaptured)
	return e
}

// Void is the call by which the provider gives up the money that it holds; the hold is
// voided when it has.
func (p *Payment) Void() txnpb.Effect {
	e := p.effect(paymentpb.Void, 0)
	e.Done = p.endHold(0, ledgerpb.TransferFlagsVoidPendingTransfer, paymentpb.StepVoided)
	return e
}

// Refund is the transfer that holds what is to be given back, and the call by which the
// provider gives it back. The transfer is posted when it has, and voided where it fails. id
// is made by NewID.
func (p *Payment) Refund(id u128.Int, amount uint64) (ledgerpb.Transfer, txnpb.Effect) {
	hold := ledgerpb.Transfer{Id: id, DebitAccountId: p.Merchant, CreditAccountId: p.Provider.ClearingAccount, Amount: u128.From64(amount),
		UserData128: p.ID, UserData32: uint32(paymentpb.StepRefund), Ledger: p.Provider.Ledger, Code: p.Provider.Code, Flags: uint32(ledgerpb.TransferFlagsPending)}
	e := p.effect(paymentpb.Refund, amount)
	e.Arguments = append(e.Arguments, txnpb.Argument{Name: paymentpb.ArgRefund, Kind: txnpb.ArgumentKindInteger, Value: id.Append(nil)})
	end := txid.Transfer(id, placeRefund)
	e.Done = &txnpb.Continuation{Transfers: []ledgerpb.Transfer{p.end(end, id, amount, ledgerpb.TransferFlagsPostPendingTransfer, paymentpb.StepRefunded)}}
	e.Failed = &txnpb.Continuation{Transfers: []ledgerpb.Transfer{p.end(end, id, 0, ledgerpb.TransferFlagsVoidPendingTransfer, paymentpb.StepRefundFailed)}}
	return hold, e
}
