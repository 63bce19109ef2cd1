// Package memstore is a store.State in memory that forgets like one on disk: after
// a Crash it holds what it held at the last Flush. It is simple enough to be
// right by reading it; the simulation keeps its replicas' state in it, and tests
// of the store on disk compare with it. It keeps nothing that only queries read:
// spans and notes of transactions.
package memstore

import (
	"fmt"
	"hash/fnv"
	"maps"
	"slices"

	"virtualservicesinc.com/comps/ledger/memstate"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// Store is a state in memory.
type Store struct {
	content
	flushed content
}

type content struct {
	*memstate.State
	txns    map[u128.Int][]byte
	users   map[uint64][]byte
	logins  map[string]uint64
	names   map[string]uint64
	metas   map[string][]byte
	access  map[u128.Int][]byte
	outbox  map[string][]byte
	applied uint64
	rotten  bool
}

var _ store.State = (*Store)(nil)

// New returns an empty state.
func New() *Store {
	empty := content{
		State: memstate.New(), txns: map[u128.Int][]byte{}, users: map[uint64][]byte{},
		logins: map[string]uint64{}, names: map[string]uint64{}, metas: map[string][]byte{}, access: map[u128.Int][]byte{},
		outbox: map[string][]byte{},
	}
	return &Store{content: empty, flushed: empty.clone()}
}

func (c *content) clone() content {
	return content{
		State: c.State.Clone(), txns: maps.Clone(c.txns), users: maps.Clone(c.users),
		logins: maps.Clone(c.logins), names: maps.Clone(c.names), metas: maps.Clone(c.metas), access: maps.Clone(c.access),
		outbox: maps.Clone(c.outbox), applied: c.applied, rotten: c.rotten,
	}
}

// Txn implements store.State.
func (s *Store) Txn(id u128.Int) ([]byte, bool) {
	row, ok := s.txns[id]
	return row, ok
}

// User implements store.State.
func (s *Store) User(number uint64) ([]byte, bool) {
	row, ok := s.users[number]
	return row, ok
}

// UserByLogin implements store.State.
func (s *Store) UserByLogin(hash []byte) (uint64, bool) {
	n, ok := s.logins[string(hash)]
	return n, ok
}

// UserByName implements store.State.
func (s *Store) UserByName(name string) (uint64, bool) {
	n, ok := s.names[name]
	return n, ok
}

// Access implements store.State.
func (s *Store) Access(account u128.Int) ([]byte, bool) {
	row, ok := s.access[account]
	return row, ok
}

// Outbox implements store.State.
func (s *Store) Outbox(key []byte) ([]byte, bool) {
	row, ok := s.outbox[string(key)]
	return row, ok
}

// OutboxRows implements store.State.
func (s *Store) OutboxRows(from, to []byte, f func(key, row []byte) bool) {
	for _, key := range slices.Sorted(maps.Keys(s.outbox)) {
		if key >= string(from) && key < string(to) && !f([]byte(key), s.outbox[key]) {
			return
		}
	}
}

// Meta implements store.State.
func (s *Store) Meta(key string) []byte { return s.metas[key] }

// Commit implements store.State.
func (s *Store) Commit(b *store.Batch) {
	s.State.Apply(b.Changes)
	for _, t := range b.Txns {
		s.txns[t.ID] = slices.Clone(t.Row)
	}
	for _, u := range b.Users {
		s.users[u.Number] = slices.Clone(u.Row)
		s.logins[string(u.LoginHash)] = u.Number
		s.names[u.PublicName] = u.Number
	}
	for _, m := range b.Metas {
		s.metas[m.Key] = slices.Clone(m.Value)
	}
	for _, a := range b.Access {
		if len(a.Row) == 0 {
			delete(s.access, a.Account)
		} else {
			s.access[a.Account] = slices.Clone(a.Row)
		}
	}
	for _, o := range b.Outbox {
		if len(o.Row) == 0 {
			delete(s.outbox, string(o.Key))
		} else {
			s.outbox[string(o.Key)] = slices.Clone(o.Row)
		}
	}
	s.applied = b.Applied
}

// Applied implements store.State.
func (s *Store) Applied() uint64 { return s.applied }

// Flushed implements store.State.
func (s *Store) Flushed() uint64 { return s.flushed.applied }

// Flush implements store.State.
func (s *Store) Flush() error {
	s.flushed = s.content.clone()
	return nil
}

// Crash forgets everything after the last Flush.
func (s *Store) Crash() { s.content = s.flushed.clone() }

// Clone returns a state of its own that holds the same, all of it flushed. As far as it
// knows these rows were written so.
func (s *Store) Clone() *Store {
	own := &Store{content: s.content.clone(), flushed: s.content.clone()}
	own.content.rotten, own.flushed.rotten = false, false
	return own
}

// Sum is the sum of the hashes of all rows, in any order, as store.Snapshot's: states that
// hold the same have the same one. The transaction layer's own rows are no part of it.
func (s *Store) Sum() (sum uint64) {
	add := func(row ...any) {
		h := fnv.New64a()
		fmt.Fprintln(h, row...) // it never fails
		sum += h.Sum64()
	}
	s.Accounts(func(a *ledgerpb.Account) { add("account", message.Marshal(a)) })
	for _, e := range s.AllEvents() {
		add("event", e, s.Pending(e.Timestamp))
	}
	s.TransferIDs(func(id u128.Int, ts uint64) bool { add("transfer", id, ts); return true })
	s.Expiring(func(expiry, ts uint64) bool { add("expiry", expiry, ts); return true })
	for id, row := range s.txns { // all in any order
		add("transaction", id, row)
	}
	for number, row := range s.users {
		add("user", number, row)
	}
	for hash, number := range s.logins {
		add("login", []byte(hash), number)
	}
	for name, number := range s.names {
		add("name", name, number)
	}
	for account, row := range s.access {
		add("access", account, row)
	}
	return sum
}

// Rot changes a row for good, as a failing disk or memory does: an event that was flushed,
// which nothing that is applied reads again. pick chooses it. It reports whether there was one.
func (s *Store) Rot(pick uint64) bool {
	n := uint64(len(s.flushed.AllEvents()))
	if n == 0 {
		return false
	}
	for _, c := range []*content{&s.content, &s.flushed} { // they share no rows
		c.AllEvents()[pick%n].Debit.CreditsPosted.Lo ^= 1
		c.rotten = true
	}
	return true
}

// Rotten reports whether some rows are others than those that were written: what a scrub
// finds, and the sum that travels with a state.
func (s *Store) Rotten() bool { return s.rotten }

// Switch puts another state's content in the place of this one's, durably.
func (s *Store) Switch(other *Store) {
	s.content, s.flushed = other.content.clone(), other.content.clone()
}
