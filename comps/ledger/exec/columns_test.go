package exec

import (
	"math"
	"slices"
	"testing"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// Every value stands under its name, and reads like the one in the object.
func TestColumns(t *testing.T) {
	a := ledgerpb.Account{
		Id: u128.Max, DebitsPending: u128.From64(1), DebitsPosted: u128.From64(2), CreditsPending: u128.From64(3), CreditsPosted: u128.From64(4),
		UserData128: u128.From64(5), UserData64: math.MaxUint64, UserData32: 7, Ledger: 840, Code: 9,
		Flags: uint32(ledgerpb.AccountFlagsHistory | ledgerpb.AccountFlagsClosed | 1<<31), Timestamp: 11,
	}
	names := []string{"id", "debits_pending", "debits_posted", "credits_pending", "credits_posted", "user_data_128", "user_data_64", "user_data_32", "ledger", "code", "flags", "timestamp"}
	if got := AccountColumns.Names(); !slices.Equal(got, names) {
		t.Errorf("%q", got)
	}
	texts := []string{"340282366920938463463374607431768211455", "1", "2", "3", "4", "5", "18446744073709551615", "7", "840", "9", "history closed account_flags_2147483648", "11"}
	if got := AccountColumns.Texts(&a); !slices.Equal(got, texts) {
		t.Errorf("%q", got)
	}
	want := `{"id":"340282366920938463463374607431768211455","debits_pending":"1","debits_posted":"2","credits_pending":"3","credits_posted":"4","user_data_128":"5","user_data_64":18446744073709551615,"user_data_32":7,"ledger":840,"code":9,"flags":["history","closed","account_flags_2147483648"],"timestamp":11}`
	if got := string(AccountColumns.AppendJSON(nil, &a)); got != want {
		t.Error(got)
	}
}
