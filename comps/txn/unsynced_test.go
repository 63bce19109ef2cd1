package txn_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestClocksApart: the SFU whose clock is wrong hands the lead over and says so; when no two
// clocks agree clients hear that, and when they are right again everything goes on.
func TestClocksApart(t *testing.T) {
	c := newCluster(t)
	wrong := c.leader()
	mustCommit(t, c.submit(wrong, opening()))

	c.skew[wrong.number].Store(int64(3 * time.Second))
	c.eventually("the leader has handed over", func() bool { st := c.status(wrong); return st != nil && st.Role == "follower" })
	mustCommit(t, c.submit(wrong, transferOf(1)))
	c.eventually("the alarm of a wrong clock", func() bool { return clockAlarm(wrong, engine.Warning, "3s ahead") })

	lead := c.leader()
	c.skew[lead.number].Store(int64(-3 * time.Second))
	c.eventually("the answer that clocks are apart", func() bool { return c.unsynced(lead) })
	c.eventually("the alarm of clocks apart", func() bool {
		return slices.ContainsFunc(c.sfus, func(s *sfu) bool { return clockAlarm(s, engine.Critical, "no majority") })
	})

	for _, s := range c.sfus {
		c.skew[s.number].Store(int64(time.Minute)) // all alike
	}
	mustCommit(t, c.submit(wrong, transferOf(1)))
	c.eventually("the end of the alarms", func() bool { return !slices.ContainsFunc(c.sfus, func(s *sfu) bool { return clockAlarm(s, 0, "") }) })
}

// clockAlarm reports whether the alarm stands, and says what is wanted.
func clockAlarm(s *sfu, severity engine.Severity, detail string) bool {
	return slices.ContainsFunc(s.engine.Alarms(), func(a engine.Alarm) bool {
		return a.Name == "clock-unsynced" && a.Severity >= severity && strings.Contains(a.Detail, detail)
	})
}

// eventually waits until something holds.
func (c *cluster) eventually(what string, holds func() bool) {
	c.t.Helper()
	for began := time.Now(); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Since(began) > 20*time.Second {
			c.t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// unsynced submits once and reports whether it was refused because clocks are apart.
func (c *cluster) unsynced(at *sfu) bool {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	answer, err := txnpb.TxnClient{Caller: at.engine.Caller(0)}.Submit(ctx, &txnpb.SubmitBatch{Submissions: []txnpb.Submission{{
		Transaction: message.Marshal(transferOf(1)), Principal: 1, Role: uint32(message.RoleOperator), RemainingMillis: 2000,
	}}})
	return err == nil && answer.Outcomes[0].State == txnpb.StateClockUnsynced && strings.Contains(answer.Outcomes[0].Reason, "clocks")
}
