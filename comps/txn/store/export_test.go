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

// WithoutSums calls f and leaves the sums as they were before, as software does that keeps
// none.
func (d *DB) WithoutSums(f func()) error {
	was := map[string][]byte{}
	from, to := d.bounds(tableSums)
	it := d.rows().iter("sums", from, to)
	for ok := it.First(); ok; ok = it.Next() {
		was[string(it.Key())] = append([]byte{}, it.Value()...)
	}
	if err := it.Close(); err != nil {
		return err
	}
	f()
	if err := d.db.DeleteRange(from, to, pebble.NoSync); err != nil {
		return err
	}
	for key, value := range was { // in any order
		if err := d.db.Set([]byte(key), value, pebble.NoSync); err != nil {
			return err
		}
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
