package exec

import (
	"strings"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// maxIDs is how many ids one lookup may hold: the bound of ledgerpb.Lookup.
const maxIDs = 8192

// request is one parsed line.
type request struct {
	kind      *kind
	accounts  []ledgerpb.Account  // of create_accounts
	transfers []ledgerpb.Transfer // of create_transfers
	query     txnpb.Query         // of a lookup or query
	tick      tick
}

// kind is one kind of request.
type kind struct {
	name string
	// read reads the request's content.
	read func(s *scanner, r *request) error
	// answer appends the answer; nil for what is no query.
	answer func(b []byte, a *txnpb.QueryAnswer) []byte
}

var (
	createAccounts  = kind{name: "create_accounts", read: readAccounts}
	createTransfers = kind{name: "create_transfers", read: readTransfers}
	ticks           = kind{name: "tick", read: readTick}
)

var kinds = []*kind{
	&createAccounts,
	&createTransfers,
	{"lookup_accounts", func(s *scanner, r *request) (err error) {
		r.query.LookupAccounts, err = readLookup(s)
		return err
	}, answerAccounts},
	{"lookup_transfers", func(s *scanner, r *request) (err error) {
		r.query.LookupTransfers, err = readLookup(s)
		return err
	}, answerTransfers},
	{"get_account_transfers", func(s *scanner, r *request) error {
		return readFilter(s, "an account filter", accountFilterFields, &r.query.GetAccountTransfers)
	}, answerTransfers},
	{"get_account_balances", func(s *scanner, r *request) error {
		return readFilter(s, "an account filter", accountFilterFields, &r.query.GetAccountBalances)
	}, answerBalances},
	{"query_accounts", func(s *scanner, r *request) error {
		return readFilter(s, "a query filter", queryFilterFields, &r.query.QueryAccounts)
	}, answerAccounts},
	{"query_transfers", func(s *scanner, r *request) error {
		return readFilter(s, "a query filter", queryFilterFields, &r.query.QueryTransfers)
	}, answerTransfers},
	{"get_change_events", func(s *scanner, r *request) error {
		return readFilter(s, "a change events filter", changeEventsFilterFields, &r.query.GetChangeEvents)
	}, answerEvents},
	{"get_balances", func(s *scanner, r *request) error {
		return readFilter(s, "a balances filter", balancesFilterFields, &r.query.GetBalances)
	}, answerAccounts},
	&ticks,
}

// parse reads one line into r, whose memory it uses again. The error is a *fault;
// r is then unfit for use.
func (r *request) parse(line []byte) error {
	r.kind, r.accounts, r.transfers, r.query, r.tick = nil, r.accounts[:0], r.transfers[:0], txnpb.Query{}, tick{}
	s, err := newScanner(line)
	if err != nil {
		return err
	}
	if s.next() != '{' {
		return s.wrongType("a request belongs, such as " + example)
	}
	err = s.object(func(key []byte) error {
		k := kindNamed(key)
		switch {
		case k == nil:
			return faultf("no request %q; there are %s", quoted(key), kindNames())
		case r.kind != nil:
			return faultf("two requests, %s and %s; write each on a line of its own", r.kind.name, k.name)
		}
		r.kind = k
		return within(k.name, k.read(&s, r))
	})
	if err == nil && r.kind == nil {
		return faultf("no request; there are %s", kindNames())
	}
	return err
}

func kindNamed(name []byte) *kind {
	for _, k := range kinds {
		if k.name == string(name) {
			return k
		}
	}
	return nil
}

func kindNames() string {
	names := make([]string, len(kinds))
	for i, k := range kinds {
		names[i] = k.name
	}
	return strings.Join(names, ", ")
}

func readAccounts(s *scanner, r *request) (err error) {
	r.accounts, err = readEvents(s, "a list of accounts belongs", "an account", accountFields, r.accounts)
	return err
}

func readTransfers(s *scanner, r *request) (err error) {
	r.transfers, err = readEvents(s, "a list of transfers belongs", "a transfer", transferFields, r.transfers)
	return err
}

// readEvents reads a list of at most ledger.MaxEvents events and appends it to out.
func readEvents[T any](s *scanner, list, what string, fields []field[T], out []T) ([]T, error) {
	err := s.list(list, func(i int) error {
		if i == ledger.MaxEvents {
			return faultf("more than %d events in one line; divide them among several lines", ledger.MaxEvents)
		}
		var zero T
		out = append(out, zero)
		return element(i, readObject(s, what, fields, &out[i]))
	})
	return out, err
}

func readLookup(s *scanner) (*ledgerpb.Lookup, error) {
	ids, err := readIDs(s)
	return &ledgerpb.Lookup{Ids: ids}, err
}

func readIDs(s *scanner) (ids []u128.Int, err error) {
	err = s.list("a list of ids belongs, such as [\"1\",\"2\"]", func(i int) error {
		if i == maxIDs {
			return faultf("more than %d ids in one line; divide them among several lines", maxIDs)
		}
		id, err := s.number(u128.Max)
		ids = append(ids, id)
		return element(i, err)
	})
	return ids, err
}

func readFilter[T any](s *scanner, what string, fields []field[T], out **T) error {
	*out = new(T)
	return readObject(s, what, fields, *out)
}

func readTick(s *scanner, r *request) error {
	return readObject(s, "a tick", tickFields, &r.tick)
}
