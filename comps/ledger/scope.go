package ledger

import "virtualservicesinc.com/rrts/schema/ledgerpb"

// scopeMark is where a scope began.
type scopeMark struct {
	events, failed, ids, expiring, undo, dirty, newAccounts int
	lastAccount, lastEvent, nextExpiry                      uint64
	nextKnown                                               bool
}

// change is what an open scope must put back if it is rolled back.
type change struct {
	kind   changeKind
	slot   uint32 // of the account
	before Side   // of the account
	ts     uint64 // of the pending transfer
}

type changeKind uint8

const (
	accountCreated  changeKind = iota
	accountChanged             // from before
	pendingResolved            // it was pending
)

// Begin opens a scope: what follows takes effect as a whole with Commit, or not at
// all with Rollback. Scopes nest.
func (l *Ledger) Begin() {
	l.scopes = append(l.scopes, scopeMark{
		events: len(l.events), failed: len(l.failed), ids: l.ids.Mark(), expiring: len(l.expiring),
		undo: len(l.undo), dirty: len(l.accounts.dirty), newAccounts: len(l.newAccounts),
		lastAccount: l.lastAccount, lastEvent: l.lastEvent, nextExpiry: l.nextExpiry, nextKnown: l.nextKnown,
	})
}

// Commit closes the innermost scope and keeps what happened in it.
func (l *Ledger) Commit() {
	l.scopes = l.scopes[:len(l.scopes)-1]
	if len(l.scopes) == 0 {
		l.undo = l.undo[:0]
	}
}

// Rollback closes the innermost scope as if it had never been opened: it also
// forgets failures that were to be remembered.
func (l *Ledger) Rollback() {
	m := l.scopes[len(l.scopes)-1]
	l.scopes = l.scopes[:len(l.scopes)-1]

	for _, n := range l.accounts.dirty[m.dirty:] {
		*l.accounts.mark(n) &^= dirty
	}
	l.accounts.dirty = l.accounts.dirty[:m.dirty]
	for i := len(l.undo) - 1; i >= m.undo; i-- {
		switch c := &l.undo[i]; c.kind {
		case accountCreated:
			l.accounts.remove(c.slot)
		case accountChanged:
			c.before.restore(l.accounts.slot(c.slot))
		case pendingResolved:
			l.pendings.slot(l.pendings.index[c.ts]).status = StatusPending
		}
	}
	l.undo = l.undo[:m.undo]
	for i := range l.events[m.events:] {
		if e := &l.events[m.events+i]; e.Type == ledgerpb.ChangeEventTypeTwoPhasePending {
			l.pendings.remove(e.Timestamp)
		}
	}
	l.events = l.events[:m.events] // a scope holds no expiries
	l.failed = l.failed[:m.failed]
	l.ids.Undo(m.ids)
	l.expiring = l.expiring[:m.expiring]
	l.newAccounts = l.newAccounts[:m.newAccounts]
	l.lastAccount, l.lastEvent = m.lastAccount, m.lastEvent
	l.nextExpiry, l.nextKnown = m.nextExpiry, m.nextKnown
}

// modify prepares account a in slot n for a change.
func (l *Ledger) modify(a *ledgerpb.Account, n uint32) {
	if len(l.scopes) != 0 {
		l.undo = append(l.undo, change{kind: accountChanged, slot: n, before: sideOf(a)})
	}
	l.accounts.touch(n)
}

func (s *Side) restore(a *ledgerpb.Account) {
	a.DebitsPending, a.DebitsPosted = s.DebitsPending, s.DebitsPosted
	a.CreditsPending, a.CreditsPosted = s.CreditsPending, s.CreditsPosted
	a.Flags = s.Flags
}
