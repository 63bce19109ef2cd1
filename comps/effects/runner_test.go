package effects

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/comps/effects/effectstest"
	"virtualservicesinc.com/rrts/engine/alarm/alarmtest"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// doer records attempts and answers as it is told.
type doer struct {
	mu     sync.Mutex
	seen   []Attempt
	answer func(ctx context.Context, a *Attempt) Result
}

func (d *doer) Do(ctx context.Context, batch []Attempt) []Result {
	return Each(ctx, batch, func(ctx context.Context, a *Attempt) Result {
		d.mu.Lock()
		d.seen = append(d.seen, *a)
		answer := d.answer
		d.mu.Unlock()
		return answer(ctx, a)
	})
}

func (d *doer) set(answer func(ctx context.Context, a *Attempt) Result) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.answer = answer
}

func (d *doer) attempts() []Attempt {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Clone(d.seen)
}

func always(r Result) func(context.Context, *Attempt) Result {
	return func(context.Context, *Attempt) Result { return r }
}

// play is a Runner of SFU 1 in a bubble of virtual time.
type play struct {
	*effectstest.Cluster
	t    *testing.T
	do   *doer
	run  *Runner
	stop func()
}

func newPlay(t *testing.T) *play {
	p := &play{Cluster: effectstest.New(t), t: t, do: &doer{answer: always(Done("r1"))}}
	p.start(1)
	return p
}

func (p *play) start(sfu uint16) {
	p.run = NewRunner(Config{CoreConfig: CoreConfig{Service: "mail", Attempts: 4}, Do: p.do}, p.Host(sfu))
	ctx, cancel := context.WithCancel(p.t.Context())
	done := make(chan struct{})
	go func() { defer close(done); p.run.Run(ctx) }()
	p.stop = func() { cancel(); <-done }
}

func (p *play) after(d time.Duration) { time.Sleep(d); synctest.Wait() }

func mail(args ...txnpb.Argument) txnpb.Effect {
	return txnpb.Effect{Service: "mail", Operation: "receipt", Key: "anna", Arguments: args}
}

// TestRunner: what is owed is done, with all that the Doer is to know, and reported.
func TestRunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer func() { p.stop() }()
		o := p.Owe(mail(effectstest.Text("to", "anna")), mail())
		p.after(100 * time.Millisecond)
		c := p.Completion(o)
		if c.Owed != 2 || c.Done != 2 || len(c.Ends) != 2 || string(c.Ends[0].Result) != "r1" {
			t.Fatalf("%v", c)
		}
		seen := p.do.attempts()
		if len(seen) != 2 {
			t.Fatalf("%d attempts", len(seen))
		}
		a := seen[0]
		to, err := a.Args.Text("to")
		if want := (Key{effectstest.ID, o.Id, 0}); a.Key != want || a.Number != 1 || a.InDoubt || a.Fence>>32 != 1 || a.Order != "anna" ||
			a.Principal != effectstest.Principal || a.CSN != o.Csn || to != "anna" || err != nil {
			t.Errorf("%+v, %v", a, err)
		}
		if seen[1].Key.Ordinal != 1 {
			t.Errorf("the second is %v", seen[1].Key)
		}
		if _, err := a.Args.Text("subject"); !errors.Is(err, ErrArgument) {
			t.Errorf("an argument that is missing: %v", err)
		}
		// The service is away for a while; what is owed then is done when it is back.
		p.Down(true)
		p.after(time.Minute)
		p.Owe(mail())
		p.Down(false)
		p.after(5 * time.Second)
		if n := len(p.do.attempts()); n != 3 {
			t.Errorf("%d attempts", n)
		}
	})
}

// TestRetries: pauses grow, the log counts, and after the last attempt comes quarantine;
// those behind it with the same key wait until an operator has decided.
func TestRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer func() { p.stop() }()
		p.do.set(always(Retry(errors.New("greylisted"))))
		begin := time.Now()
		var at []time.Duration
		p.do.set(func(context.Context, *Attempt) Result {
			at = append(at, time.Since(begin).Round(100*time.Millisecond))
			return Retry(errors.New("grey\nlisted"))
		})
		p.Owe(mail(), mail())
		p.after(time.Minute)
		if want := []time.Duration{0, time.Second, 3 * time.Second, 7 * time.Second}; !slices.Equal(at, want) {
			t.Errorf("attempts at %v, want %v", at, want)
		}
		a := p.Outbox(&txnpb.OutboxFilter{Limit: 10})
		if e := &a.Effects[0]; e.State != txnpb.EffectStateQuarantined || e.Attempts != 4 || e.Reason != "4 attempts: grey listed" {
			t.Errorf("%v", e)
		}
		if e := &a.Effects[1]; e.State != txnpb.EffectStateOwed || e.Attempts != 0 {
			t.Errorf("the one behind it: %v", e)
		}
		p.do.set(always(Done("")))
		p.Change(message.RoleOperator, txnpb.EffectChange{Action: txnpb.EffectActionRequeue, Service: "mail", Sequence: 1})
		p.after(time.Second)
		if a := p.Outbox(&txnpb.OutboxFilter{Limit: 10}); len(a.Effects) != 0 {
			t.Errorf("left: %v", a)
		}
	})
}

