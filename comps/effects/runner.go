package effects

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// The alarms stand for one queue each.
	alarmQuarantined = "effects-quarantined"
	alarmFailing     = "effects-failing"
	alarmHeld        = "effects-held"

	// pauseFirst and pauseMost bound the pause before the transaction service is asked
	// again that did not answer: an election takes tenths of a second.
	pauseFirst = 20 * time.Millisecond
	pauseMost  = time.Second
	// submitWithin and awaitFor are how long one call waits.
	submitWithin = 5 * time.Second
	awaitFor     = 20 * time.Second
	// doTimeout is the default of Config.Timeout.
	doTimeout = time.Minute
)

// Host is what a Runner needs of its surroundings; an engine.Host is one.
type Host interface {
	SFU() uint16
	Now() time.Duration
	Log() *slog.Logger
	Caller(to uint16) message.Caller
	Alarm(name string, severity engine.Severity, detail string)
	ClearAlarm(name string)
}

// Config describes a Runner. SFU and Token are filled in by NewRunner.
type Config struct {
	CoreConfig
	Do Doer
	// Timeout bounds one call of Do; 0 means a minute. A Doer must return soon after its
	// ctx has ended.
	Timeout time.Duration
}

// Runner does the effects of one queue. Run is to be called once; Drain at any time.
type Runner struct {
	cfg  Config
	host Host
	txn  txnpb.TxnClient
	core *Core

	events  chan func()
	drained chan struct{}
	running sync.WaitGroup
	cancels map[*Job]context.CancelFunc
	pause   time.Duration

	alarmed alarms
}

// alarms are what stands for a queue.
type alarms struct {
	quarantined uint64
	failing     string
	held        bool
}

// NewRunner returns the Runner of a queue.
func NewRunner(cfg Config, host Host) *Runner {
	if cfg.Timeout == 0 {
		cfg.Timeout = doTimeout
	}
	var token [8]byte
	rand.Read(token[:]) // never fails
	cfg.SFU, cfg.Token = uint32(host.SFU()), binary.BigEndian.Uint64(token[:])
	return &Runner{
		cfg: cfg, host: host, txn: txnpb.TxnClient{Caller: host.Caller(0)}, core: NewCore(cfg.CoreConfig),
		events: make(chan func()), drained: make(chan struct{}), cancels: map[*Job]context.CancelFunc{}, pause: pauseFirst,
	}
}

// Queue names the queue as alarms and logs do: its service, and the target behind a '/'.
func (r *Runner) Queue() string { return QueueName(r.cfg.Service, r.cfg.Target) }

// QueueName is the name of a queue for people.
func QueueName(service, target string) string {
	if target == "" {
		return service
	}
	return service + "/" + target
}

