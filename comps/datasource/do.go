package datasource

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Effect is a write that a committed transaction owes.
type Effect struct {
	// Cluster, Transaction and Ordinal are its key for all times.
	Cluster, Transaction [16]byte
	Ordinal              uint32
	Statement            string
	Arguments            []Argument
	// Fence is what its queue is held under; it is less than 2^63.
	Fence uint64
	// InDoubt says that an earlier attempt may have done it.
	InDoubt bool
}

// key is the effect's key in the table.
func (e *Effect) key() string {
	return fmt.Sprintf("%x-%x-%d", e.Cluster, e.Transaction, e.Ordinal)
}

// Class is what became of an attempt.
type Class uint8

const (
	// Done: the work stands in the database, by this attempt or an earlier one.
	Done Class = iota
	// Retry: it was not done, or nobody knows; the next attempt must say InDoubt.
	Retry
	// Failed: it was not done and never will be, as a matter of the data.
	Failed
	// Misconfigured: it was not done and cannot be before somebody changes something.
	Misconfigured
)

func (c Class) String() string {
	return [...]string{"done", "retry", "failed", "misconfigured"}[c]
}

// Outcome is what became of an attempt. Err says why where it is not done.
type Outcome struct {
	Class Class
	Rows  int64 // of a done one: the rows that it changed
	Err   error
}

const (
	effectTable   = "rrts_effect"
	insertEffect  = "INSERT INTO rrts_effect (effect, fence, token, done, affected, stamp) VALUES (?, ?, ?, ?, ?, ?)"
	raiseEffect   = "UPDATE rrts_effect SET fence = ?, token = ?, stamp = ? WHERE effect = ? AND done = 0 AND fence <= ?"
	finishEffect  = "UPDATE rrts_effect SET done = 1, affected = ?, stamp = ? WHERE effect = ? AND token = ? AND done = 0"
	confirmEffect = "UPDATE rrts_effect SET token = ?, stamp = ? WHERE effect = ? AND done = 1"
	selectEffect  = "SELECT done, fence, token, affected FROM rrts_effect WHERE effect = ?"
)

// attemptsAtOnce is how often one attempt begins anew when the database says that nothing
// was done: a connection of the pool that had died, or a deadlock.
const attemptsAtOnce = 3

var (
	errTaken   = errors.New("the row of the effect is there already, or cannot be written")
	errFenced  = errors.New("datasource: another SFU has taken the effect")
	errUnseen  = errors.New("it is not as it was written")
	errUnknown = errors.New("the answer to COMMIT is missing")
)

// Do makes one attempt at an effect. It returns soon after ctx has ended; the attempt is
// in doubt then.
func (s *Source) Do(ctx context.Context, e Effect) Outcome {
	st, err := s.Statement(e.Statement, true)
	if err != nil {
		return Outcome{Class: Misconfigured, Err: err}
	}
	args, err := st.Bind(e.Arguments)
	if err != nil {
		return Outcome{Class: Failed, Err: err}
	}
	ctx, stop := context.WithTimeout(ctx, st.Timeout)
	defer stop()
	out := make(chan Outcome, 1)
	err = s.within(ctx, func(ctx context.Context) error {
		refused, err := s.tables(ctx)
		if err != nil {
			return err
		}
		if table, ok := refused[st.Name]; ok {
			out <- Outcome{Class: Misconfigured, Err: s.refusal(st.Name, table)}
			return nil
		}
		a := &attempt{s: s, e: &e, st: st, args: args, key: e.key(), token: newToken()}
		out <- a.run(ctx)
		return nil
	})
	if err != nil {
		return Outcome{Class: Retry, Err: err}
	}
	return <-out
}

// DoAll makes one attempt at each of some effects, and returns an outcome for each. Those
// that are not in doubt are tried in one database transaction; when that does not work
// out each is attempted alone, so that none suffers for another.
func (s *Source) DoAll(ctx context.Context, effects []Effect) []Outcome {
	out := make([]Outcome, len(effects))
	var together []*attempt
	var places []int
	for i := range effects {
		e := &effects[i]
		st, err := s.Statement(e.Statement, true)
		if err != nil || e.InDoubt {
			continue
		}
		if args, err := st.Bind(e.Arguments); err == nil {
			together = append(together, &attempt{s: s, e: e, st: st, args: args, key: e.key(), token: newToken()})
			places = append(places, i)
		}
	}
	tried := make(map[int]bool)
	if len(together) > 1 {
		rows, err := s.together(ctx, together)
		for k, i := range places {
			tried[i] = err == nil
			if err == nil {
				out[i] = Outcome{Class: Done, Rows: rows[k]}
			} else if errors.Is(err, errUnknown) || errors.Is(err, ErrGivenUp) {
				effects[i].InDoubt = true
			}
		}
	}
	for i := range effects {
		switch {
		case tried[i]:
		case ctx.Err() != nil:
			out[i] = Outcome{Class: Retry, Err: context.Cause(ctx)}
		default:
			out[i] = s.Do(ctx, effects[i])
		}
	}
	return out
}

