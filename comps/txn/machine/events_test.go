package machine

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// here is where the tests' streams are told.
var here = Place{Group: 2, Epoch: 3}

// eventsOf asks for events.
func (d *onDisk) eventsOf(q *txnpb.EventsRequest, user uint64, p Place) (*txnpb.EventsAnswer, error) {
	d.t.Helper()
	v, err := d.db.View()
	if err != nil {
		d.t.Fatal(err)
	}
	defer v.Close()
	a, _, err := Events(v, q, user, p)
	return a, err
}

// text prints an event.
func text(e *txnpb.Event) string {
	name := fmt.Sprintf("%d.%d", e.Csn, e.N)
	if a := e.Account; a != nil {
		return fmt.Sprintf("%s account %v flags %d %v/%v", name, a.Id, a.Flags, a.DebitsPosted, a.CreditsPosted)
	}
	s := fmt.Sprintf("%s %v %v>%v %v", name, e.Type, e.Transfer.DebitAccountId, e.Transfer.CreditAccountId, e.Transfer.Amount)
	if e.Debit != nil {
		s += fmt.Sprintf(" debit %v/%v", e.Debit.DebitsPosted, e.Debit.CreditsPosted)
	}
	if e.Credit != nil {
		s += fmt.Sprintf(" credit %v/%v", e.Credit.DebitsPosted, e.Credit.CreditsPosted)
	}
	return s
}

// stream reads from a position to the end, so many events at a time.
func (d *onDisk) stream(after *txnpb.Position, limit uint32, user uint64) (all []string, end *txnpb.Position) {
	d.t.Helper()
	for {
		a, err := d.eventsOf(&txnpb.EventsRequest{After: after, Limit: limit}, user, here)
		if err != nil {
			d.t.Fatal(err)
		}
		for i := range a.Events {
			all = append(all, text(&a.Events[i]))
		}
		after = a.Next
		if a.End {
			return all, after
		}
		if len(a.Events) == 0 {
			d.t.Fatal("no event, and not the end")
		}
	}
}

// steps are the entries of a history with everything that the stream can hold.
var steps = []func(d *onDisk){
	func(d *onDisk) {
		d.apply(1000, 0, "1 at=1000 users=(new:ann,new:bob)",
			"2 at=1000 accounts=(1,2,3,4) access=(2:1:owner,3:2:owner,3:1:read)")
	},
	func(d *onDisk) {
		d.apply(1000, 0, "3 at=1000 transfers=(31:9>2:5)", // aborted
			"4 at=1000 by=1 client transfers=(41:2>3:10,42:2>3:5:pending1,43:2>3:6:pending2) memo=rent")
	},
	func(d *onDisk) { d.apply(9000, 10) }, // 42 and 43 expire
	// At timestamps that lie before what has happened.
	func(d *onDisk) {
		d.apply(9001, 0, "5 at=1000 accounts=(5:imported2000000000,6:imported2000000001)",
			"6 at=1000 by=1 client independent transfers=(61:2>3:1,62:2>9:1,63:2>3:2)",
			"7 at=1000 independent accounts=(7:imported2000000002,8:imported2000000003) transfers=(71:5>6:3,72:6>5:1)")
	},
	func(d *onDisk) { d.apply(9003, 0, "8 at=1000 transfers=(81:1>4:7:closing_credit:pending0)") },
	// Between the two the ledger's time passed with accounts alone, which stand at stamps
	// behind the timestamp of the import.
	func(d *onDisk) { d.apply(99_000, 0, "9 at=1000 accounts=(11)") },
	func(d *onDisk) { d.apply(99_001, 0, "10 at=1000 transfers=(101:5>6:4:imported50000000000)") },
	func(d *onDisk) { d.apply(99_002, 0, "11 at=1000 by=2 client transfers=(111:3>2:1)") },
}

