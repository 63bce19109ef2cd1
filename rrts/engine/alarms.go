package engine

import (
	"cmp"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Alarm is a condition that stands.
type Alarm struct {
	Name     string
	Severity Severity
	Detail   string
	// Raised is when it was raised, on the engine's clock.
	Raised time.Duration
	// Count is how often it was raised; one that comes back soon stays one alarm with a
	// count.
	Count uint32
	// Flapping says that it comes and goes: it stands until it has been quiet for a while.
	Flapping bool
}

// AlarmEvent is a change of one Alarm.
type AlarmEvent struct {
	Alarm
	// Cleared tells the end of the alarm from its beginning, or its getting worse.
	Cleared bool
}

const (
	// flapWithin is how soon an alarm must come back to count as the same, and how long
	// a flapping one must be quiet to end.
	flapWithin = 5 * time.Minute
	// flapReturns is how often an alarm comes back until it is called flapping. From then
	// on it says no more, however often it comes and goes.
	flapReturns = 3
)

// alarmTable holds the alarms of one engine.
type alarmTable struct {
	clock func() time.Duration
	log   *slog.Logger
	tell  func(AlarmEvent)

	mu      sync.Mutex
	stand   map[string]*standing
	cleared map[string]flap // that may come back
}

// standing is an alarm that stands.
type standing struct {
	Alarm
	returns int
	quiet   bool // a flapping one: its condition is over
	since   time.Duration
}

// flap is an alarm that ended.
type flap struct {
	at      time.Duration
	count   uint32
	returns int
}

func newAlarmTable(clock func() time.Duration, log *slog.Logger, tell func(AlarmEvent)) *alarmTable {
	if tell == nil {
		tell = func(AlarmEvent) {}
	}
	return &alarmTable{clock: clock, log: log, tell: tell, stand: make(map[string]*standing), cleared: make(map[string]flap)}
}

// raise raises an alarm, or adds to one that stands. A severity never falls while
// the alarm stands.
func (t *alarmTable) raise(name string, severity Severity, detail string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.stand[name]; a != nil {
		worse := severity > a.Severity
		a.Count++
		a.quiet = false
		a.Detail = detail
		a.Severity = max(a.Severity, severity)
		if worse {
			t.log.Warn("Alarm is more severe", "alarm", name, "severity", severity, "detail", detail)
			t.tell(AlarmEvent{Alarm: a.Alarm})
		}
		return
	}
	if len(t.stand) >= maxAlarms {
		t.log.Error("Alarm cannot be kept: too many stand", "alarm", name, "severity", severity, "detail", detail)
		return
	}
	now := t.clock()
	a := &standing{Alarm: Alarm{Name: name, Severity: severity, Detail: detail, Raised: now, Count: 1}}
	if f, ok := t.cleared[name]; ok && now-f.at < flapWithin {
		a.Count += f.count
		a.returns = f.returns + 1
		a.Flapping = a.returns >= flapReturns
	}
	t.forgetLocked(now)
	t.stand[name] = a
	what := "Alarm"
	if a.Flapping {
		what = "Alarm comes and goes"
	}
	t.log.Warn(what, "alarm", name, "severity", severity, "detail", detail, "count", a.Count)
	t.tell(AlarmEvent{Alarm: a.Alarm})
}

// clear ends an alarm, if it stands. A flapping one ends when it has been quiet.
func (t *alarmTable) clear(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a, now := t.stand[name], t.clock()
	switch {
	case a == nil:
	case a.Flapping:
		if !a.quiet {
			a.quiet, a.since = true, now
		}
	default:
		t.endLocked(a, now)
	}
}

// settle ends the flapping alarms that have been quiet.
func (t *alarmTable) settle() {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock()
	for _, a := range t.stand {
		if a.quiet && now-a.since >= flapWithin {
			t.endLocked(a, now)
		}
	}
}

func (t *alarmTable) endLocked(a *standing, now time.Duration) {
	delete(t.stand, a.Name)
	t.forgetLocked(now)
	if len(t.cleared) < maxAlarms && !a.Flapping { // it was quiet for so long: the next one is another
		t.cleared[a.Name] = flap{at: now, count: a.Count, returns: a.returns}
	}
	t.log.Info("Alarm ended", "alarm", a.Name, "count", a.Count)
	t.tell(AlarmEvent{Alarm: a.Alarm, Cleared: true})
}

func (t *alarmTable) forgetLocked(now time.Duration) {
	for name, f := range t.cleared {
		if now-f.at >= flapWithin {
			delete(t.cleared, name)
		}
	}
}

// list returns the alarms that stand, the most severe and then the oldest first.
func (t *alarmTable) list() []Alarm {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Alarm, 0, len(t.stand))
	for _, a := range t.stand {
		all = append(all, a.Alarm)
	}
	slices.SortFunc(all, func(a, b Alarm) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Raised, b.Raised), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// Alarms returns the alarms that stand, the most severe and then the oldest first.
func (e *Engine) Alarms() []Alarm { return e.alarms.list() }
