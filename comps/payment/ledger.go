package payment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"

	"virtualservicesinc.com/comps/effects"
	"virtualservicesinc.com/comps/payment/life"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// readPage is how many rows of the ledger are asked for at once.
	readPage = 2000
	// maxSteps bounds the transfers of one payment: refunds are three each.
	maxSteps = 10_000
	// maxReferences bounds the references that are remembered, at some 100 bytes each.
	maxReferences = 10_000
	// owedPage is how many effects are asked for at once, and maxOwed how many are looked at.
	owedPage = 512
	maxOwed  = 200_000
)

// book is a provider's payments in the ledger.
type book struct {
	txn      txnpb.TxnClient
	at       *life.Accounts
	provider string

	mu         sync.Mutex // guards references
	references map[u128.Int]string
}

func (b *book) read(ctx context.Context, q *txnpb.Query) (*txnpb.QueryAnswer, error) {
	a, err := b.txn.Read(ctx, q)
	if err != nil {
		return nil, fmt.Errorf("payment: reading the ledger: %w", err)
	}
	return a, nil
}

// transfers yields what a filter selects to f, which returns false for enough.
func (b *book) transfers(ctx context.Context, filter ledgerpb.QueryFilter, f func(t *ledgerpb.Transfer) bool) error {
	filter.Limit = readPage
	for {
		a, err := b.read(ctx, &txnpb.Query{QueryTransfers: &filter})
		if err != nil {
			return err
		}
		for i := range a.Transfers {
			if !f(&a.Transfers[i]) {
				return nil
			}
		}
		if len(a.Transfers) < readPage {
			return nil
		}
		last := a.Transfers[len(a.Transfers)-1].Timestamp
		if filter.Flags&uint32(ledgerpb.QueryFilterFlagsReversed) != 0 {
			filter.TimestampMax = last - 1
		} else {
			filter.TimestampMin = last + 1
		}
	}
}

// payment reads one.
func (b *book) payment(ctx context.Context, id u128.Int) (*life.Payment, error) {
	var all []ledgerpb.Transfer
	err := b.transfers(ctx, ledgerpb.QueryFilter{UserData128: id}, func(t *ledgerpb.Transfer) bool {
		all = append(all, *t)
		return len(all) < maxSteps
	})
	if err != nil {
		return nil, err
	}
	if len(all) == maxSteps {
		return nil, fmt.Errorf("payment: more than %d transfers name payment %v", maxSteps, id)
	}
	p := life.Of(b.at, id, all)
	return &p, nil
}

// reference is the provider's name for a payment that is authorized, "" for none.
func (b *book) reference(ctx context.Context, p *life.Payment) (string, error) {
	b.mu.Lock()
	r, ok := b.references[p.ID]
	b.mu.Unlock()
	if ok || p.Authorized == 0 {
		return r, nil
	}
	a, err := b.read(ctx, &txnpb.Query{GetStatement: &ledgerpb.StatementFilter{AccountId: b.at.Clearing, TimestampMin: p.Authorized, TimestampMax: p.Authorized, Limit: 1}})
	if err != nil {
		return "", err
	}
	for i := range a.Notes {
		for _, l := range a.Notes[i].Metadata {
			if l.Name == paymentpb.LabelReference {
				r = string(l.Value)
			}
		}
	}
	b.remember(p.ID, r)
	return r, nil
}

func (b *book) remember(payment u128.Int, reference string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.references) >= maxReferences {
		clear(b.references)
	}
	b.references[payment] = reference
}

// authorized notes that the provider holds the money of a payment, under its reference.
func (b *book) authorized(ctx context.Context, p *life.Payment, reference string) error {
	b.remember(p.ID, reference)
	return b.submit(ctx, p.ID, &txnpb.Transaction{
		Memo: "payment authorized by " + b.provider, Transfers: []ledgerpb.Transfer{b.at.Authorized(p)},
		Metadata: []txnpb.Label{{Name: paymentpb.LabelReference, Value: []byte(reference)}},
	})
}

// submit makes transfers of a payment whose ids are made of it: if they are not made now
// they may be there already.
func (b *book) submit(ctx context.Context, payment u128.Int, tx *txnpb.Transaction) error {
	o, err := effects.Submit(ctx, b.txn, 0, message.RoleOperator, tx)
	if err != nil {
		return err
	}
	if o.State == txnpb.StateCommitted {
		return nil
	}
	var ids []u128.Int
	for i := range tx.Transfers {
		ids = append(ids, tx.Transfers[i].Id)
	}
	a, err := b.read(ctx, &txnpb.Query{LookupTransfers: &ledgerpb.Lookup{Ids: ids}})
	switch {
	case err != nil:
		return err
	case len(a.Transfers) == len(ids) && !slices.ContainsFunc(a.Transfers, func(t ledgerpb.Transfer) bool { return t.UserData128 != payment }):
		return nil
	}
	return fmt.Errorf("payment: the ledger does not take what the provider says of payment %v: %v: %s", payment, o.State, o.Reason)
}

// errManyOwed ends a walk through a queue that is too long.
var errManyOwed = errors.New("payment: too many calls are owed to tell which payments wait for one")

// owed returns the calls that are owed, by payment: of one payment alone where one is named.
func (b *book) owed(ctx context.Context, only u128.Int) (map[u128.Int][]paymentpb.StepOwed, error) {
	out := map[u128.Int][]paymentpb.StepOwed{}
	from := uint64(0)
	for seen := 0; ; {
		a, err := b.read(ctx, &txnpb.Query{ListEffects: &txnpb.OutboxFilter{Service: paymentpb.EffectService, Target: b.provider, Sequence: from, Limit: owedPage}})
		if err != nil {
			return nil, err
		}
		if a.Outbox == nil {
			return nil, errors.New("payment: the answer holds no effects")
		}
		for i := range a.Outbox.Effects {
			e := &a.Outbox.Effects[i]
			from = e.Sequence + 1
			id, err := u128.Parse(e.Effect.Key)
			if err != nil || !only.IsZero() && id != only {
				continue
			}
			out[id] = append(out[id], paymentpb.StepOwed{Operation: e.Effect.Operation, State: uint32(e.State), Attempts: e.Attempts, Reason: e.Reason})
		}
		if seen += len(a.Outbox.Effects); seen > maxOwed {
			return nil, fmt.Errorf("%w: more than %s", errManyOwed, strconv.Itoa(maxOwed))
		}
		if !a.Outbox.More {
			return out, nil
		}
	}
}
