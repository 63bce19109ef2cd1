package arena

import (
	"context"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/rrts/client"
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
	for _, u := range users {
		c, err := a.Login(ctx, u)
		if err != nil {
			return nil, nil, err
		}
		clients = append(clients, c)
	}
	told, err = drill.OpenAccounts(ctx, clients[0], payments)
	return &drill.Crowd{Clients: clients, Payments: payments}, told, err
}

// CatchUp waits until all SFUs have applied the same entries to the same end. progress
// is told how far each is.
func (a *Arena) CatchUp(ctx context.Context, progress func(detail string)) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpWithin)
	defer cancel()
	for {
		equal, detail, err := a.Agree(ctx)
		if err == nil && equal {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("arena: the SFUs did not come to the same state within %v: %s", catchUpWithin, errors.Join(errors.New(detail), err))
		case <-time.After(50 * time.Millisecond):
			progress(detail)
		}
	}
}

// StopAll stops every SFU as systemd does.
func (a *Arena) StopAll() error {
	for i := range a.sfus {
		if err := a.Stop(i); err != nil {
			return err
		}
	}
	return nil
}

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
