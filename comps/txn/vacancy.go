package txn

import (
	"fmt"
	"time"

	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/engine"
)

// vacancyGrace is how long nobody may lead before the alarm is raised: many elections,
// and the time that machines which start together take.
const vacancyGrace = 3 * time.Second

// The alarms that a Component raises by what it knows of its group.
const (
	alarmNoLeader = "no-leader"
	alarmSolo     = "solo"
	alarmForced   = "quorum-forced"
)

// vacancy watches for a group that decides nothing because nobody leads it, or a witness
// does.
type vacancy struct {
	since  time.Duration // 0: somebody leads
	raised bool
}

// alarms is what it needs of engine.Host.
type alarms interface {
	Alarm(name string, severity engine.Severity, detail string)
	ClearAlarm(name string)
}

// look is called at every tick.
func (v *vacancy) look(host alarms, now time.Duration, lead uint64, group roster.State) {
	switch {
	case lead != 0 && !group.Witness(lead):
		if v.raised {
			host.ClearAlarm(alarmNoLeader)
		}
		*v = vacancy{}
	case v.since == 0:
		v.since = now
	case !v.raised && now-v.since >= vacancyGrace:
		v.raised = true
		host.Alarm(alarmNoLeader, engine.Critical, vacancyDetail(lead, group))
	}
}

// vacancyDetail says who has to be there.
func vacancyDetail(lead uint64, group roster.State) string {
	if lead != 0 {
		return fmt.Sprintf("no transaction is decided until the witness %s has brought another SFU up to date, which then leads", nameOf(group, uint32(lead)))
	}
	if len(group.Conf.Voters) == 0 {
		return "this SFU has not been heard by the others yet: is it in the cluster, and are they reachable?"
	}
	var names []string
	witnesses := ""
	for _, id := range group.Conf.Voters {
		names = append(names, nameOf(group, uint32(id)))
		if group.Witness(id) {
			witnesses = ", one of them with all that was committed and no witness"
		}
	}
	return fmt.Sprintf("no transaction is decided until %d of the %d SFUs that vote reach each other%s: %v; start those that are down, "+
		"or, if they are off for good, let this one go on alone: rrts quorum force --other-is-off",
		len(names)/2+1, len(names), witnesses, names)
}

// standing is the alarms that stand for as long as the group is as it is. The leader
// raises them.
type standing struct {
	raised map[string]string // detail, by name
}

// look is called at every tick.
func (s *standing) look(host alarms, leading bool, group roster.State) {
	if s.raised == nil {
		s.raised = map[string]string{}
	}
	solo, forced := "", ""
	if leading {
		solo, forced = soloAlarm(group), forcedAlarm(group.Roster)
	}
	s.set(host, alarmSolo, solo)
	s.set(host, alarmForced, forced)
}

// set raises an alarm, or ends it where the detail is empty.
func (s *standing) set(host alarms, name, detail string) {
	switch was := s.raised[name]; {
	case was == detail:
		return
	case detail == "":
		host.ClearAlarm(name)
	default:
		if was != "" {
			host.ClearAlarm(name)
		}
		host.Alarm(name, engine.Warning, detail)
	}
	s.raised[name] = detail
}

// soloAlarm says who decides alone; "" where more than one votes.
func soloAlarm(group roster.State) string {
	if len(group.Conf.Voters) != 1 || group.Joint() {
		return ""
	}
	name := fmt.Sprint(group.Conf.Voters[0])
	if m := group.Member(uint32(group.Conf.Voters[0])); m != nil {
		name = m.Name
	}
	return fmt.Sprintf("SFU %s alone votes: if it, its machine or its disk fails, nothing is decided, and what was not backed up may be lost; "+
		"add SFUs on other machines with rrts node add, or start those that are stopped", name)
}
