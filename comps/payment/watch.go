package payment

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"virtualservicesinc.com/comps/payment/life"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// The alarms stand for one provider each.
	alarmUnavailable = "payment-unavailable"
	alarmDifferences = "payment-differences"

	// firstLook is how far back events are asked for where none was noted yet: providers keep
	// them for a month. lookAgain is how far before the newest one that was noted.
	firstLook = 30 * 24 * time.Hour
	lookAgain = 24 * time.Hour
	// eventOverlap is how far before the newest event of this process is asked: they may come
	// out of order.
	eventOverlap = time.Hour
	// silentAfter questions without an answer are an alarm.
	silentAfter = 3
	// settlingTime is how old a payment has to be before ledger and provider must agree:
	// providers' lists lag behind.
	settlingTime = 5 * time.Minute
)

// watch is what one provider is asked by itself.
type watch struct {
	known     bool      // since is
	since     time.Time // of events
	seen      map[string]time.Time
	silent    int
	fault     string // why the provider does not answer
	compared  time.Duration
	differ    int // when compared last
	unwell    bool
	different bool
}

// watchOver asks a provider for events, and compares it with the ledger, as long as this is
// the SFU that does so.
func (c *Component) watchOver(ctx context.Context, d *desk) {
	w := &d.watch
	w.seen = map[string]time.Time{}
	defer func() { c.setAlarms(d, "", 0) }()
	for pause := d.cfg.Poll; ; pause = d.cfg.Poll {
		if c.watches() {
			err := d.events(ctx)
			switch {
			case ctx.Err() != nil:
				return
			case err != nil:
				if w.silent++; w.silent >= silentAfter {
					w.fault = err.Error()
				}
				pause = min(pause, 5*time.Second)
			default:
				w.silent, w.fault = 0, ""
			}
			if now := c.host.Now(); err == nil && (w.compared == 0 || now-w.compared >= d.cfg.Reconcile) {
				until := time.Now().Add(-min(settlingTime, d.cfg.Reconcile))
				out, err := d.reconcile(ctx, time.Now().Add(-d.cfg.ReconcileBack), until)
				switch {
				case ctx.Err() != nil:
					return
				case err != nil:
					c.host.Log().Warn("ledger and provider cannot be compared", "provider", d.cfg.Name, "err", err)
				default:
					w.compared, w.differ = now, len(out.Differences)
				}
			}
		} else {
			*w = watch{seen: map[string]time.Time{}, unwell: w.unwell, different: w.different}
		}
		c.setAlarms(d, withoutCards(w.fault), w.differ)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return
		}
	}
}

// watches reports whether this SFU asks: of those that have payments it has the least number.
func (c *Component) watches() bool {
	for _, p := range c.host.Peers() {
		if p.SFU < c.host.SFU() && !p.Draining && slices.Contains(p.Services, paymentpb.PaymentsService) {
			return false
		}
	}
	return true
}

func (c *Component) setAlarms(d *desk, fault string, differences int) {
	set := func(kind string, stands *bool, is bool, detail string) {
		name := kind + "@" + d.cfg.Name
		switch {
		case is && !*stands:
			c.host.Alarm(name, engine.Warning, detail)
		case !is && *stands:
			c.host.ClearAlarm(name)
		}
		*stands = is
	}
	set(alarmUnavailable, &d.watch.unwell, fault != "", fault)
	set(alarmDifferences, &d.watch.different, differences > 0,
		fmt.Sprintf("ledger and %s differ about %d payments: see rrts payment reconcile", d.cfg.Name, differences))
}

// events notes in the ledger what the provider has done by itself.
func (d *desk) events(ctx context.Context) error {
	w := &d.watch
	if !w.known {
		since, err := d.book.newestEvent(ctx)
		if err != nil {
			return err
		}
		w.since, w.known = since, true
	}
	newest, open := w.since, time.Time{}
	for cursor := ""; ; {
		page, next, err := d.provider.Events(ctx, w.since, cursor)
		if err != nil {
			return fmt.Errorf("payment: asking %s for events: %w", d.cfg.Name, err)
		}
		for i := range page {
			e := &page[i]
			at := time.Unix(0, int64(e.Time))
			if _, ok := w.seen[e.Reference]; ok {
				continue
			}
			done, err := d.happened(ctx, e)
			switch {
			case err != nil:
				return err
			case done:
				w.seen[e.Reference] = at
			case open.IsZero():
				open = at
			}
			if at.After(newest) {
				newest = at
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	if since := newest.Add(-eventOverlap); since.After(w.since) {
		w.since = since
	}
	if !open.IsZero() && open.Before(w.since) {
		w.since = open
	}
	for ref, at := range w.seen { // in any order
		if at.Before(w.since) {
			delete(w.seen, ref)
		}
	}
	return nil
}

// happened notes one event, and reports whether there is nothing more to do about it: a call
// that is owed may have to be concluded first.
func (d *desk) happened(ctx context.Context, e *paymentpb.ChargeEvent) (done bool, err error) {
	p, err := d.book.payment(ctx, e.Payment)
	if err != nil || p.Status == paymentpb.StatusNone {
		return err == nil, err
	}
	owed, err := d.book.owed(ctx, p.ID)
	if errors.Is(err, errManyOwed) {
		return false, nil // it is asked again when fewer are
	}
	if err != nil {
		return false, err
	}
	waits := len(owed[p.ID]) > 0
	transfers := d.book.at.Happened(p, e, waits)
	if len(transfers) == 0 {
		return !waits, nil
	}
	return true, d.book.submit(ctx, p.ID, &txnpb.Transaction{Memo: "payment: told by " + d.book.provider, Transfers: transfers})
}

// newestEvent is from when on events are asked for: a while before the newest that the
// ledger has.
func (b *book) newestEvent(ctx context.Context) (time.Time, error) {
	var newest uint64
	for _, step := range []paymentpb.Step{paymentpb.StepSettled, paymentpb.StepTakenBack} {
		a, err := b.read(ctx, &txnpb.Query{QueryTransfers: &ledgerpb.QueryFilter{UserData32: uint32(step), Ledger: b.at.Ledger, Code: b.at.Code, Limit: 1,
			Flags: uint32(ledgerpb.QueryFilterFlagsReversed)}})
		if err != nil {
			return time.Time{}, err
		}
		for i := range a.Transfers {
			newest = max(newest, a.Transfers[i].UserData64)
		}
	}
	if newest == 0 {
		return time.Now().Add(-firstLook), nil
	}
	return time.Unix(0, int64(newest)).Add(-lookAgain), nil
}

// compareAt reads both sides of a payment again and compares them: nil where they agree, or
// a call is owed or was reported meanwhile, which open says.
func (d *desk) compareAt(ctx context.Context, id u128.Int) (diff *paymentpb.Difference, open bool, err error) {
	before, err := d.book.payment(ctx, id)
	if err != nil {
		return nil, false, err
	}
	ref, err := d.book.reference(ctx, before)
	if err != nil {
		return nil, false, err
	}
	owed, err := d.book.owed(ctx, id)
	if err != nil {
		return nil, false, err
	}
	charges, err := d.provider.Find(ctx, id, ref)
	if err != nil {
		return nil, false, err
	}
	after, err := d.book.payment(ctx, id)
	if err != nil {
		return nil, false, err
	}
	if len(owed[id]) > 0 || after.Changed != before.Changed {
		return nil, true, nil
	}
	return life.Compare(before, charges), false, nil
}
