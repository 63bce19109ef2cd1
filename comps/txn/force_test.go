package txn_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// isolate cuts an SFU off from all others, or, with 0, nobody any more.
func (c *cluster) isolate(number uint16) {
	w := c.wire
	w.mu.Lock()
	was := max(w.cut, number)
	w.cut = number
	var up, down []func()
	for sfu, inlet := range w.inlets {
		for other := range w.inlets {
			if sfu != other && (sfu == was || other == was) {
				down = append(down, func() { inlet.PeerLost(other) })
				life := w.lives[other]
				up = append(up, func() { inlet.PeerUp(other, life) })
			}
		}
	}
	w.mu.Unlock()
	if number == 0 {
		down = up
	}
	for _, f := range down {
		f()
	}
}

// force asks an SFU to go on alone, or how that would be.
func (c *cluster) force(s *sfu, in *txnpb.ForceRequest) *txnpb.ForceAnswer {
	c.t.Helper()
	replies := make(chan engine.Reply, 1)
	s.plug.host.Call(engine.Call{
		Service: txnpb.ReplicaService, Method: txnpb.ReplicaForceMethod, Target: s.number, Timeout: 5 * time.Second, Group: 1,
		Role: message.RoleOperator, Body: message.Marshal(in), Done: func(r engine.Reply) { replies <- r },
	})
	r := <-replies
	answer := &txnpb.ForceAnswer{}
	if err := r.Err(); err != nil {
		c.t.Fatal(err)
	} else if err := answer.Parse(r.Body); err != nil {
		c.t.Fatal(err)
	}
	return answer
}

// alarm waits for an alarm of an SFU and returns what it says; "" is none of that name.
func (c *cluster) alarm(s *sfu, name string, stands bool) string {
	c.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		detail := ""
		for _, a := range s.engine.Alarms() {
			if a.Name == name {
				detail = a.Detail
			}
		}
		if (detail != "") == stands {
			return detail
		}
	}
	c.t.Fatalf("SFU %d: the alarm %s stands: %v, should be %v", s.number, name, !stands, stands)
	return ""
}

// raised waits for an alarm that ends by itself, perhaps before anybody looks, and returns
// what it says.
func (c *cluster) raised(s *sfu, name string) string {
	c.t.Helper()
	var detail any
	c.eventually("the alarm "+name, func() (was bool) { detail, was = s.raised.Load(name); return was })
	return detail.(string)
}

// TestForce: of two SFUs that do not reach each other one goes on alone when it is told
// to, at once and with all that was committed; the other one hears of it, commits nothing
// any more, and comes back as another.
func TestForce(t *testing.T) {
	c := newClusterOf(t, 2, func(_ uint16, fs *vfs.MemFS) vfs.FS { return fs })
	lead := c.leader()
	other := c.sfus[2-lead.number]
	mustCommit(t, c.submit(lead, opening()))
	for range 50 {
		mustCommit(t, c.submit(lead, transferOf(1)))
	}
	c.eventually("the group is founded", func() bool { st := c.status(other); return st != nil && st.RosterVersion > 0 })
	goOn := &txnpb.ForceRequest{GoOn: true, OtherIsOff: true}
	if a := c.force(other, goOn); !strings.Contains(a.Refused, fmt.Sprintf("SFU sfu%d leads", lead.number)) {
		t.Fatalf("forced while a quorum is there: %+v", a)
	}
	time.Sleep(2500 * time.Millisecond) // they tell each other how far they are

	c.isolate(lead.number)
	c.alarm(other, "no-leader", true)
	a := c.force(other, &txnpb.ForceRequest{})
	if a.Refused != "" || a.Epoch != 2 || a.Own.Csn != 51 || len(a.Others) != 1 || a.Others[0].Csn != 51 || a.Others[0].Answers ||
		len(a.Warnings) != 1 || !strings.Contains(a.Warnings[0], "all of them are here") {
		t.Fatalf("the prospect: %+v", a)
	}
	if a := c.force(other, &txnpb.ForceRequest{GoOn: true}); !strings.Contains(a.Refused, "switched off") {
		t.Fatalf("forced although nobody says that the other is off: %+v", a)
	}
	began := time.Now()
	if a := c.force(other, goOn); a.Refused != "" {
		t.Fatal(a.Refused)
	}
	mustCommit(t, c.submit(other, transferOf(1)))
	t.Logf("the next commit came %v after the order", time.Since(began).Round(time.Millisecond))
	c.alarm(other, "no-leader", false)
	if d := c.alarm(other, "quorum-forced", true); !strings.Contains(d, fmt.Sprintf("sfu%d went on alone in epoch 2 from CSN 51 on", other.number)) {
		t.Error(d)
	}
	c.alarm(other, "solo", true)

	// The other half commits nothing, and hears why.
	c.isolate(0)
	if d := c.alarm(lead, "overruled", true); !strings.Contains(d, fmt.Sprintf("bring it back under a new identity: `rrts sfu replace sfu%d`", lead.number)) {
		t.Error(d)
	}
	for range 5 {
		mustCommit(t, c.submit(other, transferOf(1)))
	}
	c.stop(lead)
	c.start(lead) // and it stays so, wherever it starts from
	c.alarm(lead, "overruled", true)
	if st := c.status(other); st.Epoch != 2 || st.Role != "leader" || !equal(st.Voters, []uint32{uint32(other.number)}) {
		t.Errorf("%+v", st)
	}
	if a := c.force(lead, goOn); !strings.Contains(a.Refused, "overruled") {
		t.Errorf("an overruled SFU goes on: %+v", a)
	}

	// A new one takes its place, and knows the epoch from the state alone.
	c.drop(lead)
	third := c.add(other, record(fmt.Sprint("sfu", lead.number), fmt.Sprint("pc", lead.number), 9), uint32(lead.number))
	if third.number != 3 {
		t.Fatalf("the new one has number %d, want 3", third.number)
	}
	c.voters(third, uint32(other.number), 3)
	for _, alarm := range []string{"quorum-forced", "solo"} {
		c.alarm(c.leader(), alarm, false)
	}
	mustCommit(t, c.submit(third, transferOf(1)))
	if d := c.agree(); d.Csn != 58 {
		t.Fatalf("%d commits, want 58", d.Csn)
	}
	c.stop(third)
	mustCommit(t, c.submit(other, transferOf(1)))
	c.saw.Proves(t)
}
