package store

import (
	"encoding/binary"
	"slices"
	"sort"

	"github.com/cockroachdb/pebble/v2"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
)

// An index row lists the timestamps of rows that share a field's value; its key
// holds the first of them.
//
//	varints   each timestamp less the one before, from the second on
//
// maxTimes bounds the list: a search decodes half of it.
const maxTimes = 512

// appendTimes appends an index row for timestamps, which ascend.
func appendTimes(b []byte, times []uint64) []byte {
	for i, ts := range times[1:] {
		b = binary.AppendUvarint(b, ts-times[i])
	}
	return b
}

// parseTimes appends the timestamps of an index row to out.
func parseTimes(out []uint64, first uint64, row []byte) ([]uint64, error) {
	out = append(out, first)
	r := rowReader{b: row}
	for len(r.b) > 0 {
		if first += r.uint(); !r.failed {
			out = append(out, first)
		}
	}
	return out, r.end("index")
}

// lists iterates over timestamps that stand in lists, one list to a row, whose
// keys have the prefix and end with the first timestamp of the list.
type lists struct {
	it       *pebble.Iterator
	prefix   []byte
	parse    func(out []uint64, first uint64, row []byte) ([]uint64, error)
	reversed bool
	last     uint64 // later timestamps are left out

	row []uint64 // the list that the iterator stands at; empty before the first Seek
	end bool     // the iterator has left the lists

	// The last answer: it stands for all bounds between its own and ts.
	bound, ts  uint64
	ok, answer bool
}

// Seek implements ledger.Times.
func (l *lists) Seek(bound uint64) (ts uint64, ok bool) {
	beyond := bound >= l.bound && (!l.ok || bound <= l.ts)
	if l.reversed {
		beyond = bound <= l.bound && (!l.ok || bound >= l.ts)
	}
	if !l.answer || !beyond {
		l.bound, l.answer = bound, true
		l.ts, l.ok = l.seek(bound)
	}
	return l.ts, l.ok
}

func (l *lists) seek(bound uint64) (uint64, bool) {
	if l.reversed {
		bound = min(bound, l.last)
	}
	if !l.covers(bound) {
		l.find(bound)
	}
	for !l.end {
		if l.reversed {
			// The last one at or before bound; this row or an earlier one has it.
			if i := sort.Search(len(l.row), func(i int) bool { return l.row[i] > bound }); i > 0 {
				return l.row[i-1], true
			}
			l.load(l.it.Prev())
		} else {
			if i := sort.Search(len(l.row), func(i int) bool { return l.row[i] >= bound }); i < len(l.row) {
				return l.row[i], l.row[i] <= l.last
			}
			l.load(l.it.Next())
		}
	}
	return 0, false
}

// covers reports whether the row at hand spans bound.
func (l *lists) covers(bound uint64) bool {
	n := len(l.row)
	return !l.end && n > 0 && l.row[0] <= bound && bound <= l.row[n-1]
}

// find goes to the row that bound falls in or, going forward, to the first row
// behind it.
func (l *lists) find(bound uint64) {
	if l.it.SeekLT(binary.BigEndian.AppendUint64(slices.Clone(l.prefix), bound+1)) {
		l.load(true)
	} else {
		l.load(!l.reversed && l.it.First())
	}
}

// load takes the row that the iterator stands at.
func (l *lists) load(ok bool) {
	l.row, l.end = l.row[:0], !ok
	if !ok {
		return
	}
	var err error
	if l.row, err = l.parse(l.row, suffix64(l.it.Key()), valueOf("an index", l.it)); err != nil {
		fail("an index", err)
	}
}

// Close implements ledger.Times.
func (l *lists) Close() { finish("an index", l.it) }

// Scan implements ledger.History.
func (v *view) Scan(set ledger.Set, field ledger.Field, value u128.Int, reversed bool) ledger.Times {
	l := &lists{reversed: reversed, last: v.lastEvent}
	if set == ledger.Accounts {
		l.last = v.lastBorn
	}
	r := v.rows
	switch {
	case field != ledger.AnyField:
		// The index grows beside the views, which have no use for what is newer.
		by := set
		if set == ledger.Expiries {
			by = ledger.Transfers
		}
		v.d.index(by, l.last)
		r = v.d.rows()
		l.prefix, l.parse = r.index(nil, set, field, value), parseTimes
	case set == ledger.Accounts:
		l.prefix, l.parse = r.table(nil, tableBirths), func(out []uint64, first uint64, _ []byte) ([]uint64, error) {
			return append(out, first), nil
		}
	default:
		l.prefix, l.parse = r.table(nil, tableHistory), timesOf(set)
	}
	l.it = r.iter("an index", l.prefix, binary.BigEndian.AppendUint64(slices.Clone(l.prefix), 1<<64-1))
	return l
}

// timesOf returns a parse function for lists over the blocks of the history.
func timesOf(set ledger.Set) func(out []uint64, first uint64, block []byte) ([]uint64, error) {
	var e ledger.Event
	return func(out []uint64, first uint64, block []byte) ([]uint64, error) {
		err := eachEvent(first, block, &e, func() bool {
			if set == ledger.Events || e.IsTransfer() {
				out = append(out, e.Timestamp)
			}
			return true
		})
		return out, err
	}
}
