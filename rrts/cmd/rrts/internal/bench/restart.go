package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/drill"
)

// RestartConfig describes a measurement of restarts.
type RestartConfig struct {
	// Transactions are committed before anything is stopped.
	Transactions int64
	Clients      int
	Payments     []drill.Payment
	Arena        arena.Config
	Out          *term.Out
}

// RestartReport is the result, in its JSON form.
type RestartReport struct {
	Transactions int `json:"transactions"`
	// Killed is how long after the start an SFU that was killed under load has
	// recovered, joined and caught up; Stopped is the same after a planned stop.
	Killed  float64 `json:"killed_ready_s"`
	Stopped float64 `json:"stopped_ready_s"`
	// AllKilled is how long after the start of all SFUs, which were killed at once,
	// the next payment is committed.
	AllKilled float64 `json:"all_killed_payment_s"`
	SFUs      int     `json:"sfus"`
	Audit     string  `json:"audit"`

	Findings []string `json:"-"`
}

// Restart measures how soon SFUs with a history are back.
func Restart(ctx context.Context, cfg RestartConfig) (*RestartReport, error) {
	a, err := arena.New(cfg.Arena)
	if err != nil {
		return nil, err
	}
	report, err := restart(ctx, a, cfg)
	if err != nil {
		err = fmt.Errorf("%w; everything is kept in %s", err, a.Keep())
	}
	return report, errors.Join(err, a.Close())
}

func restart(ctx context.Context, a *arena.Arena, cfg RestartConfig) (*RestartReport, error) {
	out := cfg.Out
	out.Say("%d SFUs, %d clients, %d transactions", a.SFUs(), cfg.Clients, cfg.Transactions)
	crowd, told, err := a.Crowd(ctx, cfg.Clients, cfg.Payments)
	if err != nil {
		return nil, err
	}
	report := &RestartReport{SFUs: a.SFUs()}
	crowd.Repeat = true
	paid := make(chan error, 1)
	go func() { paid <- crowd.Run(ctx) }()
	err = func() error {
		defer crowd.Stop()
		for n := int64(0); n < cfg.Transactions; n = crowd.Figures().Committed {
			out.Progress("%d of %d transactions", n, cfg.Transactions)
			if err := pause(ctx, 50*time.Millisecond); err != nil {
				return err
			}
		}
		last := a.SFUs() - 1
		for _, how := range []struct {
			end func(int) error
			to  *float64
		}{{a.Kill, &report.Killed}, {a.Stop, &report.Stopped}} {
			if err := how.end(last); err != nil {
				return err
			}
			begin := time.Now()
			if err := a.StartLevel(ctx, last); err != nil {
				return err
			}
			*how.to = round(time.Since(begin).Seconds())
		}
		for i := range a.SFUs() {
			if err := a.Kill(i); err != nil {
				return err
			}
		}
		before, begin := crowd.Figures().Answered, time.Now()
		for i := range a.SFUs() {
			if err := a.Start(i); err != nil {
				return err
			}
		}
		for crowd.Figures().Answered == before {
			if err := pause(ctx, time.Millisecond); err != nil {
				return err
			}
		}
		report.AllKilled = round(time.Since(begin).Seconds())
		return nil
	}()
	if err := errors.Join(err, <-paid); err != nil {
		return nil, err
	}
	v, err := a.Settle(ctx, crowd, append(told, drill.AllTold(crowd.Answers())...), out)
	report.Transactions, report.Audit, report.Findings = v.Committed, v.String(), v.Findings
	return report, err
}
