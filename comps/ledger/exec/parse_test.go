package exec

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// encode writes a request as a line: what parse reads.
func encode(r *request) []byte {
	b := fmt.Appendf(nil, `{"%s":`, r.kind.name)
	switch q := &r.query; {
	case r.kind == &createAccounts:
		b = appendList(b, accountFields, r.accounts)
	case r.kind == &createTransfers:
		b = appendList(b, transferFields, r.transfers)
	case r.kind == &ticks:
		b = appendObject(b, tickFields, &r.tick)
	case q.LookupAccounts != nil:
		b = encodeIDs(b, q.LookupAccounts)
	case q.LookupTransfers != nil:
		b = encodeIDs(b, q.LookupTransfers)
	case q.GetAccountTransfers != nil:
		b = encodeFilter(b, accountFilterFields, q.GetAccountTransfers, ledgerpb.AccountFilterFlags(q.GetAccountTransfers.Flags))
	case q.GetAccountBalances != nil:
		b = encodeFilter(b, accountFilterFields, q.GetAccountBalances, ledgerpb.AccountFilterFlags(q.GetAccountBalances.Flags))
	case q.QueryAccounts != nil:
		b = encodeFilter(b, queryFilterFields, q.QueryAccounts, ledgerpb.QueryFilterFlags(q.QueryAccounts.Flags))
	case q.QueryTransfers != nil:
		b = encodeFilter(b, queryFilterFields, q.QueryTransfers, ledgerpb.QueryFilterFlags(q.QueryTransfers.Flags))
	case q.GetChangeEvents != nil:
		b = appendObject(b, changeEventsFilterFields, q.GetChangeEvents)
	case q.GetBalances != nil: // the list stands first, and no answer has one
		b = encodeIDs(append(b, `{"account_ids":`...), &ledgerpb.Lookup{Ids: q.GetBalances.AccountIds})
		rest := appendObject(nil, balancesFilterFields[1:], q.GetBalances)
		b = append(append(b, ','), rest[1:]...)
	}
	return append(b, '}')
}

func encodeIDs(b []byte, l *ledgerpb.Lookup) []byte {
	b = append(b, '[')
	for i, id := range l.Ids {
		if i > 0 {
			b = append(b, ',')
		}
		b = fmt.Appendf(b, `"%v"`, id)
	}
	return append(b, ']')
}

// encodeFilter encodes a filter, whose flags stand last: appendObject knows only
// those of answers.
func encodeFilter[T any, F flags](b []byte, fields []field[T], v *T, all F) []byte {
	b = appendObject(b, fields[:len(fields)-1], v)
	b = append(b[:len(b)-1], `,"flags":`...)
	return append(appendFlags(b, all), '}')
}

// FuzzParse: a line is refused with a fault of one line of valid UTF-8, or what was
// read of it is written as a line that reads the same. What is accepted is JSON.
func FuzzParse(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.jsonl")
	for _, name := range files {
		script, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		for line := range bytes.Lines(script) {
			f.Add(line)
		}
	}
	f.Fuzz(func(t *testing.T, line []byte) {
		var first, second request
		if err := first.parse(line); err != nil {
			if _, ok := err.(*fault); !ok || strings.Contains(err.Error(), "\n") {
				t.Fatalf("%q: %T %v", line, err, err)
			}
			if answer := appendError(nil, err.Error()); !json.Valid(answer) || bytes.Count(answer, newline) != 1 {
				t.Fatalf("%q: answer %q", line, answer)
			}
			return
		}
		if !json.Valid(line) {
			t.Fatalf("%q was accepted and is not JSON", line)
		}
		again := encode(&first)
		if err := second.parse(again); err != nil {
			t.Fatalf("%q was accepted, %q was not: %v", line, again, err)
		}
		if diff := cmp.Diff(first, second, cmp.AllowUnexported(request{}, tick{}), cmpopts.EquateEmpty(), cmp.Comparer(func(a, b *kind) bool { return a == b })); diff != "" {
			t.Fatalf("%q\n%q\n%s", line, again, diff)
		}
	})
}

// Every field of the data model is one of the tables, under its name in the .proto
// file, and every bit of a flags field has a name.
func TestFieldsAreTheSchemas(t *testing.T) {
	proto, err := os.ReadFile("../../../rrts/schema/ledgerpb/ledger.proto")
	if err != nil {
		t.Fatal(err)
	}
	for message, have := range map[string]string{
		"Account": fieldNames(accountFields), "Transfer": fieldNames(transferFields),
		"AccountFilter": fieldNames(accountFilterFields), "QueryFilter": fieldNames(queryFilterFields),
		"ChangeEventsFilter": fieldNames(changeEventsFilterFields),
		"BalancesFilter":     fieldNames(balancesFilterFields),
		"AccountBalance":     fieldNames(balanceFields), "ChangeEvent": fieldNames(eventFields),
	} {
		if want := strings.Join(declared(string(proto), "message "+message), ", "); have != want {
			t.Errorf("%s has %s\nthe schema has %s", message, have, want)
		}
	}
	for enum, have := range map[string]int{
		"AccountFlags": len(accountFlags), "TransferFlags": len(transferFlags),
		"AccountFilterFlags": len(accountFilterFlags), "QueryFilterFlags": len(queryFilterFlags),
	} {
		if want := len(declared(string(proto), "enum "+enum)) - 1; have != want { // one is NONE
			t.Errorf("%d of %s are known, the schema has %d", have, enum, want)
		}
	}
}

