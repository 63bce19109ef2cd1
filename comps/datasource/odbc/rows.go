//go:build cgo

package odbc

import (
	"context"
	"database/sql/driver"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf16"
	"unsafe"

	"github.com/alexbrainman/odbc/api"

	"virtualservicesinc.com/comps/datasource/sqlvalue"
)

// chunk is how much of a value one call fetches.
const chunk = 32 << 10

// timestampForm is a timestamp as ODBC writes it, with the digits of the second that
// are not zero.
const timestampForm = "2006-01-02 15:04:05.999999999"

// column is how a column of a result is fetched.
type column struct {
	name  string
	ctype api.SQLSMALLINT
	make  func([]byte) (driver.Value, error) // of the bytes that were fetched
	fixed int                                // bytes of a value of fixed size; 0 for others
}

// rows is an open result. It keeps one row in memory.
type rows struct {
	ctx  context.Context
	s    *stmt
	cols []column
	buf  []byte // of a chunk
	done bool   // the end was reached: the statement can be used again
}

func newRows(ctx context.Context, s *stmt) (*rows, error) {
	r := &rows{ctx: ctx, s: s, buf: make([]byte, chunk)}
	var n api.SQLSMALLINT
	if ret := api.SQLNumResultCols(s.h, &n); failed(ret) {
		return nil, s.diagnose("SQLNumResultCols")
	}
	if n == 0 {
		return nil, errors.New("odbc: the statement has no result")
	}
	for i := range int(n) {
		c, err := s.column(i)
		if err != nil {
			return nil, err
		}
		r.cols = append(r.cols, c)
	}
	return r, nil
}

func (s *stmt) column(i int) (column, error) {
	name := make([]uint16, 256) // longer names are cut by the driver manager
	var length, kind, digits, nullable api.SQLSMALLINT
	var size api.SQLULEN
	ret := api.SQLDescribeCol(s.h, api.SQLUSMALLINT(i+1), (*api.SQLWCHAR)(unsafe.Pointer(&name[0])), api.SQLSMALLINT(len(name)), &length, &kind, &size, &digits, &nullable)
	if failed(ret) {
		return column{}, s.diagnose("SQLDescribeCol")
	}
	c := fetched(kind)
	c.name = api.UTF16ToString(name)
	return c, nil
}

// fetched says how a column of an SQL type is fetched: what C has no exact type for
// comes as text.
func fetched(kind api.SQLSMALLINT) column {
	switch kind {
	case api.SQL_BIT:
		return column{ctype: api.SQL_C_BIT, fixed: 1, make: func(b []byte) (driver.Value, error) { return b[0] != 0, nil }}
	case api.SQL_TINYINT, api.SQL_SMALLINT, api.SQL_INTEGER:
		return column{ctype: api.SQL_C_SBIGINT, fixed: 8, make: func(b []byte) (driver.Value, error) { return int64(binary.NativeEndian.Uint64(b)), nil }}
	case api.SQL_BIGINT, api.SQL_NUMERIC, api.SQL_DECIMAL: // an unsigned 64-bit integer fits no signed one
		return column{ctype: api.SQL_C_CHAR, make: func(b []byte) (driver.Value, error) { return sqlvalue.Decimal(strings.TrimSpace(string(b))), nil }}
	case api.SQL_FLOAT, api.SQL_REAL, api.SQL_DOUBLE:
		return column{ctype: api.SQL_C_DOUBLE, fixed: 8, make: func(b []byte) (driver.Value, error) { return *(*float64)(unsafe.Pointer(&b[0])), nil }}
	case api.SQL_TYPE_DATE:
		return column{ctype: api.SQL_C_DATE, fixed: int(unsafe.Sizeof(api.SQL_DATE_STRUCT{})), make: func(b []byte) (driver.Value, error) {
			d := *(*api.SQL_DATE_STRUCT)(unsafe.Pointer(&b[0]))
			return sqlvalue.Date{Year: int(d.Year), Month: time.Month(d.Month), Day: int(d.Day)}, nil
		}}
	case api.SQL_TYPE_TIMESTAMP:
		return column{ctype: api.SQL_C_CHAR, make: func(b []byte) (driver.Value, error) { // the C structure is filled to milliseconds by some
			t, err := time.Parse(timestampForm, strings.TrimSpace(string(b)))
			if err != nil {
				return nil, fmt.Errorf("is %q, not a timestamp as ODBC writes it", b)
			}
			return t, nil
		}}
	case api.SQL_BINARY, api.SQL_VARBINARY, api.SQL_LONGVARBINARY:
		return column{ctype: api.SQL_C_BINARY, make: func(b []byte) (driver.Value, error) { return append([]byte{}, b...), nil }}
	}
	// Text, times (C's have no fractions), identifiers, and what ODBC does not know.
	return column{ctype: api.SQL_C_WCHAR, make: utf16Text}
}

