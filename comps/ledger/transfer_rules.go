package ledger

import (
	"sort"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

const (
	transferLinked          = uint32(ledgerpb.TransferFlagsLinked)
	transferPending         = uint32(ledgerpb.TransferFlagsPending)
	transferPost            = uint32(ledgerpb.TransferFlagsPostPendingTransfer)
	transferVoid            = uint32(ledgerpb.TransferFlagsVoidPendingTransfer)
	transferBalancingDebit  = uint32(ledgerpb.TransferFlagsBalancingDebit)
	transferBalancingCredit = uint32(ledgerpb.TransferFlagsBalancingCredit)
	transferClosingDebit    = uint32(ledgerpb.TransferFlagsClosingDebit)
	transferClosingCredit   = uint32(ledgerpb.TransferFlagsClosingCredit)
	transferImported        = uint32(ledgerpb.TransferFlagsImported)
	transferFlags           = transferLinked | transferPending | transferPost | transferVoid |
		transferBalancingDebit | transferBalancingCredit | transferClosingDebit | transferClosingCredit | transferImported
)

// transient reports whether a transfer that was refused with status s might be
// accepted at another time. Its id is then remembered.
func transient(s ledgerpb.CreateTransferStatus) bool {
	switch s {
	case ledgerpb.CreateTransferStatusDebitAccountNotFound,
		ledgerpb.CreateTransferStatusCreditAccountNotFound,
		ledgerpb.CreateTransferStatusPendingTransferNotFound,
		ledgerpb.CreateTransferStatusExceedsCredits,
		ledgerpb.CreateTransferStatusExceedsDebits,
		ledgerpb.CreateTransferStatusDebitAccountAlreadyClosed,
		ledgerpb.CreateTransferStatusCreditAccountAlreadyClosed:
		return true
	}
	return false
}

// createTransfer applies the rules for one transfer, in their order of precedence.
// It returns the status and the result's timestamp.
func (l *Ledger) createTransfer(stamp uint64, in *ledgerpb.Transfer) (uint32, uint64) {
	switch {
	case in.Flags&^transferFlags != 0 || in.Code > maxCode:
		return uint32(ledgerpb.CreateTransferStatusReservedFlag), stamp
	case in.Id.IsZero():
		return uint32(ledgerpb.CreateTransferStatusIdMustNotBeZero), stamp
	case in.Id == u128.Max:
		return uint32(ledgerpb.CreateTransferStatusIdMustNotBeIntMax), stamp
	}
	if ts, known := l.findID(in.Id); known {
		if ts == failedID {
			return uint32(ledgerpb.CreateTransferStatusIdAlreadyFailed), stamp
		}
		if s := l.transferExists(in, ts); s != ledgerpb.CreateTransferStatusExists {
			return uint32(s), stamp
		}
		return uint32(ledgerpb.CreateTransferStatusExists), ts
	}
	if in.Flags&(transferPost|transferVoid) != 0 {
		return l.resolvePending(stamp, in)
	}
	if s := checkTransfer(in); s != ledgerpb.CreateTransferStatusCreated {
		return uint32(s), stamp
	}
	return l.move(stamp, in)
}

// checkTransfer applies the rules for a new transfer that need no account.
func checkTransfer(in *ledgerpb.Transfer) ledgerpb.CreateTransferStatus {
	switch {
	case in.DebitAccountId.IsZero():
		return ledgerpb.CreateTransferStatusDebitAccountIdMustNotBeZero
	case in.DebitAccountId == u128.Max:
		return ledgerpb.CreateTransferStatusDebitAccountIdMustNotBeIntMax
	case in.CreditAccountId.IsZero():
		return ledgerpb.CreateTransferStatusCreditAccountIdMustNotBeZero
	case in.CreditAccountId == u128.Max:
		return ledgerpb.CreateTransferStatusCreditAccountIdMustNotBeIntMax
	case in.DebitAccountId == in.CreditAccountId:
		return ledgerpb.CreateTransferStatusAccountsMustBeDifferent
	case !in.PendingId.IsZero():
		return ledgerpb.CreateTransferStatusPendingIdMustBeZero
	}
	if in.Flags&transferPending == 0 {
		if in.Timeout != 0 {
			return ledgerpb.CreateTransferStatusTimeoutReservedForPendingTransfer
		}
		if in.Flags&(transferClosingDebit|transferClosingCredit) != 0 {
			return ledgerpb.CreateTransferStatusClosingTransferMustBePending
		}
	}
	switch {
	case in.Ledger == 0:
		return ledgerpb.CreateTransferStatusLedgerMustNotBeZero
	case in.Code == 0:
		return ledgerpb.CreateTransferStatusCodeMustNotBeZero
	}
	return ledgerpb.CreateTransferStatusCreated
}

// move applies the rules that depend on the accounts and carries the transfer out.
func (l *Ledger) move(stamp uint64, in *ledgerpb.Transfer) (uint32, uint64) {
	refuse := func(s ledgerpb.CreateTransferStatus) (uint32, uint64) { return uint32(s), stamp }

	dr, drSlot := l.accounts.get(l.state, in.DebitAccountId)
	if dr == nil {
		return refuse(ledgerpb.CreateTransferStatusDebitAccountNotFound)
	}
	cr, crSlot := l.accounts.get(l.state, in.CreditAccountId)
	if cr == nil {
		return refuse(ledgerpb.CreateTransferStatusCreditAccountNotFound)
	}
	if dr.Ledger != cr.Ledger {
		return refuse(ledgerpb.CreateTransferStatusAccountsMustHaveTheSameLedger)
	}
	if in.Ledger != dr.Ledger {
		return refuse(ledgerpb.CreateTransferStatusTransferMustHaveTheSameLedgerAsAccounts)
	}
	at := stamp
	if in.Flags&transferImported != 0 {
		at = in.Timestamp
		switch {
		case at <= l.lastEvent || l.accountAt(at):
			return refuse(ledgerpb.CreateTransferStatusImportedEventTimestampMustNotRegress)
		case at <= dr.Timestamp:
			return refuse(ledgerpb.CreateTransferStatusImportedEventTimestampMustPostdateDebitAccount)
		case at <= cr.Timestamp:
			return refuse(ledgerpb.CreateTransferStatusImportedEventTimestampMustPostdateCreditAccount)
		case in.Timeout != 0:
			return refuse(ledgerpb.CreateTransferStatusImportedEventTimeoutMustBeZero)
		}
	}
	if dr.Flags&accountClosed != 0 {
		return refuse(ledgerpb.CreateTransferStatusDebitAccountAlreadyClosed)
	}
	if cr.Flags&accountClosed != 0 {
		return refuse(ledgerpb.CreateTransferStatusCreditAccountAlreadyClosed)
	}
	amount := in.Amount
	if in.Flags&transferBalancingDebit != 0 {
		debits, _ := dr.DebitsPosted.Add(dr.DebitsPending)
		amount = u128.Min(amount, dr.CreditsPosted.SatSub(debits))
	}
	if in.Flags&transferBalancingCredit != 0 {
		credits, _ := cr.CreditsPosted.Add(cr.CreditsPending)
		amount = u128.Min(amount, cr.DebitsPosted.SatSub(credits))
	}
	if s := checkLimits(dr, cr, in, amount, at); s != ledgerpb.CreateTransferStatusCreated {
		return refuse(s)
	}

	// From here on the transfer succeeds.
	closing := in.Flags & (transferClosingDebit | transferClosingCredit)
	if !amount.IsZero() || closing&transferClosingDebit != 0 {
		l.modify(dr, drSlot)
	}
	if !amount.IsZero() || closing&transferClosingCredit != 0 {
		l.modify(cr, crSlot)
	}
	kind := ledgerpb.ChangeEventTypeSinglePhase
	if in.Flags&transferPending != 0 {
		kind = ledgerpb.ChangeEventTypeTwoPhasePending
		dr.DebitsPending, _ = dr.DebitsPending.Add(amount)
		cr.CreditsPending, _ = cr.CreditsPending.Add(amount)
		if closing&transferClosingDebit != 0 {
			dr.Flags |= accountClosed
		}
		if closing&transferClosingCredit != 0 {
			cr.Flags |= accountClosed
		}
	} else {
		dr.DebitsPosted, _ = dr.DebitsPosted.Add(amount)
		cr.CreditsPosted, _ = cr.CreditsPosted.Add(amount)
	}
	e := l.record(at, kind, dr, cr)
	e.Transfer = *in
	e.Transfer.Amount = amount
	e.Transfer.Timestamp = at
	l.ids.Add(in.Id, at)
	if in.Flags&transferPending != 0 {
		p := l.pendings.add(at)
		p.Transfer, p.status = e.Transfer, StatusPending
		if due := expiry(&p.Transfer); due != 0 {
			l.expireLater(due, at)
		}
	}
	return created, at
}

// checkLimits applies the rules on balances.
func checkLimits(dr, cr *ledgerpb.Account, in *ledgerpb.Transfer, amount u128.Int, at uint64) ledgerpb.CreateTransferStatus {
	if in.Flags&transferPending != 0 {
		if _, over := dr.DebitsPending.Add(amount); over {
			return ledgerpb.CreateTransferStatusOverflowsDebitsPending
		}
		if _, over := cr.CreditsPending.Add(amount); over {
			return ledgerpb.CreateTransferStatusOverflowsCreditsPending
		}
	}
	if _, over := dr.DebitsPosted.Add(amount); over {
		return ledgerpb.CreateTransferStatusOverflowsDebitsPosted
	}
	if _, over := cr.CreditsPosted.Add(amount); over {
		return ledgerpb.CreateTransferStatusOverflowsCreditsPosted
	}
	// These rules keep the sums of pending and posted from ever overflowing.
	debits, _ := dr.DebitsPending.Add(dr.DebitsPosted)
	debits, over := debits.Add(amount)
	if over {
		return ledgerpb.CreateTransferStatusOverflowsDebits
	}
	credits, _ := cr.CreditsPending.Add(cr.CreditsPosted)
	if credits, over = credits.Add(amount); over {
		return ledgerpb.CreateTransferStatusOverflowsCredits
	}
	if in.Timeout != 0 && at+uint64(in.Timeout)*nanosPerSecond > MaxTimestamp {
		return ledgerpb.CreateTransferStatusOverflowsTimeout
	}
	if dr.Flags&accountDebitsLimited != 0 && dr.CreditsPosted.Less(debits) {
		return ledgerpb.CreateTransferStatusExceedsCredits
	}
	if cr.Flags&accountCreditsLimited != 0 && cr.DebitsPosted.Less(credits) {
		return ledgerpb.CreateTransferStatusExceedsDebits
	}
	return ledgerpb.CreateTransferStatusCreated
}

// record appends an event with the accounts as they are now; the caller fills in
// the transfer.
func (l *Ledger) record(at uint64, kind ledgerpb.ChangeEventType, dr, cr *ledgerpb.Account) *Event {
	l.lastEvent = at
	l.events = append(l.events, Event{Timestamp: at, Type: kind, Debit: sideOf(dr), Credit: sideOf(cr)})
	return &l.events[len(l.events)-1]
}

// newEvent returns the event of timestamp ts if it happened since the last Reset.
func (l *Ledger) newEvent(ts uint64) *Event {
	i := sort.Search(len(l.events), func(i int) bool { return l.events[i].Timestamp >= ts })
	if i < len(l.events) && l.events[i].Timestamp == ts {
		return &l.events[i]
	}
	return nil
}
