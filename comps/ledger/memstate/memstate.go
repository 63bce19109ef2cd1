// Package memstate is a ledger's committed rows in plain maps and slices: simple
// enough to be right by reading it. Tests of the ledger and of its stores compare
// with it, and the simulation's replicas keep their ledger in it.
//
// It answers ledger.State and ledger.History. Nothing in it depends on map order.
package memstate

import (
	"maps"
	"slices"
	"sort"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// State holds the rows. The zero value is not ready; see New.
type State struct {
	accounts map[u128.Int]ledgerpb.Account
	born     []u128.Int // ids of the accounts by timestamp
	events   []ledger.Event
	ids      map[u128.Int]uint64 // transfer id → timestamp, 0 for a failure
	sorted   []u128.Int          // the transfer ids, ascending
	pending  map[uint64]ledger.PendingStatus
	due      []due // by expiry and timestamp
	top      u128.Int
}

type due struct{ expiry, ts uint64 }

var (
	_ ledger.State   = (*State)(nil)
	_ ledger.History = (*State)(nil)
)

// New returns an empty State.
func New() *State {
	return &State{
		accounts: make(map[u128.Int]ledgerpb.Account),
		ids:      make(map[u128.Int]uint64),
		pending:  make(map[uint64]ledger.PendingStatus),
	}
}

// Clone returns a copy that shares nothing with s.
func (s *State) Clone() *State {
	return &State{
		accounts: maps.Clone(s.accounts),
		born:     slices.Clone(s.born),
		events:   slices.Clone(s.events),
		ids:      maps.Clone(s.ids),
		sorted:   slices.Clone(s.sorted),
		pending:  maps.Clone(s.pending),
		due:      slices.Clone(s.due),
		top:      s.top,
	}
}

// Apply takes over the changes.
func (s *State) Apply(c *ledger.Changes) {
	for i := range c.Accounts() {
		a, created := c.Account(i)
		if s.accounts[a.Id] = *a; created {
			s.born = append(s.born, a.Id)
			if s.top.Less(a.Id) {
				s.top = a.Id
			}
		}
	}
	for i := range c.Events {
		e := &c.Events[i]
		s.events = append(s.events, *e)
		if e.IsTransfer() {
			s.addID(e.Transfer.Id, e.Timestamp)
		}
		if e.Type == ledgerpb.ChangeEventTypeTwoPhasePending {
			s.pending[e.Timestamp] = ledger.StatusPending
		}
		if expiry := e.Expiry(); expiry != 0 {
			s.setDue(due{expiry, e.Timestamp}, true)
		}
		if status := e.Resolves(); status != ledger.StatusNone {
			s.pending[e.PendingTimestamp] = status
			if e.PendingExpiry != 0 {
				s.setDue(due{e.PendingExpiry, e.PendingTimestamp}, false)
			}
		}
	}
	for _, id := range c.Failed {
		s.addID(id, 0)
	}
}

func (s *State) addID(id u128.Int, ts uint64) {
	i, _ := slices.BinarySearchFunc(s.sorted, id, u128.Int.Cmp)
	s.sorted = slices.Insert(s.sorted, i, id)
	s.ids[id] = ts
}

// setDue puts d into the queue of expiries, or takes it out.
func (s *State) setDue(d due, in bool) {
	i := sort.Search(len(s.due), func(i int) bool {
		x := s.due[i]
		return x.expiry > d.expiry || x.expiry == d.expiry && x.ts >= d.ts
	})
	if in {
		s.due = slices.Insert(s.due, i, d)
	} else {
		s.due = slices.Delete(s.due, i, i+1)
	}
}

// Account implements ledger.State.
func (s *State) Account(id u128.Int, a *ledgerpb.Account) bool {
	got, ok := s.accounts[id]
	*a = got
	return ok
}

// AccountBorn implements ledger.History.
func (s *State) AccountBorn(ts uint64, a *ledgerpb.Account) bool {
	i := sort.Search(len(s.born), func(i int) bool { return s.accounts[s.born[i]].Timestamp >= ts })
	if i == len(s.born) {
		return false
	}
	*a = s.accounts[s.born[i]]
	return a.Timestamp == ts
}

// AccountAt implements ledger.State.
func (s *State) AccountAt(ts uint64) bool {
	var a ledgerpb.Account
	return s.AccountBorn(ts, &a)
}

// TransferID implements ledger.State.
func (s *State) TransferID(id u128.Int) (ts uint64, known bool) {
	ts, known = s.ids[id]
	return ts, known
}

// TransferIDs implements ledger.State.
func (s *State) TransferIDs(f func(id u128.Int, ts uint64) bool) {
	for _, id := range slices.Backward(s.sorted) {
		if !f(id, s.ids[id]) {
			return
		}
	}
}

// Event implements ledger.History.
func (s *State) Event(ts uint64, e *ledger.Event) bool {
	i := sort.Search(len(s.events), func(i int) bool { return s.events[i].Timestamp >= ts })
	if i == len(s.events) || s.events[i].Timestamp != ts {
		return false
	}
	*e = s.events[i]
	return true
}

// EventAt implements ledger.State.
func (s *State) EventAt(ts uint64) bool {
	var e ledger.Event
	return s.Event(ts, &e)
}

// Transfer implements ledger.State.
func (s *State) Transfer(ts uint64, t *ledgerpb.Transfer) bool {
	var e ledger.Event
	if !s.Event(ts, &e) || !e.IsTransfer() {
		return false
	}
	*t = e.Transfer
	return true
}

// Pending implements ledger.State.
func (s *State) Pending(ts uint64) ledger.PendingStatus { return s.pending[ts] }

// Expiring implements ledger.State.
func (s *State) Expiring(f func(expiry, ts uint64) bool) {
	for _, d := range s.due {
		if !f(d.expiry, d.ts) {
			return
		}
	}
}

// TopAccount implements ledger.State.
func (s *State) TopAccount() u128.Int { return s.top }

// LastAccount implements ledger.State.
func (s *State) LastAccount() uint64 {
	if len(s.born) == 0 {
		return 0
	}
	return s.accounts[s.born[len(s.born)-1]].Timestamp
}

// LastEvent implements ledger.State.
func (s *State) LastEvent() uint64 {
	if len(s.events) == 0 {
		return 0
	}
	return s.events[len(s.events)-1].Timestamp
}

// Accounts calls f for every account, by timestamp.
func (s *State) Accounts(f func(a *ledgerpb.Account)) {
	for _, id := range s.born {
		a := s.accounts[id]
		f(&a)
	}
}

// AllEvents returns the events by timestamp; they are not to be changed.
func (s *State) AllEvents() []ledger.Event { return s.events }
