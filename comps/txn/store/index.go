package store

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// indexChunk is the number of rows that are indexed at once: the more there are,
// the more of them share an index row.
const indexChunk = 65_536

// posting is one entry of an index under construction.
type posting struct {
	field ledger.Field
	value u128.Int
	ts    uint64
}

func (a posting) compare(b posting) int {
	return cmp.Or(cmp.Compare(a.field, b.field), a.value.Cmp(b.value), cmp.Compare(a.ts, b.ts))
}

// add appends a posting unless the value is 0, which no query asks for.
func add(p []posting, field ledger.Field, value u128.Int, ts uint64) []posting {
	if value.IsZero() {
		return p
	}
	return append(p, posting{field, value, ts})
}

// index sees to it that the index of a set reaches up to timestamp to.
func (d *DB) index(set ledger.Set, to uint64) {
	d.indexing.Lock()
	defer d.indexing.Unlock()
	for d.indexed[set] < to {
		d.indexNext(set, to)
	}
}

// indexSome indexes a piece of what is not indexed yet, unless a query does.
func (d *DB) indexSome() {
	if !d.indexing.TryLock() {
		return
	}
	defer d.indexing.Unlock()
	if last := d.LastAccount(); d.indexed[ledger.Accounts] < last {
		d.indexNext(ledger.Accounts, last)
	} else if last := d.LastEvent(); d.indexed[ledger.Transfers] < last {
		d.indexNext(ledger.Transfers, last)
	}
}

// indexNext indexes the next chunk of rows of a set, none later than to. It needs
// indexing.
func (d *DB) indexNext(set ledger.Set, to uint64) {
	var p []posting
	var reached uint64
	if set == ledger.Accounts {
		p, reached = d.accountPostings(d.indexed[set]+1, to)
	} else {
		p, reached = d.transferPostings(d.indexed[set]+1, to)
	}
	slices.SortFunc(p, posting.compare)

	b := d.db.NewBatch()
	defer b.Close()
	var key, value []byte
	var times []uint64
	for len(p) > 0 {
		first := p[0]
		times = times[:0]
		n := 0
		for n < len(p) && n < maxTimes && p[n].field == first.field && p[n].value == first.value {
			times = append(times, p[n].ts)
			n++
		}
		p = p[n:]
		key = binary.BigEndian.AppendUint64(d.keys.index(key[:0], set, first.field, first.value), times[0])
		value = appendTimes(value[:0], times)
		d.set(b, key, value)
	}
	d.set(b, d.keys.indexed(nil, set), binary.BigEndian.AppendUint64(nil, reached))
	if err := b.Commit(pebble.NoSync); err != nil {
		panic(fmt.Errorf("store: indexing: %w", err))
	}
	d.indexed[set] = reached
}

func (d *DB) set(b *pebble.Batch, key, value []byte) {
	if err := b.Set(key, value, nil); err != nil {
		panic(err) // only of a batch that was committed
	}
}

// accountPostings returns the postings of the next accounts from timestamp from
// on, and the timestamp up to which they reach.
func (d *DB) accountPostings(from, to uint64) (p []posting, reached uint64) {
	r := d.rows()
	it := r.iter("births", r.number(nil, tableBirths, from), r.number(nil, tableBirths, to+1))
	defer finish("births", it)
	var a ledgerpb.Account
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n > indexChunk {
			return p, reached
		}
		if err := parseBirth(valueOf("births", it), &a); err != nil {
			fail("births", err)
		}
		reached = suffix64(it.Key())
		p = add(p, ledger.UserData128, a.UserData128, reached)
		p = add(p, ledger.UserData64, u128.From64(a.UserData64), reached)
		p = add(p, ledger.UserData32, u128.From64(uint64(a.UserData32)), reached)
		p = add(p, ledger.LedgerField, u128.From64(uint64(a.Ledger)), reached)
		p = add(p, ledger.CodeField, u128.From64(uint64(a.Code)), reached)
	}
	return p, to
}

// transferPostings returns the postings of the next transfers from timestamp from
// on, and the timestamp up to which they reach.
func (d *DB) transferPostings(from, to uint64) (p []posting, reached uint64) {
	it := d.rows().history()
	defer finish("history", it)
	ok := it.SeekLT(d.number(nil, tableHistory, from))
	if !ok {
		ok = it.First()
	}
	var e ledger.Event
	n := 0
	for ; ok && n < indexChunk; ok = it.Next() {
		if suffix64(it.Key()) > to {
			return p, to
		}
		if err := eachEvent(suffix64(it.Key()), valueOf("history", it), &e, func() bool {
			if e.Timestamp > to {
				return false
			}
			if reached = e.Timestamp; e.Timestamp < from || !e.IsTransfer() {
				return true
			}
			n++
			t := &e.Transfer
			p = add(p, ledger.DebitAccount, t.DebitAccountId, t.Timestamp)
			p = add(p, ledger.CreditAccount, t.CreditAccountId, t.Timestamp)
			p = add(p, ledger.UserData128, t.UserData128, t.Timestamp)
			p = add(p, ledger.UserData64, u128.From64(t.UserData64), t.Timestamp)
			p = add(p, ledger.UserData32, u128.From64(uint64(t.UserData32)), t.Timestamp)
			p = add(p, ledger.LedgerField, u128.From64(uint64(t.Ledger)), t.Timestamp)
			p = add(p, ledger.CodeField, u128.From64(uint64(t.Code)), t.Timestamp)
			return true
		}); err != nil {
			fail("history", err)
		}
	}
	if !ok {
		reached = to
	}
	return p, reached
}

// indexed returns the timestamp up to which the index of a set reaches.
func (r rows) indexed(set ledger.Set) uint64 {
	ts, _ := r.uint64("the index", r.keys.indexed(nil, set))
	return ts
}
