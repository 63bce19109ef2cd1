package site

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// retryFirst and retryMost bound the pause before a transaction is sent again.
	retryFirst = 5 * time.Millisecond
	retryMost  = 250 * time.Millisecond
	// tryFor is what a try of a transaction is given when the context has no
	// deadline: longer than any election.
	tryFor = 10 * time.Second
)

// Caller calls services in the name of one user.
type Caller struct {
	host      *Host
	principal uint64
	to        uint16
}

var _ message.Caller = Caller{}

// For returns a Caller in the name of the user who sent r, good until r is answered.
func (h *Host) For(r message.Request) Caller {
	return Caller{host: h, principal: r.Envelope().Principal}
}

// Own returns a Caller in the name of the Component's own user.
func (h *Host) Own() Caller { return Caller{host: h} }

// Call calls in the name of the Component's own user: with it a Host is the Caller of
// generated clients.
func (h *Host) Call(ctx context.Context, method *message.MethodDescriptor, service uint16, body []byte) ([]byte, error) {
	return h.Own().Call(ctx, method, service, body)
}

// Submit submits in the name of the Component's own user; see Caller.Submit.
func (h *Host) Submit(ctx context.Context, tx *txnpb.Transaction) (*txnpb.Outcome, error) {
	return h.Own().Submit(ctx, tx)
}

// To returns a Caller that asks the named SFU.
func (c Caller) To(sfu uint16) Caller {
	c.to = sfu
	return c
}

// Call implements message.Caller. The error is a *message.Error, ctx's, or ErrStopped.
func (c Caller) Call(ctx context.Context, method *message.MethodDescriptor, service uint16, body []byte) ([]byte, error) {
	h := c.host
	e := message.Envelope{Kind: message.KindRequest, Service: service, Method: method.Number, To: c.to, Principal: c.principal, Body: body}
	if method.Notice {
		e.Kind = message.KindNotice
		return nil, h.send(&e)
	}
	if deadline, ok := ctx.Deadline(); ok {
		left := time.Until(deadline)
		if left <= 0 {
			return nil, context.DeadlineExceeded
		}
		e.RemainingMillis = uint32(min(max(left.Milliseconds(), 1), 1<<31))
	}
	answer := make(chan message.Envelope, 1)
	h.mu.Lock()
	if h.err != nil {
		h.mu.Unlock()
		return nil, h.err
	}
	h.number++
	e.Call = h.number
	h.pending[e.Call] = answer
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		delete(h.pending, e.Call)
		h.mu.Unlock()
	}()
	if err := h.send(&e); err != nil {
		return nil, err
	}
	select {
	case out, ok := <-answer:
		switch {
		case !ok:
			return nil, ErrStopped
		case out.Kind == message.KindFailure:
			return nil, &message.Error{Code: out.Code, Detail: out.Detail}
		}
		return out.Body, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (h *Host) send(e *message.Envelope) error {
	if err := h.conn.Queue(e); err != nil {
		return err
	}
	return h.conn.Flush()
}

// NewID returns a fresh id for a transaction, a UUIDv7 by this machine's clock. The
// handler of an idempotent method takes the id that its request names instead.
func NewID() u128.Int {
	return u128.Int{Hi: uint64(time.Now().UnixMilli())<<16 | 7<<12 | rand.Uint64()>>52, Lo: 1<<63 | rand.Uint64()>>2}
}

// NotCommittedError is a final outcome other than COMMITTED.
type NotCommittedError struct{ Outcome *txnpb.Outcome }

func (e *NotCommittedError) Error() string {
	return fmt.Sprintf("site: transaction %v is %v: %s", e.Outcome.Id, e.Outcome.State, e.Outcome.Reason)
}

// Submit submits a transaction, which must have an id, until its outcome is known or ctx
// ends, always under that id, so that it is executed at most once. It returns the outcome
// and no error when it is committed, the outcome and a *NotCommittedError when it is
// final otherwise. With any other error the outcome is not known: submit it again.
func (c Caller) Submit(ctx context.Context, tx *txnpb.Transaction) (*txnpb.Outcome, error) {
	client := txnpb.TxnClient{Caller: c}
	in := &txnpb.SubmitBatch{Submissions: []txnpb.Submission{{Transaction: message.Marshal(tx)}}}
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		in.Submissions[0].RemainingMillis = uint32(tryFor.Milliseconds())
		if deadline, ok := ctx.Deadline(); ok {
			in.Submissions[0].RemainingMillis = uint32(max(time.Until(deadline).Milliseconds(), 1))
		}
		out, err := client.Submit(ctx, in)
		switch {
		case err == nil && len(out.Outcomes) == 1:
			o := &out.Outcomes[0]
			switch o.State {
			case txnpb.StateCommitted:
				return o, nil
			case txnpb.StateUnknown, txnpb.StateNotLeader, txnpb.StatePending, txnpb.StateOverloaded, txnpb.StateClockUnsynced:
				// Not decided: again, under the same id.
			default:
				return o, &NotCommittedError{o}
			}
		case err == nil:
			return nil, message.Errorf(message.Internal, "site: %d outcomes of one transaction", len(out.Outcomes))
		case !again(err):
			return nil, err
		}
		select {
		case <-time.After(pause/2 + rand.N(pause/2)):
		case <-ctx.Done():
			return nil, fmt.Errorf("site: the outcome of transaction %v is not known: %w", tx.Id, ctx.Err())
		}
	}
}

// again reports whether a transaction is submitted again after err.
func again(err error) bool {
	var e *message.Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case message.Overloaded, message.NotLeader, message.Unavailable, message.Draining, message.Unknown, message.Expired:
		return true
	}
	return false
}
