package ledger

import (
	"fmt"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// State is what the ledger reads of the committed rows: everything that was in
// the Changes before each Reset, and nothing else. Methods panic with a
// *ReadError when they cannot answer. Only the ledger's owner calls them.
type State interface {
	// Account sets a to the account with the given id, if there is one.
	Account(id u128.Int, a *ledgerpb.Account) bool
	// AccountAt reports whether an account was created at timestamp ts.
	AccountAt(ts uint64) bool
	// TransferID returns the timestamp of the transfer with the given id, or 0
	// with known = true when the id is that of a remembered failure.
	TransferID(id u128.Int) (ts uint64, known bool)
	// TransferIDs calls f for the known ids from the largest down, as TransferID
	// answers for them, until f returns false.
	TransferIDs(f func(id u128.Int, ts uint64) bool)
	// Transfer sets t to the transfer that was created at timestamp ts, if there
	// is one. (The expiry of a pending transfer is an event, but not a transfer.)
	Transfer(ts uint64, t *ledgerpb.Transfer) bool
	// EventAt reports whether a transfer was created, or expired, at timestamp ts.
	EventAt(ts uint64) bool
	// Pending returns what became of the pending transfer of timestamp ts.
	Pending(ts uint64) PendingStatus
	// Expiring calls f for the pending transfers that have a time-out and are
	// still pending, by expiry and then by timestamp, until f returns false.
	Expiring(f func(expiry, ts uint64) bool)
	// TopAccount returns the greatest id of an account, 0 for none.
	TopAccount() u128.Int
	// LastAccount returns the greatest timestamp of an account, 0 for none.
	LastAccount() uint64
	// LastEvent returns the greatest timestamp of an event, 0 for none.
	LastEvent() uint64
}

// ReadError is what a State panics with when it cannot be read.
type ReadError struct {
	Op  string // what was read
	Err error
}

func (e *ReadError) Error() string { return fmt.Sprintf("ledger: reading %s: %v", e.Op, e.Err) }
func (e *ReadError) Unwrap() error { return e.Err }

// PendingStatus is what became of a pending transfer. Append-only: the store
// holds the numbers.
type PendingStatus uint8

const (
	StatusNone    PendingStatus = 0 // not a pending transfer
	StatusPending PendingStatus = 1
	StatusPosted  PendingStatus = 2
	StatusVoided  PendingStatus = 3
	StatusExpired PendingStatus = 4
)

// MaxTimestamp is the greatest timestamp, in nanoseconds since 1970.
const MaxTimestamp = 1<<63 - 1

// validTimestamp reports whether ts can be the timestamp of an account or transfer.
func validTimestamp(ts uint64) bool { return ts != 0 && ts <= MaxTimestamp }

// expiry returns the time from which pending transfer t is expired, or 0 if it
// never is.
func expiry(t *ledgerpb.Transfer) uint64 {
	if t.Timeout == 0 {
		return 0
	}
	return t.Timestamp + uint64(t.Timeout)*nanosPerSecond
}

const nanosPerSecond = 1_000_000_000
