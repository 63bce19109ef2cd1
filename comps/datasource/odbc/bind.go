//go:build cgo

package odbc

import (
	"database/sql/driver"
	"fmt"
	"strings"
	"time"
	"unicode/utf16"
	"unsafe"

	"github.com/alexbrainman/odbc/api"

	"virtualservicesinc.com/comps/datasource/sqlvalue"
)

// Above these lengths a parameter is bound as a long one; they are the limits of
// databases whose ordinary text ends there.
const (
	longText   = 4000 // UTF-16 units
	longBinary = 8000 // bytes
)

// parameter is what SQLBindParameter is told.
type parameter struct {
	ctype, sqltype api.SQLSMALLINT
	size           api.SQLULEN
	digits         api.SQLSMALLINT
	data           unsafe.Pointer
	bytes          api.SQLLEN
}

// bind binds a value to parameter i. The value is copied; the copy is pinned until it
// has been executed.
func (s *stmt) bind(i int, v driver.Value) error {
	p, err := s.parameter(v)
	if err != nil {
		return err
	}
	s.lens[i] = p.bytes
	s.pins.Pin(&s.lens[i])
	ret := api.SQLBindParameter(s.h, api.SQLUSMALLINT(i+1), api.SQL_PARAM_INPUT, p.ctype, p.sqltype, p.size, p.digits,
		api.SQLPOINTER(p.data), max(p.bytes, 0), &s.lens[i])
	if failed(ret) {
		return s.diagnose("SQLBindParameter")
	}
	return nil
}

func (s *stmt) parameter(v driver.Value) (parameter, error) {
	switch v := v.(type) {
	case nil:
		return parameter{ctype: api.SQL_C_WCHAR, sqltype: api.SQL_WVARCHAR, size: 1, bytes: api.SQL_NULL_DATA}, nil
	case bool:
		b := new(byte)
		if v {
			*b = 1
		}
		s.pins.Pin(b)
		return parameter{ctype: api.SQL_C_BIT, sqltype: api.SQL_BIT, size: 1, data: unsafe.Pointer(b), bytes: 1}, nil
	case int64:
		n := new(int64)
		*n = v
		s.pins.Pin(n)
		return parameter{ctype: api.SQL_C_SBIGINT, sqltype: api.SQL_BIGINT, size: 19, data: unsafe.Pointer(n), bytes: 8}, nil
	case float64:
		f := new(float64)
		*f = v
		s.pins.Pin(f)
		return parameter{ctype: api.SQL_C_DOUBLE, sqltype: api.SQL_DOUBLE, size: 15, data: unsafe.Pointer(f), bytes: 8}, nil
	case sqlvalue.Decimal:
		// With SQL_DECIMAL some drivers calculate; as text every database converts by
		// itself, without loss.
		b := append([]byte(v), 0)
		s.pins.Pin(&b[0])
		whole, fraction, _ := strings.Cut(strings.TrimLeft(string(v), "+-"), ".")
		return parameter{ctype: api.SQL_C_CHAR, sqltype: api.SQL_DECIMAL, size: api.SQLULEN(len(whole) + len(fraction)),
			digits: api.SQLSMALLINT(len(fraction)), data: unsafe.Pointer(&b[0]), bytes: api.SQLLEN(len(v))}, nil
	case string:
		b := append(utf16.Encode([]rune(v)), 0)
		s.pins.Pin(&b[0])
		n := len(b) - 1
		p := parameter{ctype: api.SQL_C_WCHAR, sqltype: api.SQL_WVARCHAR, size: api.SQLULEN(max(n, 1)), data: unsafe.Pointer(&b[0]), bytes: api.SQLLEN(2 * n)}
		if n >= longText {
			p.sqltype = api.SQL_WLONGVARCHAR
		}
		return p, nil
	case []byte:
		b := append(make([]byte, 0, len(v)+1), v...)[:len(v)+1] // never empty: it needs an address
		s.pins.Pin(&b[0])
		p := parameter{ctype: api.SQL_C_BINARY, sqltype: api.SQL_VARBINARY, size: api.SQLULEN(max(len(v), 1)), data: unsafe.Pointer(&b[0]), bytes: api.SQLLEN(len(v))}
		if len(v) >= longBinary {
			p.sqltype = api.SQL_LONGVARBINARY
		}
		return p, nil
	case sqlvalue.Date:
		d := &api.SQL_DATE_STRUCT{Year: api.SQLSMALLINT(v.Year), Month: api.SQLUSMALLINT(v.Month), Day: api.SQLUSMALLINT(v.Day)}
		s.pins.Pin(d)
		return parameter{ctype: api.SQL_C_DATE, sqltype: api.SQL_TYPE_DATE, size: 10, data: unsafe.Pointer(d), bytes: api.SQLLEN(unsafe.Sizeof(*d))}, nil
	case time.Time:
		// As text, which drivers hand on as it is: of the fraction in the C structure some
		// keep three digits.
		b := append([]byte(v.UTC().Format(timestampForm)), 0)
		s.pins.Pin(&b[0])
		n := len(b) - 1
		return parameter{ctype: api.SQL_C_CHAR, sqltype: api.SQL_TYPE_TIMESTAMP, size: api.SQLULEN(n), digits: api.SQLSMALLINT(max(n-20, 0)),
			data: unsafe.Pointer(&b[0]), bytes: api.SQLLEN(n)}, nil
	}
	return parameter{}, fmt.Errorf("odbc: a value of type %T cannot be a parameter", v)
}
