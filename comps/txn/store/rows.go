package store

import (
	"encoding/binary"
	"errors"

	"github.com/cockroachdb/pebble/v2"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// rows reads the rows of one group as a Pebble store or snapshot of one holds
// them. What is not settled yet is missing; see overlay. Methods panic with a
// *ledger.ReadError when a row cannot be read.
type rows struct {
	keys
	reader pebble.Reader
}

func fail(op string, err error) { panic(&ledger.ReadError{Op: op, Err: err}) }

// get calls f with the value of a key, valid only until it returns; the result is
// false when there is none.
func (r rows) get(op string, key []byte, f func(value []byte) error) bool {
	value, closer, err := r.reader.Get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return false
	}
	if err != nil {
		fail(op, err)
	}
	err = f(value)
	if e := closer.Close(); err == nil {
		err = e
	}
	if err != nil {
		fail(op, err)
	}
	return true
}

// copyOf returns a copy of the value of a key.
func (r rows) copyOf(op string, key []byte) (value []byte, ok bool) {
	ok = r.get(op, key, func(v []byte) error {
		value = append([]byte{}, v...)
		return nil
	})
	return value, ok
}

// uint64 returns the value of a key whose value is a number.
func (r rows) uint64(op string, key []byte) (n uint64, ok bool) {
	ok = r.get(op, key, func(v []byte) error {
		if len(v) != 8 {
			return ErrCorrupt
		}
		n = binary.BigEndian.Uint64(v)
		return nil
	})
	return n, ok
}

// iter returns an iterator over keys from from up to to, without to. It must be
// closed by finish.
func (r rows) iter(op string, from, to []byte) *pebble.Iterator {
	it, err := r.reader.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		fail(op, err)
	}
	return it
}

// finish closes an iterator and reports what stopped it early.
func finish(op string, it *pebble.Iterator) {
	if err := it.Close(); err != nil {
		fail(op, err)
	}
}

// valueOf returns the value that the iterator stands at.
func valueOf(op string, it *pebble.Iterator) []byte {
	v, err := it.ValueAndErr()
	if err != nil {
		fail(op, err)
	}
	return v
}

func (r rows) account(id u128.Int, a *ledgerpb.Account) bool {
	return r.get("an account", r.id(make([]byte, 0, maxKeyLen), tableAccounts, id), func(v []byte) error {
		a.Id = id
		return parseAccount(v, a)
	})
}

// born sets what never changes of the account that was created at timestamp ts.
func (r rows) born(ts uint64, a *ledgerpb.Account) bool {
	return r.get("an account's birth", r.number(make([]byte, 0, maxKeyLen), tableBirths, ts), func(v []byte) error {
		return parseBirth(v, a)
	})
}

// last returns the number at the end of a table's last key, 0 when it is empty.
func (r rows) last(t table) (n uint64) {
	from, to := r.bounds(t)
	it := r.iter("the last row", from, to)
	defer finish("the last row", it)
	if it.Last() {
		n = suffix64(it.Key())
	}
	return n
}

// lastEvent returns the timestamp of the last event, 0 for none.
func (r rows) lastEvent() (ts uint64) {
	it := r.history()
	defer finish("the last event", it)
	if it.Last() {
		var e ledger.Event
		if err := eachEvent(suffix64(it.Key()), valueOf("the last event", it), &e, func() bool { return true }); err != nil {
			fail("the last event", err)
		}
		ts = e.Timestamp
	}
	return ts
}

// transferID returns the timestamp of a settled transfer id, 0 for a failure.
func (r rows) transferID(id u128.Int) (ts uint64, known bool) {
	known = r.get("a transfer's id", r.id(make([]byte, 0, maxKeyLen), tableTransfers, id), func(v []byte) (err error) {
		ts, err = parseTransferRow(v)
		return err
	})
	return ts, known
}

// parseTransferRow returns what a row of the table of transfers says.
func parseTransferRow(v []byte) (ts uint64, err error) {
	switch len(v) {
	case 0:
		return 0, nil
	case 8:
		return binary.BigEndian.Uint64(v), nil
	}
	return 0, ErrCorrupt
}

// history returns an iterator over the history.
func (r rows) history() *pebble.Iterator {
	from, to := r.bounds(tableHistory)
	return r.iter("history", from, to)
}

// resolution returns what became of a pending transfer that was resolved.
func (r rows) resolution(ts uint64) (status ledger.PendingStatus, ok bool) {
	ok = r.get("a pending transfer", r.number(make([]byte, 0, maxKeyLen), tableResolutions, ts), func(v []byte) error {
		if len(v) != 1 {
			return ErrCorrupt
		}
		status = ledger.PendingStatus(v[0])
		return nil
	})
	return status, ok
}

var errFormat = errors.New("store: written in a format of newer software")

// appendState appends the state row.
func appendState(b []byte, applied uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(b, format), applied)
}

// parseState returns the applied index of the state row.
func parseState(v []byte) (applied uint64, err error) {
	r := rowReader{b: v}
	if version := r.uint(); version != format && !r.failed {
		return 0, errFormat
	}
	applied = r.uint()
	return applied, r.end("state")
}

// applied returns the applied index, 0 when the store is empty.
func (r rows) applied() (applied uint64) {
	r.get("the state row", r.table(nil, tableState), func(v []byte) (err error) {
		applied, err = parseState(v)
		return err
	})
	return applied
}

// settledTo returns the timestamp of the last settled event, 0 for none.
func (r rows) settledTo() uint64 {
	ts, _ := r.uint64("the settled row", r.table(nil, tableSettled))
	return ts
}

// caught calls f and returns the error that it panics with when it cannot read.
func caught(f func()) (err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *ledger.ReadError:
			err = p
		default:
			panic(p)
		}
	}()
	f()
	return nil
}
