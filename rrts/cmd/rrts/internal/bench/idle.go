package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/procfs"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
)

// IdleConfig describes a measurement of SFUs that nobody asks for anything.
type IdleConfig struct {
	// Rest is how long the cluster is left alone first: what a start leaves to do is done
	// by then.
	Rest     time.Duration
	Duration time.Duration
	Arena    arena.Config
	Out      *term.Out
}

// IdleReport is the result, in its JSON form.
type IdleReport struct {
	DurationS float64   `json:"duration_s"`
	SFUs      []IdleSFU `json:"sfus"`
}

// IdleSFU is what one SFU took while it was idle.
type IdleSFU struct {
	Name   string `json:"name"`
	Leader bool   `json:"leader"`
	// CPU is in percent of a core, user and system; the kernel counts in steps of 10 ms.
	CPU float64 `json:"cpu_percent"`
	// Wakes is how often one of its threads began to run, a second.
	Wakes float64 `json:"wakes_per_s"`
	RSSMB float64 `json:"rss_mb"`
}

// Idle measures what SFUs take that have nothing to do but to watch each other.
func Idle(ctx context.Context, cfg IdleConfig) (*IdleReport, error) {
	a, err := arena.New(cfg.Arena)
	if err != nil {
		return nil, err
	}
	report, err := idle(ctx, a, cfg)
	return report, errors.Join(err, a.Close())
}

func idle(ctx context.Context, a *arena.Arena, cfg IdleConfig) (*IdleReport, error) {
	cfg.Out.Say("%d SFUs, idle for %v", a.SFUs(), cfg.Duration)
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
	}
	if err := pause(ctx, cfg.Rest); err != nil {
		return nil, err
	}
	leader, err := a.Leader(ctx)
	if err != nil {
		return nil, err
	}
	before, err := takes(a)
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if err := pause(ctx, cfg.Duration); err != nil {
		return nil, err
	}
	after, err := takes(a)
	if err != nil {
		return nil, err
	}
	seconds := time.Since(began).Seconds()
	report := &IdleReport{DurationS: round(seconds)}
	for i := range a.SFUs() {
		report.SFUs = append(report.SFUs, IdleSFU{
			Name: a.Name(i), Leader: i == leader,
			CPU:   round(100 * (after[i].cpu - before[i].cpu) / seconds),
			Wakes: round(float64(after[i].switches-before[i].switches) / seconds),
			RSSMB: round(after[i].rss),
		})
	}
	return report, nil
}

// taken is what a process has taken so far.
type taken struct {
	cpu      float64 // seconds
	switches uint64
	rss      float64 // MB
}

// takes reads what each SFU has taken.
func takes(a *arena.Arena) ([]taken, error) {
	var all []taken
	err := each(a, func(p procfs.Proc) error {
		st, err := p.Stat()
		if err != nil {
			return err
		}
		t := taken{cpu: st.CPUTime(), rss: float64(st.ResidentMemory()) / 1e6}
		threads, err := procfs.AllThreads(p.PID)
		if err != nil {
			return err
		}
		for _, thread := range threads {
			st, err := thread.NewStatus()
			if err != nil {
				return fmt.Errorf("thread %d: %w", thread.PID, err)
			}
			t.switches += st.TotalCtxtSwitches()
		}
		all = append(all, t)
		return nil
	})
	return all, err
}
