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
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/term"
	"virtualservicesinc.com/rrts/drill"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// sfus and clients are the demo's size.
	sfus    = 3
	clients = 16
	// readyWithin bounds the start of the cluster, catchUpWithin the end of the run:
	// the killed SFU must have everything by then.
	readyWithin   = 30 * time.Second
	catchUpWithin = 60 * time.Second
	// answerWithin is a client's patience with one payment. It is long: the demo
	// wants to know each outcome.
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
	cfg      Config
	arena    *arena.Arena
	out      *term.Out
	workers  []*worker
	began    time.Time
	next     atomic.Int64 // index of the next payment
	answered atomic.Int64
	stop     atomic.Bool
	total    int64 // payments to make; 0 with For

	mu     sync.Mutex
	events []Event
}

// worker is one client.
type worker struct {
	client *client.Client
	told   []drill.Told
	gap    time.Duration // longest time between two answers
	last   time.Time
	err    error
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
	if cfg.For == 0 {
		r.total = int64(len(cfg.Payments))
	}
	report, err := r.run(ctx)
	if err != nil {
		err = fmt.Errorf("%w; everything is kept in %s", err, a.Keep())
	}
	return report, errors.Join(err, a.Close())
}

func (r *run) run(ctx context.Context) (*Report, error) {
	r.out.Say("starting %d SFUs", sfus)
	for i := range sfus {
		if err := r.arena.Start(i); err != nil {
			return nil, err
		}
	}
	if err := r.prepare(ctx); err != nil {
		return nil, err
	}
	r.out.Say("%d clients begin", clients)
	r.began = time.Now()
	var running sync.WaitGroup
	for _, w := range r.workers {
		running.Go(func() { r.work(ctx, w) })
	}
	disturbed := make(chan error, 1)
	go func() { disturbed <- r.disturb(ctx) }()
	progress := time.NewTicker(200 * time.Millisecond)
	defer progress.Stop()
	done := make(chan struct{})
	go func() { running.Wait(); close(done) }()
	for finished := false; !finished; {
		select {
		case <-done:
			finished = true
		case <-progress.C:
			r.progress()
		}
	}
	seconds := time.Since(r.began).Seconds()
	r.out.Progress("")
	if err := <-disturbed; err != nil {
		return nil, err
	}
	for i, w := range r.workers {
		if w.err != nil {
			return nil, fmt.Errorf("demo: client %d: %w", i+1, w.err)
		}
	}
	r.out.Say("waiting until every SFU has everything")
	if err := r.catchUp(ctx); err != nil {
		return nil, err
	}
	for _, w := range r.workers {
		w.client.Close()
	}
	for i := range sfus {
		if err := r.arena.Stop(i); err != nil {
			return nil, err
		}
	}
	report := &Report{Seconds: seconds, Events: r.events}
	for _, w := range r.workers {
		report.LongestGapMs = max(report.LongestGapMs, w.gap.Milliseconds())
	}
	r.out.Say("auditing the stores of %d SFUs", sfus)
	return report, r.audit(report)
}

func (r *run) progress() {
	n := r.answered.Load()
	rate := float64(n) / time.Since(r.began).Seconds()
	if r.total > 0 {
		r.out.Progress("%6d of %d payments answered, %.0f/s", n, r.total, rate)
	} else {
		r.out.Progress("%6d payments answered, %.0f/s, %v left", n, rate, (r.cfg.For - time.Since(r.began)).Round(time.Second))
	}
}

// work submits payments until there are none left. Each is answered, one way or
// the other, before the next.
func (r *run) work(ctx context.Context, w *worker) {
	w.last = time.Now()
	for !r.stop.Load() {
		i := r.next.Add(1) - 1
		if r.total > 0 && i >= r.total || r.total == 0 && time.Since(r.began) >= r.cfg.For {
			return
		}
		p := &r.cfg.Payments[i%int64(len(r.cfg.Payments))]
		tx := w.client.Transfer(p.Debtor, p.Creditor, p.Amount, p.Ledger, p.Code)
		t, err := submit(ctx, w.client, tx)
		if err != nil {
			w.err = fmt.Errorf("payment %s: %w", p.Reference, err)
			r.stop.Store(true)
			return
		}
		w.told = append(w.told, t)
		now := time.Now()
		w.gap = max(w.gap, now.Sub(w.last))
		w.last = now
		r.answered.Add(1)
	}
}

// submit returns the final outcome of a transaction.
func submit(ctx context.Context, c *client.Client, tx *txnpb.Transaction) (drill.Told, error) {
	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	return drill.Submit(ctx, c, tx)
}

// prepare logs the clients in and opens the accounts.
func (r *run) prepare(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	for i := range sfus {
		if err := r.arena.WaitControl(ctx, i); err != nil {
			return err
		}
	}
	operator, err := client.Open(ctx, client.Config{Gateways: []string{"unix:" + r.arena.ControlSocket(0)}})
	if err != nil {
		return fmt.Errorf("demo: %w", err)
	}
	defer operator.Close()
	r.out.Say("registering %d users, opening their accounts", clients)
	users, err := arena.Register(ctx, operator, clients)
	if err != nil {
		return err
	}
	for _, u := range users {
		w := &worker{}
		if w.client, err = r.arena.Login(ctx, u); err != nil {
			return err
		}
		r.workers = append(r.workers, w)
	}
	w := r.workers[0]
	w.told, err = drill.OpenAccounts(ctx, w.client, r.cfg.Payments)
	return err
}

// reached waits until a part of the work is done, or all of it.
func (r *run) reached(ctx context.Context, part float64) bool {
	for ctx.Err() == nil && !r.stop.Load() {
		if r.total > 0 && float64(r.answered.Load()) >= part*float64(r.total) {
			return true
		}
		if r.total == 0 && time.Since(r.began) >= time.Duration(part*float64(r.cfg.For)) {
			return true
		}
		time.Sleep(2 * time.Millisecond)
	}
	return false
}

// note records something that was done to the cluster.
func (r *run) note(format string, a ...any) {
	e := Event{At: time.Since(r.began), What: fmt.Sprintf(format, a...)}
	r.mu.Lock()
	r.events = append(r.events, e)
	r.mu.Unlock()
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

// catchUp waits until all replicas have applied the same entries to the same end.
func (r *run) catchUp(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, catchUpWithin)
	defer cancel()
	for {
		equal, detail, err := r.arena.Agree(ctx)
		if err == nil && equal {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("demo: the SFUs did not come to the same state within %v: %s", catchUpWithin, errors.Join(errors.New(detail), err))
		case <-time.After(50 * time.Millisecond):
			r.out.Progress("%s", detail)
		}
	}
}

// audit reads every SFU's store on disk. The error says that one could not be
// read; what is wrong in them stands in the report.
func (r *run) audit(report *Report) error {
	var all []drill.Told
	for _, w := range r.workers {
		all = append(all, w.told...)
	}
	a := drill.NewAuditor(all)
	for i := range r.arena.SFUs() {
		s, err := r.arena.OpenStore(i)
		if err != nil {
			return err
		}
		if err := errors.Join(a.Store(r.arena.Name(i), s), s.Close()); err != nil {
			return err
		}
	}
	v := a.Verdict()
	report.Submitted, report.Committed, report.Aborted = v.Submitted, v.Committed, v.Aborted
	report.Lost, report.Duplicated, report.Findings = v.Lost, v.Duplicated, v.Findings
	report.Audit = "ok"
	if !v.OK() {
		report.Audit = "failed"
	}
	return nil
}
