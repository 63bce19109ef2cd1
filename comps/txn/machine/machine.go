// Package machine applies log entries to the state: exactly once for each
// transaction, in the order of the log, with the same result on every replica.
//
// It is the deterministic middle between the log and the store. An entry, its
// index and its term go in; outcomes come out and one batch of rows goes to the
// store together with the applied index, so that after a crash the state is that
// of some index exactly.
//
// # Exactly once
//
// Every transaction that was committed or aborted leaves a row under its id: the
// digest of its content and its outcome. While the row lives, until
// max(time in the id, commit time) + window, the same id and content get the
// first answer and other content is refused. An id so old that its row may be gone
// is refused as expired, and one that claims to be more than five minutes ahead of
// ledger time is refused, so that no id can outlive its row.
//
// # Time
//
// Ledger time is the stamp. An entry's first stamp is one more than the greatest
// stamp used, or the leader's clock when it closed the batch if that is later. Each
// transaction takes as many stamps as it has operations, and at least one.
//
// # Versions
//
// An entry that names an apply version which this machine does not know stops it
// with a *VersionError, and one with a field that the version does not have with
// ErrUnknownField: applying them by other rules would split the replicas. What
// transactions are answered, to the letter, is part of the replicated state: other
// words for why one was aborted are another apply version.
package machine

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// DefaultWindow is how long an outcome is kept.
	DefaultWindow = 7 * 24 * time.Hour
	// MaxAhead is how far an id may be ahead of ledger time.
	MaxAhead = 5 * time.Minute
	// metaKey is the store's meta row that holds txnpb.Meta.
	metaKey = "txn"
	// MaxProposed bounds the leader's clock: it leaves 36 years of stamps, one a
	// nanosecond, before they end. A clock gone mad must not stop every replica; an
	// entry that proposes more is applied as if it proposed this.
	MaxProposed = ledger.MaxTimestamp - 1<<60
)

// ErrUnknownField is returned for an entry that newer software has made.
var ErrUnknownField = errors.New("machine: the entry holds a field that its apply version does not have: install the newer software on this SFU")

// VersionError says that an entry, or the state, wants rules that this machine does not
// have.
type VersionError struct {
	Index         uint64 // of the entry; 0 where it is the group as a whole
	Version, Know uint32
}

func (e *VersionError) Error() string {
	what := "the group's transactions want"
	if e.Index > 0 {
		what = fmt.Sprintf("entry %d wants", e.Index)
	}
	return fmt.Sprintf("machine: %s apply version %d, this software knows up to %d: install the newer software on this SFU", what, e.Version, e.Know)
}

// Config describes a machine.
type Config struct {
	// Window is how long an outcome is kept, as long as the log does not say it: from
	// the founding of the cluster on it does. 0 means DefaultWindow. Until then it must
	// be the same on every replica.
	Window time.Duration
	// Ledger bounds the ledger's caches.
	Ledger ledger.Config
	// Newest is the newest apply version that the machine takes; 0 means
	// entry.ApplyVersion. Tests have others, to be older or newer software.
	Newest uint32
	// LastCSN, if not 0, is the last one that is given: what stands behind it in its entry
	// is left out. It is for a state that begins another group, never for a replica.
	LastCSN uint64
}

// Machine is the replicated state and the rules by which entries change it. It
// belongs to one goroutine.
type Machine struct {
	store  store.State
	ledger *ledger.Ledger
	window uint64 // nanoseconds
	newest uint32 // apply version
	last   uint64 // CSN; 0 means none
	meta   txnpb.Meta
	group  roster.State

	changes      []roster.Applied     // of the entries applied since they were taken
	changedUsers []txnpb.UserStanding // likewise

	standings map[uint64]standing // of users, as of now

	rows   map[u128.Int]int // transactions of this entry: index into batch.Txns
	users  userChanges
	rights accessRights
	outbox outbox
	before outboxMark // when the scope began
	batch  store.Batch
	digest hash.Hash

	entry    txnpb.Entry
	tx       txnpb.Transaction
	results  []ledger.Result
	statuses []txnpb.AccessStatus
	scratch  []byte
	encoded  []byte              // the rows of batch.Txns
	outcome  txnpb.Outcome       // as it is stored
	stored   txnpb.StoredOutcome // likewise
	content  [16]byte            // its digest
	spare    []txnpb.Results     // for the next transactions of this entry
}

