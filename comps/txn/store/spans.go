package store

import (
	"encoding/binary"
	"slices"
	"sort"
)

// Span is the stamps that one committed transaction took, first and last.
type Span struct{ First, Last uint64 }

// A row of the table of spans lists committed transactions that follow each other;
// its key holds the first stamp of the first one.
//
//	varint    CSN of the first one
//	varints   of each: its last stamp less its first one, and, from the second on,
//	          before that, its first stamp less the last one of the one before
//
// maxSpans bounds the list: a search decodes all of it.
const maxSpans = 256

// appendSpans appends a row for transactions with consecutive CSNs from csn on.
func appendSpans(b []byte, csn uint64, spans []Span) []byte {
	b = binary.AppendUvarint(b, csn)
	for i, s := range spans {
		if i > 0 {
			b = binary.AppendUvarint(b, s.First-spans[i-1].Last)
		}
		b = binary.AppendUvarint(b, s.Last-s.First)
	}
	return b
}

// parseSpans appends what a row lists to out.
func parseSpans(out []Span, first uint64, row []byte) (csn uint64, spans []Span, err error) {
	r := rowReader{b: row}
	csn = r.uint()
	for len(r.b) > 0 {
		if n := len(out); n > 0 {
			first = out[n-1].Last + r.uint()
		}
		if last := first + r.uint(); !r.failed {
			out = append(out, Span{first, last})
		}
	}
	return csn, out, r.end("spans")
}

// addSpans adds the rows of an entry's committed transactions.
func (d *DB) addSpans(b *commitBatch, csn uint64, spans []Span) {
	for part := range slices.Chunk(spans, maxSpans) {
		b.value = appendSpans(b.value[:0], csn, part)
		b.add(d.number(b.key[:0], tableSpans, part[0].First), b.value)
		csn += uint64(len(part))
	}
}

// spanCache holds the row of spans that was read last.
type spanCache struct {
	csn   uint64
	spans []Span
}

// load reads the row that covers a stamp, or the last one before it.
func (c *spanCache) load(r rows, stamp uint64) (ok bool) {
	from, to := r.bounds(tableSpans)
	it := r.iter("spans", from, to)
	defer finish("spans", it)
	if !it.SeekLT(r.number(nil, tableSpans, stamp+1)) {
		c.spans = c.spans[:0]
		return false
	}
	var err error
	if c.csn, c.spans, err = parseSpans(c.spans[:0], suffix64(it.Key()), valueOf("spans", it)); err != nil {
		fail("spans", err)
	}
	return len(c.spans) > 0
}

// Committed implements View.
func (v *view) Committed(stamp uint64) (csn uint64, ok bool) {
	c := &v.spans
	if n := len(c.spans); n == 0 || stamp < c.spans[0].First || stamp > c.spans[n-1].Last {
		if !c.load(v.rows, stamp) {
			return 0, false
		}
	}
	i := sort.Search(len(c.spans), func(i int) bool { return c.spans[i].Last >= stamp })
	if i == len(c.spans) || stamp < c.spans[i].First {
		return 0, false
	}
	return c.csn + uint64(i), true
}

// CommittedBy implements View.
func (v *view) CommittedBy(stamp uint64) (csn uint64, s Span, ok bool) {
	c := &v.spans
	if n := len(c.spans); n == 0 || stamp < c.spans[0].First || stamp > c.spans[n-1].Last {
		if !c.load(v.rows, stamp) {
			return 0, Span{}, false
		}
	}
	i := sort.Search(len(c.spans), func(i int) bool { return c.spans[i].First > stamp }) - 1
	return c.csn + uint64(i), c.spans[i], true
}

// Span implements View.
func (v *view) Span(csn uint64) (s Span, ok bool) {
	c := &v.spans
	has := func() bool { return csn >= c.csn && csn < c.csn+uint64(len(c.spans)) }
	// CSNs rise with stamps: halve what is left of ledger time.
	for low, high := uint64(0), uint64(1)<<63; !has(); {
		if low >= high {
			return Span{}, false
		}
		middle := low + (high-low)/2
		switch {
		case !c.load(v.rows, middle):
			low = middle + 1
		case csn < c.csn:
			high = c.spans[0].First
		default:
			low = max(middle, c.spans[len(c.spans)-1].Last) + 1
		}
	}
	return c.spans[csn-c.csn], true
}
