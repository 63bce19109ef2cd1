// Package odbc is a database/sql driver over unixODBC, for any ODBC data source.
//
//	db := sql.OpenDB(odbc.Connector{Connection: "Driver=…;Database=…"})
//
// The calls to unixODBC are those of github.com/alexbrainman/odbc/api. The driver that
// stands above them there is not used: it reads decimals into floating-point numbers,
// cannot cancel a write, prepares a statement anew for each execution, and hides the
// SQLSTATE of a lost connection.
//
// What it promises, with every ODBC driver:
//
//   - A decimal comes and goes as its digits (sqlvalue.Decimal), text as UTF-16, a timestamp
//     with up to nine digits of a second and without a zone: what a time.Time says in
//     UTC is what stands in the database.
//   - No value is longer than MaxValueBytes in memory; a longer one is an *Error.
//   - A statement is cancelled when its context ends. A call that the ODBC driver does
//     not give back even then blocks its goroutine; who cannot wait for that calls
//     from a goroutine of its own and leaves the connection to its fate.
//   - A commit is not cancelled: an error of it means that its outcome is unknown.
//   - Errors are *Error and have a SQLSTATE. Nothing is tried twice.
//
// It needs cgo and unixODBC's headers; without cgo the package is empty.
package odbc
