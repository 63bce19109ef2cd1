package machine

import (
	"fmt"

	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// firstFailure says in one line which operation of an atomic transaction failed
// first and why; "" when none did. An operation that failed only because another
// of its chain did is passed over: the other one is the reason.
func firstFailure(tx *txnpb.Transaction, o *txnpb.Outcome) string {
	reason := ""
	for _, x := range o.Results.Exceptions {
		i := int(x.Index)
		kind, status, chained := "", "", false
		switch nA, nT := len(tx.Accounts), len(tx.Transfers); {
		case i < nA:
			s := ledgerpb.CreateAccountStatus(x.Status)
			if s == ledgerpb.CreateAccountStatusCreated {
				continue // imported: created at a time of its own
			}
			kind, status, chained = "account", s.String(), s == ledgerpb.CreateAccountStatusLinkedEventFailed
		case i < nA+nT:
			i -= nA
			s := ledgerpb.CreateTransferStatus(x.Status)
			if s == ledgerpb.CreateTransferStatusCreated {
				continue
			}
			kind, status, chained = "transfer", s.String(), s == ledgerpb.CreateTransferStatusLinkedEventFailed
		case i >= nA+nT+len(tx.Users)+len(tx.Access):
			i -= nA + nT + len(tx.Users) + len(tx.Access)
			kind, status = "effect change", txnpb.EffectStatus(x.Status).String()
		case i >= nA+nT+len(tx.Users):
			i -= nA + nT + len(tx.Users)
			kind, status = "access", txnpb.AccessStatus(x.Status).String()
		default:
			i -= nA + nT
			s := txnpb.UserStatus(x.Status)
			if s == txnpb.UserStatusUpdated {
				continue
			}
			kind, status = "user", s.String()
		}
		line := fmt.Sprintf("%s %d: %s", kind, i, status)
		if !chained {
			return line
		}
		if reason == "" {
			reason = line
		}
	}
	return reason
}
