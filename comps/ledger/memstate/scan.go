package memstate

import (
	"sort"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// Scan implements ledger.History: it looks at every row of the set.
func (s *State) Scan(set ledger.Set, field ledger.Field, value u128.Int, reversed bool) ledger.Times {
	var found times
	if set == ledger.Accounts {
		s.Accounts(func(a *ledgerpb.Account) {
			if accountField(a, field) == value {
				found.all = append(found.all, a.Timestamp)
			}
		})
	} else {
		for i := range s.events {
			e := &s.events[i]
			if (set == ledger.Events || e.IsTransfer() == (set == ledger.Transfers)) && transferField(&e.Transfer, field) == value {
				found.all = append(found.all, e.Timestamp)
			}
		}
	}
	found.reversed = reversed
	return &found
}

type times struct {
	all      []uint64 // ascending
	reversed bool
}

func (t *times) Seek(bound uint64) (uint64, bool) {
	i := sort.Search(len(t.all), func(i int) bool { return t.all[i] >= bound })
	if t.reversed {
		if i == len(t.all) || t.all[i] != bound {
			i--
		}
	}
	if i < 0 || i == len(t.all) {
		return 0, false
	}
	return t.all[i], true
}

func (t *times) Close() {}

func accountField(a *ledgerpb.Account, f ledger.Field) u128.Int {
	switch f {
	case ledger.UserData128:
		return a.UserData128
	case ledger.UserData64:
		return u128.From64(a.UserData64)
	case ledger.UserData32:
		return u128.From64(uint64(a.UserData32))
	case ledger.LedgerField:
		return u128.From64(uint64(a.Ledger))
	case ledger.CodeField:
		return u128.From64(uint64(a.Code))
	}
	return u128.Int{}
}

func transferField(t *ledgerpb.Transfer, f ledger.Field) u128.Int {
	switch f {
	case ledger.DebitAccount:
		return t.DebitAccountId
	case ledger.CreditAccount:
		return t.CreditAccountId
	case ledger.UserData128:
		return t.UserData128
	case ledger.UserData64:
		return u128.From64(t.UserData64)
	case ledger.UserData32:
		return u128.From64(uint64(t.UserData32))
	case ledger.LedgerField:
		return u128.From64(uint64(t.Ledger))
	case ledger.CodeField:
		return u128.From64(uint64(t.Code))
	}
	return u128.Int{}
}