// together does first attempts in one database transaction: all of them, or none.
func (s *Source) together(ctx context.Context, attempts []*attempt) ([]int64, error) {
	ctx, stop := context.WithTimeout(ctx, s.cfg.Timeout)
	defer stop()
	out := make(chan []int64, 1)
	err := s.within(ctx, func(ctx context.Context) error {
		refused, err := s.tables(ctx)
		if err != nil {
			return err
		}
		rows := make([]int64, len(attempts))
		last := attempts[len(attempts)-1]
		err = s.transaction(ctx, last.key, last.token, func(ctx context.Context, tx *sql.Tx) (bool, error) {
			for i, a := range attempts {
				if table, ok := refused[a.st.Name]; ok {
					return false, s.refusal(a.st.Name, table)
				}
				var err error
				if rows[i], err = a.work(ctx, tx); err != nil {
					return false, err
				}
				if err = a.insert(ctx, tx, rows[i]); err != nil {
					return false, err
				}
			}
			return true, nil
		})
		out <- rows
		return err
	})
	if err != nil {
		return nil, err
	}
	return <-out, nil
}

// newToken returns a positive random number.
func newToken() int64 {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return int64(binary.BigEndian.Uint64(b[:]) >> 1)
}

// attempt is one attempt at one effect.
type attempt struct {
	s     *Source
	e     *Effect
	st    *Statement
	args  []any
	key   string
	token int64
}

func (a *attempt) run(ctx context.Context) Outcome {
	if a.e.InDoubt {
		return a.recover(ctx, nil)
	}
	n, err := a.try(ctx, a.insert)
	switch {
	case err == nil:
		return Outcome{Class: Done, Rows: n}
	case ctx.Err() != nil, !errors.Is(err, errUnknown) && !errors.Is(err, errTaken) && !a.refuses(err):
		return Outcome{Class: a.class(err), Err: err}
	}
	return a.recover(ctx, err)
}

// recover finds out whether an earlier attempt did the work and does it otherwise. because
// is what this attempt met before, if it began with the work.
func (a *attempt) recover(ctx context.Context, because error) Outcome {
	at, err := a.raise(ctx)
	switch {
	case err != nil:
		return Outcome{Class: Retry, Err: err}
	case at.done:
		return Outcome{Class: Done, Rows: at.affected}
	case because != nil && a.refuses(because):
		return Outcome{Class: a.class(because), Err: because}
	}
	n, err := a.try(ctx, func(ctx context.Context, tx *sql.Tx, n int64) error {
		r, err := tx.ExecContext(ctx, finishEffect, n, time.Now().Unix(), a.key, a.token)
		if err != nil {
			return err
		}
		if k, err := r.RowsAffected(); err != nil || k != 1 {
			return errors.Join(errFenced, err)
		}
		return nil
	})
	if err != nil {
		return Outcome{Class: a.class(err), Err: err}
	}
	return Outcome{Class: Done, Rows: n}
}

// refuses reports whether an error is an answer for good, of the statement or of the
// configuration.
func (a *attempt) refuses(err error) bool { return a.class(err) != Retry }

func (a *attempt) class(err error) Class {
	switch {
	case errors.Is(err, errUnknown), errors.Is(err, errFenced), errors.Is(err, errTaken):
		return Retry
	case errors.Is(err, ErrRefused), a.s.final(err):
		return Failed
	case configuration(err):
		return Misconfigured
	}
	return Retry
}

// work runs the statement.
func (a *attempt) work(ctx context.Context, tx *sql.Tx) (int64, error) {
	r, err := tx.ExecContext(ctx, a.st.SQL, a.args...)
	if err != nil {
		return 0, fmt.Errorf("datasource: statement %s of data source %s: %w", a.st.Name, a.s.cfg.Name, err)
	}
	n, err := r.RowsAffected()
	if err != nil {
		return 0, err
	}
	if a.st.Rows >= 0 && n != a.st.Rows {
		return 0, fmt.Errorf("%w: statement %s of data source %s changes %d rows, declared are %d", ErrRefused, a.st.Name, a.s.cfg.Name, n, a.st.Rows)
	}
	return n, nil
}

// insert writes the row of an effect that changed n rows.
func (a *attempt) insert(ctx context.Context, tx *sql.Tx, n int64) error {
	if _, err := tx.ExecContext(ctx, insertEffect, a.key, int64(a.e.Fence), a.token, int64(1), n, time.Now().Unix()); err != nil {
		return errors.Join(errTaken, err)
	}
	return nil
}

// try does the work and then mark in one database transaction. An error means that nothing
// was done, unless it is errUnknown. It begins anew where the database says that it may.
func (a *attempt) try(ctx context.Context, mark func(context.Context, *sql.Tx, int64) error) (n int64, err error) {
	for range attemptsAtOnce {
		err = a.s.transaction(ctx, a.key, a.token, func(ctx context.Context, tx *sql.Tx) (bool, error) {
			if n, err = a.work(ctx, tx); err != nil {
				return false, err
			}
			return true, mark(ctx, tx, n)
		})
		if err == nil || ctx.Err() != nil || errors.Is(err, errUnknown) {
			return n, err
		}
		if code, _ := state(err); !strings.HasPrefix(code, "08") && !strings.HasPrefix(code, "40") {
			return n, err
		}
	}
	return n, err
}

