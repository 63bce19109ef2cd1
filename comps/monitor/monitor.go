package monitor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"virtualservicesinc.com/comps/monitor/hardware"
	"virtualservicesinc.com/comps/monitor/judge"
	"virtualservicesinc.com/comps/monitor/mail"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

const (
	// pulseEvery, sampleEvery and machineEvery are the times between two looks: what
	// people would notice at once, what moves alarms of half a minute, and what is slow.
	// All together cost about a thousandth of a core.
	pulseEvery   = time.Second
	sampleEvery  = 5 * time.Second
	machineEvery = 10 * time.Second
	// freshFor is how old what is answered may be.
	freshFor = 500 * time.Millisecond
	// maxAsking bounds those who wait for the status.
	maxAsking = 64
	// testFor is how long the alarm of a trial stands, if nobody says, and maxTestFor how
	// long at most: who tries forgets.
	testFor    = time.Minute
	maxTestFor = time.Hour
	testAlarm  = "alarm-test"
	// testSubject tells an alarm that is tried from a real one of its kind.
	testSubject = "@test"
)

// Config describes a Monitor.
type Config struct {
	// Engine is the view of itself of the engine that the Monitor watches. Must be set.
	Engine func() enginepb.EngineStatus
	// Progress is the engine's. Must be set.
	Progress func() uint64
	// Alarms are those that stand. Must be set.
	Alarms func() []engine.Alarm
	// Book is told of the same engine's alarms. Must be set.
	Book *Book
	// Networks says how the interconnect is doing; nil where there is none. It may take
	// a moment.
	Networks func() []monitorpb.NetworkStatus
	// Replica and Gateway say what this SFU runs, and the Monitor asks.
	Replica, Gateway bool
	// Machine is the machine's name, and Dirs are where its SFUs keep their state.
	Machine string
	Dirs    []string
	// Watch reports whether this SFU is the one that watches the machine; it tries to
	// become that. nil means it is.
	Watch func() bool
	// Backup says what is missing of this machine's backups, in words for people; empty
	// when nothing is. nil where nobody can say.
	Backup func() string
	// Watchdog says how this machine's hardware watchdog is. nil where nobody can say,
	// and so is what it returns.
	Watchdog func() *monitorpb.WatchdogStatus
	// Post is the mail that goes out about alarms; nil for none.
	Post *Post
	// Limits say when alarms are raised.
	Limits judge.Limits
	// Proc and Sys are where these file systems are. Default /proc and /sys.
	Proc, Sys string
	// Serve, if not nil, offers the figures to others until ctx ends; it is given what
	// Status would answer now.
	Serve func(ctx context.Context, status func(context.Context) (*monitorpb.MonitorStatus, error)) error
}

// validate reports every fault at once.
func (c *Config) validate() error {
	var faults []error
	for _, f := range []struct {
		missing bool
		name    string
	}{{c.Engine == nil, "Engine"}, {c.Progress == nil, "Progress"}, {c.Alarms == nil, "Alarms"}, {c.Book == nil, "Book"}} {
		if f.missing {
			faults = append(faults, fmt.Errorf("monitor: Config.%s must be set", f.name))
		}
	}
	return errors.Join(faults...)
}

// Monitor is the Component.
type Monitor struct {
	cfg  Config
	host engine.Host
	asks chan func(*monitorpb.MonitorStatus) // of those who want the status

	mu      sync.Mutex // guards what follows
	machine *monitorpb.MachineStatus
	clocks  []float64                // other machines' clocks less this one's, seconds
	blind   [2]string                // what could not be read: of the process, of the machine
	tests   map[string]time.Duration // alarms that stand for trial, and when they end
	raised  map[string]bool          // alarms of this Monitor that stand
	stopped bool
}

var _ engine.Component = (*Monitor)(nil)

