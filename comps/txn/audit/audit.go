// Package audit checks a whole store: it works the ledger out again from its history
// (comps/ledger/audit), holds the outbox against the transactions that owe what stands in
// it, and says which state it is.
//
//	report, err := audit.Run(s)
//	if err == nil && !report.OK() { … report.Findings() … }
//
// Reports of one CSN with the same Digest are of the same accounts, transfers,
// outcomes and users, wherever the stores are: on the replicas of a group, in a
// backup, in the cluster that was restored from it.
package audit

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/audit"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/store"
)

// Report is what an audit found.
type Report struct {
	// CSN is how far the state reaches, and Transactions how many were ever committed
	// or aborted.
	CSN, Transactions uint64
	// Chain is the chain over all entries that were applied.
	Chain  []byte
	Digest [sha256.Size]byte // see store.Digest
	Ledger *audit.Report
	// Outbox is what is wrong with the effects that are owed, a line each; see
	// machine.AuditOutbox.
	Outbox []string
}

// OK reports whether everything agrees.
func (r *Report) OK() bool { return r.Ledger.OK() && len(r.Outbox) == 0 }

// Findings are the first faults, a line each.
func (r *Report) Findings() []string { return slices.Concat(r.Ledger.Findings, r.Outbox) }

// Run audits a store that nobody else has open: it must not change meanwhile. What
// it holds in memory is comps/ledger/audit's. The error says that the store could not
// be read; what is wrong in it stands in the report.
func Run(s store.Store) (r *Report, err error) {
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *ledger.ReadError:
			r, err = nil, fmt.Errorf("audit: the store cannot be read: %w", p)
		default:
			panic(p)
		}
	}()
	m, err := machine.Open(s, machine.Config{}, nil)
	if err != nil {
		return nil, err
	}
	d := m.Digest()
	r = &Report{CSN: d.Csn, Transactions: d.Transactions, Chain: d.Chain}
	view, err := s.View()
	if err != nil {
		return nil, err
	}
	r.Ledger = audit.Run(view)
	r.Outbox, err = machine.AuditOutbox(s)
	if err = errors.Join(err, view.Close()); err != nil {
		return nil, err
	}
	snap, err := s.Snapshot()
	if err != nil {
		return nil, err
	}
	r.Digest, err = store.Digest(snap)
	return r, errors.Join(err, snap.Close())
}
