package store

import (
	"virtualservicesinc.com/rrts/message/u128"
)

// Access implements State.
func (d *DB) Access(account u128.Int) (row []byte, ok bool) { return d.rows().access(account) }

// Access implements View.
func (v *view) Access(account u128.Int) (row []byte, ok bool) { return v.rows.access(account) }

func (r rows) access(account u128.Int) (row []byte, ok bool) {
	return r.copyOf("the rights on an account", r.id(make([]byte, 0, maxKeyLen), tableAccess, account))
}

// Note implements View.
func (v *view) Note(csn uint64) (row []byte, ok bool) {
	return v.rows.copyOf("a transaction's note", v.rows.number(nil, tableNotes, csn))
}

// Txns implements View.
func (v *view) Txns(min, max u128.Int, reversed bool, f func(id u128.Int, row []byte) bool) {
	if max.Less(min) {
		return
	}
	from, to := v.rows.id(nil, tableTransactions, min), append(v.rows.id(nil, tableTransactions, max), 0)
	it := v.rows.iter("transactions", from, to)
	defer finish("transactions", it)
	first, next := it.First, it.Next
	if reversed {
		first, next = it.Last, it.Prev
	}
	for ok := first(); ok; ok = next() {
		if !f(u128.FromBytes([16]byte(it.Key()[prefixLen:])), valueOf("transactions", it)) {
			return
		}
	}
}

func (k keys) outbox(b, key []byte) []byte { return append(k.table(b, tableOutbox), key...) }

// Outbox implements State.
func (d *DB) Outbox(key []byte) (row []byte, ok bool) { return d.rows().outboxRow(key) }

// Outbox implements View.
func (v *view) Outbox(key []byte) (row []byte, ok bool) { return v.rows.outboxRow(key) }

// OutboxRows implements State.
func (d *DB) OutboxRows(from, to []byte, f func(key, row []byte) bool) {
	d.rows().outboxRows(from, to, f)
}

// OutboxRows implements View.
func (v *view) OutboxRows(from, to []byte, f func(key, row []byte) bool) {
	v.rows.outboxRows(from, to, f)
}

func (r rows) outboxRow(key []byte) (row []byte, ok bool) {
	return r.copyOf("an effect", r.outbox(nil, key))
}

func (r rows) outboxRows(from, to []byte, f func(key, row []byte) bool) {
	it := r.iter("the outbox", r.outbox(nil, from), r.outbox(nil, to))
	defer finish("the outbox", it)
	for ok := it.First(); ok && f(it.Key()[prefixLen:], valueOf("the outbox", it)); ok = it.Next() {
	}
}

// addNotes adds the rows of spans, notes, rights, imports and the outbox.
func (d *DB) addNotes(b *commitBatch, in *Batch) {
	d.addSpans(b, in.FirstCSN, in.Spans)
	for i := range in.Notes {
		b.add(d.number(b.key[:0], tableNotes, in.Notes[i].CSN), in.Notes[i].Row)
	}
	for i := range in.Access {
		a := &in.Access[i]
		row := a.Row
		if len(row) == 0 {
			row = nil
		}
		d.replace(b, d.id(b.key[:0], tableAccess, a.Account), row)
	}
	for i := range in.Outbox {
		o := &in.Outbox[i]
		row := o.Row
		if len(row) == 0 {
			row = nil
		}
		d.replace(b, d.outbox(b.key[:0], o.Key), row)
	}
	for i := range in.Imports {
		b.value = appendImports(b.value[:0], &in.Imports[i])
		b.add(d.number(b.key[:0], tableImports, in.Imports[i].Stamps.First), b.value)
	}
}
