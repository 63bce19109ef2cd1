package engine

import (
	"context"
	"fmt"
	"time"

	"virtualservicesinc.com/rrts/engine/quarantine"
	"virtualservicesinc.com/rrts/message"
)

// supervise makes the Component anew whenever it fails, until ctx ends.
func (u *unit) supervise(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case f := <-u.failures:
			if f.in != u.in {
				continue // of an earlier life
			}
			if f.wanted {
				u.renew(f)
			} else {
				u.failed(f)
			}
			for at := f.wanted; u.in == nil; at = false {
				if !at && !u.rest(ctx) {
					return
				}
				if err := u.revive(ctx); err != nil {
					u.failedToStart(err)
				}
			}
		}
	}
}

func (u *unit) alarmName() string { return "component-failed@" + u.name }

// failed buries the instance: what it had taken is given again, answered, or put
// into quarantine.
func (u *unit) failed(f failure) {
	if f.in.Now()-time.Duration(u.started.Load()) > stableAfter {
		u.inARow = 0
	}
	u.inARow++
	u.restarts.Add(1)
	u.log.Error("Component failed", "reason", f.reason, "in_a_row", u.inARow, "stack", f.stack)
	u.raise(f.reason)
	u.set(stateFailed)
	current, before, err := u.halt(f.hung)
	if err != nil {
		u.engine.fail(fmt.Errorf("engine: %s failed (%s) and could not be stopped: %w", u.name, f.reason, err))
	}
	if n := u.leftBehind(); n >= maxAbandoned {
		u.engine.fail(fmt.Errorf("engine: %w: %d goroutines of %s", errHangs, n, u.name))
	}
	suspects, others := current, before
	if !f.serving { // any of them may be the cause
		suspects, others = append(before, current...), nil
	}
	u.dispose(suspects, others, f)
	u.set(stateFailed)
}

// renew ends the life of an instance that asked for it. What it had taken is given to
// the next one, or has an unknown outcome.
func (u *unit) renew(f failure) {
	u.log.Info("Component is made anew", "reason", f.reason)
	current, before, err := u.halt(false)
	if err != nil {
		u.engine.fail(fmt.Errorf("engine: %s was to be made anew (%s) and could not be stopped: %w", u.name, f.reason, err))
	}
	u.dispose(nil, append(current, before...), f)
	u.set(stateFailed)
}

func (u *unit) raise(reason string) {
	u.failure.Store(&reason)
	severity := Warning
	if u.inARow >= criticalAfter {
		severity = Critical
	}
	u.engine.alarms.raise(u.alarmName(), severity, reason)
}

// dispose decides what becomes of the requests that a failed instance had taken.
func (u *unit) dispose(suspects, others []*request, f failure) {
	var again, next []*request
	counted := make(map[string]bool)
	for _, r := range suspects {
		if r.answered.Load() {
			continue
		}
		switch held, err := u.engine.ward.crashed(u.engine.clock(), r, u.name, f, counted); {
		case err != nil:
			u.log.Error("Request crashed its Component too often and cannot be kept", "error", err, "request", r.env.String())
			r.Fail(message.Quarantined, fmt.Sprintf("engine: it crashed %s %d times, and cannot be kept: %v", u.name, quarantine.Limit, err))
		case held != "":
			u.log.Error("Request is in quarantine", "id", held, "request", r.env.String())
			r.Fail(message.Quarantined, fmt.Sprintf("engine: it crashed %s %d times and is held as %s", u.name, quarantine.Limit, held))
		case r.notice():
			u.log.Warn("Notice was lost in a crash", "request", r.env.String())
		case r.idempotent():
			again = append(again, r)
		default:
			r.Fail(message.Unknown, fmt.Sprintf("engine: %s failed with it: %s", u.name, f.reason))
		}
	}
	for _, r := range others {
		switch {
		case r.answered.Load(), r.notice():
		case r.idempotent():
			next = append(next, r)
		default:
			r.Fail(message.Unknown, fmt.Sprintf("engine: %s ended before it answered: %s", u.name, f.reason))
		}
	}
	for _, r := range append(again, next...) {
		r.maybe.Store(true)
	}
	u.box.again(again, next)
}

// rest waits as long as the failures in a row demand. It reports false when ctx
// ended.
func (u *unit) rest(ctx context.Context) bool {
	timer := time.NewTimer(backoff(u.inARow))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case <-u.now:
	}
	return true
}

// backoff is the pause after so many failures in a row.
func backoff(inARow int) time.Duration {
	return min(restartFirst<<min(max(inARow-1, 0), 20), restartMost)
}

// revive leads a new instance up to Start.
func (u *unit) revive(ctx context.Context) error {
	steps := []func(context.Context) error{u.construct, u.provision, u.validate, u.start}
	for _, step := range steps {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := step(ctx); err != nil {
			return err
		}
	}
	u.log.Info("Component runs again", "restarts", u.restarts.Load())
	return nil
}

// failedToStart buries an instance that did not get as far as running: it cannot
// have taken anything.
func (u *unit) failedToStart(cause error) {
	u.inARow++
	u.log.Error("Component could not be restarted", "error", cause, "in_a_row", u.inARow)
	u.raise("restart: " + cause.Error())
	if u.in != nil {
		_, _, err := u.halt(false)
		if err != nil {
			u.engine.fail(fmt.Errorf("engine: %s could not be restarted (%w) nor stopped: %w", u.name, cause, err))
		}
	}
	u.set(stateFailed)
}

// look is called every watchEvery: it fails an instance that shows no life, and
// forgets the failures of one that does.
func (u *unit) look(now, from time.Duration) {
	in := u.current.Load()
	if in == nil {
		return
	}
	in.look(now, from, u.engine.cfg.HangAfter)
	u.box.nudge()
	if now-time.Duration(u.started.Load()) > stableAfter {
		u.engine.alarms.clear(u.alarmName())
	}
}
