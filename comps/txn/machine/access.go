package machine

import (
	"fmt"
	"slices"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/idmap"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	rightRead   = uint32(txnpb.AccessRightsRead)
	rightDebit  = uint32(txnpb.AccessRightsDebit)
	rightSettle = uint32(txnpb.AccessRightsSettle)
	rightOwner  = uint32(txnpb.AccessRightsOwner)
	allRights   = rightRead | rightDebit | rightSettle | rightOwner

	// maxGrants bounds the row of an account.
	maxGrants = 64
	// maxCachedAccess is half the number of accounts whose rights are kept in memory,
	// at some 100 bytes each: every transfer of a client asks for one.
	maxCachedAccess = 65_536
)

// accessRights are the rights on accounts: what this entry changed, and what was
// read of the store. What is nil has no rights on it at all.
type accessRights struct {
	changed map[u128.Int]*txnpb.Access // by this entry
	order   []u128.Int                 // of the accounts in changed, by their first change
	undo    []accessUndo               // since the scope began

	young, old idmap.Map[keptAccess] // as in the store; young is full at maxCachedAccess
}

// keptAccess are the rights on an account as they are kept, and who has them all: most ask
// for no more.
type keptAccess struct {
	owner  uint64 // 0: nobody
	rights *txnpb.Access
}

func keep(a *txnpb.Access) keptAccess {
	if a == nil {
		return keptAccess{}
	}
	return keptAccess{a.Owner, a}
}

type accessUndo struct {
	account u128.Int
	before  *txnpb.Access
	first   bool // this entry had not changed it before
}

func newAccessRights() accessRights {
	return accessRights{changed: map[u128.Int]*txnpb.Access{}}
}

func (r *accessRights) begin() { r.undo = r.undo[:0] }

// rollback puts everything back as it was when the scope began.
func (r *accessRights) rollback() {
	for _, u := range slices.Backward(r.undo) {
		if r.changed[u.account] = u.before; u.first {
			delete(r.changed, u.account)
			r.order = r.order[:len(r.order)-1]
		}
	}
	r.undo = r.undo[:0]
}

// set changes the rights on an account.
func (r *accessRights) set(account u128.Int, a *txnpb.Access) {
	before, again := r.changed[account]
	if !again {
		r.order = append(r.order, account)
	}
	r.undo = append(r.undo, accessUndo{account, before, !again})
	r.changed[account] = a
}

// remember keeps what the store holds.
func (r *accessRights) remember(account u128.Int, a *txnpb.Access) {
	if kept := r.young.Find(account); kept != nil {
		*kept = keep(a)
		return
	}
	if r.young.Len() == maxCachedAccess {
		r.young, r.old = r.old, r.young
		r.young.Clear()
	}
	r.young.Add(account, keep(a))
}

// appendTo hands over what this entry changed, and forgets that it did.
func (r *accessRights) appendTo(b *store.Batch) {
	for _, account := range r.order {
		a := r.changed[account]
		row := store.Access{Account: account}
		if a != nil {
			row.Row = message.Marshal(a)
		}
		b.Access = append(b.Access, row)
		r.remember(account, a)
	}
	clear(r.changed)
	r.order, r.undo = r.order[:0], r.undo[:0]
}

// access returns the rights on an account as of now. They are not to be changed.
func (m *Machine) access(account u128.Int) *txnpb.Access {
	r := &m.rights
	if len(r.changed) > 0 {
		if a, ok := r.changed[account]; ok {
			return a
		}
	}
	if kept := r.young.Find(account); kept != nil {
		return kept.rights
	}
	var a *txnpb.Access
	if kept := r.old.Find(account); kept != nil {
		a = kept.rights
	} else {
		var err error
		if a, err = readAccess(m.store, account); err != nil {
			panic(&ledger.ReadError{Op: "the rights on an account", Err: err})
		}
	}
	r.remember(account, a)
	return a
}

// rightsOn returns the rights of a user on an account as of now.
func (m *Machine) rightsOn(account u128.Int, user uint64) uint32 {
	if r := &m.rights; len(r.changed) == 0 {
		if kept := r.young.Find(account); kept != nil && kept.owner == user && user != 0 {
			return allRights
		}
	}
	return rightsOf(m.access(account), user)
}

// accessReader is a store.State or a store.View.
type accessReader interface {
	Access(account u128.Int) (row []byte, ok bool)
}

// readAccess returns the rights on an account as they are stored, nil for none.
func readAccess(s accessReader, account u128.Int) (*txnpb.Access, error) {
	row, ok := s.Access(account)
	if !ok {
		return nil, nil
	}
	a := &txnpb.Access{}
	if err := a.Parse(row); err != nil {
		return nil, fmt.Errorf("machine: the rights on account %v: %w", account, err)
	}
	return a, nil
}

// rightsOf returns what a user may do with an account.
func rightsOf(a *txnpb.Access, user uint64) uint32 {
	if a == nil || user == 0 {
		return 0
	}
	if a.Owner == user {
		return allRights
	}
	if i, ok := findGrant(a, user); ok {
		return a.Grants[i].Rights
	}
	return 0
}

func findGrant(a *txnpb.Access, user uint64) (i int, ok bool) {
	return slices.BinarySearchFunc(a.Grants, user, func(g txnpb.Grant, user uint64) int {
		switch {
		case g.User < user:
			return -1
		case g.User > user:
			return 1
		}
		return 0
	})
}

