package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/message"
)

// state is where a Component stands in its life.
type state int32

const (
	stateNew         state = iota // made, nothing called yet
	stateProvisioned              // Provision returned, perhaps Validate too
	stateStarting                 // Start was called; not ready yet
	stateReady                    // it said so
	stateDraining                 // Drain was called
	stateFailed                   // waits to be made anew
	stateStopped                  // the end
)

func (s state) String() string {
	return [...]string{"new", "provisioned", "starting", "ready", "draining", "failed", "stopped"}[s]
}

// unit is a Component through all its lives.
type unit struct {
	engine   *Engine
	name     string
	log      *slog.Logger
	make     func() (Component, error)
	apart    bool      // the SFU is whole without it
	services []*served // changed under mu once Run has begun
	box      *mailbox
	failures chan failure
	now      chan struct{} // ends a rest

	// Written by whoever leads the unit through its life: Engine.Run, and between
	// start and stop the supervisor.
	in       *instance         // nil between two lives
	inARow   int               // failures without a stable time between them
	hanging  []<-chan struct{} // goroutines left behind; closed when one ends after all
	restarts atomic.Uint32
	mu       sync.Mutex // keeps mailbox and router of one mind about readiness
	state    atomic.Int32
	current  atomic.Pointer[instance] // in while it runs, for those who watch
	started  atomic.Int64             // nanoseconds; of the current instance
	failure  atomic.Pointer[string]   // why it failed last
}

// lastFailure is why u failed last, as long as it is not well again.
func (u *unit) lastFailure() string {
	reason := u.failure.Load()
	if reason == nil || state(u.state.Load()) == stateReady && u.engine.clock()-time.Duration(u.started.Load()) > stableAfter {
		return ""
	}
	return *reason
}

// hurry ends the rest before the next life. It reports false if u does not rest.
func (u *unit) hurry() bool {
	select {
	case u.now <- struct{}{}:
		return true
	default:
		return state(u.state.Load()) == stateFailed
	}
}

func (u *unit) set(s state) { u.state.Store(int32(s)) }

// guard runs f and turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic: %v\n%s", v, debug.Stack())
		}
	}()
	return f()
}

// within runs f on a goroutine of its own, so that a hanging one holds nobody up
// longer than until ctx ends, and then limit.
func within(ctx context.Context, limit time.Duration, f func() error) error {
	done := make(chan error, 1)
	go func() { done <- guard(f) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return fmt.Errorf("%w after %v", errHangs, limit)
	}
}

// ended is a context that has.
var ended = func() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}()

var errHangs = errors.New("still running")

// construct makes a new instance.
func (u *unit) construct(context.Context) error {
	var comp Component
	err := guard(func() (err error) { comp, err = u.make(); return err })
	if err != nil {
		return err
	}
	u.in = newInstance(u, comp)
	u.set(stateNew)
	return nil
}

