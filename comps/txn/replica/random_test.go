package replica

import (
	"fmt"
	mathrand "math/rand/v2"
	"slices"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestEveryBatchIsAnsweredOnce drives a group at random: whatever happens, each
// batch and each read is finished exactly once, what was said to be committed is
// committed on every member in the same place, a read sees all that was said to be
// committed before it was asked, and nothing waits that was answered.
func TestEveryBatchIsAnsweredOnce(t *testing.T) {
	seeds := 60
	if testing.Short() {
		seeds = 10
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			r := &randomRun{group: newGroup(t, byte(seed), 3), rng: mathrand.New(mathrand.NewPCG(uint64(seed), 1)), committed: map[u128.Int]uint64{}}
			for range 400 {
				r.step()
				r.settle()
				r.collect()
			}
			r.heal()
			r.tick(100)
			r.collect()
			r.check()
		})
	}
}

// randomRead is a read with what had been committed when it was asked.
type randomRead struct {
	*Read
	at  *member
	csn uint64
}

type randomRun struct {
	*group
	rng       *mathrand.Rand
	batches   []*Batch
	reads     []randomRead
	committed map[u128.Int]uint64
	csn       uint64 // greatest that a client was told
	next      uint64
}

func (r *randomRun) step() {
	m := r.members[1+r.rng.Uint64N(3)]
	switch r.rng.IntN(12) {
	case 0, 1, 2, 3:
		ids := []uint64{r.next + 1, r.next + 2}
		if r.rng.IntN(4) == 0 && r.next > 2 {
			ids = []uint64{r.next - r.rng.Uint64N(3)} // the same again
		} else {
			r.next += 2
		}
		remaining := []uint32{0, 20, 200}[r.rng.IntN(3)]
		timeout := uint32(0)
		if r.rng.IntN(4) == 0 {
			timeout = 1 + r.rng.Uint32N(100)
		}
		b := batchOf(1+r.rng.Uint64N(2), remaining, timeout, ids...)
		r.batches = append(r.batches, b)
		if r.rng.IntN(6) == 0 {
			m.Resolve(r.now, uint64(r.now), b)
		} else {
			m.Submit(r.now, uint64(r.now), b)
		}
	case 4:
		m.held = !m.held
	case 5:
		m.lazy = !m.lazy
	case 6:
		r.cut[[2]uint64{m.id, 1 + r.rng.Uint64N(3)}] = true
	case 7:
		clear(r.cut)
	case 8:
		if m.Suspect(1+r.rng.Uint64N(3), r.rng.IntN(2) == 0); r.rng.IntN(4) == 0 {
			m.HandOver()
		}
	case 9:
		rd := randomRead{Read: &Read{}, at: m, csn: r.csn}
		rd.Origin = len(r.reads)
		if r.rng.IntN(2) == 0 {
			rd.Deadline = r.now + time.Duration(r.rng.IntN(100))*time.Millisecond
		}
		r.reads = append(r.reads, rd)
		m.Read(rd.Read)
	default:
		r.tick(1 + r.rng.IntN(5))
	}
}

// collect looks at what was finished.
func (r *randomRun) collect() {
	for _, b := range r.batches {
		if r.finished[b] > 1 {
			r.t.Fatalf("a batch was finished %d times: %+v", r.finished[b], b.Outcomes)
		}
		if r.finished[b] == 0 {
			continue
		}
		for _, o := range b.Outcomes {
			if o.State != txnpb.StateCommitted {
				continue
			}
			if was, ok := r.committed[o.Id]; ok && was != o.Csn {
				r.t.Fatalf("id %v committed as %d and as %d", o.Id, was, o.Csn)
			}
			r.committed[o.Id] = o.Csn
			r.csn = max(r.csn, o.Csn)
		}
	}
	for i := range r.reads {
		rd := &r.reads[i]
		n := r.readsDone[rd.Read]
		if n > 1 {
			r.t.Fatalf("read %v was finished %d times", rd.Origin, n)
		}
		if n == 1 && !rd.Failed && r.sawAt[rd.Read] < rd.csn {
			r.t.Fatalf("read %v at member %d sees CSN %d, %d had been told before it was asked", rd.Origin, rd.at.id, r.sawAt[rd.Read], rd.csn)
		}
	}
	for _, m := range r.members {
		m.holdsTogether(r.t)
	}
}

// holdsTogether looks at the invariants of what waits.
func (m *member) holdsTogether(t *testing.T) {
	w := &m.work
	open, bytes := 0, 0
	for _, b := range w.batches {
		if b.open > 0 {
			open += b.open
			bytes += b.bytes
		}
	}
	waiting := 0
	for key, q := range w.waiting {
		for _, s := range append([]slot{q.first}, q.more...) {
			if waiting++; s.state().answered || s.state().key != key {
				t.Fatalf("member %d: %v waits under %v, answered %v", m.id, s.state().key, key, s.state().answered)
			}
		}
	}
	queued := 0
	for _, s := range w.queue {
		queued += len(s.submission().Transaction)
	}
	if slices.ContainsFunc(slices.Concat(w.queue, w.resolves), func(s slot) bool { return s.state().answered }) {
		t.Fatalf("member %d: something queued is answered", m.id)
	}
	if open != w.pending || bytes != w.pendingBytes || open != waiting+len(w.queue)+len(w.resolves) || queued != w.queueBytes {
		t.Fatalf("member %d: %d open of %d bytes; pending %d of %d bytes, %d wait, %d and %d queued, %d bytes of %d",
			m.id, open, bytes, w.pending, w.pendingBytes, waiting, len(w.queue), len(w.resolves), queued, w.queueBytes)
	}
	if !m.leading && (open > 0 || len(w.proposed) > 0 || len(m.reads.fresh)+len(m.reads.asked)+len(m.reads.known) > 0) {
		t.Fatalf("member %d does not lead, and yet %d submissions wait", m.id, open)
	}
	if len(w.proposed) > MaxInflightEntries {
		t.Fatalf("member %d: %d entries are under way", m.id, len(w.proposed))
	}
}

// heal ends all faults.
func (r *randomRun) heal() {
	clear(r.cut)
	for _, m := range r.members {
		m.held, m.lazy = false, false
		for id := range r.members {
			m.Suspect(id, false)
		}
	}
}

func (r *randomRun) check() {
	for i, b := range r.batches {
		if r.finished[b] == 0 {
			r.t.Fatalf("batch %d of %d was never answered: %+v", i, len(r.batches), b.Outcomes)
		}
	}
	for i := range r.reads {
		if r.readsDone[r.reads[i].Read] == 0 {
			r.t.Fatalf("read %d of %d was never answered", i, len(r.reads))
		}
	}
	for id, csn := range r.committed {
		for _, m := range r.members {
			if m.state.rows[id].outcome.Csn != csn {
				r.t.Fatalf("id %v was committed as %d, member %d has %+v", id, csn, m.id, m.state.rows[id])
			}
		}
	}
	for _, m := range r.members {
		if m.state.nextExpiry() != 0 {
			r.t.Fatalf("member %d: %d transfers still pend", m.id, len(m.state.pendings))
		}
	}
	if len(r.committed) == 0 {
		r.t.Fatal("nothing was ever committed: the test tests nothing")
	}
}
