package ledger

import (
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// inherit returns the post or void in with what it leaves open filled in from the
// pending transfer p.
func inherit(in, p *ledgerpb.Transfer) ledgerpb.Transfer {
	t := *in
	if t.DebitAccountId.IsZero() {
		t.DebitAccountId = p.DebitAccountId
	}
	if t.CreditAccountId.IsZero() {
		t.CreditAccountId = p.CreditAccountId
	}
	all := u128.Max // a post of this amount posts all of it
	if t.Flags&transferVoid != 0 {
		all = u128.Int{}
	}
	if t.Amount == all {
		t.Amount = p.Amount
	}
	if t.UserData128.IsZero() {
		t.UserData128 = p.UserData128
	}
	if t.UserData64 == 0 {
		t.UserData64 = p.UserData64
	}
	if t.UserData32 == 0 {
		t.UserData32 = p.UserData32
	}
	if t.Ledger == 0 {
		t.Ledger = p.Ledger
	}
	if t.Code == 0 {
		t.Code = p.Code
	}
	return t
}

// resolvePending applies the rules for a post or void and carries it out.
func (l *Ledger) resolvePending(stamp uint64, in *ledgerpb.Transfer) (uint32, uint64) {
	refuse := func(s ledgerpb.CreateTransferStatus) (uint32, uint64) { return uint32(s), stamp }

	const alone = transferPending | transferBalancingDebit | transferBalancingCredit | transferClosingDebit | transferClosingCredit
	switch {
	case in.Flags&(transferPost|transferVoid) == transferPost|transferVoid || in.Flags&alone != 0:
		return refuse(ledgerpb.CreateTransferStatusFlagsAreMutuallyExclusive)
	case in.PendingId.IsZero():
		return refuse(ledgerpb.CreateTransferStatusPendingIdMustNotBeZero)
	case in.PendingId == u128.Max:
		return refuse(ledgerpb.CreateTransferStatusPendingIdMustNotBeIntMax)
	case in.PendingId == in.Id:
		return refuse(ledgerpb.CreateTransferStatusPendingIdMustBeDifferent)
	case in.Timeout != 0:
		return refuse(ledgerpb.CreateTransferStatusTimeoutReservedForPendingTransfer)
	}
	pendingAt, known := l.findID(in.PendingId)
	if !known || pendingAt == failedID {
		return refuse(ledgerpb.CreateTransferStatusPendingTransferNotFound)
	}
	p := l.pendings.get(l.state, pendingAt)
	if p == nil {
		return refuse(ledgerpb.CreateTransferStatusPendingTransferNotPending)
	}
	t := inherit(in, &p.Transfer)
	switch {
	case t.DebitAccountId != p.DebitAccountId:
		return refuse(ledgerpb.CreateTransferStatusPendingTransferHasDifferentDebitAccountId)
	case t.CreditAccountId != p.CreditAccountId:
		return refuse(ledgerpb.CreateTransferStatusPendingTransferHasDifferentCreditAccountId)
	case t.Ledger != p.Ledger:
		return refuse(ledgerpb.CreateTransferStatusPendingTransferHasDifferentLedger)
	case t.Code != p.Code:
		return refuse(ledgerpb.CreateTransferStatusPendingTransferHasDifferentCode)
	case p.Amount.Less(t.Amount):
		return refuse(ledgerpb.CreateTransferStatusExceedsPendingTransferAmount)
	case t.Flags&transferVoid != 0 && t.Amount != p.Amount:
		return refuse(ledgerpb.CreateTransferStatusPendingTransferHasDifferentAmount)
	}
	switch p.status {
	case StatusPosted:
		return refuse(ledgerpb.CreateTransferStatusPendingTransferAlreadyPosted)
	case StatusVoided:
		return refuse(ledgerpb.CreateTransferStatusPendingTransferAlreadyVoided)
	case StatusExpired:
		return refuse(ledgerpb.CreateTransferStatusPendingTransferExpired)
	}
	due := expiry(&p.Transfer)
	if due != 0 && due <= stamp {
		return refuse(ledgerpb.CreateTransferStatusPendingTransferExpired)
	}
	at := stamp
	if in.Flags&transferImported != 0 {
		if at = in.Timestamp; at <= l.lastEvent || l.accountAt(at) {
			return refuse(ledgerpb.CreateTransferStatusImportedEventTimestampMustNotRegress)
		}
	}
	dr, drSlot := l.accountOf(p.DebitAccountId)
	cr, crSlot := l.accountOf(p.CreditAccountId)
	if t.Flags&transferVoid == 0 {
		if dr.Flags&accountClosed != 0 {
			return refuse(ledgerpb.CreateTransferStatusDebitAccountAlreadyClosed)
		}
		if cr.Flags&accountClosed != 0 {
			return refuse(ledgerpb.CreateTransferStatusCreditAccountAlreadyClosed)
		}
	}

	// From here on the transfer succeeds.
	if len(l.scopes) != 0 {
		l.undo = append(l.undo, change{kind: pendingResolved, ts: pendingAt})
	}
	l.release(&p.Transfer, dr, drSlot, cr, crSlot, t.Flags&transferVoid != 0)
	kind := ledgerpb.ChangeEventTypeTwoPhaseVoided
	p.status = StatusVoided
	if t.Flags&transferPost != 0 {
		kind = ledgerpb.ChangeEventTypeTwoPhasePosted
		p.status = StatusPosted
		dr.DebitsPosted, _ = dr.DebitsPosted.Add(t.Amount)
		cr.CreditsPosted, _ = cr.CreditsPosted.Add(t.Amount)
	}
	e := l.record(at, kind, dr, cr)
	e.Transfer = t
	e.Transfer.Timestamp = at
	e.PendingTimestamp, e.PendingExpiry = pendingAt, due
	l.ids.Add(in.Id, at)
	if due != 0 {
		l.expireNoMore(due)
	}
	return created, at
}

// release takes the amount of pending transfer p off the accounts' pending
// balances, and opens the accounts that p closed when reopen is set.
func (l *Ledger) release(p *ledgerpb.Transfer, dr *ledgerpb.Account, drSlot uint32, cr *ledgerpb.Account, crSlot uint32, reopen bool) {
	drOpens := reopen && p.Flags&transferClosingDebit != 0
	crOpens := reopen && p.Flags&transferClosingCredit != 0
	if !p.Amount.IsZero() || drOpens {
		l.modify(dr, drSlot)
	}
	if !p.Amount.IsZero() || crOpens {
		l.modify(cr, crSlot)
	}
	var under, under2 bool
	dr.DebitsPending, under = dr.DebitsPending.Sub(p.Amount)
	cr.CreditsPending, under2 = cr.CreditsPending.Sub(p.Amount)
	if under || under2 {
		panic("ledger: a pending transfer's amount is not in its accounts' pending balances")
	}
	if drOpens {
		dr.Flags &^= accountClosed
	}
	if crOpens {
		cr.Flags &^= accountClosed
	}
}

// accountOf returns the account of a transfer that exists.
func (l *Ledger) accountOf(id u128.Int) (*ledgerpb.Account, uint32) {
	a, n := l.accounts.get(l.state, id)
	if a == nil {
		panic(&ReadError{Op: "the account of a transfer", Err: errNoAccount})
	}
	return a, n
}
