package ledger

import (
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// transferExists compares a request with the transfer of its id, which was created
// at timestamp ts.
func (l *Ledger) transferExists(in *ledgerpb.Transfer, ts uint64) ledgerpb.CreateTransferStatus {
	var e ledgerpb.Transfer
	if n := l.newEvent(ts); n != nil {
		e = n.Transfer
	} else if !l.state.Transfer(ts, &e) {
		panic(&ReadError{Op: "a transfer", Err: errNoTransfer})
	}
	// The flags decide how the rest is compared.
	switch {
	case in.Flags != e.Flags:
		return ledgerpb.CreateTransferStatusExistsWithDifferentFlags
	case in.PendingId != e.PendingId:
		return ledgerpb.CreateTransferStatusExistsWithDifferentPendingId
	case in.Timeout != e.Timeout:
		return ledgerpb.CreateTransferStatusExistsWithDifferentTimeout
	}
	want := *in // what the request says, or leaves to the pending transfer
	if in.Flags&(transferPost|transferVoid) != 0 {
		pendingAt, _ := l.findID(in.PendingId)
		want = inherit(in, &l.pendings.get(l.state, pendingAt).Transfer)
	}
	switch {
	case want.DebitAccountId != e.DebitAccountId:
		return ledgerpb.CreateTransferStatusExistsWithDifferentDebitAccountId
	case want.CreditAccountId != e.CreditAccountId:
		return ledgerpb.CreateTransferStatusExistsWithDifferentCreditAccountId
	case !sameAmount(want.Amount, e.Amount, in.Flags):
		return ledgerpb.CreateTransferStatusExistsWithDifferentAmount
	case want.UserData128 != e.UserData128:
		return ledgerpb.CreateTransferStatusExistsWithDifferentUserData128
	case want.UserData64 != e.UserData64:
		return ledgerpb.CreateTransferStatusExistsWithDifferentUserData64
	case want.UserData32 != e.UserData32:
		return ledgerpb.CreateTransferStatusExistsWithDifferentUserData32
	case want.Ledger != e.Ledger:
		return ledgerpb.CreateTransferStatusExistsWithDifferentLedger
	case want.Code != e.Code:
		return ledgerpb.CreateTransferStatusExistsWithDifferentCode
	}
	return ledgerpb.CreateTransferStatusExists
}

// sameAmount reports whether a request for amount may have made a transfer of
// done. A balancing transfer moves at most what was asked for.
func sameAmount(amount, done u128.Int, flags uint32) bool {
	if flags&(transferBalancingDebit|transferBalancingCredit) != 0 {
		return !amount.Less(done)
	}
	return amount == done
}
