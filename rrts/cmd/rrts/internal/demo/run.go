// Package demo is `rrts demo`: real payments on a real cluster of this machine
// that loses a machine and a network on the way, and the audit of what is left.
//
// Sixteen clients, each with a login and TLS connections of its own, share the
// payments and submit them one after the other. After a quarter of them the
// leader's process is killed; after the half network A is cut and the killed SFU
// started again; after three quarters network A comes back. Then everything is
// stopped, and the audit compares the stores on disk with what each client was
// told.
package demo

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/drill"
)

const (
	// sfus and clients are the demo's size.
	sfus    = 3
	clients = 16
	// answerWithin is a client's patience with one payment. It is long: a failure is
	// whatever takes longer than any of the things that are done here.
	answerWithin = 60 * time.Second
)

// Config describes a run.
type Config struct {
	Payments []drill.Payment
	// For repeats the payments until this much time has passed; 0 means once.
	For time.Duration
	// Arena is where the cluster runs; SFUs and Relay are set here.
	Arena arena.Config
	Out   *term.Out
}

// Report is the result; its JSON form is the command's last line.
type Report struct {
	Submitted    int    `json:"submitted"`
	Committed    int    `json:"committed"`
	Aborted      int    `json:"aborted"`
	Lost         int    `json:"lost"`
	Duplicated   int    `json:"duplicated"`
	LongestGapMs int64  `json:"longest_gap_ms"`
	Audit        string `json:"audit"`

	// Findings are what the audit did not like, and why.
	Findings []string `json:"-"`
	// Seconds is how long the payments took, and Events what happened meanwhile.
	Seconds float64 `json:"-"`
	Events  []Event `json:"-"`
}

// Event is something that was done to the cluster.
type Event struct {
	At   time.Duration // since the first payment
	What string
}

// run is one run in progress.
type run struct {
	cfg    Config
	arena  *arena.Arena
	out    *term.Out
	crowd  *drill.Crowd
	told   []drill.Told // by the end, all that clients were told
	began  time.Time
	events []Event // of disturb, until that has returned
}

// Run runs the demo. The error says that it could not be carried through; what
// the audit found stands in the report.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	cfg.Arena.SFUs, cfg.Arena.Relay = sfus, true
	a, err := arena.New(cfg.Arena)
	if err != nil {
		return nil, err
	}
	r := &run{cfg: cfg, arena: a, out: cfg.Out}
	report, err := r.run(ctx)
	if err != nil {
		err = fmt.Errorf("%w; everything is kept in %s", err, a.Keep())
	}
	return report, errors.Join(err, a.Close())
}

func (r *run) run(ctx context.Context) (*Report, error) {
	r.out.Say("starting %d SFUs, registering %d users, opening their accounts", sfus, clients)
	var err error
	if r.crowd, r.told, err = r.arena.Crowd(ctx, clients, r.cfg.Payments); err != nil {
		return nil, err
	}
	r.crowd.Repeat, r.crowd.Patience = r.cfg.For > 0, answerWithin
	r.out.Say("%d clients begin", clients)
	r.began = time.Now()
	if err := r.pay(ctx); err != nil {
		return nil, err
	}
	report := &Report{Seconds: time.Since(r.began).Seconds(), Events: r.events}
	answers := r.crowd.Answers()
	report.LongestGapMs = drill.LongestGap(answers, r.began, time.Now()).Milliseconds()
	r.told = append(r.told, drill.AllTold(answers)...)

	verdict, err := r.arena.Settle(ctx, r.crowd, r.told, r.out)
	report.take(&verdict)
	return report, err
}

// pay lets the crowd pay while the cluster is disturbed.
func (r *run) pay(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.cfg.For > 0 {
		defer time.AfterFunc(r.cfg.For, r.crowd.Stop).Stop()
	}
	paid, disturbed := make(chan error, 1), make(chan error, 1)
	go func() { paid <- r.crowd.Run(ctx) }()
	go func() { disturbed <- r.disturb(ctx) }()
	progress := time.NewTicker(200 * time.Millisecond)
	defer progress.Stop()
	for {
		select {
		case err := <-paid:
			r.out.Progress("")
			cancel() // after a failure nothing more is done to the cluster
			return cmp.Or(err, <-disturbed)
		case <-progress.C:
			r.progress()
		}
	}
}

func (r *run) progress() {
	n, took := r.crowd.Figures().Answered, time.Since(r.began)
	rate := float64(n) / took.Seconds()
	if r.cfg.For > 0 {
		r.out.Progress("%6d payments answered, %.0f/s, %v left", n, rate, (r.cfg.For - took).Round(time.Second))
	} else {
		r.out.Progress("%6d of %d payments answered, %.0f/s", n, len(r.cfg.Payments), rate)
	}
}

// reached waits until a part of the work is done, or all of it.
func (r *run) reached(ctx context.Context, part float64) bool {
	for {
		done := time.Since(r.began) >= time.Duration(part*float64(r.cfg.For))
		if r.cfg.For == 0 {
			done = float64(r.crowd.Figures().Answered) >= part*float64(len(r.cfg.Payments))
		}
		if done || ctx.Err() != nil {
			return done
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// note records something that was done to the cluster.
func (r *run) note(format string, a ...any) {
	e := Event{At: time.Since(r.began), What: fmt.Sprintf(format, a...)}
	r.events = append(r.events, e)
	r.out.Say("%6.1f s  %s", e.At.Seconds(), e.What)
}

// disturb does to the cluster what it must survive.
func (r *run) disturb(ctx context.Context) error {
	if !r.reached(ctx, 0.25) {
		return nil
	}
	leader, err := r.arena.Leader(ctx)
	if err != nil {
		return err
	}
	if err := r.arena.Kill(leader); err != nil {
		return err
	}
	r.note("SIGKILL to %s, the leader", r.arena.Name(leader))
	if !r.reached(ctx, 0.5) {
		return nil
	}
	if err := r.arena.CutA(true); err != nil {
		return err
	}
	r.note("network A is cut")
	if err := r.arena.Start(leader); err != nil {
		return err
	}
	r.note("%s is started again", r.arena.Name(leader))
	if !r.reached(ctx, 0.75) {
		return nil
	}
	if err := r.arena.CutA(false); err != nil {
		return err
	}
	r.note("network A is back")
	return nil
}

// take takes over what the audit found.
func (r *Report) take(v *drill.Verdict) {
	r.Submitted, r.Committed, r.Aborted = v.Submitted, v.Committed, v.Aborted
	r.Lost, r.Duplicated, r.Findings = v.Lost, v.Duplicated, v.Findings
	r.Audit = v.String()
}
