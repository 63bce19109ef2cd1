package gateway

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func TestRequestsOfManyConnectionsShareABatch(t *testing.T) {
	s := newScene(t)
	a, atA := s.client()
	b, atB := s.client()
	s.submit(a, 1, 0)
	s.submit(b, 2, 0)
	s.submit(a, 3, 0)
	calls := s.send()
	if len(calls) != 1 {
		t.Fatalf("%d calls", len(calls))
	}
	equal(t, "batch", ids(t, calls[0]), "1 2 3")
	commit(t, calls[0], nil)
	equal(t, "a", hears(t, atA, 2), "1:committed 3:committed")
	equal(t, "b", hears(t, atB, 1), "2:committed")
	s.empty(a, b)
	if got := s.g.ledgerTime(); got != 5_000_000 {
		t.Errorf("ledger time %d, the outcomes say 5000000", got)
	}
}

// TestWhatArrivesMeanwhileIsTheNextBatch: no more than maxInFlight batches are on
// their way, and the next one takes all that came.
func TestWhatArrivesMeanwhileIsTheNextBatch(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	var calls []engine.Call
	for i := range uint64(maxInFlight) {
		s.submit(c, i+1, 0)
		calls = append(calls, s.send()...)
	}
	if len(calls) != maxInFlight {
		t.Fatalf("%d calls", len(calls))
	}
	for i := range uint64(5) {
		s.submit(c, 100+i, 0)
	}
	if more := s.send(); len(more) != 0 {
		t.Fatalf("%d calls although %d are out", len(more), maxInFlight)
	}
	commit(t, calls[2], nil)
	next := s.send()
	if len(next) != 1 {
		t.Fatalf("%d calls", len(next))
	}
	equal(t, "next batch", ids(t, next[0]), "100 101 102 103 104")
	equal(t, "answer", hears(t, at, 1), "3:committed")
}

func TestBatchesAreBounded(t *testing.T) {
	s := newScene(t)
	c, _ := s.client()
	for i := range uint64(maxBatch + 1) {
		s.submit(c, i+1, 0)
	}
	calls := s.send()
	if len(calls) != 2 || len(strings.Fields(ids(t, calls[0]))) != maxBatch || ids(t, calls[1]) != fmt.Sprint(maxBatch+1) {
		t.Fatalf("%d calls", len(calls))
	}
	// By bytes: three transactions of 600 kB do not fit one batch, each alone does.
	big := message.Marshal(&txnpb.Transaction{Id: u128.From64(9), Users: []txnpb.UserChange{{Verifier: strings.Repeat("x", 600<<10)}}})
	for range 3 {
		c.submit(&message.Envelope{Call: 9, Body: big}, &session{user: s.u, role: message.RoleClient}, s.h.Now())
	}
	commit(t, calls[0], nil)
	commit(t, calls[1], nil)
	if calls = s.send(); len(calls) != 3 {
		t.Fatalf("%d calls for three large transactions", len(calls))
	}
}

func TestBounds(t *testing.T) {
	s := newScene(t)
	s.g.cfg.Window = 3
	c, at := s.client()
	for i := range uint64(5) {
		s.submit(c, i+1, 0)
	}
	c.fc.Flush()
	equal(t, "over the window", hears(t, at, 2), "4:overloaded 5:overloaded")
	commit(t, s.send()[0], nil)
	equal(t, "within it", hears(t, at, 3), "1:committed 2:committed 3:committed")
	s.submit(c, 6, 0)
	commit(t, s.send()[0], nil)
	equal(t, "room again", hears(t, at, 1), "6:committed")

	s.u.inFlight.Store(maxUserInFlight)
	s.submit(c, 7, 0)
	c.fc.Flush()
	equal(t, "over the user's bound", hears(t, at, 1), "7:overloaded")
	s.u.inFlight.Store(0)

	s.g.queue.count.Store(maxQueued)
	s.submit(c, 8, 0)
	c.fc.Flush()
	equal(t, "over the queue's bound", hears(t, at, 1), "8:overloaded")
	s.g.queue.count.Store(0)

	s.g.queue.bytes = maxQueuedBytes
	s.submit(c, 9, 0)
	c.fc.Flush()
	equal(t, "over the queue's bytes", hears(t, at, 1), "9:overloaded")
	s.g.queue.bytes = 0
	s.empty(c)
	if n := s.g.counters.overloaded.Load(); n != 5 {
		t.Errorf("%d counted as overloaded", n)
	}
}

