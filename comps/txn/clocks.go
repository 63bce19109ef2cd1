package txn

import (
	"fmt"
	"time"

	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/rrts/engine"
)

const (
	// clockInterval is how often a leader asks for the other SFUs' clocks, at most, and
	// clockIntervalBehind how often the others do: what they say is at hand when a member
	// begins to lead.
	clockInterval       = 100 * time.Millisecond
	clockIntervalBehind = 500 * time.Millisecond
	// clockLag is how long asking may take before what it tells is of no use.
	clockLag = 50 * time.Millisecond
	// clockHold is how long clocks must be apart for the alarm, and together again for its
	// end: one that was set on all machines is told within moments.
	clockHold = time.Second

	alarmClock = "clock-unsynced"
)

// clocksDue reports whether the other members' wall clocks are to be asked for.
func (l *loop) clocksDue(now time.Duration) bool {
	every := clockInterval
	if !l.leading {
		every = clockIntervalBehind
	}
	return l.c.cfg.Clocks != nil && !l.halted && now-l.clocksAsked >= every
}

// askClocks tells the replica the other members' wall clocks.
func (l *loop) askClocks(now time.Duration) {
	c := l.c
	l.clocksAsked = now
	told := l.clocksTold[:0]
	asked := c.host.Now()
	c.cfg.Clocks(func(sfu uint16, unixNano int64, within time.Duration) {
		told = append(told, replica.Clock{ID: uint64(sfu), Wall: uint64(max(unixNano, 0)), Err: within})
	})
	l.clocksTold = told
	now = c.host.Now()
	took := now - asked
	if took > clockLag {
		return // the process was paused: the next ones
	}
	for i := range told {
		told[i].Wall += uint64(took / 2)
		told[i].Err += took / 2
	}
	l.replica.Clocks(now, c.cfg.Wall(), told)
}

// clockWatch raises and clears the alarm of clocks that do not agree.
type clockWatch struct {
	raised bool
	well   time.Duration // since when they agree while the alarm stands; 0: they do not
}

// look is called at every tick, with what the replica says of the clocks.
func (w *clockWatch) look(host alarms, now time.Duration, leading bool, state replica.ClockState, lasting, off time.Duration) {
	bad := state == replica.ClockWrong || state == replica.ClockNoMajority && leading
	switch {
	case !bad && !w.raised:
	case !bad && w.well == 0:
		w.well = now
	case !bad && now-w.well >= clockHold:
		*w = clockWatch{}
		host.ClearAlarm(alarmClock)
	case bad:
		w.well = 0
		if !w.raised && lasting >= clockHold {
			w.raised = true
			host.Alarm(alarmClock, clockSeverity(state), clockDetail(state, off))
		}
	}
}

func clockSeverity(state replica.ClockState) engine.Severity {
	if state == replica.ClockNoMajority {
		return engine.Critical
	}
	return engine.Warning
}

func clockDetail(state replica.ClockState, off time.Duration) string {
	if state == replica.ClockNoMajority {
		return fmt.Sprintf("no majority of the voters' clocks is within %v of each other, so no transaction is stamped; set them right, as by systemd-timesyncd on every machine", replica.MaxClockSkew)
	}
	side := "ahead of"
	if off < 0 {
		side = "behind"
	}
	return fmt.Sprintf("the clock of this machine is %v %s the other SFUs'; this SFU does not lead until it is set right", off.Abs().Round(time.Millisecond), side)
}
