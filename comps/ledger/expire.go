package ledger

import (
	"cmp"
	"slices"

	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// dueAt is when a pending transfer expires. Transfers expire in this order.
type dueAt struct{ expiry, ts uint64 }

func (a dueAt) compare(b dueAt) int {
	return cmp.Or(cmp.Compare(a.expiry, b.expiry), cmp.Compare(a.ts, b.ts))
}

// Expire ends pending transfers whose expiry is before ts, the longest expired
// first, at most max of them, and returns how many. Their events take the stamps
// ts, ts+1 and so on. No scope may be open.
func (l *Ledger) Expire(ts uint64, max int) int {
	if len(l.scopes) != 0 {
		panic("ledger: Expire within a scope")
	}
	l.checkStamps(ts, max)
	l.queue = l.due(l.queue[:0], ts, max)
	for i, d := range l.queue {
		p := l.pendings.get(l.state, d.ts)
		dr, drSlot := l.accountOf(p.DebitAccountId)
		cr, crSlot := l.accountOf(p.CreditAccountId)
		l.release(&p.Transfer, dr, drSlot, cr, crSlot, true)
		p.status = StatusExpired
		e := l.record(ts+uint64(i), ledgerpb.ChangeEventTypeTwoPhaseExpired, dr, cr)
		e.Transfer = p.Transfer
		e.PendingTimestamp, e.PendingExpiry = d.ts, d.expiry
		l.expireNoMore(d.expiry)
	}
	return len(l.queue)
}

// NextExpiry returns the earliest expiry of a pending transfer, 0 when none expires.
func (l *Ledger) NextExpiry() uint64 {
	if !l.nextKnown {
		l.nextKnown, l.nextExpiry = true, 0
		if l.queue = l.due(l.queue[:0], MaxTimestamp+1, 1); len(l.queue) == 1 {
			l.nextExpiry = l.queue[0].expiry
		}
	}
	return l.nextExpiry
}

// due appends the first max pending transfers that expire before ts, in order.
func (l *Ledger) due(out []dueAt, before uint64, max int) []dueAt {
	for _, d := range l.expiring {
		if d.expiry < before && l.pendings.slot(l.pendings.index[d.ts]).status == StatusPending {
			out = append(out, d)
		}
	}
	fresh := len(out)
	l.state.Expiring(func(expiry, ts uint64) bool {
		if expiry >= before || len(out)-fresh == max {
			return false
		}
		if n, ok := l.pendings.index[ts]; ok && l.pendings.slot(n).status != StatusPending {
			return true // resolved since the last Reset
		}
		out = append(out, dueAt{expiry, ts})
		return true
	})
	if fresh > 0 {
		slices.SortFunc(out, dueAt.compare)
	}
	return out[:min(max, len(out))]
}

// expireLater notes a new pending transfer with a time-out.
func (l *Ledger) expireLater(expiry, ts uint64) {
	l.expiring = append(l.expiring, dueAt{expiry, ts})
	if l.nextExpiry == 0 || expiry < l.nextExpiry {
		l.nextExpiry = expiry
	}
}

// expireNoMore notes that a pending transfer with a time-out was resolved.
func (l *Ledger) expireNoMore(expiry uint64) {
	if l.nextExpiry == expiry {
		l.nextKnown = false
	}
}
