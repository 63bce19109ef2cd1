package machine

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/txid"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// The outbox is rows of three kinds, told apart by the first byte of their keys. Numbers
// are big-endian.
//
//	'c' CSN (8)                                              txnpb.Completion
//	'e' service 0 target 0 sequence (8)                      txnpb.OwedEffect
//	'q' service 0 target 0                                   txnpb.EffectQueue
//
// A completion is there as long as an effect of the transaction is owed, and for ever where
// one has failed or has a result. An effect's row goes when it is done.
const (
	outboxCompletion = 'c'
	outboxEffect     = 'e'
	outboxQueue      = 'q'
)

func completionKey(csn uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{outboxCompletion}, csn)
}

func queueKey(kind byte, service, target string) []byte {
	b := append(make([]byte, 0, store.MaxOutboxKey), kind)
	b = append(append(b, service...), 0)
	return append(append(b, target...), 0)
}

func effectKey(service, target string, sequence uint64) []byte {
	return binary.BigEndian.AppendUint64(queueKey(outboxEffect, service, target), sequence)
}

// outbox is the rows of the outbox that this entry changed. Rows are never changed in
// place.
type outbox struct {
	changed map[string]message.Message // nil for a row that is gone
	order   []string                   // the keys in changed, by their first change
	undo    []outboxUndo               // since the entry began
}

type outboxUndo struct {
	key    string
	before message.Message
	first  bool // this entry had not changed it before
}

// outboxMark is the outbox as a scope finds it.
type outboxMark struct {
	rows            int // see outbox.mark
	version, queues uint64
	held            bool
}

// mark returns the place to which rollback goes back.
func (o *outbox) mark() int { return len(o.undo) }

// rollback puts everything back as it was at a mark.
func (o *outbox) rollback(mark int) {
	for _, u := range slices.Backward(o.undo[mark:]) {
		if o.changed[u.key] = u.before; u.first {
			delete(o.changed, u.key)
			o.order = o.order[:len(o.order)-1]
		}
	}
	o.undo = o.undo[:mark]
}

func (o *outbox) set(key []byte, row message.Message) {
	if o.changed == nil {
		o.changed = map[string]message.Message{}
	}
	before, again := o.changed[string(key)]
	if !again {
		o.order = append(o.order, string(key))
	}
	o.undo = append(o.undo, outboxUndo{string(key), before, !again})
	o.changed[string(key)] = row
}

// appendTo hands over what this entry changed, and forgets that it did.
func (o *outbox) appendTo(b *store.Batch) {
	for _, key := range o.order {
		row := store.OutboxRow{Key: []byte(key)}
		if m := o.changed[key]; m != nil {
			row.Row = message.Marshal(m)
		}
		b.Outbox = append(b.Outbox, row)
	}
	clear(o.changed)
	o.order, o.undo = o.order[:0], o.undo[:0]
}

// outboxRow is a pointer to one of the rows' messages.
type outboxRow[T any] interface {
	*T
	message.Message
	Parse(b []byte) error
}

// outboxReader is a store.State or a store.View.
type outboxReader interface {
	Outbox(key []byte) (row []byte, ok bool)
	OutboxRows(from, to []byte, f func(key, row []byte) bool)
}

// readOutbox returns a row as it is stored, nil for none.
func readOutbox[T any, P outboxRow[T]](s outboxReader, key []byte) (P, error) {
	raw, ok := s.Outbox(key)
	if !ok {
		return nil, nil
	}
	row := P(new(T))
	if err := row.Parse(raw); err != nil {
		return nil, fmt.Errorf("machine: the row %q of the outbox: %w", key, err)
	}
	return row, nil
}

// owed returns a copy of a row as of now, nil for none.
func owed[T any, P outboxRow[T]](m *Machine, key []byte) P {
	if row, ok := m.outbox.changed[string(key)]; ok {
		if row == nil {
			return nil
		}
		c := *row.(P)
		return &c
	}
	row, err := readOutbox[T, P](m.store, key)
	if err != nil {
		panic(&ledger.ReadError{Op: "the outbox", Err: err})
	}
	return row
}

