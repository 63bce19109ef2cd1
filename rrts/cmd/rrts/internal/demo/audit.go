package demo

import (
	"bytes"
	"fmt"

	"virtualservicesinc.com/comps/ledger"
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
	first  *txnpb.StateDigest
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

// store audits one SFU.
func (a *auditor) store(name string, s store.Store) error {
	m, err := machine.Open(s, machine.Config{}, nil)
	if err != nil {
		return err
	}
	digest := m.Digest()
	if a.first == nil {
		a.first = &digest
	} else if digest.Csn != a.first.Csn || !bytes.Equal(digest.Chain, a.first.Chain) {
		// Entries without transactions, as a new leader makes one, do not count: the
		// SFUs stopped one after the other.
		a.find("%s ends at CSN %d in another state than the first SFU at CSN %d", name, digest.Csn, a.first.Csn)
	}
	view, err := s.View()
	if err != nil {
		return err
	}
	transfers := a.events(name, view)
	if err := view.Close(); err != nil {
		return err
	}
	return a.compare(name, s, transfers)
}

// balances is what an account must hold.
type balances struct{ debits, credits u128.Int }

// events goes through the history of one store, adds every transfer up, compares
// the sums with the accounts, and returns the transfers by id.
func (a *auditor) events(name string, v ledger.History) map[u128.Int]ledgerpb.Transfer {
	sums := map[u128.Int]balances{}
	transfers := map[u128.Int]ledgerpb.Transfer{}
	times := v.Scan(ledger.Transfers, ledger.AnyField, u128.Int{}, false)
	defer times.Close()
	var e ledger.Event
	for ts, ok := times.Seek(1); ok; ts, ok = times.Seek(ts + 1) {
		if !v.Event(ts, &e) {
			a.find("%s: the index names a transfer at %d that is not there", name, ts)
			continue
		}
		t := e.Transfer
		if _, twice := transfers[t.Id]; twice {
			a.extra[t.Id] = true
			a.find("%s: transfer %v is in the ledger twice", name, t.Id)
		}
		transfers[t.Id] = t
		from, to := sums[t.DebitAccountId], sums[t.CreditAccountId]
		from.debits, _ = from.debits.Add(t.Amount)
		sums[t.DebitAccountId] = from
		to = sums[t.CreditAccountId]
		to.credits, _ = to.credits.Add(t.Amount)
		sums[t.CreditAccountId] = to
	}
	var total balances
	var account ledgerpb.Account
	accounts := v.Scan(ledger.Accounts, ledger.AnyField, u128.Int{}, false)
	defer accounts.Close()
	for ts, ok := accounts.Seek(1); ok; ts, ok = accounts.Seek(ts + 1) {
		if !v.AccountBorn(ts, &account) {
			a.find("%s: the index names an account at %d that is not there", name, ts)
			continue
		}
		want := sums[account.Id]
		if account.DebitsPosted != want.debits || account.CreditsPosted != want.credits {
			a.find("%s: account %v holds debits %v and credits %v, its transfers add up to %v and %v",
				name, account.Id, account.DebitsPosted, account.CreditsPosted, want.debits, want.credits)
		}
		delete(sums, account.Id)
		total.debits, _ = total.debits.Add(account.DebitsPosted)
		total.credits, _ = total.credits.Add(account.CreditsPosted)
	}
	if len(sums) > 0 {
		a.find("%s: transfers name %d accounts that are not there", name, len(sums))
	}
	if total.debits != total.credits {
		a.find("%s: all debits are %v, all credits %v", name, total.debits, total.credits)
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
