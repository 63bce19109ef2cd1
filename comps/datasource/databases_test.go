//go:build cgo

package datasource_test

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/comps/datasource"
	"virtualservicesinc.com/comps/datasource/odbc"
	"virtualservicesinc.com/comps/datasource/odbc/odbctest"
)

// statements are those of the tests; the table is
// orders (id, note, amount, at, data).
func statements() []datasource.Statement {
	id := datasource.Field{Name: "id", Type: datasource.TypeInteger}
	note := datasource.Field{Name: "note", Type: datasource.TypeText, Size: 200}
	amount := datasource.Field{Name: "amount", Type: datasource.TypeDecimal, Size: 38, Scale: 10, Nullable: true}
	at := datasource.Field{Name: "at", Type: datasource.TypeTimestamp, Digits: 6, Nullable: true}
	data := datasource.Field{Name: "data", Type: datasource.TypeBytes, Size: 4 << 20, Nullable: true}
	return []datasource.Statement{
		{Name: "add", SQL: "INSERT INTO orders (id, note) VALUES (?, ?)", Parameters: []datasource.Field{id, note}, Rows: 1},
		{Name: "add-full", SQL: "INSERT INTO orders (id, note, amount, at, data) VALUES (?, ?, ?, ?, ?)", Parameters: []datasource.Field{id, note, amount, at, data}, Rows: 1},
		{Name: "count", SQL: "INSERT INTO counted (id, note) VALUES (?, ?)", Parameters: []datasource.Field{id, note}, Rows: 1},
		{Name: "rename", SQL: "UPDATE orders SET note = ? WHERE id = ?", Parameters: []datasource.Field{note, id}, Rows: 1},
		{Name: "rename-two", SQL: "UPDATE orders SET note = ? WHERE id IN (?, ?)", Parameters: []datasource.Field{note, id, {Name: "other", Type: datasource.TypeInteger}}, Rows: 2},
		{Name: "loose", SQL: "INSERT INTO loose (id) VALUES (?)", Parameters: []datasource.Field{id}, Rows: 1},
		{Name: "nowhere", SQL: "INSERT INTO nowhere (id) VALUES (?)", Parameters: []datasource.Field{id}, Rows: 1},
		{Name: "all", SQL: "SELECT id, note, amount, at, data FROM orders WHERE id >= ? ORDER BY id", Parameters: []datasource.Field{id}, Columns: []datasource.Field{id, note, amount, at, data}},
		{Name: "many", SQL: "SELECT a.id, b.note FROM orders a, orders b, orders c WHERE a.id < 40 AND b.id < 40 AND c.id < 40", Columns: []datasource.Field{id, note}},
	}
}

// connection completes a connection string.
func connection(s *odbctest.Server, text string) string {
	if s.User == "" {
		return text
	}
	return text + ";UID=" + s.User + ";PWD={" + strings.ReplaceAll(odbctest.Password, "}", "}}") + "}"
}

// config is a source of the test's server, by way of a connection string.
func config(s *odbctest.Server, text string) datasource.Config {
	c := datasource.Config{
		Name: s.Name, Connector: odbc.Connector{Connection: connection(s, text), Startup: s.Startup},
		Statements: statements(), NonTransactional: s.NonTransactional, Timeout: 5 * time.Second, ConnectTimeout: 5 * time.Second, Connections: 4,
	}
	if s.NonTransactional == "none" {
		c.NonTransactional = ""
	}
	if s.Name == "sqlite" {
		c.Connections, c.FailOn = 1, []string{"HY000/19"}
	}
	return c
}

func source(t *testing.T, c datasource.Config) *datasource.Source {
	t.Helper()
	src, err := datasource.New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(src.Close)
	return src
}

// prepare makes the tables and returns a pool for looking at them.
func prepare(t *testing.T, s *odbctest.Server, c datasource.Config) *sql.DB {
	t.Helper()
	db := sql.OpenDB(c.Connector)
	t.Cleanup(func() { db.Close() })
	db.SetMaxIdleConns(0) // a file is locked by who has it open
	if _, err := db.Exec(fmt.Sprintf("CREATE TABLE orders (id INTEGER NOT NULL PRIMARY KEY, note VARCHAR(200) NOT NULL, amount %s, at %s, data %s)", s.Types.Decimal, s.Types.Timestamp, s.Types.Binary)); err != nil {
		t.Fatal(err)
	}
	return db
}

