package main

import (
	"os"
	"strings"
	"testing"

	"virtualservicesinc.com/sysd"
	"virtualservicesinc.com/watchdog"
)

// TestExplained: whatever the guard says has an explanation in the journal's catalog,
// under the id that its line gets.
func TestExplained(t *testing.T) {
	if watchdog.EventKey != sysd.EventKey || watchdog.AlarmKey != sysd.AlarmKey {
		t.Error("the guard's lines get no MESSAGE_ID")
	}
	catalog, err := os.ReadFile("../../../packaging/catalog/rrts.catalog")
	if err != nil {
		t.Fatal(err)
	}
	for kind, names := range map[string][]string{"event": watchdog.Events(), "alarm": watchdog.Alarms()} {
		for _, name := range names {
			if !strings.Contains(string(catalog), "\n# "+kind+": "+name+"\n-- "+sysd.MessageID(name)+"\n") {
				t.Errorf("the catalog does not explain the %s %s", kind, name)
			}
		}
	}
}
