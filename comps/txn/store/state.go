package store

import (
	"encoding/binary"
	"math"
	"slices"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/idmap"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// Account implements ledger.State.
func (d *DB) Account(id u128.Int, a *ledgerpb.Account) bool {
	d.mu.RLock()
	found := d.young.account(id, a) || d.old != nil && d.old.account(id, a)
	d.mu.RUnlock()
	return found || d.rows().account(id, a) // what left the overlay is in the rows by now
}

// AccountAt implements ledger.State.
func (d *DB) AccountAt(ts uint64) bool {
	var a ledgerpb.Account
	return d.rows().born(ts, &a)
}

// TransferID implements ledger.State.
func (d *DB) TransferID(id u128.Int) (ts uint64, known bool) {
	d.mu.RLock()
	if ts, known = d.young.transfer(id); !known && d.old != nil {
		ts, known = d.old.transfer(id)
	}
	d.mu.RUnlock()
	if known {
		return ts, true
	}
	return d.rows().transferID(id)
}

// TransferIDs implements ledger.State.
func (d *DB) TransferIDs(f func(id u128.Int, ts uint64) bool) {
	var fresh []idmap.Entry[uint64] // of the overlay, the least first
	d.mu.RLock()
	for _, o := range []*overlay{d.young, d.old} {
		if o != nil {
			fresh = append(fresh, o.transfers.Entries()...)
		}
	}
	d.mu.RUnlock()
	slices.SortFunc(fresh, byID)

	r := d.rows()
	from, to := r.bounds(tableTransfers)
	it := r.iter("transfer ids", from, to)
	defer finish("transfer ids", it)
	for row := it.Last(); row || len(fresh) > 0; {
		var id u128.Int
		if row {
			id = u128.FromBytes([16]byte(it.Key()[prefixLen:]))
		}
		if n := len(fresh) - 1; n >= 0 && (!row || !fresh[n].ID.Less(id)) {
			if row && fresh[n].ID == id { // settled in the meantime
				row = it.Prev()
			}
			if !f(fresh[n].ID, fresh[n].Value) {
				return
			}
			fresh = fresh[:n]
			continue
		}
		ts, err := parseTransferRow(valueOf("transfer ids", it))
		if err != nil {
			fail("transfer ids", err)
		}
		if !f(id, ts) {
			return
		}
		row = it.Prev()
	}
}

// event returns the event of timestamp ts, nil when there is none.
func (d *DB) event(ts uint64) *ledger.Event {
	e, known := d.cached.find(ts)
	if !known {
		it := d.rows().history()
		defer finish("an event", it)
		d.cached.load(it, d.keys, ts)
		e, _ = d.cached.find(ts)
	}
	return e
}

// Transfer implements ledger.State.
func (d *DB) Transfer(ts uint64, t *ledgerpb.Transfer) bool {
	e := d.event(ts)
	if e == nil || !e.IsTransfer() {
		return false
	}
	*t = e.Transfer
	return true
}

// EventAt implements ledger.State.
func (d *DB) EventAt(ts uint64) bool { return d.event(ts) != nil }

// Pending implements ledger.State.
func (d *DB) Pending(ts uint64) ledger.PendingStatus {
	if status, ok := d.rows().resolution(ts); ok {
		return status
	}
	if e := d.event(ts); e != nil && e.Type == ledgerpb.ChangeEventTypeTwoPhasePending {
		return ledger.StatusPending
	}
	return ledger.StatusNone
}

// Expiring implements ledger.State.
func (d *DB) Expiring(f func(expiry, ts uint64) bool) {
	r := d.rows()
	_, to := r.bounds(tableExpiries)
	// The rows before due are gone, but Pebble would step over what is left of
	// every one of them.
	it := r.iter("expiries", r.number(nil, tableExpiries, d.due), to)
	defer finish("expiries", it)
	ok := it.First()
	if d.due = math.MaxUint64; ok {
		d.due = binary.BigEndian.Uint64(it.Key()[prefixLen:])
	}
	for ; ok; ok = it.Next() {
		if !f(binary.BigEndian.Uint64(it.Key()[prefixLen:]), suffix64(it.Key())) {
			return
		}
	}
}

// TopAccount implements ledger.State.
func (d *DB) TopAccount() (id u128.Int) {
	from, to := d.bounds(tableAccounts)
	it := d.rows().iter("the last account", from, to)
	defer finish("the last account", it)
	if it.Last() {
		id = u128.FromBytes([16]byte(it.Key()[prefixLen:]))
	}
	return id
}

// LastAccount implements ledger.State.
func (d *DB) LastAccount() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.lastBorn
}

// LastEvent implements ledger.State.
func (d *DB) LastEvent() uint64 {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return d.lastEvent
}

// Txn implements State.
func (d *DB) Txn(id u128.Int) (row []byte, ok bool) {
	d.mu.RLock()
	_, known, certain := d.txns.Find(id)
	d.mu.RUnlock()
	if certain && !known {
		return nil, false
	}
	return d.rows().copyOf("a transaction", d.id(nil, tableTransactions, id))
}

// User implements State.
func (d *DB) User(number uint64) (row []byte, ok bool) {
	return d.rows().copyOf("a user", d.number(nil, tableUsers, number))
}

// User implements View.
func (v *view) User(number uint64) (row []byte, ok bool) {
	return v.rows.copyOf("a user", v.rows.number(nil, tableUsers, number))
}

// UserByLogin implements State.
func (d *DB) UserByLogin(hash []byte) (number uint64, ok bool) {
	return d.rows().uint64("a login", d.name(nil, tableLogins, string(hash)))
}

// UserByName implements State.
func (d *DB) UserByName(name string) (number uint64, ok bool) {
	return d.rows().uint64("a user's name", d.name(nil, tableNames, name))
}

// Meta implements State.
func (d *DB) Meta(key string) []byte { return d.rows().meta(key) }

func (r rows) meta(key string) []byte {
	row, _ := r.copyOf("a meta row", r.name(nil, tableMetas, key))
	return row
}
