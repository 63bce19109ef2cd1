package machine

import (
	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Query answers a query from one consistent state. A view that cannot be read
// panics with a *ledger.ReadError.
func Query(v store.View, q *txnpb.Query) (*txnpb.QueryAnswer, error) {
	csn, err := CSN(v)
	if err != nil {
		return nil, err
	}
	a := &txnpb.QueryAnswer{Csn: csn, Stale: q.Stale}
	switch {
	case q.LookupAccounts != nil:
		a.Accounts = ledger.LookupAccounts(v, q.LookupAccounts.Ids, nil)
	case q.LookupTransfers != nil:
		a.Transfers = ledger.LookupTransfers(v, q.LookupTransfers.Ids, nil)
	case q.GetAccountTransfers != nil:
		a.Transfers = ledger.GetAccountTransfers(v, q.GetAccountTransfers, nil)
	case q.GetAccountBalances != nil:
		a.Balances = ledger.GetAccountBalances(v, q.GetAccountBalances, nil)
	case q.QueryAccounts != nil:
		a.Accounts = ledger.QueryAccounts(v, q.QueryAccounts, nil)
	case q.QueryTransfers != nil:
		a.Transfers = ledger.QueryTransfers(v, q.QueryTransfers, nil)
	case q.GetChangeEvents != nil:
		a.Events = ledger.GetChangeEvents(v, q.GetChangeEvents, nil)
	}
	return a, nil
}