func effect(n int, statement string, args ...datasource.Argument) datasource.Effect {
	return datasource.Effect{Cluster: [16]byte{1}, Transaction: [16]byte{byte(n >> 16), byte(n >> 8), byte(n)}, Ordinal: 1, Statement: statement, Arguments: args, Fence: 1<<32 + 1}
}

func integer(name string, n int) datasource.Argument {
	return datasource.Argument{Name: name, Value: datasource.Value{Kind: datasource.Integer, Data: []byte(strconv.Itoa(n))}}
}

func text(name, s string) datasource.Argument {
	return datasource.Argument{Name: name, Value: datasource.Value{Kind: datasource.Text, Data: []byte(s)}}
}

// count returns what one number the query answers.
func count(t *testing.T, db *sql.DB, query string, args ...any) int {
	t.Helper()
	var n string
	if err := db.QueryRow(query, args...).Scan(&n); err != nil {
		t.Fatal(err)
	}
	out, err := strconv.Atoi(n)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// want holds an outcome against what it should be.
func want(t *testing.T, what string, o datasource.Outcome, class datasource.Class, message string) {
	t.Helper()
	if o.Class != class || message != "" && (o.Err == nil || !strings.Contains(o.Err.Error(), message)) {
		t.Errorf("%s: %v: %v; want %v with %q", what, o.Class, o.Err, class, message)
	}
}

func TestDatabases(t *testing.T) {
	odbctest.Each(t, false, func(t *testing.T, s *odbctest.Server) {
		c := config(s, s.Connection)
		db := prepare(t, s, c)
		src := source(t, c)
		ctx := context.Background()
		if err := src.Check(ctx); err == nil || !strings.Contains(err.Error(), "run rrts datasource init") {
			t.Errorf("before init: %v", err)
		}
		for i, made := range []bool{true, false} {
			if got, err := src.Init(ctx); err != nil || got != made {
				t.Fatalf("init %d: %v, %v", i, got, err)
			}
		}
		if err := src.Check(ctx); err != nil {
			t.Fatal(err)
		}
		t.Run("driver", func(t *testing.T) { driver(t, s, db) })
		t.Run("writes", func(t *testing.T) { writes(t, src, db) })
		t.Run("together", func(t *testing.T) { together(t, src, db) })
		t.Run("hostile", func(t *testing.T) { hostile(t, src, db) })
		t.Run("values", func(t *testing.T) { values(t, src) })
		t.Run("lies", func(t *testing.T) { lies(t, s, db) })
		t.Run("prune", func(t *testing.T) { prune(t, src, db) })
		t.Run("fences", func(t *testing.T) { fences(t, src, db) })
		if s.Name == "mariadb" {
			t.Run("rollback", func(t *testing.T) { rollback(t, c, db) })
			t.Run("encodings", func(t *testing.T) { encodings(t, c, db) })
		}
		if s.Port != 0 {
			t.Run("deadlock", func(t *testing.T) { deadlock(t, s, src, db) })
			t.Run("every message", func(t *testing.T) { everyMessage(t, s, db) })
			t.Run("lost answer", func(t *testing.T) { lostAnswer(t, s, db) })
			t.Run("hangs and refuses", func(t *testing.T) { hangs(t, s, src, db) })
		}
		t.Run("stream", func(t *testing.T) { stream(t, src) })
		t.Run("kills", func(t *testing.T) { kills(t, s, db) })
	})
}

// writes: an effect is done once however often it comes, and a refusal is one.
func writes(t *testing.T, src *datasource.Source, db *sql.DB) {
	ctx := context.Background()
	evil := "Robert'); DROP TABLE orders; --"
	first := effect(1, "add", integer("id", 1), text("note", evil))
	want(t, "first", src.Do(ctx, first), datasource.Done, "")
	want(t, "again", src.Do(ctx, first), datasource.Done, "")
	first.InDoubt = true
	want(t, "in doubt", src.Do(ctx, first), datasource.Done, "")
	if n := count(t, db, "SELECT COUNT(*) FROM orders WHERE note = ?", evil); n != 1 {
		t.Errorf("%d rows", n)
	}
	fresh := effect(2, "add", integer("id", 2), text("note", ""))
	fresh.InDoubt = true
	want(t, "in doubt and not done", src.Do(ctx, fresh), datasource.Done, "")
	want(t, "a key twice", src.Do(ctx, effect(3, "add", integer("id", 1), text("note", "x"))), datasource.Failed, "statement add of data source")
	want(t, "no such row", src.Do(ctx, effect(4, "rename", integer("id", 99), text("note", "x"))), datasource.Failed, "changes 0 rows, declared are 1")
	want(t, "no statement", src.Do(ctx, effect(5, "drop")), datasource.Misconfigured, `has no statement "drop"`)
	want(t, "a read", src.Do(ctx, effect(6, "all", integer("id", 1))), datasource.Misconfigured, "an effect cannot be one")
	want(t, "too long", src.Do(ctx, effect(7, "add", integer("id", 7), text("note", strings.Repeat("x", 201)))), datasource.Failed, "parameter note is 201 characters long")
	if n := count(t, db, "SELECT COUNT(*) FROM orders"); n != 2 {
		t.Errorf("%d rows are there, of two effects", n)
	}
	if n := count(t, db, "SELECT COUNT(*) FROM rrts_effect WHERE done = 1"); n != 2 {
		t.Errorf("%d effects are done, two are", n)
	}
}

// hostile: what holds SQL is stored as it stands; what does not fit is refused by the name
// of its parameter, and changes nothing.
func hostile(t *testing.T, src *datasource.Source, db *sql.DB) {
	ctx := context.Background()
	before := count(t, db, "SELECT COUNT(*) FROM orders")
	stored := []string{"'; DROP TABLE orders; --", `"; DROP TABLE orders; --`, "x' OR '1'='1", "\\'; DELETE FROM orders; --", "?", "? ?", "$1", ":name", "%s%n", "{call x}", "{fn now()}",
		"/* */ -- #", "a;b", "\u2028'\u2029", "'' ''", "0x27", "\xC2\xA0'", "line\r\nbreak\ttab"}
	for i, s := range stored {
		id := 900 + i
		want(t, s, src.Do(ctx, effect(id, "add", integer("id", id), text("note", s))), datasource.Done, "")
		if n := count(t, db, "SELECT COUNT(*) FROM orders WHERE id = ? AND note = ?", int64(id), s); n != 1 {
			t.Errorf("%q did not come to be as it stands", s)
		}
	}
	for i, x := range []struct {
		name  string
		value datasource.Argument
		says  string
	}{
		{"10 MB", text("note", strings.Repeat("x", 10<<20)), "parameter note is 10485760 bytes long"},
		{"broken UTF-8", text("note", "Gr\xfc\xdfe"), "parameter note is not valid UTF-8"},
		{"a zero byte", text("note", "a\x00'; DROP TABLE orders; --"), "parameter note holds a zero byte"},
		{"a number", integer("note", 1), "parameter note is an integer"},
		{"another name", text("note; DROP TABLE orders", "x"), "parameter note is missing"},
	} {
		id := 950 + i
		want(t, x.name, src.Do(ctx, effect(id, "add", integer("id", id), x.value)), datasource.Failed, x.says)
	}
	bad := datasource.Argument{Name: "id", Value: datasource.Value{Kind: datasource.Integer, Data: []byte("1; DROP TABLE orders")}}
	want(t, "SQL for a number", src.Do(ctx, effect(960, "add", bad, text("note", "x"))), datasource.Failed, "parameter id is not an integer")
	if n := count(t, db, "SELECT COUNT(*) FROM orders"); n != before+len(stored) {
		t.Errorf("%d rows, %d are right", n, before+len(stored))
	}
	exec(t, db, "DELETE FROM orders WHERE id >= 900 AND id < 961")
}

// together: a batch is done, in which one has been done, one cannot be, and one is in
// doubt.
func together(t *testing.T, src *datasource.Source, db *sql.DB) {
	var list []datasource.Effect
	for i := range 6 {
		list = append(list, effect(50+i, "add", integer("id", 50+i), text("note", "batch")))
	}
	want(t, "before", src.Do(context.Background(), list[1]), datasource.Done, "")
	list[2] = effect(52, "add", integer("id", 50), text("note", "a key twice"))
	list[3].InDoubt = true
	for again := range 2 {
		for i, o := range src.DoAll(context.Background(), list) {
			class := datasource.Done
			if i == 2 {
				class = datasource.Failed
			}
			want(t, fmt.Sprintf("batch %d, effect %d", again, i), o, class, "")
		}
	}
	for _, o := range src.DoAll(context.Background(), []datasource.Effect{effect(56, "add", integer("id", 56), text("note", "batch")), effect(57, "add", integer("id", 57), text("note", "batch"))}) {
		want(t, "batch of two", o, datasource.Done, "")
	}
	if n := count(t, db, "SELECT COUNT(*) FROM orders WHERE note = 'batch'"); n != 7 {
		t.Errorf("%d rows of 7 effects", n)
	}
}

// values: what an effect writes a read answers, to the last digit.
func values(t *testing.T, src *datasource.Source) {
	ctx := context.Background()
	for i, row := range [][4]datasource.Value{
		{{Kind: datasource.Text, Data: []byte("Ünïcödé 世界 😀")}, {Kind: datasource.Decimal, Data: []byte("-1234567890123456789012345678.0123456789")},
			{Kind: datasource.Time, Data: []byte("2026-01-31T11:00:00.123456Z")}, {Kind: datasource.Bytes, Data: bytes.Repeat([]byte{0, 39, 255}, 700000)}},
		{{Kind: datasource.Text, Data: []byte("")}, {Kind: datasource.Null}, {Kind: datasource.Null}, {Kind: datasource.Null}},
	} {
		id := 100 + i
		args := []datasource.Argument{integer("id", id)}
		for k, name := range []string{"note", "amount", "at", "data"} {
			args = append(args, datasource.Argument{Name: name, Value: row[k]})
		}
		want(t, "write", src.Do(ctx, effect(id, "add-full", args...)), datasource.Done, "")
		c, err := src.Query(ctx, "all", []datasource.Argument{integer("id", id)})
		if err != nil {
			t.Fatal(err)
		}
		page, _, err := c.Next(ctx, 1)
		if err != nil || len(page) != 1 {
			t.Fatalf("%d rows, %v", len(page), err)
		}
		c.Close()
		for k, v := range page[0][1:] {
			if v.Kind != row[k].Kind || !bytes.Equal(v.Data, row[k].Data) {
				t.Errorf("column %d: %v %.60q came back as %v %.60q", k+1, row[k].Kind, row[k].Data, v.Kind, v.Data)
			}
		}
	}
	if _, err := src.Query(ctx, "add", nil); err == nil || !strings.Contains(err.Error(), "a transaction has to owe it as an effect") {
		t.Errorf("a write by a query: %v", err)
	}
}

// fences: who holds an older fence does nothing any more, and a row that keeps older
// attempts out lets the newer ones in.
func fences(t *testing.T, src *datasource.Source, db *sql.DB) {
	ctx := context.Background()
	e := effect(200, "add", integer("id", 200), text("note", "x"))
	newer, other := e, effect(200, "nowhere", integer("id", 200))
	newer.Fence++
	newer.InDoubt, other.InDoubt, other.Fence = true, true, newer.Fence
	o := src.Do(ctx, other) // raises the row and fails
	if o.Class == datasource.Done || o.Err == nil {
		t.Fatalf("a table that is not there: %v", o.Class)
	}
	want(t, "older, first attempt", src.Do(ctx, e), datasource.Retry, "another SFU has taken the effect")
	e.InDoubt = true
	want(t, "older, in doubt", src.Do(ctx, e), datasource.Retry, "another SFU has taken the effect")
	if n := count(t, db, "SELECT COUNT(*) FROM orders WHERE id = 200"); n != 0 {
		t.Errorf("%d rows by an older fence", n)
	}
	want(t, "the holder", src.Do(ctx, newer), datasource.Done, "")
	want(t, "older, after it was done", src.Do(ctx, e), datasource.Done, "")
	if n := count(t, db, "SELECT COUNT(*) FROM orders WHERE id = 200"); n != 1 {
		t.Errorf("%d rows", n)
	}
}

// prune: old rows go some at a time, and newer ones stay.
func prune(t *testing.T, src *datasource.Source, db *sql.DB) {
	ctx := context.Background()
	before := time.Unix(2000, 0)
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1203 {
		exec(t, tx, "INSERT INTO rrts_effect (effect, fence, token, done, affected, stamp) VALUES (?, 1, 1, ?, 1, ?)", fmt.Sprintf("old-%d", i), int64(i%2), int64(1000+i%2*999))
	}
	for i := range 10 {
		exec(t, tx, "INSERT INTO rrts_effect (effect, fence, token, done, affected, stamp) VALUES (?, 1, 1, 1, 1, ?)", fmt.Sprintf("new-%d", i), int64(2000+i))
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	kept := count(t, db, "SELECT COUNT(*) FROM rrts_effect") - 1203
	for i, want := range []int{500, 500, 203, 0} {
		rows, more, err := src.Prune(ctx, before)
		if err != nil || rows != want || more != (i < 2) {
			t.Errorf("call %d: %d rows were removed, more: %v, %v; want %d", i, rows, more, err, want)
		}
	}
	if n := count(t, db, "SELECT COUNT(*) FROM rrts_effect"); n != kept {
		t.Errorf("%d rows are left of %d", n, kept)
	}
	exec(t, db, "DELETE FROM rrts_effect WHERE effect LIKE 'new-%'")
}

// rollback: a table that cannot be rolled back is refused, one of ours, too.
func rollback(t *testing.T, c datasource.Config, db *sql.DB) {
	ctx := context.Background()
	if _, err := db.Exec("CREATE TABLE loose (id INTEGER) ENGINE=MyISAM"); err != nil {
		t.Fatal(err)
	}
	src := source(t, c)
	want(t, "MyISAM", src.Do(ctx, effect(300, "loose", integer("id", 1))), datasource.Misconfigured, "names the table loose, which cannot be rolled back")
	if n := count(t, db, "SELECT COUNT(*) FROM loose"); n != 0 {
		t.Errorf("%d rows were written", n)
	}
	if err := src.Check(ctx); err == nil || !strings.Contains(err.Error(), "names the table loose") {
		t.Errorf("health: %v", err)
	}
	for _, engine := range []string{"MyISAM", "InnoDB"} {
		if _, err := db.Exec("ALTER TABLE rrts_effect ENGINE=" + engine); err != nil {
			t.Fatal(err)
		}
		if _, err := src.Init(ctx); (err == nil) != (engine == "InnoDB") || err != nil && !strings.Contains(err.Error(), "cannot be rolled back") {
			t.Errorf("init with %s: %v", engine, err)
		}
	}
	if _, err := db.Exec("DROP TABLE loose"); err != nil {
		t.Fatal(err)
	}
}

// encodings: text goes through the database's own encodings, or is refused; no
// character is replaced by another.
func encodings(t *testing.T, c datasource.Config, db *sql.DB) {
	ctx := context.Background()
	note := datasource.Field{Name: "note", Type: datasource.TypeText}
	c.Statements = nil
	for _, charset := range []string{"latin1", "sjis", "utf16", "utf8mb4", "koi8r"} {
		if _, err := db.Exec(fmt.Sprintf("CREATE TABLE e_%s (note VARCHAR(100) CHARACTER SET %[1]s)", charset)); err != nil {
			t.Fatal(err)
		}
		c.Statements = append(c.Statements,
			datasource.Statement{Name: "add-" + charset, SQL: "INSERT INTO e_" + charset + " (note) VALUES (?)", Parameters: []datasource.Field{note}, Rows: 1},
			datasource.Statement{Name: "get-" + charset, SQL: "SELECT note FROM e_" + charset, Columns: []datasource.Field{note}})
	}
	src := source(t, c)
	for i, x := range []struct {
		charset, text string
		ok            bool
	}{
		{"latin1", "Grüße", true}, {"latin1", "世界", false},
		{"sjis", "日本語テスト", true}, {"sjis", "Grüße 😀", false},
		{"utf16", "世界 😀", true}, {"utf8mb4", "世界 😀", true},
		{"koi8r", "Привет", true}, {"koi8r", "Grüße", false},
	} {
		o := src.Do(ctx, effect(400+i, "add-"+x.charset, text("note", x.text)))
		if !x.ok {
			if o.Class == datasource.Done {
				t.Errorf("%s took %s", x.charset, x.text)
			}
			continue
		}
		want(t, x.charset, o, datasource.Done, "")
		cur, err := src.Query(ctx, "get-"+x.charset, nil)
		if err != nil {
			t.Fatal(err)
		}
		page, _, err := cur.Next(ctx, 1)
		if err != nil || len(page) != 1 || string(page[0][0].Data) != x.text {
			t.Errorf("%s: %s came back as %v, %v", x.charset, x.text, page, err)
		}
		cur.Close()
	}
}

// deadlock: an effect and a transaction of somebody else wait for each other's rows. The
// database ends the effect's, and the effect is done all the same.
func deadlock(t *testing.T, s *odbctest.Server, src *datasource.Source, db *sql.DB) {
	ctx := context.Background()
	for i := range 2 {
		want(t, "row", src.Do(ctx, effect(500+i, "add", integer("id", 500+i), text("note", "x"))), datasource.Done, "")
	}
	tx, err := db.Begin()
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if s.Patient != "" {
		exec(t, tx, s.Patient)
	}
	exec(t, tx, "UPDATE orders SET note = 'mine' WHERE id = 501")
	for i := range 20 { // who has changed more is the one that goes on
		exec(t, tx, "INSERT INTO orders (id, note) VALUES (?, 'mine')", int64(510+i))
	}
	done := make(chan datasource.Outcome, 1)
	go func() {
		done <- src.Do(ctx, effect(502, "rename-two", text("note", "theirs"), integer("id", 500), integer("other", 501)))
	}()
	for deadline := time.Now().Add(10 * time.Second); ; { // until the effect has the first row
		if _, err := db.Exec("UPDATE orders SET note = 'x' WHERE id = (SELECT o.id FROM (SELECT id FROM orders WHERE id = 500 FOR UPDATE NOWAIT) o)"); err != nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the effect does not begin")
		}
	}
	exec(t, tx, "UPDATE orders SET note = 'mine' WHERE id = 500")
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	want(t, "deadlock", <-done, datasource.Done, "")
	if n := count(t, db, "SELECT COUNT(*) FROM orders WHERE note = 'theirs'"); n != 2 {
		t.Errorf("%d rows of two were changed", n)
	}
}

// proxy stands before a server. While armed, the next COMMIT reaches the server and its
// answer reaches nobody.
type proxy struct {
	l     net.Listener
	to    int
	armed atomic.Bool
	cut   atomic.Int64
}

func newProxy(t *testing.T, to int) *proxy {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	p := &proxy{l: l, to: to}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go p.serve(c)
		}
	}()
	return p
}

