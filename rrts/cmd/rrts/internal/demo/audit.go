package demo

import (
	"bytes"
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

// auditor compares the stores of all SFUs with what the clients were told.
type auditor struct {
	all    []told
	report *Report
	first  *audit.Report
	lost   map[u128.Int]bool // transactions, counted once although every SFU lacks them
	extra  map[u128.Int]bool // transfers likewise
}

// audit reads every SFU's store on disk. The error says that one could not be
// read; what is wrong in them stands in the report.
func (r *run) audit(report *Report) error {
	a := &auditor{all: r.all(), report: report, lost: map[u128.Int]bool{}, extra: map[u128.Int]bool{}}
	for i := range a.all {
		if len(a.all[i].tx.Transfers) == 0 {
			continue // the opening of accounts is no payment
		}
		report.Submitted++
		switch a.all[i].state {
		case txnpb.StateCommitted:
			report.Committed++
		case txnpb.StateAborted:
			report.Aborted++
		}
	}
	for i := range r.arena.SFUs() {
		s, err := r.arena.OpenStore(i)
		if err != nil {
			return err
		}
		err = a.store(r.arena.Name(i), s)
		if cerr := s.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			return fmt.Errorf("demo: auditing %s: %w", r.arena.Name(i), err)
		}
	}
	report.Lost, report.Duplicated = len(a.lost), len(a.extra)
	report.Audit = "ok"
	if len(report.Findings) > 0 {
		report.Audit = "failed"
	}
	return nil
}

// find notes something that is wrong.
func (a *auditor) find(format string, v ...any) {
	if len(a.report.Findings) < maxFindings {
		a.report.Findings = append(a.report.Findings, fmt.Sprintf(format, v...))
	}
}

// store audits one SFU: its ledger is worked out again from its history, it must be
// in the state of the first SFU, and it must hold what the clients were told.
func (a *auditor) store(name string, s store.Store) error {
	report, err := audit.Run(s)
	if err != nil {
		return err
	}
	for _, f := range report.Ledger.Findings {
		a.find("%s: %s", name, f)
	}
	// Entries without transactions, as a new leader makes one, do not count: the SFUs
	// stopped one after the other.
	if a.first == nil {
		a.first = report
	} else if report.CSN != a.first.CSN || !bytes.Equal(report.Chain, a.first.Chain) || report.Digest != a.first.Digest {
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
func (a *auditor) compare(name string, s store.State, transfers map[u128.Int]ledgerpb.Transfer) error {
	for i := range a.all {
		t := &a.all[i]
		row, err := machine.Lookup(s, t.tx.Id)
		if err != nil {
			return err
		}
		switch {
		case row == nil:
			a.lost[t.tx.Id] = true
			a.find("%s: a client was told that %v is %v at CSN %d, nothing stands there: lost", name, t.tx.Id, t.state, t.csn)
		case row.Outcome.State != t.state || row.Outcome.Csn != t.csn:
			a.lost[t.tx.Id] = true
			a.find("%s: a client was told that %v is %v at CSN %d, here it is %v at %d",
				name, t.tx.Id, t.state, t.csn, row.Outcome.State, row.Outcome.Csn)
		}
		for j := range t.tx.Transfers {
			want := t.tx.Transfers[j]
			have, ok := transfers[want.Id]
			if t.state != txnpb.StateCommitted {
				continue // if it is there nevertheless, it is left over below
			}
			if ok {
				delete(transfers, want.Id)
				have.Timestamp = 0
			}
			if !ok || have != want {
				a.lost[t.tx.Id] = true
				a.find("%s: transfer %v of committed transaction %v is not in the ledger as it was submitted", name, want.Id, t.tx.Id)
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
