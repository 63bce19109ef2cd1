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
			host.ClearAlarm("no-leader")
		}
		*v = vacancy{}
	case v.since == 0:
		v.since = now
	case !v.raised && now-v.since >= vacancyGrace:
		v.raised = true
		host.Alarm("no-leader", engine.Critical, vacancyDetail(lead, group))
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
	return fmt.Sprintf("no transaction is decided until %d of the %d SFUs that vote reach each other%s: %v; start those that are down",
		len(names)/2+1, len(names), witnesses, names)
}
