package client

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/txid"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// retryFirst and retryMost bound the wait before a request is sent again that a
	// gateway could not serve: soon enough to follow an election, seldom enough that
	// ten thousand clients do not hold up a gateway that is overloaded.
	retryFirst = 5 * time.Millisecond
	retryMost  = 250 * time.Millisecond
)

// call is one request on its way to an answer.
type call struct {
	method   *message.MethodDescriptor
	service  uint16
	to       uint16
	submit   bool // the answer is an Outcome
	plain    bool // it holds a secret and is not packed
	patient  bool // the answer may take long: silence is no sign that the gateway is lost
	body     []byte
	id       u128.Int  // of a submit
	deadline time.Time // zero: none
	done     chan struct{}

	// Guarded by Client.mu.
	sequence  uint64    // the order in which calls were made
	conn      *conn     // where it is pending
	number    uint64    // and as what
	last      error     // the newest answer that decided nothing
	sent      int       // how often it was sent
	pauses    int       // how often it had to wait before it was sent again
	notBefore time.Time // while in Client.delayed
	finished  bool
	refused   bool // err says that it was not executed and never will be

	// Set before done is closed.
	outcome *txnpb.Outcome
	reply   []byte
	err     error
}

// start sends k, or queues it. It waits for a slot as long as ctx lasts.
func (c *Client) start(ctx context.Context, k *call) error {
	select {
	case c.slots <- struct{}{}:
	default:
		select {
		case c.slots <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		case <-c.ended:
			return c.Err()
		}
	}
	if d, ok := ctx.Deadline(); ok {
		k.deadline = d
	}
	k.done = make(chan struct{})
	c.mu.Lock()
	if c.err != nil {
		err := c.err
		c.mu.Unlock()
		<-c.slots
		return err
	}
	c.sequence++
	k.sequence = c.sequence
	var cn *conn
	if len(c.waiting) == 0 {
		cn = c.sendLocked(k)
	}
	if cn == nil {
		c.waiting = append(c.waiting, k)
	}
	wake := !c.watching
	c.watching = c.watching || !k.patient
	c.mu.Unlock()
	if cn != nil {
		cn.fc.Flush()
	}
	if wake {
		c.wake()
	}
	return nil
}

// sendLocked queues k on the active connection and returns that, to be flushed
// without the lock; nil when there is no room.
func (c *Client) sendLocked(k *call) *conn {
	cn := c.active
	if cn == nil || len(cn.pending) >= cn.window {
		return nil
	}
	e := message.Envelope{Kind: message.KindRequest, Service: k.service, Method: k.method.Number, Call: cn.number + 1,
		To: k.to, RemainingMillis: remaining(k.deadline), Body: k.body}
	queue := cn.fc.Queue
	if k.plain {
		queue = cn.fc.QueuePlain
	}
	if err := queue(&e); err != nil {
		return nil // its queue is full, or it is lost: then its reader says so
	}
	cn.number++
	k.sent++
	k.conn, k.number = cn, cn.number
	cn.pending[cn.number] = k
	if k.patient {
		cn.patient++
	}
	return cn
}

// dropLocked takes a call off the connection where it is pending.
func (k *call) dropLocked() {
	delete(k.conn.pending, k.number)
	if k.patient {
		k.conn.patient--
	}
	k.conn = nil
}

// remaining returns the time left, in milliseconds: 0 for no deadline, at least 1.
func remaining(deadline time.Time) uint32 {
	if deadline.IsZero() {
		return 0
	}
	return uint32(min(max(time.Until(deadline).Milliseconds(), 1), 1<<31))
}

// fillLocked sends what waits, as far as there is room. The connection is to be
// flushed without the lock, if it is not nil.
func (c *Client) fillLocked() (flush *conn) {
	n := 0
	for _, k := range c.waiting {
		if !k.finished {
			cn := c.sendLocked(k)
			if cn == nil {
				break
			}
			flush = cn
		}
		n++
	}
	if c.waiting = c.waiting[n:]; len(c.waiting) == 0 {
		c.waiting = nil
	}
	return flush
}

// againLocked puts calls that have to be sent once more in front of those that
// were never sent, in the order in which they were made.
func (c *Client) againLocked(calls []*call) {
	if len(calls) == 0 {
		return
	}
	for _, k := range calls {
		k.conn = nil
	}
	slices.SortFunc(calls, func(a, b *call) int { return cmp.Compare(a.sequence, b.sequence) })
	c.waiting = append(calls, c.waiting...)
}

// laterLocked sends k again after a pause that grows with every attempt. Half of
// it is drawn, so that clients that were refused together do not return together.
func (c *Client) laterLocked(k *call, now time.Time) {
	pause := min(retryFirst<<min(k.pauses, 10), retryMost)
	pause = pause/2 + rand.N(pause/2)
	k.pauses++
	k.conn = nil
	k.notBefore = now.Add(pause)
	c.delayed = append(c.delayed, k)
	c.wake()
}

// finishLocked ends k. It reports false if that has happened before.
func (c *Client) finishLocked(k *call, outcome *txnpb.Outcome, reply []byte, err error) bool {
	if k.finished {
		return false
	}
	k.finished = true
	k.outcome, k.reply, k.err = outcome, reply, err
	if k.conn != nil {
		k.dropLocked()
	}
	close(k.done)
	<-c.slots
	return true
}