// crowded returns why the queues cannot take effects, or "".
func (m *Machine) crowded(effects []txnpb.Effect) string {
	queues := m.meta.OutboxQueues
	for i := range effects {
		e := &effects[i]
		q := owed[txnpb.EffectQueue](m, queueKey(outboxQueue, e.Service, e.Target))
		switch {
		case q == nil && queues+uint64(len(effects)) > maxQueues:
			return fmt.Sprintf("effect %d: service %q has no queue %q yet, and there are %d queues, the bound is %d", i, e.Service, e.Target, queues, maxQueues)
		case q != nil && q.Effects+uint64(len(effects)) > maxQueued:
			return fmt.Sprintf("effect %d: %d effects of service %q wait already, the bound is %d", i, q.Effects, e.Service, maxQueued)
		}
	}
	return ""
}

// owner is the transaction that owes effects.
type owner struct {
	id        u128.Int
	csn       uint64
	cluster   []byte
	principal uint64
	role      uint32
}

// owe puts effects into the outbox.
func (m *Machine) owe(effects []txnpb.Effect, by owner, now uint64) {
	if len(effects) == 0 {
		return
	}
	key := completionKey(by.csn)
	c := owed[txnpb.Completion](m, key)
	if c == nil {
		c = &txnpb.Completion{}
	}
	for i := range effects {
		qkey := queueKey(outboxQueue, effects[i].Service, effects[i].Target)
		q := owed[txnpb.EffectQueue](m, qkey)
		if q == nil {
			q = &txnpb.EffectQueue{Service: strings.Clone(effects[i].Service), Target: strings.Clone(effects[i].Target)}
			m.meta.OutboxQueues++
		}
		q.Effects++
		q.Last++
		m.outbox.set(qkey, q)
		row := txnpb.OwedEffect{Effect: &effects[i], TransactionId: by.id, Csn: by.csn, Ordinal: c.Owed, ClusterId: by.cluster,
			Principal: by.principal, Role: by.role, Owed: now, Sequence: q.Last}
		copied := &txnpb.OwedEffect{} // the transaction's memory is used again
		if err := copied.Parse(message.Marshal(&row)); err != nil {
			panic(err) // it was one a moment ago
		}
		m.outbox.set(effectKey(q.Service, q.Target, q.Last), copied)
		c.Owed++
	}
	m.outbox.set(key, c)
	m.meta.OutboxVersion++
}

// changeEffect does one change of the outbox. stamp is the first that transfers which
// follow may take; how many did is returned.
func (m *Machine) changeEffect(c *txnpb.EffectChange, now, stamp uint64) (status txnpb.EffectStatus, transfers int) {
	if c.Action == txnpb.EffectActionRelease {
		m.meta.OutboxHeld = false
		m.meta.OutboxVersion++
		return txnpb.EffectStatusChanged, 0
	}
	qkey := queueKey(outboxQueue, c.Service, c.Target)
	q := owed[txnpb.EffectQueue](m, qkey)
	if q == nil {
		return txnpb.EffectStatusNotFound, 0
	}
	switch c.Action {
	case txnpb.EffectActionTake:
		status = m.takeQueue(q, c, now)
	case txnpb.EffectActionKeep:
		if status = fenced(q, c); status == txnpb.EffectStatusChanged {
			m.keepQueue(q, c, now)
		}
	default:
		return m.changeOwed(q, c, now, stamp)
	}
	if status == txnpb.EffectStatusChanged {
		m.outbox.set(qkey, q)
	}
	return status, 0
}

func (m *Machine) takeQueue(q *txnpb.EffectQueue, c *txnpb.EffectChange, now uint64) txnpb.EffectStatus {
	switch {
	case m.meta.OutboxHeld:
		return txnpb.EffectStatusNotReleased
	case q.Holder != c.Holder && q.Until >= now:
		return txnpb.EffectStatusHeld
	}
	// The epoch stands above the count: what an older state, restored, gives out is still
	// above what data sources have seen.
	q.Fence = max(q.Fence+1, uint64(m.entry.Epoch)<<32+1)
	q.Holder, q.Token, q.Until = c.Holder, c.Token, now+uint64(c.LeaseMillis)*millisecond
	return txnpb.EffectStatusChanged
}

