package txn

import (
	"fmt"
	"slices"
	"testing"

	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// damagedHost notes alarms.
type damagedHost struct {
	quietHost
	raised []string
}

func (h *damagedHost) Alarm(name string, _ engine.Severity, _ string) {
	h.raised = append(h.raised, name)
}

// TestUnopenedState: a state that does not read back is the alarm state-damaged. Another
// reason not to start is not.
func TestUnopenedState(t *testing.T) {
	for _, x := range []struct {
		err  error
		want []string
	}{{fmt.Errorf("a page: %w", store.ErrCorrupt), []string{"state-damaged"}}, {fmt.Errorf("permission denied"), nil}} {
		h := &damagedHost{}
		c := New(Config{Seed: &txnpb.Roster{}, OpenStore: func() (store.Store, error) { return nil, x.err }})
		if err := c.Provision(h); err == nil || !slices.Equal(h.raised, x.want) {
			t.Errorf("%v: raised %v, want %v; %v", x.err, h.raised, x.want, err)
		}
	}
}
