// Package judge decides when the Monitor's alarms are raised and when they end. It is
// a state machine without I/O: what was measured and the time go in, alarms raised and
// cleared come out.
//
// Every condition has two levels and a time. It is raised when its value has been
// beyond the first level for the hold time, and ends when it has been on the good side
// of the second level for a while (calm). In between nothing changes: a value at the
// edge is one alarm, and a burst is none.
//
//	         raise level ─────────┬──────────────────────
//	                     hold ──▶ │ raised
//	value ───────────────╱        ╲
//	         clear level ──────────╲────────┬────────────
//	                                calm ─▶ │ cleared
//
// A value that is not known (NaN) changes nothing. A subject that is gone, such as an
// SFU that was removed, counts as good.
package judge

import (
	"math"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/alarm"
)

const (
	// calm is how long a condition must be over before its alarm ends.
	calm = 30 * time.Second
	// stalledAfter is how long the engine's loop may make no progress. It counts every
	// half second, and systemd's watchdog waits longer than this.
	stalledAfter = 3 * time.Second
	// pausedFor is how much later than due the Monitor must be woken to say that the
	// process did not run: more than a busy machine ever does, less than what makes peers
	// suspicious many times over. In seconds.
	pausedFor = 0.5
	// mailboxFull and mailboxFine are how much of a mailbox, in percent, is taken when it
	// fills and when it does not any more; fillAfter is how long: a burst is no alarm.
	mailboxFull, mailboxFine = 80, 50
	fillAfter                = 3 * time.Second
	// guardComes is how long the watchdog's guard may take after the start of the
	// machine: it waits for a driver that comes late, and is started again once.
	guardComes = time.Minute
)

// Limit says when an alarm is raised: when the value has been beyond Raise for Hold.
// It ends when the value is on the other side of Clear.
type Limit struct {
	Raise, Clear float64
	Hold         time.Duration
}

// Limits are those that an operator may change, with their units.
type Limits struct {
	CPU         Limit // percent of all processors that is busy; above
	Memory      Limit // percent that can be had; below
	DiskSpace   Limit // percent that is free; below
	DiskLatency Limit // seconds that a write takes on the average; above
	Temperature Limit // °C; above
	Clock       Limit // seconds from the middle of the machines' clocks; above

	NetworkLoss   Limit // percent of the frames sent to one peer; above
	CommitLatency Limit // seconds, of the slowest hundredth; above
	Lag           Limit // log entries behind the leader; above
}

// Change is an alarm that is raised or, with Raise false, ends.
type Change struct {
	Name     string
	Raise    bool
	Severity engine.Severity
	Detail   string
}

// Judge keeps the conditions of one Monitor. It belongs to one goroutine.
type Judge struct {
	limits     Limits
	conditions map[string]*condition // by name
}

// condition is one that was ever measured.
type condition struct {
	level
	kind  string
	round bool // measured in this look
}

// New returns a Judge that has seen nothing.
func New(l Limits) *Judge { return &Judge{limits: l, conditions: make(map[string]*condition)} }

// reading is one value as it is judged.
type reading struct {
	kind, subject string
	value         float64
	limit         Limit
	below         bool // bad is below the limit, not above
	detail        func() string
}

// look takes in the readings of one measurement, which covers the given kinds.
func (j *Judge) look(now time.Duration, readings []reading, kinds ...string) []Change {
	var changes []Change
	for i := range readings {
		r := &readings[i]
		name := r.kind
		if r.subject != "" {
			name += "@" + r.subject
		}
		c := j.conditions[name]
		if c == nil {
			c = &condition{kind: r.kind, level: level{clearAfter: calm}}
			j.conditions[name] = c
		}
		c.raiseAfter, c.round = r.limit.Hold, true
		bad, good := r.value > r.limit.Raise, r.value < r.limit.Clear
		if r.below {
			bad, good = r.value < r.limit.Raise, r.value > r.limit.Clear
		}
		if !bad && !good || math.IsNaN(r.value) {
			continue
		}
		switch c.look(now, bad) {
		case raised:
			changes = append(changes, Change{Name: name, Raise: true, Severity: alarm.Find(r.kind).Severity, Detail: r.detail()})
		case cleared:
			changes = append(changes, Change{Name: name})
		}
	}
	return append(changes, j.forget(now, kinds)...)
}

// forget looks at the conditions of these kinds that were not measured this time.
func (j *Judge) forget(now time.Duration, kinds []string) (changes []Change) {
	for _, kind := range kinds {
		for name, c := range j.conditions { // the order of what ends does not matter
			if c.kind != kind {
				continue
			}
			if c.round {
				c.round = false
				continue
			}
			if c.look(now, false) == cleared {
				changes = append(changes, Change{Name: name})
			}
			if !c.stands {
				delete(j.conditions, name)
			}
		}
	}
	return changes
}
