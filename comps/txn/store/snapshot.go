package store

import (
	"fmt"
	"iter"

	"github.com/cockroachdb/pebble/v2"
)

// snapshot is a settled state. Two stores that took the same Commits have the
// same rows in it.
type snapshot struct {
	snap *pebble.Snapshot
	rows rows
}

// Snapshot implements Store. It settles first, beside the Commits as far as that
// goes.
func (d *DB) Snapshot() (Snapshot, error) {
	d.settleAll()
	defer d.gate.Unlock()
	snap := d.db.NewSnapshot()
	return &snapshot{snap: snap, rows: rows{d.keys, snap}}, nil
}

// Applied implements Snapshot.
func (s *snapshot) Applied() uint64 { return s.rows.applied() }

// Meta implements Snapshot.
func (s *snapshot) Meta(key string) []byte { return s.rows.meta(key) }

// Sum implements Snapshot.
func (s *snapshot) Sum() uint64 { return s.rows.kept() }

// Rows implements Snapshot.
func (s *snapshot) Rows() iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		it, err := s.snap.NewIter(&pebble.IterOptions{
			LowerBound: s.rows.table(nil, tableState), UpperBound: s.rows.table(nil, tableIndex),
		})
		if err != nil {
			yield(Row{}, fmt.Errorf("store: snapshot: %w", err))
			return
		}
		defer it.Close()
		for ok := it.First(); ok; ok = it.Next() {
			value, err := it.ValueAndErr()
			if err != nil {
				yield(Row{}, fmt.Errorf("store: snapshot: %w", err))
				return
			}
			if !yield(Row{Key: it.Key(), Value: value}, nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(Row{}, fmt.Errorf("store: snapshot: %w", err))
		}
	}
}

// Close implements Snapshot.
func (s *snapshot) Close() error {
	if err := s.snap.Close(); err != nil {
		return fmt.Errorf("store: closing a snapshot: %w", err)
	}
	return nil
}