// New returns a Monitor.
func New(cfg Config) (*Monitor, error) {
	if cfg.Watch == nil {
		cfg.Watch = func() bool { return true }
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if cfg.Post != nil && cfg.Post.Send == nil {
		post := *cfg.Post
		post.Send = mail.Send
		cfg.Post = &post
	}
	return &Monitor{cfg: cfg, asks: make(chan func(*monitorpb.MonitorStatus), maxAsking), raised: map[string]bool{}, tests: map[string]time.Duration{}}, nil
}

// Name implements engine.Component.
func (m *Monitor) Name() string { return "monitor" }

// Services implements engine.Component.
func (m *Monitor) Services() []engine.Service {
	return []engine.Service{{Descriptor: &monitorpb.MonitorDescriptor}}
}

// Provision implements engine.Component.
func (m *Monitor) Provision(h engine.Host) error { m.host = h; return nil }

// Validate implements engine.Component; New has done it.
func (m *Monitor) Validate() error { return nil }

// Start implements engine.Component.
func (m *Monitor) Start(context.Context) error {
	m.host.Go("pulse", m.pulse)
	m.host.Go("sampler", newSampler(m).run)
	m.host.Go("machine", m.watchMachine)
	m.host.Go("book", func(ctx context.Context) { m.cfg.Book.run(ctx, m.wrote()) })
	if m.cfg.Post != nil {
		m.host.Go("mail", m.deliver)
	}
	if m.cfg.Serve != nil {
		m.host.Go("metrics", func(ctx context.Context) {
			if err := m.cfg.Serve(ctx, m.status); err != nil && ctx.Err() == nil {
				m.host.Log().Error("the figures are not offered", "err", err)
			}
		})
	}
	m.host.Ready(true)
	return nil
}

// wrote returns what is told of the book's writing: the first of several failures is
// logged.
func (m *Monitor) wrote() func(error) {
	failed := false
	return func(err error) {
		if err != nil && !failed {
			m.host.Log().Warn("the book of alarms", "err", err)
		}
		failed = err != nil
	}
}

// Drain implements engine.Component: nothing is ever in flight.
func (m *Monitor) Drain(context.Context) error { return nil }

// Stop implements engine.Component; the goroutines end with their context. Nobody looks
// any more whether a condition is over: its alarm ends.
func (m *Monitor) Stop() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.stopped = true
	for name := range m.raised {
		m.host.ClearAlarm(name)
	}
	clear(m.raised)
}

// Serve implements engine.Component.
func (m *Monitor) Serve(batch []message.Request) {
	for _, r := range batch {
		monitorpb.ServeMonitor(m, r)
	}
}

// tell raises and clears alarms.
func (m *Monitor) tell(changes []judge.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changes {
		switch {
		case m.stopped:
		case c.Raise:
			m.raised[c.Name] = true
			m.host.Alarm(c.Name, c.Severity, c.Detail)
		default:
			delete(m.raised, c.Name)
			m.host.ClearAlarm(c.Name)
		}
	}
}

// every calls look at once and then again and again, until ctx ends.
func every(ctx context.Context, d time.Duration, look func()) {
	tick := time.NewTimer(timer.Next(d))
	defer tick.Stop()
	for {
		look()
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			tick.Reset(timer.Next(d))
		}
	}
}

// What could not be read: the indices of Monitor.blind.
const ofProcess, ofMachine = 0, 1

func reason(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// pulse looks at what shows life.
func (m *Monitor) pulse(ctx context.Context) {
	j, due, progress := judge.New(m.cfg.Limits), m.host.Now(), uint64(0)
	every(ctx, pulseEvery, func() {
		now, p := m.host.Now(), m.cfg.Progress()
		look := judge.Pulse{Stuck: p == progress, Late: now - due}
		due, progress = now+pulseEvery, p
		for _, c := range m.cfg.Engine().Components {
			look.Mailboxes = append(look.Mailboxes, judge.Mailbox{Component: c.Name, Depth: c.MailboxDepth, Bound: c.MailboxBound})
		}
		m.mu.Lock()
		look.Blind = cmp.Or(m.blind[ofProcess], m.blind[ofMachine])
		m.mu.Unlock()
		m.tell(append(j.Pulse(now, &look), m.testsOver(now)...))
	})
}

// watchMachine looks at the machine, as long as this SFU is the one that does.
func (m *Monitor) watchMachine(ctx context.Context) {
	var j *judge.Judge
	var r *hardware.Reader
	every(ctx, machineEvery, func() {
		if !m.cfg.Watch() {
			return
		}
		if j == nil {
			j, r = judge.New(m.cfg.Limits), hardware.New(m.cfg.Proc, m.cfg.Sys, m.cfg.Dirs)
		}
		got, err := r.Read()
		var dog *monitorpb.WatchdogStatus
		if m.cfg.Watchdog != nil {
			dog = m.cfg.Watchdog()
		}
		m.mu.Lock()
		clocks := m.clocks
		m.blind[ofMachine] = reason(err)
		m.machine = machineStatus(m.cfg.Machine, &got, clocks, dog)
		m.mu.Unlock()
		look := machineLook(&got, clocks)
		judgeWatchdog(look, dog)
		if m.cfg.Backup != nil {
			look.NoBackup = m.cfg.Backup()
		}
		m.tell(j.Machine(m.host.Now(), look))
	})
}
