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
	// accounts is how many accounts the clients move money between. The first of
	// them may go below zero and feeds the others; with it half of all payments, and
	// the second takes every fourth.
	accounts = 8
	// patience is how long a client waits for one answer, and hopelessness how long
	// it asks for one id before it asks for a final answer by Resolve.
	patience     = 150 * time.Millisecond
	hopelessness = 800 * time.Millisecond
)

// told is a final answer, as a client remembers it.
type told struct {
	tx                txnpb.Transaction
	state             txnpb.State
	csn               uint64
	failed            map[int]bool // operations that were not executed, by their place
	invoked, answered time.Duration
}

func (t *told) String() string { return fmt.Sprintf("%v %v at %d", t.tx.Id, t.state, t.csn) }

// read is what a client read of all accounts.
type read struct {
	invoked, answered time.Duration
	csn               uint64
	balances          [accounts]balance
}

// balance is what was posted to an account.
type balance struct{ debits, credits uint64 }

// client submits one transaction after the other, asks again with the same id
// until it has a final answer, and at times once more after that. In between it reads.
type client struct {
	w       *world
	id      int
	rng     *rand.Rand
	tx      txnpb.Transaction
	since   time.Duration
	asked   int // attempts for tx, and the number of the newest
	open    bool
	role    message.Role
	home    *node                // of one that submits a single transaction: where it is
	over    func(*txnpb.Outcome) // likewise: what follows
	history []told
	reads   []read
	pending []ledgerpb.Transfer // of its own, to post or to void
}

func newClient(w *world, id int) *client {
	return &client{w: w, id: id, role: message.RoleOperator, rng: rand.New(rand.NewPCG(w.cfg.Seed, 1000+uint64(id)))}
}

func (c *client) idle() bool { return !c.open }

// newID makes an id of this moment: milliseconds, client, sequence.
func (c *client) newID() u128.Int {
	at := uint64((epoch + c.w.Now()) / time.Millisecond)
	return u128.Int{Hi: at<<16 | 0x7000 | uint64(c.id), Lo: c.rng.Uint64()}
}

// next begins something, unless the run is about to end.
func (c *client) next() {
	if c.w.calm {
		return
	}
	c.open, c.since, c.asked = true, c.w.Now(), 0
	if c.w.opened && c.rng.IntN(4) == 0 {
		c.tx = txnpb.Transaction{} // an answer to the last one that comes late is compared, not taken again
		c.read()
		return
	}
	c.tx = c.transaction()
	c.ask()
}

// done ends what was begun.
func (c *client) done() {
	c.open = false
	if c.over != nil {
		return
	}
	c.w.After(time.Duration(c.rng.Int64N(int64(20*time.Millisecond))), c.next)
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
		tx.Transfers = append(tx.Transfers, c.transfer())
	}
	c.owes(&tx)
	return tx
}

func (c *client) transfer() ledgerpb.Transfer {
	t := ledgerpb.Transfer{Id: c.newID(), Ledger: 1, Code: 1}
	if n := len(c.pending); n > 0 && c.rng.IntN(4) == 0 {
		p := c.pending[n-1]
		c.pending = c.pending[:n-1]
		t.PendingId, t.Flags = p.Id, uint32(ledgerpb.TransferFlagsVoidPendingTransfer)
		if c.rng.IntN(2) == 0 {
			t.Amount, t.Flags = u128.Max, uint32(ledgerpb.TransferFlagsPostPendingTransfer)
		}
		return t
	}
	from, to := c.rng.Uint64N(accounts)+1, c.rng.Uint64N(accounts)+1
	if c.rng.IntN(2) == 0 {
		from = 1
	}
	if c.rng.IntN(4) == 0 {
		to = 2
	}
	t.DebitAccountId, t.CreditAccountId, t.Amount = u128.From64(from), u128.From64(to), u128.From64(1+c.rng.Uint64N(100))
	if c.rng.IntN(6) == 0 {
		t.Flags, t.Timeout = uint32(ledgerpb.TransferFlagsPending), 1
	}
	return t
}

// node picks one to ask: who is at a node as a rule the one that leads, as that one knows.
// Trying one after the other takes it so long, where there are many and some are lost, that
// what is owed is not done within the liveness phase.
func (c *client) node() *node {
	if c.home != nil && c.home.life != nil && c.rng.IntN(4) > 0 {
		if n := c.w.node(c.home.replica.Lead()); n != nil {
			return n
		}
	}
	all := c.w.members()
	if c.w.cfg.Force { // whoever was overruled would be believed, too
		all = c.w.nodes
	}
	return all[c.rng.IntN(len(all))]
}

// attempt counts one more, and sees to it that the next follows when nobody answers.
func (c *client) attempt(again func()) (is func() bool) {
	c.asked++
	number, since := c.asked, c.since
	if number > 1 {
		c.w.report.Retries++
	}
	is = func() bool { return c.open && c.since == since && c.asked == number }
	c.w.After(patience, func() {
		if is() {
			again()
		}
	})
	return is
}