const wholeStream = `2.1 account 1 flags 0 0/0
2.2 account 2 flags 0 0/0
2.3 account 3 flags 0 0/0
2.4 account 4 flags 0 0/0
3.1 single_phase 2>3 10 debit 10/0 credit 0/10
3.2 two_phase_pending 2>3 5 debit 10/0 credit 0/10
3.3 two_phase_pending 2>3 6 debit 10/0 credit 0/10
3.7999999991 two_phase_expired 2>3 5 debit 10/0 credit 0/10
3.7999999992 two_phase_expired 2>3 6 debit 10/0 credit 0/10
4.1 account 5 flags 16 0/0
4.2 account 6 flags 16 0/0
5.1 single_phase 2>3 1 debit 11/0 credit 0/11
5.3 single_phase 2>3 2 debit 13/0 credit 0/13
6.1 account 7 flags 16 0/0
6.2 account 8 flags 16 0/0
6.3 single_phase 5>6 3 debit 3/0 credit 0/3
6.4 single_phase 6>5 1 debit 1/3 credit 3/1
7.1 two_phase_pending 1>4 7 debit 0/0 credit 0/0
8.1 account 11 flags 0 0/0
9.1 single_phase 5>6 4 debit 7/1 credit 1/7
10.1 single_phase 3>2 1 debit 1/13 credit 13/1`

func history(t *testing.T, each func(d *onDisk)) *onDisk {
	d := newOnDisk(t)
	d.version = entry.VersionEffects
	for _, step := range steps {
		step(d)
		if each != nil {
			each(d)
		}
	}
	return d
}

// TestEvents: the stream is the same however it is read: at the end or while it grows,
// in pages of any size, from the place of any event.
func TestEvents(t *testing.T) {
	want := strings.Split(wholeStream, "\n")
	var live []string
	var at *txnpb.Position
	d := history(t, func(d *onDisk) {
		var more []string
		more, at = d.stream(at, 3, Everything)
		live = append(live, more...)
	})
	if got := strings.Join(live, "\n"); got != wholeStream {
		t.Errorf("while it grew:\n%s\nwant\n%s", got, wholeStream)
	}
	for limit := range uint32(len(want) + 2) {
		if all, _ := d.stream(nil, limit, Everything); strings.Join(all, "\n") != wholeStream {
			t.Errorf("in pages of %d:\n%s", limit, strings.Join(all, "\n"))
		}
	}
	for i, line := range want {
		p := &txnpb.Position{Epoch: 3, Group: 2}
		if _, err := fmt.Sscanf(line, "%d.%d ", &p.Csn, &p.N); err != nil {
			t.Fatal(err)
		}
		if all, _ := d.stream(p, 0, Everything); strings.Join(all, "\n") != strings.Join(want[i+1:], "\n") {
			t.Errorf("behind %s:\n%s", line, strings.Join(all, "\n"))
		}
	}
	a, err := d.eventsOf(&txnpb.EventsRequest{FromEnd: true}, Everything, here)
	if err != nil || len(a.Events) != 0 || !a.End || a.Next.Csn != 10 || a.Next.N != 1 {
		t.Errorf("from the end: %v, %v", a, err)
	}
}

// TestEventsOfImportsBefore: what was imported by an older version has no place in the
// stream, and nothing else is missing.
func TestEventsOfImportsBefore(t *testing.T) {
	d := newOnDisk(t)
	for _, step := range steps {
		step(d)
	}
	var want []string
	for line := range strings.SplitSeq(wholeStream, "\n") {
		if !strings.Contains(line, "flags 16") && !strings.HasPrefix(line, "9.") {
			want = append(want, line)
		}
	}
	if all, _ := d.stream(nil, 0, Everything); strings.Join(all, "\n") != strings.Join(want, "\n") {
		t.Errorf("got\n%s", strings.Join(all, "\n"))
	}
}

