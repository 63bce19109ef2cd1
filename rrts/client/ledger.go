package client

import (
	"context"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Transaction returns an atomic transaction with a fresh id and no operations.
func (c *Client) Transaction() *txnpb.Transaction { return &txnpb.Transaction{Id: c.NewID()} }

// Transfer returns a transaction that moves amount from the debit account to the
// credit account, both of the given ledger. The code is the application's own
// reason, 1 to 65535. The transaction's id is fresh, and the transfer's is made of it: on
// the wire that one takes no bytes. [DerivedTransferID] makes the same for transfers of one's own.
func (c *Client) Transfer(debit, credit, amount u128.Int, ledger, code uint32) *txnpb.Transaction {
	tx := c.Transaction()
	tx.Transfers = []ledgerpb.Transfer{{Id: DerivedTransferID(tx.Id, 0), DebitAccountId: debit, CreditAccountId: credit, Amount: amount, Ledger: ledger, Code: code}}
	return tx
}

// Status tells where the transaction with that id stands, now and for all
// replicas: STATE_UNKNOWN means that nothing is known under the id yet.
func (c *Client) Status(ctx context.Context, id u128.Int) (*txnpb.Outcome, error) {
	return txnpb.TxnClient{Caller: c}.Status(ctx, &txnpb.StatusRequest{Id: id})
}

// Resolve makes the transaction with that id final: if nothing stands under the
// id, ABORTED is recorded, and a later submission of it is not executed.
func (c *Client) Resolve(ctx context.Context, id u128.Int) (*txnpb.Outcome, error) {
	return txnpb.TxnClient{Caller: c}.Resolve(ctx, &txnpb.StatusRequest{Id: id})
}

// Query reads the ledger. Exactly one of q's reads is set. The answer contains at
// least everything that this Client was told before, unless q asks for a stale one.
func (c *Client) Query(ctx context.Context, q *txnpb.Query) (*txnpb.QueryAnswer, error) {
	if !q.Stale && q.MinCsn == 0 {
		own := *q
		own.MinCsn = c.csn.Load()
		q = &own
	}
	a, err := txnpb.TxnClient{Caller: c}.Read(ctx, q)
	if err == nil {
		c.saw(a.Csn)
	}
	return a, err
}

// LookupAccounts returns the accounts with these ids; unknown ones are left out.
func (c *Client) LookupAccounts(ctx context.Context, ids ...u128.Int) ([]ledgerpb.Account, error) {
	a, err := c.Query(ctx, &txnpb.Query{LookupAccounts: &ledgerpb.Lookup{Ids: ids}})
	if err != nil {
		return nil, err
	}
	return a.Accounts, nil
}

// LookupTransfers returns the transfers with these ids; unknown ones are left out.
func (c *Client) LookupTransfers(ctx context.Context, ids ...u128.Int) ([]ledgerpb.Transfer, error) {
	a, err := c.Query(ctx, &txnpb.Query{LookupTransfers: &ledgerpb.Lookup{Ids: ids}})
	if err != nil {
		return nil, err
	}
	return a.Transfers, nil
}