// declared returns the names of what a block of a .proto file declares.
func declared(proto, block string) (names []string) {
	_, body, _ := strings.Cut(proto, "\n"+block+" {\n")
	body, _, _ = strings.Cut(body, "\n}")
	for line := range strings.Lines(body) {
		words := strings.Fields(line)
		for i, w := range words {
			if w == "=" && words[0] != "//" {
				names = append(names, words[i-1])
				break
			}
		}
	}
	return names
}

// A bit of newer software keeps its number in an answer.
func TestUnknownFlag(t *testing.T) {
	a := ledgerpb.Account{Flags: 1<<31 | 1}
	got := string(appendObject(nil, accountFields, &a))
	if want := `"flags":["linked","account_flags_2147483648"]`; !strings.Contains(got, want) {
		t.Errorf("%s in %s", want, got)
	}
}

// many returns a request with n elements.
func many(before string, element func(i int) string, n int, after string) []byte {
	var b bytes.Buffer
	b.WriteString(before)
	for i := range n {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(element(i))
	}
	b.WriteString(after)
	return b.Bytes()
}

// longest is a transfer of the longest form.
func longest(int) string {
	const max32, max64 = 1<<32 - 1, uint64(1<<64 - 1)
	t := ledgerpb.Transfer{
		Id: u128.Max, DebitAccountId: u128.Max, CreditAccountId: u128.Max, Amount: u128.Max, PendingId: u128.Max,
		UserData128: u128.Max, UserData64: max64, UserData32: max32, Timeout: max32, Ledger: max32, Code: maxCode,
		Flags: 1<<len(transferFlags) - 1, Timestamp: max64,
	}
	return string(appendObject(nil, transferFields, &t))
}

// payment is a transfer of the usual form.
func payment(i int) string {
	return fmt.Sprintf(`{"id":"%d","debit_account_id":"1","credit_account_id":"2","amount":"1999","ledger":1,"code":7}`, i)
}

func TestBounds(t *testing.T) {
	account := func(i int) string { return fmt.Sprintf(`{"id":%d,"ledger":1,"code":1}`, i+1) }
	for _, c := range []struct {
		line []byte
		want string
	}{
		{many(`{"create_accounts":[`, account, ledger.MaxEvents, `]}`), ""},
		{many(`{"create_accounts":[`, account, ledger.MaxEvents+1, `]}`), "create_accounts: more than 8192 events in one line; divide them among several lines"},
		{many(`{"create_transfers":[`, longest, ledger.MaxEvents, `]}`), ""},
		{many(`{"create_transfers":[`, longest, ledger.MaxEvents+1, `]}`), "create_transfers: more than 8192 events in one line; divide them among several lines"},
		{many(`{"lookup_accounts":[`, func(i int) string { return "1" }, maxIDs+1, `]}`), "lookup_accounts: more than 8192 ids in one line; divide them among several lines"},
		{bytes.Repeat([]byte("["), 1<<20), "not JSON at byte 10001: invalid character '[' exceeded max depth; write one request, such as " + example},
	} {
		var r request
		got := ""
		if err := r.parse(c.line); err != nil {
			got = err.Error()
		}
		if got != c.want {
			t.Errorf("%.60s…: %q, want %q", c.line, got, c.want)
		}
		if c.want == "" && 2*len(c.line) > MaxLine {
			t.Errorf("%.60s…: %d bytes are more than half of MaxLine", c.line, len(c.line))
		}
	}
}

// A line of transfers takes no memory but what the first such line took.
func TestParseAllocations(t *testing.T) {
	line := many(`{"create_transfers":[`, payment, 1000, `]}`)
	var r request
	allocs := testing.AllocsPerRun(10, func() {
		if err := r.parse(line); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 5 {
		t.Errorf("%.0f allocations for 1,000 transfers, the budget is 5", allocs)
	}
}

func BenchmarkParse(b *testing.B) {
	line := many(`{"create_transfers":[`, payment, 1000, `]}`)
	var r request
	b.SetBytes(int64(len(line)))
	for b.Loop() {
		if err := r.parse(line); err != nil {
			b.Fatal(err)
		}
	}
}
