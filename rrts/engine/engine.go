package engine

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/rrts/engine/quarantine"
	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// Config describes an Engine. A zero field takes the default that its comment
// names, unless the comment says that it must be set.
type Config struct {
	// SFU is this SFU's number, 1 to 65535. Must be set.
	SFU uint16
	// Name, Type and Software are what the SFU says of itself to others.
	Name, Type, Software string
	// Incarnation numbers the lives of this SFU: higher at every start, so that an
	// answer to an earlier life is told from one to this.
	Incarnation uint64
	// Registry knows every service that this SFU's Components answer or call, and
	// the engine's own (enginepb.Schema). Must be set.
	Registry *message.Registry
	// Log gets what people should read. Default slog.Default().
	Log *slog.Logger
	// Clock is monotonic time since an arbitrary origin. Default: time since New.
	Clock func() time.Duration
	// Wall is the time of day, for records that people read. Default time.Now.
	Wall func() time.Time
	// Permit says whether SFU from, of the type that it announced (empty until it
	// did), may send that method here; if not, it gets Denied. It is called for
	// every request and notice from outside, from several goroutines. Default: all
	// may. What engines say to each other is not asked about.
	Permit func(from uint16, fromType string, service, method uint16) bool
	// Quarantine keeps requests that crash their Component. Default: memory, which a
	// restart of the process empties.
	Quarantine quarantine.Store
	// OnAlarm is told when an alarm is raised, gets more severe, or is cleared, in
	// order. It must not block nor call the engine.
	OnAlarm func(AlarmEvent)
	// DrainWithin bounds the whole of draining. Default 30 s.
	DrainWithin time.Duration
	// StopWithin bounds the stop of one Component; one that takes longer is left
	// behind, and Run says so. Default 10 s.
	StopWithin time.Duration
	// HangAfter is how long a Component may be busy with one batch before it counts
	// as hung. Default 10 s.
	HangAfter time.Duration
}

func (c *Config) fill() {
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Clock == nil {
		origin := time.Now()
		c.Clock = func() time.Duration { return time.Since(origin) }
	}
	if c.Wall == nil {
		c.Wall = time.Now
	}
	if c.Quarantine == nil {
		c.Quarantine = new(quarantine.Memory)
	}
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{{&c.DrainWithin, 30 * time.Second}, {&c.StopWithin, 10 * time.Second}, {&c.HangAfter, 10 * time.Second}} {
		if *f.field == 0 {
			*f.field = f.value
		}
	}
}

// validate reports every fault of a filled Config at once.
func (c *Config) validate() error {
	var faults []error
	check := func(ok bool, format string, a ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("engine: "+format, a...))
		}
	}
	check(c.SFU != 0, "SFU must be set")
	check(c.Registry != nil, "Registry must be set")
	check(c.Registry == nil || c.Registry.Service(enginepb.EngineService) != nil, "Registry must hold enginepb.Schema")
	check(c.DrainWithin > 0, "DrainWithin %v must be positive", c.DrainWithin)
	check(c.StopWithin > 0, "StopWithin %v must be positive", c.StopWithin)
	check(c.HangAfter >= 2*watchEvery, "HangAfter %v must be at least %v, twice the time between two looks", c.HangAfter, 2*watchEvery)
	return errors.Join(faults...)
}

// Engine runs Components and carries their messages. Use New, Add for each
// Component, then Run.
type Engine struct {
	cfg    Config
	clock  func() time.Duration
	born   time.Duration
	log    *slog.Logger
	alarms *alarmTable
	ward   *ward

	units     []*unit // in the order of start; fixed once Run begins
	byService atomic.Pointer[map[uint16]service]
	sites     sync.Mutex // held by who changes byService once Run has begun

	mu       sync.Mutex // guards what follows: one owner of the router at a time
	router   *router.Router
	armed    time.Duration // when the engine's loop wakes next
	watchers []*instance

	link     atomic.Pointer[link]
	peers    atomic.Pointer[map[uint16]traits] // by SFU
	backlog  backlog
	counters counters
	progress atomic.Uint64
	downBy   atomic.Int64 // on the engine's clock: when the next step down is late; 0 before
	draining atomic.Bool
	running  atomic.Bool

	rearm    chan struct{} // the loop must wake earlier
	shutdown chan struct{}
	stopOnce sync.Once
	fatal    chan error

	changeMu sync.Mutex
	change   chan struct{} // closed at the next change of a Component's readiness
}

// service is where requests for one service go.
type service struct {
	unit   *unit
	served *served
}

// counters count what nobody answers for.
type counters struct {
	malformed, misdirected, denied, unsent, blockedBytes, blockBytes atomic.Uint64
}

