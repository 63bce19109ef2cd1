package ledger

import (
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// Changes is what has changed since the last Reset, in an order that is the same
// on every replica that made the same calls. It belongs to the Ledger and is
// valid until the next call of any of its methods.
type Changes struct {
	// Events are the transfers that were created and the pending transfers that
	// expired, by ascending timestamp.
	Events []Event
	// Failed are the transfer ids that are remembered as failed.
	Failed []u128.Int

	ledger *Ledger
}

// Empty reports whether nothing has changed.
func (c *Changes) Empty() bool {
	return len(c.Events) == 0 && len(c.Failed) == 0 && c.Accounts() == 0
}

// Accounts returns the number of accounts that were created or changed.
func (c *Changes) Accounts() int { return len(c.ledger.accounts.dirty) }

// Account returns the i'th account that was created or changed, in the order of
// their first change, as it is now. created is true when it is new.
func (c *Changes) Account(i int) (a *ledgerpb.Account, created bool) {
	n := c.ledger.accounts.dirty[i]
	return c.ledger.accounts.slot(n), *c.ledger.accounts.mark(n)&fresh != 0
}

// Event is one change of two accounts' balances.
type Event struct {
	Timestamp uint64
	Type      ledgerpb.ChangeEventType
	// Transfer is what was created, or the pending transfer that expired.
	Transfer ledgerpb.Transfer
	// Debit and Credit are the two accounts just after the event.
	Debit, Credit Side
	// PendingTimestamp is the timestamp of the pending transfer that was posted,
	// voided or expired, and PendingExpiry its expiry; else 0.
	PendingTimestamp, PendingExpiry uint64
}

// Side is what a change event records of one of its two accounts.
type Side struct {
	DebitsPending, DebitsPosted, CreditsPending, CreditsPosted u128.Int
	Flags                                                      uint32
}

func sideOf(a *ledgerpb.Account) Side {
	return Side{a.DebitsPending, a.DebitsPosted, a.CreditsPending, a.CreditsPosted, a.Flags}
}

// Resolves returns what the event made of the pending transfer at
// PendingTimestamp, or StatusNone.
func (e *Event) Resolves() PendingStatus {
	switch e.Type {
	case ledgerpb.ChangeEventTypeTwoPhasePosted:
		return StatusPosted
	case ledgerpb.ChangeEventTypeTwoPhaseVoided:
		return StatusVoided
	case ledgerpb.ChangeEventTypeTwoPhaseExpired:
		return StatusExpired
	}
	return StatusNone
}

// IsTransfer reports whether the event created its transfer (and is no expiry).
func (e *Event) IsTransfer() bool { return e.Type != ledgerpb.ChangeEventTypeTwoPhaseExpired }

// Expiry returns the time from which the event's new pending transfer is expired,
// or 0 when it created none that does.
func (e *Event) Expiry() uint64 {
	if e.Type != ledgerpb.ChangeEventTypeTwoPhasePending {
		return 0
	}
	return expiry(&e.Transfer)
}
