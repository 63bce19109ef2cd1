package machine

import (
	"bytes"
	"fmt"
	"slices"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/txid"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// submit executes one submission unless its id says that this was done already.
func (m *Machine) submit(s *txnpb.Submission) entry.Result {
	key, err := entry.KeyOf(s)
	if err != nil {
		return refused(key, err.Error())
	}
	now := m.meta.Stamp + 1
	if row, ok := m.row(key.ID, now); ok {
		if len(row.Content) > 0 && !bytes.Equal(row.Content, key.Content[:]) {
			return entry.Result{Key: key, Outcome: txnpb.Outcome{Id: key.ID, State: txnpb.StateIdReused}}
		}
		return entry.Result{Key: key, Outcome: *row.Outcome}
	}
	if state := m.judgeAge(key.ID, now); state != txnpb.StateUnknown {
		return entry.Result{Key: key, Outcome: txnpb.Outcome{Id: key.ID, State: state}}
	}
	if m.sessionOver(s) {
		return entry.Result{Key: key, Outcome: txnpb.Outcome{Id: key.ID, State: txnpb.StateSessionOver}}
	}
	if err := m.tx.Parse(s.Transaction); err != nil {
		return refused(key, err.Error())
	}
	if !entry.KnownTransaction(s.Transaction, m.entry.ApplyVersion) {
		return refused(key, "the transaction holds a field that this cluster does not know: upgrade the cluster before its clients")
	}
	if reason := m.check(&m.tx, s); reason != "" {
		return refused(key, reason)
	}
	o, stamps, reason := m.execute(&m.tx, s)
	if reason != "" {
		return refused(key, reason)
	}
	m.meta.Stamp += uint64(stamps)
	m.content = key.Content
	m.remember(o, s.Principal, m.content[:], now)
	return entry.Result{Key: key, Outcome: o}
}

// resolve returns what stands under an id, or puts "cancelled" there.
func (m *Machine) resolve(q *txnpb.ResolveRequest) entry.Result {
	key := entry.ResolveKey(q.Id, q.Principal)
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
	m.remember(o, q.Principal, nil, now)
	return entry.Result{Key: key, Outcome: o}
}

func refused(key entry.Key, reason string) entry.Result {
	return entry.Result{Key: key, Outcome: txnpb.Outcome{Id: key.ID, State: txnpb.StateRefused, Reason: reason}}
}

// judgeAge refuses ids that are too far ahead of ledger time or so old that
// their row may be gone.
func (m *Machine) judgeAge(id u128.Int, now uint64) txnpb.State {
	switch at := entry.TimeOf(id); {
	case at > now+uint64(MaxAhead):
		return txnpb.StateIdFromFuture
	case at+m.window < now:
		return txnpb.StateExpired
	}
	return txnpb.StateUnknown
}

// until is the stamp up to which the row of a transaction must be kept. It is
// never before the one from which the id itself is too old.
func (m *Machine) until(id u128.Int, committed uint64) uint64 {
	return max(entry.TimeOf(id), committed) + m.window
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
	return row, m.until(id, row.Committed) >= now
}

// remember writes the row of a transaction that is final now.
func (m *Machine) remember(o txnpb.Outcome, principal uint64, content []byte, committed uint64) {
	id := o.Id
	m.outcome, m.outcome.Id = o, u128.Int{}
	m.stored = txnpb.StoredOutcome{Content: content, Outcome: &m.outcome, Principal: principal, Committed: committed}
	at := len(m.encoded)
	m.encoded = m.stored.AppendTo(m.encoded) // where it grows, earlier rows stay where they are
	m.rows[id] = len(m.batch.Txns)
	m.batch.Txns = append(m.batch.Txns, store.Txn{ID: id, Until: m.until(id, committed), Row: m.encoded[at:]})
	m.meta.Transactions++
}

// newResults returns the results of one more transaction of this entry. They belong to
// whoever gets the entry's outcomes: all of them are one piece of memory.
func (m *Machine) newResults() *txnpb.Results {
	if len(m.spare) == 0 {
		m.spare = make([]txnpb.Results, max(1, len(m.entry.Submissions)))
	}
	r := &m.spare[0]
	m.spare = m.spare[1:]
	return r
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
	case m.entry.ApplyVersion < entry.VersionRights:
		return ""
	}
	switch message.Role(s.Role) {
	case message.RoleClient, message.RoleOperator, message.RoleSFU:
	case message.RoleAuditor:
		return "an auditor reads everything and changes nothing"
	default:
		return "only clients and operators may submit transactions"
	}
	if fault := malformed(tx); fault != "" {
		return fault
	}
	return malformedEffects(tx, message.Role(s.Role))
}

