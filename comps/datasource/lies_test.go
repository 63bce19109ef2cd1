//go:build cgo

package datasource_test

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"fmt"
	"sync/atomic"
	"testing"

	"virtualservicesinc.com/comps/datasource"
	"virtualservicesinc.com/comps/datasource/odbc/odbctest"
)

// liar is a driver that calls some COMMITs successful which are none, as psqlodbc does with
// that of a connection which it has lost unnoticed.
type liar struct {
	sqldriver.Connector
	lies *atomic.Int64 // how many COMMITs are still to be lied about
}

func (l liar) Connect(ctx context.Context) (sqldriver.Conn, error) {
	c, err := l.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return liarConn{c.(conn), l.lies}, nil
}

// conn is what a connection of package odbc offers.
type conn interface {
	sqldriver.Conn
	sqldriver.QueryerContext
	sqldriver.ExecerContext
	sqldriver.ConnBeginTx
	sqldriver.NamedValueChecker
	sqldriver.Validator
	sqldriver.SessionResetter
}

type liarConn struct {
	conn
	lies *atomic.Int64
}

func (c liarConn) BeginTx(ctx context.Context, o sqldriver.TxOptions) (sqldriver.Tx, error) {
	tx, err := c.conn.BeginTx(ctx, o)
	return liarTx{tx, c.lies}, err
}

type liarTx struct {
	sqldriver.Tx
	lies *atomic.Int64
}

func (t liarTx) Commit() error {
	if t.lies.Add(-1) >= 0 {
		return t.Rollback()
	}
	return t.Tx.Commit()
}

// lies: no driver is believed that a COMMIT was one. What is told as done is there, and
// what is told as failed can never come to be.
func lies(t *testing.T, s *odbctest.Server, db *sql.DB) {
	ctx := context.Background()
	exec(t, db, "CREATE TABLE lied (id INTEGER NOT NULL PRIMARY KEY)")
	c := config(s, s.Connection)
	var left atomic.Int64
	c.Connector = liar{c.Connector, &left}
	id := datasource.Field{Name: "id", Type: datasource.TypeInteger}
	c.Statements = []datasource.Statement{{Name: "lied", SQL: "INSERT INTO lied (id) VALUES (?)", Parameters: []datasource.Field{id}, Rows: 1}}
	src := source(t, c)
	next := 1100
	for _, test := range []struct {
		name    string
		lies    int64 // about so many COMMITs in a row
		size    int
		doubt   bool // it comes as one in doubt
		done    bool // it was done before
		refused bool // the row's key is another's
		want    datasource.Class
	}{
		{name: "first attempt, once", lies: 1, size: 1, want: datasource.Done},
		{name: "first attempt, always", lies: 9, size: 1, want: datasource.Retry},
		{name: "batch, once", lies: 1, size: 3, want: datasource.Done},
		{name: "batch, always", lies: 99, size: 3, want: datasource.Retry},
		{name: "in doubt, the raising", lies: 1, size: 1, doubt: true, want: datasource.Retry},
		{name: "in doubt, always", lies: 9, size: 1, doubt: true, want: datasource.Retry},
		{name: "in doubt and done, the confirming", lies: 2, size: 1, doubt: true, done: true, want: datasource.Retry},
		{name: "refused, the raising", lies: 2, size: 1, refused: true, want: datasource.Retry},
	} {
		var list []datasource.Effect
		for range test.size {
			next++
			list = append(list, effect(next, "lied", integer("id", next)))
		}
		if test.refused {
			exec(t, db, "INSERT INTO lied (id) VALUES (?)", int64(next))
		}
		if test.done {
			want(t, test.name, src.Do(ctx, list[0]), datasource.Done, "")
		}
		for i := range list {
			list[i].InDoubt = test.doubt
		}
		left.Store(test.lies)
		outcomes := src.DoAll(ctx, list)
		left.Store(0)
		for i, o := range outcomes {
			want(t, fmt.Sprintf("%s, effect %d", test.name, i), o, test.want, "")
			rows := count(t, db, "SELECT COUNT(*) FROM lied WHERE id = ?", int64(next-test.size+1+i))
			if there := rows == 1; there != (o.Class == datasource.Done || test.done || test.refused) {
				t.Errorf("%s, effect %d: %v, and %d rows", test.name, i, o.Class, rows)
			}
		}
	}
}
