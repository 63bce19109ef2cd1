//go:build cgo

package odbc

import (
	"fmt"
	"strings"
)

// MaxValueBytes bounds one value in memory: what a message can carry, with room.
const MaxValueBytes = 16 << 20

// Diagnostic is one record of what unixODBC or a driver says of an error.
type Diagnostic struct {
	State   string // the SQLSTATE, five characters
	Native  int    // the database's own number
	Message string
}

// Error is what a call to unixODBC answered.
type Error struct {
	Call        string // such as "SQLExecute"
	Diagnostics []Diagnostic
}

// Error returns the call and every diagnostic on one line.
func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString("odbc: " + e.Call)
	if len(e.Diagnostics) == 0 {
		b.WriteString(": failed, and the driver does not say why")
	}
	for i, d := range e.Diagnostics {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		fmt.Fprintf(&b, "%s%s (%s, %d)", sep, strings.Join(strings.Fields(d.Message), " "), d.State, d.Native)
	}
	return b.String()
}

// SQLState returns the first SQLSTATE, or "HY000", a general error, when there is none.
func (e *Error) SQLState() string {
	if len(e.Diagnostics) == 0 || len(e.Diagnostics[0].State) != 5 {
		return "HY000"
	}
	return e.Diagnostics[0].State
}

// NativeError returns the database's own number of the first diagnostic, 0 without one.
func (e *Error) NativeError() int {
	if len(e.Diagnostics) == 0 {
		return 0
	}
	return e.Diagnostics[0].Native
}
