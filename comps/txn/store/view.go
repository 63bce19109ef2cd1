package store

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// view is the state as of one moment: a snapshot of the rows, and the overlay of
// that moment. What Commits change in the overlay afterwards they save for it first.
type view struct {
	d    *DB
	snap *pebble.Snapshot
	rows
	young, old *overlay
	saved      map[u128.Int]*ledgerpb.Account // what young held; nil for nothing; guarded by d.mu
	lastEvent  uint64
	lastBorn   uint64
	events     *pebble.Iterator // over the history; nil until it is needed
	cached     blockCache
	spans      spanCache
}

// View implements Store.
func (d *DB) View() (View, error) {
	d.gate.Lock()
	defer d.gate.Unlock()
	d.mu.Lock()
	defer d.mu.Unlock()
	snap := d.db.NewSnapshot()
	v := &view{
		d: d, snap: snap, rows: rows{d.keys, snap}, young: d.young, old: d.old,
		saved: make(map[u128.Int]*ledgerpb.Account), lastEvent: d.lastEvent, lastBorn: d.lastBorn,
	}
	v.young.views = append(v.young.views, v)
	v.young.held++
	if v.old != nil {
		v.old.held++
	}
	return v, nil
}

// Close implements View.
func (v *view) Close() error {
	var err error
	if v.events != nil {
		err = v.events.Close()
	}
	if e := v.snap.Close(); err == nil {
		err = e
	}
	v.d.mu.Lock()
	defer v.d.mu.Unlock()
	v.young.forget(v)
	v.young.held--
	if v.old != nil {
		v.old.held--
	}
	if err != nil {
		return fmt.Errorf("store: closing a view: %w", err)
	}
	return nil
}

// Account implements ledger.History.
func (v *view) Account(id u128.Int, a *ledgerpb.Account) bool {
	v.d.mu.RLock()
	before, saved := v.saved[id]
	found := before != nil
	if found {
		*a = *before
	}
	found = found || !saved && v.young.account(id, a) || v.old != nil && v.old.account(id, a)
	v.d.mu.RUnlock()
	return found || v.rows.account(id, a)
}

// AccountBorn implements ledger.History.
func (v *view) AccountBorn(ts uint64, a *ledgerpb.Account) bool {
	return v.rows.born(ts, a) && v.Account(a.Id, a)
}

// TransferID implements ledger.History.
func (v *view) TransferID(id u128.Int) (ts uint64, known bool) {
	v.d.mu.RLock()
	if ts, known = v.young.transfer(id); !known && v.old != nil {
		ts, known = v.old.transfer(id)
	}
	v.d.mu.RUnlock()
	if known {
		return ts, ts <= v.lastEvent
	}
	return v.rows.transferID(id)
}

// Event implements ledger.History.
func (v *view) Event(ts uint64, e *ledger.Event) bool {
	found, known := v.cached.find(ts)
	if !known {
		v.cached.load(v.history(), v.keys, ts)
		found, _ = v.cached.find(ts)
	}
	if found != nil {
		*e = *found
	}
	return found != nil
}

// history returns the view's iterator over the history.
func (v *view) history() *pebble.Iterator {
	if v.events == nil {
		v.events = v.rows.history()
	}
	return v.events
}

// Meta implements View.
func (v *view) Meta(key string) []byte { return v.rows.meta(key) }