func TestConnectionBytesAreBounded(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	big := message.Marshal(&txnpb.Transaction{Id: u128.From64(1), Users: []txnpb.UserChange{{Verifier: strings.Repeat("x", 4<<20-100)}}})
	for range 4 {
		c.submit(&message.Envelope{Call: 1, Body: big}, &session{user: s.u, role: message.RoleClient}, s.h.Now())
	}
	s.submit(c, 2, 0)
	s.submit(c, 3, 0)
	c.fc.Flush()
	for i := range 300 { // what is left of 16 MiB
		s.submit(c, uint64(100+i), 0)
	}
	c.fc.Flush()
	if got := hears(t, at, 1); !strings.HasSuffix(got, ":overloaded") {
		t.Fatal(got)
	}
}

// TestRetries: what no leader executed, or what nothing is known of, is sent again
// under the same id, and the client hears the final outcome alone.
func TestRetries(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	for i := range uint64(5) {
		s.submit(c, i+1, time.Second)
	}
	commit(t, s.send()[0], map[uint64]txnpb.State{2: txnpb.StateNotLeader, 4: txnpb.StateUnknown, 5: txnpb.StateAborted})
	equal(t, "first answers", hears(t, at, 3), "1:committed 3:committed 5:aborted")
	if calls := s.send(); len(calls) != 0 {
		t.Fatal("sent again without a pause")
	}
	s.pass(expiryTick)
	calls := s.send()
	equal(t, "sent again", ids(t, calls[0]), "2 4")
	var in txnpb.SubmitBatch
	if err := in.Parse(calls[0].Body); err != nil || in.Submissions[0].RemainingMillis > 1000 || in.Submissions[0].RemainingMillis < 980 {
		t.Fatalf("remaining %d ms: %v", in.Submissions[0].RemainingMillis, err)
	}
	// The leader was lost with it.
	calls[0].Done(engine.Reply{Code: message.Unknown})
	s.pass(expiryTick)
	calls = s.send()
	equal(t, "and again", ids(t, calls[0]), "2 4")
	// Overloaded is no answer now: an earlier sending may have been executed.
	calls[0].Done(engine.Reply{Code: message.Overloaded})
	s.pass(2 * expiryTick)
	calls = s.send()
	equal(t, "and again", ids(t, calls[0]), "2 4")
	commit(t, calls[0], map[uint64]txnpb.State{2: txnpb.StateClockUnsynced, 4: txnpb.StateClockUnsynced})
	s.pass(5 * expiryTick)
	calls = s.send()
	equal(t, "and again", ids(t, calls[0]), "2 4")
	commit(t, calls[0], map[uint64]txnpb.State{2: txnpb.StateOverloaded})
	equal(t, "one final", hears(t, at, 1), "4:committed")
	s.pass(5 * expiryTick)
	calls = s.send()
	equal(t, "the other once more", ids(t, calls[0]), "2")
	commit(t, calls[0], nil)
	equal(t, "the other final", hears(t, at, 1), "2:committed")
	s.empty(c)
	if n := s.g.counters.retries.Load(); n != 9 {
		t.Errorf("%d counted as retries", n)
	}
}

func TestMalformedOutcomesDecideNothing(t *testing.T) {
	for name, body := range map[string][]byte{
		"none":     nil,
		"too few":  message.Marshal(&txnpb.Outcomes{Outcomes: []txnpb.Outcome{{Id: u128.From64(1), State: txnpb.StateCommitted}}}),
		"rubbish":  {0xff, 0xff, 0xff},
		"half one": {tagOutcome, 40, 0x10},
	} {
		t.Run(name, func(t *testing.T) {
			s := newScene(t)
			c, at := s.client()
			s.submit(c, 1, time.Second)
			s.submit(c, 2, time.Second)
			s.send()[0].Done(engine.Reply{Body: body})
			s.pass(expiryTick)
			commit(t, s.send()[0], nil)
			if got := hears(t, at, 2); got != "1:committed 2:committed" {
				t.Fatal(got)
			}
			s.empty(c)
		})
	}
}