// limited reports whether the rights of whoever submitted something decide about it:
// operators may do everything, and so may the cluster's own Components.
func (m *Machine) limited(s *txnpb.Submission) bool {
	return m.entry.ApplyVersion >= entry.VersionRights && message.Role(s.Role) == message.RoleClient
}

func operations(tx *txnpb.Transaction) int {
	return len(tx.Accounts) + len(tx.Transfers) + len(tx.Users) + len(tx.Access) + len(tx.EffectChanges)
}

// execute runs a transaction's operations and returns its outcome and how many stamps it
// took, or why it must be refused; then nothing has changed.
func (m *Machine) execute(tx *txnpb.Transaction, s *txnpb.Submission) (o txnpb.Outcome, stamps int, refusal string) {
	first := m.meta.Stamp + 1
	stamps = max(1, operations(tx))
	o = txnpb.Outcome{Id: tx.Id, State: txnpb.StateAborted}
	limited := m.limited(s)
	if limited {
		if reason := m.mayAsk(tx, s.Principal); reason != "" {
			return o, 0, reason
		}
	}
	if len(tx.Effects) > 0 {
		if reason := m.crowded(tx.Effects); reason != "" {
			return o, 0, reason
		}
	}
	if o.Reason = m.unmet(tx); o.Reason != "" {
		return o, stamps, ""
	}
	atomic := tx.Mode == txnpb.ModeAtomic
	if atomic || limited {
		m.begin()
	}
	res := m.ledger.CreateAccounts(first, tx.Accounts, m.results[:0])
	if limited {
		m.own(tx.Accounts, res, s.Principal)
		if refusal = m.mayChange(tx, s.Principal); refusal != "" {
			m.rollback()
			return o, 0, refusal
		}
	}
	m.statuses = m.statuses[:0]
	for i := range tx.Access {
		m.statuses = append(m.statuses, m.changeAccess(&tx.Access[i]))
	}
	if tx.DeriveTransferIds {
		deriveIDs(tx)
	}
	if limited {
		if refusal = m.mayMove(tx, s.Principal); refusal != "" {
			m.rollback()
			return o, 0, refusal
		}
	}
	res = m.ledger.CreateTransfers(first+uint64(len(tx.Accounts)), tx.Transfers, res)
	m.results = res

	o.State, o.Results = txnpb.StateCommitted, m.newResults()
	results := o.Results
	results.Timestamp, results.Count = first, uint32(operations(tx))
	except := func(i int, status uint32, timestamp uint64) {
		results.Exceptions = append(results.Exceptions, txnpb.Exception{Index: uint32(i), Status: status, Timestamp: timestamp})
	}
	for i, r := range res {
		if r.Status != 0 || r.Timestamp != first+uint64(i) {
			except(i, r.Status, r.Timestamp)
		}
	}
	for i := range tx.Users {
		status, number := m.changeUser(&tx.Users[i], first+uint64(len(res)+i))
		if status != txnpb.UserStatusCreated {
			except(len(res)+i, uint32(status), 0)
		} else {
			o.UserNumbers = append(o.UserNumbers, number)
		}
	}
	at := len(res) + len(tx.Users)
	for i, status := range m.statuses {
		if status != txnpb.AccessStatusChanged {
			except(at+i, uint32(status), 0)
		}
	}
	at += len(m.statuses)
	following := 0
	for i := range tx.EffectChanges {
		status, transfers := m.changeEffect(&tx.EffectChanges[i], first, first+uint64(stamps+following))
		if status != txnpb.EffectStatusChanged {
			except(at+i, uint32(status), 0)
		}
		following += transfers
	}
	if atomic {
		if reason := firstFailure(tx, &o); reason != "" {
			m.rollback()
			o.State, o.Reason, o.UserNumbers = txnpb.StateAborted, reason, nil
			return o, stamps, ""
		}
	}
	if atomic || limited {
		m.ledger.Commit()
	}
	stamps += following
	m.meta.Csn++
	o.Csn = m.meta.Csn
	m.owe(tx.Effects, owner{id: tx.Id, csn: o.Csn, principal: s.Principal, role: s.Role}, first)
	o.Effects = uint32(len(tx.Effects))
	m.note(tx, first, stamps)
	if m.entry.ApplyVersion >= entry.VersionEffects {
		m.noteImports(tx, first)
	}
	return o, stamps, ""
}

