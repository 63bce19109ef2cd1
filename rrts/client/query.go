package client

import (
	"context"
	"iter"

	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// The queries by filter. Each yields what the filter selects, in its direction: oldest
// first, or newest first with the flag reversed. Limit is how much is wanted in all; 0 means
// everything. It is read in pages, each from one consistent state: what is committed
// meanwhile comes at the end, oldest first, or not at all, newest first. An error ends it.
//
//	for t, err := range client.AccountTransfers(ctx, c, ledgerpb.AccountFilter{
//		AccountId: till, Limit: 20, Flags: uint32(ledgerpb.AccountFilterFlagsDebits | ledgerpb.AccountFilterFlagsReversed),
//	}) { … }
//
// A client sees the transfers and balances of accounts that it owns or may read; the
// accounts, transfers and events of all are for operators and auditors.

// queryPage is how many rows are asked for at once: some 200 bytes each.
const queryPage = 1000

// AccountTransfers yields the transfers of an account.
func AccountTransfers(ctx context.Context, q Querier, f ledgerpb.AccountFilter) iter.Seq2[ledgerpb.Transfer, error] {
	return pages(f, f.Limit, func(f *ledgerpb.AccountFilter, n uint32) ([]ledgerpb.Transfer, error) {
		f.Limit = n
		a, err := q.Query(ctx, &txnpb.Query{GetAccountTransfers: f})
		if err != nil {
			return nil, err
		}
		return a.Transfers, nil
	}, func(f *ledgerpb.AccountFilter, t *ledgerpb.Transfer) bool { return behindAccount(f, t.Timestamp) })
}

// AccountBalances yields the balances of an account with the flag history, after each of
// its transfers.
func AccountBalances(ctx context.Context, q Querier, f ledgerpb.AccountFilter) iter.Seq2[ledgerpb.AccountBalance, error] {
	return pages(f, f.Limit, func(f *ledgerpb.AccountFilter, n uint32) ([]ledgerpb.AccountBalance, error) {
		f.Limit = n
		a, err := q.Query(ctx, &txnpb.Query{GetAccountBalances: f})
		if err != nil {
			return nil, err
		}
		return a.Balances, nil
	}, func(f *ledgerpb.AccountFilter, b *ledgerpb.AccountBalance) bool { return behindAccount(f, b.Timestamp) })
}

// Accounts yields accounts of all users.
func Accounts(ctx context.Context, q Querier, f ledgerpb.QueryFilter) iter.Seq2[ledgerpb.Account, error] {
	return pages(f, f.Limit, func(f *ledgerpb.QueryFilter, n uint32) ([]ledgerpb.Account, error) {
		f.Limit = n
		a, err := q.Query(ctx, &txnpb.Query{QueryAccounts: f})
		if err != nil {
			return nil, err
		}
		return a.Accounts, nil
	}, func(f *ledgerpb.QueryFilter, a *ledgerpb.Account) bool { return behindQuery(f, a.Timestamp) })
}

// Transfers yields transfers of all accounts.
func Transfers(ctx context.Context, q Querier, f ledgerpb.QueryFilter) iter.Seq2[ledgerpb.Transfer, error] {
	return pages(f, f.Limit, func(f *ledgerpb.QueryFilter, n uint32) ([]ledgerpb.Transfer, error) {
		f.Limit = n
		a, err := q.Query(ctx, &txnpb.Query{QueryTransfers: f})
		if err != nil {
			return nil, err
		}
		return a.Transfers, nil
	}, func(f *ledgerpb.QueryFilter, t *ledgerpb.Transfer) bool { return behindQuery(f, t.Timestamp) })
}

// ChangeEvents yields what has changed in the ledger, oldest first.
func ChangeEvents(ctx context.Context, q Querier, f ledgerpb.ChangeEventsFilter) iter.Seq2[ledgerpb.ChangeEvent, error] {
	return pages(f, f.Limit, func(f *ledgerpb.ChangeEventsFilter, n uint32) ([]ledgerpb.ChangeEvent, error) {
		f.Limit = n
		a, err := q.Query(ctx, &txnpb.Query{GetChangeEvents: f})
		if err != nil {
			return nil, err
		}
		return a.Events, nil
	}, func(f *ledgerpb.ChangeEventsFilter, e *ledgerpb.ChangeEvent) bool {
		return narrow(&f.TimestampMin, &f.TimestampMax, e.Timestamp, false)
	})
}

// pages yields up to limit rows of a query; 0 means all. next makes the query begin behind
// a row, and reports whether anything can be there.
func pages[F, T any](filter F, limit uint32, ask func(f *F, n uint32) ([]T, error), next func(f *F, last *T) bool) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		f := filter // each time from the beginning
		for left := limit; ; {
			n := uint32(queryPage)
			if limit > 0 {
				n = min(n, left)
			}
			rows, err := ask(&f, n)
			if err != nil {
				yield(*new(T), err)
				return
			}
			for i := range rows {
				if !yield(rows[i], nil) {
					return
				}
			}
			left -= uint32(len(rows))
			if uint32(len(rows)) < n || limit > 0 && left == 0 || !next(&f, &rows[len(rows)-1]) {
				return
			}
		}
	}
}

// narrow moves a bound of time behind a row, and reports whether anything is left. Rows
// have different timestamps.
func narrow(from, to *uint64, at uint64, reversed bool) bool {
	if reversed {
		*to = at - 1
		return *to >= max(*from, 1)
	}
	*from = at + 1
	return *to == 0 || *from <= *to
}

func behindAccount(f *ledgerpb.AccountFilter, at uint64) bool {
	return narrow(&f.TimestampMin, &f.TimestampMax, at, f.Flags&uint32(ledgerpb.AccountFilterFlagsReversed) != 0)
}

func behindQuery(f *ledgerpb.QueryFilter, at uint64) bool {
	return narrow(&f.TimestampMin, &f.TimestampMax, at, f.Flags&uint32(ledgerpb.QueryFilterFlagsReversed) != 0)
}
