package replica

import (
	"slices"
	"testing"
	"time"

	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// stalled is a leader whose disk does not answer: everything waits.
func stalled(t *testing.T) (*group, *member) {
	g := newGroup(t, 1, 3)
	g.tick(60)
	lead := g.leader()
	lead.held = true
	return g, lead
}

// transactionOf makes a transaction of so many bytes.
func transactionOf(id uint64, bytes int) []byte {
	tx := message.Marshal(&txnpb.Transaction{Id: u128.From64(id)})
	pad := bytes - len(tx) - 5 // a tag, and the length in four bytes whatever it is
	tx = append(tx, 15<<3|message.WireBytes, byte(pad)|0x80, byte(pad>>7)|0x80, byte(pad>>14)|0x80, byte(pad>>21))
	return append(tx, make([]byte, pad)...)
}

// TestQueueIsBounded: by number, by bytes, and repetitions with the rest.
func TestQueueIsBounded(t *testing.T) {
	t.Run("submissions", func(t *testing.T) {
		g, lead := stalled(t)
		var last *Batch
		for i := range uint64(MaxInflightEntries + MaxQueueSubmissions + 1) {
			last = batchOf(0, 0, 0, i+1)
			lead.Submit(g.now, 0, last)
		}
		if s := last.Outcomes[0].State; s != txnpb.StateOverloaded {
			t.Fatalf("the last submission is %v, want overloaded", s)
		}
		if n := len(lead.work.queue); n != MaxQueueSubmissions {
			t.Fatalf("%d submissions are queued, the bound is %d", n, MaxQueueSubmissions)
		}
		lead.holdsTogether(t)
	})
	t.Run("resolves", func(t *testing.T) {
		g, lead := stalled(t)
		ids := make([]uint64, MaxQueueSubmissions+1)
		for i := range ids {
			ids[i] = uint64(i + 1)
		}
		for range MaxInflightEntries {
			lead.Submit(g.now, 0, batchOf(0, 0, 0, 1<<40))
			lead.work.waiting = map[entry.Key]waiters{} // not a repetition
		}
		b := batchOf(0, 0, 0, ids...)
		lead.Resolve(g.now, 0, b)
		if s, before := b.Outcomes[len(ids)-1].State, b.Outcomes[len(ids)-2].State; s != txnpb.StateOverloaded || before != txnpb.StateUnknown {
			t.Fatalf("the last resolve is %v, the one before it %v", s, before)
		}
	})
	t.Run("bytes", func(t *testing.T) {
		g, lead := stalled(t)
		const size = 1 << 20
		var last *Batch
		for i := range uint64(MaxInflightEntries + MaxQueueBytes/size + 1) {
			last = &Batch{Submissions: []txnpb.Submission{{Transaction: transactionOf(i+1, size)}}}
			lead.Submit(g.now, 0, last)
			if i < MaxInflightEntries+MaxQueueBytes/size && last.open == 0 {
				t.Fatalf("submission %d of a MiB is %v", i, last.Outcomes[0].State)
			}
		}
		if s := last.Outcomes[0].State; s != txnpb.StateOverloaded || lead.work.queueBytes != MaxQueueBytes {
			t.Fatalf("the last submission is %v, want overloaded; %d bytes are queued, the bound is %d", s, lead.work.queueBytes, MaxQueueBytes)
		}
		lead.holdsTogether(t)
	})
	t.Run("repetitions", func(t *testing.T) {
		g, lead := stalled(t)
		ids := make([]uint64, MaxPendingSubmissions/2)
		for i := range ids {
			ids[i] = 1
		}
		lead.Submit(g.now, 0, batchOf(0, 0, 0, 1))
		refused := 0
		for range 4 {
			b := batchOf(0, 0, 0, ids...)
			lead.Submit(g.now, 0, b)
			if b.open == 0 {
				refused++
			}
		}
		if refused == 0 || lead.work.pending > MaxPendingSubmissions {
			t.Fatalf("%d batches of repetitions were refused, %d submissions wait, the bound is %d", refused, lead.work.pending, MaxPendingSubmissions)
		}
		lead.holdsTogether(t)
	})
	t.Run("repeated bytes", func(t *testing.T) {
		g, lead := stalled(t)
		same := transactionOf(1, 4<<20)
		refused := 0
		for range 2 + MaxPendingBytes/len(same) {
			b := &Batch{Submissions: []txnpb.Submission{{Transaction: same}}}
			lead.Submit(g.now, 0, b)
			if b.open == 0 {
				refused++
			}
		}
		if refused == 0 || lead.work.pendingBytes > MaxPendingBytes {
			t.Fatalf("%d repetitions were refused, %d bytes are held, the bound is %d", refused, lead.work.pendingBytes, MaxPendingBytes)
		}
		lead.holdsTogether(t)
	})
	t.Run("reads", func(t *testing.T) {
		_, lead := stalled(t)
		for range MaxReads {
			lead.Read(&Read{})
		}
		rd := &Read{}
		if lead.Read(rd); !rd.Failed {
			t.Fatalf("more than %d reads wait", MaxReads)
		}
	})
}

// TestEntriesAreBounded: a batch is closed at its size, a larger transaction goes alone.
func TestEntriesAreBounded(t *testing.T) {
	g, lead := stalled(t)
	for i := range uint64(MaxInflightEntries) {
		lead.Submit(g.now, 0, batchOf(0, 0, 0, i+1))
	}
	const half = MaxEntryBytes / 2
	b := &Batch{}
	for i, size := range []int{half, half, half, 3 * half, half, half + 1} {
		b.Submissions = append(b.Submissions, txnpb.Submission{Transaction: transactionOf(uint64(i+10), size)})
	}
	lead.Submit(g.now, 0, b)
	lead.held = false
	g.settle()
	var got []int
	last, _ := lead.log.LastIndex()
	es, err := lead.log.Entries(last-4, last+1, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		var p txnpb.Entry
		if err := p.Parse(e.GetData()); err != nil {
			t.Fatal(err)
		}
		got = append(got, len(p.Submissions))
	}
	if want := []int{2, 1, 1, 1, 1}; !slices.Equal(got, want) || b.open != 0 {
		t.Fatalf("the entries hold %v submissions, want %v; %d are open", got, want, b.open)
	}

	lead.held = true
	for i := range uint64(MaxInflightEntries) {
		lead.Submit(g.now, 0, batchOf(0, 0, 0, i+100))
	}
	ids := make([]uint64, MaxEntrySubmissions+5)
	for i := range ids {
		ids[i] = uint64(i + 1000)
	}
	lead.Submit(g.now, 0, batchOf(0, 0, 0, ids...))
	lead.held = false
	g.settle()
	last, _ = lead.log.LastIndex()
	es, err = lead.log.Entries(last, last+1, 1<<40)
	var p txnpb.Entry
	if err != nil || p.Parse(es[0].GetData()) != nil || len(p.Submissions) != 5 {
		t.Fatalf("the last entry holds %d submissions, want the 5 beyond the bound (%v)", len(p.Submissions), err)
	}
}

// TestAllOverdueAtOnce: a stall ends with everything overdue in one tick, among it
// thousands of repetitions. Work that grows with the square of them would show as a
// test that takes minutes.
func TestAllOverdueAtOnce(t *testing.T) {
	g, lead := stalled(t)
	var batches []*Batch
	submit := func(b *Batch) {
		batches = append(batches, b)
		lead.Submit(g.now, 0, b)
	}
	for i := range uint64(MaxInflightEntries + MaxQueueSubmissions) {
		submit(batchOf(0, 30, 0, i+1))
	}
	for range MaxPendingSubmissions - MaxInflightEntries - MaxQueueSubmissions {
		submit(batchOf(0, 30, 0, 1))
	}
	lead.Tick(g.now+20*time.Millisecond, 0)
	if n := lead.work.pending; n != MaxPendingSubmissions {
		t.Fatalf("%d wait before their deadline, want %d", n, MaxPendingSubmissions)
	}
	lead.Tick(g.now+30*time.Millisecond, 0)
	for _, b := range batches {
		if b.open != 0 || b.Outcomes[0].State != txnpb.StatePending {
			t.Fatalf("an overdue submission is %v", b.Outcomes[0].State)
		}
	}
	if w := &lead.work; w.pending+w.pendingBytes+len(w.queue)+w.queueBytes+len(w.waiting)+len(w.batches) != 0 {
		t.Fatalf("something is left: %d pending, %d queued, %d wait", w.pending, len(w.queue), len(w.waiting))
	}
	lead.holdsTogether(t)
}

// TestReadsShareARound: a burst of reads asks the others once, and the reads that come
// meanwhile once more.
func TestReadsShareARound(t *testing.T) {
	g := newGroup(t, 1, 3)
	g.tick(60)
	lead := g.leader()
	asked := 0
	count := func() {
		for lead.Ready(&lead.out) {
			for _, m := range lead.out.Messages {
				if m.GetType() == raftpb.MsgHeartbeat && len(m.GetContext()) > 0 {
					asked++
				}
			}
			g.take(lead)
		}
	}
	for range 500 {
		lead.Read(&Read{})
	}
	count()
	for range 500 {
		lead.Read(&Read{})
	}
	count()
	if asked != 2 { // two other members, one round
		t.Fatalf("%d heartbeats ask for 1000 reads, want 2", asked)
	}
	g.settle()
	if n := len(g.readsDone); n != 1000 {
		t.Fatalf("%d reads are answered, want 1000", n)
	}
}

// TestMembersDoNotForward: what another member proposes is dropped; the entries under
// way are those that this leader counts.
func TestMembersDoNotForward(t *testing.T) {
	g := newGroup(t, 1, 3)
	g.tick(60)
	lead := g.leader()
	before, _ := lead.log.LastIndex()
	lead.Step(&raftpb.Message{Type: raftpb.MsgProp.Enum(), From: new(lead.id%3 + 1), To: new(lead.id), Entries: []*raftpb.Entry{{Data: []byte("x")}}})
	g.settle()
	if after, _ := lead.log.LastIndex(); after != before {
		t.Fatalf("the log went from %d to %d entries", before, after)
	}
}

// TestAllocations: the way of a batch from Submit over the log to its answer.
func TestAllocations(t *testing.T) {
	const submissions = 100
	g := newGroup(t, 1, 1)
	g.tick(60)
	lead := g.leader()
	var b Batch
	for i := range submissions {
		b.Submissions = append(b.Submissions, txnpb.Submission{Transaction: transactionOf(uint64(i+1), 200), RemainingMillis: 1000})
	}
	results := make([]entry.Result, submissions)
	for i := range results {
		key, err := entry.KeyOf(&b.Submissions[i])
		if err != nil {
			t.Fatal(err)
		}
		results[i] = entry.Result{Key: key, Outcome: txnpb.Outcome{State: txnpb.StateCommitted, Csn: 1}}
	}
	var out Output
	round := func() {
		lead.Submit(g.now, 0, &b)
		for lead.Ready(&out) {
			for _, m := range out.Append {
				if err := lead.log.Append(m.GetEntries()); err != nil {
					t.Fatal(err)
				}
				for _, r := range m.GetResponses() {
					lead.Respond(r)
				}
			}
			for _, m := range out.Apply {
				lead.Applied(AppliedEntries{Message: m, Results: results}, 0, 0)
			}
		}
		if b.open != 0 || b.Outcomes[0].State != txnpb.StateCommitted {
			t.Fatalf("the batch is not answered: %+v", b.Outcomes[0])
		}
		lead.Tick(g.now, 0)
	}
	round()
	perBatch := testing.AllocsPerRun(200, round)
	t.Logf("%.0f allocations for a batch of %d", perBatch, submissions)
	if perBatch > 0.75*submissions {
		t.Fatalf("%.0f allocations for a batch of %d submissions", perBatch, submissions)
	}
}

// TestWaitsForRoom: what the log might not hold is not proposed, for it could be committed
// by the others and not be applied here; it goes on with more room, and is refused when
// none can be made.
func TestWaitsForRoom(t *testing.T) {
	g := newGroup(t, 1, 3)
	g.tick(60)
	lead := g.leader()
	room := 0
	lead.cfg.Holds = func(entries []int) bool {
		sum := 0
		for _, n := range entries {
			sum += n
		}
		return sum <= room
	}
	last, _ := lead.log.LastIndex()
	waits := batchOf(0, 0, 0, 1)
	lead.Submit(g.now, 0, waits)
	g.tick(3)
	if now, _ := lead.log.LastIndex(); now != last || waits.open != 1 || !lead.Cramped() {
		t.Fatalf("without room entries %d to %d were proposed, %d submissions wait, cramped %v", last+1, now, waits.open, lead.Cramped())
	}
	room = 1 << 10
	g.tick(3)
	if waits.open != 0 || waits.Outcomes[0].State != txnpb.StateCommitted || lead.Cramped() {
		t.Fatalf("with room again: %+v, cramped %v", waits.Outcomes, lead.Cramped())
	}

	room = 0
	refused, late := batchOf(0, 0, 0, 2), batchOf(0, 0, 0, 3)
	lead.Submit(g.now, 0, refused)
	lead.Full(true)
	lead.Submit(g.now, 0, late)
	for _, b := range []*Batch{refused, late} {
		if o := b.Outcomes[0]; b.open != 0 || o.State != txnpb.StateOverloaded || o.Reason == "" {
			t.Fatalf("on a full disk: %+v", o)
		}
	}
	lead.holdsTogether(t)
	room = 1 << 10
	lead.Full(false)
	again := batchOf(0, 0, 0, 2)
	lead.Submit(g.now, 0, again)
	g.tick(3)
	if again.open != 0 || again.Outcomes[0].State != txnpb.StateCommitted {
		t.Fatalf("after it: %+v", again.Outcomes)
	}
}
