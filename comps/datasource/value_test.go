package datasource

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"virtualservicesinc.com/comps/datasource/sqlvalue"
)

// TestBind: what a parameter takes, and how it says no.
func TestBind(t *testing.T) {
	berlin := time.Date(2026, 1, 31, 11, 0, 0, 500000000, time.UTC)
	for _, c := range []struct {
		field Field
		kind  Kind
		data  string
		want  any
		err   string // a part of it
	}{
		{Field{Type: TypeText, Size: 3}, Text, "äöü", "äöü", ""},
		{Field{Type: TypeText, Size: 3}, Text, "äöü!", nil, "is 4 characters long, declared are 3"},
		{Field{Type: TypeText}, Text, "'; DROP TABLE orders; --", "'; DROP TABLE orders; --", ""},
		{Field{Type: TypeText}, Text, "a\xffb", nil, "is not valid UTF-8"},
		{Field{Type: TypeText}, Text, "a\x00b", nil, "holds a zero byte"},
		{Field{Type: TypeText}, Text, strings.Repeat("x", 10<<20), nil, "is 10485760 bytes long, the limit is 4194304"},
		{Field{Type: TypeText}, Integer, "1", nil, "is an integer, which does not go into text"},
		{Field{Type: TypeText}, Null, "", nil, "is NULL, which is not declared"},
		{Field{Type: TypeText, Nullable: true}, Null, "", nil, ""},
		{Field{Type: TypeInteger}, Integer, "-9223372036854775808", int64(math.MinInt64), ""},
		{Field{Type: TypeInteger}, Integer, "9223372036854775808", nil, "is not an integer of 64 bits"},
		{Field{Type: TypeInteger}, Decimal, "1.0", nil, "is a decimal, which does not go into integer"},
		{Field{Type: TypeDecimal}, Decimal, "-123456789012345678901234567890.000000000001", sqlvalue.Decimal("-123456789012345678901234567890.000000000001"), ""},
		{Field{Type: TypeDecimal, Size: 5, Scale: 2}, Decimal, "123.45", sqlvalue.Decimal("123.45"), ""},
		{Field{Type: TypeDecimal, Size: 5, Scale: 2}, Decimal, "123.4500", sqlvalue.Decimal("123.4500"), ""},
		{Field{Type: TypeDecimal, Size: 5, Scale: 2}, Decimal, "123.456", nil, "has 3 digits after the point, declared are 2"},
		{Field{Type: TypeDecimal, Size: 5, Scale: 2}, Integer, "1234", nil, "has 4 digits before the point, declared are 3"},
		{Field{Type: TypeDecimal}, Decimal, "1e3", nil, "is not a decimal"},
		{Field{Type: TypeDecimal}, Decimal, "1'; DROP", nil, "is not a decimal"},
		{Field{Type: TypeFloat}, Decimal, "0.1", 0.1, ""},
		{Field{Type: TypeFloat}, Decimal, "Inf", nil, "is not a number"},
		{Field{Type: TypeBoolean}, Boolean, "true", true, ""},
		{Field{Type: TypeBoolean}, Boolean, "yes", nil, `is neither "true" nor "false"`},
		{Field{Type: TypeBytes}, Bytes, "\x00\xff", []byte("\x00\xff"), ""},
		{Field{Type: TypeBytes, Size: 1}, Bytes, "\x00\xff", nil, "is 2 bytes long, declared are 1"},
		{Field{Type: TypeDate}, Text, "2026-02-28", sqlvalue.Date{Year: 2026, Month: 2, Day: 28}, ""},
		{Field{Type: TypeDate}, Text, "2026-02-29", nil, "is not a date"},
		{Field{Type: TypeTimeOfDay, Digits: -1}, Text, "23:59:59.5", "23:59:59.5", ""},
		{Field{Type: TypeTimeOfDay, Digits: -1}, Text, "24:00:00", nil, "is not a time of day"},
		{Field{Type: TypeTimestamp, Digits: -1}, Time, "2026-01-31T12:00:00.5+01:00", berlin, ""},
		{Field{Type: TypeTimestamp, Digits: -1}, Time, "2026-01-31T12:00:00.1234567Z", nil, "has 7 digits of a second, declared are 6"},
		{Field{Type: TypeTimestamp}, Time, "2026-01-31T12:00:00.5Z", nil, "has 1 digits of a second, declared are 0"},
		{Field{Type: TypeTimestamp, Digits: -1}, Time, "2026-01-31T12:00:00", nil, "is not a time with a zone"},
		{Field{Type: TypeLocal, Digits: 9}, Text, "2026-01-31T12:00:00.123456789", time.Date(2026, 1, 31, 12, 0, 0, 123456789, time.UTC), ""},
		{Field{Type: TypeLocal, Digits: 9}, Text, "2026-01-31T12:00:00Z", nil, "is not a time without a zone"},
	} {
		got, err := c.field.Bind(Value{c.kind, []byte(c.data)})
		if c.err == "" && (err != nil || !cmp.Equal(got, c.want)) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%v of %.40q: %v, %v; want %v, %q", c.field.Type, c.data, got, err, c.want, c.err)
		}
	}
}