// lead calls one of the functions that lead a Component up. If ctx ends and the
// function does not, it is left behind; the Component can then not even be stopped.
func (u *unit) lead(ctx context.Context, what string, f func() error) error {
	err := within(ctx, u.engine.cfg.StopWithin, f)
	if err != nil {
		u.in.lost = errors.Is(err, errHangs)
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func (u *unit) provision(ctx context.Context) error {
	in := u.in
	if err := u.lead(ctx, "provision", func() error { return in.comp.Provision(in) }); err != nil {
		return err
	}
	u.set(stateProvisioned)
	return nil
}

func (u *unit) validate(ctx context.Context) error {
	return u.lead(ctx, "validate", u.in.comp.Validate)
}

// start starts the instance and opens its mailbox. A Component may say that it is
// ready from within Start; it counts when Start has returned.
func (u *unit) start(ctx context.Context) error {
	in := u.in
	u.set(stateStarting)
	u.box.open(in)
	if err := u.lead(ctx, "start", func() error { return in.comp.Start(in.ctx) }); err != nil {
		return err
	}
	u.started.Store(int64(in.Now()))
	in.loop = make(chan struct{})
	go in.run()
	u.mu.Lock()
	defer u.mu.Unlock()
	u.current.Store(in)
	u.tellRouterLocked(true, u.box.status().ready)
	return nil
}

// setReady takes in what the Component says.
func (u *unit) setReady(in *instance, ready bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.box.setReady(in, ready)
	if u.current.Load() == in { // before, start has yet to tell
		u.tellRouterLocked(true, ready)
	}
}

// tellRouterLocked says what this SFU now offers of u's services.
func (u *unit) tellRouterLocked(offered, ready bool) {
	w := u.engine.begin()
	for _, s := range u.services {
		if s.site {
			w.router.LocalSite(w.now, s.desc, offered, ready, &w.out)
		} else {
			w.router.Local(w.now, s.desc.Number, offered, ready, &w.out)
		}
	}
	w.end()
	if ready {
		u.state.CompareAndSwap(int32(stateStarting), int32(stateReady))
	} else {
		u.state.CompareAndSwap(int32(stateReady), int32(stateStarting))
	}
	u.engine.changed()
}

// drain lets the Component finish: by policy it takes nothing new, and it returns
// when nothing is in flight any more, or when ctx ends.
func (u *unit) drain(ctx context.Context) {
	in := u.in
	if in == nil || in.dead.Load() || u.current.Load() != in {
		return
	}
	u.set(stateDraining)
	w := u.engine.begin()
	for _, s := range u.all() {
		w.router.LocalDraining(s.desc.Number)
	}
	w.end()
	u.box.drain()
	if err := within(ctx, 0, func() error { return in.comp.Drain(ctx) }); err != nil {
		u.log.Warn("Component did not drain", "error", err)
	}
	u.box.wait(ctx, in.loop)
}

// halt ends the life of the instance, wherever it stands, and returns what it had
// taken and not answered. hung says that its goroutine need not be waited for. An
// error says that something else of it still runs.
func (u *unit) halt(hung bool) (current, before []*request, err error) {
	in := u.in
	if in == nil {
		return nil, nil, nil
	}
	in.dead.Store(true)
	u.in = nil
	u.mu.Lock()
	u.current.Store(nil)
	u.tellRouterLocked(false, false)
	u.mu.Unlock()
	current, before = u.box.abandon(in)
	u.engine.disconnect(in)
	u.engine.removeWatcher(in)
	limit := u.engine.cfg.StopWithin
	if in.loop != nil && (hung || !closed(in.loop, limit)) {
		u.hanging = append(u.hanging, in.loop)
		u.log.Error("Component's goroutine hangs and is left behind")
	}
	in.cancel()
	if in.lost {
		return current, before, fmt.Errorf("stop: %w: it was left behind on its way up", errHangs)
	}
	err = within(ended, limit, func() error { in.comp.Stop(); return nil })
	if err == nil && !closed(in.quiet(), limit) {
		in.mu.Lock()
		err = fmt.Errorf("%w after Stop: goroutines %v", errHangs, in.loops)
		in.mu.Unlock()
	}
	if err != nil {
		err = fmt.Errorf("stop: %w", err)
	}
	return current, before, err
}

// closed reports whether c is closed within limit.
func closed(c <-chan struct{}, limit time.Duration) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c:
		return true
	case <-timer.C:
		return false
	}
}

// end is the end of u for good: what still waits is refused, and what was taken
// and not answered has an unknown outcome.
func (u *unit) end() error {
	current, before, err := u.halt(false)
	for _, r := range append(current, before...) {
		r.Fail(message.Unknown, fmt.Sprintf("engine: %s was stopped before it answered", u.name))
	}
	for _, r := range u.box.empty() {
		r.Fail(message.Draining, fmt.Sprintf("engine: %s was stopped", u.name))
	}
	u.set(stateStopped)
	if n := u.leftBehind(); n > 0 {
		err = errors.Join(err, fmt.Errorf("%w: %d goroutines that were left behind", errHangs, n))
	}
	return err
}

// leftBehind counts the goroutines that hang still.
func (u *unit) leftBehind() int {
	u.hanging = slices.DeleteFunc(u.hanging, func(c <-chan struct{}) bool {
		select {
		case <-c:
			return true
		default:
			return false
		}
	})
	return len(u.hanging)
}
