package txn

import (
	"testing"

	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestListenerBesideALook: a question that was answered "nothing" from an older state than
// a look goes up to, and begins to wait while that look is under way, is asked again. The
// look does not know it, and nobody would go through what lies between once more.
func TestListenerBesideALook(t *testing.T) {
	question := func(stamp, user uint64) *listener {
		return &listener{in: &txnpb.EventsRequest{}, user: user, stamp: stamp, next: &txnpb.Position{}}
	}
	for _, test := range []struct {
		name    string
		waiting *listener // from before the look
	}{
		{"nobody waits", nil},
		{"one with accounts waits", &listener{in: &txnpb.EventsRequest{Filter: &txnpb.EventsFilter{AccountIds: []u128.Int{u128.From64(5)}}}, stamp: 80, next: &txnpb.Position{}}},
		{"another user waits", question(80, 7)},
	} {
		t.Run(test.name, func(t *testing.T) {
			l := newListeners(nil)
			if test.waiting != nil {
				if got := l.add(test.waiting); got != waits {
					t.Fatalf("added: %v", got)
				}
			}
			l.begin(100)
			if got := l.add(question(90, 1)); got != missed {
				t.Errorf("one of 90 beside a look up to 100: %v, want missed", got)
			}
			late := question(100, 1)
			if got := l.add(late); got != waits {
				t.Fatalf("one of 100 beside a look up to 100: %v, want waits", got)
			}
			l.concerned(nil, 100, txnpb.Position{}, 9)
			l.finish()
			from, users := l.begin(110)
			if from != 100 || !users {
				t.Errorf("the next look begins at %d, users %t; want 100, true", from, users)
			}
			touches := []machine.Touch{{Users: []uint64{1}}}
			if all := l.concerned(touches, 110, txnpb.Position{}, 10); len(all) != 1 || all[0] != late {
				t.Errorf("%d questions are asked again, want the one of user 1", len(all))
			}
		})
	}
}