// with returns a as it is when the rights of one user are changed, nil when nobody
// has any.
func with(a *txnpb.Access, user uint64, rights uint32) *txnpb.Access {
	next := &txnpb.Access{}
	if a != nil {
		next.Owner, next.Grants = a.Owner, slices.Clone(a.Grants)
	}
	if next.Owner == user {
		next.Owner = 0
	}
	if i, ok := findGrant(next, user); ok {
		next.Grants = slices.Delete(next.Grants, i, i+1)
	}
	switch {
	case rights&rightOwner != 0:
		next.Owner = user
	case rights != 0:
		i, _ := findGrant(next, user)
		next.Grants = slices.Insert(next.Grants, i, txnpb.Grant{User: user, Rights: rights})
	}
	if next.Owner == 0 && len(next.Grants) == 0 {
		return nil
	}
	return next
}

// changeAccess changes the rights of one user on one account.
func (m *Machine) changeAccess(c *txnpb.AccessChange) txnpb.AccessStatus {
	switch {
	case c.Rights&^allRights != 0, c.User == 0 && c.Rights != rightOwner:
		return txnpb.AccessStatusInvalid
	case m.ledger.Account(c.AccountId) == nil:
		return txnpb.AccessStatusAccountNotFound
	case c.User != 0 && m.user(c.User) == nil:
		return txnpb.AccessStatusUserNotFound
	}
	a := with(m.access(c.AccountId), c.User, c.Rights)
	if a != nil && len(a.Grants) > maxGrants {
		return txnpb.AccessStatusTooManyGrants
	}
	m.rights.set(c.AccountId, a)
	return txnpb.AccessStatusChanged
}

// own makes a client the owner of the accounts that it has just created.
func (m *Machine) own(in []ledgerpb.Account, results []ledger.Result, client uint64) {
	for i := range in {
		if results[i].Status == uint32(ledgerpb.CreateAccountStatusCreated) {
			m.rights.set(in[i].Id, &txnpb.Access{Owner: client})
		}
	}
}

const (
	importedAccount  = uint32(ledgerpb.AccountFlagsImported)
	limitedAccount   = uint32(ledgerpb.AccountFlagsDebitsMustNotExceedCredits)
	importedTransfer = uint32(ledgerpb.TransferFlagsImported)
	voids            = uint32(ledgerpb.TransferFlagsVoidPendingTransfer)
	resolves         = uint32(ledgerpb.TransferFlagsPostPendingTransfer) | voids
	usesCredit       = uint32(ledgerpb.TransferFlagsClosingCredit | ledgerpb.TransferFlagsBalancingCredit)
)

// mayAsk returns why a client may not have a transaction's preconditions looked at
// or open its accounts, or "".
func (m *Machine) mayAsk(tx *txnpb.Transaction, client uint64) string {
	for i := range tx.Preconditions {
		p := &tx.Preconditions[i]
		if !p.AccountId.IsZero() && m.rightsOn(p.AccountId, client)&rightRead == 0 {
			return fmt.Sprintf("precondition %d: the user may not see account %v", i, p.AccountId)
		}
		var t ledgerpb.Transfer
		if !p.TransferId.IsZero() {
			if _, ok := m.ledger.Transfer(p.TransferId, &t); ok &&
				(m.rightsOn(t.DebitAccountId, client)|m.rightsOn(t.CreditAccountId, client))&rightRead == 0 {
				return fmt.Sprintf("precondition %d: the user may not see transfer %v", i, p.TransferId)
			}
		}
	}
	for i := range tx.Accounts {
		switch flags := tx.Accounts[i].Flags; {
		case flags&importedAccount != 0:
			return fmt.Sprintf("account %d: only an operator may import accounts", i)
		case flags&limitedAccount == 0:
			return fmt.Sprintf("account %d: a client's own account needs the flag debits_must_not_exceed_credits: money comes from accounts that an operator opened", i)
		}
	}
	return ""
}

// mayChange returns why a client may not make a transaction's changes of rights, or "".
func (m *Machine) mayChange(tx *txnpb.Transaction, client uint64) string {
	for i := range tx.Access {
		if m.rightsOn(tx.Access[i].AccountId, client)&rightOwner == 0 {
			return fmt.Sprintf("access %d: only its owner or an operator may change the rights on account %v", i, tx.Access[i].AccountId)
		}
	}
	return ""
}

// mayMove returns why a client may not make a transaction's transfers, or "". The
// accounts are created and the rights changed by now.
//
// A pending transfer is the consent of who holds the debit account to its amount
// and to nothing more: the other side may give it back, but not take it.
func (m *Machine) mayMove(tx *txnpb.Transaction, client uint64) string {
	for i := range tx.Transfers {
		t := &tx.Transfers[i]
		if t.Flags&importedTransfer != 0 {
			return fmt.Sprintf("transfer %d: only an operator may import transfers", i)
		}
		if t.Flags&resolves == 0 {
			if m.rightsOn(t.DebitAccountId, client)&rightDebit == 0 {
				return fmt.Sprintf("transfer %d: the user may not move money from account %v: its owner or an operator can grant it", i, t.DebitAccountId)
			}
			if t.Flags&usesCredit != 0 && m.rightsOn(t.CreditAccountId, client)&rightDebit == 0 {
				return fmt.Sprintf("transfer %d: the user may not close or balance account %v: its owner or an operator can grant it", i, t.CreditAccountId)
			}
			continue
		}
		var p ledgerpb.Transfer
		if _, ok := m.ledger.Transfer(t.PendingId, &p); !ok {
			continue // made by this transaction, so the user may debit its account; or never made
		}
		if m.rightsOn(p.DebitAccountId, client)&(rightDebit|rightSettle) == 0 &&
			(t.Flags&resolves != voids || m.rightsOn(p.CreditAccountId, client)&rightDebit == 0) {
			return fmt.Sprintf("transfer %d: the user may not settle pending transfers from account %v: its owner or an operator can grant it", i, p.DebitAccountId)
		}
	}
	return ""
}