func (p *proxy) serve(c net.Conn) {
	defer c.Close()
	s, err := net.Dial("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(p.to)))
	if err != nil {
		return
	}
	defer s.Close()
	var mute atomic.Bool
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := s.Read(buf)
			if err != nil || mute.Load() { // the answer to COMMIT is there, and is dropped
				c.Close()
				s.Close()
				return
			}
			if _, err := c.Write(buf[:n]); err != nil {
				return
			}
		}
	}()
	buf := make([]byte, 64<<10)
	for {
		n, err := c.Read(buf)
		if err != nil {
			return
		}
		said := bytes.ReplaceAll(bytes.ToUpper(buf[:n]), []byte("AUTOCOMMIT"), nil)
		if bytes.Contains(said, []byte("COMMIT")) && p.armed.CompareAndSwap(true, false) {
			p.cut.Add(1)
			mute.Store(true)
		}
		if _, err := s.Write(buf[:n]); err != nil {
			return
		}
	}
}

// lostAnswer: the connection is lost between COMMIT and its answer. The attempt finds out
// that it was done, and does it no second time.
func lostAnswer(t *testing.T, s *odbctest.Server, db *sql.DB) {
	p := newProxy(t, s.Port)
	src := source(t, config(s, s.Through(p.l.Addr().(*net.TCPAddr).Port)))
	ctx := context.Background()
	for i := range 10 {
		p.armed.Store(true)
		id := 600 + i
		o := src.Do(ctx, effect(id, "add", integer("id", id), text("note", "x")))
		want(t, "answer lost", o, datasource.Done, "")
		if p.armed.Load() {
			t.Fatal("no COMMIT was seen")
		}
	}
	if n := count(t, db, "SELECT COUNT(*) FROM orders WHERE id >= 600 AND id < 610"); n != 10 {
		t.Errorf("%d rows of 10 effects", n)
	}
}

