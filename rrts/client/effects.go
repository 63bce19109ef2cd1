package client

import (
	"context"
	"fmt"
	"strconv"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// The pauses between two looks at whether a transaction is completed.
const (
	completedFirst = 20 * time.Millisecond
	completedMost  = time.Second
)

// NotCompletedError says that effects of a committed transaction were not done, for good.
type NotCompletedError struct {
	Outcome *txnpb.Outcome
}

func (e *NotCompletedError) Error() string {
	c := e.Outcome.Completion
	reason := ""
	for i := range c.Ends {
		if end := &c.Ends[i]; end.State != txnpb.EffectStateDone {
			reason = fmt.Sprintf(": %s %s is %v: %s", end.Service, end.Operation, end.State, end.Reason)
			break
		}
	}
	return fmt.Sprintf("client: transaction %v is committed, but %d of its effects have failed and %d were discarded%s", e.Outcome.Id, c.Failed, c.Discarded, reason)
}

// Completed waits until all effects of a committed transaction have come to an end: done,
// failed or discarded by an operator. The error is a *NotCompletedError where not all are
// done, a *NotCommittedError where the transaction is not committed, or ctx's: effects in
// quarantine wait for an operator for as long as that takes.
func (c *Client) Completed(ctx context.Context, id u128.Int) (*txnpb.Outcome, error) {
	for pause := completedFirst; ; pause = min(2*pause, completedMost) {
		o, err := c.Status(ctx, id)
		switch {
		case err != nil:
			return nil, err
		case o.State == txnpb.StateUnknown: // maybe on its way
		case o.State != txnpb.StateCommitted:
			return o, &NotCommittedError{o}
		case Completed(o) && o.Completion != nil && o.Completion.Done < o.Completion.Owed:
			return o, &NotCompletedError{o}
		case Completed(o):
			return o, nil
		}
		select {
		case <-ctx.Done():
			return o, ctx.Err()
		case <-time.After(pause):
		}
	}
}

// Completed reports whether nothing of a committed transaction's effects is owed any more,
// in an answer to Status.
func Completed(o *txnpb.Outcome) bool {
	c := o.Completion
	return o.State == txnpb.StateCommitted && (o.Effects == 0 || c != nil && c.Owed == c.Done+c.Failed+c.Discarded)
}

// Text, Null, Integer, Decimal, Boolean, Time and Bytes make an argument of an effect.
func Text(name, value string) txnpb.Argument {
	return txnpb.Argument{Name: name, Value: []byte(value)}
}

// Null is described with Text.
func Null(name string) txnpb.Argument {
	return txnpb.Argument{Name: name, Kind: txnpb.ArgumentKindNull}
}

// Integer is described with Text.
func Integer(name string, value int64) txnpb.Argument {
	return txnpb.Argument{Name: name, Kind: txnpb.ArgumentKindInteger, Value: strconv.AppendInt(nil, value, 10)}
}

// Decimal is described with Text; the value is decimal digits with at most one point
// between them, exact as they stand: "-12.50".
func Decimal(name, value string) txnpb.Argument {
	return txnpb.Argument{Name: name, Kind: txnpb.ArgumentKindDecimal, Value: []byte(value)}
}

// Boolean is described with Text.
func Boolean(name string, value bool) txnpb.Argument {
	return txnpb.Argument{Name: name, Kind: txnpb.ArgumentKindBoolean, Value: strconv.AppendBool(nil, value)}
}

// Time is described with Text; the zone is kept.
func Time(name string, value time.Time) txnpb.Argument {
	return txnpb.Argument{Name: name, Kind: txnpb.ArgumentKindTime, Value: value.AppendFormat(nil, time.RFC3339Nano)}
}

// Bytes is described with Text.
func Bytes(name string, value []byte) txnpb.Argument {
	return txnpb.Argument{Name: name, Kind: txnpb.ArgumentKindBytes, Value: value}
}

// Outbox returns effects that are owed, for operators and auditors.
func (c *Client) Outbox(ctx context.Context, f *txnpb.OutboxFilter) (*txnpb.OutboxAnswer, error) {
	a, err := c.Query(ctx, &txnpb.Query{ListEffects: f})
	if err == nil && a.Outbox == nil {
		err = message.Errorf(message.Internal, "client: the answer holds no effects")
	}
	if err != nil {
		return nil, err
	}
	return a.Outbox, nil
}
