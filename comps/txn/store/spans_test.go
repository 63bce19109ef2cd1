package store_test

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message/u128"
)

// TestSpans: the CSN of every stamp and the stamps of every CSN, in rows of one
// transaction and of many, with stamps between them that nobody took.
func TestSpans(t *testing.T) {
	fs := vfs.NewCrashableMem()
	db := open(t, fs)
	led, _ := ledger.New(db, ledger.Config{})
	if v, err := db.View(); err != nil {
		t.Fatal(err)
	} else {
		if _, ok := v.Span(1); ok {
			t.Error("an empty store has a transaction")
		}
		v.Close()
	}
	var all []store.Span // of CSN 1, 2 and so on
	stamp := uint64(1_790_000_000_000_000_000)
	for index, n := range []int{1, 0, 600, 2, 1, 257} {
		b := &store.Batch{Applied: uint64(index + 1), Changes: led.Changes(), FirstCSN: uint64(len(all) + 1)}
		for i := range n {
			stamp += uint64(1 + i%3) // one is missing, or two
			s := store.Span{First: stamp, Last: stamp + uint64(i%5)}
			stamp = s.Last
			b.Spans, all = append(b.Spans, s), append(all, s)
		}
		db.Commit(b)
		stamp += uint64(index) * 1_000_000_000
	}
	if err := db.Flush(); err != nil {
		t.Fatal(err)
	}
	db.Close()
	db = open(t, fs)
	v, err := db.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	for i := range all {
		k := (i*389 + 7) % len(all) // not in order
		csn, s := uint64(k+1), all[k]
		if got, ok := v.Span(csn); !ok || got != s {
			t.Fatalf("CSN %d has %v, %v, want %v", csn, got, ok, s)
		}
		for _, at := range []uint64{s.First, s.Last} {
			if got, ok := v.Committed(at); !ok || got != csn {
				t.Fatalf("stamp %d is CSN %d, %v, want %d", at, got, ok, csn)
			}
		}
		if got, ok := v.Committed(s.Last + 1); ok && (k+1 == len(all) || all[k+1].First != s.Last+1 || got != csn+1) {
			t.Fatalf("stamp %d, behind CSN %d, is CSN %d", s.Last+1, csn, got)
		}
	}
	for _, csn := range []uint64{0, uint64(len(all) + 1), 1 << 62} {
		if s, ok := v.Span(csn); ok {
			t.Errorf("CSN %d has %v", csn, s)
		}
	}
	for _, at := range []uint64{0, 1, all[0].First - 1, 1 << 62} {
		if csn, ok := v.Committed(at); ok {
			t.Errorf("stamp %d is CSN %d", at, csn)
		}
	}
}

// TestOutbox: rows come in the order of their keys, and a view goes on seeing those of its
// moment.
func TestOutbox(t *testing.T) {
	db := open(t, vfs.NewCrashableMem())
	led, _ := ledger.New(db, ledger.Config{})
	rows := func(pairs ...string) (out []store.OutboxRow) {
		for i := 0; i < len(pairs); i += 2 {
			out = append(out, store.OutboxRow{Key: []byte(pairs[i]), Row: []byte(pairs[i+1])})
		}
		return out
	}
	list := func(s interface {
		OutboxRows(from, to []byte, f func(key, row []byte) bool)
	}, from, to string, most int) (out string) {
		s.OutboxRows([]byte(from), []byte(to), func(key, row []byte) bool {
			out += string(key) + "=" + string(row) + " "
			most--
			return most > 0
		})
		return out
	}
	db.Commit(&store.Batch{Applied: 1, Changes: led.Changes(), Outbox: rows("eb", "2", "ea", "1", "ec", "3", "q", "9")})
	before, err := db.View()
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	db.Commit(&store.Batch{Applied: 2, Changes: led.Changes(), Outbox: rows("eb", "", "ec", "33")})
	for _, c := range []struct{ got, want string }{
		{list(db, "e", "f", 9), "ea=1 ec=33 "}, {list(before, "e", "f", 9), "ea=1 eb=2 ec=3 "},
		{list(db, "", "z", 2), "ea=1 ec=33 "}, {list(db, "ea", "ec", 9), "ea=1 "}, {list(db, "eb", "z", 9), "ec=33 q=9 "},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
	if row, ok := db.Outbox([]byte("eb")); ok {
		t.Errorf("a row that was taken away: %q", row)
	}
	if row, ok := before.Outbox([]byte("eb")); !ok || string(row) != "2" {
		t.Errorf("before: %q, %v", row, ok)
	}
}

// TestNotesAndAccess: rows of the transaction layer that a view reads.
func TestNotesAndAccess(t *testing.T) {
	db := open(t, vfs.NewCrashableMem())
	led, _ := ledger.New(db, ledger.Config{})
	id := u128.From64
	db.Commit(&store.Batch{Applied: 1, Changes: led.Changes(), Notes: []store.Note{{CSN: 7, Row: []byte("seven")}},
		Access: []store.Access{{Account: id(1), Row: []byte("one")}, {Account: id(2), Row: []byte("two")}},
		Txns:   []store.Txn{{ID: id(5), Row: []byte("5")}, {ID: id(6), Row: []byte("6")}, {ID: id(9), Row: []byte("9")}, {ID: u128.Max, Row: []byte("max")}}})
	before, err := db.View()
	if err != nil {
		t.Fatal(err)
	}
	defer before.Close()
	db.Commit(&store.Batch{Applied: 2, Changes: led.Changes(), Access: []store.Access{{Account: id(1)}, {Account: id(2), Row: []byte("2")}}})
	if row, ok := db.Access(id(1)); ok {
		t.Errorf("rights that were taken: %q", row)
	}
	if row, ok := db.Access(id(2)); !ok || string(row) != "2" {
		t.Errorf("account 2: %q, %v", row, ok)
	}
	if row, ok := before.Access(id(1)); !ok || string(row) != "one" {
		t.Errorf("account 1 before: %q, %v", row, ok)
	}
	if row, ok := before.Note(7); !ok || string(row) != "seven" {
		t.Errorf("note 7: %q, %v", row, ok)
	}
	if _, ok := before.Note(8); ok {
		t.Error("there is a note 8")
	}
	for _, c := range []struct {
		min, max u128.Int
		reversed bool
		most     int
		want     string
	}{
		{id(0), u128.Max, false, 9, "5 6 9 max "},
		{id(0), u128.Max, true, 9, "max 9 6 5 "},
		{id(6), id(9), false, 9, "6 9 "},
		{id(6), id(8), true, 9, "6 "},
		{id(0), u128.Max, true, 2, "max 9 "},
		{id(7), id(6), false, 9, ""},
	} {
		var got bytes.Buffer
		n := 0
		before.Txns(c.min, c.max, c.reversed, func(_ u128.Int, row []byte) bool {
			fmt.Fprintf(&got, "%s ", row)
			n++
			return n < c.most
		})
		if got.String() != c.want {
			t.Errorf("from %v to %v: %q, want %q", c.min, c.max, got.String(), c.want)
		}
	}
}
