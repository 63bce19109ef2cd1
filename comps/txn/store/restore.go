package store

import (
	"bytes"
	"errors"
	"fmt"
	"path"

	"github.com/cockroachdb/pebble/v2"

	"virtualservicesinc.com/rrts/message/u128"
)

// ErrForeign is returned for a row that cannot be part of a snapshot of this group.
var ErrForeign = errors.New("store: not a row of this group")

// restore is a state under construction in a directory of its own.
type restore struct {
	d    *DB
	name string
	db   *pebble.DB // nil once it is over
	sums sums
}

// Restore implements Store.
func (d *DB) Restore() (Restore, error) {
	if d.restore != nil {
		if err := d.restore.Abandon(); err != nil {
			return nil, err
		}
	}
	name, err := nextDir(d.current)
	if err != nil {
		return nil, err
	}
	if err := d.make(name); err != nil {
		return nil, err
	}
	db, err := openPebble(&d.cfg, path.Join(d.cfg.Dir, name), false, func() {})
	if err != nil {
		return nil, err
	}
	d.restore = &restore{d: d, name: name, db: db, sums: sums{hours: map[uint64]uint64{}}}
	return d.restore, nil
}

var errOver = errors.New("store: the restore is over")

// Add implements Restore.
func (r *restore) Add(in []Row) error {
	if r.db == nil {
		return errOver
	}
	from, to := r.d.table(nil, tableState), r.d.table(nil, tableIndex)
	b := r.db.NewBatch()
	defer b.Close()
	for _, row := range in {
		if bytes.Compare(row.Key, from) < 0 || bytes.Compare(row.Key, to) >= 0 {
			return fmt.Errorf("%w: key %x", ErrForeign, row.Key)
		}
		if r.d.set(b, row.Key, row.Value); table(row.Key[prefixLen-1]) == tableTransactions && len(row.Key) != prefixLen+u128.Size {
			return fmt.Errorf("%w: key %x", ErrForeign, row.Key)
		}
		r.sums.found(row.Key, row.Value)
	}
	if err := b.Commit(pebble.NoSync); err != nil {
		return fmt.Errorf("store: restore: %w", err)
	}
	return nil
}

// Sum implements Restore.
func (r *restore) Sum() uint64 { return r.sums.total() }

// Switch implements Restore.
func (r *restore) Switch() error {
	if r.db == nil {
		return errOver
	}
	if err := caught(func() { rows{r.d.keys, r.db}.applied() }); err != nil {
		return errors.Join(fmt.Errorf("store: restore: %w", err), r.Abandon())
	}
	b := r.db.NewBatch()
	r.sums.write(rows{r.d.keys, r.db}, b)
	if err := errors.Join(b.Commit(pebble.NoSync), b.Close()); err != nil {
		return errors.Join(fmt.Errorf("store: restore: %w", err), r.Abandon())
	}
	if err := r.db.Flush(); err != nil {
		return errors.Join(fmt.Errorf("store: restore: %w", err), r.Abandon())
	}
	err := r.db.Close()
	r.db, r.d.restore = nil, nil
	if err != nil {
		return fmt.Errorf("store: restore: %w", err)
	}
	return r.d.switchTo(r.name)
}

// switchTo puts another directory of rows, closed, in the place of the open one.
func (d *DB) switchTo(name string) error {
	d.swap.Lock()
	defer d.swap.Unlock()
	close(d.stop)
	d.stopped.Wait()
	if err := d.marker.Move(name); err != nil {
		return fmt.Errorf("store: switch: %w", err)
	}
	if d.damage != "" {
		if err := d.setAside(); err != nil {
			return err
		}
	} else {
		err := d.db.Close()
		d.db = nil
		if err != nil {
			return fmt.Errorf("store: switch: %w", err)
		}
	}
	d.current = name
	if err := d.sweepDirs(); err != nil {
		return err
	}
	if err := d.load(); err != nil {
		return err
	}
	d.stop = make(chan struct{})
	d.stopped.Go(d.background)
	return nil
}

// Abandon implements Restore.
func (r *restore) Abandon() error {
	if r.db == nil {
		return nil
	}
	err := r.db.Close()
	r.db, r.d.restore = nil, nil
	if e := r.d.cfg.FS.RemoveAll(path.Join(r.d.cfg.Dir, r.name)); err == nil {
		err = e
	}
	if err != nil {
		return fmt.Errorf("store: abandoning a restore: %w", err)
	}
	return nil
}