// TestResult: what a driver gives becomes what is declared, or an error.
func TestResult(t *testing.T) {
	at := time.Date(2026, 1, 31, 11, 0, 0, 123456000, time.UTC)
	for _, c := range []struct {
		typ  Type
		v    any
		want Value
		err  string
	}{
		{TypeText, "Grüße", Value{Text, []byte("Grüße")}, ""},
		{TypeText, "\xff", Value{}, "is not valid UTF-8"},
		{TypeText, []byte("x"), Value{}, "comes as bytes, declared is text"},
		{TypeText, nil, Value{}, "is NULL, which is not declared"},
		{TypeInteger, int64(-7), Value{Integer, []byte("-7")}, ""},
		{TypeInteger, sqlvalue.Decimal("18446744073709551615"), Value{}, "comes as a decimal, declared is integer"},
		{TypeInteger, sqlvalue.Decimal("12"), Value{Integer, []byte("12")}, ""},
		{TypeDecimal, sqlvalue.Decimal("-.50"), Value{Decimal, []byte("-0.50")}, ""},
		{TypeDecimal, sqlvalue.Decimal("1234567890123456789012.000001"), Value{Decimal, []byte("1234567890123456789012.000001")}, ""},
		{TypeDecimal, 0.1, Value{}, "let the statement CAST it to text"},
		{TypeFloat, 0.1, Value{Decimal, []byte("0.1")}, ""},
		{TypeFloat, math.Inf(1), Value{}, "is no finite number"},
		{TypeBoolean, true, Value{Boolean, []byte("true")}, ""},
		{TypeBoolean, "f", Value{Boolean, []byte("false")}, ""},
		{TypeBoolean, int64(1), Value{Boolean, []byte("true")}, ""},
		{TypeBoolean, int64(2), Value{}, "comes as an integer, declared is boolean"},
		{TypeBytes, []byte{0, 255}, Value{Bytes, []byte{0, 255}}, ""},
		{TypeBytes, make([]byte, 10<<20), Value{}, "is 10485760 bytes long, the limit is 4194304"},
		{TypeDate, sqlvalue.Date{Year: 2026, Month: 1, Day: 31}, Value{Text, []byte("2026-01-31")}, ""},
		{TypeDate, "2026-01-31", Value{Text, []byte("2026-01-31")}, ""},
		{TypeDate, "yesterday", Value{}, "comes as text, declared is date"},
		{TypeTimeOfDay, "12:00:00.25", Value{Text, []byte("12:00:00.25")}, ""},
		{TypeTimestamp, at, Value{Time, []byte("2026-01-31T11:00:00.123456Z")}, ""},
		{TypeTimestamp, "2026-01-31 12:00:00.123456+01", Value{Time, []byte("2026-01-31T11:00:00.123456Z")}, ""},
		{TypeLocal, at, Value{Text, []byte("2026-01-31T11:00:00.123456")}, ""},
	} {
		got, err := (&Field{Type: c.typ}).Value(c.v)
		if c.err == "" && (err != nil || !cmp.Equal(got, c.want)) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%v of %.40v: %v %q, %v; want %v, %q", c.typ, c.v, got.Kind, got.Data, err, c.want, c.err)
		}
	}
	if v, err := (&Field{Type: TypeDate, Nullable: true}).Value(nil); err != nil || v.Kind != Null {
		t.Errorf("NULL: %v, %v", v, err)
	}
}

