package store

import (
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"github.com/cockroachdb/pebble/v2"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/ledger/idmap"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
)

// settleRows is the number of rows in one batch of settling: a Commit waits for
// one batch at most, about a millisecond.
const settleRows = 1024

// rotate hands a full overlay to the background. It needs mu, and waits when the
// background is far behind.
func (d *DB) rotate() {
	for d.old != nil && d.young.transfers.Len() >= maxUnsettled*d.cfg.settleEvents {
		d.settled.Wait()
	}
	if d.old == nil && d.young.size() >= d.cfg.settleEvents {
		d.retire()
	}
}

// retire makes the young overlay the old one. It needs mu, and old must be nil.
func (d *DB) retire() {
	d.old, d.young = d.young, d.spare
	if d.spare = nil; d.young == nil {
		d.young = &overlay{}
	}
	select {
	case d.wake <- struct{}{}:
	default: // it will look anyway
	}
}

// background settles, and builds indexes when nothing else happens.
func (d *DB) background() {
	idle := time.NewTimer(timer.Next(idleInterval))
	defer idle.Stop()
	var seen uint64
	for {
		select {
		case <-d.stop:
			return
		case <-d.wake:
			d.settleOld()
		case <-idle.C:
			d.mu.RLock()
			commits := d.commits
			d.mu.RUnlock()
			rest := idleInterval
			if commits == seen || d.unindexed.Load() > maxUnindexed {
				if !d.indexSome() {
					rest = restInterval
				}
			}
			seen = commits
			idle.Reset(timer.Next(rest))
		}
	}
}

const (
	// idleInterval is how long a store must have had no Commit before it builds
	// indexes of its own accord.
	idleInterval = 250 * time.Millisecond
	// restInterval is how soon one that has built all looks for the next Commit.
	restInterval = time.Second
	// maxUnindexed is how many events a busy store lets wait for their indexes, and
	// so bounds how long the first query waits: some seconds.
	maxUnindexed = 4 << 20
)

// settleOld settles the old overlay, if there is one, and lets it go.
func (d *DB) settleOld() {
	d.mu.RLock()
	old := d.old
	d.mu.RUnlock()
	if old == nil {
		return
	}
	d.settle(old)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.old = nil
	if old.held == 0 {
		old.reset()
		d.spare = old
	}
	d.settled.Broadcast()
}

// settle writes the rows that the overlay stands for, which nobody changes any
// more, in the order of their keys, and last of all that they are settled.
func (d *DB) settle(o *overlay) {
	accounts := make([]*ledgerpb.Account, o.accounts.Len())
	for i := range o.accounts.Entries() {
		accounts[i] = &o.accounts.Entries()[i].Value
	}
	slices.SortFunc(accounts, func(a, b *ledgerpb.Account) int { return a.Id.Cmp(b.Id) })
	d.transfers = append(d.transfers[:0], o.transfers.Entries()...)
	slices.SortFunc(d.transfers, byID)

	var key, value []byte
	b := d.db.NewBatch()
	commit := func() {
		if err := b.Set(d.sum(nil, sumSettled), binary.BigEndian.AppendUint64(nil, d.sums.settled), nil); err != nil {
			panic(err)
		}
		if err := b.Commit(pebble.NoSync); err != nil {
			panic(fmt.Errorf("store: settling: %w", err))
		}
		b.Close()
		b = d.db.NewBatch()
	}
	set := func() {
		if err := b.Set(key, value, nil); err != nil {
			panic(err) // only of a batch that was committed
		}
		if b.Count() == settleRows {
			commit()
		}
	}
	was := d.settledRows()
	for _, a := range accounts {
		key, value = d.id(key[:0], tableAccounts, a.Id), appendAccount(value[:0], a)
		hash := rowHash(key, value)
		before, kept := d.hashes.swap(a.Id, hash)
		if !kept {
			before = was.hash(key)
		}
		d.sums.settled += hash - before
		set()
	}
	for _, t := range d.transfers {
		key, value = d.id(key[:0], tableTransfers, t.ID), binary.BigEndian.AppendUint64(value[:0], t.Value)
		d.sums.settled += rowHash(key, value)
		if o.recovered { // it may have been settled before the crash
			d.sums.settled -= was.hash(key)
		}
		set()
	}
	was.close()
	d.hashes.grow()
	if o.last != 0 {
		key, value = d.table(key[:0], tableSettled), binary.BigEndian.AppendUint64(value[:0], o.last)
		set()
		key = d.sum(key[:0], sumSettledTo)
		set()
	}
	commit()
	b.Close()
}

func byID(a, b idmap.Entry[uint64]) int { return a.ID.Cmp(b.ID) }

// settleAll settles everything and returns with gate held: until it is released
// the rows are the state.
func (d *DB) settleAll() {
	// Most of it first, beside the Commits.
	d.mu.Lock()
	if d.old == nil {
		d.retire()
	}
	for d.old != nil {
		d.settled.Wait()
	}
	d.mu.Unlock()

	d.gate.Lock()
	d.mu.Lock()
	defer d.mu.Unlock()
	for d.old != nil {
		d.settled.Wait()
	}
	if d.young.size() > 0 {
		d.retire()
		for d.old != nil {
			d.settled.Wait()
		}
	}
}

// unsettled fills the young overlay from the history behind the settled event. It
// needs mu.
func (d *DB) unsettled(r rows) {
	settled := r.settledTo()
	if settled >= d.lastEvent {
		return
	}
	it := r.history()
	defer finish("history", it)
	ok := it.SeekLT(r.number(nil, tableHistory, settled+1))
	if !ok {
		ok = it.First()
	}
	var e ledger.Event
	for ; ok; ok = it.Next() {
		if err := eachEvent(suffix64(it.Key()), valueOf("history", it), &e, func() bool {
			if e.Timestamp > settled {
				d.recover(r, &e)
			}
			return true
		}); err != nil {
			fail("history", err)
		}
	}
	d.young.last = d.lastEvent
	d.young.recovered = true
}

// recover does again to the overlay what the Commit of an event did.
func (d *DB) recover(r rows, e *ledger.Event) {
	side := func(id u128.Int, s *ledger.Side) {
		var a ledgerpb.Account
		if !d.young.account(id, &a) && !r.account(id, &a) {
			fail("history", fmt.Errorf("%w: event %d has no account %v", ErrCorrupt, e.Timestamp, id))
		}
		a.DebitsPending, a.DebitsPosted = s.DebitsPending, s.DebitsPosted
		a.CreditsPending, a.CreditsPosted = s.CreditsPending, s.CreditsPosted
		a.Flags = s.Flags
		d.young.put(&a)
	}
	side(e.Transfer.DebitAccountId, &e.Debit)
	side(e.Transfer.CreditAccountId, &e.Credit)
	if e.IsTransfer() {
		d.young.transfers.Add(e.Transfer.Id, e.Timestamp)
	}
}
