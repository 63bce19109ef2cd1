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
// with a *VersionError: applying it by other rules would split the replicas.
package machine

import (
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"
	"slices"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/entry"
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
)

// VersionError says that an entry wants rules that this machine does not have.
type VersionError struct {
	Index         uint64
	Version, Know uint32
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("machine: entry %d wants apply version %d, this software knows up to %d: install the newer software on this SFU", e.Index, e.Version, e.Know)
}

// Config describes a machine.
type Config struct {
	// Window is how long an outcome is kept; 0 means DefaultWindow. It must be the
	// same on every replica.
	Window time.Duration
	// Ledger bounds the ledger's caches.
	Ledger ledger.Config
}

// Machine is the replicated state and the rules by which entries change it. It
// belongs to one goroutine.
type Machine struct {
	store  store.State
	ledger *ledger.Ledger
	window uint64 // nanoseconds
	meta   txnpb.Meta

	rows   map[u128.Int]int // transactions of this entry: index into batch.Txns
	users  userChanges
	batch  store.Batch
	digest hash.Hash

	entry   txnpb.Entry
	tx      txnpb.Transaction
	results []ledger.Result
	scratch []byte
}

// Open returns the machine over what the store holds. A store that is empty
// begins with the given members.
func Open(s store.State, cfg Config, members *raftpb.ConfState) (*Machine, error) {
	if cfg.Window == 0 {
		cfg.Window = DefaultWindow
	}
	l, err := ledger.New(s, cfg.Ledger)
	if err != nil {
		return nil, fmt.Errorf("machine: %w", err)
	}
	m := &Machine{store: s, ledger: l, window: uint64(cfg.Window), rows: map[u128.Int]int{}, digest: sha256.New()}
	if raw := s.Meta(metaKey); raw != nil {
		if err := m.meta.Parse(slices.Clone(raw)); err != nil {
			return nil, fmt.Errorf("machine: the store's meta row: %w", err)
		}
	} else if m.meta.Members, err = proto.Marshal(raftpb.EnsureConfState(members)); err != nil {
		return nil, fmt.Errorf("machine: members: %w", err)
	}
	return m, nil
}

// Applied is the index and the term of the entry that was applied last.
func (m *Machine) Applied() (index, term uint64) { return m.meta.AppliedIndex, m.meta.AppliedTerm }

// Members is the group's membership as of the applied index.
func (m *Machine) Members() (*raftpb.ConfState, error) {
	cs := &raftpb.ConfState{}
	if err := proto.Unmarshal(m.meta.Members, cs); err != nil {
		return nil, fmt.Errorf("machine: members in the store: %w", err)
	}
	return raftpb.EnsureConfState(cs), nil
}

// Digest identifies the state.
func (m *Machine) Digest() txnpb.StateDigest {
	return txnpb.StateDigest{AppliedIndex: m.meta.AppliedIndex, Csn: m.meta.Csn, Chain: slices.Clone(m.meta.Chain), Transactions: m.meta.Transactions}
}

// Stamp is ledger time: the greatest stamp used, nanoseconds since 1970.
func (m *Machine) Stamp() uint64 { return m.meta.Stamp }

// NextExpiry is the earliest time-out of a pending transfer, nanoseconds since
// 1970; 0 when there is none.
func (m *Machine) NextExpiry() uint64 { return m.ledger.NextExpiry() }

// skip moves the applied index over an entry that changes nothing else.
func (m *Machine) skip(index, term uint64) {
	m.meta.AppliedIndex, m.meta.AppliedTerm = index, term
	m.commit()
}

// Apply applies one normal entry and appends an outcome for each of its
// submissions and resolves, in their order, to out. The outcomes belong to the
// caller. The error is a *VersionError, or says that the entry is not one.
func (m *Machine) Apply(index, term uint64, data []byte, out []entry.Result) ([]entry.Result, error) {
	if index != m.meta.AppliedIndex+1 {
		return out, fmt.Errorf("machine: entry %d after %d: entries are applied one by one", index, m.meta.AppliedIndex)
	}
	if len(data) == 0 { // a new leader's first entry
		m.skip(index, term)
		return out, nil
	}
	e := &m.entry
	if err := e.Parse(data); err != nil {
		return out, fmt.Errorf("machine: entry %d: %w", index, err)
	}
	if e.ApplyVersion == 0 || e.ApplyVersion > entry.ApplyVersion {
		return out, &VersionError{Index: index, Version: e.ApplyVersion, Know: entry.ApplyVersion}
	}
	m.digest.Reset()
	m.digest.Write(m.meta.Chain)
	m.digest.Write(data)

	m.meta.Stamp = max(m.meta.Stamp, e.Proposed-min(e.Proposed, 1)) // so that the next stamp is no less than proposed
	if e.Expire > 0 {
		m.meta.Stamp += uint64(m.ledger.Expire(m.meta.Stamp+1, int(e.Expire)))
	}
	first := len(out)
	for i := range e.Submissions {
		out = append(out, m.submit(&e.Submissions[i]))
	}
	for i := range e.Resolves {
		out = append(out, m.resolve(&e.Resolves[i]))
	}
	for i := range out[first:] {
		m.hash(&out[first+i].Outcome)
	}
	changes := m.ledger.Changes()
	for i := range changes.Accounts() {
		a, _ := changes.Account(i)
		m.hash(a)
	}
	m.meta.Chain = m.digest.Sum(m.meta.Chain[:0])
	m.meta.AppliedIndex, m.meta.AppliedTerm = index, term
	m.commit()
	return out, nil
}

