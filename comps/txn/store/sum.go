package store

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"

	"github.com/cespare/xxhash/v2"
	"github.com/cockroachdb/pebble/v2"

	"virtualservicesinc.com/rrts/message/u128"
)

// The sum of a state is that of the hashes of its rows, modulo 2^64: of all that Digest
// covers, in any order, so that it is kept up to date by what a batch adds and takes away.
// It stands in rows of the store's own, written with the batch, so that it is right in
// every snapshot:
//
//	table 68, key 0           what Commits have added, less what they took away
//	          key 1           the same of settling, which runs beside them
//	          key 2, hour     of the transactions of an hour of ids, which are dropped at once
//	          key 3           the applied index that they are of
//	          key 4           likewise, the timestamp of the last settled event
//
// each a number (8). Older software that was installed again changes rows and keeps no sum:
// the state then stands elsewhere than keys 3 and 4 say, and the sum is worked out anew. It
// finds what has become another row than was written. It is no
// protection against somebody who makes rows up: the pages are sealed for that.
const (
	sumCommits byte = iota
	sumSettled
	sumHour
	sumApplied
	sumSettledTo
)

// hashed reports whether the rows of a table are part of the digest and of the sum.
func hashed(t table) bool { return t >= tableAccounts && t <= tableImports && t != tableSettled }

// rowHash hashes one row; where its group is of no account.
func rowHash(key, value []byte) uint64 {
	const odd = 0x9e3779b97f4a7c15 // the golden ratio, as in splitmix64
	h := xxhash.Sum64(key[prefixLen-1:]) + odd*uint64(len(value))
	h ^= bits.RotateLeft64(xxhash.Sum64(value)*odd, 31)
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	return h ^ h>>27
}

func (k keys) sum(b []byte, kind byte) []byte { return append(k.table(b, tableSums), kind) }

func (k keys) hourSum(b []byte, hour uint64) []byte {
	return binary.BigEndian.AppendUint64(k.sum(b, sumHour), hour)
}

// sums are the parts of the sum.
type sums struct {
	commits uint64            // the apply thread's
	hours   map[uint64]uint64 // likewise, by hour of ids
	settled uint64            // the background's
}

// loadSums reads the sums. After software that kept none they are worked out once.
func (d *DB) loadSums(r rows) error {
	d.sums = sums{hours: make(map[uint64]uint64)}
	applied, kept := r.uint64("a sum", r.sum(nil, sumApplied))
	settledTo, _ := r.uint64("a sum", r.sum(nil, sumSettledTo))
	if !kept || applied != r.applied() || settledTo != r.settledTo() {
		return d.foundSums(r)
	}
	d.sums.commits, _ = r.uint64("a sum", r.sum(nil, sumCommits))
	d.sums.settled, _ = r.uint64("a sum", r.sum(nil, sumSettled))
	from, to := r.sum(nil, sumHour), r.sum(nil, sumHour+1)
	it := r.iter("sums", from, to)
	defer finish("sums", it)
	for ok := it.First(); ok; ok = it.Next() {
		v := valueOf("sums", it)
		if len(v) != 8 {
			return fmt.Errorf("%w: a sum of %d bytes", ErrCorrupt, len(v))
		}
		d.sums.hours[suffix64(it.Key())] = binary.BigEndian.Uint64(v)
	}
	return nil
}

// foundSums works the sums out from the rows, and writes them.
func (d *DB) foundSums(r rows) error {
	from, to := r.table(nil, tableState), r.table(nil, tableIndex)
	it := r.iter("rows", from, to)
	defer finish("rows", it)
	for ok := it.First(); ok; ok = it.Next() {
		d.sums.found(it.Key(), valueOf("rows", it))
	}
	b := d.db.NewBatch()
	defer b.Close()
	from, to = r.bounds(tableSums)
	if err := b.DeleteRange(from, to, nil); err != nil {
		panic(err) // only of a batch that was committed
	}
	d.sums.write(r, b)
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("store: the sum: %w", err)
	}
	return nil
}

// found adds a row that is there.
func (s *sums) found(key, value []byte) {
	switch t := table(key[prefixLen-1]); {
	case !hashed(t):
	case t == tableTransactions:
		s.hours[idHour(u128.FromBytes([16]byte(key[prefixLen:])))] += rowHash(key, value)
	default:
		s.commits += rowHash(key, value)
	}
}

// write puts all sums, which are of the rows of r, into a batch.
func (s *sums) write(r rows, b *pebble.Batch) {
	set := func(key []byte, n uint64) {
		if err := b.Set(key, binary.BigEndian.AppendUint64(nil, n), nil); err != nil {
			panic(err) // only of a batch that was committed
		}
	}
	set(r.sum(nil, sumCommits), s.commits)
	set(r.sum(nil, sumSettled), s.settled)
	for hour, n := range s.hours { // in any order
		set(r.hourSum(nil, hour), n)
	}
	set(r.sum(nil, sumApplied), r.applied())
	set(r.sum(nil, sumSettledTo), r.settledTo())
}

// total is the sum of all.
func (s *sums) total() uint64 {
	all := s.commits + s.settled
	for _, n := range s.hours { // in any order
		all += n
	}
	return all
}

// add adds a row that is new, and counts it.
func (b *commitBatch) add(key, value []byte) {
	b.sum += rowHash(key, value)
	b.set(key, value)
}

// take deletes a row that is there with this value.
func (b *commitBatch) take(key, value []byte) {
	b.sum -= rowHash(key, value)
	b.delete(key)
}

