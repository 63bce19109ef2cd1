package drill

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message"
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

// toldLine is a Told as one line of JSON.
type toldLine struct {
	Tx     string `json:"tx"` // base64 of the message
	State  uint32 `json:"state"`
	Csn    uint64 `json:"csn"`
	Reason string `json:"reason,omitempty"`
}

// MarshalJSON makes one line of it, for a file that outlives the process.
func (t Told) MarshalJSON() ([]byte, error) {
	return json.Marshal(toldLine{Tx: base64.StdEncoding.EncodeToString(message.Marshal(t.Tx)), State: uint32(t.State), Csn: t.Csn, Reason: t.Reason})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (t *Told) UnmarshalJSON(b []byte) error {
	var l toldLine
	if err := json.Unmarshal(b, &l); err != nil {
		return err
	}
	body, err := base64.StdEncoding.DecodeString(l.Tx)
	if err != nil {
		return fmt.Errorf("tx: %w", err)
	}
	*t = Told{Tx: &txnpb.Transaction{}, State: txnpb.State(l.State), Csn: l.Csn, Reason: l.Reason}
	return t.Tx.Parse(body)
}

// ReadTold reads a file of one Told a line.
func ReadTold(r io.Reader) ([]Told, error) {
	var all []Told
	for d := json.NewDecoder(r); ; {
		var t Told
		if err := d.Decode(&t); errors.Is(err, io.EOF) {
			return all, nil
		} else if err != nil {
			return nil, fmt.Errorf("drill: line %d of what clients were told: %w", len(all)+1, err)
		}
		all = append(all, t)
	}
}