// begin opens a scope: what follows takes effect unless it is rolled back.
func (m *Machine) begin() {
	m.ledger.Begin()
	m.users.begin(m.meta.LastUser)
	m.rights.begin()
	m.before = outboxMark{m.outbox.mark(), m.meta.OutboxVersion, m.meta.OutboxQueues, m.meta.OutboxHeld}
}

func (m *Machine) rollback() {
	m.ledger.Rollback()
	m.meta.LastUser = m.users.rollback()
	m.rights.rollback()
	m.outbox.rollback(m.before.rows)
	m.meta.OutboxVersion, m.meta.OutboxQueues, m.meta.OutboxHeld = m.before.version, m.before.queues, m.before.held
}

// deriveIDs gives the transfers that have no id theirs.
func deriveIDs(tx *txnpb.Transaction) {
	for i := range tx.Transfers {
		if t := &tx.Transfers[i]; t.Id.IsZero() {
			t.Id = txid.Transfer(tx.Id, uint32(i))
		}
	}
}

// note keeps which stamps a committed transaction took, from first on, and what it
// says of itself.
func (m *Machine) note(tx *txnpb.Transaction, first uint64, stamps int) {
	b := &m.batch
	if len(b.Spans) == 0 {
		b.FirstCSN = m.meta.Csn
	}
	b.Spans = append(b.Spans, store.Span{First: first, Last: first + uint64(stamps) - 1})
	if tx.Memo != "" || len(tx.Metadata) > 0 {
		n := txnpb.Note{TransactionId: tx.Id, Memo: tx.Memo, Metadata: tx.Metadata, Csn: m.meta.Csn}
		b.Notes = append(b.Notes, store.Note{CSN: m.meta.Csn, Row: message.Marshal(&n)})
	}
}

// noteImports keeps what a committed transaction imported: m.results says what became of
// its accounts and transfers.
func (m *Machine) noteImports(tx *txnpb.Transaction, first uint64) {
	i := store.Imports{Stamps: store.Span{First: first, Last: first + uint64(max(1, operations(tx))) - 1}, TransfersAt: first + uint64(len(tx.Accounts))}
	add := func(s *store.Span, r ledger.Result) {
		if r.Status == 0 {
			if s.Last = r.Timestamp; s.First == 0 {
				s.First = r.Timestamp
			}
		}
	}
	for n := range tx.Accounts {
		if tx.Accounts[n].Flags&importedAccount != 0 {
			add(&i.Accounts, m.results[n])
		}
	}
	for n := range tx.Transfers {
		if tx.Transfers[n].Flags&importedTransfer != 0 {
			add(&i.Transfers, m.results[len(tx.Accounts)+n])
		}
	}
	if i.Accounts.First != 0 || i.Transfers.First != 0 {
		m.batch.Imports = append(m.batch.Imports, i)
	}
}