var errText = errors.New("is not valid UTF-16")

func utf16Text(b []byte) (driver.Value, error) {
	units := make([]uint16, len(b)/2)
	for i := range units {
		units[i] = binary.NativeEndian.Uint16(b[2*i:])
	}
	for i := 0; i < len(units); i++ {
		if !utf16.IsSurrogate(rune(units[i])) {
			continue
		}
		if i+1 == len(units) || utf16.DecodeRune(rune(units[i]), rune(units[i+1])) == 0xFFFD {
			return nil, errText
		}
		i++
	}
	return string(utf16.Decode(units)), nil
}

// Columns returns the names as the database gave them.
func (r *rows) Columns() []string {
	names := make([]string, len(r.cols))
	for i, c := range r.cols {
		names[i] = c.name
	}
	return names
}

// Next fetches one row.
func (r *rows) Next(dest []driver.Value) error {
	ret, err := r.s.call(r.ctx, func() api.SQLRETURN { return api.SQLFetch(r.s.h) })
	switch {
	case ret == api.SQL_NO_DATA:
		r.done = true
		return io.EOF
	case err != nil:
		return err
	case failed(ret):
		return r.s.diagnose("SQLFetch")
	}
	for i := range dest {
		if dest[i], err = r.value(i); err != nil {
			return err
		}
	}
	return nil
}

// value fetches column i of the row, in chunks where it is long.
func (r *rows) value(i int) (driver.Value, error) {
	c := &r.cols[i]
	var long []byte
	for {
		var n api.SQLLEN
		ret := api.SQLGetData(r.s.h, api.SQLUSMALLINT(i+1), c.ctype, api.SQLPOINTER(unsafe.Pointer(&r.buf[0])), api.SQLLEN(len(r.buf)), &n)
		switch {
		case ret == api.SQL_NO_DATA:
			return c.value(long)
		case failed(ret):
			return nil, fmt.Errorf("column %s: %w", c.name, r.s.diagnose("SQLGetData"))
		case n == api.SQL_NULL_DATA:
			return nil, nil
		case c.fixed > 0:
			return c.value(r.buf[:c.fixed])
		}
		room := len(r.buf) // what this call could bring
		switch c.ctype {
		case api.SQL_C_WCHAR:
			room -= 2 // the zero at the end
		case api.SQL_C_CHAR:
			room--
		}
		whole := n != api.SQL_NO_TOTAL && int(n) <= room
		if whole {
			if long == nil {
				return c.value(r.buf[:n])
			}
			return c.value(append(long, r.buf[:n]...))
		}
		if len(long)+room > MaxValueBytes || int(n) > MaxValueBytes-len(long) {
			return nil, fmt.Errorf("odbc: column %s: the value is longer than the limit of %d bytes", c.name, MaxValueBytes)
		}
		if long == nil && n > 0 {
			long = make([]byte, 0, n)
		}
		long = append(long, r.buf[:room]...)
		if ret == api.SQL_SUCCESS {
			// Said to be all, although more does not fit: a driver that counts otherwise.
			return c.value(long)
		}
	}
}

func (c *column) value(b []byte) (driver.Value, error) {
	v, err := c.make(b)
	if err != nil {
		return nil, fmt.Errorf("odbc: column %s: the value %w", c.name, err)
	}
	return v, nil
}

// Close ends the result; what was not fetched is dropped.
func (r *rows) Close() error {
	if r.s == nil {
		return nil
	}
	s := r.s
	r.s = nil
	// One that was left in the middle is not used again: some drivers go on where it was
	// left. SQLCloseCursor fails where fetching has ended the cursor already.
	if !r.done {
		s.free()
		return nil
	}
	api.SQLCloseCursor(s.h)
	s.release()
	return nil
}