// TestDeadlines: at the deadline the answer is PENDING, whatever the batch is
// doing, and the outcome that comes later is told to nobody.
func TestDeadlines(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	s.submit(c, 1, 50*time.Millisecond)
	s.submit(c, 2, 5*time.Second)
	calls := s.send()
	if d := calls[0].Timeout; d != 5*time.Second+expiryTick {
		t.Errorf("the call is given %v", d)
	}
	s.pass(40 * time.Millisecond)
	s.silent(at)
	s.pass(10 * time.Millisecond)
	equal(t, "at the deadline", hears(t, at, 1), "1:pending")
	commit(t, calls[0], nil)
	equal(t, "the other", hears(t, at, 1), "2:committed")
	s.silent(at)
	s.empty(c)

	// Never sent: the queue was stuck behind others.
	for i := range uint64(maxInFlight) {
		s.submit(c, 10+i, time.Hour)
		s.send()
	}
	s.submit(c, 3, 50*time.Millisecond)
	s.submit(c, 4, 0)
	s.pass(50 * time.Millisecond)
	equal(t, "in the queue", hears(t, at, 1), "3:pending")
	s.pass(maxWait)
	equal(t, "without a deadline", hears(t, at, 1), "4:pending")
	// What is overdue is not sent any more.
	s.submit(c, 5, time.Second)
	s.submit(c, 6, 10*time.Second)
	s.pass(time.Second)
	equal(t, "in the queue", hears(t, at, 1), "5:pending")
	s.calls()
	for _, b := range s.g.queue.flying {
		s.g.queue.done(b, &engine.Reply{Code: message.Draining})
		break
	}
	calls = s.send()
	if len(calls) != 1 {
		t.Fatalf("%d calls", len(calls))
	}
	equal(t, "still in time", ids(t, calls[0]), "6")
	if n := s.g.counters.pending.Load(); n != 4 {
		t.Errorf("%d counted as pending", n)
	}
}

// TestRefusedBatches: a refusal of the whole batch is found out one by one, so that
// one transaction does not spoil it for the others.
func TestRefusedBatches(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	for i := range uint64(3) {
		s.submit(c, i+1, time.Minute)
	}
	s.send()[0].Done(engine.Reply{Code: message.Quarantined, Detail: "it crashed the Component"})
	s.pass(expiryTick)
	calls := s.send()
	if len(calls) != 3 {
		t.Fatalf("%d calls", len(calls))
	}
	commit(t, calls[0], nil)
	calls[1].Done(engine.Reply{Code: message.Quarantined})
	commit(t, calls[2], nil)
	// Whether the crash came before or after it was made durable is not known.
	equal(t, "answers", hears(t, at, 3), "1:committed 2:unknown 3:committed")
	s.submit(c, 4, time.Minute)
	s.send()[0].Done(engine.Reply{Code: message.Denied})
	equal(t, "alone", hears(t, at, 1), "4:denied")
	s.submit(c, 5, time.Minute)
	s.submit(c, 6, time.Minute)
	s.send()[0].Done(engine.Reply{Code: message.Overloaded})
	equal(t, "overloaded", hears(t, at, 2), "5:overloaded 6:overloaded")
	s.empty(c)
}

