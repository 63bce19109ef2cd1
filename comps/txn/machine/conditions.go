package machine

import (
	"fmt"
	"unicode/utf8"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// maxPreconditions bounds what one transaction may ask before it does anything.
const maxPreconditions = 64

// Bounds of what a transaction says of itself; it is kept for ever.
const (
	maxMemo       = 256 // bytes
	maxLabels     = 16
	maxLabelName  = 64  // bytes
	maxLabelValue = 256 // bytes
)

// malformed returns why a transaction's preconditions or its note cannot be taken,
// or "".
func malformed(tx *txnpb.Transaction) string {
	if n := len(tx.Preconditions); n > maxPreconditions {
		return fmt.Sprintf("%d preconditions, the bound is %d", n, maxPreconditions)
	}
	for i := range tx.Preconditions {
		if fault := malformedPrecondition(&tx.Preconditions[i]); fault != "" {
			return fmt.Sprintf("precondition %d: %s", i, fault)
		}
	}
	switch {
	case len(tx.Memo) > maxMemo:
		return fmt.Sprintf("a memo of %d bytes, the bound is %d", len(tx.Memo), maxMemo)
	case !utf8.ValidString(tx.Memo):
		return "the memo is not UTF-8"
	case len(tx.Metadata) > maxLabels:
		return fmt.Sprintf("metadata of %d labels, the bound is %d", len(tx.Metadata), maxLabels)
	}
	for i := range tx.Metadata {
		l := &tx.Metadata[i]
		switch {
		case l.Name == "" || len(l.Name) > maxLabelName || !utf8.ValidString(l.Name):
			return fmt.Sprintf("label %d: a name of %d bytes, it must have 1 to %d of UTF-8", i, len(l.Name), maxLabelName)
		case len(l.Value) > maxLabelValue:
			return fmt.Sprintf("label %q: a value of %d bytes, the bound is %d", l.Name, len(l.Value), maxLabelValue)
		}
		for j := range i {
			if tx.Metadata[j].Name == l.Name {
				return fmt.Sprintf("label %q stands twice", l.Name)
			}
		}
	}
	return ""
}

func malformedPrecondition(p *txnpb.Precondition) string {
	known := p.Measure == txnpb.MeasureExists || p.Measure == txnpb.MeasureTimestamp
	if p.TransferId.IsZero() {
		known = known || p.Measure > txnpb.MeasureTimestamp && p.Measure <= txnpb.MeasureClosed
	} else {
		known = known || p.Measure == txnpb.MeasureAmount || p.Measure == txnpb.MeasurePhase
	}
	switch {
	case p.AccountId.IsZero() == p.TransferId.IsZero():
		return "it must name an account or a transfer, and not both"
	case !known:
		return fmt.Sprintf("%v is no measure of it", p.Measure)
	case p.Comparison < txnpb.ComparisonAtLeast || p.Comparison > txnpb.ComparisonNotEqual:
		return fmt.Sprintf("unknown comparison %d", p.Comparison)
	}
	return ""
}

// unmet returns the first precondition that does not hold and why, or "".
func (m *Machine) unmet(tx *txnpb.Transaction) string {
	for i := range tx.Preconditions {
		p := &tx.Preconditions[i]
		v, exists := m.measure(p)
		what, id := "account", p.AccountId
		if id.IsZero() {
			what, id = "transfer", p.TransferId
		}
		switch {
		case !exists && p.Measure != txnpb.MeasureExists:
			return fmt.Sprintf("precondition %d: %s %v does not exist", i, what, id)
		case !v.stands(p.Comparison, p.Value):
			return fmt.Sprintf("precondition %d: %s %v: %v is %v, it must be %v %v", i, what, id, p.Measure, v, p.Comparison, p.Value)
		}
	}
	return ""
}

// measure returns what a precondition looks at, and whether its subject exists.
func (m *Machine) measure(p *txnpb.Precondition) (v signed, exists bool) {
	if !p.AccountId.IsZero() {
		a := m.ledger.Account(p.AccountId)
		if a == nil {
			return signed{}, false
		}
		return measureAccount(p.Measure, a), true
	}
	var t ledgerpb.Transfer
	status, exists := m.ledger.Transfer(p.TransferId, &t)
	if !exists {
		return signed{}, false
	}
	switch p.Measure {
	case txnpb.MeasureTimestamp:
		return number(t.Timestamp), true
	case txnpb.MeasureAmount:
		return signed{size: t.Amount}, true
	case txnpb.MeasurePhase:
		return number(uint64(status)), true // the numbers are the same
	}
	return number(1), true
}

func measureAccount(what txnpb.Measure, a *ledgerpb.Account) signed {
	switch what {
	case txnpb.MeasureTimestamp:
		return number(a.Timestamp)
	case txnpb.MeasureDebitsPending:
		return signed{size: a.DebitsPending}
	case txnpb.MeasureDebitsPosted:
		return signed{size: a.DebitsPosted}
	case txnpb.MeasureCreditsPending:
		return signed{size: a.CreditsPending}
	case txnpb.MeasureCreditsPosted:
		return signed{size: a.CreditsPosted}
	case txnpb.MeasureCreditBalance:
		return difference(a.CreditsPosted, a.DebitsPosted)
	case txnpb.MeasureDebitBalance:
		return difference(a.DebitsPosted, a.CreditsPosted)
	case txnpb.MeasureCreditAvailable:
		held, _ := a.DebitsPosted.Add(a.DebitsPending) // the ledger's rules keep it in bounds
		return difference(a.CreditsPosted, held)
	case txnpb.MeasureDebitAvailable:
		held, _ := a.CreditsPosted.Add(a.CreditsPending)
		return difference(a.DebitsPosted, held)
	case txnpb.MeasureClosed:
		if a.Flags&uint32(ledgerpb.AccountFlagsClosed) == 0 {
			return number(0)
		}
	}
	return number(1)
}

// signed is a number that may be below zero. Zero is not.
type signed struct {
	below bool
	size  u128.Int
}

func number(n uint64) signed { return signed{size: u128.From64(n)} }

// difference returns a − b.
func difference(a, b u128.Int) signed {
	if d, under := a.Sub(b); !under {
		return signed{size: d}
	}
	d, _ := b.Sub(a)
	return signed{below: true, size: d}
}

func (v signed) String() string {
	if v.below {
		return "-" + v.size.String()
	}
	return v.size.String()
}

// stands reports whether v stands to a value as a comparison says.
func (v signed) stands(how txnpb.Comparison, to u128.Int) bool {
	c := v.size.Cmp(to)
	if v.below {
		c = -1
	}
	switch how {
	case txnpb.ComparisonAtLeast:
		return c >= 0
	case txnpb.ComparisonAtMost:
		return c <= 0
	case txnpb.ComparisonEqual:
		return c == 0
	}
	return c != 0
}
