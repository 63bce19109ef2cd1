package main

import (
	"os"
	"path/filepath"
	"sync"

	"virtualservicesinc.com/comps/monitor"
	"virtualservicesinc.com/comps/smtp"
	"virtualservicesinc.com/rrts/config"
)

// post is the mail about alarms.
func (a *assembler) post() *monitor.Post {
	return &monitor.Post{Cluster: a.cfg.Cluster.Name, ID: [16]byte(a.cfg.Cluster.ID), Settings: postSettings(a.cfg, a.credentials)}
}

// postSettings returns what says who is told of alarms, as machine.toml has it at that
// moment.
func postSettings(cfg *config.Config, credentials string) func() (*monitor.PostSettings, error) {
	var mu sync.Mutex
	m := cfg.Machine.Mail
	return func() (*monitor.PostSettings, error) {
		mu.Lock()
		defer mu.Unlock()
		// A file that is being edited, or is faulty, changes nothing.
		if now, err := config.LoadMachine(filepath.Join(cfg.Dir, "machine.toml")); err == nil {
			m = now.Mail
		}
		if m.Server == "" {
			return nil, nil
		}
		p := &monitor.PostSettings{
			Server: smtp.Relay{Address: m.Server, Security: smtp.Security(m.Security), User: m.User},
			From:   m.From, Critical: m.Critical, Warning: m.Warning, Info: m.Info,
		}
		var err error
		if p.Server.Name, err = os.Hostname(); err != nil {
			return nil, err
		}
		if m.User != "" {
			if p.Server.Password, err = cfg.MailPassword(credentials); err != nil {
				return nil, err
			}
		}
		if p.Server.CAs, err = authorities("alarm_mail.ca in machine.toml", m.CA); err != nil {
			return nil, err
		}
		return p, nil
	}
}
