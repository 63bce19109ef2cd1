package exec

import (
	"fmt"
	"strings"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// transactionExample is what an error shows.
const transactionExample = `{"transfers":[{"debit_account_id":"1","credit_account_id":"2","amount":"5","ledger":1,"code":1}],"derive_transfer_ids":true}`

// ParseTransaction reads a transaction from one JSON object:
//
//	{"id":"…", "mode":"atomic", "memo":"rent", "metadata":{"invoice":"17"},
//	 "preconditions":[{"account_id":"1","measure":"credit_available","comparison":"at_least","value":"5"}],
//	 "accounts":[{…}], "access":[{"account_id":"1","user":7,"rights":["read","debit"]}],
//	 "transfers":[{…}], "derive_transfer_ids":true, "effects":[{…}]}
//
// Everything may be left out; accounts and transfers are those of a request, effects those
// of readEffects. The
// error is one line that names the field and the cure.
func ParseTransaction(text []byte) (*txnpb.Transaction, error) {
	s, err := newScanner(text)
	if err != nil {
		return nil, err
	}
	if s.next() != '{' {
		return nil, s.wrongType("a transaction belongs, such as " + transactionExample)
	}
	tx := &txnpb.Transaction{}
	seen := map[string]bool{}
	err = s.object(func(key []byte) (err error) {
		name := string(key)
		if seen[name] {
			return within(name, faultf("stands twice; write it once"))
		}
		seen[name] = true
		switch name {
		case "id":
			tx.Id, err = s.number(u128.Max)
		case "mode":
			tx.Mode, err = readName(&s, txnpb.ModeAtomic, txnpb.ModeIndependent)
		case "memo":
			tx.Memo, err = readText(&s)
		case "metadata":
			tx.Metadata, err = readLabels(&s)
		case "preconditions":
			tx.Preconditions, err = readEvents(&s, "a list of preconditions belongs", "a precondition", preconditionFields, tx.Preconditions)
		case "accounts":
			tx.Accounts, err = readEvents(&s, "a list of accounts belongs", "an account", accountFields, tx.Accounts)
		case "access":
			tx.Access, err = readEvents(&s, "a list of access changes belongs", "an access change", accessFields, tx.Access)
		case "transfers":
			tx.Transfers, err = readEvents(&s, "a list of transfers belongs", "a transfer", transferFields, tx.Transfers)
		case "effects":
			tx.Effects, err = readEffects(&s, maxDepth)
		case "derive_transfer_ids":
			tx.DeriveTransferIds, err = readBool(&s)
		default:
			return faultf("no field %q; a transaction has id, mode, memo, metadata, preconditions, accounts, access, transfers, derive_transfer_ids, effects", quoted(key))
		}
		return within(name, err)
	})
	if err != nil {
		return nil, err
	}
	return tx, nil
}

var preconditionFields = []field[txnpb.Precondition]{
	{"account_id", func(p *txnpb.Precondition) any { return &p.AccountId }},
	{"transfer_id", func(p *txnpb.Precondition) any { return &p.TransferId }},
	{"measure", func(p *txnpb.Precondition) any { return &p.Measure }},
	{"comparison", func(p *txnpb.Precondition) any { return &p.Comparison }},
	{"value", func(p *txnpb.Precondition) any { return &p.Value }},
}

var accessFields = []field[txnpb.AccessChange]{
	{"account_id", func(c *txnpb.AccessChange) any { return &c.AccountId }},
	{"user", func(c *txnpb.AccessChange) any { return &c.User }},
	{"rights", func(c *txnpb.AccessChange) any { return (*txnpb.AccessRights)(&c.Rights) }},
}

var (
	accessRights = flagSet[txnpb.AccessRights]{txnpb.AccessRightsRead, txnpb.AccessRightsDebit, txnpb.AccessRightsSettle, txnpb.AccessRightsOwner}
	measures     = upTo(txnpb.MeasureExists, txnpb.MeasurePhase)
	comparisons  = upTo(txnpb.ComparisonAtLeast, txnpb.ComparisonNotEqual)
)

// upTo lists the values of an enumeration from first to last.
func upTo[E ~uint32](first, last E) (all []E) {
	for v := first; v <= last; v++ {
		all = append(all, v)
	}
	return all
}

// readName reads the name of one of some values.
func readName[E interface {
	~uint32
	fmt.Stringer
}](s *scanner, all ...E) (E, error) {
	names := make([]string, len(all))
	for i, v := range all {
		names[i] = v.String()
	}
	if s.next() != '"' {
		return 0, s.wrongType("a name belongs, one of " + strings.Join(names, ", "))
	}
	name := s.text()
	for i, v := range all {
		if names[i] == string(name) {
			return v, nil
		}
	}
	return 0, faultf("no %q; there are %s", quoted(name), strings.Join(names, ", "))
}

func readText(s *scanner) (string, error) {
	if s.next() != '"' {
		return "", s.wrongType("a string belongs")
	}
	return string(s.text()), nil
}

func readBool(s *scanner) (bool, error) {
	for _, word := range []string{"true", "false"} {
		if c := s.next(); c == word[0] {
			s.at += len(word)
			return word == "true", nil
		}
	}
	return false, s.wrongType("true or false belongs")
}

// readLabels reads an object of strings.
func readLabels(s *scanner) (all []txnpb.Label, err error) {
	if s.next() != '{' {
		return nil, s.wrongType(`an object of strings belongs, such as {"invoice":"17"}`)
	}
	err = s.object(func(key []byte) error {
		name := string(key)
		value, err := readText(s)
		all = append(all, txnpb.Label{Name: name, Value: []byte(value)})
		return within(name, err)
	})
	return all, err
}
