package txn

import (
	"fmt"
	"slices"
	"testing"

	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/alarm/alarmtest"
)

// damagedHost notes alarms.
type damagedHost struct {
	quietHost
	raised []string
}

func (h *damagedHost) Alarm(name string, _ engine.Severity, _ string) {
	h.raised = append(h.raised, name)
}

// TestStateDamaged: a state that does not read back is the alarm state-damaged, which
// ends with the process: the SFU does not start. Another reason not to start is not.
func TestStateDamaged(t *testing.T) {
	var saw alarmtest.Record
	for _, x := range []struct {
		err  error
		want []string
	}{{fmt.Errorf("a page: %w", store.ErrCorrupt), []string{"state-damaged"}}, {fmt.Errorf("permission denied"), nil}} {
		h := &damagedHost{}
		c := New(Config{OpenStore: func() (store.Store, error) { return nil, x.err }})
		if err := c.Provision(h); err == nil || !slices.Equal(h.raised, x.want) {
			t.Errorf("%v: raised %v, want %v; %v", x.err, h.raised, x.want, err)
		}
		for _, name := range h.raised {
			saw.Raise(name)
		}
	}
	saw.Proves(t)
}
