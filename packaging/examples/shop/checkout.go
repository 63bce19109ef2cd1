package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// story is how a basket's checkout goes: the provider does what the token says, see package
// comps/payment/sandbox.
type story struct {
	name     string
	token    string
	article  string
	customer string
	// What must have come of it in the end.
	paid, ordered, mailed bool
}

// stories are what happens to baskets, one after the other.
var stories = []story{
	{"well", "visa", "book", "Anna", true, true, true},
	{"the card is declined", "visa,authorize:decline", "book", "Anna", false, false, false},
	{"well", "visa", "book", "Anna", true, true, true},
	{"the order is refused", "visa", "unicorn", "Anna", false, false, false},
	{"the provider is lost twice", "visa,authorize:timeout-after,capture:error-after", "book", "Anna", true, true, true},
	{"the money is not to be had", "visa,capture:decline", "book", "Anna", false, false, false},
	{"well", "visa", "book", "Anna", true, true, true},
	{"the customer has no address", "visa", "book", "Bert", true, true, false},
}

// shop is a till of a cluster.
type shop struct {
	op       *client.Client // sets things up, as an operator
	till     *client.Client // checks out, as a client
	provider *paymentpb.Provider
	mu       sync.Mutex // guards out
	out      io.Writer
}

// Close ends the connections.
func (s *shop) Close() {
	s.op.Close()
	if s.till != nil {
		s.till.Close()
	}
}

// transaction is a checkout: all of it stands in one transaction, which is committed or not.
//
//	hold the money in the ledger
//	└ authorize: the provider holds it, too       ✗ the hold is voided
//	  └ add-order: a row in the database          ✗ void: the provider lets it go, the hold is voided
//	    └ capture: the provider takes the money,  ✗ cancel-order, void
//	      the hold is posted
//	      └ receipt: a mail
//
// What follows a step is owed by the same commit that notes the step as done, so that
// nothing is forgotten and nothing done twice, whichever machine dies.
func (s *shop) transaction(b *basket) (*txnpb.Transaction, error) {
	p, err := client.NewPayment(s.provider, b.payment, merchant, b.price, b.story.token)
	if err != nil {
		return nil, err
	}
	p.Description = "shop, " + b.order
	order := func(operation string, arguments ...txnpb.Argument) txnpb.Effect {
		return txnpb.Effect{Service: "sql", Target: "shop", Operation: operation, Key: b.order,
			Arguments: append([]txnpb.Argument{client.Text("number", b.order)}, arguments...)}
	}
	receipt := txnpb.Effect{Service: "mail", Operation: "receipt", Key: b.order, Arguments: []txnpb.Argument{
		client.Text("to", b.story.customer), client.Text("order", b.order), client.Decimal("amount", fmt.Sprintf("%d.%02d", b.price/100, b.price%100))}}

	capture := p.Capture(b.price)
	capture.Done.Effects = []txnpb.Effect{receipt}
	capture.Failed = &txnpb.Continuation{Effects: []txnpb.Effect{order("cancel-order"), p.Void()}}

	add := order("add-order", client.Text("article", b.story.article), client.Integer("cents", int64(b.price)))
	add.Done = &txnpb.Continuation{Effects: []txnpb.Effect{capture}}
	add.Failed = &txnpb.Continuation{Effects: []txnpb.Effect{p.Void()}}

	authorize := p.Authorize() // where it fails the hold is voided
	authorize.Done = &txnpb.Continuation{Effects: []txnpb.Effect{add}}

	tx := s.till.Transaction()
	tx.Memo = "checkout of " + b.order
	tx.Transfers = []ledgerpb.Transfer{p.Hold()}
	tx.Effects = []txnpb.Effect{authorize}
	return tx, nil
}

// checkOut submits a basket's transaction and waits until nothing is owed any more. The
// error is a *client.NotCompletedError where a step has failed and the rest was put back.
func (s *shop) checkOut(ctx context.Context, b *basket) error {
	tx, err := s.transaction(b)
	if err != nil {
		return err
	}
	// Submit sends it again, under the same id, until the outcome is known.
	if _, err := s.till.Submit(ctx, tx); err != nil {
		return err
	}
	for {
		waiting, stop := context.WithTimeout(ctx, 2*time.Second)
		_, err := s.till.Completed(waiting, tx.Id)
		late := waiting.Err() != nil
		stop()
		if !late || ctx.Err() != nil {
			return err
		}
		// It takes long: something may wait for a person.
		if err := s.lookAfter(ctx, tx.Id); err != nil && ctx.Err() != nil {
			return err
		}
	}
}

// lookAfter does what an operator does about effects in quarantine: a receipt that cannot
// be sent does not undo a sale. rrts effects list --quarantined shows them, rrts effects
// discard gives them up.
func (s *shop) lookAfter(ctx context.Context, id u128.Int) error {
	waiting, err := s.op.Outbox(ctx, &txnpb.OutboxFilter{AnyTarget: true, Limit: 100, Quarantined: true})
	if err != nil {
		return err
	}
	for i := range waiting.Effects {
		e := &waiting.Effects[i]
		if e.TransactionId != id || e.Effect.Service != "mail" {
			continue
		}
		tx := s.op.Transaction()
		tx.Mode = txnpb.ModeIndependent
		tx.EffectChanges = []txnpb.EffectChange{{Action: txnpb.EffectActionDiscard, Service: "mail", Sequence: e.Sequence, Reason: e.Reason}}
		var not *client.NotCommittedError
		if _, err := s.op.Submit(ctx, tx); err != nil && !errors.As(err, &not) {
			return err
		}
	}
	return nil
}