// hangs: while the server does not answer, and while it is gone, an attempt ends in time
// and is in doubt; afterwards the effect is done once.
func hangs(t *testing.T, s *odbctest.Server, _ *datasource.Source, db *sql.DB) {
	c := config(s, s.Connection)
	c.Timeout, c.ConnectTimeout = 300*time.Millisecond, 300*time.Millisecond
	src := source(t, c)
	ctx := context.Background()
	want(t, "before", src.Do(ctx, effect(700, "add", integer("id", 700), text("note", "x"))), datasource.Done, "")
	s.Freeze()
	e := effect(701, "add", integer("id", 701), text("note", "x"))
	began := time.Now()
	want(t, "hangs", src.Do(ctx, e), datasource.Retry, "")
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("it took %v", took)
	}
	if err := src.Check(ctx); err == nil {
		t.Error("a server that hangs is healthy")
	}
	s.Thaw()
	e.InDoubt = true
	again(t, src, e)
	s.Kill()
	e = effect(702, "add", integer("id", 702), text("note", "x"))
	want(t, "gone", src.Do(ctx, e), datasource.Retry, "")
	if err := src.Check(ctx); err == nil {
		t.Error("a server that is gone is healthy")
	}
	s.Start()
	e.InDoubt = true
	again(t, src, e)
	if err := src.Check(ctx); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	if n := count(t, db, "SELECT COUNT(*) FROM orders WHERE id >= 700 AND id < 710"); n != 3 {
		t.Errorf("%d rows of 3 effects", n)
	}
}