// TestEventsOfUsers: a client sees what concerns its accounts, and of the other side
// of a transfer no balance. User 1 owns account 2 and may read 3, user 2 owns 3.
func TestEventsOfUsers(t *testing.T) {
	d := history(t, nil)
	var two []string
	for line := range strings.SplitSeq(wholeStream, "\n") {
		if before, credit, ok := strings.Cut(line, " credit "); strings.Contains(line, "2>3") && ok {
			before, _, _ = strings.Cut(before, " debit ")
			two = append(two, before+" credit "+credit)
		} else if before, _, ok := strings.Cut(line, " credit "); strings.Contains(line, "3>2") && ok {
			two = append(two, before)
		} else if strings.Contains(line, "account 3 ") {
			two = append(two, line)
		}
	}
	if all, _ := d.stream(nil, 2, 2); strings.Join(all, "\n") != strings.Join(two, "\n") {
		t.Errorf("user 2 sees\n%s\nwant\n%s", strings.Join(all, "\n"), strings.Join(two, "\n"))
	}
	if all, _ := d.stream(nil, 0, 1); len(all) != len(two)+1 {
		t.Errorf("user 1 sees\n%s", strings.Join(all, "\n"))
	}
	if all, end := d.stream(nil, 0, 7); len(all) != 0 || end.Csn != 10 {
		t.Errorf("a stranger sees %v up to %v", all, end)
	}
	a, err := d.eventsOf(&txnpb.EventsRequest{}, 2, here)
	if err != nil || len(a.Notes) != 1 || a.Notes[0].Memo != "rent" || a.Notes[0].Csn != 3 {
		t.Errorf("notes %v, %v", a.Notes, err)
	}
}

func TestEventsFilter(t *testing.T) {
	d := history(t, nil)
	for _, c := range []struct {
		filter txnpb.EventsFilter
		want   int
	}{
		{txnpb.EventsFilter{}, 21},
		{txnpb.EventsFilter{Kinds: uint32(txnpb.EventKindsAccounts)}, 9},
		{txnpb.EventsFilter{Kinds: uint32(txnpb.EventKindsTransfers)}, 10},
		{txnpb.EventsFilter{Kinds: uint32(txnpb.EventKindsExpiries)}, 2},
		{txnpb.EventsFilter{Kinds: 7}, 21},
		{txnpb.EventsFilter{AccountIds: ids(5)}, 4},
		{txnpb.EventsFilter{AccountIds: ids(4, 3)}, 11},
		{txnpb.EventsFilter{AccountIds: ids(99)}, 0},
		{txnpb.EventsFilter{Ledger: 1, Code: 1}, 21},
		{txnpb.EventsFilter{Ledger: 2}, 0},
		{txnpb.EventsFilter{Code: 2}, 0},
	} {
		a, err := d.eventsOf(&txnpb.EventsRequest{Filter: &c.filter}, Everything, here)
		if err != nil || len(a.Events) != c.want || !a.End || a.Next.Csn != 10 {
			t.Errorf("%v: %d events up to %v, %v; want %d", &c.filter, len(a.Events), a.Next, err, c.want)
		}
	}
	if _, err := d.eventsOf(&txnpb.EventsRequest{Filter: &txnpb.EventsFilter{Kinds: 8}}, Everything, here); !errors.Is(err, ErrInvalid) {
		t.Errorf("an unknown kind: %v", err)
	}
}

