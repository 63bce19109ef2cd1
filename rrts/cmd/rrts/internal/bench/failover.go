package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/drill"
)

const (
	// calm is how long clients pay undisturbed before each kill and stop: what the one
	// before it has left behind is over.
	calm = time.Second
	// aftermath is how long after a kill, or after an SFU has stopped, the gaps of
	// clients are put down to it.
	aftermath = 2 * time.Second
)

// FailoverConfig describes a measurement of failovers.
type FailoverConfig struct {
	// Kills is how often the leader is killed; then every SFU is stopped and started
	// as an upgrade does it.
	Kills int
	// Clients pay all the time, each one payment after the other.
	Clients  int
	Payments []drill.Payment
	Arena    arena.Config
	Out      *term.Out
}

// FailoverReport is the result, in its JSON form. A gap is the longest time that any
// client went without an answer.
type FailoverReport struct {
	Kills      int       `json:"kills"`
	KillGapP50 float64   `json:"kill_gap_p50_ms"`
	KillGapMax float64   `json:"kill_gap_max_ms"`
	Stops      int       `json:"stops"`
	StopGapP50 float64   `json:"stop_gap_p50_ms"`
	StopGapMax float64   `json:"stop_gap_max_ms"`
	CalmGapMax float64   `json:"calm_gap_max_ms"` // while nothing was done
	Failed     int64     `json:"failed"`          // requests, all in all
	Submitted  int       `json:"submitted"`
	Lost       int       `json:"lost"`
	Duplicated int       `json:"duplicated"`
	Audit      string    `json:"audit"`
	Findings   []string  `json:"-"`
	KillGaps   []float64 `json:"kill_gaps_ms"` // ascending
	StopGaps   []float64 `json:"stop_gaps_ms"` // in the order of the stops
}

// failover is one measurement in progress.
type failover struct {
	cfg   FailoverConfig
	arena *arena.Arena
	crowd *drill.Crowd
	kills []window
	stops []window
	calms []window
}

// window is a time in which something was done, or nothing.
type window struct{ begin, end time.Time }

// Failover measures how long clients wait when the leader is killed and when SFUs
// are stopped, and audits what is left.
func Failover(ctx context.Context, cfg FailoverConfig) (*FailoverReport, error) {
	a, err := arena.New(cfg.Arena)
	if err != nil {
		return nil, err
	}
	f := &failover{cfg: cfg, arena: a}
	report, err := f.run(ctx)
	if err != nil {
		err = fmt.Errorf("%w; everything is kept in %s", err, a.Keep())
	}
	return report, errors.Join(err, a.Close())
}

func (f *failover) run(ctx context.Context) (*FailoverReport, error) {
	out := f.cfg.Out
	out.Say("%d SFUs, %d clients, %d kills of the leader, then a stop and start of each SFU", f.arena.SFUs(), f.cfg.Clients, f.cfg.Kills)
	crowd, told, err := f.arena.Crowd(ctx, f.cfg.Clients, f.cfg.Payments)
	if err != nil {
		return nil, err
	}
	f.crowd = crowd
	crowd.Repeat = true
	paid := make(chan error, 1)
	go func() { paid <- crowd.Run(ctx) }()
	err = f.disturb(ctx)
	crowd.Stop()
	if err := errors.Join(err, <-paid); err != nil {
		return nil, err
	}
	answers := crowd.Answers()
	report := f.report(answers)
	v, err := f.arena.Settle(ctx, crowd, append(told, drill.AllTold(answers)...), out)
	report.Submitted, report.Lost, report.Duplicated, report.Findings = v.Submitted, v.Lost, v.Duplicated, v.Findings
	report.Audit = v.String()
	return report, err
}

// disturb kills the leader again and again, and then stops every SFU in turn.
func (f *failover) disturb(ctx context.Context) error {
	for i := range f.cfg.Kills {
		if err := f.calm(ctx); err != nil {
			return err
		}
		leader, err := f.arena.Leader(ctx)
		if err != nil {
			return err
		}
		w := window{begin: time.Now()}
		if err := f.arena.Kill(leader); err != nil {
			return err
		}
		f.cfg.Out.Progress("kill %d of %d: %s", i+1, f.cfg.Kills, f.arena.Name(leader))
		if err := pause(ctx, aftermath); err != nil {
			return err
		}
		w.end = time.Now()
		f.kills = append(f.kills, w)
		if err := f.arena.StartLevel(ctx, leader); err != nil {
			return err
		}
	}
	for i := range f.arena.SFUs() {
		if err := f.calm(ctx); err != nil {
			return err
		}
		w := window{begin: time.Now()}
		f.cfg.Out.Progress("stop of %s", f.arena.Name(i))
		if err := f.arena.Stop(i); err != nil {
			return err
		}
		if err := pause(ctx, aftermath); err != nil {
			return err
		}
		if err := f.arena.StartLevel(ctx, i); err != nil {
			return err
		}
		w.end = time.Now()
		f.stops = append(f.stops, w)
	}
	return f.calm(ctx)
}

// calm lets clients pay undisturbed. The first half counts: an answer that is late in
// the second may be late for what comes next.
func (f *failover) calm(ctx context.Context) error {
	now := time.Now()
	f.calms = append(f.calms, window{begin: now, end: now.Add(calm / 2)})
	return pause(ctx, calm)
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (f *failover) report(answers [][]drill.Answer) *FailoverReport {
	gaps := func(windows []window) []float64 {
		all := []float64{}
		for _, w := range windows {
			all = append(all, float64(drill.LongestGap(answers, w.begin, w.end).Microseconds())/1000)
		}
		return all
	}
	r := &FailoverReport{Kills: len(f.kills), Stops: len(f.stops), Failed: f.crowd.Figures().Failed,
		KillGaps: gaps(f.kills), StopGaps: gaps(f.stops)}
	slices.Sort(r.KillGaps)
	stops, calms := slices.Sorted(slices.Values(r.StopGaps)), slices.Sorted(slices.Values(gaps(f.calms)))
	r.KillGapP50, r.KillGapMax = middle(r.KillGaps), last(r.KillGaps)
	r.StopGapP50, r.StopGapMax = middle(stops), last(stops)
	r.CalmGapMax = last(calms)
	return r
}

// middle and last are the median and the greatest of ascending values, 0 of none.
func middle(sorted []float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)/2]
}

func last(sorted []float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[len(sorted)-1]
}
