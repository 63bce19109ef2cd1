// Package alarmtest holds tests to what the table of alarms says of them: that in them
// an alarm is raised, and that it ends.
//
//	saw := alarmtest.Record{}
//	… // saw.Raise(name) and saw.End(name), by whatever the test puts in the engine's place
//	saw.Proves(t)
package alarmtest

import (
	"runtime"
	"strings"
	"sync"
	"testing"

	"virtualservicesinc.com/rrts/engine/alarm"
)

// Record is what a test saw of alarms. The zero value has seen nothing.
type Record struct {
	mu            sync.Mutex
	raised, ended map[string]bool // by kind
}

// Raise notes that an alarm was raised; its name may have a subject.
func (r *Record) Raise(name string) { r.note(&r.raised, name) }

// End notes that an alarm ended.
func (r *Record) End(name string) { r.note(&r.ended, name) }

func (r *Record) note(set *map[string]bool, name string) {
	kind, _, _ := strings.Cut(name, "@")
	r.mu.Lock()
	defer r.mu.Unlock()
	if *set == nil {
		*set = map[string]bool{}
	}
	(*set)[kind] = true
}

// Proves fails the test that calls it unless every alarm that the table says is raised
// and ends in it has been, and has. Those that last until the SFU is started anew need
// not have ended.
func (r *Record) Proves(t testing.TB) {
	t.Helper()
	caller, _, _, _ := runtime.Caller(1)
	test := strings.TrimPrefix(runtime.FuncForPC(caller).Name(), "virtualservicesinc.com/")
	test = strings.Replace(test, "_test.", ".", 1) // a test package beside its own
	if i := strings.Index(test, ".func"); i > 0 {  // a function within the test
		test = test[:i]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	named := false
	for i := range alarm.Kinds {
		k := &alarm.Kinds[i]
		if k.Proof != test {
			continue
		}
		named = true
		if !r.raised[k.Name] {
			t.Errorf("the alarm %s was not raised, and the table says that it is in this test", k.Name)
		}
		if !r.ended[k.Name] && !k.Lasting {
			t.Errorf("the alarm %s has not ended, and the table says that it does in this test", k.Name)
		}
	}
	if !named {
		t.Errorf("the table names %s for no alarm", test)
	}
}
