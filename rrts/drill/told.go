package drill

import (
	"context"
	"errors"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Told is what a client was told of one transaction: its final outcome.
type Told struct {
	Tx     *txnpb.Transaction
	State  txnpb.State // committed or aborted
	Csn    uint64
	Reason string // of an abort
}

// Submit submits tx once and returns its final outcome. An error says that none is
// known yet: the transaction may stand or not, until Submit is asked again with
// the same tx and says.
func Submit(ctx context.Context, c *client.Client, tx *txnpb.Transaction) (Told, error) {
	outcome, err := c.Submit(ctx, tx)
	var refused *client.NotCommittedError
	if errors.As(err, &refused) && refused.Outcome.State == txnpb.StateAborted {
		outcome, err = refused.Outcome, nil
	}
	if err != nil {
		return Told{}, err
	}
	return Told{Tx: tx, State: outcome.State, Csn: outcome.Csn, Reason: outcome.Reason}, nil
}
