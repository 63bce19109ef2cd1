package machine

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// # The stream of events
//
// Everything that happens to the ledger has a stamp, and the stream is what happened in the
// order of the stamps: a place in it is a stamp, named by the transaction that took it or
// was the last one before, and the distance from that transaction's first stamp. What a
// transaction imported stands where the transaction does, in the order of its timestamps.
// Nothing that is committed later stands before what was there, so that who asks again for
// what is behind the last place misses nothing and gets nothing twice, at any replica.

const (
	// MaxEvents bounds the events of one answer, and maxEventBytes their bytes, but for a
	// last event of any size: a slow client's connection holds no more than that.
	MaxEvents     = 1000
	maxEventBytes = 256 << 10
	// maxEventAccess bounds what one question remembers of rights.
	maxEventAccess = 1 << 16

	allKinds = uint32(txnpb.EventKindsAccounts | txnpb.EventKindsTransfers | txnpb.EventKindsExpiries)
)

// ErrBehind is returned for a position that this replica's state does not reach yet.
var ErrBehind = errors.New("machine: the state has not come so far yet")

// Place is where the stream is told: in which group and epoch, and what began that epoch.
type Place struct {
	Group uint16
	Epoch uint32
	// Force is the newest forced recovery, nil for none.
	Force *txnpb.Force
}

// EventsEnd is the last stamp of the stream as a view holds it.
func EventsEnd(v store.View) uint64 {
	var end uint64
	if _, s, ok := v.CommittedBy(math.MaxInt64 - 1); ok {
		end = s.Last
	}
	for _, set := range [...]ledger.Set{ledger.Accounts, ledger.Events} {
		times := v.Scan(set, ledger.AnyField, u128.Int{}, true)
		if ts, ok := times.Seek(ledger.MaxTimestamp); ok {
			end = max(end, ts)
		}
		times.Close()
	}
	return end
}

// PositionOf returns the position right behind a stamp.
func (p Place) PositionOf(v store.View, stamp uint64) txnpb.Position {
	at := txnpb.Position{Epoch: p.Epoch, Group: uint32(p.Group)}
	if csn, s, ok := v.CommittedBy(stamp); ok {
		at.Csn, at.N = csn, stamp-s.First+1
	}
	return at
}

// stampOf returns the stamp that a position stands behind. overruled says that what it had
// seen from there on is no longer so. The error is ErrBehind or an ErrInvalid.
func (p Place) stampOf(v store.View, at *txnpb.Position) (stamp uint64, overruled bool, err error) {
	switch {
	case at == nil || at.Csn == 0:
		return 0, false, nil
	case at.Group != uint32(p.Group):
		return 0, false, fmt.Errorf("%w: a position in group %d: this is group %d", ErrInvalid, at.Group, p.Group)
	case at.Epoch > p.Epoch:
		return 0, false, ErrBehind
	case at.Epoch < p.Epoch && (p.Force == nil || p.Force.Epoch != p.Epoch || at.Epoch+1 != p.Epoch):
		return 0, false, fmt.Errorf("%w: a position of epoch %d, this is epoch %d, and what was overruled or restored in between is not known: "+
			"begin at a transaction that your books agree with", ErrInvalid, at.Epoch, p.Epoch)
	}
	csn, n := at.Csn, at.N
	forked := at.Epoch < p.Epoch
	if forked && csn > p.Force.Csn {
		csn, n, overruled = p.Force.Csn, math.MaxInt64, true
		if csn == 0 {
			return 0, true, nil
		}
	}
	s, ok := v.Span(csn)
	if !ok {
		return 0, false, ErrBehind
	}
	if most := s.Last - s.First + 1; forked && csn == p.Force.Csn && n > most {
		n, overruled = most, true // expiries that came at other times, as it is now
	}
	if n > math.MaxInt64-s.First {
		return 0, false, fmt.Errorf("%w: a position with n %d", ErrInvalid, n)
	}
	return s.First + n - 1, overruled, nil
}