// abandon ends k because its caller does not wait any longer.
func (c *Client) abandon(k *call, err error) {
	c.mu.Lock()
	if k.last != nil {
		err = fmt.Errorf("%w; the last answer was %w", err, k.last)
	}
	c.finishLocked(k, nil, nil, err)
	c.mu.Unlock()
}

// wait waits for the end of k.
func (c *Client) wait(ctx context.Context, k *call) {
	select {
	case <-k.done:
	default:
		select {
		case <-k.done:
		case <-ctx.Done():
			c.abandon(k, ctx.Err())
			<-k.done
		}
	}
}

// result returns what became of a submit.
func (k *call) result() (*txnpb.Outcome, error) {
	switch {
	case k.refused:
		return nil, k.err
	case k.err != nil:
		return nil, &PendingError{ID: k.id, Cause: k.err}
	case k.outcome.State != txnpb.StateCommitted:
		return k.outcome, &NotCommittedError{Outcome: k.outcome}
	}
	return k.outcome, nil
}

func submission(tx *txnpb.Transaction) *call {
	return &call{service: gatewaypb.GatewayService, method: gatewaypb.GatewayDescriptor.Method(gatewaypb.GatewaySubmitMethod),
		submit: true, id: tx.Id, plain: len(tx.Users) > 0, body: message.Marshal(derived(tx))}
}

// derived returns tx without the ids of its transfers, if the cluster would give them the
// same: they are half of a payment's bytes.
func derived(tx *txnpb.Transaction) *txnpb.Transaction {
	if tx.DeriveTransferIds || len(tx.Transfers) == 0 {
		return tx
	}
	for i := range tx.Transfers {
		if tx.Transfers[i].Id != txid.Transfer(tx.Id, uint32(i)) {
			return tx
		}
	}
	short := *tx
	short.DeriveTransferIds, short.Transfers = true, slices.Clone(tx.Transfers)
	for i := range short.Transfers {
		short.Transfers[i].Id = u128.Int{}
	}
	return &short
}

// Submit submits tx and returns its outcome; see the package comment for what the
// errors mean. tx must have an id; the caller may reuse it when Submit returns.
func (c *Client) Submit(ctx context.Context, tx *txnpb.Transaction) (*txnpb.Outcome, error) {
	k := submission(tx)
	if err := c.start(ctx, k); err != nil {
		return nil, &PendingError{ID: tx.Id, Cause: err}
	}
	c.wait(ctx, k)
	return k.result()
}

// Future is a transaction that was submitted and whose outcome is still to come.
type Future struct {
	k    *call
	stop func() bool
}

// Go submits tx and returns at once, unless MaxInFlight requests are without an
// answer: then it waits for one of them. The submission ends with ctx. The caller
// may reuse tx when Go returns.
func (c *Client) Go(ctx context.Context, tx *txnpb.Transaction) *Future {
	k := submission(tx)
	if err := c.start(ctx, k); err != nil {
		k.err = err
		k.done = make(chan struct{})
		close(k.done)
		return &Future{k: k}
	}
	if ctx.Done() == nil {
		return &Future{k: k}
	}
	return &Future{k: k, stop: context.AfterFunc(ctx, func() { c.abandon(k, ctx.Err()) })}
}

// ID returns the transaction's id.
func (f *Future) ID() u128.Int { return f.k.id }

// Done is closed when the outcome is there, or the context of Go has ended.
func (f *Future) Done() <-chan struct{} { return f.k.done }

// Wait waits for Done and returns what Submit would.
func (f *Future) Wait() (*txnpb.Outcome, error) {
	<-f.k.done
	if f.stop != nil {
		f.stop()
	}
	return f.k.result()
}

// Call sends a request of any service that the user's role allows: with it a
// Client is the Caller of generated clients, such as txnpb.TxnClient{Caller: c}. A
// request that is declared idempotent is sent again like a transaction; another
// one only if nothing was executed, and ends with message.Unknown if that is not
// certain.
func (c *Client) Call(ctx context.Context, method *message.MethodDescriptor, service uint16, body []byte) ([]byte, error) {
	return c.callTo(ctx, 0, method, service, body)
}

// To returns a Caller of the services of the named SFU.
func (c *Client) To(sfu uint16) message.Caller { return named{c, sfu} }

type named struct {
	c   *Client
	sfu uint16
}

func (n named) Call(ctx context.Context, method *message.MethodDescriptor, service uint16, body []byte) ([]byte, error) {
	return n.c.callTo(ctx, n.sfu, method, service, body)
}

func (c *Client) callTo(ctx context.Context, sfu uint16, method *message.MethodDescriptor, service uint16, body []byte) ([]byte, error) {
	k := &call{service: service, method: method, to: sfu, body: body, plain: method.Sensitive, patient: service == txnpb.TxnService && method.Number == txnpb.TxnEventsMethod}
	if err := c.start(ctx, k); err != nil {
		return nil, err
	}
	c.wait(ctx, k)
	return k.reply, k.err
}
