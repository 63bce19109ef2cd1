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
	// Count is how often it was raised; one that comes and goes within a minute stays
	// one alarm with a count.
	Count uint32
}

// AlarmEvent is a change of one Alarm.
type AlarmEvent struct {
	Alarm
	// Cleared tells the end of the alarm from its beginning, or its getting worse.
	Cleared bool
}

// flapWithin is how soon an alarm must come back to count as the same.
const flapWithin = time.Minute

// alarmTable holds the alarms of one engine.
type alarmTable struct {
	clock func() time.Duration
	log   *slog.Logger
	tell  func(AlarmEvent)

	mu      sync.Mutex
	stand   map[string]*Alarm
	cleared map[string]flap // that may come back
}

type flap struct {
	at    time.Duration
	count uint32
}

func newAlarmTable(clock func() time.Duration, log *slog.Logger, tell func(AlarmEvent)) *alarmTable {
	if tell == nil {
		tell = func(AlarmEvent) {}
	}
	return &alarmTable{clock: clock, log: log, tell: tell, stand: make(map[string]*Alarm), cleared: make(map[string]flap)}
}

// raise raises an alarm, or adds to one that stands. A severity never falls while
// the alarm stands.
func (t *alarmTable) raise(name string, severity Severity, detail string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.stand[name]; a != nil {
		worse := severity > a.Severity
		a.Count++
		a.Detail = detail
		a.Severity = max(a.Severity, severity)
		if worse {
			t.log.Warn("Alarm is more severe", "alarm", name, "severity", severity, "detail", detail)
			t.tell(AlarmEvent{Alarm: *a})
		}
		return
	}
	if len(t.stand) >= maxAlarms {
		t.log.Error("Alarm cannot be kept: too many stand", "alarm", name, "severity", severity, "detail", detail)
		return
	}
	now := t.clock()
	a := &Alarm{Name: name, Severity: severity, Detail: detail, Raised: now, Count: 1}
	if f, ok := t.cleared[name]; ok && now-f.at < flapWithin {
		a.Count += f.count
	}
	t.forgetLocked(now)
	t.stand[name] = a
	t.log.Warn("Alarm", "alarm", name, "severity", severity, "detail", detail, "count", a.Count)
	t.tell(AlarmEvent{Alarm: *a})
}

// clear ends an alarm, if it stands.
func (t *alarmTable) clear(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.stand[name]
	if a == nil {
		return
	}
	now := t.clock()
	delete(t.stand, name)
	t.forgetLocked(now)
	if len(t.cleared) < maxAlarms {
		t.cleared[name] = flap{at: now, count: a.Count}
	}
	t.log.Info("Alarm ended", "alarm", name, "count", a.Count)
	t.tell(AlarmEvent{Alarm: *a, Cleared: true})
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
		all = append(all, *a)
	}
	slices.SortFunc(all, func(a, b Alarm) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), cmp.Compare(a.Raised, b.Raised), cmp.Compare(a.Name, b.Name))
	})
	return all
}

// Alarms returns the alarms that stand, the most severe and then the oldest first.
func (e *Engine) Alarms() []Alarm { return e.alarms.list() }