// keepQueue extends the lease of a queue, or ends it: then others take it at once.
func (m *Machine) keepQueue(q *txnpb.EffectQueue, c *txnpb.EffectChange, now uint64) {
	if c.LeaseMillis > 0 {
		q.Until = max(q.Until, now+uint64(c.LeaseMillis)*millisecond)
		return
	}
	q.Until = 0
	if q.Effects > 0 {
		m.meta.OutboxVersion++
	}
}

func fenced(q *txnpb.EffectQueue, c *txnpb.EffectChange) txnpb.EffectStatus {
	if q.Fence == 0 || q.Fence != c.Fence {
		return txnpb.EffectStatusFenced
	}
	return txnpb.EffectStatusChanged
}

// changeOwed changes one effect.
func (m *Machine) changeOwed(q *txnpb.EffectQueue, c *txnpb.EffectChange, now, stamp uint64) (status txnpb.EffectStatus, transfers int) {
	key := effectKey(c.Service, c.Target, c.Sequence)
	e := owed[txnpb.OwedEffect](m, key)
	if e == nil {
		return txnpb.EffectStatusNotFound, 0
	}
	if c.Action < txnpb.EffectActionRequeue {
		if status = fenced(q, c); status != txnpb.EffectStatusChanged {
			return status, 0
		}
	}
	claimed := e.State == txnpb.EffectStateClaimed
	mine := claimed && e.Fence == c.Fence
	var ok bool
	switch c.Action {
	case txnpb.EffectActionClaim:
		ok = e.State == txnpb.EffectStateOwed && e.Due <= now || claimed && !mine
		if ok && m.meta.OutboxHeld {
			return txnpb.EffectStatusNotReleased, 0
		}
	case txnpb.EffectActionQuarantine: // without another try, where who tried last is gone
		ok = claimed
	case txnpb.EffectActionRequeue:
		ok = e.State == txnpb.EffectStateQuarantined
	case txnpb.EffectActionDiscard:
		ok = !claimed || q.Until < now
	default:
		ok = mine
	}
	if !ok {
		return txnpb.EffectStatusWrongState, 0
	}
	switch c.Action {
	case txnpb.EffectActionDone, txnpb.EffectActionFail, txnpb.EffectActionDiscard:
		return m.endEffect(q, e, c, now, stamp)
	}
	e.InDoubt = e.InDoubt || claimed && !mine
	m.moveEffect(q, e, c, now)
	m.outbox.set(key, e)
	m.outbox.set(queueKey(outboxQueue, c.Service, c.Target), q)
	return txnpb.EffectStatusChanged, 0
}

// moveEffect changes an effect that stays in the outbox.
func (m *Machine) moveEffect(q *txnpb.EffectQueue, e *txnpb.OwedEffect, c *txnpb.EffectChange, now uint64) {
	switch c.Action {
	case txnpb.EffectActionClaim:
		e.State, e.Fence = txnpb.EffectStateClaimed, c.Fence
		e.Attempts++
		q.Until = max(q.Until, now+uint64(c.LeaseMillis)*millisecond)
	case txnpb.EffectActionRetry:
		e.State, e.Due, e.Reason = txnpb.EffectStateOwed, now+uint64(c.DelayMillis)*millisecond, c.Reason
	case txnpb.EffectActionQuarantine:
		e.State, e.Reason = txnpb.EffectStateQuarantined, c.Reason
		m.countQuarantined(q, e.Csn, +1)
	case txnpb.EffectActionRequeue:
		e.State, e.Attempts, e.Due, e.Reason = txnpb.EffectStateOwed, 0, 0, ""
		m.countQuarantined(q, e.Csn, -1)
		q.Revision++
		m.meta.OutboxVersion++
	}
}

func (m *Machine) countQuarantined(q *txnpb.EffectQueue, csn uint64, by int) {
	key := completionKey(csn)
	c := owed[txnpb.Completion](m, key)
	q.Quarantined += uint64(by)
	c.Quarantined += uint32(by)
	m.outbox.set(key, c)
}