// TestDoubt: when an SFU is suspected, batches without an answer are sent again,
// and the first answer counts.
func TestDoubt(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	s.submit(c, 1, time.Minute)
	first := s.send()
	s.pass(time.Second)
	if calls := s.calls(); len(calls) != 0 {
		t.Fatalf("%d calls although nobody is suspected", len(calls))
	}
	s.g.queue.peerChanged(engine.PeerEvent{Change: engine.PeerSuspect})
	s.pass(3 * doubtEvery)
	calls := s.calls()
	if len(calls) != 3 || !bytes.Equal(calls[2].Body, first[0].Body) {
		t.Fatalf("%d calls", len(calls))
	}
	calls[0].Done(engine.Reply{Code: message.Unavailable}) // others are out yet
	s.silent(at)
	commit(t, calls[1], nil)
	equal(t, "the first answer", hears(t, at, 1), "1:committed")
	commit(t, first[0], nil)
	calls[2].Done(engine.Reply{Code: message.Unknown})
	s.silent(at)
	s.empty(c)

	// Doubt ends, and sendings without an answer are bounded.
	s.submit(c, 2, time.Minute)
	s.send()
	s.pass(doubtAfter + time.Second)
	if n := len(s.calls()); n != maxUnder-1 {
		t.Errorf("%d more calls, want %d", n, maxUnder-1)
	}
	s.pass(time.Second)
	if n := len(s.calls()); n != 0 {
		t.Errorf("%d calls after the doubt", n)
	}
	s.g.queue.peerChanged(engine.PeerEvent{Change: engine.PeerRecovered})
	s.pass(time.Second)
	if n := len(s.calls()); n != 0 {
		t.Errorf("%d calls after a recovery", n)
	}
}

// TestBatchIsASubmitBatch: the bytes that are put together by hand are those of the
// generated code.
func TestBatchIsASubmitBatch(t *testing.T) {
	var want txnpb.SubmitBatch
	var b batch
	for i, tx := range []string{"", "x", strings.Repeat("y", 126), strings.Repeat("y", 127), strings.Repeat("y", 130), strings.Repeat("z", 20_000)} {
		s := txnpb.Submission{Transaction: []byte(tx), Principal: uint64(i) << 40, Role: uint32(i), RemainingMillis: uint32(i * 1000)}
		want.Submissions = append(want.Submissions, s)
		b.add(entry{deadline: time.Duration(100 - i)}, &s)
		if got := b.transaction(&b.entries[i]); string(got) != tx {
			t.Errorf("transaction %d reads %.20q…", i, got)
		}
	}
	if got := message.Marshal(&want); !bytes.Equal(b.body, got) {
		t.Errorf("got  %x\nwant %x", b.body, got)
	}
	if b.earliest != 95 {
		t.Errorf("earliest %v", b.earliest)
	}
}

// TestOutcomesAreSplit: what the gateway looks for in an outcome is where the
// generated code puts it.
func TestOutcomesAreSplit(t *testing.T) {
	want := []txnpb.Outcome{
		{Id: u128.Max, State: txnpb.StateCommitted, Csn: 1 << 60, Results: &txnpb.Results{Timestamp: 1 << 62, Count: 2}, UserNumbers: []uint64{1, 2}},
		{},
		{Id: u128.From64(1), State: txnpb.StateRefused, Reason: strings.Repeat("r", 300)},
		{State: txnpb.StateAborted, Results: &txnpb.Results{Count: 1, Exceptions: []txnpb.Exception{{Index: 1, Status: 9, Timestamp: 5}}}},
	}
	body := message.Marshal(&txnpb.Outcomes{Outcomes: want})
	at := 0
	for i := range want {
		var o outcome
		if o, at = nextOutcome(body, at); at < 0 {
			t.Fatalf("outcome %d is not found", i)
		}
		stamp := uint64(0)
		if want[i].Results != nil {
			stamp = want[i].Results.Timestamp
		}
		if !bytes.Equal(o.body, message.Marshal(&want[i])) || o.state != want[i].State || o.timestamp != stamp {
			t.Errorf("outcome %d: %+v", i, o)
		}
	}
	if _, at = nextOutcome(body, at); at >= 0 {
		t.Error("one outcome too many")
	}
}

