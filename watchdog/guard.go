package watchdog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// stepEvery is how often the hardware is fed, and lookEvery how often systemd is
	// asked: several times within the 10 s that an engine has.
	stepEvery = time.Second
	lookEvery = 2 * time.Second
	// lastWords is how long the guard waits for the journal and the disk to take why it
	// lets the machine go. One that hangs does not keep it from doing so.
	lastWords = 5 * time.Second
	// maxLines bounds the lines, and the records, that wait for a journal or a disk that
	// hangs: the guard says a handful in its worst hour.
	maxLines = 64
)

// EventKey and AlarmKey are the attributes under which a line carries the name that its
// explanation has in the journal's catalog, as package sysd knows them.
const (
	EventKey = "event"
	AlarmKey = "alarm"
)

// Events and alarms of the guard besides those of the Feeder.
const (
	GuardArmed      = "watchdog-armed"
	GuardStopped    = "watchdog-stopped"
	MachineWasReset = "machine-was-reset"

	GuardOff      = "watchdog-off"
	GuardUnusable = "watchdog-unusable"
)

// Events and Alarms list what a Guard may say, by these names.
func Events() []string {
	return append([]string{GuardArmed, GuardStopped, MachineWasReset}, eventNames[EngineSilent:]...)
}

// Alarms is like Events.
func Alarms() []string { return []string{GuardOff, GuardUnusable} }

// ErrOff is why Run ends at once after three resets within an hour.
var ErrOff = errors.New("watchdog: it stays off; when the cause is found, run: rrts watchdog arm")

// ErrUnusable is why Run ends at once when the hardware cannot be armed.
var ErrUnusable = errors.New("watchdog: it cannot be armed")

// Guard feeds the hardware as long as the machine is well.
type Guard struct {
	Order  *Order
	Boot   string // the kernel's boot id
	Dir    string // StateDir
	RunDir string
	Feeder Config

	Log *slog.Logger
	// Ready tells systemd that the hardware runs, and Alive that the loop does; both
	// may hang with systemd.
	Ready func(status string)
	Alive func(now time.Duration)
	// Engines asks for the engines of this machine.
	Engines func(context.Context) ([]Engine, error)
	// Open starts the hardware.
	Open func(*Order) (Device, error)
	// Evidence is what the hardware says of the last start of the machine.
	Evidence Evidence

	begin   time.Time
	feeder  *Feeder
	device  Device
	record  *Record
	look    atomic.Pointer[Look]
	journal *scribe // lines and status
	disk    *scribe // records
	pet     *scribe // systemd
	faulty  bool    // the last Keepalive failed
}

// Run guards the machine until ctx ends, which is the clean stop: then, and only then,
// the hardware is stopped. It returns nil after that.
func (g *Guard) Run(ctx context.Context) error {
	g.begin = time.Now()
	for _, s := range []**scribe{&g.journal, &g.disk, &g.pet} {
		*s = newScribe()
		defer (*s).close(lastWords)
	}
	var err error
	if g.feeder, err = NewFeeder(g.Feeder); err != nil {
		return err
	}
	if err := g.arm(); err != nil {
		if !errors.Is(err, ErrOff) {
			g.alarm(slog.LevelError, GuardUnusable, "the hardware watchdog cannot be used", "err", err)
		}
		return err
	}
	var watching sync.WaitGroup
	watching.Go(func() { g.watch(ctx) })
	g.loop(ctx)
	err = g.stop()
	watching.Wait()
	return err
}

