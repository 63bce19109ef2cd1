package cluster

import (
	"slices"
	"time"

	"github.com/anishathalye/porcupine"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// committed is a transaction in the one order, with what it posted.
type committed struct {
	*told
	posts []posting
}

type posting struct {
	from, to int // accounts, from 0
	amount   uint64
}

// order puts what the clients were told to be committed into the order of its CSNs,
// which must be 1, 2, 3 and so on: nobody forgets an id before its answer is final.
func (w *world) order() []committed {
	var all []committed
	pendings := map[u128.Int]ledgerpb.Transfer{}
	for _, c := range w.clients {
		for i := range c.history {
			if h := &c.history[i]; h.state == txnpb.StateCommitted {
				all = append(all, committed{told: h})
				for _, t := range h.tx.Transfers {
					pendings[t.Id] = t
				}
			}
		}
	}
	slices.SortFunc(all, func(a, b committed) int { return int(a.csn) - int(b.csn) })
	for i := range all {
		h := &all[i]
		if h.csn != uint64(i+1) {
			w.fail("%v has CSN %d, %d is next", h.tx.Id, h.csn, i+1)
			return nil
		}
		for j := range h.tx.EffectChanges { // what follows an effect that is done
			if h.tx.EffectChanges[j].Action == txnpb.EffectActionDone && !h.failed[j] {
				h.posts = append(h.posts, posting{afterDebit - 1, afterCredit - 1, afterAmount})
			}
		}
		for j, t := range h.tx.Transfers {
			if h.failed[len(h.tx.Accounts)+j] {
				continue
			}
			switch {
			case t.Flags&uint32(ledgerpb.TransferFlagsPending|ledgerpb.TransferFlagsVoidPendingTransfer) != 0:
				continue
			case t.Flags&uint32(ledgerpb.TransferFlagsPostPendingTransfer) != 0:
				t = pendings[t.PendingId]
			}
			h.posts = append(h.posts, posting{int(t.DebitAccountId.Lo) - 1, int(t.CreditAccountId.Lo) - 1, t.Amount.Lo})
		}
	}
	if csn := w.replicas()[0].machine.Digest().Csn; csn != uint64(len(all)) {
		w.fail("clients were told of %d commits, the nodes have %d", len(all), csn)
	}
	return all
}

// checkOrder goes through the one order: it must agree with what happened before
// what, and every read must have seen the sum of what comes before it there. That
// proves the history linearizable, with the CSN as the witness.
func (w *world) checkOrder() {
	all := w.order()
	if w.err != nil {
		return
	}
	latest := time.Duration(0)
	for i := range all {
		if h := &all[i]; h.answered < latest {
			w.fail("%v was answered at %v, before one with a lower CSN was submitted at %v", h, h.answered, latest)
		}
		latest = max(latest, all[i].invoked)
	}
	states := make([][accounts]balance, len(all)+1)
	for i := range all {
		s := states[i]
		for _, p := range all[i].posts {
			s[p.from].debits += p.amount
			s[p.to].credits += p.amount
		}
		states[i+1] = s
	}
	for i := range accounts {
		if got, want := w.replicas()[0].balance(i), states[len(all)][i]; got != want {
			w.fail("account %d ends at %v, the transactions sum up to %v", i+1, got, want)
		}
	}
	var seen []read
	for _, c := range w.clients {
		for _, r := range c.reads {
			w.checkRead(&r, all, states)
			seen = append(seen, r)
		}
	}
	slices.SortFunc(seen, func(a, b read) int { return int(a.answered - b.answered) })
	for i := range seen {
		for _, before := range seen[:i] {
			if before.answered < seen[i].invoked && before.csn > seen[i].csn {
				w.fail("a read saw CSN %d, and a later one, from %v on, CSN %d", before.csn, seen[i].invoked, seen[i].csn)
			}
		}
	}
}

// checkRead holds one read against the order and against time.
func (w *world) checkRead(r *read, all []committed, states [][accounts]balance) {
	if r.csn >= uint64(len(states)) || r.balances != states[r.csn] {
		w.fail("a read at %v saw %v at CSN %d, which is not what the transactions sum up to", r.answered, r.balances, r.csn)
		return
	}
	for i := range all {
		h := &all[i]
		if h.csn <= r.csn && h.invoked > r.answered {
			w.fail("a read that was answered at %v saw %v, which was submitted at %v", r.answered, h, h.invoked)
		}
		if h.csn > r.csn && h.answered < r.invoked {
			w.fail("a read from %v on saw CSN %d and not %v, which was answered at %v", r.invoked, r.csn, h, h.answered)
		}
	}
}

// model is one account for porcupine, which looks for an order by itself: it
// does not know of CSNs.
var model = porcupine.Model{
	Init: func() any { return balance{} },
	Step: func(state, input, output any) (bool, any) {
		s := state.(balance)
		if in, ok := input.(balance); ok { // a transaction
			return true, balance{s.debits + in.debits, s.credits + in.credits}
		}
		return s == output.(balance), s
	},
}

// checkLinearizable gives each account's history to porcupine.
func (w *world) checkLinearizable() {
	var histories [accounts][]porcupine.Operation
	for _, h := range w.order() {
		var sums [accounts]balance
		for _, p := range h.posts {
			sums[p.from].debits += p.amount
			sums[p.to].credits += p.amount
		}
		for i, sum := range sums {
			if sum != (balance{}) {
				histories[i] = append(histories[i], porcupine.Operation{Input: sum, Call: int64(h.invoked), Return: int64(h.answered)})
			}
		}
	}
	for _, c := range w.clients {
		for _, r := range c.reads {
			for i, b := range r.balances {
				histories[i] = append(histories[i], porcupine.Operation{Output: b, Call: int64(r.invoked), Return: int64(r.answered)})
			}
		}
	}
	for i, history := range histories {
		if !porcupine.CheckOperations(model, history) {
			w.fail("the history of account %d is not linearizable", i+1)
		}
	}
}