// New returns an Engine without Components.
func New(cfg Config) (*Engine, error) {
	cfg.fill()
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	e := &Engine{cfg: cfg, clock: cfg.Clock, born: cfg.Clock(), armed: never,
		log:   cfg.Log.With("sfu", cfg.SFU),
		rearm: make(chan struct{}, 1), shutdown: make(chan struct{}), fatal: make(chan error, 1), change: make(chan struct{})}
	e.byService.Store(&map[uint16]service{})
	e.router = router.New(router.Config{Self: cfg.SFU, Incarnation: cfg.Incarnation, Registry: cfg.Registry,
		Name: cfg.Name, Type: cfg.Type, Software: cfg.Software})
	e.alarms = newAlarmTable(cfg.Clock, e.log, cfg.OnAlarm)
	var err error
	if e.ward, err = newWard(cfg.Quarantine, cfg.Wall, e.alarms); err != nil {
		return nil, err
	}
	e.offerOwn()
	return e, nil
}

// Add makes a Component with construct and adds it; it is started after those
// that were added before, and stopped before them. construct is called again to
// make a new instance when one has failed. Add may be called until Run begins.
func (e *Engine) Add(construct func() (Component, error)) error { return e.add(construct, false) }

// AddApart is Add for a Component that the SFU is whole without: WaitReady does not wait
// for it.
func (e *Engine) AddApart(construct func() (Component, error)) error { return e.add(construct, true) }

func (e *Engine) add(construct func() (Component, error), apart bool) error {
	if e.running.Load() {
		return errors.New("engine: Add after Run")
	}
	if len(e.units) >= maxComponents {
		return fmt.Errorf("engine: there are already %d Components", len(e.units))
	}
	comp, err := construct()
	if err != nil {
		return fmt.Errorf("engine: %w", err)
	}
	u := &unit{engine: e, name: comp.Name(), make: construct, apart: apart, failures: make(chan failure, 8), now: make(chan struct{})}
	u.log = e.log.With("component", u.name)
	u.box = newMailbox(u.name, e.clock)
	if slices.ContainsFunc(e.units, func(o *unit) bool { return o.name == u.name }) {
		return fmt.Errorf("engine: there are two Components %s", u.name)
	}
	for _, s := range comp.Services() {
		n := s.Descriptor.Number
		if e.cfg.Registry.Service(n) == nil {
			return fmt.Errorf("engine: %s answers %s (%d), which the Registry does not know", u.name, s.Descriptor.Name, n)
		}
		if other, taken := (*e.byService.Load())[n]; taken {
			return fmt.Errorf("engine: %s and %s both answer %s (%d)", other.unit.name, u.name, s.Descriptor.Name, n)
		}
		x := newServed(s)
		u.services = append(u.services, x)
		e.serve(func(all map[uint16]service) { all[n] = service{unit: u, served: x} })
	}
	u.in = newInstance(u, comp)
	e.units = append(e.units, u)
	return nil
}

func newServed(s Service) *served {
	if s.Mailbox == 0 {
		s.Mailbox = DefaultMailbox
	}
	return &served{desc: s.Descriptor, bound: s.Mailbox, latency: make([]router.Histogram, len(s.Descriptor.Methods))}
}

// serve changes who answers which service: those who look it up take no lock.
func (e *Engine) serve(change func(all map[uint16]service)) {
	all := maps.Clone(*e.byService.Load())
	change(all)
	e.byService.Store(&all)
}

// LastError says that a stop would leave services without any instance.
type LastError struct {
	// Services by name.
	Services []string
}

func (e *LastError) Error() string {
	return fmt.Sprintf("engine: no other SFU is ready to answer %v; force the stop to stop nevertheless", e.Services)
}

// Shutdown makes Run drain and return, and does not wait for it. Unless force is
// set it refuses, with a *LastError, to stop the last provider of a service.
func (e *Engine) Shutdown(force bool) error {
	if !force {
		e.mu.Lock()
		last := e.router.LastOf()
		e.mu.Unlock()
		if len(last) > 0 {
			return &LastError{Services: last}
		}
	}
	e.stopOnce.Do(func() { close(e.shutdown) })
	return nil
}

// fail makes Run return err without draining.
func (e *Engine) fail(err error) {
	e.log.Error("Engine fails", "error", err)
	select {
	case e.fatal <- err:
	default: // one reason is enough
	}
}

// Progress rises as long as the engine makes real progress: its loop turns, the
// router can be entered, no Component has hung beyond what a restart cures, and a way
// down does not stand still.
// Whoever pings a watchdog must do so only when it has risen.
func (e *Engine) Progress() uint64 { return e.progress.Load() }

// Caller returns what typed clients call through, for those who run the engine.
// A `to` other than 0 names the SFU to ask.
func (e *Engine) Caller(to uint16) message.Caller { return caller{engine: e, to: to} }
