package exec

import (
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// field is one field of a T: its name in the data model and where it stands. The
// pointer's type says how the value is written:
//
//	*u128.Int, *uint64, *uint32, *code   a number
//	*[]u128.Int                          a list of numbers, in requests only
//	*ledgerpb.…Flags                     a list of names
//	*txnpb.AccessRights                  likewise
//	*txnpb.Measure, *txnpb.Comparison    a name, in requests only
//	*ledgerpb.ChangeEventType            a name, in answers only
type field[T any] struct {
	name string
	of   func(*T) any
}

// code is a number of 16 bits in the data model.
type code uint32

const maxCode = math.MaxUint16

var accountFields = []field[ledgerpb.Account]{
	{"id", func(a *ledgerpb.Account) any { return &a.Id }},
	{"debits_pending", func(a *ledgerpb.Account) any { return &a.DebitsPending }},
	{"debits_posted", func(a *ledgerpb.Account) any { return &a.DebitsPosted }},
	{"credits_pending", func(a *ledgerpb.Account) any { return &a.CreditsPending }},
	{"credits_posted", func(a *ledgerpb.Account) any { return &a.CreditsPosted }},
	{"user_data_128", func(a *ledgerpb.Account) any { return &a.UserData128 }},
	{"user_data_64", func(a *ledgerpb.Account) any { return &a.UserData64 }},
	{"user_data_32", func(a *ledgerpb.Account) any { return &a.UserData32 }},
	{"ledger", func(a *ledgerpb.Account) any { return &a.Ledger }},
	{"code", func(a *ledgerpb.Account) any { return (*code)(&a.Code) }},
	{"flags", func(a *ledgerpb.Account) any { return (*ledgerpb.AccountFlags)(&a.Flags) }},
	{"timestamp", func(a *ledgerpb.Account) any { return &a.Timestamp }},
}

var transferFields = []field[ledgerpb.Transfer]{
	{"id", func(t *ledgerpb.Transfer) any { return &t.Id }},
	{"debit_account_id", func(t *ledgerpb.Transfer) any { return &t.DebitAccountId }},
	{"credit_account_id", func(t *ledgerpb.Transfer) any { return &t.CreditAccountId }},
	{"amount", func(t *ledgerpb.Transfer) any { return &t.Amount }},
	{"pending_id", func(t *ledgerpb.Transfer) any { return &t.PendingId }},
	{"user_data_128", func(t *ledgerpb.Transfer) any { return &t.UserData128 }},
	{"user_data_64", func(t *ledgerpb.Transfer) any { return &t.UserData64 }},
	{"user_data_32", func(t *ledgerpb.Transfer) any { return &t.UserData32 }},
	{"timeout", func(t *ledgerpb.Transfer) any { return &t.Timeout }},
	{"ledger", func(t *ledgerpb.Transfer) any { return &t.Ledger }},
	{"code", func(t *ledgerpb.Transfer) any { return (*code)(&t.Code) }},
	{"flags", func(t *ledgerpb.Transfer) any { return (*ledgerpb.TransferFlags)(&t.Flags) }},
	{"timestamp", func(t *ledgerpb.Transfer) any { return &t.Timestamp }},
}

var accountFilterFields = []field[ledgerpb.AccountFilter]{
	{"account_id", func(f *ledgerpb.AccountFilter) any { return &f.AccountId }},
	{"user_data_128", func(f *ledgerpb.AccountFilter) any { return &f.UserData128 }},
	{"user_data_64", func(f *ledgerpb.AccountFilter) any { return &f.UserData64 }},
	{"user_data_32", func(f *ledgerpb.AccountFilter) any { return &f.UserData32 }},
	{"code", func(f *ledgerpb.AccountFilter) any { return (*code)(&f.Code) }},
	{"timestamp_min", func(f *ledgerpb.AccountFilter) any { return &f.TimestampMin }},
	{"timestamp_max", func(f *ledgerpb.AccountFilter) any { return &f.TimestampMax }},
	{"limit", func(f *ledgerpb.AccountFilter) any { return &f.Limit }},
	{"flags", func(f *ledgerpb.AccountFilter) any { return (*ledgerpb.AccountFilterFlags)(&f.Flags) }},
}

var queryFilterFields = []field[ledgerpb.QueryFilter]{
	{"user_data_128", func(f *ledgerpb.QueryFilter) any { return &f.UserData128 }},
	{"user_data_64", func(f *ledgerpb.QueryFilter) any { return &f.UserData64 }},
	{"user_data_32", func(f *ledgerpb.QueryFilter) any { return &f.UserData32 }},
	{"ledger", func(f *ledgerpb.QueryFilter) any { return &f.Ledger }},
	{"code", func(f *ledgerpb.QueryFilter) any { return (*code)(&f.Code) }},
	{"timestamp_min", func(f *ledgerpb.QueryFilter) any { return &f.TimestampMin }},
	{"timestamp_max", func(f *ledgerpb.QueryFilter) any { return &f.TimestampMax }},
	{"limit", func(f *ledgerpb.QueryFilter) any { return &f.Limit }},
	{"flags", func(f *ledgerpb.QueryFilter) any { return (*ledgerpb.QueryFilterFlags)(&f.Flags) }},
}

var changeEventsFilterFields = []field[ledgerpb.ChangeEventsFilter]{
	{"timestamp_min", func(f *ledgerpb.ChangeEventsFilter) any { return &f.TimestampMin }},
	{"timestamp_max", func(f *ledgerpb.ChangeEventsFilter) any { return &f.TimestampMax }},
	{"limit", func(f *ledgerpb.ChangeEventsFilter) any { return &f.Limit }},
}

var balancesFilterFields = []field[ledgerpb.BalancesFilter]{
	{"account_ids", func(f *ledgerpb.BalancesFilter) any { return &f.AccountIds }},
	{"timestamp", func(f *ledgerpb.BalancesFilter) any { return &f.Timestamp }},
	{"csn", func(f *ledgerpb.BalancesFilter) any { return &f.Csn }},
}

// tick is the content of a tick request.
type tick struct{ nanoseconds uint64 }

var tickFields = []field[tick]{
	{"nanoseconds", func(t *tick) any { return &t.nanoseconds }},
}

var balanceFields = []field[ledgerpb.AccountBalance]{
	{"debits_pending", func(b *ledgerpb.AccountBalance) any { return &b.DebitsPending }},
	{"debits_posted", func(b *ledgerpb.AccountBalance) any { return &b.DebitsPosted }},
	{"credits_pending", func(b *ledgerpb.AccountBalance) any { return &b.CreditsPending }},
	{"credits_posted", func(b *ledgerpb.AccountBalance) any { return &b.CreditsPosted }},
	{"timestamp", func(b *ledgerpb.AccountBalance) any { return &b.Timestamp }},
}

var eventFields = []field[ledgerpb.ChangeEvent]{
	{"transfer_id", func(e *ledgerpb.ChangeEvent) any { return &e.TransferId }},
	{"transfer_amount", func(e *ledgerpb.ChangeEvent) any { return &e.TransferAmount }},
	{"transfer_pending_id", func(e *ledgerpb.ChangeEvent) any { return &e.TransferPendingId }},
	{"transfer_user_data_128", func(e *ledgerpb.ChangeEvent) any { return &e.TransferUserData128 }},
	{"transfer_user_data_64", func(e *ledgerpb.ChangeEvent) any { return &e.TransferUserData64 }},
	{"transfer_user_data_32", func(e *ledgerpb.ChangeEvent) any { return &e.TransferUserData32 }},
	{"transfer_timeout", func(e *ledgerpb.ChangeEvent) any { return &e.TransferTimeout }},
	{"transfer_code", func(e *ledgerpb.ChangeEvent) any { return (*code)(&e.TransferCode) }},
	{"transfer_flags", func(e *ledgerpb.ChangeEvent) any { return (*ledgerpb.TransferFlags)(&e.TransferFlags) }},
	{"ledger", func(e *ledgerpb.ChangeEvent) any { return &e.Ledger }},
	{"type", func(e *ledgerpb.ChangeEvent) any { return &e.Type }},
	{"debit_account_id", func(e *ledgerpb.ChangeEvent) any { return &e.DebitAccountId }},
	{"debit_account_debits_pending", func(e *ledgerpb.ChangeEvent) any { return &e.DebitAccountDebitsPending }},
	{"debit_account_debits_posted", func(e *ledgerpb.ChangeEvent) any { return &e.DebitAccountDebitsPosted }},
	{"debit_account_credits_pending", func(e *ledgerpb.ChangeEvent) any { return &e.DebitAccountCreditsPending }},
	{"debit_account_credits_posted", func(e *ledgerpb.ChangeEvent) any { return &e.DebitAccountCreditsPosted }},
	{"debit_account_user_data_128", func(e *ledgerpb.ChangeEvent) any { return &e.DebitAccountUserData128 }},
	{"debit_account_user_data_64", func(e *ledgerpb.ChangeEvent) any { return &e.DebitAccountUserData64 }},
	{"debit_account_user_data_32", func(e *ledgerpb.ChangeEvent) any { return &e.DebitAccountUserData32 }},
	{"debit_account_code", func(e *ledgerpb.ChangeEvent) any { return (*code)(&e.DebitAccountCode) }},
	{"debit_account_flags", func(e *ledgerpb.ChangeEvent) any { return (*ledgerpb.AccountFlags)(&e.DebitAccountFlags) }},
	{"credit_account_id", func(e *ledgerpb.ChangeEvent) any { return &e.CreditAccountId }},
	{"credit_account_debits_pending", func(e *ledgerpb.ChangeEvent) any { return &e.CreditAccountDebitsPending }},
	{"credit_account_debits_posted", func(e *ledgerpb.ChangeEvent) any { return &e.CreditAccountDebitsPosted }},
	{"credit_account_credits_pending", func(e *ledgerpb.ChangeEvent) any { return &e.CreditAccountCreditsPending }},
	{"credit_account_credits_posted", func(e *ledgerpb.ChangeEvent) any { return &e.CreditAccountCreditsPosted }},
	{"credit_account_user_data_128", func(e *ledgerpb.ChangeEvent) any { return &e.CreditAccountUserData128 }},
	{"credit_account_user_data_64", func(e *ledgerpb.ChangeEvent) any { return &e.CreditAccountUserData64 }},
	{"credit_account_user_data_32", func(e *ledgerpb.ChangeEvent) any { return &e.CreditAccountUserData32 }},
	{"credit_account_code", func(e *ledgerpb.ChangeEvent) any { return (*code)(&e.CreditAccountCode) }},
	{"credit_account_flags", func(e *ledgerpb.ChangeEvent) any { return (*ledgerpb.AccountFlags)(&e.CreditAccountFlags) }},
	{"timestamp", func(e *ledgerpb.ChangeEvent) any { return &e.Timestamp }},
	{"transfer_timestamp", func(e *ledgerpb.ChangeEvent) any { return &e.TransferTimestamp }},
	{"debit_account_timestamp", func(e *ledgerpb.ChangeEvent) any { return &e.DebitAccountTimestamp }},
	{"credit_account_timestamp", func(e *ledgerpb.ChangeEvent) any { return &e.CreditAccountTimestamp }},
}

// flagSet is a set of flags that this software knows, in the order of their bits.
type flagSet[F flags] []F

// flags is a bit set whose single bits have names.
type flags interface {
	~uint32
	fmt.Stringer
}

var (
	accountFlags = flagSet[ledgerpb.AccountFlags]{
		ledgerpb.AccountFlagsLinked, ledgerpb.AccountFlagsDebitsMustNotExceedCredits,
		ledgerpb.AccountFlagsCreditsMustNotExceedDebits, ledgerpb.AccountFlagsHistory,
		ledgerpb.AccountFlagsImported, ledgerpb.AccountFlagsClosed,
	}
	transferFlags = flagSet[ledgerpb.TransferFlags]{
		ledgerpb.TransferFlagsLinked, ledgerpb.TransferFlagsPending,
		ledgerpb.TransferFlagsPostPendingTransfer, ledgerpb.TransferFlagsVoidPendingTransfer,
		ledgerpb.TransferFlagsBalancingDebit, ledgerpb.TransferFlagsBalancingCredit,
		ledgerpb.TransferFlagsClosingDebit, ledgerpb.TransferFlagsClosingCredit, ledgerpb.TransferFlagsImported,
	}
	accountFilterFlags = flagSet[ledgerpb.AccountFilterFlags]{
		ledgerpb.AccountFilterFlagsDebits, ledgerpb.AccountFilterFlagsCredits, ledgerpb.AccountFilterFlagsReversed,
	}
	queryFilterFlags = flagSet[ledgerpb.QueryFilterFlags]{ledgerpb.QueryFilterFlagsReversed}
)

// named returns the flag of that name.
func (s flagSet[F]) named(name []byte) (F, error) {
	for _, f := range s {
		if f.String() == string(name) {
			return f, nil
		}
	}
	names := make([]string, len(s))
	for i, f := range s {
		names[i] = f.String()
	}
	return 0, faultf("no flag %q; there are %s", quoted(name), strings.Join(names, ", "))
}

// read reads the list of names that comes.
func (s flagSet[F]) read(sc *scanner) (all F, err error) {
	err = sc.list("a list of flags belongs, such as [\""+s[0].String()+"\"]", func(i int) error {
		if sc.next() != '"' {
			return element(i, sc.wrongType("a flag's name belongs, such as \""+s[0].String()+"\""))
		}
		f, err := s.named(sc.text())
		all |= f
		return element(i, err)
	})
	return all, err
}

// appendFlags appends the list of names of the bits that are set. A bit that this
// software does not know, from newer software, has a name with its number.
func appendFlags[F flags](b []byte, all F) []byte {
	b = append(b, '[')
	for rest := uint32(all); rest != 0; rest &= rest - 1 {
		if rest != uint32(all) {
			b = append(b, ',')
		}
		b = appendName(b, F(1)<<bits.TrailingZeros32(rest))
	}
	return append(b, ']')
}

// appendName appends a name as a string; names hold nothing that needs an escape.
func appendName(b []byte, v fmt.Stringer) []byte {
	b = append(b, '"')
	b = append(b, v.String()...)
	return append(b, '"')
}

// read reads the value that comes into what v points to.
func read(s *scanner, v any) error {
	var n u128.Int
	var err error
	switch v := v.(type) {
	case *u128.Int:
		*v, err = s.number(u128.Max)
	case *[]u128.Int:
		*v, err = readIDs(s)
	case *uint64:
		n, err = s.number(u128.From64(math.MaxUint64))
		*v = n.Lo
	case *uint32:
		n, err = s.number(u128.From64(math.MaxUint32))
		*v = uint32(n.Lo)
	case *code:
		n, err = s.number(u128.From64(maxCode))
		*v = code(n.Lo)
	case *ledgerpb.AccountFlags:
		*v, err = accountFlags.read(s)
	case *ledgerpb.TransferFlags:
		*v, err = transferFlags.read(s)
	case *ledgerpb.AccountFilterFlags:
		*v, err = accountFilterFlags.read(s)
	case *ledgerpb.QueryFilterFlags:
		*v, err = queryFilterFlags.read(s)
	case *txnpb.AccessRights:
		*v, err = accessRights.read(s)
	case *txnpb.Measure:
		*v, err = readName(s, measures...)
	case *txnpb.Comparison:
		*v, err = readName(s, comparisons...)
	default:
		panic(fmt.Sprintf("exec: a %T is not part of a request", v))
	}
	return err
}

// readObject reads the object that comes into v, which is zero. what names it in
// errors, with its article.
func readObject[T any](s *scanner, what string, fields []field[T], v *T) error {
	if s.next() != '{' {
		return s.wrongType(what + " belongs, an object that may hold " + fieldNames(fields))
	}
	var seen uint64 // bit i: fields[i] was read
	next := 0       // fields mostly come in their order
	return s.object(func(key []byte) error {
		i := next
		for n := 0; fields[i].name != string(key); n++ {
			if n == len(fields)-1 {
				return faultf("no field %q; %s has %s", quoted(key), what, fieldNames(fields))
			}
			i = (i + 1) % len(fields)
		}
		if seen&(1<<i) != 0 {
			return within(fields[i].name, faultf("stands twice; write it once"))
		}
		seen |= 1 << i
		next = (i + 1) % len(fields)
		if err := read(s, fields[i].of(v)); err != nil {
			return within(fields[i].name, err)
		}
		return nil
	})
}

func fieldNames[T any](fields []field[T]) string {
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].name
	}
	return strings.Join(names, ", ")
}

