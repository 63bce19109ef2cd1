package engine

import (
	"context"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/message"
)

// instance is one life of a Component, and the Host of that life.
type instance struct {
	unit *unit
	comp Component
	log  *slog.Logger

	ctx    context.Context // of Start and Go
	cancel context.CancelFunc
	loop   chan struct{} // closed when the Component's goroutine has ended; nil until it starts
	busy   atomic.Int64  // since when the Component is being run, nanoseconds; 0 while it waits
	dead   atomic.Bool   // failed or stopped: nothing of it counts any more
	lost   bool          // hangs on its way up
	watch  atomic.Pointer[func(PeerEvent)]

	mu     sync.Mutex
	pulses []*pulse
	loops  map[string]int // goroutines of Go that run, by name
	gone   chan struct{}  // closed when there is none left; nil unless somebody waits
}

var _ Host = (*instance)(nil)

// pulse is a loop that must show life.
type pulse struct {
	name  string
	limit time.Duration
	last  atomic.Int64 // nanoseconds of the engine's clock
}

// failure is why an instance came to its end.
type failure struct {
	in      *instance
	reason  string
	stack   string
	serving bool // it failed in Serve: only the batch can be the cause
	hung    bool // its goroutine will not end
	wanted  bool // it asked for it
}

func newInstance(u *unit, comp Component) *instance {
	in := &instance{unit: u, comp: comp, log: u.log, loops: make(map[string]int)}
	in.ctx, in.cancel = context.WithCancel(context.Background())
	return in
}

// fail reports the end of in, once.
func (in *instance) fail(reason, stack string, serving bool) {
	in.failWith(failure{in: in, reason: reason, stack: stack, serving: serving})
}

func (in *instance) failWith(f failure) {
	if in.dead.CompareAndSwap(false, true) {
		in.unit.failures <- f
	}
}

// run is the Component's own goroutine: all that the engine calls while the
// Component runs is called here.
func (in *instance) run() {
	serving := false
	defer close(in.loop)
	defer func() {
		if v := recover(); v != nil {
			in.fail(fmt.Sprintf("panic: %v", v), string(debug.Stack()), serving)
		}
	}()
	var l load
	for in.unit.box.take(in, &l) {
		in.busy.Store(int64(max(1, in.Now())))
		for i := range l.done {
			l.done[i].done(l.done[i].reply)
		}
		if watch := in.watch.Load(); watch != nil {
			for i := range l.events {
				(*watch)(l.events[i])
			}
		}
		if len(l.batch) > 0 {
			serving = true
			in.comp.Serve(l.batch)
			serving = false
		}
		in.busy.Store(0)
	}
}

// hear hands a notice to the Component where it arrived, if it takes it.
func (in *instance) hear(r *request) (taken bool) {
	h, hears := in.comp.(Hearer)
	if !hears || in.dead.Load() {
		return false
	}
	defer func() {
		if v := recover(); v != nil {
			taken = true
			in.fail(fmt.Sprintf("panic: %v", v), string(debug.Stack()), false)
		}
	}()
	return h.Hear(r)
}

// look fails in if it does not show life. What came before `from` does not count:
// this process itself did not run.
func (in *instance) look(now, from, hangAfter time.Duration) {
	if since := in.busy.Load(); since != 0 && now-max(time.Duration(since), from) > hangAfter {
		in.failWith(failure{in: in, reason: fmt.Sprintf("hung: busy for more than %v", hangAfter), serving: true, hung: true})
		return
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	for _, p := range in.pulses {
		if now-max(time.Duration(p.last.Load()), from) > p.limit {
			in.fail(fmt.Sprintf("hung: no heartbeat of %s for more than %v", p.name, p.limit), "", false)
			return
		}
	}
}

// SFU implements Host.
func (in *instance) SFU() uint16 { return in.unit.engine.cfg.SFU }

// Log implements Host.
func (in *instance) Log() *slog.Logger { return in.log }

// Now implements Host.
func (in *instance) Now() time.Duration { return in.unit.engine.clock() }

// Ready implements Host.
func (in *instance) Ready(ready bool) {
	if !in.dead.Load() {
		in.unit.setReady(in, ready)
	}
}

// Hold implements Host.
func (in *instance) Hold(service, holder uint16, term uint64) {
	if !in.dead.Load() {
		w := in.unit.engine.begin()
		w.router.Hold(w.now, service, holder, term, &w.out)
		w.end()
	}
}

// Call implements Host.
func (in *instance) Call(c Call) {
	if !in.dead.Load() {
		in.unit.engine.call(&pending{in: in, done: c.Done}, &c)
	}
}

// Caller implements Host.
func (in *instance) Caller(to uint16) message.Caller {
	return caller{engine: in.unit.engine, to: to}
}

// Notify implements Host.
func (in *instance) Notify(n Notice) error {
	if in.dead.Load() {
		return message.Errorf(message.Unavailable, "engine: %s was stopped", in.unit.name)
	}
	return in.unit.engine.notify(&n)
}

// Peers implements Host.
func (in *instance) Peers() []Peer { return in.unit.engine.Peers() }

// WatchPeers implements Host.
func (in *instance) WatchPeers(f func(PeerEvent)) {
	in.watch.Store(&f)
	in.unit.engine.addWatcher(in)
}

// Alarm implements Host.
func (in *instance) Alarm(name string, severity Severity, detail string) {
	in.unit.engine.alarms.raise(name, severity, detail)
}

// ClearAlarm implements Host.
func (in *instance) ClearAlarm(name string) { in.unit.engine.alarms.clear(name) }

// Go implements Host.
func (in *instance) Go(name string, f func(ctx context.Context)) {
	in.mu.Lock()
	in.loops[name]++
	in.mu.Unlock()
	go func() {
		defer in.left(name)
		defer func() {
			if v := recover(); v != nil {
				in.fail(fmt.Sprintf("panic in %s: %v", name, v), string(debug.Stack()), false)
			}
		}()
		f(in.ctx)
	}()
}

func (in *instance) left(name string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.loops[name]--; in.loops[name] == 0 {
		delete(in.loops, name)
	}
	if len(in.loops) == 0 && in.gone != nil {
		close(in.gone)
		in.gone = nil
	}
}

// quiet returns a channel that is closed when no goroutine of Go runs.
func (in *instance) quiet() <-chan struct{} {
	in.mu.Lock()
	defer in.mu.Unlock()
	gone := make(chan struct{})
	if len(in.loops) == 0 {
		close(gone)
	} else {
		in.gone = gone
	}
	return gone
}

// Pulse implements Host.
func (in *instance) Pulse(name string, limit time.Duration) func() {
	p := &pulse{name: name, limit: limit}
	p.last.Store(int64(in.Now()))
	in.mu.Lock()
	in.pulses = append(in.pulses, p)
	in.mu.Unlock()
	return func() { p.last.Store(int64(in.Now())) }
}

// Fail implements Host.
func (in *instance) Fail(reason string) { in.fail(reason, "", false) }

// Fatal implements Host.
func (in *instance) Fatal(err error) {
	in.unit.engine.fail(fmt.Errorf("engine: %s: %w", in.unit.name, err))
}

// Renew implements Host.
func (in *instance) Renew(reason string) { in.failWith(failure{in: in, reason: reason, wanted: true}) }

// Connect implements Host.
func (in *instance) Connect(t Transport) Inlet { return in.unit.engine.connect(in, t) }