// endEffect takes an effect out of the outbox and does what follows it. Where that cannot
// be done nothing has changed.
func (m *Machine) endEffect(q *txnpb.EffectQueue, e *txnpb.OwedEffect, c *txnpb.EffectChange, now, stamp uint64) (status txnpb.EffectStatus, transfers int) {
	mark := m.outbox.mark()
	if e.State == txnpb.EffectStateQuarantined {
		m.countQuarantined(q, e.Csn, -1)
	}
	if c.Action == txnpb.EffectActionDiscard {
		q.Revision++
	}
	q.Effects--
	m.outbox.set(effectKey(c.Service, c.Target, c.Sequence), nil)
	m.outbox.set(queueKey(outboxQueue, c.Service, c.Target), q)

	next := e.Effect.Failed
	if c.Action == txnpb.EffectActionDone {
		next = e.Effect.Done
	}
	if next != nil {
		if len(next.Transfers) > 0 && !m.follow(e, next, stamp) || m.crowded(next.Effects) != "" {
			m.outbox.rollback(mark)
			return txnpb.EffectStatusContinuationFailed, 0
		}
		transfers = len(next.Transfers)
		m.owe(next.Effects, owner{e.TransactionId, e.Csn, e.ClusterId, e.Principal, e.Role}, now)
	}
	m.countEnd(e, c)
	if c.Action == txnpb.EffectActionDiscard {
		m.meta.OutboxVersion++
	}
	return txnpb.EffectStatusChanged, transfers
}

// follow makes the transfers that follow an effect by the rights of who owed it: all of
// them or none.
func (m *Machine) follow(e *txnpb.OwedEffect, next *txnpb.Continuation, stamp uint64) bool {
	tx := txnpb.Transaction{Transfers: slices.Clone(next.Transfers)}
	for i := range tx.Transfers {
		if t := &tx.Transfers[i]; t.Id.IsZero() {
			t.Id = txid.Transfer(e.TransactionId, followingPlace(e.Ordinal, i))
		}
	}
	if message.Role(e.Role) == message.RoleClient && m.mayMove(&tx, e.Principal) != "" {
		return false
	}
	m.ledger.Begin()
	for _, r := range m.ledger.CreateTransfers(stamp, tx.Transfers, nil) {
		if r.Status != uint32(ledgerpb.CreateTransferStatusCreated) {
			m.ledger.Rollback()
			return false
		}
	}
	m.ledger.Commit()
	return true
}

// followingPlace is the place of transfer i behind an effect, beyond those of the
// transaction itself.
func followingPlace(ordinal uint32, i int) uint32 { return 1<<31 | ordinal<<8 | uint32(i) }

// countEnd notes in the transaction's completion what became of an effect. When all are
// done and nothing is to be told of any of them, the row goes.
func (m *Machine) countEnd(e *txnpb.OwedEffect, change *txnpb.EffectChange) {
	key := completionKey(e.Csn)
	c := owed[txnpb.Completion](m, key)
	end := txnpb.EffectEnd{Ordinal: e.Ordinal, Service: e.Effect.Service, Operation: e.Effect.Operation,
		Reason: change.Reason, Result: slices.Clone(change.Result)}
	switch change.Action {
	case txnpb.EffectActionDone:
		end.State, end.Reason = txnpb.EffectStateDone, ""
		c.Done++
	case txnpb.EffectActionFail:
		end.State = txnpb.EffectStateFailed
		c.Failed++
	case txnpb.EffectActionDiscard:
		end.State, end.Result = txnpb.EffectStateDiscarded, nil
		c.Discarded++
	}
	if end.State != txnpb.EffectStateDone || len(end.Result) > 0 {
		c.Ends = append(slices.Clone(c.Ends), end)
	}
	if Completed(c) && len(c.Ends) == 0 {
		m.outbox.set(key, nil)
		return
	}
	m.outbox.set(key, c)
}

// Completed reports whether nothing of a transaction's effects is owed any more.
func Completed(c *txnpb.Completion) bool { return c.Owed == c.Done+c.Failed+c.Discarded }