// appendObject appends v with all its fields.
func appendObject[T any](b []byte, fields []field[T], v *T) []byte {
	for i := range fields {
		b = append(b, "{,"[min(i, 1)], '"')
		b = append(b, fields[i].name...)
		b = append(b, '"', ':')
		b = appendValue(b, fields[i].of(v))
	}
	return append(b, '}')
}

// appendValue appends what v points to.
func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case *u128.Int:
		b = append(b, '"')
		b = v.Append(b)
		b = append(b, '"')
	case *uint64:
		b = strconv.AppendUint(b, *v, 10)
	case *uint32:
		b = strconv.AppendUint(b, uint64(*v), 10)
	case *code:
		b = strconv.AppendUint(b, uint64(*v), 10)
	case *ledgerpb.AccountFlags:
		b = appendFlags(b, *v)
	case *ledgerpb.TransferFlags:
		b = appendFlags(b, *v)
	case *txnpb.AccessRights:
		b = appendFlags(b, *v)
	case *ledgerpb.ChangeEventType:
		b = appendName(b, *v)
	case *txnpb.Measure:
		b = appendName(b, *v)
	case *txnpb.Comparison:
		b = appendName(b, *v)
	default:
		panic(fmt.Sprintf("exec: a %T is not part of an answer", v))
	}
	return b
}

// appendList appends a list of objects.
func appendList[T any](b []byte, fields []field[T], list []T) []byte {
	b = append(b, '[')
	for i := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendObject(b, fields, &list[i])
	}
	return append(b, ']')
}