// Run does effects until ctx ends. Every goroutine that it started, and with it every Do,
// has returned when it does.
func (r *Runner) Run(ctx context.Context) {
	ctx, stop := context.WithCancel(ctx)
	defer func() {
		stop()
		r.running.Wait()
		r.alarm(alarms{})
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var out Output
	idle := false
	for {
		for r.core.Ready(r.host.Now(), &out) {
			r.act(ctx, &out)
		}
		if out.Wake > 0 {
			timer.Reset(out.Wake - r.host.Now())
		}
		r.alarm(alarms{r.core.Quarantined(), r.core.Failing(), r.core.Held()})
		if !idle && r.core.draining && r.core.Idle() {
			idle = true
			close(r.drained)
		}
		select {
		case f := <-r.events:
			f()
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

// Drain finishes what is under way, begins nothing more and gives the queue up, so that
// another SFU need not wait. Run must run.
func (r *Runner) Drain(ctx context.Context) error {
	r.post(ctx, r.core.Drain)
	select {
	case <-r.drained:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("effects: %s: attempts are still under way: %w", r.Queue(), ctx.Err())
	}
}

// Drain drains all runners of a Component at once. The error is every error of theirs.
func Drain(ctx context.Context, runners []*Runner) error {
	results := make(chan error)
	for _, r := range runners {
		go func() { results <- r.Drain(ctx) }()
	}
	var errs []error
	for range runners {
		errs = append(errs, <-results)
	}
	return errors.Join(errs...)
}

// post gives the loop something to do, unless it is about to end.
func (r *Runner) post(ctx context.Context, f func()) {
	select {
	case r.events <- f:
	case <-ctx.Done():
	}
}

func (r *Runner) start(f func()) {
	r.running.Add(1)
	go func() {
		defer r.running.Done()
		f()
	}()
}

// act does what the core wants done.
func (r *Runner) act(ctx context.Context, out *Output) {
	for _, j := range out.Abandon {
		r.cancels[j]()
		delete(r.cancels, j)
	}
	for _, j := range out.Jobs {
		r.do(ctx, j)
	}
	if l := out.List; l != nil {
		r.start(func() { r.list(ctx, *l) })
	}
	if ch := out.Change; ch != nil {
		r.start(func() { r.submit(ctx, ch) })
	}
	if version := out.Version; out.Await {
		r.start(func() { r.await(ctx, version) })
	}
}

func (r *Runner) do(ctx context.Context, j *Job) {
	doCtx, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	r.cancels[j] = cancel
	r.start(func() {
		results := r.cfg.Do.Do(doCtx, j.Attempts)
		cancel()
		r.post(ctx, func() {
			delete(r.cancels, j)
			r.core.Did(j, results)
		})
	})
}

func (r *Runner) list(ctx context.Context, l List) {
	callCtx, cancel := context.WithTimeout(ctx, submitWithin)
	defer cancel()
	a, err := r.txn.Read(callCtx, &txnpb.Query{ListEffects: &txnpb.OutboxFilter{Service: r.cfg.Service, Target: r.cfg.Target, Sequence: l.From, Limit: l.Limit}})
	r.post(ctx, func() {
		if err != nil || a.Outbox == nil {
			r.core.ListFailed(r.host.Now(), r.nextPause())
			return
		}
		r.pause = pauseFirst
		r.core.Listed(r.host.Now(), uint64(time.Now().UnixNano()), a.Outbox)
	})
}

// nextPause belongs to the loop.
func (r *Runner) nextPause() time.Duration {
	defer func() { r.pause = min(2*r.pause, pauseMost) }()
	return r.pause
}

func (r *Runner) await(ctx context.Context, version uint64) {
	callCtx, cancel := context.WithTimeout(ctx, awaitFor+submitWithin)
	defer cancel()
	a, err := r.txn.AwaitEffects(callCtx, &txnpb.AwaitRequest{Version: version, Millis: uint32(awaitFor / time.Millisecond)})
	r.post(ctx, func() {
		if err != nil {
			r.core.AwaitFailed(r.host.Now(), r.nextPause())
			return
		}
		r.core.Woken(a.Version)
	})
}

// submit submits a change until its outcome is final.
func (r *Runner) submit(ctx context.Context, ch *Change) {
	tx := txnpb.Transaction{Mode: txnpb.ModeIndependent, EffectChanges: ch.Changes}
	o, err := Submit(ctx, r.txn, 0, message.RoleSFU, &tx)
	if err != nil {
		return // ctx has ended
	}
	statuses := statusesOf(&tx, o)
	if statuses == nil {
		r.host.Log().Error("a change of effects was not taken", "queue", r.Queue(), "state", o.State, "reason", o.Reason)
		sleep(ctx, pauseMost)
	}
	r.post(ctx, func() { r.core.Changed(r.host.Now(), ch, statuses) })
}

// Submit submits a transaction on behalf of a principal until its outcome is final, or ctx
// ends: the error is ctx's. A transaction without an id gets one.
func Submit(ctx context.Context, txn txnpb.TxnClient, principal uint64, role message.Role, tx *txnpb.Transaction) (*txnpb.Outcome, error) {
	if tx.Id.IsZero() {
		tx.Id = newID()
	}
	s := txnpb.Submission{Transaction: message.Marshal(tx), Principal: principal, Role: uint32(role), RemainingMillis: uint32(submitWithin / time.Millisecond)}
	for pause := pauseFirst; ; pause = min(2*pause, pauseMost) {
		o, err := submitOnce(ctx, txn, s)
		if err == nil && final(o.State) {
			return o, nil
		}
		if !sleep(ctx, pause) {
			return nil, ctx.Err()
		}
	}
}

func submitOnce(ctx context.Context, txn txnpb.TxnClient, s txnpb.Submission) (*txnpb.Outcome, error) {
	ctx, cancel := context.WithTimeout(ctx, submitWithin+time.Second)
	defer cancel()
	out, err := txn.Submit(ctx, &txnpb.SubmitBatch{Submissions: []txnpb.Submission{s}})
	if err == nil && len(out.Outcomes) != 1 {
		err = errors.New("effects: no outcome")
	}
	if err != nil {
		return nil, err
	}
	return &out.Outcomes[0], nil
}

// sleep waits, and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// final reports whether nothing else will ever be the outcome under the same id.
func final(s txnpb.State) bool {
	switch s {
	case txnpb.StateCommitted, txnpb.StateAborted, txnpb.StateRefused, txnpb.StateIdReused, txnpb.StateExpired, txnpb.StateIdFromFuture:
		return true
	}
	return false
}

// statusesOf returns what became of each change, nil where nothing did.
func statusesOf(tx *txnpb.Transaction, o *txnpb.Outcome) []txnpb.EffectStatus {
	if o.State != txnpb.StateCommitted || o.Results == nil {
		return nil
	}
	statuses := make([]txnpb.EffectStatus, len(tx.EffectChanges))
	for _, x := range o.Results.Exceptions {
		if int(x.Index) < len(statuses) {
			statuses[x.Index] = txnpb.EffectStatus(x.Status)
		}
	}
	return statuses
}

// newID returns a UUIDv7.
func newID() u128.Int {
	var b [10]byte
	rand.Read(b[:]) // never fails
	const version, variant = 7 << 12, 1 << 63
	return u128.Int{
		Hi: uint64(time.Now().UnixMilli())<<16 | version | uint64(binary.BigEndian.Uint16(b[:]))&0xfff,
		Lo: variant | binary.BigEndian.Uint64(b[2:])>>2,
	}
}

// alarm raises and clears what stands for the queue.
func (r *Runner) alarm(now alarms) {
	set := func(kind string, was, is bool, detail string) {
		switch name := kind + "@" + r.Queue(); {
		case is && !was:
			r.host.Alarm(name, engine.Warning, detail)
		case was && !is:
			r.host.ClearAlarm(name)
		}
	}
	was := r.alarmed
	r.alarmed = now
	set(alarmQuarantined, was.quarantined > 0 && now.quarantined <= was.quarantined, now.quarantined > 0,
		fmt.Sprintf("%d effects of %s are in quarantine: see rrts effects list --quarantined", now.quarantined, r.Queue()))
	set(alarmFailing, was.failing != "", now.failing != "", now.failing)
	set(alarmHeld, was.held, now.held, "the effects of "+r.Queue()+" are those of a restored cluster: see rrts effects release")
}
