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

// vacancy watches for a group that decides nothing because nobody leads it.
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
	case lead != 0:
		if v.raised {
			host.ClearAlarm("no-leader")
		}
		*v = vacancy{}
	case v.since == 0:
		v.since = now
	case !v.raised && now-v.since >= vacancyGrace:
		v.raised = true
		host.Alarm("no-leader", engine.Critical, vacancyDetail(group))
	}
}

// vacancyDetail says who has to be there.
func vacancyDetail(group roster.State) string {
	if len(group.Conf.Voters) == 0 {
		return "this SFU has not been heard by the others yet: is it in the cluster, and are they reachable?"
	}
	var names []string
	for _, id := range group.Conf.Voters {
		name := fmt.Sprint(id)
		if m := group.Member(uint32(id)); m != nil {
			name = m.Name
		}
		names = append(names, name)
	}
	return fmt.Sprintf("no transaction is decided until %d of the %d SFUs that vote reach each other: %v; start those that are down",
		len(names)/2+1, len(names), names)
}