// later tries again after a moment, if this is still the newest attempt.
func (c *client) later(is func() bool, again func()) {
	c.w.After(time.Duration(1+c.rng.IntN(20))*time.Millisecond, func() {
		if is() {
			again()
		}
	})
}

// ask submits the transaction, or resolves it when it has waited too long, at
// some node.
func (c *client) ask() {
	is := c.attempt(c.ask)
	n := c.node()
	l := n.life
	if l == nil {
		return
	}
	resolve := c.over == nil && c.w.Now()-c.since > hopelessness && c.rng.IntN(2) == 0
	encoded := message.Marshal(&c.tx)
	if resolve {
		c.w.report.Resolves++
		encoded = message.Marshal(&txnpb.Transaction{Id: c.tx.Id})
	}
	b := &replica.Batch{Submissions: []txnpb.Submission{{
		Transaction: encoded, Principal: uint64(c.id + 1), Role: uint32(c.role), RemainingMillis: uint32(patience / time.Millisecond),
	}}}
	b.Origin = func(b *replica.Batch) {
		outcome := b.Outcomes[0]
		if n.witness && outcome.State != txnpb.StateNotLeader {
			c.w.fail("node %d is a witness, and answers %v", n.id, outcome.State)
		}
		c.w.After(time.Millisecond, func() { c.answer(is, &outcome) })
	}
	n.run(l, func() {
		if resolve {
			l.replica.Resolve(c.w.Now(), n.wall(), b)
		} else {
			l.replica.Submit(c.w.Now(), n.wall(), b)
		}
	})
}

// answer takes an outcome.
func (c *client) answer(is func() bool, o *txnpb.Outcome) {
	if o.Id != c.tx.Id || !c.open {
		c.compare(o)
		return
	}
	switch o.State {
	case txnpb.StateCommitted, txnpb.StateAborted:
		t := told{tx: c.tx, state: o.State, csn: o.Csn, failed: map[int]bool{}, invoked: c.since, answered: c.w.Now()}
		if o.Results != nil {
			for _, x := range o.Results.Exceptions {
				t.failed[int(x.Index)] = x.Status != 0
			}
		}
		c.history = append(c.history, t)
		if c.over != nil {
			c.done()
			c.over(o)
			return
		}
		if o.State == txnpb.StateCommitted {
			c.w.report.Committed++
			c.w.opened = c.w.opened || len(c.tx.Accounts) > 0
			c.keepPending(&t)
		} else {
			c.w.report.Aborted++
		}
		c.done()
	case txnpb.StateRefused: // by one that has not yet heard of the version that knows effects
		if len(c.tx.Effects)+len(c.tx.EffectChanges) > 0 {
			c.later(is, c.ask)
			return
		}
		c.w.fail("client %d: transaction %v: %v %s", c.id, o.Id, o.State, o.Reason)
	case txnpb.StateIdReused, txnpb.StateExpired:
		c.w.fail("client %d: transaction %v: %v %s", c.id, o.Id, o.State, o.Reason)
	default: // not final, an id that is ahead of a clock that stands behind among it
		c.later(is, c.ask)
	}
}

func (c *client) keepPending(t *told) {
	for i, tr := range t.tx.Transfers {
		if tr.Timeout > 0 && !t.failed[len(t.tx.Accounts)+i] {
			c.pending = append(c.pending, tr)
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

// read asks some node for all balances, until one answers.
func (c *client) read() {
	is := c.attempt(c.read)
	n := c.node()
	l := n.life
	if l == nil {
		return
	}
	rd := &replica.Read{Deadline: c.w.Now() + patience}
	rd.Origin = func(rd *replica.Read) {
		if rd.Failed {
			c.later(is, c.read)
			return
		}
		if n.witness {
			c.w.fail("node %d is a witness, and lets a client read", n.id)
			return
		}
		got := read{invoked: c.since, csn: l.machine.Digest().Csn}
		for i := range got.balances {
			got.balances[i] = n.balance(i)
		}
		c.w.After(time.Millisecond, func() {
			if !is() {
				return
			}
			got.answered = c.w.Now()
			c.reads = append(c.reads, got)
			c.w.report.Reads++
			c.done()
		})
	}
	n.run(l, func() {
		if c.w.cfg.Bug == StaleReads {
			rd.Origin.(func(*replica.Read))(rd)
			return
		}
		l.replica.Read(rd)
	})
}

// balance is what an account stands at in a node's state.
func (n *node) balance(i int) balance {
	var a ledgerpb.Account
	n.rows.Account(u128.From64(uint64(i+1)), &a)
	return balance{a.DebitsPosted.Lo, a.CreditsPosted.Lo}
}