// arm starts the hardware, unless it has done enough harm. The record is on disk
// before.
func (g *Guard) arm() error {
	var err error
	if g.record, err = ReadRecord(g.Dir); err != nil {
		return err
	}
	if reset := g.record.Begin(time.Now(), g.Boot, g.Order.ID, g.Evidence); reset != nil {
		g.say(slog.LevelError, MachineWasReset, "the machine was reset by its watchdog",
			"why", reset.Why, "resets_within_an_hour", len(g.record.Resets))
	}
	if off := g.record.Off; off != nil {
		g.alarm(slog.LevelError, GuardOff, "the hardware watchdog stays off", "why", off.Why)
		return errors.Join(ErrOff, WriteRecord(g.Dir, g.record))
	}
	g.record.Arm(time.Now(), g.Boot)
	if err := WriteRecord(g.Dir, g.record); err != nil {
		return err
	}
	if g.device, err = g.Open(g.Order); err != nil {
		g.record.Stop()
		return errors.Join(ErrUnusable, err, WriteRecord(g.Dir, g.record))
	}
	g.say(slog.LevelInfo, GuardArmed, "the hardware watchdog is armed",
		"device", g.Order.Device, "driver", g.device.Identity(), "timeout", g.device.Timeout())
	g.show(ArmedState, "")
	g.Ready("armed")
	return nil
}

// stop is the clean stop. The hardware comes first: the disk may hang.
func (g *Guard) stop() error {
	err := g.device.Disarm()
	if err != nil {
		return err
	}
	g.say(slog.LevelInfo, GuardStopped, "the hardware watchdog is stopped", "device", g.Order.Device)
	g.record.Stop()
	return WriteRecord(g.Dir, g.record)
}

// now is monotonic time since Run began.
func (g *Guard) now() time.Duration { return time.Since(g.begin) }

