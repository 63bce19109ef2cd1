package ledger

import (
	"slices"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

const (
	accountLinked         = uint32(ledgerpb.AccountFlagsLinked)
	accountDebitsLimited  = uint32(ledgerpb.AccountFlagsDebitsMustNotExceedCredits)
	accountCreditsLimited = uint32(ledgerpb.AccountFlagsCreditsMustNotExceedDebits)
	accountHistory        = uint32(ledgerpb.AccountFlagsHistory)
	accountImported       = uint32(ledgerpb.AccountFlagsImported)
	accountClosed         = uint32(ledgerpb.AccountFlagsClosed)
	accountFlags          = accountLinked | accountDebitsLimited | accountCreditsLimited | accountHistory | accountImported | accountClosed
)

// maxCode is the greatest code: codes are 16-bit numbers in the data model.
const maxCode = 1<<16 - 1

// createAccount applies the rules for one account, in their order of precedence.
// It returns the status and the result's timestamp.
func (l *Ledger) createAccount(stamp uint64, in *ledgerpb.Account) (uint32, uint64) {
	refuse := func(s ledgerpb.CreateAccountStatus) (uint32, uint64) { return uint32(s), stamp }
	switch {
	case in.Code > maxCode:
		return refuse(ledgerpb.CreateAccountStatusReservedField)
	case in.Flags&^accountFlags != 0:
		return refuse(ledgerpb.CreateAccountStatusReservedFlag)
	case in.Id.IsZero():
		return refuse(ledgerpb.CreateAccountStatusIdMustNotBeZero)
	case in.Id == u128.Max:
		return refuse(ledgerpb.CreateAccountStatusIdMustNotBeIntMax)
	}
	if a, _ := l.accounts.get(l.state, in.Id); a != nil {
		if s := accountExists(in, a); s != ledgerpb.CreateAccountStatusExists {
			return refuse(s)
		}
		return uint32(ledgerpb.CreateAccountStatusExists), a.Timestamp
	}
	const limited = accountDebitsLimited | accountCreditsLimited
	switch {
	case in.Flags&limited == limited:
		return refuse(ledgerpb.CreateAccountStatusFlagsAreMutuallyExclusive)
	case !in.DebitsPending.IsZero():
		return refuse(ledgerpb.CreateAccountStatusDebitsPendingMustBeZero)
	case !in.DebitsPosted.IsZero():
		return refuse(ledgerpb.CreateAccountStatusDebitsPostedMustBeZero)
	case !in.CreditsPending.IsZero():
		return refuse(ledgerpb.CreateAccountStatusCreditsPendingMustBeZero)
	case !in.CreditsPosted.IsZero():
		return refuse(ledgerpb.CreateAccountStatusCreditsPostedMustBeZero)
	case in.Ledger == 0:
		return refuse(ledgerpb.CreateAccountStatusLedgerMustNotBeZero)
	case in.Code == 0:
		return refuse(ledgerpb.CreateAccountStatusCodeMustNotBeZero)
	}
	at := stamp
	if in.Flags&accountImported != 0 {
		at = in.Timestamp
		if at <= l.lastAccount || l.eventAt(at) {
			return refuse(ledgerpb.CreateAccountStatusImportedEventTimestampMustNotRegress)
		}
	}
	a := *in
	a.Timestamp = at
	n := l.accounts.add(&a)
	l.accounts.touch(n)
	if len(l.scopes) != 0 {
		l.undo = append(l.undo, change{kind: accountCreated, slot: n})
	}
	l.newAccounts, l.lastAccount = append(l.newAccounts, at), at
	return created, at
}

// accountExists compares a request with the account of its id.
func accountExists(in, a *ledgerpb.Account) ledgerpb.CreateAccountStatus {
	switch {
	case in.Flags != a.Flags:
		return ledgerpb.CreateAccountStatusExistsWithDifferentFlags
	case in.UserData128 != a.UserData128:
		return ledgerpb.CreateAccountStatusExistsWithDifferentUserData128
	case in.UserData64 != a.UserData64:
		return ledgerpb.CreateAccountStatusExistsWithDifferentUserData64
	case in.UserData32 != a.UserData32:
		return ledgerpb.CreateAccountStatusExistsWithDifferentUserData32
	case in.Ledger != a.Ledger:
		return ledgerpb.CreateAccountStatusExistsWithDifferentLedger
	case in.Code != a.Code:
		return ledgerpb.CreateAccountStatusExistsWithDifferentCode
	}
	return ledgerpb.CreateAccountStatusExists
}

// eventAt reports whether there is an event of timestamp ts.
func (l *Ledger) eventAt(ts uint64) bool {
	return ts <= l.lastEvent && (l.newEvent(ts) != nil || l.state.EventAt(ts))
}

// accountAt reports whether there is an account of timestamp ts.
func (l *Ledger) accountAt(ts uint64) bool {
	if ts > l.lastAccount {
		return false
	}
	_, found := slices.BinarySearch(l.newAccounts, ts)
	return found || l.state.AccountAt(ts)
}
