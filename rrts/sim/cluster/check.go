package cluster

import (
	"bytes"

	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// check holds the end of a run against what the clients were told.
func (w *world) check() {
	there := w.replicas()
	first := there[0].machine.Digest()
	for _, n := range there[1:] {
		if d := n.machine.Digest(); d.AppliedIndex != first.AppliedIndex || !bytes.Equal(d.Chain, first.Chain) {
			w.fail("node %d ends at entry %d with another state than node %d at %d", n.id, d.AppliedIndex, there[0].id, first.AppliedIndex)
		}
		if n.rows.Sum() != there[0].rows.Sum() {
			w.fail("node %d ends at entry %d with other rows than node %d", n.id, first.AppliedIndex, there[0].id)
		}
	}
	for _, n := range there {
		w.checkTold(n)
		w.checkBalance(n)
	}
	if w.err == nil {
		w.checkOutside()
	}
	if w.err == nil {
		w.checkOrder()
	}
	if w.err == nil {
		w.checkLinearizable()
	}
}

// checkTold looks every final answer up, and the effects that it promises or
// excludes.
func (w *world) checkTold(n *node) {
	for _, c := range w.clients {
		for i := range c.history {
			h := &c.history[i]
			row, err := machine.Lookup(n.rows, h.tx.Id)
			switch {
			case err != nil:
				w.fail("node %d: %v", n.id, err)
			case row == nil:
				w.fail("node %d does not know %v: lost", n.id, h)
			case row.Outcome.State != h.state || row.Outcome.Csn != h.csn:
				w.fail("node %d holds %v at %d for %v", n.id, row.Outcome.State, row.Outcome.Csn, h)
			}
			if w.err != nil {
				return
			}
			w.checkEffects(n, h)
		}
	}
}

// checkEffects looks for each transfer in the ledger.
func (w *world) checkEffects(n *node, h *told) {
	for i := range h.tx.Transfers {
		ts, known := n.rows.TransferID(h.tx.Transfers[i].Id)
		want := h.state == txnpb.StateCommitted && !h.failed[len(h.tx.Accounts)+i]
		if has := known && ts != 0; has != want {
			w.fail("node %d: transfer %d of %v is in the ledger: %v, should be: %v", n.id, i, h, has, want)
		}
	}
}

// checkBalance sums all accounts and looks at their limits, and at what should have
// expired.
func (w *world) checkBalance(n *node) {
	var debits, credits, debitsPending, creditsPending u128.Int
	for i := range uint64(accounts) {
		var a ledgerpb.Account
		if !n.rows.Account(u128.From64(i+1), &a) {
			if w.opened {
				w.fail("node %d has no account %d", n.id, i+1)
			}
			return
		}
		debits, _ = debits.Add(a.DebitsPosted)
		credits, _ = credits.Add(a.CreditsPosted)
		debitsPending, _ = debitsPending.Add(a.DebitsPending)
		creditsPending, _ = creditsPending.Add(a.CreditsPending)
		if all, _ := a.DebitsPosted.Add(a.DebitsPending); i > 0 && a.CreditsPosted.Less(all) {
			w.fail("node %d: account %d has debits %v and credits %v: over its limit", n.id, i+1, all, a.CreditsPosted)
		}
	}
	if debits != credits || debitsPending != creditsPending {
		w.fail("node %d: debits %v+%v, credits %v+%v", n.id, debits, debitsPending, credits, creditsPending)
	}
	if !debitsPending.IsZero() {
		w.fail("node %d: %v still pends, and every time-out has passed", n.id, debitsPending)
	}
}
