package client

import (
	"errors"
	"fmt"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// ErrClosed is the cause when the Client was closed.
var ErrClosed = errors.New("client: closed")

// ErrSession says that the session is over and that the Client has no login name
// and password to begin another.
var ErrSession = errors.New("client: the session is over: open a Client with a login name and password, or with a fresh token")

// ErrOtherCluster says that a gateway belongs to another cluster than the kit, as it
// does after a restore from a backup: what was committed since that backup is gone, so
// that a client has to be given the new kit by somebody who knows.
var ErrOtherCluster = errors.New("client: the gateway belongs to another cluster")

// PendingError says that the outcome of a transaction was not known when the
// caller's time was over. The transaction may have been executed, or may yet be.
type PendingError struct {
	// ID is the transaction's: ask with Status, submit the same transaction again, or
	// make it final with Resolve.
	ID u128.Int
	// Cause is why the waiting ended: the context's error, ErrClosed, or what made
	// all gateways refuse this Client.
	Cause error
}

func (e *PendingError) Error() string {
	return fmt.Sprintf("client: transaction %v is pending: %v; ask for its status, or submit it again under the same id", e.ID, e.Cause)
}

// Unwrap returns the cause.
func (e *PendingError) Unwrap() error { return e.Cause }

// NotCommittedError says that a transaction was not executed, and why.
type NotCommittedError struct {
	Outcome *txnpb.Outcome
}

func (e *NotCommittedError) Error() string {
	if e.Outcome.Reason == "" {
		return fmt.Sprintf("client: transaction %v: %v", e.Outcome.Id, e.Outcome.State)
	}
	return fmt.Sprintf("client: transaction %v: %v: %s", e.Outcome.Id, e.Outcome.State, e.Outcome.Reason)
}
