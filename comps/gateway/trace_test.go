package gateway

import (
	"fmt"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestTrace: the gateway remembers when a transaction came, left and was answered, and
// how often it was sent, also of one that was never answered in time.
func TestTrace(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	wall := uint64(s.g.cfg.Wall())
	show := func(id uint64) (text string) {
		a := s.g.trace(u128.From64(id))
		for _, m := range a.Marks {
			text += fmt.Sprintf("%d at %v, ", m.Step, time.Duration(m.At-wall))
		}
		return text + fmt.Sprintf("sent %d times", a.Sent)
	}
	begin := s.h.Now()
	s.submit(c, 1, 0)
	s.pass(10 * expiryTick)
	calls := s.send()
	s.pass(5 * expiryTick)
	commit(t, calls[0], map[uint64]txnpb.State{1: txnpb.StateNotLeader})
	s.pass(retryFirst + expiryTick)
	calls = s.send()
	commit(t, calls[0], nil)
	equal(t, "answer", hears(t, at, 1), "1:committed")
	passed := s.h.Now() - begin
	if a := s.g.trace(u128.From64(1)); len(a.Marks) != 3 || time.Duration(a.Marks[2].At-a.Marks[0].At) != passed ||
		a.Marks[0].Step != txnpb.StepReceived || a.Marks[1].Step != txnpb.StepSent || a.Marks[1].At != a.Marks[2].At || a.Marks[2].Step != txnpb.StepAnswered || a.Sent != 2 {
		t.Errorf("%s after %v", show(1), passed)
	}
	equal(t, "unknown", show(9), "sent 0 times")

	s.submit(c, 2, 20*expiryTick)
	s.pass(30 * expiryTick) // nobody took it
	equal(t, "answer", hears(t, at, 1), "2:pending")
	if a := s.g.trace(u128.From64(2)); len(a.Marks) != 2 || a.Sent != 0 {
		t.Errorf("never sent: %s", show(2))
	}
}
