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
	// MaxResets within ResetWindow is where hardware resets have been shown not to
	// help.
	MaxResets   = 3
	ResetWindow = time.Hour
)

// MayArm reports whether the watchdog may be armed at now after the resets that it
// caused earlier. now and resets are wall times.
func MayArm(now time.Time, resets []time.Time) bool {
	recent := 0
	for _, r := range resets {
		if age := now.Sub(r); age < ResetWindow && age > -ResetWindow { // a clock that was set back is no excuse
			recent++
		}
	}
	return recent < MaxResets
}

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

// Engine is what is known of one engine at one step.
type Engine struct {
	Name string
	// Alive says that the unit has a process, whatever it does: starting, running,
	// or refusing to die. An engine that was stopped, or that systemd gave up, has
	// none: resetting the machine would not help it.
	Alive bool
	// Progress is a counter that the engine's loop advances. Any change counts, so
	// a restart does.
	Progress uint64
}

// Event is a line for the journal.
type Event struct {
	Kind   EventKind
	Engine string        // empty for Stalled
	Silent time.Duration // for how long there has been no progress
}

// EventKind says what happened.
type EventKind int

const (
	Silent    EventKind = iota + 1 // the engine made no progress for RestartAfter: systemd is at it
	Recovered                      // it makes progress again, or is gone
	LettingGo                      // systemd could not cure it within ResetAfter: the machine will be reset
	Stalled                        // the feeder itself did not run for RestartAfter: the machine stood still
)

func (k EventKind) String() string {
	return [...]string{Silent: "silent", Recovered: "recovered", LettingGo: "letting go", Stalled: "stalled"}[k]
}

// Feeder decides whether the hardware is fed. One goroutine owns it.
type Feeder struct {
	c       Config
	engines map[string]*judged
	last    time.Duration
	running bool
}

type judged struct {
	progress uint64
	since    time.Duration // when progress was last seen to change
	said     EventKind     // the last event; 0 when all is well
}

// NewFeeder makes a Feeder that knows no engine yet.
func NewFeeder(c Config) (*Feeder, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	return &Feeder{c: c, engines: map[string]*judged{}}, nil
}

// Step judges the engines of this machine at now (monotonic, since any origin) and
// reports whether to feed the hardware, and what to write to the journal first. Call
// it several times within RestartAfter. Time in which the feeder itself did not run
// counts against no engine: they did not run either.
func (f *Feeder) Step(now time.Duration, engines []Engine) (feed bool, events []Event) {
	if pause := now - f.last; f.running && pause >= f.c.RestartAfter {
		events = append(events, Event{Kind: Stalled, Silent: pause})
		for _, j := range f.engines {
			j.since += pause
		}
	}
	f.running, f.last = true, now
	feed = true
	known := make(map[string]bool, len(engines))
	for _, e := range engines {
		if !e.Alive {
			continue
		}
		known[e.Name] = true
		j := f.engines[e.Name]
		if j == nil {
			j = &judged{progress: e.Progress, since: now}
			f.engines[e.Name] = j
		}
		if e.Progress != j.progress {
			if j.said != 0 {
				events = append(events, Event{Recovered, e.Name, now - j.since})
			}
			*j = judged{progress: e.Progress, since: now}
		}
		silent := now - j.since
		if silent >= f.c.RestartAfter && j.said == 0 {
			j.said = Silent
			events = append(events, Event{Silent, e.Name, silent})
		}
		if silent >= f.c.ResetAfter {
			if j.said != LettingGo {
				j.said = LettingGo
				events = append(events, Event{LettingGo, e.Name, silent})
			}
			feed = false
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.engines)) {
		if known[name] {
			continue
		}
		if j := f.engines[name]; j.said != 0 {
			events = append(events, Event{Recovered, name, now - j.since})
		}
		delete(f.engines, name)
	}
	return feed, events
}
