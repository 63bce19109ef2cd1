package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// Fence implements Store.
func (d *DB) Fence(why string) error {
	if why == "" {
		return errors.New("store: a fence needs a reason")
	}
	d.swap.RLock()
	defer d.swap.RUnlock()
	if err := d.db.Set(d.table(nil, tableFenced), []byte(why), pebble.NoSync); err != nil {
		return fmt.Errorf("store: fence: %w", err)
	}
	if err := d.db.Flush(); err != nil {
		return fmt.Errorf("store: fence: %w", err)
	}
	return nil
}

// Fenced implements Store.
func (d *DB) Fenced() string {
	d.swap.RLock()
	defer d.swap.RUnlock()
	if d.damage != "" {
		return d.damage
	}
	var why []byte
	if err := caught(func() { why, _ = d.rows().copyOf("the fence", d.table(nil, tableFenced)) }); err != nil {
		return err.Error()
	}
	return string(why)
}
