package watchdog

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"
)

const (
	// DefaultRestartAfter is WatchdogSec of rrts@.service: after this much silence
	// systemd restarts an engine.
	DefaultRestartAfter = 10 * time.Second
	// DefaultResetAfter leaves systemd the time to kill and start the engine again,
	// several times over.
	DefaultResetAfter = 60 * time.Second
)

// Config sets a Feeder's patience.
type Config struct {
	RestartAfter time.Duration // 0 means DefaultRestartAfter
	ResetAfter   time.Duration // 0 means DefaultResetAfter; at least 3 × RestartAfter
}

func (c *Config) validate() error {
	if c.RestartAfter == 0 {
		c.RestartAfter = DefaultRestartAfter
	}
	if c.ResetAfter == 0 {
		c.ResetAfter = DefaultResetAfter
	}
	var faults []error
	if c.RestartAfter < 0 {
		faults = append(faults, fmt.Errorf("watchdog: RestartAfter %s is negative", c.RestartAfter))
	}
	if c.ResetAfter < 3*c.RestartAfter {
		faults = append(faults, fmt.Errorf("watchdog: ResetAfter %s is below 3 × RestartAfter %s: systemd needs time to restart the engine", c.ResetAfter, c.RestartAfter))
	}
	return errors.Join(faults...)
}

// State is what systemd does with an engine.
type State int

const (
	// Gone: the unit has no process. It was stopped, or systemd gave it up: resetting
	// the machine would not help it.
	Gone State = iota
	// Busy: systemd starts, stops or kills it under time-outs of its own, or does not
	// watch it. Its silence says nothing; only whether it can be killed counts.
	Busy
	// Watched: it runs and has to answer systemd's watchdog.
	Watched
)

// Engine is what is known of one engine.
type Engine struct {
	Name  string
	State State
	// Progress changes whenever the engine answers systemd's watchdog or is started
	// anew: an engine that can be restarted needs no reset.
	Progress uint64
	// Doomed says that SIGKILL was sent to a process of the unit, which is still there.
	Doomed bool
}

// Look is an answer of systemd.
type Look struct {
	At      time.Duration // monotonic, the same origin as Step's now
	Engines []Engine
}

// Event is a line for the journal.
type Event struct {
	Kind   EventKind
	Engine string        // whom it is about; empty when it is systemd or the machine
	For    time.Duration // how long it has been so
	Cause  EventKind     // of LettingGo: what has lasted too long
}

// Why says in words why the machine is let go.
func (e *Event) Why() string {
	lasted := e.For.Round(time.Second)
	switch e.Cause {
	case EngineUnkillable:
		return fmt.Sprintf("%s could not be killed for %s", e.Engine, lasted)
	case EngineSilent:
		return fmt.Sprintf("%s made no progress for %s, and systemd did not restart it", e.Engine, lasted)
	}
	return fmt.Sprintf("systemd did not answer for %s", lasted)
}

// EventKind says what happened.
type EventKind int

const (
	EngineSilent     EventKind = iota + 1 // no progress for RestartAfter: systemd is at it
	EngineUnkillable                      // SIGKILL has had no effect for RestartAfter
	EngineRecovered                       // it makes progress again, is dead at last, or gone
	SystemdSilent                         // systemd has not answered for RestartAfter
	SystemdRecovered                      // it answers again
	LettingGo                             // one of these for ResetAfter: the machine will be reset
	FeedingAgain                          // the reason is gone before the hardware fired
	MachineStalled                        // the feeder itself did not run for RestartAfter
)

var eventNames = [...]string{
	EngineSilent: "engine-silent", EngineUnkillable: "engine-unkillable", EngineRecovered: "engine-recovered",
	SystemdSilent: "systemd-silent", SystemdRecovered: "systemd-recovered",
	LettingGo: "machine-let-go", FeedingAgain: "machine-kept", MachineStalled: "machine-stalled",
}

// String is the event's name in the journal and its catalog.
func (k EventKind) String() string { return eventNames[k] }

// Feeder decides whether the hardware is fed. One goroutine owns it.
type Feeder struct {
	c       Config
	engines map[string]*judged
	systemd wait
	last    time.Duration // the step before
	running bool
	letGo   bool
}

// wait is a condition that may last too long.
type wait struct {
	since time.Duration
	said  bool
}

// judged is an engine as the Feeder remembers it.
type judged struct {
	state    State
	progress uint64
	silence  wait // since progress changed, or since it has been watched
	doom     wait
	doomed   bool
}

