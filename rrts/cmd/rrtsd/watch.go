package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"virtualservicesinc.com/comps/connector"
	"virtualservicesinc.com/comps/monitor"
	"virtualservicesinc.com/comps/monitor/judge"
	"virtualservicesinc.com/comps/monitor/metrics"
	"virtualservicesinc.com/rrts/cmd/internal/lastbackup"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/watchdog"
)

// newest is the Connector that was made last: the Monitor asks it how the networks
// are and the transaction Component what the clocks of others say, whichever life of it
// runs.
type newest struct {
	p atomic.Pointer[connector.Connector]
}

func (n *newest) networks() []monitorpb.NetworkStatus {
	if c := n.p.Load(); c != nil {
		return c.Networks()
	}
	return nil
}

// clocks tells the transaction Component the wall clocks of the other SFUs.
func (n *newest) clocks(f func(sfu uint16, unixNano int64, within time.Duration)) {
	if c := n.p.Load(); c != nil {
		c.Clocks(f)
	}
}

// monitor makes the Monitor.
func (a *assembler) monitor() (engine.Component, error) {
	self := a.cfg.Self.Type
	var serve func(context.Context, func(context.Context) (*monitorpb.MonitorStatus, error)) error
	if a.cfg.SFU.Metrics.Listen != "" {
		serve = a.metrics
	}
	return monitor.New(monitor.Config{
		Engine: a.engine.Status, Progress: a.engine.Progress, Alarms: a.engine.Alarms, Book: a.book, Networks: a.networks.networks,
		Replica: self.Transactions(), Gateway: self.Gateway(),
		Machine: a.cfg.Machine.Name, Dirs: stateDirs(a.cfg), Watch: a.turn.mine, Limits: limits(a.cfg),
		Backup: backupWatch(a.cfg, time.Now), Watchdog: func() *monitorpb.WatchdogStatus { return watchdogStatus("") }, Post: a.post(), Serve: serve,
	})
}

// metrics offers the SFU's figures where its configuration says.
func (a *assembler) metrics(ctx context.Context, status func(context.Context) (*monitorpb.MonitorStatus, error)) error {
	l, err := a.listenMetrics()
	if err != nil {
		return fmt.Errorf("metrics.listen in sfu/%s.toml: %w", a.cfg.Self.Name, err)
	}
	return metrics.Serve(ctx, l, status)
}

func (a *assembler) listenMetrics() (net.Listener, error) {
	if a.cfg.SFU.Metrics.Listen != config.MetricsUnix {
		return net.Listen("tcp", a.cfg.SFU.Metrics.Listen)
	}
	path := a.cfg.MetricsSocket(a.cfg.Self.Name)
	// The state directory's lock is held: what lies there was left behind.
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	l, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := os.Chmod(path, 0o660); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// openBook opens the SFU's memory of its alarms. One that cannot be read is no reason
// not to start.
func (a *assembler) openBook() {
	var err error
	if a.book, err = monitor.OpenBook(filepath.Join(a.cfg.SFU.StateDir, "alarms.json"), time.Now); err != nil {
		a.log.Warn("a new book of alarms is begun", "err", err)
	}
}

// limits are those of the configuration, for the Monitor.
func limits(cfg *config.Config) judge.Limits {
	m, s := &cfg.Machine.Alarms, &cfg.SFU.Alarms
	return judge.Limits{
		CPU: judge.Limit(m.CPU), Memory: judge.Limit(m.Memory), DiskSpace: judge.Limit(m.DiskSpace), DiskLatency: judge.Limit(m.DiskLatency),
		Temperature: judge.Limit(m.Temperature), Clock: judge.Limit(m.Clock),
		NetworkLoss: judge.Limit(s.NetworkLoss), CommitLatency: judge.Limit(s.CommitLatency), Lag: judge.Limit(s.Lag),
	}
}

// stateDirs are where the SFUs of this machine keep their state, this one's first. One
// whose configuration is faulty is left out: its own start says so.
func stateDirs(cfg *config.Config) []string {
	dirs := []string{cfg.SFU.StateDir}
	names, err := config.LocalSFUs(cfg.Dir)
	if err != nil {
		return dirs
	}
	for _, name := range names {
		if other, err := config.Load(cfg.Dir, name); err == nil && !slices.Contains(dirs, other.SFU.StateDir) {
			dirs = append(dirs, other.SFU.StateDir)
		}
	}
	return dirs
}

// turn is the machine's watch: of the SFUs of a machine one has it, as long as its
// process runs. It is a lock on a file.
type turn struct {
	path string

	mu   sync.Mutex
	file *os.File // locked; nil while another SFU has it
}

// newTurn returns the watch of the SFU's machine.
func newTurn(cfg *config.Config) *turn {
	return &turn{path: filepath.Join(cfg.NetworkDir("a"), "machine.lock")}
}

// mine reports whether this SFU has the watch; if nobody has, it takes it. Where the
// file cannot be made, every SFU has it: better said twice than not at all.
func (t *turn) mine() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil {
		return true
	}
	f, err := os.OpenFile(t.path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return !errors.Is(err, fs.ErrNotExist) // the networks' directories come with the Connector
	}
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		f.Close()
		return !errors.Is(err, unix.EWOULDBLOCK)
	}
	t.file = f
	return true
}

// release gives the watch up.
func (t *turn) release() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.file != nil {
		t.file.Close()
		t.file = nil
	}
}

// backupInterval is how often it is looked whether a backup is missing: a new target or
// a new backup counts within it, without anybody restarting the SFU.
const backupInterval = 10 * time.Second

// backupWatch returns what says what is missing of the machine's backups.
func backupWatch(cfg *config.Config, now func() time.Time) func() string {
	var mu sync.Mutex
	var looked time.Time
	var missing string
	backups := cfg.Machine.Backup
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		if t := now(); t.Sub(looked) >= backupInterval || t.Before(looked) {
			looked = t
			// A file that is being edited, or is faulty, changes nothing.
			if m, err := config.LoadMachine(filepath.Join(cfg.Dir, "machine.toml")); err == nil {
				backups = m.Backup
			}
			missing = lastbackup.Missing(cfg.Dir, &backups, t)
		}
		return missing
	}
}

// watchdogAbsent is the state of a watchdog that nobody ordered and that is not there.
const watchdogAbsent = "absent"

// watchdogStatus says how the machine's hardware watchdog is; root stands before its
// files. nil is not known: `rrts watchdog status` says why.
func watchdogStatus(root string) *monitorpb.WatchdogStatus {
	s, err := watchdog.Tell(root+watchdog.StateDir, root+watchdog.RunDir)
	if err != nil {
		return nil
	}
	st := &monitorpb.WatchdogStatus{State: s.State, Why: s.Why, Device: s.Device, Driver: s.Driver, TimeoutSeconds: uint32(s.TimeoutS), Resets: uint32(len(s.Resets))}
	if s.State == watchdog.UnarmedState {
		if found, err := watchdog.Find(root); err == nil && len(found) == 0 {
			st.State = watchdogAbsent
		}
	}
	if n := len(s.Resets); n > 0 {
		st.LastReset, st.LastResetWhy = uint64(s.Resets[n-1].Noticed.UnixMilli()), s.Resets[n-1].Why
	}
	return st
}