// TestAlarms: three failures in a row and effects in quarantine are alarms, which end when
// the cause does; a restored outbox is one until it is released.
func TestAlarms(t *testing.T) {
	var saw *alarmtest.Record
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer func() { p.stop() }()
		alarms := func(want ...string) {
			t.Helper()
			if got := p.Alarms(); !slices.Equal(got, want) {
				t.Fatalf("alarms %v, want %v", got, want)
			}
		}
		p.do.set(always(Retry(errors.New("no route"))))
		p.Owe(mail())
		p.after(2 * time.Second)
		alarms()
		p.after(2 * time.Second)
		alarms("effects-failing@mail")
		p.after(10 * time.Second)
		alarms("effects-failing@mail", "effects-quarantined@mail")
		p.do.set(always(Done("")))
		p.Change(message.RoleOperator, txnpb.EffectChange{Action: txnpb.EffectActionRequeue, Service: "mail", Sequence: 1})
		p.after(time.Second)
		alarms()

		p.do.set(always(Quarantine(errors.New("no such template"))))
		p.Owe(mail())
		p.after(time.Second)
		alarms("effects-quarantined@mail")
		p.stop()
		alarms()
		p.Restored()
		p.start(1)
		p.after(time.Second)
		alarms("effects-held@mail")
		p.Change(message.RoleOperator, txnpb.EffectChange{Action: txnpb.EffectActionRelease})
		p.after(time.Second)
		alarms("effects-quarantined@mail")
		p.Change(message.RoleOperator, txnpb.EffectChange{Action: txnpb.EffectActionDiscard, Service: "mail", Sequence: 2})
		p.after(time.Second)
		alarms()
		saw = &p.Saw
	})
	saw.Proves(t)
}

// TestDrain: what is under way is finished, and another SFU goes on at once.
func TestDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		p.do.set(func(context.Context, *Attempt) Result {
			time.Sleep(3 * time.Second)
			return Done("")
		})
		o := p.Owe(mail(), mail())
		p.after(time.Second)
		begin := time.Now()
		if err := p.run.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(begin); took < 1900*time.Millisecond || took > 2500*time.Millisecond {
			t.Errorf("drained after %v", took)
		}
		p.stop()
		p.start(2)
		defer func() { p.stop() }()
		p.after(3100 * time.Millisecond)
		if c := p.Completion(o); c.Done != 2 {
			t.Errorf("%v", c)
		}
	})
}

// TestTimeout: a Doer that hangs is told so, and the effect is tried again, not in doubt:
// the Doer has answered for it.
func TestTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		defer func() { p.stop() }()
		p.do.set(func(ctx context.Context, a *Attempt) Result {
			if a.Number > 1 {
				return Done("")
			}
			<-ctx.Done()
			return Retry(ctx.Err())
		})
		o := p.Owe(mail())
		p.after(59 * time.Second)
		if c := p.Completion(o); c.Done != 0 {
			t.Fatalf("%v", c)
		}
		p.after(5 * time.Second)
		if c, n := p.Completion(o), len(p.do.attempts()); c.Done != 1 || n != 2 {
			t.Errorf("%v after %d attempts", c, n)
		}
		if a := p.do.attempts()[1]; a.InDoubt {
			t.Errorf("%+v", a)
		}
		if f := p.do.attempts(); f[0].Fence != f[1].Fence {
			t.Error("the queue was taken again while it was held")
		}
	})
}

// TestTakeover: an SFU that is cut off loses the queue, and its attempt is cancelled when it
// hears so; the other one tries again, in doubt.
func TestTakeover(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPlay(t)
		cancelled := make(chan struct{})
		p.do.set(func(ctx context.Context, a *Attempt) Result {
			if a.Number == 1 {
				<-ctx.Done()
				close(cancelled)
			}
			return Done("")
		})
		p.Owe(mail())
		p.after(time.Second)
		p.stop() // without a report
		<-cancelled
		p.start(2)
		defer func() { p.stop() }()
		p.after(20 * time.Second)
		seen := p.do.attempts()
		if len(seen) != 2 || !seen[1].InDoubt || seen[1].Number != 2 || seen[1].Fence != seen[0].Fence+1 {
			t.Fatalf("%+v", seen)
		}
	})
}
