package gateway

import (
	"time"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// tracedTransactions is how many transactions are remembered, as at every replica: some
// minutes of a busy shop. 2 MB when they are full.
const tracedTransactions = 1 << 15

// traced is a transaction that was answered here.
type traced struct {
	id                      u128.Int
	arrived, left, answered time.Duration
	sent                    int
}

// remember notes transactions that are answered now.
func (g *Gateway) remember(marks []traced) {
	if len(marks) == 0 {
		return
	}
	now := g.host.Now()
	for i := range marks {
		marks[i].answered = now
	}
	g.traced.Add(marks...)
}

// trace is what is remembered of a transaction.
func (g *Gateway) trace(id u128.Int) *txnpb.TraceAnswer {
	answer := &txnpb.TraceAnswer{}
	t, ok := g.traced.Find(func(t *traced) bool { return t.id == id })
	if !ok {
		return answer
	}
	now, wall := g.host.Now(), uint64(g.cfg.Wall())
	answer.Sent = uint32(t.sent)
	for _, m := range []struct {
		step txnpb.Step
		at   time.Duration
	}{{txnpb.StepReceived, t.arrived}, {txnpb.StepSent, t.left}, {txnpb.StepAnswered, t.answered}} {
		if m.step != txnpb.StepSent || t.sent > 0 {
			answer.Marks = append(answer.Marks, txnpb.TraceMark{Step: m.step, At: wall - uint64(now-m.at)})
		}
	}
	return answer
}
