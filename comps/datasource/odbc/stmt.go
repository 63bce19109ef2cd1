//go:build cgo

package odbc

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"runtime"
	"unsafe"

	"github.com/alexbrainman/odbc/api"
)

// stmt is a prepared statement.
type stmt struct {
	c      *conn
	h      api.SQLHSTMT
	text   string
	inputs int
	pins   runtime.Pinner // of what is bound: unixODBC keeps the addresses until it has executed
	lens   []api.SQLLEN   // one for each parameter
}

// prepare returns the statement from the cache or makes it. It belongs to the caller,
// who gives it back with release.
func (c *conn) prepare(text string) (*stmt, error) {
	if c.bad {
		return nil, driver.ErrBadConn
	}
	if s := c.cached[text]; s != nil {
		delete(c.cached, text)
		return s, nil
	}
	var out api.SQLHANDLE
	if ret := api.SQLAllocHandle(api.SQL_HANDLE_STMT, api.SQLHANDLE(c.h), &out); failed(ret) {
		return nil, diagnose("SQLAllocHandle", api.SQL_HANDLE_DBC, api.SQLHANDLE(c.h))
	}
	s := &stmt{c: c, h: api.SQLHSTMT(out), text: text}
	if err := s.prepare(); err != nil {
		s.free()
		return nil, err
	}
	return s, nil
}

func (s *stmt) prepare() error {
	text := api.StringToUTF16(s.text)
	if ret := api.SQLPrepare(s.h, (*api.SQLWCHAR)(unsafe.Pointer(&text[0])), api.SQL_NTS); failed(ret) {
		return s.diagnose("SQLPrepare")
	}
	var n api.SQLSMALLINT
	if ret := api.SQLNumParams(s.h, &n); failed(ret) {
		return s.diagnose("SQLNumParams")
	}
	s.inputs = int(n)
	s.lens = make([]api.SQLLEN, s.inputs)
	return nil
}

// release gives the statement back to the connection's cache; it has no open rows.
func (s *stmt) release() {
	c := s.c
	if c.cached == nil || c.bad {
		s.free()
		return
	}
	if len(c.cached) >= maxCached {
		for text, old := range c.cached {
			old.free()
			delete(c.cached, text)
		}
	}
	if other := c.cached[s.text]; other != nil { // two of one text were in use at once
		other.free()
	}
	c.cached[s.text] = s
}

func (s *stmt) free() {
	api.SQLFreeHandle(api.SQL_HANDLE_STMT, api.SQLHANDLE(s.h))
	s.pins.Unpin()
}

func (s *stmt) diagnose(call string) *Error {
	return diagnose(call, api.SQL_HANDLE_STMT, api.SQLHANDLE(s.h))
}

// execute binds and executes; it is cancelled when ctx ends.
func (s *stmt) execute(ctx context.Context, args []driver.NamedValue) error {
	if len(args) != s.inputs {
		return fmt.Errorf("odbc: the statement has %d parameters, %d values are given", s.inputs, len(args))
	}
	err := s.try(ctx, args)
	var e *Error
	if errors.As(err, &e) && e.SQLState() == "HY010" {
		// Function sequence: a driver that forgets its prepared statements at the end of
		// a transaction. Nothing was executed.
		if err := s.prepare(); err != nil {
			return err
		}
		err = s.try(ctx, args)
	}
	return err
}

func (s *stmt) try(ctx context.Context, args []driver.NamedValue) error {
	defer s.pins.Unpin()
	for i, a := range args {
		if err := s.bind(i, a.Value); err != nil {
			return err
		}
	}
	ret, err := s.call(ctx, func() api.SQLRETURN { return api.SQLExecute(s.h) })
	switch {
	case ret == api.SQL_NO_DATA: // an update that found no rows
		return nil
	case err != nil:
		return err
	case failed(ret):
		return s.diagnose("SQLExecute")
	}
	return nil
}

// call makes a call that may take long and cancels it when ctx ends. The error is
// ctx's when the call failed after that.
func (s *stmt) call(ctx context.Context, f func() api.SQLRETURN) (api.SQLRETURN, error) {
	if err := ctx.Err(); err != nil {
		return api.SQL_INVALID_HANDLE, err
	}
	if ctx.Done() == nil {
		return f(), nil
	}
	cancelled := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cancelled)
		api.SQLCancel(s.h)
	})
	ret := f()
	if !stop() {
		<-cancelled // the handle is in use until then
		if failed(ret) {
			s.c.bad = true
			return ret, ctx.Err()
		}
	}
	return ret, nil
}

// ExecContext executes a statement that has no rows.
func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.outside(); err != nil {
		return nil, err
	}
	s, err := c.prepare(text)
	if err != nil {
		return nil, err
	}
	if err := s.execute(ctx, args); err != nil {
		s.free()
		return nil, err
	}
	var total int64
	rows := false
	for {
		var n api.SQLLEN
		if ret := api.SQLRowCount(s.h, &n); failed(ret) {
			err = s.diagnose("SQLRowCount")
			break
		}
		total += max(int64(n), 0)
		// Asked for while there is a result: at the end of the results a driver may have none
		// to tell of.
		var columns api.SQLSMALLINT
		if ret := api.SQLNumResultCols(s.h, &columns); failed(ret) || columns > 0 {
			rows = true
		}
		ret, cerr := s.call(ctx, func() api.SQLRETURN { return api.SQLMoreResults(s.h) })
		if ret == api.SQL_NO_DATA {
			break
		}
		if cerr != nil {
			err = cerr
			break
		}
		if failed(ret) {
			err = s.diagnose("SQLMoreResults")
			break
		}
	}
	if err != nil {
		s.free()
		return nil, err
	}
	if rows {
		s.free() // rows that nobody has fetched are in the way of using it again
	} else {
		s.release()
	}
	return driver.RowsAffected(total), nil
}

// QueryContext executes a statement and returns its rows, which hold it until they
// are closed. Fetching is cancelled by the same ctx.
func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.outside(); err != nil {
		return nil, err
	}
	s, err := c.prepare(text)
	if err != nil {
		return nil, err
	}
	if err := s.execute(ctx, args); err != nil {
		s.free()
		return nil, err
	}
	r, err := newRows(ctx, s)
	if err != nil {
		s.free()
		return nil, err
	}
	return r, nil
}

// outside turns autocommit on for a statement outside a transaction.
func (c *conn) outside() error {
	if c.bad {
		return driver.ErrBadConn
	}
	if c.inTx {
		return nil
	}
	return c.setAutocommit(true)
}

// Prepare is required by driver.Conn; the connection prepares by itself.
func (c *conn) Prepare(string) (driver.Stmt, error) {
	return nil, errors.New("odbc: prepare is not offered; execute the text, its statement is kept prepared")
}
