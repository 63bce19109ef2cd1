package store

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
)

// commitBatch is the rows of one Commit under construction.
type commitBatch struct {
	*pebble.Batch
	key, value []byte
	sum        uint64            // of the rows that it adds, less those that it takes away
	hours      []uint64          // of ids whose sums it changes
	replaced   map[string][]byte // rows that it has replaced; nil for one that it has taken away
}

// set adds a row; key and value are copied.
func (b *commitBatch) set(key, value []byte) {
	if err := b.Set(key, value, nil); err != nil {
		panic(err) // only of a batch that was committed
	}
}

func (b *commitBatch) delete(key []byte) {
	if err := b.Delete(key, nil); err != nil {
		panic(err)
	}
}

// Commit implements State. It panics when Pebble cannot take the batch: there is
// no state to go on with.
func (d *DB) Commit(in *Batch) {
	b := &d.batch
	b.Batch = d.db.NewBatch()
	b.set(d.table(b.key[:0], tableState), appendState(b.value[:0], in.Applied))
	if in.Changes != nil {
		d.addAccounts(b, in.Changes)
		d.addEvents(b, in.Changes.Events)
		for _, id := range in.Changes.Failed {
			b.add(d.id(b.key[:0], tableTransfers, id), nil)
		}
	}
	for i := range in.Txns {
		t := &in.Txns[i]
		d.addTxn(b, t)
		d.extendLife(b, t)
	}
	for i := range in.Users {
		u := &in.Users[i]
		number := binary.BigEndian.AppendUint64(nil, u.Number)
		d.replace(b, d.number(b.key[:0], tableUsers, u.Number), u.Row)
		d.replace(b, d.name(b.key[:0], tableLogins, string(u.LoginHash)), number)
		d.replace(b, d.name(b.key[:0], tableNames, u.PublicName), number)
	}
	for _, m := range in.Metas {
		b.set(d.name(b.key[:0], tableMetas, m.Key), m.Value)
	}
	d.addNotes(b, in)
	d.sweep(b, in.Stamp)
	d.addSums(b, in.Applied)

	d.gate.Lock()
	defer d.gate.Unlock()
	if err := b.Commit(pebble.NoSync); err != nil {
		panic(fmt.Errorf("store: commit of index %d: %w", in.Applied, err))
	}
	b.Close()
	d.mu.Lock()
	defer d.mu.Unlock()
	d.applied = in.Applied
	d.commits++
	if in.Changes != nil {
		d.overlay(in.Changes)
	}
	for i := range in.Txns {
		if _, known, _ := d.txns.Find(in.Txns[i].ID); !known {
			d.txns.Add(in.Txns[i].ID, struct{}{})
		}
	}
	d.txns.Trim()
	d.rotate()
}

// addAccounts adds the accounts that are new. Others go to the overlay.
func (d *DB) addAccounts(b *commitBatch, c *ledger.Changes) {
	for i := range c.Accounts() {
		if a, created := c.Account(i); created {
			b.value = appendAccount(b.value[:0], a)
			b.add(d.id(b.key[:0], tableAccounts, a.Id), b.value)
			b.value = appendBirth(b.value[:0], a)
			b.add(d.number(b.key[:0], tableBirths, a.Timestamp), b.value)
		}
	}
}

// addEvents adds the events in blocks, and the rows of pending transfers.
func (d *DB) addEvents(b *commitBatch, events []ledger.Event) {
	for part := range slices.Chunk(events, maxBlockEvents) {
		first := part[0].Timestamp
		last := first
		b.value = b.value[:0]
		for i := range part {
			e := &part[i]
			b.value = appendEvent(b.value, e, last)
			last = e.Timestamp
		}
		b.add(d.number(b.key[:0], tableHistory, first), b.value)
	}
	for i := range events {
		e := &events[i]
		if expiry := e.Expiry(); expiry != 0 {
			b.add(d.expiry(b.key[:0], expiry, e.Timestamp), nil)
			d.due = min(d.due, expiry)
		}
		if status := e.Resolves(); status != ledger.StatusNone {
			b.value = append(b.value[:0], byte(status))
			b.add(d.number(b.key[:0], tableResolutions, e.PendingTimestamp), b.value)
			if e.PendingExpiry != 0 {
				b.take(d.expiry(b.key[:0], e.PendingExpiry, e.PendingTimestamp), nil)
			}
		}
	}
}