// watch asks systemd, again and again. It may hang as long as systemd does.
func (g *Guard) watch(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		at := g.now()
		if engines, err := g.Engines(ctx); err == nil {
			g.look.Store(&Look{At: at, Engines: engines})
		} else if ctx.Err() == nil {
			g.journal.do(func() { g.Log.Warn("the engines' state is not known", "err", err) })
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (g *Guard) loop(ctx context.Context) {
	tick := time.NewTicker(stepEvery)
	defer tick.Stop()
	g.look.CompareAndSwap(nil, &Look{})
	for {
		g.step(g.now())
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

func (g *Guard) step(now time.Duration) {
	feed, events := g.feeder.Step(now, *g.look.Load())
	for i := range events {
		g.tell(&events[i])
	}
	if feed {
		g.keepalive()
	}
	g.pet.do(func() { g.Alive(now) })
}

// keepalive feeds the hardware, and says once when that fails.
func (g *Guard) keepalive() {
	err := g.device.Keepalive()
	if err != nil && !g.faulty {
		g.alarm(slog.LevelError, GuardUnusable, "the hardware watchdog cannot be fed", "err", err)
	}
	g.faulty = err != nil
}

// tell writes down what happened, and for a while waits that it is written when it is
// the last word.
func (g *Guard) tell(e *Event) {
	attrs := []any{"for", e.For.Round(time.Second)}
	if e.Engine != "" {
		attrs = append(attrs, "engine", e.Engine)
	}
	switch e.Kind {
	case LettingGo:
		why := e.Why()
		// The journal puts a line of this level on disk at once.
		g.say(slog.LevelError+4, e.Kind.String(), "letting the machine go: the hardware will reset it",
			"why", why, "within", g.device.Timeout())
		g.show(LettingGoState, why)
		g.record.Release(time.Now(), why)
		g.keep()
		g.await()
	case FeedingAgain:
		g.say(slog.LevelWarn, e.Kind.String(), "the machine is kept: the reason is gone")
		g.show(ArmedState, "")
		g.record.Feed()
		g.keep()
	case EngineSilent:
		g.say(slog.LevelWarn, e.Kind.String(), "the engine makes no progress", attrs...)
	case EngineUnkillable:
		g.say(slog.LevelError, e.Kind.String(), "the engine cannot be killed", attrs...)
	case EngineRecovered:
		g.say(slog.LevelInfo, e.Kind.String(), "the engine is well again, or gone", attrs...)
	case SystemdSilent:
		g.say(slog.LevelError, e.Kind.String(), "systemd does not answer", attrs...)
	case SystemdRecovered:
		g.say(slog.LevelInfo, e.Kind.String(), "systemd answers again", attrs...)
	case MachineStalled:
		g.say(slog.LevelWarn, e.Kind.String(), "the machine stood still", attrs...)
	}
}

// say writes a line that the catalog explains.
func (g *Guard) say(level slog.Level, event, text string, attrs ...any) {
	g.journal.do(func() { g.Log.Log(context.Background(), level, text, append([]any{EventKey, event}, attrs...)...) })
}

// alarm writes an alarm's line.
func (g *Guard) alarm(level slog.Level, name, text string, attrs ...any) {
	g.journal.do(func() { g.Log.Log(context.Background(), level, text, append([]any{AlarmKey, name}, attrs...)...) })
}

// show says what the guard does to `rrts watchdog status`.
func (g *Guard) show(state, why string) {
	s := &Status{State: state, Device: g.Order.Device, Driver: g.device.Identity(), TimeoutS: int(g.device.Timeout() / time.Second),
		Since: time.Now(), Why: why, Resets: g.record.Resets}
	g.journal.do(func() {
		if err := WriteStatus(g.RunDir, s); err != nil {
			g.Log.Warn("the status cannot be shown", "err", err)
		}
	})
}

// keep writes the record as it is now.
func (g *Guard) keep() {
	r := *g.record
	if r.Armed != nil {
		armed := *r.Armed
		r.Armed = &armed
	}
	g.disk.do(func() {
		if err := WriteRecord(g.Dir, &r); err != nil {
			g.Log.Error("the reset cannot be recorded", "err", err)
		}
	})
}

// await waits until journal and disk have what they were given, but not for ever.
func (g *Guard) await() {
	limit := time.NewTimer(lastWords)
	defer limit.Stop()
	for _, s := range []*scribe{g.journal, g.disk} {
		select {
		case <-s.written():
		case <-limit.C:
			return
		}
	}
}

// scribe does what may hang, in order, on a goroutine of its own.
type scribe struct {
	jobs chan func()
	done chan struct{}
}

func newScribe() *scribe {
	s := &scribe{jobs: make(chan func(), maxLines), done: make(chan struct{})}
	go func() {
		defer close(s.done)
		for job := range s.jobs {
			job()
		}
	}()
	return s
}

// do takes a job, or drops it when too many wait: what hangs stays mute.
func (s *scribe) do(job func()) {
	select {
	case s.jobs <- job:
	default:
	}
}

// written is closed when all that was given before is done.
func (s *scribe) written() <-chan struct{} {
	done := make(chan struct{})
	s.do(func() { close(done) })
	return done
}

// close ends the scribe, and waits for it within limit.
func (s *scribe) close(limit time.Duration) {
	close(s.jobs)
	select {
	case <-s.done:
	case <-time.After(limit):
	}
}

// OpenOrder starts what an order names: the hardware, or systemd where that holds it.
// found is what the kernel has.
func OpenOrder(o *Order, found []Found, held bool, reset func(context.Context) error, log *slog.Logger) (Device, error) {
	if held {
		if o.Timeout() < MinTimeout {
			return nil, fmt.Errorf("watchdog: a time-out of %s is below the limit of %s", o.Timeout(), MinTimeout)
		}
		return NewChain(o.Timeout(), reset, log), nil
	}
	for _, f := range found {
		if f.Device != o.Device {
			continue
		}
		if f.NoWayOut {
			return nil, fmt.Errorf("watchdog: %s (%s) could not be stopped again, so every stop would reset the machine: load its driver without nowayout", f.Device, f.Identity)
		}
		return Open(o.Device, o.Timeout())
	}
	return nil, fmt.Errorf("watchdog: the kernel has no driver for %s; see ls /sys/class/watchdog, then run rrts watchdog arm", o.Device)
}