var order = Statement{
	Name: "add-order", SQL: "INSERT INTO orders (id, note, same) VALUES (?, ?, ?)", Rows: 1,
	Parameters: []Field{{Name: "id", Type: TypeInteger}, {Name: "note", Type: TypeText, Size: 10}, {Name: "id", Type: TypeInteger}},
}

// TestArguments: every refusal names the statement and the parameter, and none repeats
// the value.
func TestArguments(t *testing.T) {
	if err := order.Validate(); err != nil {
		t.Fatal(err)
	}
	id, note := Argument{"id", Value{Integer, []byte("7")}}, Argument{"note", Value{Text, []byte("x")}}
	got, err := order.Bind([]Argument{note, id})
	if err != nil || !cmp.Equal(got, []any{int64(7), "x", int64(7)}) {
		t.Errorf("%v, %v", got, err)
	}
	for _, c := range []struct {
		args []Argument
		want string
	}{
		{[]Argument{id}, "statement add-order: parameter note is missing"},
		{[]Argument{id, note, id}, `statement add-order: parameter "id" is given twice`},
		{[]Argument{id, note, {"sql", note.Value}}, `statement add-order: has no parameter "sql"`},
		{[]Argument{{"id", note.Value}, note}, "statement add-order: parameter id is text, which does not go into integer"},
		{[]Argument{id, {"note", Value{Text, []byte("secret words \xff")}}}, "statement add-order: parameter note is not valid UTF-8"},
		{[]Argument{id, {"note", Value{Text, []byte("secret words")}}}, "statement add-order: parameter note is 12 characters long, declared are 10"},
	} {
		_, err := order.Bind(c.args)
		if !errors.Is(err, ErrRefused) || !strings.HasSuffix(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%v, want %s", err, c.want)
		}
	}
}

// TestStatements: what is wrong with a statement is said before it runs.
func TestStatements(t *testing.T) {
	p := []Field{{Name: "a", Type: TypeInteger}}
	for sql, want := range map[string]string{
		"UPDATE t SET a = ?":                              "",
		"UPDATE t SET a = ?;":                             "",
		"UPDATE t SET b = '?', a = ? -- ?":                "",
		`UPDATE "t?" SET a = /* ? */ ?`:                   "",
		"UPDATE t SET a = 1":                              "has 0 question marks and 1 parameters",
		"UPDATE t SET a = ?; DROP TABLE t":                "has more than one statement in it",
		"UPDATE t SET b = 'x, a = ?":                      "has a ' without its end",
		"UPDATE t SET a = ? /* and":                       "has a comment without an end",
		" ; ":                                             "is empty",
		"UPDATE t SET b = 'it''s ?', a = ? WHERE c = ';'": "",
	} {
		s := Statement{SQL: sql, Parameters: p}
		if err := s.Validate(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", sql, err, want)
		}
	}
	for _, c := range []struct {
		sql, table string
		want       bool
	}{
		{"INSERT INTO Orders VALUES (1)", "orders", true},
		{"INSERT INTO shop.`orders` VALUES (1)", "orders", true},
		{"INSERT INTO orders2 VALUES ('orders') -- orders", "orders", false},
	} {
		if got := (&Statement{SQL: c.sql}).names(c.table); got != c.want {
			t.Errorf("%s names %s: %v", c.sql, c.table, got)
		}
	}
	twice := Statement{SQL: "SELECT ?, ?", Parameters: []Field{{Name: "a", Type: TypeText}, {Name: "a", Type: TypeInteger}}}
	if err := twice.Validate(); err == nil {
		t.Error("one name with two types is taken")
	}
	if !bytes.Contains([]byte(createEffect), []byte(effectTable)) {
		t.Error("the table has another name")
	}
}
