package txn

import (
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/engine/trace"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// tracedTransactions and tracedEntries are how many are remembered: some minutes of
	// a busy shop, a third of a second of the full load. 2 MB when they are full.
	tracedTransactions = 1 << 15
	tracedEntries      = 1 << 12
)

// traces remembers where transactions were when.
type traces struct {
	entries *trace.Entries
	placed  *trace.Ring[placed]
	replied *trace.Ring[replied] // of those that this member led
}

// placed is a transaction and the entry that it was in.
type placed struct {
	id    u128.Int
	index uint64
}

// replied is a transaction that was answered here.
type replied struct {
	id          u128.Int
	queued, out time.Duration
}

func newTraces() traces {
	return traces{entries: trace.NewEntries(tracedEntries), placed: trace.NewRing[placed](tracedTransactions), replied: trace.NewRing[replied](tracedTransactions)}
}

// note notes that the entries of messages are at a stage.
func (c *Component) note(s trace.Stage, msgs []*raftpb.Message) {
	if len(msgs) == 0 {
		return
	}
	now := c.host.Now()
	for _, m := range msgs {
		for _, e := range m.GetEntries() {
			c.traces.entries.Note(s, e.GetIndex(), now)
		}
	}
}

// place notes which transactions were in an entry, on the applier's thread.
func (a *applier) place(index uint64, results []entry.Result) {
	a.placed = a.placed[:0]
	for i := range results {
		a.placed = append(a.placed, placed{results[i].Key.ID, index})
	}
	a.c.traces.placed.Add(a.placed...)
}

// replies notes that a batch is answered, and how long that took.
func (l *loop) replies(b *replica.Batch) {
	now, final := l.c.host.Now(), 0
	l.replied = l.replied[:0]
	for i := range b.Outcomes {
		o := &b.Outcomes[i]
		l.replied = append(l.replied, replied{o.Id, b.Arrived, now})
		if o.State == txnpb.StateCommitted || o.State == txnpb.StateAborted {
			final++
		}
	}
	l.c.traces.replied.Add(l.replied...)
	l.commits.ObserveMany(now-b.Arrived, final)
}

// commitStatus adds how long transactions took to a status.
func commitStatus(s *txnpb.ReplicaStatus, h *router.Histogram) {
	n := len(h.Seen)
	for n > 0 && h.Seen[n-1] == 0 {
		n--
	}
	s.CommitSeen, s.CommitNanos = append(s.CommitSeen, h.Seen[:n]...), uint64(h.Sum)
}

// Trace implements txnpb.ReplicaHandler.
func (d replicaService) Trace(r message.Responder[*txnpb.TraceAnswer], in *txnpb.TraceRequest) {
	r.Reply(d.c.trace(in.Id))
}

// trace is what is remembered of a transaction.
func (c *Component) trace(id u128.Int) *txnpb.TraceAnswer {
	answer := &txnpb.TraceAnswer{}
	now, wall := c.host.Now(), c.cfg.Wall()
	mark := func(s txnpb.Step, at time.Duration) {
		if at != 0 {
			answer.Marks = append(answer.Marks, txnpb.TraceMark{Step: s, At: wall - uint64(now-at)})
		}
	}
	lead, led := c.traces.replied.Find(func(r *replied) bool { return r.id == id })
	if led {
		mark(txnpb.StepQueued, lead.queued)
	}
	if p, ok := c.traces.placed.Find(func(p *placed) bool { return p.id == id }); ok {
		answer.Index = p.index
		if t, ok := c.traces.entries.Times(p.index); ok {
			mark(txnpb.StepAppended, t.At[trace.Appended])
			mark(txnpb.StepDurable, t.At[trace.Durable])
			mark(txnpb.StepCommitted, t.At[trace.Committed])
			mark(txnpb.StepApplied, t.At[trace.Applied])
		}
	}
	if led {
		mark(txnpb.StepReplied, lead.out)
	}
	return answer
}
