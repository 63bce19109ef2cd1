package drill

import (
	"context"
	"fmt"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// maxAccounts is how many accounts are opened at once.
	maxAccounts = 256
	// maxOperations is the bound of one transaction; to open an account is one operation,
	// and another one to give it to a user.
	maxOperations = 8192
)

// OpenAccounts opens the accounts that the payments name, as an operator, and gives
// them to users, so that these can move their money. It returns what it was told, for
// the audit.
func OpenAccounts(ctx context.Context, c *client.Client, payments []Payment, users ...uint64) ([]Told, error) {
	ids, ledgers, err := accountsOf(payments)
	if err != nil {
		return nil, err
	}
	var all []Told
	atOnce := max(1, min(maxAccounts, maxOperations/(1+len(users))))
	for begin := 0; begin < len(ids); begin += atOnce {
		tx := c.Transaction()
		for i := begin; i < min(begin+atOnce, len(ids)); i++ {
			tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: ids[i], Ledger: ledgers[i], Code: 1})
		}
		if len(users) > 0 {
			client.Give(tx, users[0], users[1:]...)
		}
		told, err := Submit(ctx, c, tx)
		if err != nil {
			return nil, fmt.Errorf("drill: opening accounts: %w", err)
		}
		if told.State != txnpb.StateCommitted {
			return nil, fmt.Errorf("drill: opening accounts: %v %s", told.State, told.Reason)
		}
		all = append(all, told)
	}
	return all, nil
}

// accountsOf lists the accounts that payments name, each once, in their order.
func accountsOf(payments []Payment) (ids []u128.Int, ledgers []uint32, err error) {
	ledger := map[u128.Int]uint32{}
	for _, p := range payments {
		for _, id := range []u128.Int{p.Debtor, p.Creditor} {
			was, known := ledger[id]
			switch {
			case !known:
				ledger[id] = p.Ledger
				ids, ledgers = append(ids, id), append(ledgers, p.Ledger)
			case was != p.Ledger:
				return nil, nil, fmt.Errorf("drill: payment %s: account %v has another currency elsewhere", p.Reference, id)
			}
		}
	}
	return ids, ledgers, nil
}
