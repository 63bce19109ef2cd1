package main

import (
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"virtualservicesinc.com/comps/connector"
	"virtualservicesinc.com/comps/monitor"
	"virtualservicesinc.com/rrts/cmd/internal/lastbackup"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

// newest is the Connector that was made last: the Monitor asks it how the networks
// are, whichever life of it runs.
type newest struct {
	p atomic.Pointer[connector.Connector]
}

func (n *newest) networks() []monitorpb.NetworkStatus {
	if c := n.p.Load(); c != nil {
		return c.Networks()
	}
	return nil
}

// monitor makes the Monitor.
func (a *assembler) monitor() (engine.Component, error) {
	return monitor.New(monitor.Config{
		Engine: a.engine.Status, Progress: a.engine.Progress, Alarms: a.engine.Alarms, Networks: a.networks.networks,
		Backup: backupWatch(a.cfg, time.Now),
	})
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