// transaction runs f in a database transaction and is over when the row of an effect is
// seen with the token that f has written there; f reports whether it did. An error means
// that nothing was done, unless it is errUnknown.
//
// That a driver calls a COMMIT successful is not believed: psqlodbc does when the
// connection was lost in something that it did on its own, such as the DEALLOCATE of a
// statement that was freed, because it then has no transaction any more to commit; and the
// COMMIT of a transaction that a database had given up is a ROLLBACK without an error.
func (s *Source) transaction(ctx context.Context, key string, token int64, f func(context.Context, *sql.Tx) (wrote bool, err error)) error {
	c, err := s.db.Conn(ctx)
	if err != nil {
		return fmt.Errorf("datasource: %s: no connection: %w", s.cfg.Name, err)
	}
	// database/sql would roll back on a goroutine of its own when the context of the
	// transaction ends; the statements have theirs.
	tx, err := c.BeginTx(context.WithoutCancel(ctx), nil)
	if err != nil {
		drop(c)
		return err
	}
	wrote, err := f(ctx, tx)
	if err == nil {
		err = ctx.Err() // after this it cannot be taken back
	}
	if err == nil {
		err := tx.Commit()
		if err == nil && wrote {
			err = seen(ctx, c, key, token)
		}
		if err != nil {
			drop(c)
			s.forget()
			return fmt.Errorf("datasource: %s: %w: %w", s.cfg.Name, errUnknown, err)
		}
		c.Close()
		return nil
	}
	if tx.Rollback() != nil || lost(err) {
		drop(c)
		s.forget()
	} else {
		c.Close()
	}
	return err
}

// seen looks at the row of an effect after a COMMIT.
func seen(ctx context.Context, c querier, key string, token int64) error {
	switch row, err := readRow(ctx, c, key); {
	case err != nil:
		return fmt.Errorf("the row of the effect is not seen after it: %w", err)
	case row.token != token:
		return fmt.Errorf("the row of the effect is not seen after it: %w", errUnseen)
	}
	return nil
}

// row is the row of an effect.
type row struct {
	there, done            bool
	fence, token, affected int64
}

// querier is a connection, or a pool of them.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// readRow reads to the end of the result, unlike QueryRow: only then can the driver use
// the prepared statement again.
func readRow(ctx context.Context, q querier, key string) (row, error) {
	rows, err := q.QueryContext(ctx, selectEffect, key)
	if err != nil {
		return row{}, err
	}
	defer rows.Close()
	var out row
	for rows.Next() {
		var done int64
		if err := rows.Scan(&done, &out.fence, &out.token, &out.affected); err != nil {
			return row{}, err
		}
		out.there, out.done = true, done == 1
	}
	return out, rows.Err()
}

// raise makes the row the attempt's own, so that no older attempt can commit any more, or
// finds it done. Its error means that neither is known.
func (a *attempt) raise(ctx context.Context) (row, error) {
	inserted := a.s.transaction(ctx, a.key, a.token, func(ctx context.Context, tx *sql.Tx) (bool, error) {
		_, err := tx.ExecContext(ctx, insertEffect, a.key, int64(a.e.Fence), a.token, int64(0), int64(0), time.Now().Unix())
		return true, err
	})
	if inserted == nil {
		return row{}, nil
	}
	for _, step := range []struct {
		done bool
		sql  string
		args []any
	}{
		{false, raiseEffect, []any{int64(a.e.Fence), a.token, time.Now().Unix(), a.key, int64(a.e.Fence)}},
		// What is seen as done need not be on the disk yet: some databases show a commit
		// before they have synced it. A commit that follows it is not synced before it.
		{true, confirmEffect, []any{a.token, time.Now().Unix(), a.key}},
	} {
		changed := int64(0)
		err := a.s.transaction(ctx, a.key, a.token, func(ctx context.Context, tx *sql.Tx) (bool, error) {
			r, err := tx.ExecContext(ctx, step.sql, step.args...)
			if err == nil {
				changed, err = r.RowsAffected()
			}
			return changed == 1, err
		})
		switch {
		case err != nil:
			return row{}, err
		case changed == 1 && !step.done:
			return row{}, nil
		}
	}
	at, err := readRow(ctx, a.s.db, a.key)
	switch {
	case err != nil:
		return row{}, err
	case !at.there:
		return row{}, fmt.Errorf("datasource: %s: the row of the effect cannot be written: %w", a.s.cfg.Name, inserted)
	case at.done && at.token == a.token:
		return at, nil
	case !at.done && at.fence > int64(a.e.Fence):
		return row{}, errFenced
	}
	return row{}, fmt.Errorf("datasource: %s: the row of the effect cannot be raised", a.s.cfg.Name)
}