// overlay takes into the overlay what has no row yet. It needs mu.
func (d *DB) overlay(c *ledger.Changes) {
	for i := range c.Accounts() {
		a, created := c.Account(i)
		if created {
			d.lastBorn = max(d.lastBorn, a.Timestamp)
		} else {
			d.young.put(a)
		}
	}
	for i := range c.Events {
		if e := &c.Events[i]; e.IsTransfer() {
			d.young.transfers.Add(e.Transfer.Id, e.Timestamp)
		}
	}
	d.unindexed.Add(int64(len(c.Events)))
	if n := len(c.Events); n > 0 {
		d.lastEvent = c.Events[n-1].Timestamp
		d.young.last = d.lastEvent
	}
}

// hourOf returns the hour that a time lies in, since 1970.
func hourOf(nanos uint64) uint64 { return nanos / uint64(time.Hour) }

// idHour returns the hour that stands in a transaction's id: a UUIDv7 begins with
// 48 bits of milliseconds.
func idHour(id u128.Int) uint64 { return id.Hi >> 16 / uint64(time.Hour/time.Millisecond) }

// hourBounds returns the first key of the transactions of an hour of ids, and the
// first behind them.
func (k keys) hourBounds(hour uint64) (from, to []byte) {
	const millis = uint64(time.Hour / time.Millisecond)
	first := func(hour uint64) []byte {
		if hour > idHour(u128.Max) {
			return k.table(nil, tableTransactions+1)
		}
		return k.id(nil, tableTransactions, u128.Int{Hi: hour * millis << 16})
	}
	return first(hour), first(hour + 1)
}

// extendLife notes how long the transactions of an hour must be kept.
func (d *DB) extendLife(b *commitBatch, t *Txn) {
	hour, until := idHour(t.ID), hourOf(t.Until)+1
	if was := d.lifetimes[hour]; was < until {
		key := d.number(b.key[:0], tableLifetimes, hour)
		if was != 0 {
			b.sum -= rowHash(key, binary.BigEndian.AppendUint64(b.value[:0], was))
		}
		d.lifetimes[hour] = until
		b.value = binary.BigEndian.AppendUint64(b.value[:0], until)
		b.add(key, b.value)
	}
}

// sweep drops the transactions whose time is over, an hour of ids at once.
func (d *DB) sweep(b *commitBatch, stamp uint64) {
	now := hourOf(stamp)
	if now <= d.swept {
		return
	}
	d.swept = now
	var over []uint64
	for hour, until := range d.lifetimes {
		if until <= now {
			over = append(over, hour)
		}
	}
	slices.Sort(over)
	for _, hour := range over {
		from, to := d.hourBounds(hour)
		if err := b.DeleteRange(from, to, nil); err != nil {
			panic(err)
		}
		b.value = binary.BigEndian.AppendUint64(b.value[:0], d.lifetimes[hour])
		b.take(d.number(b.key[:0], tableLifetimes, hour), b.value)
		b.delete(d.hourSum(b.key[:0], hour))
		delete(d.lifetimes, hour)
		delete(d.sums.hours, hour)
	}
}

// txnIDs yields the ids of the transactions that have a row, from the greatest
// down.
func (r rows) txnIDs(yield func(u128.Int, struct{}) bool) {
	from, to := r.bounds(tableTransactions)
	it := r.iter("transactions", from, to)
	defer finish("transactions", it)
	for ok := it.Last(); ok; ok = it.Prev() {
		if !yield(u128.FromBytes([16]byte(it.Key()[prefixLen:])), struct{}{}) {
			return
		}
	}
}

// lifetimes reads the table of that name.
func (r rows) lifetimes() map[uint64]uint64 {
	out := make(map[uint64]uint64)
	from, to := r.bounds(tableLifetimes)
	it := r.iter("lifetimes", from, to)
	defer finish("lifetimes", it)
	for ok := it.First(); ok; ok = it.Next() {
		v := valueOf("lifetimes", it)
		if len(v) != 8 {
			fail("lifetimes", ErrCorrupt)
		}
		out[suffix64(it.Key())] = binary.BigEndian.Uint64(v)
	}
	return out
}
