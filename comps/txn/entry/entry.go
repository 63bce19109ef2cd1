// Package entry is the payload of the transaction log: what one raft entry
// holds, and how a submitted transaction is recognised.
//
// An entry is one encoded txnpb.Entry, a batch of many transactions. A
// transaction is known by its Key: its id, and a digest of who submitted which
// bytes under it. The same key means the same request and gets the first answer;
// the same id under another digest is a reuse of the id and is refused.
package entry

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// ApplyVersion is the newest version of the rules by which entries are applied.
// Every entry names the version that it wants; a replica that does not know it halts
// instead of guessing. Entries name the version that an entry of the log has activated,
// which a leader proposes when an operator asks for it and all members know it: until then
// older software can be installed again. A cluster begins with the newest that its founder
// knows. The history:
//
//	1  accounts, transfers, users, resolves, expiry
//	2  changes of the roster
//	3  rights: clients move money only from accounts that they own or were granted;
//	   preconditions, access changes, memo and metadata, derived transfer ids
//	4  forced recovery; seats that move within a machine
//	5  versions are activated by the log
//	6  effects; what a transaction imported is kept with its place in the order, for the
//	   stream of events; transactions of sessions that have ended are refused; changes of a user that
//	   leave it enabled or disabled as it is
const ApplyVersion = 6

const (
	// BaseVersion is what entries name as long as no version was activated.
	BaseVersion = VersionRights
	// VersionRoster is the first version that knows changes of the roster.
	VersionRoster = 2
	// VersionRights is the first version that knows rights, and what came with them.
	VersionRights = 3
	// VersionForce is the first version that knows forced recovery, and seats that move.
	VersionForce = 4
	// VersionActivation is the first version that is activated.
	VersionActivation = 5
	// VersionEffects is the first version that knows effects, and what came with them.
	VersionEffects = 6
)

const (
	// MaxTransactionBytes bounds one encoded transaction, so that a single one
	// cannot hold up the batch it travels in for more than some milliseconds.
	MaxTransactionBytes = 4 << 20
	// MaxOperations bounds the operations of one transaction; with the largest
	// transfer it stays well below MaxTransactionBytes.
	MaxOperations = 8192
)

// ErrMalformed is returned for a submission that cannot be a transaction.
var ErrMalformed = errors.New("entry: malformed transaction")

// Key recognises a request: a submission, or the wish for a final answer.
type Key struct {
	ID u128.Int
	// Content is the digest of principal and transaction bytes; of a resolve it
	// holds the principal.
	Content [16]byte
	// Resolve tells a resolve from a submission.
	Resolve bool
}

// idField is the number of Transaction.id.
const idField = 1

// KeyOf returns the key of a submission without decoding its operations. The
// error is ErrMalformed: over a bound, not protobuf, or without an id.
func KeyOf(s *txnpb.Submission) (Key, error) {
	id, err := idOf(s.Transaction)
	if err != nil {
		return Key{}, err
	}
	h := sha256.New()
	var who [8]byte
	binary.BigEndian.PutUint64(who[:], s.Principal)
	h.Write(who[:])
	h.Write(s.Transaction)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return Key{ID: id, Content: [16]byte(sum[:16])}, nil
}

func idOf(transaction []byte) (u128.Int, error) {
	if len(transaction) > MaxTransactionBytes {
		return u128.Int{}, fmt.Errorf("%w: %d bytes, the bound is %d", ErrMalformed, len(transaction), MaxTransactionBytes)
	}
	raw, err := message.FindBytes(transaction, idField)
	if err != nil {
		return u128.Int{}, fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	id, err := u128.ParseWire(raw)
	if err != nil {
		return u128.Int{}, fmt.Errorf("%w: id: %v", ErrMalformed, err)
	}
	if id.IsZero() {
		return u128.Int{}, fmt.Errorf("%w: its id is missing or zero", ErrMalformed)
	}
	return id, nil
}

// ResolveKey returns the key of a principal's wish for a final answer. What one
// principal may hear another one may not, so the key names it.
func ResolveKey(id u128.Int, principal uint64) Key {
	k := Key{ID: id, Resolve: true}
	binary.BigEndian.PutUint64(k.Content[8:], principal)
	return k
}

// TimeOf returns the time that stands in an id (UUIDv7, RFC 9562), in nanoseconds
// since 1970: its leading 48 bits are milliseconds. A time that nanoseconds cannot
// tell, beyond the year 2554, is the greatest one that they can.
func TimeOf(id u128.Int) uint64 {
	millis := id.Hi >> 16
	if millis > math.MaxUint64/uint64(time.Millisecond) {
		return math.MaxUint64
	}
	return millis * uint64(time.Millisecond)
}

// Result is what became of one submission or resolve when its entry was applied.
type Result struct {
	Key     Key
	Outcome txnpb.Outcome
}
