package datasource

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"
)

const (
	// cursorShare is the part of a source's connections that reads may hold open, at
	// least one: writes need some, too.
	cursorShare = 2
	// idleCursor is how long a cursor waits for the next call.
	idleCursor = 30 * time.Second
)

// ErrBusy is a read that finds too many others.
var ErrBusy = errors.New("datasource: too many open reads")

// ErrClosed is a read that is at its end, took too long or was closed.
var ErrClosed = errors.New("datasource: the read is closed")

// Cursor is an open read. Next must not be called from two goroutines at once; Close may
// be called from any.
type Cursor struct {
	s    *Source
	st   *Statement
	id   uint64
	ctx  context.Context
	stop context.CancelFunc
	idle *time.Timer

	pending []Value // a row that was read and did not fit into the page; Next's

	mu     sync.Mutex
	rows   *sql.Rows
	closed bool
}

// Query opens a read. Its first page is the first Next; ctx bounds the opening alone,
// the statement's Timeout opening and each page.
func (s *Source) Query(ctx context.Context, statement string, arguments []Argument) (*Cursor, error) {
	st, err := s.Statement(statement, false)
	if err != nil {
		return nil, err
	}
	args, err := st.Bind(arguments)
	if err != nil {
		return nil, err
	}
	c, err := s.newCursor(st)
	if err != nil {
		return nil, err
	}
	err = c.bounded(ctx, func() error {
		rows, err := s.db.QueryContext(c.ctx, st.SQL, args...)
		if err != nil {
			return err
		}
		c.open(rows)
		names, err := rows.Columns()
		if err == nil && len(names) != len(st.Columns) {
			err = fmt.Errorf("datasource: answers %d columns, declared are %d", len(names), len(st.Columns))
		}
		return err
	})
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("datasource: statement %s of data source %s: %w", st.Name, s.cfg.Name, err)
	}
	return c, nil
}

// open gives the cursor its rows; one that was closed meanwhile closes them.
func (c *Cursor) open(rows *sql.Rows) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		rows.Close()
		return
	}
	c.rows = rows
}

func (s *Source) newCursor(st *Statement) (*Cursor, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if most := max(s.cfg.Connections/cursorShare, 1); len(s.cursors) >= most {
		return nil, fmt.Errorf("%w: data source %s has %d", ErrBusy, s.cfg.Name, most)
	}
	s.nextID++
	c := &Cursor{s: s, st: st, id: s.nextID}
	c.ctx, c.stop = context.WithCancel(context.Background())
	c.idle = time.AfterFunc(idleCursor, c.Close)
	s.cursors[c.id] = c
	return c, nil
}

// bounded runs a step of the cursor; when its time is over the whole cursor is.
func (c *Cursor) bounded(ctx context.Context, f func() error) error {
	ctx, stop := context.WithTimeout(ctx, c.st.Timeout)
	defer stop()
	c.idle.Stop()
	defer c.idle.Reset(idleCursor)
	defer context.AfterFunc(ctx, c.stop)()
	err := c.s.within(ctx, func(context.Context) error { return f() })
	if ctx.Err() != nil && err != nil {
		return context.Cause(ctx)
	}
	return err
}

// Cursor returns an open read by its id, nil where there is none.
func (s *Source) Cursor(id uint64) *Cursor {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cursors[id]
}

// ID names the cursor.
func (c *Cursor) ID() uint64 { return c.id }

// Statement is what the cursor reads.
func (c *Cursor) Statement() *Statement { return c.st }

// Next returns the next rows: at most most bytes of values, but one row always. end says
// that there are no more, and that the cursor is closed. An error closes it, too.
func (c *Cursor) Next(ctx context.Context, most int) (page [][]Value, end bool, err error) {
	c.mu.Lock()
	closed := c.closed
	c.mu.Unlock()
	if closed {
		return nil, true, fmt.Errorf("%w: statement %s of data source %s", ErrClosed, c.st.Name, c.s.cfg.Name)
	}
	type answer struct {
		page [][]Value
		end  bool
	}
	out := make(chan answer, 1) // a call that was given up may still answer
	err = c.bounded(ctx, func() error {
		page, end, err := c.page(most)
		out <- answer{page, end}
		return err
	})
	if err != nil {
		c.Close()
		return nil, true, fmt.Errorf("datasource: statement %s of data source %s: %w", c.st.Name, c.s.cfg.Name, err)
	}
	a := <-out
	if a.end {
		c.Close()
	}
	return a.page, a.end, nil
}

func (c *Cursor) page(most int) (page [][]Value, end bool, err error) {
	size := 0
	for size < most {
		row := c.pending
		c.pending = nil
		if row == nil {
			if !c.rows.Next() {
				return page, true, c.rows.Err()
			}
			if row, err = c.row(); err != nil {
				return nil, false, err
			}
		}
		n := 0
		for _, v := range row {
			n += len(v.Data) + rowOverhead
		}
		if len(page) > 0 && size+n > most {
			c.pending = row
			break
		}
		page, size = append(page, row), size+n
	}
	return page, false, nil
}

// rowOverhead is what a value takes in a message beside its bytes, at most.
const rowOverhead = 8

// row maps the row that the cursor stands on.
func (c *Cursor) row() ([]Value, error) {
	raw := make([]any, len(c.st.Columns))
	at := make([]any, len(raw))
	for i := range raw {
		at[i] = &raw[i]
	}
	if err := c.rows.Scan(at...); err != nil {
		return nil, err
	}
	row := make([]Value, len(raw))
	for i := range raw {
		v, err := c.st.Columns[i].Value(raw[i])
		if err != nil {
			return nil, fmt.Errorf("column %s %w", c.st.Columns[i].Name, err)
		}
		row[i] = v
	}
	return row, nil
}

// Close ends the read.
func (c *Cursor) Close() {
	c.mu.Lock()
	rows, was := c.rows, c.closed
	c.closed = true
	c.mu.Unlock()
	if was {
		return
	}
	c.idle.Stop()
	c.stop()
	c.s.mu.Lock()
	delete(c.s.cursors, c.id)
	c.s.mu.Unlock()
	if rows != nil {
		go rows.Close() // it waits for a call that is under way
	}
}
