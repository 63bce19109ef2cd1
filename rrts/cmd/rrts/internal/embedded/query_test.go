package embedded

import (
	"fmt"
	"iter"
	"slices"
	"testing"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// TestQueriesByFilter: what the SDK's queries yield of a ledger with more than one page of
// everything, in both directions, with limits and bounds.
func TestQueriesByFilter(t *testing.T) {
	l := open(t, Config{Dir: t.TempDir(), Virtual: true})
	defer closeLedger(t, l)
	const accounts, transfers = 2100, 2300
	ctx := t.Context()
	as := make([]ledgerpb.Account, accounts)
	for i := range as {
		as[i] = ledgerpb.Account{Id: u128.From64(uint64(i + 1)), Ledger: 1, Code: 1 + uint32(i%2), Flags: uint32(ledgerpb.AccountFlagsHistory)}
	}
	if _, err := l.Create(ctx, as, nil); err != nil {
		t.Fatal(err)
	}
	ts := make([]ledgerpb.Transfer, transfers)
	for i := range ts {
		ts[i] = ledgerpb.Transfer{Id: u128.From64(uint64(i + 1)), DebitAccountId: u128.From64(1), CreditAccountId: u128.From64(2), Amount: u128.From64(1), Ledger: 1, Code: 1 + uint32(i%2)}
	}
	if _, err := l.Create(ctx, nil, ts); err != nil {
		t.Fatal(err)
	}
	const reversed = uint32(ledgerpb.QueryFilterFlagsReversed)
	both := uint32(ledgerpb.AccountFilterFlagsDebits | ledgerpb.AccountFilterFlagsCredits)
	back := both | uint32(ledgerpb.AccountFilterFlagsReversed)
	transferID := func(x ledgerpb.Transfer) uint64 { return x.Id.Lo }
	accountID := func(x ledgerpb.Account) uint64 { return x.Id.Lo }
	for _, c := range []struct {
		name string
		got  []uint64
		want []uint64
	}{
		{"all transfers", collect(t, client.Transfers(ctx, l, ledgerpb.QueryFilter{}), transferID), count(1, transfers, 1)},
		{"newest first", collect(t, client.Transfers(ctx, l, ledgerpb.QueryFilter{Flags: reversed}), transferID), count(transfers, 1, -1)},
		{"of a code", collect(t, client.Transfers(ctx, l, ledgerpb.QueryFilter{Code: 2}), transferID), count(2, transfers, 2)},
		{"a limit within a page", collect(t, client.Transfers(ctx, l, ledgerpb.QueryFilter{Limit: 3}), transferID), count(1, 3, 1)},
		{"a limit of a page", collect(t, client.Transfers(ctx, l, ledgerpb.QueryFilter{Limit: 1000}), transferID), count(1, 1000, 1)},
		{"a limit beyond a page, newest first", collect(t, client.Transfers(ctx, l, ledgerpb.QueryFilter{Limit: 1500, Flags: reversed}), transferID), count(transfers, transfers-1499, -1)},
		{"a limit beyond all", collect(t, client.Transfers(ctx, l, ledgerpb.QueryFilter{Limit: 5000}), transferID), count(1, transfers, 1)},
		{"between two times", collect(t, client.Transfers(ctx, l, ledgerpb.QueryFilter{TimestampMin: accounts + 11, TimestampMax: accounts + 2010}), transferID), count(11, 2010, 1)},
		{"between two times, newest first", collect(t, client.Transfers(ctx, l, ledgerpb.QueryFilter{TimestampMin: accounts + 11, TimestampMax: accounts + 2010, Flags: reversed}), transferID), count(2010, 11, -1)},
		{"all accounts", collect(t, client.Accounts(ctx, l, ledgerpb.QueryFilter{}), accountID), count(1, accounts, 1)},
		{"accounts newest first", collect(t, client.Accounts(ctx, l, ledgerpb.QueryFilter{Flags: reversed}), accountID), count(accounts, 1, -1)},
		{"of an account", collect(t, client.AccountTransfers(ctx, l, ledgerpb.AccountFilter{AccountId: u128.From64(1), Flags: both}), transferID), count(1, transfers, 1)},
		{"of an account, newest first", collect(t, client.AccountTransfers(ctx, l, ledgerpb.AccountFilter{AccountId: u128.From64(2), Flags: back}), transferID), count(transfers, 1, -1)},
		{"of an account without any", collect(t, client.AccountTransfers(ctx, l, ledgerpb.AccountFilter{AccountId: u128.From64(3), Flags: both}), transferID), nil},
		{"balances", collect(t, client.AccountBalances(ctx, l, ledgerpb.AccountFilter{AccountId: u128.From64(1), Flags: both}),
			func(b ledgerpb.AccountBalance) uint64 { return b.DebitsPosted.Lo }), count(1, transfers, 1)},
		{"events", collect(t, client.ChangeEvents(ctx, l, ledgerpb.ChangeEventsFilter{}),
			func(e ledgerpb.ChangeEvent) uint64 { return e.TransferId.Lo }), count(1, transfers, 1)},
		{"some events", collect(t, client.ChangeEvents(ctx, l, ledgerpb.ChangeEventsFilter{TimestampMin: accounts + 5, Limit: 1200}),
			func(e ledgerpb.ChangeEvent) uint64 { return e.TransferId.Lo }), count(5, 1204, 1)},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%s: %s, want %s", c.name, ends(c.got), ends(c.want))
		}
	}
	rows := client.Transfers(ctx, l, ledgerpb.QueryFilter{})
	for range 2 { // who wants no more gets none, and may begin again
		n := 0
		for x, err := range rows {
			if n++; err != nil || x.Id.Lo != uint64(n) {
				t.Fatalf("row %d is %v, %v", n, x.Id, err)
			}
			if n == 1500 {
				break
			}
		}
	}
}

func collect[T any](t *testing.T, rows iter.Seq2[T, error], id func(T) uint64) (ids []uint64) {
	t.Helper()
	for r, err := range rows {
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id(r))
	}
	return ids
}

func count(from, to, step int) (all []uint64) {
	for i := from; step > 0 && i <= to || step < 0 && i >= to; i += step {
		all = append(all, uint64(i))
	}
	return all
}

func ends(ids []uint64) string {
	if len(ids) == 0 {
		return "nothing"
	}
	return fmt.Sprintf("%d from %d to %d", len(ids), ids[0], ids[len(ids)-1])
}