// Open returns the machine over what the store holds. The error is a *VersionError where
// the state needs newer software. A store that is empty begins
// with the given members, and holds them from then on; Flush makes that durable.
func Open(s store.State, cfg Config, members *raftpb.ConfState) (*Machine, error) {
	if cfg.Window == 0 {
		cfg.Window = DefaultWindow
	}
	if cfg.Newest == 0 {
		cfg.Newest = entry.ApplyVersion
	}
	l, err := ledger.New(s, cfg.Ledger)
	if err != nil {
		return nil, fmt.Errorf("machine: %w", err)
	}
	m := &Machine{store: s, ledger: l, window: uint64(cfg.Window), newest: cfg.Newest, last: cfg.LastCSN, rows: map[u128.Int]int{}, standings: map[uint64]standing{}, digest: sha256.New()}
	m.users.reset()
	m.rights = newAccessRights()
	if raw := s.Meta(metaKey); raw != nil {
		return m, m.load(raw)
	}
	m.setGroup(0, roster.State{Conf: raftpb.EnsureConfState(members)})
	m.commit()
	return m, nil
}

// Begun reports whether a store was ever opened by a machine.
func Begun(s store.State) bool { return s.Meta(metaKey) != nil }

// load reads the store's meta rows.
func (m *Machine) load(raw []byte) error {
	if err := m.meta.Parse(slices.Clone(raw)); err != nil {
		return fmt.Errorf("machine: the store's meta row: %w", err)
	}
	if m.meta.ApplyVersion > m.newest {
		return &VersionError{Version: m.meta.ApplyVersion, Know: m.newest}
	}
	if m.meta.Window != 0 {
		m.window = m.meta.Window
	}
	return m.loadGroup()
}

// Applied is the index and the term of the entry that was applied last.
func (m *Machine) Applied() (index, term uint64) { return m.meta.AppliedIndex, m.meta.AppliedTerm }

// Digest identifies the state.
func (m *Machine) Digest() txnpb.StateDigest {
	return txnpb.StateDigest{AppliedIndex: m.meta.AppliedIndex, Csn: m.meta.Csn, Chain: slices.Clone(m.meta.Chain), Transactions: m.meta.Transactions}
}

// Stamp is ledger time: the greatest stamp used, nanoseconds since 1970.
func (m *Machine) Stamp() uint64 { return m.meta.Stamp }

// NextExpiry is the earliest time-out of a pending transfer, nanoseconds since
// 1970; 0 when there is none.
func (m *Machine) NextExpiry() uint64 { return m.ledger.NextExpiry() }

// OutboxVersion rises with every entry that brings work to the outbox.
func (m *Machine) OutboxVersion() uint64 { return m.meta.OutboxVersion }

// skip moves the applied index over an entry that changes nothing else.
func (m *Machine) skip(index, term uint64) {
	m.meta.AppliedIndex, m.meta.AppliedTerm = index, term
	m.commit()
}

// Apply applies one normal entry and appends an outcome for each of its
// submissions and resolves, in their order, to out. The outcomes belong to the
// caller. The error is a *VersionError, ErrUnknownField, or says that the entry is
// not one; then nothing has changed.
func (m *Machine) Apply(index, term uint64, data []byte, out []entry.Result) ([]entry.Result, error) {
	if err := m.checkNext(index); err != nil {
		return out, err
	}
	if len(data) == 0 { // a new leader's first entry
		m.skip(index, term)
		return out, nil
	}
	e := &m.entry
	if err := e.Parse(data); err != nil {
		return out, fmt.Errorf("machine: entry %d: %w", index, err)
	}
	if err := checkVersion(index, e.ApplyVersion, m.newest); err != nil {
		return out, err
	}
	if !entry.KnownEntry(data, e.ApplyVersion) {
		return out, fmt.Errorf("%w (entry %d)", ErrUnknownField, index)
	}
	m.digest.Reset()
	m.digest.Write(m.meta.Chain)
	m.digest.Write(data)

	// The next stamp is no less than proposed.
	proposed := min(e.Proposed, MaxProposed)
	m.meta.Stamp = max(m.meta.Stamp, proposed-min(proposed, 1))
	if e.Expire > 0 {
		m.meta.Stamp += uint64(m.ledger.Expire(m.meta.Stamp+1, int(min(e.Expire, ledger.MaxEvents))))
	}
	if e.Change != nil {
		c := &txnpb.RosterChange{}
		if err := c.Parse(message.Marshal(e.Change)); err != nil { // a copy: the entry's memory is used again
			return out, fmt.Errorf("machine: entry %d: %w", index, err)
		}
		if err := m.change(index, term, e.ApplyVersion, c, nil); err != nil {
			return out, err
		}
	}
	first := len(out)
	m.spare = nil // what is left belongs to the entry before
	for i := range e.Submissions {
		if m.complete() {
			break
		}
		out = append(out, m.submit(&e.Submissions[i]))
	}
	for i := range e.Resolves {
		if m.complete() {
			break
		}
		out = append(out, m.resolve(&e.Resolves[i]))
	}
	for i := range out[first:] {
		m.hashOutcome(&out[first+i].Outcome)
	}
	changes := m.ledger.Changes()
	for i := range changes.Accounts() {
		a, _ := changes.Account(i)
		m.hash(a)
	}
	for i := range m.users.list {
		m.hash(&m.users.list[i])
	}
	for _, key := range m.outbox.order {
		m.hash(&txnpb.Row{Key: []byte(key)})
		if row := m.outbox.changed[key]; row != nil {
			m.hash(row)
		}
	}
	for _, account := range m.rights.order {
		m.hash(&txnpb.AccountAccess{AccountId: account, Access: m.rights.changed[account]})
	}
	m.seal(index, term)
	return out, nil
}

