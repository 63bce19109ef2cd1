//go:build cgo

package odbc

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"github.com/alexbrainman/odbc/api"

	"virtualservicesinc.com/comps/datasource/sqlvalue"
)

// attrLoginTimeout is SQL_ATTR_LOGIN_TIMEOUT, in seconds; package api has no name for it.
const attrLoginTimeout = 103

// environment is the one handle of unixODBC in this process.
var environment = sync.OnceValues(func() (api.SQLHENV, error) {
	var none, out api.SQLHANDLE
	if ret := api.SQLAllocHandle(api.SQL_HANDLE_ENV, none, &out); failed(ret) {
		return nil, &Error{Call: "SQLAllocHandle"}
	}
	env := api.SQLHENV(out)
	if ret := api.SQLSetEnvUIntPtrAttr(env, api.SQL_ATTR_ODBC_VERSION, api.SQL_OV_ODBC3, 0); failed(ret) {
		return nil, diagnose("SQLSetEnvAttr", api.SQL_HANDLE_ENV, api.SQLHANDLE(env))
	}
	return env, nil
})

// Connector opens connections of one data source, for sql.OpenDB.
type Connector struct {
	// Connection is the connection string of ODBC, with the password in it. No error
	// repeats it.
	Connection string
	// Startup are statements that run on each new connection, such as one that sets
	// the session's time zone.
	Startup []string
}

var (
	_ driver.Connector         = Connector{}
	_ driver.QueryerContext    = (*conn)(nil)
	_ driver.ExecerContext     = (*conn)(nil)
	_ driver.ConnBeginTx       = (*conn)(nil)
	_ driver.NamedValueChecker = (*conn)(nil)
	_ driver.Validator         = (*conn)(nil)
	_ driver.SessionResetter   = (*conn)(nil)
)

// Driver returns nothing that opens anything: connections are made by Connector.
func (Connector) Driver() driver.Driver { return noDriver{} }

type noDriver struct{}

func (noDriver) Open(string) (driver.Conn, error) {
	return nil, errors.New("odbc: open by name is not offered; use sql.OpenDB with a Connector")
}

// Connect opens a connection. The time that ctx leaves is handed to the ODBC driver
// as its limit for the login; whether it heeds that is the driver's.
func (c Connector) Connect(ctx context.Context) (driver.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	env, err := environment()
	if err != nil {
		return nil, err
	}
	var out api.SQLHANDLE
	if ret := api.SQLAllocHandle(api.SQL_HANDLE_DBC, api.SQLHANDLE(env), &out); failed(ret) {
		return nil, diagnose("SQLAllocHandle", api.SQL_HANDLE_ENV, api.SQLHANDLE(env))
	}
	cn := &conn{h: api.SQLHDBC(out), autocommit: true, cached: map[string]*stmt{}}
	if deadline, ok := ctx.Deadline(); ok {
		seconds := uintptr(max(time.Until(deadline)/time.Second, 1))
		api.SQLSetConnectUIntPtrAttr(cn.h, attrLoginTimeout, seconds, api.SQL_IS_UINTEGER) // optional in ODBC
	}
	text := api.StringToUTF16(c.Connection)
	ret := api.SQLDriverConnect(cn.h, 0, (*api.SQLWCHAR)(unsafe.Pointer(&text[0])), api.SQL_NTS, nil, 0, nil, api.SQL_DRIVER_NOPROMPT)
	if failed(ret) {
		err := diagnose("SQLDriverConnect", api.SQL_HANDLE_DBC, out)
		api.SQLFreeHandle(api.SQL_HANDLE_DBC, out)
		return nil, err
	}
	for _, s := range c.Startup {
		if _, err := cn.ExecContext(ctx, s, nil); err != nil {
			cn.Close()
			return nil, fmt.Errorf("at the start of the session: %w", err)
		}
	}
	return cn, nil
}

// maxCached bounds the prepared statements of a connection: a data source has some
// dozen named ones. Beyond it they are all dropped and prepared again as they come.
const maxCached = 128

// conn is one connection. database/sql uses it from one goroutine at a time.
type conn struct {
	h          api.SQLHDBC
	autocommit bool // as it stands in the session
	inTx       bool
	bad        bool             // must not be used again
	cached     map[string]*stmt // prepared, by text; none of them has open rows
}

