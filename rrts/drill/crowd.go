package drill

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// DefaultPatience is a client's with one payment before that counts as failed.
	DefaultPatience = 10 * time.Second
	// finishWithin is how long a client goes on asking for the outcome of one payment
	// after that: longer than a machine takes to boot and to be dug out.
	finishWithin = 2 * time.Minute
	// askAgain is the pause between two of those attempts: a refusal may come at once.
	askAgain = 10 * time.Millisecond
)

// Crowd is clients that pay, each one payment after the other, and remember what
// they were told. Set the exported fields before Run.
type Crowd struct {
	// Clients pay; there is one goroutine each.
	Clients []*client.Client
	// Payments are shared by all of them, in their order.
	Payments []Payment
	// Repeat begins again after the last one. Otherwise Run ends there.
	Repeat bool
	// Pause is a client's between an answer and its next payment.
	Pause time.Duration
	// Patience is a client's with one payment before that counts as failed; 0 means
	// DefaultPatience. It then submits the same transaction again until it knows.
	Patience time.Duration
	// Keep, if not nil, takes every answer, from any goroutine. Otherwise they are
	// kept for Answers.
	Keep func(Answer) error

	next, answered, committed, failed atomic.Int64
	since                             []atomic.Int64 // when each client's payment began, µs since 1970; 0: it pauses
	stopped                           chan struct{}
	stopOnce, initOnce                sync.Once
	answers                           [][]Answer // by client
}

// CrowdFigures is how far a Crowd is.
type CrowdFigures struct {
	Answered, Committed, Aborted int64
	// Failed counts payments whose outcome was not known within the patience.
	Failed int64
	// Waiting is how long the client that has waited longest has waited so far.
	Waiting time.Duration
}

func (c *Crowd) init() {
	c.initOnce.Do(func() {
		c.stopped = make(chan struct{})
		c.since = make([]atomic.Int64, len(c.Clients))
		c.answers = make([][]Answer, len(c.Clients))
		if c.Patience == 0 {
			c.Patience = DefaultPatience
		}
	})
}

// Run pays until there is no payment left, Stop is called or ctx ends. The error says
// that a client could not learn the outcome of a payment.
func (c *Crowd) Run(ctx context.Context) error {
	c.init()
	var (
		running sync.WaitGroup
		once    sync.Once
		first   error
	)
	for i := range c.Clients {
		running.Go(func() {
			if err := c.pay(ctx, i); err != nil {
				once.Do(func() { first = err })
				c.Stop()
			}
		})
	}
	running.Wait()
	return first
}

// Stop lets every client finish the payment that it is at; Run then ends.
func (c *Crowd) Stop() {
	c.init()
	c.stopOnce.Do(func() { close(c.stopped) })
}

// Figures may be asked for at any time.
func (c *Crowd) Figures() CrowdFigures {
	c.init()
	f := CrowdFigures{Answered: c.answered.Load(), Committed: c.committed.Load(), Failed: c.failed.Load()}
	f.Aborted = f.Answered - f.Committed
	now := time.Now().UnixMicro()
	for i := range c.since {
		if since := c.since[i].Load(); since != 0 {
			f.Waiting = max(f.Waiting, time.Duration(now-since)*time.Microsecond)
		}
	}
	return f
}

// Answers returns what each client was told, in its order, after Run has ended. The
// slices are the caller's.
func (c *Crowd) Answers() [][]Answer { return c.answers }

// pay is one client's work.
func (c *Crowd) pay(ctx context.Context, i int) error {
	for {
		select {
		case <-c.stopped:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		default:
		}
		if c.Pause > 0 {
			time.Sleep(c.Pause)
		}
		n := c.next.Add(1) - 1
		if !c.Repeat && n >= int64(len(c.Payments)) {
			return nil
		}
		p := &c.Payments[n%int64(len(c.Payments))]
		tx := c.Clients[i].Transfer(p.Debtor, p.Creditor, p.Amount, p.Ledger, p.Code)
		a := Answer{Client: i, Begin: time.Now()}
		c.since[i].Store(a.Begin.UnixMicro())
		if err := c.submit(ctx, c.Clients[i], tx, &a); err != nil {
			return fmt.Errorf("drill: client %d: the outcome of payment %s is not known: %w", i+1, p.Reference, err)
		}
		c.since[i].Store(0)
		if err := c.keep(a); err != nil {
			return err
		}
		if a.State == txnpb.StateCommitted {
			c.committed.Add(1)
		}
		c.answered.Add(1)
	}
}

// submit submits one transaction until its outcome is known.
func (c *Crowd) submit(ctx context.Context, cl *client.Client, tx *txnpb.Transaction, a *Answer) error {
	for {
		once, cancel := context.WithTimeout(ctx, c.Patience)
		told, err := Submit(once, cl, tx)
		cancel()
		a.End = time.Now()
		if err == nil {
			a.Told = told
			return nil
		}
		if ctx.Err() != nil || cl.Err() != nil || a.End.Sub(a.Begin) > c.Patience+finishWithin {
			return err
		}
		if a.Failure == "" {
			a.Failure = err.Error()
			c.failed.Add(1)
		}
		time.Sleep(askAgain)
	}
}

func (c *Crowd) keep(a Answer) error {
	if c.Keep != nil {
		return c.Keep(a)
	}
	c.answers[a.Client] = append(c.answers[a.Client], a)
	return nil
}

// LongestGap returns the longest time that any client went without an answer, of the
// gaps that touch the time from begin to end. answers are those of each client.
func LongestGap(answers [][]Answer, begin, end time.Time) time.Duration {
	longest := time.Duration(0)
	for _, own := range answers {
		for i := range own {
			from := own[i].Begin
			if i > 0 {
				from = own[i-1].End
			}
			if to := own[i].End; to.After(begin) && from.Before(end) {
				longest = max(longest, to.Sub(from))
			}
		}
	}
	return longest
}

// AllTold returns what all clients were told.
func AllTold(answers [][]Answer) []Told {
	var all []Told
	for _, own := range answers {
		for i := range own {
			all = append(all, own[i].Told)
		}
	}
	return all
}
