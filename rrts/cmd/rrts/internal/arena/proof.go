package arena

import (
	"context"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/drill"
)

const (
	// readyWithin bounds the start of a cluster, catchUpWithin the time after which all
	// SFUs must have everything.
	readyWithin   = 30 * time.Second
	catchUpWithin = 60 * time.Second
)

// Crowd starts every SFU and logs n clients in, who have accounts for the payments;
// told is what they know of that, for the audit.
func (a *Arena) Crowd(ctx context.Context, n int, payments []drill.Payment) (crowd *drill.Crowd, told []drill.Told, err error) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for i := range a.sfus {
		if err := a.Start(i); err != nil {
			return nil, nil, err
		}
	}
	for i := range a.sfus {
		if err := a.WaitControl(ctx, i); err != nil {
			return nil, nil, err
		}
	}
	operator, err := a.Operator(ctx, 0)
	if err != nil {
		return nil, nil, err
	}
	defer operator.Close()
	users, err := Register(ctx, operator, n)
	if err != nil {
		return nil, nil, err
	}
	var clients []*client.Client
	var numbers []uint64
	for _, u := range users {
		c, err := a.Login(ctx, u)
		if err != nil {
			return nil, nil, err
		}
		clients, numbers = append(clients, c), append(numbers, c.Session().User)
	}
	told, err = drill.OpenAccounts(ctx, operator, payments, numbers...)
	return &drill.Crowd{Clients: clients, Payments: payments}, told, err
}

// Settle ends a run: it waits until every SFU has everything, stops all and holds
// their stores against what the clients were told. The crowd has ended.
func (a *Arena) Settle(ctx context.Context, crowd *drill.Crowd, told []drill.Told, out *term.Out) (drill.Verdict, error) {
	out.Say("waiting until every SFU has everything")
	if err := a.catchUp(ctx, out); err != nil {
		return drill.Verdict{}, err
	}
	for _, c := range crowd.Clients {
		c.Close()
	}
	for i := range a.sfus {
		if err := a.Stop(i); err != nil {
			return drill.Verdict{}, err
		}
	}
	out.Say("auditing the stores of %d SFUs", len(a.sfus))
	return a.Audit(told)
}

// catchUp waits until all SFUs have applied the same entries to the same end.
func (a *Arena) catchUp(ctx context.Context, out *term.Out) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpWithin)
	defer cancel()
	defer out.Progress("")
	for {
		equal, detail, err := a.Agree(ctx)
		if err == nil && equal {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("arena: the SFUs did not come to the same state within %v: %s", catchUpWithin, errors.Join(errors.New(detail), err))
		case <-time.After(50 * time.Millisecond):
			out.Progress("%s", detail)
		}
	}
}

// StartLevel starts SFU i and waits until it is level with the others, as somebody
// does who stops the next one.
func (a *Arena) StartLevel(ctx context.Context, i int) error {
	if err := a.Start(i); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, catchUpWithin)
	defer cancel()
	if err := a.WaitControl(ctx, i); err != nil {
		return err
	}
	for {
		level, err := a.level(ctx, i)
		if err == nil && level {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("arena: %s does not catch up: %w", a.Name(i), errors.Join(err, ctx.Err()))
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// level reports whether SFU i has applied what its leader had committed when it was
// asked.
func (a *Arena) level(ctx context.Context, i int) (bool, error) {
	own, err := a.replica(ctx, i)
	if err != nil || own.Leader == 0 {
		return false, err
	}
	lead, err := a.replica(ctx, int(own.Leader)-1)
	if err != nil {
		return false, err
	}
	own, err = a.replica(ctx, i)
	// Payments go on: some entries are always under way.
	return err == nil && own.AppliedIndex+levelEntries >= lead.CommitIndex, err
}

// levelEntries is how many entries an SFU may be behind and count as level: some
// round trips' worth.
const levelEntries = 64

// Audit holds every SFU's store on disk against what clients were told; no SFU may
// run. The error says that a store could not be read; what is wrong in them stands in
// the verdict.
func (a *Arena) Audit(told []drill.Told) (drill.Verdict, error) {
	auditor := drill.NewAuditor(told)
	for i := range a.sfus {
		s, err := a.OpenStore(i)
		if err != nil {
			return drill.Verdict{}, err
		}
		if err := errors.Join(auditor.Store(a.Name(i), s), s.Close()); err != nil {
			return drill.Verdict{}, err
		}
	}
	return auditor.Verdict(), nil
}