// Events answers a question for the events that a user may see, from a view. It returns
// the stamp behind which nothing was looked at. The error is ErrBehind, or an ErrInvalid.
func Events(v store.View, q *txnpb.EventsRequest, user uint64, p Place) (a *txnpb.EventsAnswer, stamp uint64, err error) {
	a = &txnpb.EventsAnswer{}
	end := EventsEnd(v)
	if q.FromEnd {
		stamp = end
	} else if stamp, a.Overruled, err = p.stampOf(v, q.After); err != nil {
		return nil, 0, err
	} else if stamp > end && !a.Overruled {
		return nil, 0, ErrBehind
	}
	r := eventReader{reader: reader{v, user}, filter: q.Filter, limit: int(q.Limit), seen: map[u128.Int]bool{}, answer: a}
	if r.limit == 0 || r.limit > MaxEvents {
		r.limit = MaxEvents
	}
	if r.filter == nil {
		r.filter = &txnpb.EventsFilter{}
	}
	if r.filter.Kinds&^allKinds != 0 {
		return nil, 0, fmt.Errorf("%w: kinds %d, the greatest is %d", ErrInvalid, r.filter.Kinds, allKinds)
	}
	if !a.Overruled {
		if stamp, a.End, err = r.read(stamp, end); err != nil {
			return nil, 0, err
		}
	}
	next := p.PositionOf(v, stamp)
	a.Next = &next
	return a, stamp, nil
}

// eventReader selects events.
type eventReader struct {
	reader
	filter *txnpb.EventsFilter
	limit  int
	seen   map[u128.Int]bool // accounts, and whether the user may see them
	answer *txnpb.EventsAnswer
	bytes  int
	noted  uint64 // the CSN whose note is in the answer, or would be
}

// read adds the events behind a stamp up to end, and returns how far it came and whether
// that is the end.
func (r *eventReader) read(after, end uint64) (stamp uint64, whole bool, err error) {
	scanned := 0
	stamp, whole = end, true
	eachHappened(r.View, after, end, func(h *happened) bool {
		if scanned == maxScanned || len(r.answer.Events) == r.limit || r.bytes >= maxEventBytes {
			whole = false
			return false
		}
		scanned++
		if err = r.take(h); err != nil {
			return false
		}
		stamp = h.stamp
		return true
	})
	if whole {
		stamp = end
	}
	return stamp, whole, err
}

// take adds an event if it is selected and the user may see it.
func (r *eventReader) take(h *happened) error {
	if !selects(r.filter, h) {
		return nil
	}
	debit, err := r.sees(h.debit())
	if err != nil {
		return err
	}
	credit := debit
	if h.account == nil {
		if credit, err = r.sees(h.event.Transfer.CreditAccountId); err != nil {
			return err
		}
	}
	if !debit && !credit {
		return nil
	}
	csn, s, _ := r.CommittedBy(h.stamp)
	e := txnpb.Event{Csn: csn, N: h.stamp - s.First + 1}
	if h.account != nil {
		e.Timestamp = h.account.Timestamp
		// As it began, whatever has become of it since.
		e.Account = &ledger.LookupAccountsAt(r, []u128.Int{h.account.Id}, h.account.Timestamp, nil)[0]
	} else {
		e.Timestamp, e.Type = h.event.Timestamp, h.event.Type
		t := h.event.Transfer
		e.Transfer = &t
		if debit {
			e.Debit = h.event.Debit.Balance(e.Timestamp)
		}
		if credit {
			e.Credit = h.event.Credit.Balance(e.Timestamp)
		}
	}
	r.bytes += e.Size()
	r.answer.Events = append(r.answer.Events, e)
	if csn == r.noted || h.event != nil && !h.event.IsTransfer() {
		return nil
	}
	r.noted = csn
	note, err := readNote(r, csn)
	if note != nil {
		r.bytes += note.Size()
		r.answer.Notes = append(r.answer.Notes, *note)
	}
	return err
}

