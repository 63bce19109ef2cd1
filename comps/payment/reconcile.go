package payment

import (
	"context"
	"fmt"
	"time"

	"virtualservicesinc.com/comps/payment/life"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

const (
	// maxCompared bounds the transfers that are compared at once, at some 250 bytes each, and
	// the charges.
	maxCompared = 500_000
	// maxDifferences bounds those that are told: there is something wrong with all of it then.
	maxDifferences = 1000
	// chargedWithin is how long after its hold a payment may be charged and still be found by
	// its charge's time: a provider that was away for days.
	chargedWithin = 30 * 24 * time.Hour
)

// reconcile compares the payments that were created in a time with the provider's charges.
// What differs is looked at once more, both sides anew: only what still does, with no call
// owed that would explain it, is told.
func (d *desk) reconcile(ctx context.Context, since, until time.Time) (*paymentpb.ReconcileReply, error) {
	out := &paymentpb.ReconcileReply{}
	owed, err := d.book.owed(ctx, u128.Int{})
	if err != nil {
		return nil, err
	}
	here, err := d.book.payments(ctx, since, until)
	if err != nil {
		return nil, err
	}
	there := map[u128.Int][]paymentpb.Charge{}
	for cursor := ""; ; {
		page, next, err := d.provider.Charges(ctx, since, until.Add(chargedWithin), cursor)
		if err != nil {
			return nil, fmt.Errorf("payment: asking %s for charges: %w", d.cfg.Name, err)
		}
		for i := range page {
			there[page[i].Payment] = append(there[page[i].Payment], page[i])
			out.Charges++
		}
		if out.Charges > maxCompared {
			return nil, fmt.Errorf("payment: more than %d charges: compare a shorter time", maxCompared)
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	var suspects []u128.Int
	for _, p := range here {
		out.Payments++
		out.HereNet += p.Captured - p.Refunded
		for _, g := range there[p.ID] {
			out.ThereNet += g.Captured - g.Refunded
		}
		if len(owed[p.ID]) > 0 {
			out.UnderWay++
		} else if life.Compare(p, there[p.ID]) != nil {
			suspects = append(suspects, p.ID)
		}
		delete(there, p.ID)
	}
	for id, all := range there { // in any order: charges of payments that the ledger does not have in that time
		if time.Unix(0, int64(all[0].Created)).Before(until) {
			suspects = append(suspects, id)
		}
	}
	return out, d.confirm(ctx, out, suspects)
}

// confirm looks at suspects again, one by one, and tells those that differ.
func (d *desk) confirm(ctx context.Context, out *paymentpb.ReconcileReply, suspects []u128.Int) error {
	for _, id := range suspects {
		diff, open, err := d.compareAt(ctx, id)
		switch {
		case err != nil:
			return err
		case open:
			out.UnderWay++
		case diff != nil && len(out.Differences) == maxDifferences:
			out.More = true
			return nil
		case diff != nil:
			diff.There = withoutCards(diff.There)
			out.Differences = append(out.Differences, *diff)
		}
	}
	return nil
}

// payments returns those that were created in a time, in that order.
func (b *book) payments(ctx context.Context, since, until time.Time) ([]*life.Payment, error) {
	all := map[u128.Int][]ledgerpb.Transfer{}
	var order []u128.Int
	n := 0
	filter := ledgerpb.QueryFilter{Ledger: b.at.Ledger, Code: b.at.Code, TimestampMin: uint64(max(since.UnixNano(), 0))}
	err := b.transfers(ctx, filter, func(t *ledgerpb.Transfer) bool {
		id := t.UserData128
		if t.Id == id && t.Timestamp < uint64(until.UnixNano()) {
			order = append(order, id)
			all[id] = nil
		}
		if _, ok := all[id]; ok {
			all[id] = append(all[id], *t)
			n++
		}
		return n <= maxCompared
	})
	if err != nil {
		return nil, err
	}
	if n > maxCompared {
		return nil, fmt.Errorf("payment: more than %d transfers of payments: compare a shorter time", maxCompared)
	}
	var out []*life.Payment
	for _, id := range order {
		if p := life.Of(b.at, id, all[id]); p.Status != paymentpb.StatusNone {
			out = append(out, &p)
		}
	}
	return out, nil
}