// complete reports whether the last CSN is given that is to be.
func (m *Machine) complete() bool { return m.last > 0 && m.meta.Csn >= m.last }

// checkNext reports whether an entry follows the one that was applied last.
func (m *Machine) checkNext(index uint64) error {
	if index != m.meta.AppliedIndex+1 {
		return fmt.Errorf("machine: entry %d after %d: entries are applied one by one", index, m.meta.AppliedIndex)
	}
	return nil
}

// checkVersion reports whether this software has the rules that an entry wants.
func checkVersion(index uint64, version, newest uint32) error {
	if version == 0 || version > newest {
		return &VersionError{Index: index, Version: version, Know: newest}
	}
	return nil
}

// seal ends an entry: what was hashed goes into the chain, and all to the store.
func (m *Machine) seal(index, term uint64) {
	m.meta.Chain = m.digest.Sum(m.meta.Chain[:0])
	m.meta.AppliedIndex, m.meta.AppliedTerm = index, term
	m.commit()
}

// hashOutcome adds an answer. Why a request was refused is not remembered and may
// be worded better some day.
func (m *Machine) hashOutcome(o *txnpb.Outcome) {
	if o.State == txnpb.StateRefused {
		plain := *o
		plain.Reason = ""
		o = &plain
	}
	m.hash(o)
}

// hash adds a message to the entry's digest.
func (m *Machine) hash(v message.Message) {
	const size = 4
	m.scratch = v.AppendTo(append(m.scratch[:0], make([]byte, size)...))
	binary.BigEndian.PutUint32(m.scratch, uint32(len(m.scratch)-size))
	m.digest.Write(m.scratch)
}

// commit hands everything that changed to the store, with the applied index.
func (m *Machine) commit() {
	m.users.appendTo(&m.batch)
	m.rights.appendTo(&m.batch)
	m.outbox.appendTo(&m.batch)
	m.batch.Applied = m.meta.AppliedIndex
	m.batch.Changes = m.ledger.Changes()
	m.batch.Stamp = m.meta.Stamp
	m.batch.Metas = append(m.batch.Metas, store.MetaRow{Key: metaKey, Value: message.Marshal(&m.meta)})
	m.store.Commit(&m.batch)
	m.ledger.Reset()
	m.batch.Reset()
	if len(m.users.list) > 0 {
		m.noteUsers()
		m.users.reset()
	}
	clear(m.rows)
	m.encoded = m.encoded[:0]
}

// transactionReader is a store.State.
type transactionReader interface {
	Txn(id u128.Int) (row []byte, ok bool)
}

// Lookup returns the row of a transaction, for Status: what it says is final.
func Lookup(s transactionReader, id u128.Int) (*txnpb.StoredOutcome, error) {
	raw, ok := s.Txn(id)
	if !ok {
		return nil, nil
	}
	row := &txnpb.StoredOutcome{}
	if err := row.Parse(raw); err != nil {
		return nil, fmt.Errorf("machine: row of transaction %v: %w", id, err)
	}
	row.Outcome.Id = id
	return row, nil
}

// CSN returns how far a view reaches.
func CSN(v store.View) (uint64, error) {
	meta, err := Reached(v)
	return meta.Csn, err
}

// Reached returns how far a store, a view or a snapshot reaches.
func Reached(s interface{ Meta(key string) []byte }) (meta txnpb.Meta, err error) {
	raw := s.Meta(metaKey)
	if raw == nil {
		return meta, nil
	}
	if err := meta.Parse(slices.Clone(raw)); err != nil {
		return meta, fmt.Errorf("machine: the store's meta row: %w", err)
	}
	return meta, nil
}