// sees reports whether the user may see an account.
func (r *eventReader) sees(account u128.Int) (bool, error) {
	if r.user == Everything {
		return true, nil
	}
	ok, known := r.seen[account]
	if known {
		return ok, nil
	}
	ok, err := r.may(account, rightRead)
	if len(r.seen) == maxEventAccess {
		clear(r.seen)
	}
	r.seen[account] = ok
	return ok, err
}

// selects reports whether a filter selects what happened.
func selects(f *txnpb.EventsFilter, h *happened) bool {
	kind, ledger, code := txnpb.EventKindsTransfers, uint32(0), uint32(0)
	switch {
	case h.account != nil:
		kind, ledger, code = txnpb.EventKindsAccounts, h.account.Ledger, h.account.Code
	default:
		if !h.event.IsTransfer() {
			kind = txnpb.EventKindsExpiries
		}
		ledger, code = h.event.Transfer.Ledger, h.event.Transfer.Code
	}
	switch {
	case f.Kinds != 0 && f.Kinds&uint32(kind) == 0,
		f.Ledger != 0 && f.Ledger != ledger,
		f.Code != 0 && f.Code != code:
		return false
	case len(f.AccountIds) == 0 || slices.Contains(f.AccountIds, h.debit()):
		return true
	}
	return h.account == nil && slices.Contains(f.AccountIds, h.event.Transfer.CreditAccountId)
}

// Touch is who may be interested in something that happened.
type Touch struct {
	// Accounts are those that it concerns, one or two.
	Accounts []u128.Int
	// Users may see one of them; each at least once. Operators and auditors see all.
	Users []uint64
}

// EachTouch calls f for everything that happened behind a stamp, up to another, until f
// returns false; Users are given only if they are wanted. What it is given is f's until it
// returns.
func EachTouch(v store.View, after, end uint64, users bool, f func(stamp uint64, t *Touch) bool) (err error) {
	var t Touch
	known := map[u128.Int][]uint64{}
	eachHappened(v, after, end, func(h *happened) bool {
		t.Accounts = append(t.Accounts[:0], h.debit())
		if h.account == nil {
			t.Accounts = append(t.Accounts, h.event.Transfer.CreditAccountId)
		}
		t.Users = t.Users[:0]
		for _, account := range t.Accounts {
			if !users {
				break
			}
			who, ok := known[account]
			if !ok {
				if who, err = readers(v, account); err != nil {
					return false
				}
				if len(known) == maxEventAccess {
					clear(known)
				}
				known[account] = who
			}
			t.Users = append(t.Users, who...)
		}
		return f(h.stamp, &t)
	})
	return err
}

// readers are the users that may see an account.
func readers(v store.View, account u128.Int) (who []uint64, err error) {
	a, err := readAccess(v, account)
	if err != nil || a == nil {
		return nil, err
	}
	if a.Owner != 0 {
		who = append(who, a.Owner)
	}
	for _, g := range a.Grants {
		if g.Rights&rightRead != 0 {
			who = append(who, g.User)
		}
	}
	return who, nil
}

// happened is one thing that happened: an account was created, or an event.
type happened struct {
	stamp   uint64
	account *ledgerpb.Account // as it is now
	event   *ledger.Event
}

// debit is the account that was created, or the debit account.
func (h *happened) debit() u128.Int {
	if h.account != nil {
		return h.account.Id
	}
	return h.event.Transfer.DebitAccountId
}

