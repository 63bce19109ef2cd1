package main

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"virtualservicesinc.com/comps/payment/sandbox"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/datasourcepb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
)

// compare holds what happened against what should have, in all four books.
func (s *shop) compare(ctx context.Context, all []*basket, box *mailbox, provider string) error {
	var faults []string
	fault := func(format string, args ...any) { faults = append(faults, fmt.Sprintf(format, args...)) }
	sold, paid, ordered, mailed := uint64(0), 0, 0, 0
	for _, b := range all {
		if b.story.paid {
			sold += b.price
			paid++
		}
		if b.story.ordered {
			ordered++
		}
		if b.story.mailed {
			mailed++
		}
	}

	// The ledger: what was sold stands on the merchant's account, and nothing is held.
	accounts, err := s.till.LookupAccounts(ctx, merchant)
	if err != nil {
		return err
	}
	if a := accounts[0]; a.CreditsPosted != u128.From64(sold) || !a.DebitsPosted.IsZero() || !a.CreditsPending.IsZero() {
		fault("the ledger: the merchant has %v and is to get %v, it should have %d", a.CreditsPosted, a.CreditsPending, sold)
	}

	// The database: one row for each order that was not taken back.
	rows, err := s.orders(ctx)
	if err != nil {
		return err
	}
	for _, b := range all {
		if n := rows[b.order]; n != map[bool]int{true: 1}[b.story.ordered] {
			fault("the database: %s stands there %d times", b.order, n)
		}
	}

	// The provider: one charge for each basket that was paid, and none for another.
	books, err := sandbox.Open(sandbox.Config{Dir: provider})
	if err != nil {
		return err
	}
	defer books.Close()
	totals, err := books.Totals()
	if err != nil {
		return err
	}
	for _, b := range all {
		charges := totals.Captured[b.payment]
		if len(charges) != map[bool]int{true: 1}[b.story.paid] || b.story.paid && charges[0].Captured != b.price {
			fault("the provider: %s is charged as %v", b.order, charges)
		}
	}
	if len(totals.Captured) != paid || totals.Authorized != 0 {
		fault("the provider: %d charges, and %d that hold money: %d were paid", len(totals.Captured), totals.Authorized, paid)
	}

	// The mailbox: one receipt for each that can have one.
	letters := map[string]int{}
	for _, subject := range box.mails() {
		letters[subject]++
	}
	for _, b := range all {
		if n := letters["Your "+b.order]; n != map[bool]int{true: 1}[b.story.mailed] {
			fault("the mailbox: %d receipts for %s", n, b.order)
		}
	}

	// And what RRTS itself says of ledger and provider.
	out, err := paymentpb.PaymentsClient{Caller: s.op}.Reconcile(ctx, &paymentpb.ReconcileRequest{Provider: "sandbox", Until: uint64(time.Now().Add(time.Minute).UnixNano())})
	if err != nil {
		return err
	}
	if len(out.Differences) > 0 || out.UnderWay > 0 {
		fault("rrts payment reconcile: %d differences, %d under way", len(out.Differences), out.UnderWay)
	}

	fmt.Fprintf(s.out, "\nledger    %d cents sold\ndatabase  %d orders\nprovider  %d charges, in %d calls\nmailbox   %d receipts\n", sold, ordered, len(totals.Captured), totals.Calls, len(letters))
	for _, f := range faults {
		fmt.Fprintln(s.out, f)
	}
	if len(faults) > 0 {
		return fmt.Errorf("the books differ in %d places", len(faults))
	}
	fmt.Fprintln(s.out, "the books agree")
	return nil
}

// orders counts the rows of each order that is not cancelled.
func (s *shop) orders(ctx context.Context) (map[string]int, error) {
	ds := datasourcepb.DatasourceClient{Caller: s.op.To(3)}
	page, err := ds.Read(ctx, &datasourcepb.ReadRequest{Source: "shop", Statement: "orders"})
	if err != nil {
		return nil, err
	}
	rows := map[string]int{}
	for {
		for _, r := range page.Rows {
			if cancelled, err := strconv.Atoi(string(r.Cells[2].Value)); err != nil || cancelled == 0 {
				rows[string(r.Cells[0].Value)]++
			}
		}
		if page.Cursor == 0 {
			return rows, nil
		}
		if page, err = ds.Next(ctx, &datasourcepb.NextRequest{Source: "shop", Cursor: page.Cursor}); err != nil {
			return nil, err
		}
	}
}