// TestTargets: what is asked of one SFU is asked of the one that the client names,
// and of this one if it names none; the rest goes by the service's own policy.
func TestTargets(t *testing.T) {
	s := newScene(t)
	c, _ := s.client()
	for _, tt := range []struct{ service, method, to, want uint16 }{
		{txnpb.ReplicaService, txnpb.ReplicaStatusMethod, 0, 1},
		{txnpb.ReplicaService, txnpb.ReplicaStatusMethod, 3, 3},
		{gatewaypb.GatewayService, gatewaypb.GatewayStatusMethod, 0, 1},
		{gatewaypb.GatewayService, gatewaypb.GatewayStatusMethod, 2, 2},
		{txnpb.TxnService, txnpb.TxnStatusMethod, 0, 0},
	} {
		a := open[methodKey{tt.service, tt.method}]
		c.forward(&message.Envelope{Service: tt.service, Method: tt.method, To: tt.to}, &a, &session{user: s.u, role: message.RoleOperator})
		if calls := s.calls(); len(calls) != 1 || calls[0].Target != tt.want {
			t.Errorf("%+v: %+v", tt, calls)
		}
	}
}

// TestStaleReads: only a read that says so goes to any replica.
func TestStaleReads(t *testing.T) {
	s := newScene(t)
	c, _ := s.client()
	for _, q := range []txnpb.Query{{}, {Stale: true}, {MinCsn: 9}, {MinCsn: 9, Stale: true}} {
		read := open[methodKey{txnpb.TxnService, txnpb.TxnReadMethod}]
		c.forward(&message.Envelope{Service: txnpb.TxnService, Method: txnpb.TxnReadMethod, Body: message.Marshal(&q)}, &read, &session{user: s.u, role: message.RoleClient})
		if calls := s.calls(); len(calls) != 1 || calls[0].Any != q.Stale || calls[0].Principal != 7 {
			t.Errorf("%v: %+v", q, calls)
		}
	}
	if stale(message.Marshal(&txnpb.StatusRequest{Id: u128.Max})) || stale([]byte{0x48}) || stale([]byte{0xff}) {
		t.Error("what is no stale query is one")
	}
}

func FuzzNextOutcome(f *testing.F) {
	f.Add(message.Marshal(&txnpb.Outcomes{Outcomes: []txnpb.Outcome{{Id: u128.Max, State: txnpb.StateCommitted, Results: &txnpb.Results{Timestamp: 9}}, {}}}))
	f.Add([]byte{tagOutcome, 4, tagResults, 2, tagTimestamp, 0x80})
	f.Fuzz(func(t *testing.T, b []byte) {
		for i := 0; i >= 0; {
			before := i
			if _, i = nextOutcome(b, i); i >= 0 && i <= before {
				t.Fatalf("no progress at %d", before)
			}
		}
	})
}

// TestAllocations: taking a transaction into a batch and answering it allocates
// nothing by itself; a batch does.
func TestAllocations(t *testing.T) {
	s := newScene(t)
	c, at := s.client()
	go func() {
		for {
			if _, err := at.Next(); err != nil {
				return
			}
		}
	}()
	const perBatch = 100
	body := message.Marshal(&txnpb.Transaction{Id: u128.Max})
	out := &txnpb.Outcomes{Outcomes: make([]txnpb.Outcome, perBatch)}
	for i := range out.Outcomes {
		out.Outcomes[i] = txnpb.Outcome{Id: u128.Max, State: txnpb.StateCommitted, Csn: 9}
	}
	answer := message.Marshal(out)
	e := message.Envelope{Call: 1, Body: body}
	in := &session{user: s.u, role: message.RoleClient}
	round := func() {
		for range perBatch {
			c.submit(&e, in, s.h.now)
		}
		q := s.g.queue
		q.mu.Lock()
		b := q.nextLocked()
		q.mu.Unlock()
		q.call(b)
		s.h.calls[0].Done(engine.Reply{Body: answer})
		s.h.calls = s.h.calls[:0]
	}
	round()
	if n := testing.AllocsPerRun(100, round) / perBatch; n > 0.1 && !raceEnabled {
		t.Errorf("%v allocations for each transaction", n)
	}
	s.empty(c)
}