// hash adds a message to the entry's digest.
func (m *Machine) hash(v message.Message) {
	m.scratch = v.AppendTo(m.scratch[:0])
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(m.scratch)))
	m.digest.Write(n[:])
	m.digest.Write(m.scratch)
}

// commit hands everything that changed to the store, with the applied index.
func (m *Machine) commit() {
	m.users.appendTo(&m.batch)
	m.batch.Applied = m.meta.AppliedIndex
	m.batch.Changes = m.ledger.Changes()
	m.batch.Stamp = m.meta.Stamp
	m.batch.Metas = append(m.batch.Metas, store.MetaRow{Key: metaKey, Value: message.Marshal(&m.meta)})
	m.store.Commit(&m.batch)
	m.ledger.Reset()
	m.batch.Reset()
	m.users.reset()
	clear(m.rows)
}

// submit executes one submission unless its id says that this was done already.
func (m *Machine) submit(s *txnpb.Submission) entry.Result {
	key, err := entry.KeyOf(s)
	if err != nil {
		return refused(key, err.Error())
	}
	now := m.meta.Stamp + 1
	if row, ok := m.row(key.ID, now); ok {
		switch {
		case len(row.Content) > 0 && [16]byte(row.Content) != key.Content:
			return entry.Result{Key: key, Outcome: txnpb.Outcome{Id: key.ID, State: txnpb.StateIdReused}}
		default:
			return entry.Result{Key: key, Outcome: *row.Outcome}
		}
	}
	if state := m.judgeAge(key.ID, now); state != txnpb.StateUnknown {
		return entry.Result{Key: key, Outcome: txnpb.Outcome{Id: key.ID, State: state}}
	}
	if err := m.tx.Parse(s.Transaction); err != nil {
		return refused(key, err.Error())
	}
	if reason := m.check(&m.tx, s); reason != "" {
		return refused(key, reason)
	}
	o := m.execute(&m.tx)
	m.meta.Stamp += uint64(max(1, operations(&m.tx)))
	m.remember(key.ID, &txnpb.StoredOutcome{Content: key.Content[:], Outcome: &o, Principal: s.Principal, Committed: now})
	return entry.Result{Key: key, Outcome: o}
}

// resolve returns what stands under an id, or puts "cancelled" there.
func (m *Machine) resolve(q *txnpb.ResolveRequest) entry.Result {
	key := entry.Key{ID: q.Id}
	now := m.meta.Stamp + 1
	if row, ok := m.row(q.Id, now); ok {
		if row.Principal != q.Principal && q.Principal != 0 {
			return refused(key, "the transaction belongs to another user")
		}
		return entry.Result{Key: key, Outcome: *row.Outcome}
	}
	if state := m.judgeAge(q.Id, now); state != txnpb.StateUnknown {
		return entry.Result{Key: key, Outcome: txnpb.Outcome{Id: q.Id, State: state}}
	}
	m.meta.Stamp++
	o := txnpb.Outcome{Id: q.Id, State: txnpb.StateAborted, Reason: "cancelled"}
	m.remember(q.Id, &txnpb.StoredOutcome{Outcome: &o, Principal: q.Principal, Committed: now})
	return entry.Result{Key: key, Outcome: o}
}

func refused(key entry.Key, reason string) entry.Result {
	return entry.Result{Key: key, Outcome: txnpb.Outcome{Id: key.ID, State: txnpb.StateRefused, Reason: reason}}
}

// judgeAge refuses ids that are too far ahead of ledger time or so old that
// their row may be gone.
func (m *Machine) judgeAge(id u128.Int, now uint64) txnpb.State {
	at := entry.MillisOf(id) * uint64(time.Millisecond)
	switch {
	case at > now+uint64(MaxAhead):
		return txnpb.StateIdFromFuture
	case at+m.window < now:
		return txnpb.StateExpired
	}
	return txnpb.StateUnknown
}

