package cluster

import (
	"fmt"
	"math/rand/v2"
	"time"

	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// accounts is how many accounts the clients move money between; the first of
	// them may go below zero and feeds the others.
	accounts = 8
	// patience is how long a client waits for one answer, and hopelessness how long
	// it asks for one id before it asks for a final answer by Resolve.
	patience     = 150 * time.Millisecond
	hopelessness = 1500 * time.Millisecond
)

// told is a final answer, as a client remembers it.
type told struct {
	tx    txnpb.Transaction
	state txnpb.State
	csn   uint64
}

// client submits one transaction after the other, asks again with the same id
// until it has a final answer, and at times once more after that.
type client struct {
	w       *world
	id      int
	rng     *rand.Rand
	tx      txnpb.Transaction
	since   time.Duration
	asked   int // attempts for tx, and the number of the newest
	open    bool
	history []told
}

func newClient(w *world, id int) *client {
	return &client{w: w, id: id, rng: rand.New(rand.NewPCG(w.cfg.Seed, 1000+uint64(id)))}
}

func (c *client) idle() bool { return !c.open }

// newID makes an id of this moment: milliseconds, client, sequence.
func (c *client) newID() u128.Int {
	at := uint64((c.w.start + c.w.Now()) / time.Millisecond)
	return u128.Int{Hi: at<<16 | 0x7000 | uint64(c.id), Lo: c.rng.Uint64()}
}

// next begins a transaction, unless the run is about to end.
func (c *client) next() {
	if c.w.calm {
		return
	}
	c.tx = c.transaction()
	c.since, c.asked, c.open = c.w.Now(), 0, true
	c.ask()
}

// transaction makes one up.
func (c *client) transaction() txnpb.Transaction {
	tx := txnpb.Transaction{Id: c.newID(), Mode: txnpb.ModeAtomic}
	if c.id == 0 && !c.w.opened {
		tx.Mode = txnpb.ModeIndependent
		for i := range uint64(accounts) {
			a := ledgerpb.Account{Id: u128.From64(i + 1), Ledger: 1, Code: 1}
			if i > 0 {
				a.Flags = uint32(ledgerpb.AccountFlagsDebitsMustNotExceedCredits)
			}
			tx.Accounts = append(tx.Accounts, a)
		}
		return tx
	}
	if c.rng.IntN(3) == 0 {
		tx.Mode = txnpb.ModeIndependent
	}
	for range 1 + c.rng.IntN(4) {
		from, to := c.rng.Uint64N(accounts)+1, c.rng.Uint64N(accounts)+1
		if c.rng.IntN(2) == 0 {
			from = 1
		}
		t := ledgerpb.Transfer{
			Id: c.newID(), DebitAccountId: u128.From64(from), CreditAccountId: u128.From64(to),
			Amount: u128.From64(1 + c.rng.Uint64N(100)), Ledger: 1, Code: 1,
		}
		if c.rng.IntN(8) == 0 {
			t.Flags, t.Timeout = uint32(ledgerpb.TransferFlagsPending), 1
		}
		tx.Transfers = append(tx.Transfers, t)
	}
	return tx
}

// ask submits the transaction, or resolves it when it has waited too long, at
// some node.
func (c *client) ask() {
	c.asked++
	attempt := c.asked
	if attempt > 1 {
		c.w.report.Retries++
	}
	n := c.w.nodes[c.rng.IntN(len(c.w.nodes))]
	c.w.After(patience, func() {
		if c.open && c.asked == attempt {
			c.ask() // nobody answered
		}
	})
	l := n.life
	if l == nil {
		return
	}
	b := &replica.Batch{Submissions: []txnpb.Submission{{
		Transaction: message.Marshal(&c.tx), Principal: uint64(c.id + 1), RemainingMillis: uint32(patience / time.Millisecond),
	}}}
	b.Origin = func(b *replica.Batch) {
		outcome := b.Outcomes[0]
		c.w.After(time.Millisecond, func() { c.answer(attempt, &outcome) })
	}
	resolve := c.w.Now()-c.since > hopelessness && c.rng.IntN(2) == 0
	n.run(l, func() {
		if resolve {
			l.replica.Resolve(c.w.Now(), n.wall(), b)
		} else {
			l.replica.Submit(c.w.Now(), n.wall(), b)
		}
	})
}

// answer takes an outcome.
func (c *client) answer(attempt int, o *txnpb.Outcome) {
	if o.Id != c.tx.Id || !c.open {
		c.compare(o)
		return
	}
	switch o.State {
	case txnpb.StateCommitted, txnpb.StateAborted:
		c.open = false
		c.history = append(c.history, told{tx: c.tx, state: o.State, csn: o.Csn})
		if o.State == txnpb.StateCommitted {
			c.w.report.Committed++
			c.w.opened = c.w.opened || len(c.tx.Accounts) > 0
		} else {
			c.w.report.Aborted++
		}
		c.w.After(time.Duration(c.rng.Int64N(int64(20*time.Millisecond))), c.next)
	case txnpb.StateIdReused, txnpb.StateExpired, txnpb.StateRefused, txnpb.StateIdFromFuture:
		c.w.fail("client %d: transaction %v: %v %s", c.id, o.Id, o.State, o.Reason)
	default:
		if attempt == c.asked {
			c.w.After(time.Duration(1+c.rng.IntN(20))*time.Millisecond, func() {
				if c.open && c.asked == attempt {
					c.ask()
				}
			})
		}
	}
}

// compare holds a late answer against the one that the client acted on.
func (c *client) compare(o *txnpb.Outcome) {
	if o.State != txnpb.StateCommitted && o.State != txnpb.StateAborted {
		return
	}
	for i := range c.history {
		if h := &c.history[i]; h.tx.Id == o.Id && (h.state != o.State || h.csn != o.Csn) {
			c.w.fail("client %d was told that %v is %v at %d, and later that it is %v at %d", c.id, o.Id, h.state, h.csn, o.State, o.Csn)
		}
	}
}

func (t *told) String() string { return fmt.Sprintf("%v %v at %d", t.tx.Id, t.state, t.csn) }
