package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// Run leads the Components up, keeps them running until ctx ends or Shutdown is
// called, and leads them down again: what this SFU is about to do is announced, then
// the Components drain and stop in the reverse order of their start. It returns nil
// after a clean stop. When a Component cannot be started at all, or says that the
// engine must end, the others are stopped without draining and the error says why.
// Run is called once.
func (e *Engine) Run(ctx context.Context) error {
	if !e.running.CompareAndSwap(false, true) {
		return errors.New("engine: Run was called before")
	}
	var loop sync.WaitGroup
	loopCtx, endLoop := context.WithCancel(context.Background())
	loop.Go(func() { e.loop(loopCtx) })
	defer func() { endLoop(); loop.Wait() }()

	var supervisors sync.WaitGroup
	watchCtx, endWatch := context.WithCancel(context.Background())
	err := e.bringUp(ctx, func(u *unit) { supervisors.Go(func() { u.supervise(watchCtx) }) })
	clean := err == nil
	if clean {
		e.log.Info("Engine runs", "components", len(e.units))
		select {
		case <-ctx.Done():
		case <-e.shutdown:
		case err = <-e.fatal:
			clean = false
		}
	} else if ctx.Err() != nil {
		err = nil // told to stop on the way up
	}
	e.stepDown()
	if clean {
		e.announceDrain()
	}
	endWatch()
	supervisors.Wait()
	return errors.Join(err, e.goDown(clean))
}

// bringUp provisions all, then validates all, then starts one after the other, so
// that a fault of configuration is found before anything runs.
func (e *Engine) bringUp(ctx context.Context, started func(*unit)) error {
	phases := []struct {
		step func(*unit, context.Context) error
		then func(*unit)
	}{
		{(*unit).provision, func(*unit) {}},
		{(*unit).validate, func(*unit) {}},
		{(*unit).start, started},
	}
	for _, p := range phases {
		var faults []error
		for _, u := range e.units {
			if err := ctx.Err(); err != nil {
				return err
			}
			if err := p.step(u, ctx); err != nil {
				faults = append(faults, fmt.Errorf("engine: %s: %w", u.name, err))
				continue
			}
			p.then(u)
		}
		if len(faults) > 0 {
			return errors.Join(faults...)
		}
	}
	return nil
}

// announceDrain tells the cluster, before anything is refused.
func (e *Engine) announceDrain() {
	e.draining.Store(true)
	w := e.begin()
	last := w.router.LastOf()
	w.router.Drain(&w.out)
	w.end()
	if len(last) > 0 {
		e.log.Warn("The last instance of a service stops", "services", last)
	}
	e.log.Info("Engine drains")
}

// goDown ends every Component, in the reverse order of start.
func (e *Engine) goDown(drain bool) error {
	var faults []error
	ctx, cancel := context.WithTimeout(context.Background(), e.cfg.DrainWithin)
	defer cancel()
	for _, u := range slices.Backward(e.units) {
		e.stepDown()
		if drain {
			u.drain(ctx)
			if l := e.link.Load(); l != nil && l.in == u.in {
				e.farewell()
			}
		}
		if err := u.end(); err != nil {
			faults = append(faults, fmt.Errorf("engine: %s: %w", u.name, err))
		}
	}
	w := e.begin()
	w.router.Close(w.now, &w.out)
	w.end()
	e.log.Info("Engine stopped")
	return errors.Join(faults...)
}

// stepDown takes note that the way down goes on. The loop turns until its end, so it
// alone would not show that a Component which cannot even be stopped holds it up; each
// step has the time of a whole drain and of all that bounds the stop of a Component.
func (e *Engine) stepDown() {
	e.downBy.Store(int64(e.clock() + e.cfg.DrainWithin + 4*e.cfg.StopWithin))
}

// farewell is the last thing before the interconnect is cut: a question to each
// peer on the lane of requests. Once a peer has answered, it has had every answer
// that was sent to it, and we have refused every request that it sent before it
// knew that nobody answers here any more; those go elsewhere instead of being lost
// with us.
func (e *Engine) farewell() {
	var asked []*pending
	for _, peer := range e.Peers() {
		p := &pending{wait: make(chan Reply, 1)}
		e.call(p, &Call{Service: enginepb.EngineService, Method: enginepb.EngineStatusMethod, Target: peer.SFU, Timeout: farewellWithin})
		asked = append(asked, p)
	}
	for _, p := range asked {
		<-p.wait
	}
}

// loop is the engine's own goroutine: it ends what has expired, tries the backlog
// again, and watches the Components.
func (e *Engine) loop(ctx context.Context) {
	sleep := time.NewTimer(watchEvery)
	defer sleep.Stop()
	look := e.clock() + timer.Next(watchEvery)
	awake := e.clock() // since when this process has run without a pause
	for {
		now := e.clock()
		if now >= look {
			if now-look > pausedFor {
				e.log.Warn("This process did not run", "for", now-look)
				awake = now
			}
			for _, u := range e.units {
				u.look(now, awake)
			}
			if by := e.downBy.Load(); by == 0 || now < time.Duration(by) {
				e.progress.Add(1)
			}
			e.alarms.settle()
			look = now + timer.Next(watchEvery)
		}
		wake := look
		if e.backlog.flush(e.transport()) {
			wake = min(wake, now+backlogEvery)
		}
		w := e.begin()
		w.router.Tick(now, &w.out)
		if next, waiting := w.router.Next(); waiting {
			wake = min(wake, next)
		}
		e.armed = wake
		w.end()
		sleep.Reset(max(wake-e.clock(), 0))
		select {
		case <-ctx.Done():
			return
		case <-sleep.C:
		case <-e.rearm:
		}
	}
}

// changed wakes those who wait for a change of readiness.
func (e *Engine) changed() {
	e.changeMu.Lock()
	defer e.changeMu.Unlock()
	close(e.change)
	e.change = make(chan struct{})
}

// nextChange is closed at the next change of a Component's readiness.
func (e *Engine) nextChange() <-chan struct{} {
	e.changeMu.Lock()
	defer e.changeMu.Unlock()
	return e.change
}

// WaitReady returns nil when every Component is ready that was not added apart, or
// ctx's error.
func (e *Engine) WaitReady(ctx context.Context) error {
	for {
		change := e.nextChange()
		if !slices.ContainsFunc(e.units, func(u *unit) bool { return !u.apart && state(u.state.Load()) != stateReady }) {
			return nil
		}
		select {
		case <-change:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
