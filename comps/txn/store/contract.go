package store

import (
	"iter"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
)

// State is what applying a log entry reads and writes: the replicated state of one
// transaction group on one SFU. After a crash it holds exactly what it held after
// some Commit, and nothing of a later one: Batch.Applied travels with the rows.
//
// Commit belongs to one goroutine, the apply thread, and so do the reads of
// ledger.State. The others may run beside it on any goroutine; each sees all of a
// Commit or nothing. A read that fails panics with a *ledger.ReadError.
type State interface {
	ledger.State

	// Txn returns the row of a transaction. The caller must not change it.
	Txn(id u128.Int) (row []byte, ok bool)
	// User returns the row of a user; UserByLogin and UserByName its number.
	User(number uint64) (row []byte, ok bool)
	UserByLogin(hash []byte) (number uint64, ok bool)
	UserByName(name string) (number uint64, ok bool)
	// Access returns the row of the rights on an account. The caller must not change it.
	Access(account u128.Int) (row []byte, ok bool)
	// Outbox returns a row of the outbox. The caller must not change it.
	Outbox(key []byte) (row []byte, ok bool)
	// OutboxRows calls f with the rows of the outbox whose keys lie between two, without
	// the latter, in their order, until f returns false. Key and row are valid until then.
	OutboxRows(from, to []byte, f func(key, row []byte) bool)
	// Meta returns a row of the transaction layer's own, nil when there is none.
	Meta(key string) []byte

	// Commit makes a batch visible, and copies what it keeps of it. It does not sync; see
	// Flush.
	Commit(b *Batch)
	// Applied is the Applied of the last Commit; Flushed is what would be left of
	// it after a crash now.
	Applied() uint64
	Flushed() uint64
	// Flush makes everything committed when it is called durable. It may run beside
	// Commit, on one other goroutine.
	Flush() error
}

// Store is a State on disk that can be queried and handed to another SFU. Restore
// and Close belong to the apply thread.
type Store interface {
	State

	// View returns the state as of the last Commit for queries. It must be closed
	// soon: it holds on to what the store would drop.
	View() (View, error)
	// Snapshot returns the state as of the last Commit, which does not change while
	// the store goes on. It must be closed.
	Snapshot() (Snapshot, error)
	// Restore begins to build another state beside this one, from the rows of a
	// Snapshot of another SFU. One may be under way at a time; beginning a second
	// one abandons the first.
	Restore() (Restore, error)

	// Scrub begins to look through the state as of the last Commit for rows that are not
	// those that were written.
	Scrub() (*Scrub, error)
	// Fence notes durably, for all times to come, that this state must not be used, and why.
	// A Switch brings one that may.
	Fence(why string) error
	// Fenced is why the state must not be used; "" where it may.
	Fenced() string

	Close() error
}

// View is a consistent state for queries, on one goroutine.
type View interface {
	ledger.History
	// Access is State.Access as of the view.
	Access(account u128.Int) (row []byte, ok bool)
	// User is State.User as of the view.
	User(number uint64) (row []byte, ok bool)
	// Committed returns the CSN of the transaction that took a stamp.
	Committed(stamp uint64) (csn uint64, ok bool)
	// CommittedBy returns the CSN and the stamps of the last transaction that began at a
	// stamp or before it.
	CommittedBy(stamp uint64) (csn uint64, s Span, ok bool)
	// Span returns the stamps that the transaction with a CSN took.
	Span(csn uint64) (s Span, ok bool)
	// Imports returns what the first transaction imported that did so and took a stamp
	// from the given one on.
	Imports(stamp uint64) (i Imports, ok bool)
	// Note returns the row of what the transaction with a CSN says of itself.
	Note(csn uint64) (row []byte, ok bool)
	// Txns calls f with the rows of transactions whose ids lie between two, from the
	// least up or from the greatest down, until f returns false. A row is valid until
	// then.
	Txns(min, max u128.Int, reversed bool, f func(id u128.Int, row []byte) bool)
	// Outbox and OutboxRows are State's as of the view.
	Outbox(key []byte) (row []byte, ok bool)
	OutboxRows(from, to []byte, f func(key, row []byte) bool)
	// Meta is Store.Meta as of the view.
	Meta(key string) []byte
	Close() error
}

// Snapshot is a consistent state.
type Snapshot interface {
	Applied() uint64
	// Meta is Store.Meta as of the snapshot.
	Meta(key string) []byte
	// Sum is the sum of the rows as it was kept of them; see sum.go.
	Sum() uint64
	// Rows yields all rows in key order. The slices are valid until the next one.
	// The error, if any, comes last.
	Rows() iter.Seq2[Row, error]
	Close() error
}

// Row is one key and value of the store.
type Row struct{ Key, Value []byte }

// Restore is a state under construction.
type Restore interface {
	// Add takes rows in the order that Rows yields them; it copies.
	Add(rows []Row) error
	// Sum is the sum of the rows that were added.
	Sum() uint64
	// Switch makes what was added durable and puts it in the place of the store's
	// content in one step: after a crash the store holds the one or the other. No
	// read may run and every Snapshot must be closed.
	Switch() error
	// Abandon throws away what was added.
	Abandon() error
}

// Batch is what one log entry changes.
type Batch struct {
	// Applied is the entry's index.
	Applied uint64
	// Changes are the ledger's; valid until the ledger is Reset.
	Changes *ledger.Changes
	// Stamp is ledger time after the entry, nanoseconds since 1970. Rows of Txns
	// whose Until lies before it may be dropped at any time.
	Stamp uint64
	Txns  []Txn
	Users []User
	Metas []MetaRow
	// Spans are the transactions that were committed, with consecutive CSNs from
	// FirstCSN on, in the order of their stamps.
	FirstCSN uint64
	Spans    []Span
	Notes    []Note
	Access   []Access
	Outbox   []OutboxRow
	// Imports are those of the Spans that imported something.
	Imports []Imports
}

// Imports is what a committed transaction created at timestamps that it named itself:
// other than that of anything else they are not the stamps that it took.
type Imports struct {
	// Stamps are those that the transaction took.
	Stamps Span
	// Accounts and Transfers are the first and the last timestamp of what it imported;
	// zeros for none. Nothing else lies between them: imports never go back behind what
	// there is.
	Accounts, Transfers Span
	// TransfersAt is the stamp of the transaction's first transfer.
	TransfersAt uint64
}

// OutboxRow is one row of the outbox; an empty one takes it away. A key, at most
// MaxOutboxKey bytes long, stands in a batch once.
type OutboxRow struct{ Key, Row []byte }

// MaxOutboxKey is the longest key of the outbox.
const MaxOutboxKey = 128

// Note is the row of what a committed transaction says of itself.
type Note struct {
	CSN uint64
	Row []byte
}

// Access is the row of the rights on an account; an empty one takes it away.
type Access struct {
	Account u128.Int
	Row     []byte
}

// Txn is the row of one transaction.
type Txn struct {
	ID u128.Int
	// Until is the stamp up to which the row must be kept.
	Until uint64
	Row   []byte
}

// User is a new or changed user.
type User struct {
	Number     uint64
	LoginHash  []byte
	PublicName string
	Row        []byte
}

// MetaRow is one row of the transaction layer's own.
type MetaRow struct {
	Key   string
	Value []byte
}

// Reset empties the batch and keeps its memory.
func (b *Batch) Reset() {
	*b = Batch{Txns: b.Txns[:0], Users: b.Users[:0], Metas: b.Metas[:0], Spans: b.Spans[:0], Notes: b.Notes[:0], Access: b.Access[:0], Outbox: b.Outbox[:0], Imports: b.Imports[:0]}
}
