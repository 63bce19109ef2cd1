package client

import (
	"context"

	"virtualservicesinc.com/rrts/message/txid"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// A user moves money only from accounts that it owns or was granted. It owns those
// that it opens, which need the flag debits_must_not_exceed_credits; an operator opens
// others and gives them.

// Give adds to a transaction of an operator that the accounts it opens belong to
// owner, and that others may see them and move their money too.
func Give(tx *txnpb.Transaction, owner uint64, others ...uint64) {
	for i := range tx.Accounts {
		tx.Access = append(tx.Access, txnpb.AccessChange{AccountId: tx.Accounts[i].Id, User: owner, Rights: uint32(txnpb.AccessRightsOwner)})
		for _, u := range others {
			tx.Access = append(tx.Access, Grant(tx.Accounts[i].Id, u, txnpb.AccessRightsRead|txnpb.AccessRightsDebit))
		}
	}
}

// Grant makes a user's rights on an account these; 0 takes them all. It is for the
// account's owner and for operators.
func Grant(account u128.Int, user uint64, rights txnpb.AccessRights) txnpb.AccessChange {
	return txnpb.AccessChange{AccountId: account, User: user, Rights: uint32(rights)}
}

// Access returns the rights on these accounts: to an owner all of them, to others
// their own. Accounts on which nobody has rights are left out.
func (c *Client) Access(ctx context.Context, accounts ...u128.Int) ([]txnpb.AccountAccess, error) {
	a, err := c.Query(ctx, &txnpb.Query{GetAccess: &ledgerpb.Lookup{Ids: accounts}})
	if err != nil {
		return nil, err
	}
	return a.Access, nil
}

// OnAccount is a precondition on an account, for Transaction.Preconditions: the
// transaction is aborted unless the measure stands so to the value, for example
//
//	client.OnAccount(till, txnpb.MeasureCreditAvailable, txnpb.ComparisonAtLeast, u128.From64(100))
//	client.OnAccount(till, txnpb.MeasureExists, txnpb.ComparisonEqual, u128.Int{}) // does not exist
func OnAccount(account u128.Int, m txnpb.Measure, is txnpb.Comparison, value u128.Int) txnpb.Precondition {
	return txnpb.Precondition{AccountId: account, Measure: m, Comparison: is, Value: value}
}

// OnTransfer is a precondition on a transfer.
func OnTransfer(transfer u128.Int, m txnpb.Measure, is txnpb.Comparison, value u128.Int) txnpb.Precondition {
	return txnpb.Precondition{TransferId: transfer, Measure: m, Comparison: is, Value: value}
}

// DerivedTransferID is the id that the transfer with the given place, counted from 0,
// gets in a transaction with DeriveTransferIds when it has none.
func DerivedTransferID(transaction u128.Int, place int) u128.Int {
	return txid.Transfer(transaction, uint32(place))
}
