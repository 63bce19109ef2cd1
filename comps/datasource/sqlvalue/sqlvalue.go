// Package sqlvalue has the values that database/sql has no types for, and that go to a
// database and come from it without loss through package odbc. It is apart from that
// package, which needs cgo.
package sqlvalue

import (
	"fmt"
	"time"
)

// Decimal is a number as its digits, such as "-12.30". It goes to the database and
// comes from it without a floating-point number in between.
type Decimal string

// Date is a day without a time and without a zone.
type Date struct {
	Year  int
	Month time.Month
	Day   int
}

// String returns the date as 2026-11-27.
func (d Date) String() string { return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day) }
