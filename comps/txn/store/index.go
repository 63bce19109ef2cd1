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

// postings are the entries of an index under construction: for each value of a
// field the timestamps of the rows that have it.
type postings struct {
	lists map[posting]int // → times
	keys  []posting
	times [][]uint64
}

type posting struct {
	set   ledger.Set
	field ledger.Field
	value u128.Int
}

func (a posting) compare(b posting) int {
	return cmp.Or(cmp.Compare(a.set, b.set), cmp.Compare(a.field, b.field), a.value.Cmp(b.value))
}

// add adds a row; timestamps ascend. No query asks for the value 0.
func (p *postings) add(set ledger.Set, field ledger.Field, value u128.Int, ts uint64) {
	if value.IsZero() {
		return
	}
	key := posting{set, field, value}
	i, ok := p.lists[key]
	if !ok {
		i = len(p.keys)
		p.lists[key] = i
		p.keys = append(p.keys, key)
		p.times = append(p.times, nil)
	}
	p.times[i] = append(p.times[i], ts)
}

// index sees to it that the index of a set reaches up to timestamp to. That of
// transfers is made together with that of expiries.
func (d *DB) index(set ledger.Set, to uint64) {
	d.indexing.Lock()
	defer d.indexing.Unlock()
	for d.indexed[set] < to {
		d.indexNext(set, to)
	}
}

// indexSome indexes a piece of what is not indexed yet, unless a query does. It reports false
// if there was none.
func (d *DB) indexSome() bool {
	if !d.indexing.TryLock() {
		return true
	}
	defer d.indexing.Unlock()
	if last := d.LastAccount(); d.indexed[ledger.Accounts] < last {
		d.indexNext(ledger.Accounts, last)
	} else if last := d.LastEvent(); d.indexed[ledger.Transfers] < last {
		d.indexNext(ledger.Transfers, last)
	} else {
		return false
	}
	return true
}

// indexNext indexes the next chunk of rows of a set, none later than to. It needs
// indexing.
func (d *DB) indexNext(set ledger.Set, to uint64) {
	p := postings{lists: make(map[posting]int)}
	var reached uint64
	if set == ledger.Accounts {
		reached = d.accountPostings(&p, d.indexed[set]+1, to)
	} else {
		reached = d.transferPostings(&p, d.indexed[set]+1, to)
	}
	slices.SortFunc(p.keys, posting.compare)

	b := d.db.NewBatch()
	defer b.Close()
	var key, value []byte
	for _, k := range p.keys {
		for times := range slices.Chunk(p.times[p.lists[k]], maxTimes) {
			key = binary.BigEndian.AppendUint64(d.keys.index(key[:0], k.set, k.field, k.value), times[0])
			value = appendTimes(value[:0], times)
			d.set(b, key, value)
		}
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

// accountPostings adds the next accounts from timestamp from on, and returns the
// timestamp up to which they reach.
func (d *DB) accountPostings(p *postings, from, to uint64) (reached uint64) {
	r := d.rows()
	it := r.iter("births", r.number(nil, tableBirths, from), r.number(nil, tableBirths, to+1))
	defer finish("births", it)
	var a ledgerpb.Account
	n := 0
	for ok := it.First(); ok; ok = it.Next() {
		if n++; n > indexChunk {
			return reached
		}
		if err := parseBirth(valueOf("births", it), &a); err != nil {
			fail("births", err)
		}
		reached = suffix64(it.Key())
		p.add(ledger.Accounts, ledger.UserData128, a.UserData128, reached)
		p.add(ledger.Accounts, ledger.UserData64, u128.From64(a.UserData64), reached)
		p.add(ledger.Accounts, ledger.UserData32, u128.From64(uint64(a.UserData32)), reached)
		p.add(ledger.Accounts, ledger.LedgerField, u128.From64(uint64(a.Ledger)), reached)
		p.add(ledger.Accounts, ledger.CodeField, u128.From64(uint64(a.Code)), reached)
	}
	return to
}

// transferPostings adds the next transfers from timestamp from on, and returns the
// timestamp up to which they reach.
func (d *DB) transferPostings(p *postings, from, to uint64) (reached uint64) {
	it := d.rows().history()
	defer finish("history", it)
	ok := it.SeekLT(d.number(nil, tableHistory, from))
	if !ok {
		ok = it.First()
	}
	var e ledger.Event
	n := 0
	defer func() { d.unindexed.Add(int64(-n)) }()
	for ; ok && n < indexChunk; ok = it.Next() {
		if suffix64(it.Key()) > to {
			return to
		}
		if err := eachEvent(suffix64(it.Key()), valueOf("history", it), &e, func() bool {
			if e.Timestamp > to {
				return false
			}
			if reached = e.Timestamp; e.Timestamp < from {
				return true
			}
			n++
			t := &e.Transfer
			if !e.IsTransfer() {
				p.add(ledger.Expiries, ledger.DebitAccount, t.DebitAccountId, e.Timestamp)
				p.add(ledger.Expiries, ledger.CreditAccount, t.CreditAccountId, e.Timestamp)
				return true
			}
			p.add(ledger.Transfers, ledger.DebitAccount, t.DebitAccountId, t.Timestamp)
			p.add(ledger.Transfers, ledger.CreditAccount, t.CreditAccountId, t.Timestamp)
			p.add(ledger.Transfers, ledger.UserData128, t.UserData128, t.Timestamp)
			p.add(ledger.Transfers, ledger.UserData64, u128.From64(t.UserData64), t.Timestamp)
			p.add(ledger.Transfers, ledger.UserData32, u128.From64(uint64(t.UserData32)), t.Timestamp)
			p.add(ledger.Transfers, ledger.LedgerField, u128.From64(uint64(t.Ledger)), t.Timestamp)
			p.add(ledger.Transfers, ledger.CodeField, u128.From64(uint64(t.Code)), t.Timestamp)
			return true
		}); err != nil {
			fail("history", err)
		}
	}
	if !ok {
		reached = to
	}
	return reached
}

// indexed returns the timestamp up to which the index of a set reaches.
func (r rows) indexed(set ledger.Set) uint64 {
	ts, _ := r.uint64("the index", r.keys.indexed(nil, set))
	return ts
}
