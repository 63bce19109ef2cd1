package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/schema/loginpb"
)

// LoginConfig describes a measurement of logins.
type LoginConfig struct {
	// Clients log in at the same time, each again as soon as it was let in.
	Clients  int
	Duration time.Duration
	// Rotate is how often all login services make new keys; 0 leaves it to their
	// schedule. Destroy has them destroy the old ones at once.
	Rotate  time.Duration
	Destroy bool
	Arena   arena.Config
	Out     *term.Out
}

// LoginReport is the result, in its JSON form.
type LoginReport struct {
	LoginsPerS float64 `json:"logins_per_s"`
	P50us      int64   `json:"p50_us"`
	P99us      int64   `json:"p99_us"`
	Logins     int     `json:"logins"`
	Failed     int     `json:"failed"`
	Rotations  int     `json:"rotations"`
	// MemoryMB is what the largest SFU had resident at its worst.
	MemoryMB float64 `json:"memory_mb"`
	// CPUMsPerLogin is the processor time of all SFUs for one login, in milliseconds: on
	// a machine that does other work, too, the figure that says what it could do.
	CPUMsPerLogin float64 `json:"cpu_ms_per_login"`
	SFUs          int     `json:"sfus"`
}

// Login measures logins on a throw-away cluster.
func Login(ctx context.Context, cfg LoginConfig) (*LoginReport, error) {
	a, err := arena.New(cfg.Arena)
	if err != nil {
		return nil, err
	}
	report, err := measureLogins(ctx, a, cfg)
	return report, errors.Join(err, a.Close())
}

func measureLogins(ctx context.Context, a *arena.Arena, cfg LoginConfig) (*LoginReport, error) {
	var operators []*client.Client
	for i := range a.SFUs() {
		if err := a.Start(i); err != nil {
			return nil, err
		}
	}
	ready, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for i := range a.SFUs() {
		if err := a.WaitControl(ready, i); err != nil {
			return nil, err
		}
		op, err := a.Operator(ready, i)
		if err != nil {
			return nil, err
		}
		defer op.Close()
		operators = append(operators, op)
	}
	users, err := arena.Register(ready, operators[0], cfg.Clients)
	if err != nil {
		return nil, err
	}
	cfg.Out.Say("%d SFUs, %d clients that log in, for %v", a.SFUs(), cfg.Clients, cfg.Duration)
	before, err := cpu(a)
	if err != nil {
		return nil, err
	}
	ctx, cancel = context.WithCancel(ctx)
	defer cancel()
	begin := time.Now()
	end := begin.Add(cfg.Duration)
	results := make([]result, cfg.Clients)
	var running, beside sync.WaitGroup
	for i := range results {
		running.Go(func() { results[i] = logIns(ctx, a, users[i], end) })
	}
	report := &LoginReport{SFUs: a.SFUs()}
	var rotating error
	if cfg.Rotate > 0 {
		beside.Go(func() { report.Rotations, rotating = rotateUntil(ctx, operators, cfg) })
	}
	stopProgress := progress(cfg.Out, begin, end)
	running.Wait()
	stopProgress()
	took := time.Since(begin)
	cancel()
	beside.Wait()
	after, err := cpu(a)
	_, most, err2 := memory(a)
	if err := errors.Join(rotating, err, err2); err != nil {
		return nil, err
	}
	report.MemoryMB = most
	var all []time.Duration
	for _, r := range results {
		all = append(all, r.latencies...)
		report.Failed += r.errors
		if r.first != nil {
			cfg.Out.Say("an error: %v", r.first)
		}
	}
	if len(all) == 0 {
		return nil, errors.New("bench: nobody was let in")
	}
	slices.Sort(all)
	at := func(q float64) int64 { return all[min(int(q*float64(len(all))), len(all)-1)].Microseconds() }
	report.Logins, report.P50us, report.P99us = len(all), at(0.5), at(0.99)
	report.LoginsPerS = round(float64(len(all)) / took.Seconds())
	report.CPUMsPerLogin = round(1000 * (after - before) / float64(len(all)))
	return report, nil
}

// logIns lets a user log in again and again until end.
func logIns(ctx context.Context, a *arena.Arena, u arena.User, end time.Time) (r result) {
	for at := time.Now(); at.Before(end); at = time.Now() {
		one, cancel := context.WithTimeout(ctx, answerWithin)
		c, err := a.Login(one, u)
		cancel()
		if err != nil {
			r.errors++
			if r.first == nil {
				r.first = err
			}
			continue
		}
		r.latencies = append(r.latencies, time.Since(at))
		c.Close()
	}
	return r
}

// rotateUntil has all login services rotate until ctx ends, and counts how often.
func rotateUntil(ctx context.Context, operators []*client.Client, cfg LoginConfig) (n int, _ error) {
	ticker := time.NewTicker(cfg.Rotate)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return n, nil
		case <-ticker.C:
		}
		for i, op := range operators {
			_, err := loginpb.LoginClient{Caller: op}.Rotate(ctx, &loginpb.RotateRequest{Destroy: cfg.Destroy})
			if err != nil && ctx.Err() == nil {
				return n, fmt.Errorf("bench: SFU %d does not rotate: %w", i+1, err)
			}
		}
		n++
	}
}