// again attempts an effect until it is done, as the outbox does.
func again(t *testing.T, src *datasource.Source, e datasource.Effect) {
	t.Helper()
	var o datasource.Outcome
	for range 100 {
		if o = src.Do(context.Background(), e); o.Class == datasource.Done {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("not done after a hundred attempts: %v", o.Err)
}

// stream: a result of 64,000 rows comes in pages and takes no more memory than some.
func stream(t *testing.T, src *datasource.Source) {
	ctx := context.Background()
	for i := 0; i < 40; i++ {
		src.Do(ctx, effect(800+i, "add", integer("id", i), text("note", strings.Repeat("streamed ", 20))))
	}
	before := resident(t)
	c, err := src.Query(ctx, "many", nil)
	if err != nil {
		t.Fatal(err)
	}
	rows, most := 0, 0
	for end := false; !end; {
		var page [][]datasource.Value
		if page, end, err = c.Next(ctx, 64<<10); err != nil {
			t.Fatal(err)
		}
		rows += len(page)
		if rows%1000 < len(page) {
			most = max(most, resident(t)-before)
		}
	}
	if rows < 39*39*39 || most > 48<<20 {
		t.Errorf("%d rows, and %d MB more at once than before", rows, most>>20)
	}
	if _, _, err := c.Next(ctx, 1); err == nil {
		t.Error("a cursor goes on after its end")
	}
	if src.Cursor(c.ID()) != nil {
		t.Error("a cursor that is at its end is kept")
	}
}

// resident is how much memory this process has, in bytes, drivers and all.
func resident(t *testing.T) int {
	runtime.GC()
	f, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.Atoi(strings.Fields(string(f))[1])
	if err != nil {
		t.Fatal(err)
	}
	return pages * syscall.Getpagesize()
}