// TestEventsPositions: where a stream goes on, or not.
func TestEventsPositions(t *testing.T) {
	d := history(t, nil)
	forced := func(csn uint64) Place {
		return Place{Group: 2, Epoch: 3, Force: &txnpb.Force{Epoch: 3, Csn: csn}}
	}
	at := func(epoch uint32, csn, n uint64) *txnpb.Position {
		return &txnpb.Position{Epoch: epoch, Group: 2, Csn: csn, N: n}
	}
	for _, c := range []struct {
		name  string
		at    *txnpb.Position
		place Place
		want  string // the number of events, and the next position
	}{
		{"before a transaction", at(3, 5, 0), here, "10 3.10.1"},
		{"the beginning of another group", &txnpb.Position{}, here, "21 3.10.1"},
		{"another group", &txnpb.Position{Epoch: 3, Group: 1, Csn: 4}, here, "invalid"},
		{"not yet committed", at(3, 11, 1), here, "behind"},
		{"an expiry that is not here yet", at(3, 10, 2), here, "behind"},
		{"a newer epoch", at(4, 1, 1), here, "behind"},
		{"an older epoch, nothing known of it", at(2, 4, 2), here, "invalid"},
		{"two forced recoveries before", at(1, 4, 2), forced(5), "invalid"},
		{"in front of the fork", at(2, 4, 2), forced(5), "10 3.10.1"},
		{"at the fork", at(2, 5, 3), forced(5), "8 3.10.1"},
		{"behind the fork", at(2, 6, 1), forced(5), "overruled 3.5.3"},
		{"an expiry at the fork", at(2, 3, 7999999991), forced(3), "overruled 3.3.3"},
		{"all is overruled", at(2, 6, 1), forced(0), "overruled 3.0.0"},
		{"no such n", at(3, 4, 1<<63), here, "invalid"},
	} {
		a, err := d.eventsOf(&txnpb.EventsRequest{After: c.at}, Everything, c.place)
		got := ""
		switch {
		case errors.Is(err, ErrBehind):
			got = "behind"
		case errors.Is(err, ErrInvalid):
			got = "invalid"
		case err != nil:
			got = err.Error()
		case a.Overruled && len(a.Events) == 0:
			got = fmt.Sprintf("overruled %d.%d.%d", a.Next.Epoch, a.Next.Csn, a.Next.N)
		default:
			got = fmt.Sprintf("%d %d.%d.%d", len(a.Events), a.Next.Epoch, a.Next.Csn, a.Next.N)
		}
		if got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}

// TestEachTouch: who has to hear of what.
func TestEachTouch(t *testing.T) {
	d := history(t, nil)
	v, err := d.db.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	count := map[string]int{}
	end := EventsEnd(v)
	if err := EachTouch(v, 0, end, true, func(stamp uint64, touch *Touch) bool {
		count[fmt.Sprint(touch.Accounts, touch.Users)]++
		return true
	}); err != nil {
		t.Fatal(err)
	}
	for what, n := range map[string]int{"[2 3] [1 2 1]": 7, "[3 2] [2 1 1]": 1, "[3] [2 1]": 1, "[2] [1]": 1, "[5 6] []": 2, "[1] []": 1} {
		if count[what] != n {
			t.Errorf("%s: %d times, want %d; all: %v", what, count[what], n, count)
		}
	}
}

// TestImportsFound: by any stamp of the transaction, or before it.
func TestImportsFound(t *testing.T) {
	d := history(t, nil)
	v, err := d.db.View()
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	first, ok := v.Imports(0)
	if !ok || first.Accounts != (store.Span{First: 2_000_000_000, Last: 2_000_000_001}) || first.Transfers.First != 0 {
		t.Fatalf("%+v, %v", first, ok)
	}
	second, ok := v.Imports(first.Stamps.Last + 1)
	if !ok || second.Stamps.First <= first.Stamps.Last {
		t.Fatalf("%+v, %v", second, ok)
	}
	if again, ok := v.Imports(second.Stamps.Last); !ok || again != second {
		t.Errorf("by its last stamp: %+v, %v", again, ok)
	}
	third, _ := v.Imports(second.Stamps.Last + 1)
	if third.Transfers != (store.Span{First: 50_000_000_000, Last: 50_000_000_000}) || third.TransfersAt != third.Stamps.First {
		t.Errorf("%+v", third)
	}
	if none, ok := v.Imports(third.Stamps.Last + 1); ok {
		t.Errorf("behind the last: %+v", none)
	}
}
