package txn

import (
	"fmt"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestTasks: what is under way is told, with what was done, until it ends.
func TestTasks(t *testing.T) {
	var all tasks
	backup := all.begin(txnpb.TaskBackup, 0, 0)
	sent := all.begin(txnpb.TaskStateSent, 3, time.Second)
	sent.count([]txnpb.Row{{Key: []byte("k"), Value: []byte("value")}, {Key: []byte("l")}})
	show := func() (s string) {
		for _, p := range all.status(2 * time.Second) {
			s += fmt.Sprintf("%d to %d: %d in %d ms; ", p.Task, p.Sfu, p.Done, p.AgeMillis)
		}
		return s
	}
	if got := show(); got != "1 to 0: 0 in 2000 ms; 2 to 3: 7 in 1000 ms; " {
		t.Error(got)
	}
	backup.end()
	backup.end()
	if got := show(); got != "2 to 3: 7 in 1000 ms; " {
		t.Error(got)
	}
}
