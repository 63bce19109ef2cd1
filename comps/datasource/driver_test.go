//go:build cgo

package datasource_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/comps/datasource/odbc"
	"virtualservicesinc.com/comps/datasource/odbc/odbctest"
	"virtualservicesinc.com/comps/datasource/sqlvalue"
)

// executor is a pool or a transaction.
type executor interface {
	Exec(query string, args ...any) (sql.Result, error)
}

func exec(t *testing.T, db executor, text string, args ...any) {
	t.Helper()
	if _, err := db.Exec(text, args...); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
}

// driver looks at package odbc alone.
func driver(t *testing.T, s *odbctest.Server, db *sql.DB) {
	t.Run("types", func(t *testing.T) { types(t, s, db) })
	t.Run("transactions", func(t *testing.T) { transactions(t, db) })
	t.Run("cancel", func(t *testing.T) { cancel(t, db) })
}

// types sends one value of each kind through a table and looks at what comes back.
func types(t *testing.T, s *odbctest.Server, db *sql.DB) {
	long := strings.Repeat("Grüße, 世界 😀 ", 60000)
	blob := bytes.Repeat([]byte{0, 1, 2, 254, 255}, 300000)
	for i, c := range []struct {
		kind string
		v    any
		want any // what comes back, if not v
	}{
		{"BIGINT", int64(-1 << 62), sqlvalue.Decimal("-4611686018427387904")},
		{"INTEGER", int64(-5), nil},
		{s.Types.Decimal, sqlvalue.Decimal("1234567890123456789012345678.0123456789"), nil},
		{s.Types.Double, 0.1, nil},
		{"VARCHAR(100)", "", nil},
		{"VARCHAR(100)", "Grüße, 世界 😀'; DROP TABLE v--", nil},
		{s.Types.LongText, long, nil},
		{s.Types.Binary, []byte{}, nil},
		{s.Types.Binary, []byte{0, 255, 39, 92}, nil},
		{s.Types.Binary, blob, nil},
		{"DATE", sqlvalue.Date{Year: 2026, Month: 2, Day: 28}, nil},
		{s.Types.Timestamp, time.Date(2026, 11, 27, 23, 59, 59, 123456000, time.UTC), nil},
		{"TIME", "23:59:58", nil},
		{"VARCHAR(100)", nil, nil},
		{"INTEGER", nil, nil},
		{s.Types.Timestamp, nil, nil},
		{s.Types.Binary, nil, nil},
	} {
		exec(t, db, fmt.Sprintf("CREATE TABLE v%d (v %s)", i, c.kind))
		exec(t, db, fmt.Sprintf("INSERT INTO v%d (v) VALUES (?)", i), c.v)
		var got any
		if err := db.QueryRow(fmt.Sprintf("SELECT v FROM v%d", i)).Scan(&got); err != nil {
			t.Errorf("%s: %v", c.kind, err)
			continue
		}
		want := c.want
		if want == nil {
			want = c.v
		}
		if b, ok := want.([]byte); ok {
			if g, ok := got.([]byte); !ok || !bytes.Equal(b, g) {
				t.Errorf("%s of %d bytes came back as %T, other bytes", c.kind, len(b), got)
			}
			continue
		}
		if d, ok := want.(sqlvalue.Decimal); ok && c.kind == s.Types.LongText {
			want = string(d) // the database has no decimals, and was given text
		}
		if got != want {
			t.Errorf("%s: %.80v (%T) came back as %.80v (%T)", c.kind, want, want, got, got)
		}
	}
}

// transactions: what is rolled back is gone, what is committed is there, and an
// error has its SQLSTATE.
func transactions(t *testing.T, db *sql.DB) {
	exec(t, db, "CREATE TABLE p (k INTEGER NOT NULL PRIMARY KEY)")
	for i, commit := range []bool{true, false, true} {
		tx, err := db.Begin()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("INSERT INTO p (k) VALUES (?)", int64(i)); err != nil {
			t.Fatal(err)
		}
		end := tx.Rollback
		if commit {
			end = tx.Commit
		}
		if err := end(); err != nil {
			t.Fatal(err)
		}
	}
	r, err := db.Exec("UPDATE p SET k = k + 10 WHERE k < ?", int64(5))
	if err != nil {
		t.Fatal(err)
	}
	if n, _ := r.RowsAffected(); n != 2 {
		t.Errorf("%d rows were there, committed were 2", n)
	}
	_, err = db.Exec("INSERT INTO p (k) VALUES (?)", int64(12))
	var e *odbc.Error
	if !errors.As(err, &e) {
		t.Fatalf("a key twice: %v", err)
	}
	t.Logf("a key twice: %v", err)
	_, err = db.Exec("INSERT INTO nowhere (k) VALUES (?)", int64(12))
	if !errors.As(err, &e) {
		t.Fatalf("no table: %v", err)
	}
	t.Logf("no table: %v", err)
}

// cancel: a statement that waits for a lock ends soon after its context.
func cancel(t *testing.T, db *sql.DB) {
	exec(t, db, "CREATE TABLE l (k INTEGER NOT NULL PRIMARY KEY, v INTEGER)")
	exec(t, db, "INSERT INTO l (k, v) VALUES (1, 1)")
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.Exec("UPDATE l SET v = 2 WHERE k = 1"); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer stop()
	began := time.Now()
	_, err = db.ExecContext(ctx, "UPDATE l SET v = 3 WHERE k = 1")
	took := time.Since(began)
	t.Logf("after %v: %v", took, err)
	if err == nil {
		t.Error("the lock was not waited for")
	}
}
