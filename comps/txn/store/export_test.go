package store

import (
	"github.com/cockroachdb/pebble/v2"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// WithSettleEvents returns cfg with an overlay that is settled after n rows.
func WithSettleEvents(cfg Config, n int) Config {
	cfg.settleEvents = n
	return cfg
}

// Rot changes the row of an account behind the store's back.
func (d *DB) Rot(id u128.Int) error {
	var a ledgerpb.Account
	if !d.rows().account(id, &a) {
		return ErrCorrupt
	}
	a.DebitsPosted.Lo++
	return d.db.Set(d.id(nil, tableAccounts, id), appendAccount(nil, &a), pebble.NoSync)
}

// ForgetSums takes the sums away, as in a store of software that kept none.
func (d *DB) ForgetSums() error {
	from, to := d.bounds(tableSums)
	if err := d.db.DeleteRange(from, to, pebble.NoSync); err != nil {
		return err
	}
	return d.db.Flush()
}

// Settled waits until nothing is being settled.
func (d *DB) Settled() {
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.old != nil {
		d.settled.Wait()
	}
}
