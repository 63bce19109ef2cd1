package monitor

import (
	"cmp"
	"context"
	"fmt"
	"time"
	"unicode/utf8"

	"virtualservicesinc.com/comps/monitor/judge"
	"virtualservicesinc.com/rrts/engine/alarm"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/monitorpb"
)

var _ monitorpb.MonitorHandler = (*Monitor)(nil)

// maxBy bounds the name of who acknowledges or tries an alarm, in bytes.
const maxBy = 64

// Status implements monitorpb.MonitorHandler.
func (m *Monitor) Status(r message.Responder[*monitorpb.MonitorStatus], _ *monitorpb.StatusRequest) {
	select {
	case m.asks <- func(s *monitorpb.MonitorStatus) { m.complete(s); r.Reply(s) }:
	default:
		r.Fail(message.Overloaded, "monitor: too many ask how this SFU is")
	}
}

// status is Status for those in this process.
func (m *Monitor) status(ctx context.Context) (*monitorpb.MonitorStatus, error) {
	answer := make(chan *monitorpb.MonitorStatus, 1)
	select {
	case m.asks <- func(s *monitorpb.MonitorStatus) { m.complete(s); answer <- s }:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case s := <-answer:
		return s, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// complete adds what is of this moment to a sample.
func (m *Monitor) complete(s *monitorpb.MonitorStatus) {
	s.UptimeMillis = m.cfg.Engine().UptimeMillis
	s.Alarms = m.list(0).Standing
	m.mu.Lock()
	s.Machine = m.machine
	m.mu.Unlock()
}

func (m *Monitor) list(ended int) *monitorpb.AlarmsAnswer {
	answer := m.cfg.Book.list(m.cfg.Alarms(), m.host.Now(), ended)
	return &answer
}

// Alarms implements monitorpb.MonitorHandler.
func (m *Monitor) Alarms(r message.Responder[*monitorpb.AlarmsAnswer], in *monitorpb.AlarmsRequest) {
	r.Reply(m.list(int(min(in.Ended, maxEnded))))
}

// Acknowledge implements monitorpb.MonitorHandler.
func (m *Monitor) Acknowledge(r message.Responder[*monitorpb.AcknowledgeAnswer], in *monitorpb.AcknowledgeRequest) {
	if !goodName(in.By) {
		r.Fail(message.Invalid, "monitor: who acknowledges is at most 64 bytes of text")
		return
	}
	stands := m.cfg.Book.acknowledge(in.Name, in.By)
	if stands {
		m.host.Log().Info("alarm acknowledged", "name", in.Name, "by", in.By)
	}
	r.Reply(&monitorpb.AcknowledgeAnswer{Stands: stands})
}

// TestAlarm implements monitorpb.MonitorHandler.
func (m *Monitor) TestAlarm(r message.Responder[*monitorpb.TestAlarmAnswer], in *monitorpb.TestAlarmRequest) {
	if !goodName(in.By) {
		r.Fail(message.Invalid, "monitor: who tries an alarm is at most 64 bytes of text")
		return
	}
	k := alarm.Find(cmp.Or(in.Kind, testAlarm))
	if k == nil || k.Name != cmp.Or(in.Kind, testAlarm) {
		r.Fail(message.Invalid, "monitor: there is no such kind of alarm in this SFU's software")
		return
	}
	if k.Event {
		m.host.Log().Info("an event, for trial", "event", k.Name, "by", in.By)
		r.Reply(&monitorpb.TestAlarmAnswer{})
		return
	}
	d := time.Duration(in.Seconds) * time.Second
	if d == 0 {
		d = testFor
	}
	if d > maxTestFor {
		r.Fail(message.Invalid, "monitor: an alarm stands for trial for an hour at most")
		return
	}
	name := testAlarm
	if k.Name != testAlarm {
		name = k.Name + testSubject
	}
	m.mu.Lock()
	m.tests[name] = m.host.Now() + d
	m.mu.Unlock()
	m.tell([]judge.Change{{Name: name, Raise: true, Severity: k.Severity, Detail: fmt.Sprintf("tried by %s, nothing is wrong; it ends by itself after %v", in.By, d)}})
	r.Reply(&monitorpb.TestAlarmAnswer{})
}

// testsOver ends the trials whose time is over.
func (m *Monitor) testsOver(now time.Duration) (over []judge.Change) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name, end := range m.tests {
		if now >= end {
			delete(m.tests, name)
			over = append(over, judge.Change{Name: name})
		}
	}
	return over
}

// goodName reports whether a name can stand in the book and in the journal.
func goodName(s string) bool { return len(s) <= maxBy && utf8.ValidString(s) }
