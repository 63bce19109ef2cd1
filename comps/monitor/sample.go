package monitor

import (
	"fmt"
	"time"

	"github.com/prometheus/procfs"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

// sample looks at everything once.
func (m *Monitor) sample(now time.Duration) {
	e := m.cfg.Engine()
	s := monitorpb.MonitorStatus{Sfu: e.Sfu, Name: e.Name, Type: e.Type, Software: e.Software}
	if m.cfg.Networks != nil {
		s.Networks = m.cfg.Networks()
	}
	resident, cpu, err := process(m.cfg.Proc)
	s.ResidentBytes, s.CpuMillis = resident, uint64(cpu/time.Millisecond)
	m.mu.Lock()
	m.status = s
	m.mu.Unlock()

	detail := ""
	if err != nil {
		detail = err.Error()
	}
	m.tell(&m.blind, now, err != nil, "monitor-blind", engine.Warning, detail)
	if m.cfg.Backup != nil {
		missing := m.cfg.Backup()
		m.tell(&m.backup, now, missing != "", "backup-missing", engine.Warning, missing)
	}
	m.watchProgress(now)
	m.watchMailboxes(now, e.Components)
}

// process reads the resident memory, in bytes, and the processor time of this
// process.
func process(proc string) (resident uint64, cpu time.Duration, err error) {
	fs, err := procfs.NewFS(proc)
	if err != nil {
		return 0, 0, fmt.Errorf("monitor: %w", err)
	}
	self, err := fs.Self()
	if err != nil {
		return 0, 0, fmt.Errorf("monitor: %w", err)
	}
	stat, err := self.Stat()
	if err != nil {
		return 0, 0, fmt.Errorf("monitor: %w", err)
	}
	return uint64(stat.ResidentMemory()), time.Duration(stat.CPUTime() * float64(time.Second)), nil
}

// tell raises or clears an alarm as its level says.
func (m *Monitor) tell(l *level, now time.Duration, bad bool, name string, severity engine.Severity, detail string) {
	switch l.look(now, bad) {
	case raised:
		m.host.Alarm(name, severity, detail)
	case cleared:
		m.host.ClearAlarm(name)
	}
}

// watchProgress looks whether the engine's loop turns.
func (m *Monitor) watchProgress(now time.Duration) {
	p := m.cfg.Progress()
	stuck := p == m.progress
	m.progress = p
	m.tell(&m.stalled, now, stuck, "engine-stalled", engine.Critical,
		fmt.Sprintf("the engine's loop has made no progress for %v", stalledAfter))
}

// watchPauses looks whether this sample comes when it was due.
func (m *Monitor) watchPauses(now time.Duration) {
	late := now - m.due
	m.due = now + sampleEvery
	m.tell(&m.paused, now, late > pausedFor, "process-paused", engine.Warning,
		fmt.Sprintf("this process did not run for %v", late.Round(time.Millisecond)))
}

// watchMailboxes looks how much waits for each Component.
func (m *Monitor) watchMailboxes(now time.Duration, components []enginepb.ComponentStatus) {
	for _, c := range components {
		if c.MailboxBound == 0 {
			continue
		}
		l := m.mailboxes[c.Name]
		if l == nil {
			l = &level{raiseAfter: fillAfter, clearAfter: calm}
			m.mailboxes[c.Name] = l
		}
		depth, bound := uint64(c.MailboxDepth)*allParts, uint64(c.MailboxBound)
		full, fine := depth > bound*fullParts, depth < bound*fineParts
		if !full && !fine {
			continue
		}
		m.tell(l, now, full, "mailbox-filling@"+c.Name, engine.Warning,
			fmt.Sprintf("%d requests wait for %s; it takes %d of a service", c.MailboxDepth, c.Name, c.MailboxBound))
	}
}
