package entry

import (
	"fmt"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/cardnumber"
	"virtualservicesinc.com/rrts/schema/paymentpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// effectsField is the number of Transaction.effects.
const effectsField = 12

// RefuseCards returns why a transaction may not enter the log: it owes something to a
// payment provider, and a card's number stands in it, which must be stored nowhere. The
// error wraps ErrMalformed and names the field, never what stands there.
//
// Looked at are the memo, the metadata, and all texts and arguments of the effects that go
// to payments. Ids and amounts of transfers are numbers in fields of their own.
func RefuseCards(transaction []byte) error {
	if owed, err := message.FindBytes(transaction, effectsField); owed == nil || err != nil {
		return err
	}
	var tx txnpb.Transaction
	if err := tx.Parse(transaction); err != nil {
		return fmt.Errorf("%w: %v", ErrMalformed, err)
	}
	if !pays(tx.Effects) {
		return nil
	}
	field := ""
	if cardnumber.In(tx.Memo) {
		field = "memo"
	}
	for i := range tx.Metadata {
		if l := &tx.Metadata[i]; cardnumber.In(l.Name) {
			field = fmt.Sprintf("metadata, the name of label %d", i)
		} else if cardnumber.In(l.Value) {
			field = fmt.Sprintf("metadata, label %q", l.Name)
		}
	}
	if field == "" {
		field = cardIn(tx.Effects, "effect")
	}
	if field == "" {
		return nil
	}
	return fmt.Errorf("%w: %s: a card's number: payments take a token of the provider's in its place, and RRTS keeps no card numbers", ErrMalformed, field)
}

// pays reports whether an effect, or what may follow it, goes to a payment provider.
func pays(list []txnpb.Effect) bool {
	for i := range list {
		e := &list[i]
		if e.Service == paymentpb.EffectService || e.Done != nil && pays(e.Done.Effects) || e.Failed != nil && pays(e.Failed.Effects) {
			return true
		}
	}
	return false
}

// cardIn returns the field of an effect for payments in which a card's number stands, ""
// for none.
func cardIn(list []txnpb.Effect, path string) string {
	for i := range list {
		e := &list[i]
		here := fmt.Sprintf("%s %d", path, i)
		if e.Service == paymentpb.EffectService {
			if field := cardInEffect(e); field != "" {
				return here + ": " + field
			}
		}
		if e.Done != nil {
			if field := cardIn(e.Done.Effects, here+": done: effect"); field != "" {
				return field
			}
		}
		if e.Failed != nil {
			if field := cardIn(e.Failed.Effects, here+": failed: effect"); field != "" {
				return field
			}
		}
	}
	return ""
}

func cardInEffect(e *txnpb.Effect) string {
	switch {
	case cardnumber.In(e.Target):
		return "target"
	case cardnumber.In(e.Operation):
		return "operation"
	case cardnumber.In(e.Key):
		return "key"
	}
	for i := range e.Arguments {
		a := &e.Arguments[i]
		if cardnumber.In(a.Name) {
			return fmt.Sprintf("the name of argument %d", i)
		}
		if cardnumber.In(a.Value) {
			return fmt.Sprintf("argument %q", a.Name)
		}
	}
	return ""
}
