package txn

import (
	"slices"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/comps/txn/replica"
)

// TestClockAlarm: the alarm stands while clocks are apart for long, and only where that
// matters: on the leader without a majority, and where the own clock is wrong.
func TestClockAlarm(t *testing.T) {
	const brief, long = clockHold - 100*time.Millisecond, clockHold + 100*time.Millisecond
	w, book, now := clockWatch{}, alarmBook{}, time.Minute
	look := func(d time.Duration, leading bool, state replica.ClockState, off time.Duration) {
		for since := now; now < since+d; now += 10 * time.Millisecond {
			lasting := now - since
			if state == replica.ClockAgrees {
				lasting = 0
			}
			w.look(&book, now, leading, state, lasting, off)
		}
	}
	look(long, true, replica.ClockAgrees, 0)
	look(brief, true, replica.ClockNoMajority, 0)
	look(long, false, replica.ClockNoMajority, 0) // a follower need not say what the leader does
	look(long, true, replica.ClockNoMajority, 0)
	look(brief, true, replica.ClockAgrees, 0)
	look(brief, true, replica.ClockNoMajority, 0) // still the same alarm
	look(long, true, replica.ClockAgrees, 0)
	look(long, false, replica.ClockWrong, -2*time.Second)
	look(2*long, false, replica.ClockAgrees, 0)
	want := []string{
		"raise clock-unsynced: no majority of the voters' clocks is within 500ms of each other, so no transaction is stamped; set them right, as by systemd-timesyncd on every machine",
		"clear clock-unsynced",
		"raise clock-unsynced: the clock of this machine is 2s behind the other SFUs'; this SFU does not lead until it is set right",
		"clear clock-unsynced",
	}
	if !slices.Equal(book, want) {
		t.Errorf("alarms:\n%s\nwant:\n%s", strings.Join(book, "\n"), strings.Join(want, "\n"))
	}
	book.seen().Proves(t)
}