// NewFeeder makes a Feeder that knows no engine yet.
func NewFeeder(c Config) (*Feeder, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &Feeder{c: c, engines: map[string]*judged{}}, nil
}

// step collects what one Step finds.
type step struct {
	*Feeder
	now    time.Duration
	events []Event
	reason *Event // the first to let go
}

// Step judges at now (monotonic, since any origin) by systemd's last answer, and
// reports whether to feed the hardware, and what to write to the journal first. Call
// it several times within RestartAfter. Time in which the feeder itself did not run
// counts against nobody: they did not run either.
func (f *Feeder) Step(now time.Duration, look Look) (feed bool, events []Event) {
	s := &step{Feeder: f, now: now}
	if pause := now - f.last; f.running && pause >= f.c.RestartAfter {
		s.say(MachineStalled, "", pause)
		f.systemd.since += pause
		for _, j := range f.engines {
			j.silence.since += pause
			j.doom.since += pause
		}
	}
	if !f.running {
		f.systemd.since = now
	}
	f.running, f.last = true, now
	s.judgeSystemd(look)
	s.judgeEngines(look)
	switch {
	case s.reason != nil && !f.letGo:
		s.events = append(s.events, *s.reason)
	case s.reason == nil && f.letGo:
		s.say(FeedingAgain, "", 0)
	}
	f.letGo = s.reason != nil
	return !f.letGo, s.events
}

func (s *step) say(kind EventKind, engine string, lasted time.Duration) {
	s.events = append(s.events, Event{Kind: kind, Engine: engine, For: lasted})
}

// lasts says a condition that has stood for RestartAfter at time at, and takes one
// that has stood for ResetAfter for a reason to let go.
func (s *step) lasts(w *wait, at time.Duration, kind EventKind, engine string) {
	lasted := at - w.since
	if lasted >= s.c.RestartAfter && !w.said {
		w.said = true
		s.say(kind, engine, lasted)
	}
	if lasted >= s.c.ResetAfter && s.reason == nil {
		s.reason = &Event{Kind: LettingGo, Cause: kind, Engine: engine, For: lasted}
	}
}

// judgeSystemd: without systemd nobody kills or restarts an engine.
func (s *step) judgeSystemd(look Look) {
	w := &s.systemd
	if look.At > w.since {
		if w.said {
			s.say(SystemdRecovered, "", look.At-w.since)
		}
		*w = wait{since: look.At}
	}
	s.lasts(w, s.now, SystemdSilent, "")
}

// judgeEngines judges up to the time of systemd's answer: what it did not say since
// then is no engine's fault.
func (s *step) judgeEngines(look Look) {
	known := make(map[string]bool, len(look.Engines))
	for _, e := range look.Engines {
		if e.State == Gone {
			continue
		}
		known[e.Name] = true
		j := s.engines[e.Name]
		if j == nil {
			j = &judged{progress: e.Progress, silence: wait{since: look.At}}
			s.engines[e.Name] = j
		}
		s.judge(j, e, look.At)
	}
	for _, name := range slices.Sorted(maps.Keys(s.engines)) {
		if !known[name] {
			s.recovered(name, s.engines[name], look.At)
			delete(s.engines, name)
		}
	}
}

func (s *step) judge(j *judged, e Engine, at time.Duration) {
	moves, lives := e.Progress != j.progress, j.doomed && !e.Doomed
	if moves && !e.Doomed || lives {
		s.recovered(e.Name, j, at)
	}
	if moves || e.State == Watched && j.state != Watched && !j.silence.said {
		j.progress, j.silence = e.Progress, wait{since: at}
	}
	j.state = e.State
	switch {
	case !e.Doomed:
		j.doom = wait{}
	case !j.doomed:
		j.doom = wait{since: at}
	}
	j.doomed = e.Doomed
	if j.doomed {
		s.lasts(&j.doom, at, EngineUnkillable, e.Name)
	}
	if e.State == Watched {
		s.lasts(&j.silence, at, EngineSilent, e.Name)
	}
}

// recovered takes back what was said of an engine.
func (s *step) recovered(name string, j *judged, at time.Duration) {
	switch {
	case j.doom.said:
		s.say(EngineRecovered, name, at-j.doom.since)
	case j.silence.said:
		s.say(EngineRecovered, name, at-j.silence.since)
	}
	j.doom.said, j.silence.said = false, false
}