// Close drops the connection; what was not committed is rolled back.
func (c *conn) Close() error {
	for _, s := range c.cached {
		s.free()
	}
	c.cached = nil
	if c.inTx {
		// ODBC forbids to disconnect within a transaction.
		api.SQLEndTran(api.SQL_HANDLE_DBC, api.SQLHANDLE(c.h), api.SQL_ROLLBACK)
	}
	ret := api.SQLDisconnect(c.h)
	var err error
	if failed(ret) {
		err = diagnose("SQLDisconnect", api.SQL_HANDLE_DBC, api.SQLHANDLE(c.h))
	}
	api.SQLFreeHandle(api.SQL_HANDLE_DBC, api.SQLHANDLE(c.h))
	return err
}

// IsValid reports whether the pool may keep the connection.
func (c *conn) IsValid() bool { return !c.bad }

// ResetSession is asked before the pool hands the connection out again.
func (c *conn) ResetSession(context.Context) error {
	if c.bad || c.inTx {
		return driver.ErrBadConn
	}
	return nil
}

// CheckNamedValue lets the types of values of this package through beside those of
// database/sql.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	if v.Name != "" {
		return errors.New("odbc: parameters have places, not names")
	}
	switch v.Value.(type) {
	case nil, bool, int64, float64, string, []byte, time.Time, sqlvalue.Decimal, sqlvalue.Date:
		return nil
	}
	return driver.ErrSkip
}

// setAutocommit changes the session where it has to. Between transactions it is left
// off: turning it on and off again would cost two round trips for each.
func (c *conn) setAutocommit(on bool) error {
	if c.autocommit == on {
		return nil
	}
	v := uintptr(api.SQL_AUTOCOMMIT_OFF)
	if on {
		v = uintptr(api.SQL_AUTOCOMMIT_ON)
	}
	if ret := api.SQLSetConnectUIntPtrAttr(c.h, api.SQL_ATTR_AUTOCOMMIT, v, api.SQL_IS_UINTEGER); failed(ret) {
		c.bad = true
		return diagnose("SQLSetConnectAttr", api.SQL_HANDLE_DBC, api.SQLHANDLE(c.h))
	}
	c.autocommit = on
	return nil
}

// BeginTx begins a transaction at the session's own level of isolation.
func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	if o.Isolation != 0 || o.ReadOnly {
		return nil, errors.New("odbc: a level of isolation or read-only is asked for; set it in the statements of the session's start")
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := c.setAutocommit(false); err != nil {
		return nil, err
	}
	c.inTx = true
	return tx{c}, nil
}

// Begin is required by driver.Conn; database/sql calls BeginTx.
func (c *conn) Begin() (driver.Tx, error) { return c.BeginTx(context.Background(), driver.TxOptions{}) }

type tx struct{ c *conn }

// Commit commits. After an error nobody knows whether it did.
func (t tx) Commit() error { return t.end("commit", api.SQL_COMMIT) }

// Rollback rolls back.
func (t tx) Rollback() error { return t.end("rollback", api.SQL_ROLLBACK) }

func (t tx) end(what string, how api.SQLSMALLINT) error {
	if ret := api.SQLEndTran(api.SQL_HANDLE_DBC, api.SQLHANDLE(t.c.h), how); failed(ret) {
		t.c.bad = true
		return diagnose("SQLEndTran ("+what+")", api.SQL_HANDLE_DBC, api.SQLHANDLE(t.c.h))
	}
	t.c.inTx = false
	return nil
}

// failed reports whether a call returned neither success nor success with a remark.
func failed(ret api.SQLRETURN) bool {
	return ret != api.SQL_SUCCESS && ret != api.SQL_SUCCESS_WITH_INFO
}

// maxDiagnostics bounds the records that are read of one error.
const maxDiagnostics = 8

// diagnose returns what unixODBC has to say of a handle's last call.
func diagnose(call string, kind api.SQLSMALLINT, h api.SQLHANDLE) *Error {
	e := &Error{Call: call}
	state := make([]uint16, 6)
	message := make([]uint16, api.SQL_MAX_MESSAGE_LENGTH)
	for i := range maxDiagnostics {
		var native api.SQLINTEGER
		var n api.SQLSMALLINT
		ret := api.SQLGetDiagRec(kind, h, api.SQLSMALLINT(i+1), (*api.SQLWCHAR)(unsafe.Pointer(&state[0])), &native,
			(*api.SQLWCHAR)(unsafe.Pointer(&message[0])), api.SQLSMALLINT(len(message)), &n)
		if failed(ret) {
			break
		}
		e.Diagnostics = append(e.Diagnostics, Diagnostic{
			State: api.UTF16ToString(state), Native: int(native), Message: api.UTF16ToString(message)})
	}
	return e
}