// Lookup returns the row of a transaction, for Status: what it says is final.
func Lookup(s store.State, id u128.Int) (*txnpb.StoredOutcome, error) {
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
	raw := v.Meta(metaKey)
	if raw == nil {
		return 0, nil
	}
	var meta txnpb.Meta
	if err := meta.Parse(slices.Clone(raw)); err != nil {
		return 0, fmt.Errorf("machine: the store's meta row: %w", err)
	}
	return meta.Csn, nil
}

// row returns the living row of a transaction.
func (m *Machine) row(id u128.Int, now uint64) (*txnpb.StoredOutcome, bool) {
	var row *txnpb.StoredOutcome
	if i, ok := m.rows[id]; ok {
		row = &txnpb.StoredOutcome{}
		if err := row.Parse(slices.Clone(m.batch.Txns[i].Row)); err != nil {
			panic(err) // written a moment ago
		}
		row.Outcome.Id = id
	} else {
		var err error
		if row, err = Lookup(m.store, id); err != nil {
			panic(&ledger.ReadError{Op: "transaction row", Err: err})
		}
		if row == nil {
			return nil, false
		}
	}
	at := entry.MillisOf(id) * uint64(time.Millisecond)
	return row, max(at, row.Committed)+m.window >= now
}

// remember writes the row of a transaction that is final now.
func (m *Machine) remember(id u128.Int, row *txnpb.StoredOutcome) {
	o := *row.Outcome
	o.Id = u128.Int{}
	row.Outcome = &o
	m.rows[id] = len(m.batch.Txns)
	at := entry.MillisOf(id) * uint64(time.Millisecond)
	m.batch.Txns = append(m.batch.Txns, store.Txn{ID: id, Until: max(at, row.Committed) + m.window, Row: message.Marshal(row)})
	m.meta.Transactions++
}

// check returns why a well-formed transaction may not be executed, or "".
func (m *Machine) check(tx *txnpb.Transaction, s *txnpb.Submission) string {
	switch {
	case operations(tx) > entry.MaxOperations:
		return fmt.Sprintf("%d operations, the bound is %d: send several transactions", operations(tx), entry.MaxOperations)
	case tx.Mode != txnpb.ModeAtomic && tx.Mode != txnpb.ModeIndependent:
		return fmt.Sprintf("unknown mode %d", tx.Mode)
	case len(tx.Users) > 0 && message.Role(s.Role) != message.RoleOperator:
		return "only an operator may change users"
	}
	return ""
}

func operations(tx *txnpb.Transaction) int {
	return len(tx.Accounts) + len(tx.Transfers) + len(tx.Users)
}

// execute runs a transaction's operations and returns its outcome.
func (m *Machine) execute(tx *txnpb.Transaction) txnpb.Outcome {
	first := m.meta.Stamp + 1
	atomic := tx.Mode == txnpb.ModeAtomic
	if atomic {
		m.ledger.Begin()
		m.users.begin()
	}
	res := m.ledger.CreateAccounts(first, tx.Accounts, m.results[:0])
	res = m.ledger.CreateTransfers(first+uint64(len(tx.Accounts)), tx.Transfers, res)
	m.results = res

	o := txnpb.Outcome{Id: tx.Id, State: txnpb.StateCommitted, Results: &txnpb.Results{Timestamp: first, Count: uint32(operations(tx))}}
	for i, r := range res {
		if r.Status != 0 || r.Timestamp != first+uint64(i) {
			o.Results.Exceptions = append(o.Results.Exceptions, txnpb.Exception{Index: uint32(i), Status: uint32(r.Status), Timestamp: r.Timestamp})
		}
	}
	for i := range tx.Users {
		status, number := m.changeUser(&tx.Users[i], first+uint64(len(res)+i))
		if status != txnpb.UserStatusCreated {
			o.Results.Exceptions = append(o.Results.Exceptions, txnpb.Exception{Index: uint32(len(res) + i), Status: uint32(status)})
		} else {
			o.UserNumbers = append(o.UserNumbers, number)
		}
	}
	if atomic {
		if reason := firstFailure(tx, &o); reason != "" {
			m.ledger.Rollback()
			m.users.rollback()
			o.State, o.Reason, o.UserNumbers = txnpb.StateAborted, reason, nil
			return o
		}
		m.ledger.Commit()
	}
	m.meta.Csn++
	o.Csn = m.meta.Csn
	return o
}