// eachHappened calls f for what happened behind a stamp, up to another, in order, until f
// returns false.
func eachHappened(v store.View, after, end uint64, f func(h *happened) bool) {
	births := v.Scan(ledger.Accounts, ledger.AnyField, u128.Int{}, false)
	defer births.Close()
	events := v.Scan(ledger.Events, ledger.AnyField, u128.Int{}, false)
	defer events.Close()
	var account ledgerpb.Account
	var event ledger.Event
	var h happened
	nextBirth := func(from uint64) uint64 { // MaxUint64 for none
		for {
			ts, ok := births.Seek(from)
			if !ok || ts > end {
				return math.MaxUint64
			}
			mustBorn(v, ts, &account)
			if account.Flags&importedAccount == 0 {
				return ts
			}
			from = ts + 1
		}
	}
	nextEvent := func(from uint64) uint64 {
		for {
			ts, ok := events.Seek(from)
			if !ok || ts > end {
				return math.MaxUint64
			}
			mustHappen(v, ts, &event)
			if !event.IsTransfer() || event.Transfer.Flags&importedTransfer == 0 {
				return ts
			}
			from = ts + 1
		}
	}
	imports := importReader{v: v, end: end}
	birth, happens := nextBirth(after+1), nextEvent(after+1)
	for imported := imports.next(after + 1); ; {
		var ok bool
		switch next := min(birth, happens, imported); next {
		case math.MaxUint64:
			return
		case imported:
			h = imports.happened()
			ok = f(&h)
			imported = imports.next(next + 1)
		case birth:
			h = happened{stamp: next, account: &account}
			ok = f(&h)
			birth = nextBirth(next + 1)
		default:
			h = happened{stamp: next, event: &event}
			ok = f(&h)
			happens = nextEvent(next + 1)
		}
		if !ok {
			return
		}
	}
}

func mustBorn(v store.View, ts uint64, a *ledgerpb.Account) {
	if !v.AccountBorn(ts, a) {
		panic(&ledger.ReadError{Op: "an account", Err: errVanished})
	}
}

func mustHappen(v store.View, ts uint64, e *ledger.Event) {
	if !v.Event(ts, e) {
		panic(&ledger.ReadError{Op: "an event", Err: errVanished})
	}
}

// errVanished is found when a row is missing that another one names.
var errVanished = errors.New("machine: the row is missing")

// importReader goes through what was imported.
type importReader struct {
	v     store.View
	end   uint64
	items []importedItem // of one transaction, by stamp
	last  uint64         // its last stamp
	none  bool           // nothing was imported from here on

	at      importedItem
	account ledgerpb.Account
	event   ledger.Event
}

type importedItem struct {
	stamp, timestamp uint64
	account          bool
}

// next goes to the first import of a stamp or behind it and returns its stamp,
// math.MaxUint64 for none.
func (r *importReader) next(stamp uint64) uint64 {
	for !r.none {
		for i, item := range r.items {
			if item.stamp >= stamp {
				r.at, r.items = item, r.items[i+1:]
				return item.stamp
			}
		}
		i, ok := r.v.Imports(max(stamp, r.last+1))
		if !ok || i.Stamps.First > r.end {
			r.none = true
			break
		}
		r.last = i.Stamps.Last
		r.items = append(r.list(nil, ledger.Accounts, i.Accounts, i.Stamps.First), r.list(nil, ledger.Events, i.Transfers, i.TransfersAt)...)
	}
	return math.MaxUint64
}

// list appends the rows of a set with timestamps in a span: the first of them stands at the
// given stamp.
func (r *importReader) list(out []importedItem, set ledger.Set, s store.Span, stamp uint64) []importedItem {
	if s.First == 0 {
		return out
	}
	times := r.v.Scan(set, ledger.AnyField, u128.Int{}, false)
	defer times.Close()
	for ts, ok := times.Seek(s.First); ok && ts <= s.Last; ts, ok = times.Seek(ts + 1) {
		out = append(out, importedItem{stamp, ts, set == ledger.Accounts})
		stamp++
	}
	return out
}

// happened returns what next went to.
func (r *importReader) happened() happened {
	if r.at.account {
		mustBorn(r.v, r.at.timestamp, &r.account)
		return happened{stamp: r.at.stamp, account: &r.account}
	}
	mustHappen(r.v, r.at.timestamp, &r.event)
	return happened{stamp: r.at.stamp, event: &r.event}
}
