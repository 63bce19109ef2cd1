// Package audit checks a ledger's rows against each other: it goes through the
// whole history, works every balance out again from the transfers alone, and
// compares with what each event and each account says.
//
//	report := audit.Run(view)
//	if !report.OK() { … report.Findings … }
//
// It finds money that came from nowhere or went there, a transfer that is in the
// history twice or not under its id, a pending transfer that was resolved twice,
// an account beyond its limits. It holds every account in memory, some 200 bytes
// each, and the pending transfers that are open.
package audit

import (
	"fmt"
	"maps"
	"slices"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// MaxFindings bounds what one report lists; Faults goes on counting.
const MaxFindings = 100

// Report is what an audit found.
type Report struct {
	Accounts  uint64
	Transfers uint64
	Expiries  uint64
	Pending   uint64 // transfers that are still pending
	Ledgers   []Sums // by number
	Faults    uint64
	Findings  []string // the first faults, one line each
}

// Sums are the sums over the accounts of one ledger.
type Sums struct {
	Ledger                                                     uint32
	Accounts                                                   uint64
	DebitsPending, DebitsPosted, CreditsPending, CreditsPosted u128.Int
}

// OK reports whether everything agrees.
func (r *Report) OK() bool { return r.Faults == 0 }

// Run audits the rows. It panics with a *ledger.ReadError when they cannot be read.
func Run(h ledger.History) *Report {
	a := &auditor{
		history: h, report: &Report{},
		accounts: make(map[u128.Int]*account), ledgers: make(map[uint32]*Sums), pending: make(map[uint64]ledgerpb.Transfer),
	}
	a.readAccounts()
	a.replay()
	a.compare()
	return a.report
}

type auditor struct {
	history  ledger.History
	report   *Report
	accounts map[u128.Int]*account
	order    []*account // by timestamp
	ledgers  map[uint32]*Sums
	pending  map[uint64]ledgerpb.Transfer // by timestamp
}

// account is an account as its row says, and as its transfers say.
type account struct {
	row  ledgerpb.Account
	want ledger.Side // balances from the transfers; flags from the last event
	seen bool        // an event named it
}

func (a *auditor) find(format string, args ...any) {
	a.report.Faults++
	if len(a.report.Findings) < MaxFindings {
		a.report.Findings = append(a.report.Findings, fmt.Sprintf(format, args...))
	}
}

// each calls f for the timestamps of a set, in order.
func (a *auditor) each(set ledger.Set, f func(ts uint64)) {
	times := a.history.Scan(set, ledger.AnyField, u128.Int{}, false)
	defer times.Close()
	for ts, ok := times.Seek(1); ok; ts, ok = times.Seek(ts + 1) {
		f(ts)
	}
}

func (a *auditor) readAccounts() {
	a.each(ledger.Accounts, func(ts uint64) {
		a.report.Accounts++
		x := &account{}
		if !a.history.AccountBorn(ts, &x.row) || x.row.Timestamp != ts {
			a.find("timestamp %d: the account created then is not there", ts)
			return
		}
		if a.accounts[x.row.Id] != nil {
			a.find("account %v was created twice", x.row.Id)
		}
		a.accounts[x.row.Id] = x
		a.order = append(a.order, x)
	})
}

// replay works out the balances and compares them with those in the events.
func (a *auditor) replay() {
	var e ledger.Event
	a.each(ledger.Events, func(ts uint64) {
		if !a.history.Event(ts, &e) {
			a.find("timestamp %d: the event of that time is not there", ts)
			return
		}
		t := &e.Transfer
		dr, cr := a.accounts[t.DebitAccountId], a.accounts[t.CreditAccountId]
		if dr == nil || cr == nil || dr == cr {
			a.find("event %d: transfer %v is between accounts %v and %v, which are not two accounts", ts, t.Id, t.DebitAccountId, t.CreditAccountId)
			return
		}
		if dr.row.Ledger != t.Ledger || cr.row.Ledger != t.Ledger || dr.row.Timestamp >= t.Timestamp || cr.row.Timestamp >= t.Timestamp {
			a.find("event %d: transfer %v does not fit the ledgers or the age of its accounts", ts, t.Id)
		}
		if e.IsTransfer() {
			a.report.Transfers++
			if at, known := a.history.TransferID(t.Id); !known || at != ts || t.Timestamp != ts {
				a.find("event %d: the index of ids has transfer %v at %d", ts, t.Id, at)
			}
		} else {
			a.report.Expiries++
		}
		a.apply(&e, dr, cr)
		a.side(ts, &e.Debit, dr)
		a.side(ts, &e.Credit, cr)
	})
	a.report.Pending = uint64(len(a.pending))
}

// apply moves what the event moves.
func (a *auditor) apply(e *ledger.Event, dr, cr *account) {
	t := &e.Transfer
	amount := t.Amount
	switch e.Type {
	case ledgerpb.ChangeEventTypeSinglePhase:
	case ledgerpb.ChangeEventTypeTwoPhasePending:
		a.pending[e.Timestamp] = *t
		a.plus(e, &dr.want.DebitsPending, amount)
		a.plus(e, &cr.want.CreditsPending, amount)
		return
	default:
		p, open := a.pending[e.PendingTimestamp]
		if !open || p.DebitAccountId != t.DebitAccountId || p.CreditAccountId != t.CreditAccountId || p.Amount.Less(amount) ||
			e.IsTransfer() && p.Id != t.PendingId || !e.IsTransfer() && p != *t {
			a.find("event %d: transfer %v resolves one at %d that is not pending, or another one", e.Timestamp, t.Id, e.PendingTimestamp)
			return
		}
		delete(a.pending, e.PendingTimestamp)
		a.minus(e, &dr.want.DebitsPending, p.Amount)
		a.minus(e, &cr.want.CreditsPending, p.Amount)
		if e.Type != ledgerpb.ChangeEventTypeTwoPhasePosted {
			return
		}
	}
	a.plus(e, &dr.want.DebitsPosted, amount)
	a.plus(e, &cr.want.CreditsPosted, amount)
}

func (a *auditor) plus(e *ledger.Event, balance *u128.Int, amount u128.Int) {
	sum, over := balance.Add(amount)
	if over {
		a.find("event %d: transfer %v overflows a balance", e.Timestamp, e.Transfer.Id)
	}
	*balance = sum
}

func (a *auditor) minus(e *ledger.Event, balance *u128.Int, amount u128.Int) {
	rest, under := balance.Sub(amount)
	if under {
		a.find("event %d: transfer %v takes more than is pending", e.Timestamp, e.Transfer.Id)
	}
	*balance = rest
}

// side compares what an event says of an account with what its transfers say.
func (a *auditor) side(ts uint64, got *ledger.Side, x *account) {
	x.want.Flags, x.seen = got.Flags, true
	if *got != x.want {
		a.find("event %d: account %v has %s, its transfers make %s", ts, x.row.Id, text(got), text(&x.want))
	}
	const limitDebits = uint32(ledgerpb.AccountFlagsDebitsMustNotExceedCredits)
	const limitCredits = uint32(ledgerpb.AccountFlagsCreditsMustNotExceedDebits)
	debits, over := x.want.DebitsPending.Add(x.want.DebitsPosted)
	credits, over2 := x.want.CreditsPending.Add(x.want.CreditsPosted)
	if over || over2 ||
		x.row.Flags&limitDebits != 0 && x.want.CreditsPosted.Less(debits) ||
		x.row.Flags&limitCredits != 0 && x.want.DebitsPosted.Less(credits) {
		a.find("event %d: account %v is beyond its limit: %s", ts, x.row.Id, text(&x.want))
	}
}

func text(s *ledger.Side) string {
	return fmt.Sprintf("debits %v pending %v posted, credits %v pending %v posted", s.DebitsPending, s.DebitsPosted, s.CreditsPending, s.CreditsPosted)
}

// compare compares the accounts with what their transfers say.
func (a *auditor) compare() {
	for _, x := range a.order {
		r := &x.row
		got := ledger.Side{DebitsPending: r.DebitsPending, DebitsPosted: r.DebitsPosted,
			CreditsPending: r.CreditsPending, CreditsPosted: r.CreditsPosted, Flags: r.Flags}
		if !x.seen {
			x.want.Flags = r.Flags
		}
		if got != x.want {
			a.find("account %v: its row has %s, its transfers make %s", r.Id, text(&got), text(&x.want))
		}
		sums := a.ledgers[r.Ledger]
		if sums == nil {
			sums = &Sums{Ledger: r.Ledger}
			a.ledgers[r.Ledger] = sums
		}
		sums.Accounts++
		// The sums wrap on a ledger that is full to the brim, on both sides alike.
		sums.DebitsPending, _ = sums.DebitsPending.Add(r.DebitsPending)
		sums.DebitsPosted, _ = sums.DebitsPosted.Add(r.DebitsPosted)
		sums.CreditsPending, _ = sums.CreditsPending.Add(r.CreditsPending)
		sums.CreditsPosted, _ = sums.CreditsPosted.Add(r.CreditsPosted)
	}
	for _, n := range slices.Sorted(maps.Keys(a.ledgers)) {
		s := a.ledgers[n]
		a.report.Ledgers = append(a.report.Ledgers, *s)
		if s.DebitsPending != s.CreditsPending || s.DebitsPosted != s.CreditsPosted {
			a.find("ledger %d: all debits are %v pending and %v posted, all credits %v and %v",
				n, s.DebitsPending, s.DebitsPosted, s.CreditsPending, s.CreditsPosted)
		}
	}
}
