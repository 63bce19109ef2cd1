package datasource

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// createEffect makes the table; its types are those of standard SQL.
const createEffect = `CREATE TABLE rrts_effect (
	effect VARCHAR(80) NOT NULL,
	fence BIGINT NOT NULL,
	token BIGINT NOT NULL,
	done INTEGER NOT NULL,
	affected BIGINT NOT NULL,
	stamp BIGINT NOT NULL,
	PRIMARY KEY (effect))`

// errProbe ends the transaction that tries whether the table can be rolled back.
var errProbe = errors.New("probe")

// Init makes the table by which writes are exactly once, unless it is there, and tries
// that it can be rolled back. It reports whether it made the table.
func (s *Source) Init(ctx context.Context) (made bool, err error) {
	out := make(chan bool, 1)
	err = s.within(ctx, func(ctx context.Context) error {
		made, err := s.init(ctx)
		out <- made
		return err
	})
	select {
	case made = <-out:
	default:
	}
	return made, err
}

func (s *Source) init(ctx context.Context) (made bool, err error) {
	const probe = "probe"
	if _, err := readRow(ctx, s.db, probe); err != nil {
		if _, created := s.db.ExecContext(ctx, createEffect); created != nil {
			return false, fmt.Errorf("datasource: %s: the table rrts_effect cannot be read (%w) and cannot be made: %w", s.cfg.Name, err, created)
		}
		made = true
	}
	remove := func() error {
		_, err := s.db.ExecContext(ctx, "DELETE FROM rrts_effect WHERE effect = ?", probe)
		return err
	}
	if err := remove(); err != nil { // of an init that found a table which cannot be rolled back
		return made, fmt.Errorf("datasource: %s: the table rrts_effect cannot be written: %w", s.cfg.Name, err)
	}
	err = s.transaction(ctx, probe, 0, func(ctx context.Context, tx *sql.Tx) (bool, error) {
		if _, err := tx.ExecContext(ctx, insertEffect, probe, int64(0), int64(0), int64(0), int64(0), int64(0)); err != nil {
			return false, err
		}
		return false, errProbe
	})
	if !errors.Is(err, errProbe) {
		return made, fmt.Errorf("datasource: %s: the table rrts_effect cannot be written: %w", s.cfg.Name, err)
	}
	switch left, err := readRow(ctx, s.db, probe); {
	case err != nil:
		return made, err
	case left.there:
		remove()
		return made, fmt.Errorf("datasource: %s: what is written to the table rrts_effect cannot be rolled back: make it a transactional table, such as ENGINE=InnoDB", s.cfg.Name)
	}
	return made, nil
}
