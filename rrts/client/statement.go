package client

import (
	"context"
	"fmt"
	"iter"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Querier answers queries: a Client, or a ledger without a cluster.
type Querier interface {
	Query(context.Context, *txnpb.Query) (*txnpb.QueryAnswer, error)
}

// statementPage is how many lines are asked for at once: some 300 bytes each.
const statementPage = 1000

// Statement is an account's statement of a period.
type Statement struct {
	// Opening is the account just before the period, or as it began; Closing just after.
	Opening, Closing ledgerpb.Account
	Lines            []ledgerpb.StatementLine
	// Notes is what the transactions in it say of themselves, by CSN.
	Notes map[uint64]txnpb.Note
}

// Statement returns the statement of an account for the time from from to to,
// inclusive, in nanoseconds since 1970; 0 means no bound.
func (c *Client) Statement(ctx context.Context, account u128.Int, from, to uint64) (*Statement, error) {
	return ReadStatement(ctx, c, account, from, to)
}

// ReadStatement is Client.Statement for any Querier. Parts of a long statement that
// are read one after the other fit together: nothing is ever put between events that
// have happened, except by imports at a time before the newest event, which the
// ledger refuses.
func ReadStatement(ctx context.Context, q Querier, account u128.Int, from, to uint64) (*Statement, error) {
	s := &Statement{Notes: map[uint64]txnpb.Note{}}
	for first := true; ; first = false {
		a, err := q.Query(ctx, &txnpb.Query{GetStatement: &ledgerpb.StatementFilter{
			AccountId: account, TimestampMin: from, TimestampMax: to, Limit: statementPage}})
		switch {
		case err != nil:
			return nil, err
		case a.Statement == nil:
			return nil, fmt.Errorf("client: no account %v in this period", account)
		}
		if first {
			s.Opening = *a.Statement.Opening
		}
		s.Closing = *a.Statement.Closing
		s.Lines = append(s.Lines, a.Statement.Lines...)
		for _, n := range a.Notes {
			s.Notes[n.Csn] = n
		}
		if !a.Statement.More {
			return s, nil
		}
		from = s.Lines[len(s.Lines)-1].Timestamp + 1
	}
}

// Transactions yields the transactions whose outcomes are kept and that f selects, a
// client's own ones; f.Limit is how many are asked for at once, 0 for 1000.
func (c *Client) Transactions(ctx context.Context, f txnpb.TransactionsFilter) iter.Seq2[txnpb.TransactionRow, error] {
	if f.Limit == 0 {
		f.Limit = 1000
	}
	return func(yield func(txnpb.TransactionRow, error) bool) {
		for {
			a, err := c.Query(ctx, &txnpb.Query{ListTransactions: &f})
			if err != nil {
				yield(txnpb.TransactionRow{}, err)
				return
			}
			for _, row := range a.Transactions {
				if !yield(row, nil) {
					return
				}
			}
			switch {
			case a.NextId.IsZero():
				return
			case f.Reversed:
				f.IdMax = a.NextId
			default:
				f.IdMin = a.NextId
			}
		}
	}
}
