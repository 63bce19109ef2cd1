package store

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

func drawNumber(t *rapid.T) u128.Int {
	x := u128.Int{Hi: rapid.Uint64().Draw(t, "hi"), Lo: rapid.Uint64().Draw(t, "lo")}
	switch shift := rapid.IntRange(0, 128).Draw(t, "shift"); {
	case shift >= 64:
		return u128.Int{Lo: x.Hi >> (shift - 64)}
	default:
		return u128.Int{Hi: x.Hi >> shift, Lo: x.Lo}
	}
}

func drawEvent(t *rapid.T, after uint64) ledger.Event {
	e := ledger.Event{
		Timestamp: after + rapid.Uint64Range(1, 1<<40).Draw(t, "delta"),
		Type:      ledgerpb.ChangeEventType(rapid.IntRange(0, 4).Draw(t, "type")),
		Transfer: ledgerpb.Transfer{
			Id: drawNumber(t), DebitAccountId: drawNumber(t), CreditAccountId: drawNumber(t), Amount: drawNumber(t),
			PendingId: drawNumber(t), UserData128: drawNumber(t), UserData64: rapid.Uint64().Draw(t, "64"),
			UserData32: rapid.Uint32().Draw(t, "32"), Timeout: rapid.Uint32().Draw(t, "timeout"), Ledger: rapid.Uint32().Draw(t, "ledger"),
			Code: rapid.Uint32().Draw(t, "code"), Flags: rapid.Uint32().Draw(t, "flags"),
		},
	}
	for _, s := range []*ledger.Side{&e.Debit, &e.Credit} {
		*s = ledger.Side{DebitsPending: drawNumber(t), DebitsPosted: drawNumber(t), CreditsPending: drawNumber(t), CreditsPosted: drawNumber(t), Flags: rapid.Uint32().Draw(t, "flags")}
	}
	e.Transfer.Timestamp = e.Timestamp
	if e.Resolves() != ledger.StatusNone {
		e.PendingTimestamp = e.Timestamp - rapid.Uint64Range(1, e.Timestamp).Draw(t, "pending")
		if rapid.Bool().Draw(t, "expires") {
			e.PendingExpiry = e.PendingTimestamp + rapid.Uint64Range(1, 1<<60).Draw(t, "expiry")
		}
		if !e.IsTransfer() {
			e.Transfer.Timestamp = e.PendingTimestamp
		}
	}
	return e
}

func TestBlockRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		first := rapid.Uint64Range(1, 1<<60).Draw(t, "first")
		var want, got []ledger.Event
		var block []byte
		last := first - 1
		for range rapid.IntRange(1, 8).Draw(t, "events") {
			e := drawEvent(t, last)
			if len(want) == 0 {
				first = e.Timestamp
				last = first
			}
			block = appendEvent(block, &e, last)
			want, last = append(want, e), e.Timestamp
		}
		var e ledger.Event
		if err := eachEvent(first, block, &e, func() bool { got = append(got, e); return true }); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatal(diff)
		}
		cut := rapid.IntRange(0, len(block)-1).Draw(t, "cut")
		seen := 0
		err := eachEvent(first, block[:cut], &e, func() bool { seen++; return true })
		if err == nil && seen >= len(want) || err != nil && !errors.Is(err, ErrCorrupt) {
			t.Fatalf("cut at %d: %d events, error %v", cut, seen, err)
		}
	})
}

func TestAccountRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := ledgerpb.Account{
			DebitsPending: drawNumber(t), DebitsPosted: drawNumber(t), CreditsPending: drawNumber(t), CreditsPosted: drawNumber(t),
			UserData128: drawNumber(t), UserData64: rapid.Uint64().Draw(t, "64"), UserData32: rapid.Uint32().Draw(t, "32"),
			Ledger: rapid.Uint32().Draw(t, "ledger"), Code: rapid.Uint32().Draw(t, "code"), Flags: rapid.Uint32().Draw(t, "flags"),
			Timestamp: rapid.Uint64().Draw(t, "timestamp"),
		}
		var born ledgerpb.Account
		if err := parseBirth(appendBirth(nil, &a), &born); err != nil || born.Id != a.Id || born.UserData128 != a.UserData128 ||
			born.UserData64 != a.UserData64 || born.UserData32 != a.UserData32 || born.Ledger != a.Ledger || born.Code != a.Code {
			t.Fatalf("got %v (%v), want %v", born, err, a)
		}
		row := appendAccount(nil, &a)
		var got ledgerpb.Account
		if err := parseAccount(row, &got); err != nil || got != a {
			t.Fatalf("got %v (%v), want %v", got, err, a)
		}
		for cut := range row {
			if err := parseAccount(row[:cut], &got); !errors.Is(err, ErrCorrupt) {
				t.Fatalf("cut at %d: %v", cut, err)
			}
		}
		if err := parseAccount(append(row, 0), &got); !errors.Is(err, ErrCorrupt) {
			t.Fatalf("with a byte more: %v", err)
		}
	})
}

// Any bytes may stand in a damaged row: the decoders refuse or accept, nothing else.
func FuzzRows(f *testing.F) {
	e := ledger.Event{Timestamp: 7, Type: ledgerpb.ChangeEventTypeTwoPhasePosted, PendingTimestamp: 3, PendingExpiry: 9,
		Transfer: ledgerpb.Transfer{Id: u128.Max, DebitAccountId: u128.From64(1), CreditAccountId: u128.From64(2), Amount: u128.From64(300)}}
	f.Add(appendEvent(appendEvent(nil, &e, 7), &e, 7))
	f.Add(appendAccount(nil, &ledgerpb.Account{DebitsPosted: u128.Max, Ledger: 700}))
	f.Add(appendBirth(nil, &ledgerpb.Account{Id: u128.Max, Ledger: 700}))
	f.Add(appendTimes(nil, []uint64{7, 8, 9000}))
	f.Add(appendState(nil, 12345))
	f.Fuzz(func(t *testing.T, row []byte) {
		check := func(err error) {
			if err != nil && !errors.Is(err, ErrCorrupt) && !errors.Is(err, errFormat) {
				t.Fatal(err)
			}
		}
		var e ledger.Event
		last := uint64(7)
		check(eachEvent(7, row, &e, func() bool {
			if e.Timestamp < last {
				t.Fatal("timestamps go back")
			}
			last = e.Timestamp
			return true
		}))
		var a ledgerpb.Account
		check(parseAccount(row, &a))
		check(parseBirth(row, &a))
		times, err := parseTimes(nil, 7, row)
		check(err)
		if len(times) > len(row)+1 {
			t.Fatalf("%d timestamps from %d bytes", len(times), len(row))
		}
		_, err = parseState(row)
		check(err)
		_, err = parseTransferRow(row)
		check(err)
	})
}
