package drill

import (
	"fmt"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/audit"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// maxFindings bounds what one audit lists; the counts go on.
const maxFindings = 20

// Verdict is what an audit found.
type Verdict struct {
	Submitted  int // payments that clients submitted; the opening of accounts is none
	Committed  int // of them, as the clients were told
	Aborted    int
	Lost       int // transactions that some store does not hold as a client was told
	Duplicated int // transfers that are there twice, or that no client was told of
	// Findings are what is wrong and where, at most 20 lines of them.
	Findings []string
}

// OK reports whether nothing was found.
func (v *Verdict) OK() bool { return len(v.Findings) == 0 }

// String says "ok" or "failed".
func (v *Verdict) String() string {
	if v.OK() {
		return "ok"
	}
	return "failed"
}

// Auditor compares the stores of all SFUs with what the clients were told.
type Auditor struct {
	all     []Told
	verdict Verdict
	first   *audit.Report
	lost    map[u128.Int]bool // transactions, counted once although every SFU lacks them
	extra   map[u128.Int]bool // transfers likewise
}

// NewAuditor returns an Auditor of all that clients were told. It keeps the slice.
func NewAuditor(all []Told) *Auditor {
	a := &Auditor{all: all, lost: map[u128.Int]bool{}, extra: map[u128.Int]bool{}}
	for i := range all {
		if len(all[i].Tx.Transfers) == 0 {
			continue // the opening of accounts is no payment
		}
		a.verdict.Submitted++
		switch all[i].State {
		case txnpb.StateCommitted:
			a.verdict.Committed++
		case txnpb.StateAborted:
			a.verdict.Aborted++
		}
	}
	return a
}

// Verdict returns what the stores that were audited so far amount to.
func (a *Auditor) Verdict() Verdict {
	v := a.verdict
	v.Lost, v.Duplicated = len(a.lost), len(a.extra)
	return v
}

// find notes something that is wrong.
func (a *Auditor) find(format string, v ...any) {
	if len(a.verdict.Findings) < maxFindings {
		a.verdict.Findings = append(a.verdict.Findings, fmt.Sprintf(format, v...))
	}
}

// Store audits the store of one SFU, which the caller closes. The error says that
// it could not be read; what is wrong in it stands in the verdict.
func (a *Auditor) Store(name string, s store.Store) error {
	if err := a.store(name, s); err != nil {
		return fmt.Errorf("drill: auditing %s: %w", name, err)
	}
	return nil
}

func (a *Auditor) store(name string, s store.Store) error {
	report, err := audit.Run(s)
	if err != nil {
		return err
	}
	for _, f := range report.Findings() {
		a.find("%s: %s", name, f)
	}
	// The SFUs stopped one after the other: the later ones have entries more, of a new
	// leader or of a seat that was given up. Those change the chain, which goes over
	// every entry, but no row that the digest goes over.
	if a.first == nil {
		a.first = report
	} else if report.CSN != a.first.CSN || report.Digest != a.first.Digest {
		a.find("%s ends at CSN %d in another state than the first SFU at CSN %d", name, report.CSN, a.first.CSN)
	}
	view, err := s.View()
	if err != nil {
		return err
	}
	transfers := transfersOf(view)
	if err := view.Close(); err != nil {
		return err
	}
	return a.compare(name, s, transfers)
}

// transfersOf returns all transfers by their ids. The audit has seen that each is
// there once.
func transfersOf(v ledger.History) map[u128.Int]ledgerpb.Transfer {
	transfers := map[u128.Int]ledgerpb.Transfer{}
	times := v.Scan(ledger.Transfers, ledger.AnyField, u128.Int{}, false)
	defer times.Close()
	var e ledger.Event
	for ts, ok := times.Seek(1); ok; ts, ok = times.Seek(ts + 1) {
		if v.Event(ts, &e) {
			transfers[e.Transfer.Id] = e.Transfer
		}
	}
	return transfers
}

// compare holds one store against what the clients were told. transfers is used
// up: what is left was told to nobody.
func (a *Auditor) compare(name string, s store.State, transfers map[u128.Int]ledgerpb.Transfer) error {
	for i := range a.all {
		t := &a.all[i]
		row, err := machine.Lookup(s, t.Tx.Id)
		if err != nil {
			return err
		}
		switch {
		case row == nil:
			a.lost[t.Tx.Id] = true
			a.find("%s: a client was told that %v is %v at CSN %d, nothing stands there: lost", name, t.Tx.Id, t.State, t.Csn)
		case row.Outcome.State != t.State || row.Outcome.Csn != t.Csn:
			a.lost[t.Tx.Id] = true
			a.find("%s: a client was told that %v is %v at CSN %d, here it is %v at %d",
				name, t.Tx.Id, t.State, t.Csn, row.Outcome.State, row.Outcome.Csn)
		}
		for j := range t.Tx.Transfers {
			want := t.Tx.Transfers[j]
			have, ok := transfers[want.Id]
			if t.State != txnpb.StateCommitted {
				continue // if it is there nevertheless, it is left over below
			}
			if ok {
				delete(transfers, want.Id)
				have.Timestamp = 0
			}
			if !ok || have != want {
				a.lost[t.Tx.Id] = true
				a.find("%s: transfer %v of committed transaction %v is not in the ledger as it was submitted", name, want.Id, t.Tx.Id)
			}
		}
	}
	for id := range transfers {
		a.extra[id] = true
	}
	if len(transfers) > 0 {
		a.find("%s: %d transfers are in the ledger that no client was told of", name, len(transfers))
	}
	return nil
}