// replace sets a row that may be there, or deletes it where value is nil. A row that this
// batch itself has replaced before is known from there: the store does not show it yet.
func (d *DB) replace(b *commitBatch, key, value []byte) {
	was, there := b.replaced[string(key)]
	if !there {
		was, there = d.rows().copyOf("a row that is replaced", key)
	} else {
		there = was != nil
	}
	if there {
		b.sum -= rowHash(key, was)
	}
	if b.replaced == nil {
		b.replaced = make(map[string][]byte)
	}
	if value == nil {
		b.replaced[string(key)] = nil
		b.delete(key)
		return
	}
	b.replaced[string(key)] = append(make([]byte, 0, len(value)), value...)
	b.add(key, value)
}

// addTxn adds the row of a transaction, which belongs to its hour.
func (d *DB) addTxn(b *commitBatch, t *Txn) {
	key := d.id(b.key[:0], tableTransactions, t.ID)
	hour := idHour(t.ID)
	d.sums.hours[hour] += rowHash(key, t.Row)
	if n := len(b.hours); n == 0 || b.hours[n-1] != hour {
		b.hours = append(b.hours, hour)
	}
	b.set(key, t.Row)
}

// addSums adds the sums that the batch has changed, and of which index they are.
func (d *DB) addSums(b *commitBatch, applied uint64) {
	b.value = binary.BigEndian.AppendUint64(b.value[:0], applied)
	b.set(d.sum(b.key[:0], sumApplied), b.value)
	if b.sum != 0 {
		d.sums.commits += b.sum
		b.value = binary.BigEndian.AppendUint64(b.value[:0], d.sums.commits)
		b.set(d.sum(b.key[:0], sumCommits), b.value)
	}
	for _, hour := range b.hours {
		if n, kept := d.sums.hours[hour]; kept {
			b.value = binary.BigEndian.AppendUint64(b.value[:0], n)
			b.set(d.hourSum(b.key[:0], hour), b.value)
		}
	}
	b.sum, b.hours = 0, b.hours[:0]
	clear(b.replaced)
}

// settledRows reads rows in the order of their keys, beside the Commits.
type settledRows struct{ it *pebble.Iterator }

func (d *DB) settledRows() settledRows {
	from, _ := d.bounds(tableAccounts)
	_, to := d.bounds(tableTransfers)
	return settledRows{d.rows().iter("settled rows", from, to)}
}

// hash is that of the row under a key; 0 where there is none.
func (s settledRows) hash(key []byte) uint64 {
	if !s.it.SeekGE(key) || !bytes.Equal(s.it.Key(), key) {
		return 0
	}
	return rowHash(key, valueOf("settled rows", s.it))
}

func (s settledRows) close() { finish("settled rows", s.it) }

// Scrub reads all rows of a snapshot and holds them against the sum that was kept of them
// as they were written. It belongs to one goroutine.
type Scrub struct {
	snap  *pebble.Snapshot
	rows  rows
	it    *pebble.Iterator
	sums  sums   // of what was read
	want  uint64 // what was kept
	bytes uint64
}

// ErrRotten is returned by a Scrub that has found other rows than were written.
var ErrRotten = fmt.Errorf("%w: the rows are not those that were written", ErrCorrupt)

// Scrub begins to look through the state as of the last Commit. It must be closed before a
// Switch.
func (d *DB) Scrub() (*Scrub, error) {
	d.swap.RLock()
	defer d.swap.RUnlock()
	snap := d.db.NewSnapshot()
	s := &Scrub{snap: snap, rows: rows{d.keys, snap}, sums: sums{hours: map[uint64]uint64{}}}
	if err := s.begin(); err != nil {
		return nil, fmt.Errorf("store: scrub: %w", errors.Join(err, s.Close()))
	}
	return s, nil
}

func (s *Scrub) begin() (err error) {
	err = caught(func() { s.want = s.rows.kept() })
	if err != nil {
		return err
	}
	s.it, err = s.snap.NewIter(&pebble.IterOptions{LowerBound: s.rows.table(nil, tableState), UpperBound: s.rows.table(nil, tableIndex)})
	if err == nil {
		s.it.First()
	}
	return err
}

// kept is the sum as it was kept.
func (r rows) kept() (total uint64) {
	it := r.iter("sums", r.sum(nil, sumCommits), r.sum(nil, sumApplied))
	defer finish("sums", it)
	for ok := it.First(); ok; ok = it.Next() {
		v := valueOf("sums", it)
		if len(v) != 8 {
			fail("sums", ErrCorrupt)
		}
		total += binary.BigEndian.Uint64(v)
	}
	return total
}

// Step reads rows of about that many bytes, and reports whether that was the last. The error
// is ErrRotten, or says that a row cannot be read at all.
func (s *Scrub) Step(bytes int) (done bool, err error) {
	for end := s.bytes + uint64(bytes); s.bytes < end; s.it.Next() {
		if !s.it.Valid() {
			if err := s.it.Error(); err != nil {
				return true, fmt.Errorf("store: scrub: %w", err)
			}
			if got := s.sums.total(); got != s.want {
				return true, fmt.Errorf("%w: their sum is %016x, it should be %016x", ErrRotten, got, s.want)
			}
			return true, nil
		}
		value, err := s.it.ValueAndErr()
		if err != nil {
			return true, fmt.Errorf("store: scrub: %w", err)
		}
		s.sums.found(s.it.Key(), value)
		s.bytes += uint64(len(s.it.Key()) + len(value))
	}
	return false, nil
}

// Bytes is how much was read.
func (s *Scrub) Bytes() uint64 { return s.bytes }

// Close ends it; a second time does nothing.
func (s *Scrub) Close() error {
	if s.snap == nil {
		return nil
	}
	var err error
	if s.it != nil {
		err = s.it.Close()
	}
	if e := s.snap.Close(); err == nil {
		err = e
	}
	s.snap = nil
	if err != nil {
		return fmt.Errorf("store: closing a scrub: %w", err)
	}
	return nil
}
