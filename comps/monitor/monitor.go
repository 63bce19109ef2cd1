package monitor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/prometheus/procfs"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

const (
	// sampleEvery is the time between two samples: what people look at once a second,
	// and about a thousandth of a core.
	sampleEvery = time.Second
	// stalledAfter is how long the engine's loop may make no progress. It counts every
	// half second, and systemd's watchdog waits longer than this.
	stalledAfter = 3 * time.Second
	// pausedFor is how much later than due a sample must come to say that the process
	// did not run: more than a busy machine ever does, less than what makes peers
	// suspicious many times over.
	pausedFor = 500 * time.Millisecond
	// calm is how long a condition must be over before its alarm ends.
	calm = 30 * time.Second
	// fillAfter is how long a mailbox must be filling: a burst is no alarm.
	fillAfter = 3 * time.Second
	// A mailbox fills when more than fullParts of emptyParts of it are taken, and is fine
	// again when less than fineParts are.
	fullParts, fineParts, allParts = 8, 5, 10
)

// Config describes a Monitor.
type Config struct {
	// Engine is the view of itself of the engine that the Monitor watches. Must be set.
	Engine func() enginepb.EngineStatus
	// Progress is the engine's. Must be set.
	Progress func() uint64
	// Alarms are those that stand. Must be set.
	Alarms func() []engine.Alarm
	// Networks says how the interconnect is doing; nil where there is none. It may take
	// a moment.
	Networks func() []monitorpb.NetworkStatus
	// Backup says what is missing of this machine's backups, in words for people; empty
	// when nothing is. nil where nobody can say. It is asked at every sample.
	Backup func() string
	// Proc is where the proc file system is. Default /proc.
	Proc string
}

// validate reports every fault at once.
func (c *Config) validate() error {
	var faults []error
	for _, f := range []struct {
		missing bool
		name    string
	}{{c.Engine == nil, "Engine"}, {c.Progress == nil, "Progress"}, {c.Alarms == nil, "Alarms"}} {
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

	mu     sync.Mutex
	status monitorpb.MonitorStatus // the last sample

	// Of the sampling goroutine.
	due       time.Duration // of the next sample
	progress  uint64
	blind     level
	stalled   level
	paused    level
	backup    level
	mailboxes map[string]*level
}

var _ engine.Component = (*Monitor)(nil)

// New returns a Monitor.
func New(cfg Config) (*Monitor, error) {
	if cfg.Proc == "" {
		cfg.Proc = procfs.DefaultMountPoint
	}
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	return &Monitor{cfg: cfg, mailboxes: make(map[string]*level),
		blind: level{clearAfter: calm}, stalled: level{raiseAfter: stalledAfter, clearAfter: calm}, paused: level{clearAfter: calm}}, nil
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
	now := m.host.Now()
	m.due, m.progress = now+sampleEvery, m.cfg.Progress()
	m.sample(now)
	m.host.Go("sampler", func(ctx context.Context) {
		tick := time.NewTicker(sampleEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				now := m.host.Now()
				m.watchPauses(now)
				m.sample(now)
			}
		}
	})
	m.host.Ready(true)
	return nil
}

// Drain implements engine.Component: nothing is ever in flight.
func (m *Monitor) Drain(context.Context) error { return nil }

// Stop implements engine.Component; the sampler ends with its context.
func (m *Monitor) Stop() {}

// Serve implements engine.Component.
func (m *Monitor) Serve(batch []message.Request) {
	for _, r := range batch {
		monitorpb.ServeMonitor(m, r)
	}
}

var _ monitorpb.MonitorHandler = (*Monitor)(nil)

// Status implements monitorpb.MonitorHandler.
func (m *Monitor) Status(r message.Responder[*monitorpb.MonitorStatus], _ *monitorpb.StatusRequest) {
	m.mu.Lock()
	s := m.status
	m.mu.Unlock()
	s.UptimeMillis = m.cfg.Engine().UptimeMillis
	now := m.host.Now()
	for _, a := range m.cfg.Alarms() {
		s.Alarms = append(s.Alarms, monitorpb.Alarm{Name: a.Name, Severity: a.Severity.String(), Detail: a.Detail,
			AgeMillis: uint64(max(now-a.Raised, 0) / time.Millisecond), Count: a.Count})
	}
	r.Reply(&s)
}
