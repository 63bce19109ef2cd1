package replica

import (
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"math/big"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// member is one replica with its threads, driven by hand.
type member struct {
	*Replica
	id     uint64
	log    *raft.MemoryStorage
	append []*raftpb.Message
	apply  []*raftpb.Message
	csn    uint64
	rows   map[u128.Int]txnpb.Outcome
	down   bool
	held   bool // its append thread waits
	told   []string
}

// group is three members and the network between them.
type group struct {
	t       *testing.T
	now     time.Duration
	members map[uint64]*member
	wire    []*raftpb.Message
	cut     map[[2]uint64]bool
}

// drbg makes raft's random election times repeat.
type drbg struct{ *mathrand.ChaCha8 }

func (d drbg) Read(p []byte) (int, error) { return d.ChaCha8.Read(p) }

func newGroup(t *testing.T, seed byte) *group {
	old := rand.Reader
	rand.Reader = drbg{mathrand.NewChaCha8([32]byte{seed})}
	t.Cleanup(func() { rand.Reader = old })
	g := &group{t: t, members: map[uint64]*member{}, cut: map[[2]uint64]bool{}}
	for id := uint64(1); id <= 3; id++ {
		m := &member{id: id, log: raft.NewMemoryStorage(), rows: map[u128.Int]txnpb.Outcome{}}
		conf := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{ConfState: &raftpb.ConfState{Voters: []uint64{1, 2, 3}}}}
		if err := m.log.ApplySnapshot(conf); err != nil {
			t.Fatal(err)
		}
		g.members[id] = m
		g.start(m)
	}
	return g
}

func (g *group) start(m *member) {
	var err error
	m.Replica, err = New(Config{ID: m.id, Epoch: 1, Log: m.log, Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)}})
	if err != nil {
		g.t.Fatal(err)
	}
	m.append, m.apply = nil, nil
}

func (g *group) ids() []uint64 { return []uint64{1, 2, 3} }

// settle runs threads and network until nothing moves.
func (g *group) settle() {
	for moved := true; moved; {
		moved = false
		for _, id := range g.ids() {
			m := g.members[id]
			if m.down {
				continue
			}
			var out Output
			for m.Ready(&out) {
				moved = true
				if out.LeadChanged {
					m.told = append(m.told, fmt.Sprintf("leader %d term %d", out.Lead, out.Term))
				}
				g.wire = append(g.wire, out.Messages...)
				m.append = append(m.append, out.Append...)
				m.apply = append(m.apply, out.Apply...)
				for _, b := range out.Finished {
					for i := range b.Outcomes {
						m.told = append(m.told, outcomeLine(&b.Outcomes[i]))
					}
				}
				for _, rd := range out.Reads {
					m.told = append(m.told, fmt.Sprintf("read %v failed=%v", rd.Origin, rd.Failed))
				}
			}
			moved = g.threads(m) || moved
		}
		wire := g.wire
		g.wire = nil
		for _, msg := range wire {
			to := g.members[msg.GetTo()]
			if to.down || g.members[msg.GetFrom()].down || g.cut[[2]uint64{msg.GetFrom(), msg.GetTo()}] {
				continue
			}
			moved = true
			to.Step(msg)
		}
	}
}

// threads runs the append and apply threads of one member once.
func (g *group) threads(m *member) (moved bool) {
	for !m.held && len(m.append) > 0 {
		moved = true
		msg := m.append[0]
		m.append = m.append[1:]
		if err := m.log.Append(msg.GetEntries()); err != nil {
			g.t.Fatal(err)
		}
		if msg.GetTerm() != 0 {
			hs := &raftpb.HardState{Term: new(msg.GetTerm()), Vote: new(msg.GetVote()), Commit: new(msg.GetCommit())}
			if err := m.log.SetHardState(hs); err != nil {
				g.t.Fatal(err)
			}
		}
		for _, r := range msg.GetResponses() {
			if r.GetTo() == m.id {
				m.Respond(r)
			} else {
				g.wire = append(g.wire, r)
			}
		}
	}
	for len(m.apply) > 0 {
		moved = true
		msg := m.apply[0]
		m.apply = m.apply[1:]
		m.Applied(AppliedEntries{Message: msg, Results: m.applyEntries(g.t, msg)}, uint64(g.now))
	}
	return moved
}

// applyEntries stands in for the machine: every new id is committed, a repeated
// one gets its first answer.
func (m *member) applyEntries(t *testing.T, msg *raftpb.Message) (results []entry.Result) {
	for _, e := range msg.GetEntries() {
		var p txnpb.Entry
		if err := p.Parse(e.GetData()); err != nil {
			t.Fatal(err)
		}
		for i := range p.Submissions {
			key, err := entry.KeyOf(&p.Submissions[i])
			if err != nil {
				t.Fatal(err)
			}
			o, ok := m.rows[key.ID]
			if !ok {
				m.csn++
				o = txnpb.Outcome{Id: key.ID, State: txnpb.StateCommitted, Csn: m.csn}
				m.rows[key.ID] = o
			}
			results = append(results, entry.Result{Key: key, Outcome: o})
		}
		for _, q := range p.Resolves {
			o, ok := m.rows[q.Id]
			if !ok {
				o = txnpb.Outcome{Id: q.Id, State: txnpb.StateAborted}
				m.rows[q.Id] = o
			}
			results = append(results, entry.Result{Key: entry.Key{ID: q.Id}, Outcome: o})
		}
	}
	return results
}

func outcomeLine(o *txnpb.Outcome) string {
	s := fmt.Sprintf("%v %v", o.Id, o.State)
	if o.Csn != 0 {
		s += fmt.Sprintf(" csn %d", o.Csn)
	}
	if o.Reason != "" {
		s += " (" + o.Reason + ")"
	}
	return s
}

// report prints and forgets what the members said.
func (g *group) report() string {
	var b strings.Builder
	for _, id := range g.ids() {
		for _, line := range g.members[id].told {
			fmt.Fprintf(&b, "%d: %s\n", id, line)
		}
		g.members[id].told = nil
	}
	if b.Len() == 0 {
		return "ok\n"
	}
	return b.String()
}

func (g *group) tick(n int) {
	for range n {
		g.now += DefaultTick
		for _, id := range g.ids() {
			if m := g.members[id]; !m.down {
				m.Tick(g.now, uint64(g.now))
			}
		}
		g.settle()
	}
}

func batchOf(remaining uint32, ids ...uint64) *Batch {
	b := &Batch{}
	for _, id := range ids {
		tx := txnpb.Transaction{Id: u128.From64(id)}
		b.Submissions = append(b.Submissions, txnpb.Submission{Transaction: message.Marshal(&tx), RemainingMillis: remaining})
	}
	return b
}

// TestTranscripts plays testdata; `go test -rewrite` writes what is said now.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		g := newGroup(t, 1)
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			arg := func(key string) (v uint64) {
				if d.HasArg(key) {
					d.ScanArgs(t, key, &v)
				}
				return v
			}
			m := g.members[arg("at")]
			var ids []uint64
			for _, a := range d.CmdArgs {
				if a.Key == "ids" {
					for _, v := range a.Vals {
						n, _ := new(big.Int).SetString(v, 10)
						ids = append(ids, n.Uint64())
					}
				}
			}
			switch d.Cmd {
			case "tick":
				g.tick(int(arg("n")))
			case "campaign":
				if err := m.node.Campaign(); err != nil {
					return err.Error()
				}
			case "submit":
				m.Submit(g.now, uint64(g.now), batchOf(uint32(arg("remaining")), ids...))
			case "resolve":
				m.Resolve(g.now, uint64(g.now), batchOf(uint32(arg("remaining")), ids...))
			case "read":
				m.Read(&Read{Origin: arg("name"), Deadline: g.now + 100*time.Millisecond})
			case "hold":
				m.held = true
			case "release":
				m.held = false
			case "cut":
				for _, id := range g.ids() {
					g.cut[[2]uint64{m.id, id}], g.cut[[2]uint64{id, m.id}] = true, true
				}
			case "heal":
				clear(g.cut)
			case "kill":
				m.down = true
			case "start":
				m.down = false
				g.start(m)
			case "suspect":
				for _, id := range g.ids() {
					if o := g.members[id]; o != m && !o.down {
						o.Suspect(m.id, true)
					}
				}
			case "hand-over":
				return fmt.Sprintln(m.HandOver()) + func() string { g.settle(); return g.report() }()
			case "status":
				return fmt.Sprintf("%+v\n", m.Status())
			case "entries":
				return g.entries(m)
			default:
				t.Fatalf("unknown command %q", d.Cmd)
			}
			g.settle()
			return g.report()
		})
	})
}

// entries lists a member's log.
func (g *group) entries(m *member) string {
	last, _ := m.log.LastIndex()
	first, _ := m.log.FirstIndex()
	if last < first {
		return "empty\n"
	}
	all, err := m.log.Entries(first, last+1, 1<<30)
	if err != nil {
		g.t.Fatal(err)
	}
	var b strings.Builder
	for _, e := range all {
		var p txnpb.Entry
		if err := p.Parse(e.GetData()); err != nil {
			g.t.Fatal(err)
		}
		var ids []string
		for i := range p.Submissions {
			key, _ := entry.KeyOf(&p.Submissions[i])
			ids = append(ids, key.ID.String())
		}
		for _, q := range p.Resolves {
			ids = append(ids, "resolve "+q.Id.String())
		}
		fmt.Fprintf(&b, "%d term %d: %s\n", e.GetIndex(), e.GetTerm(), strings.Join(ids, " "))
	}
	return b.String()
}

// TestEveryBatchIsAnsweredOnce drives a group at random: whatever happens, each
// batch is finished exactly once, and what was said to be committed is committed
// on every member in the same place.
func TestEveryBatchIsAnsweredOnce(t *testing.T) {
	for seed := range 60 {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			g := newGroup(t, byte(seed))
			rng := mathrand.New(mathrand.NewPCG(uint64(seed), 1))
			finished := map[*Batch]int{}
			var all []*Batch
			committed := map[u128.Int]uint64{}
			next := uint64(1)
			collect := func() {
				for _, b := range all {
					if b.open == 0 && finished[b] == 0 {
						finished[b] = 1
						for _, o := range b.Outcomes {
							if o.State == txnpb.StateCommitted {
								if was, ok := committed[o.Id]; ok && was != o.Csn {
									t.Fatalf("id %v committed as %d and as %d", o.Id, was, o.Csn)
								}
								committed[o.Id] = o.Csn
							}
						}
					}
				}
			}
			for range 400 {
				m := g.members[1+rng.Uint64N(3)]
				switch rng.IntN(10) {
				case 0, 1, 2, 3:
					if !m.down {
						b := batchOf(200, next, next+1)
						if rng.IntN(4) == 0 && next > 2 {
							b = batchOf(200, next-2) // the same again
						}
						next += 2
						all = append(all, b)
						m.Submit(g.now, uint64(g.now), b)
					}
				case 4:
					m.held = !m.held
				case 5:
					g.cut[[2]uint64{m.id, 1 + rng.Uint64N(3)}] = true
				case 6:
					clear(g.cut)
				case 7:
					if m.Suspect(1+rng.Uint64N(3), rng.IntN(2) == 0); rng.IntN(4) == 0 {
						m.HandOver()
					}
				default:
					g.tick(1 + rng.IntN(5))
				}
				g.settle()
				collect()
			}
			clear(g.cut)
			for _, m := range g.members {
				m.held = false
				for id := range g.members {
					m.Suspect(id, false)
				}
			}
			g.tick(100)
			collect()
			for i, b := range all {
				if finished[b] == 0 {
					t.Fatalf("batch %d of %d was never answered: %+v", i, len(all), b.Outcomes)
				}
			}
			for id, csn := range committed {
				for _, m := range g.members {
					if m.rows[id].Csn != csn {
						t.Fatalf("id %v was committed as %d, member %d has %+v", id, csn, m.id, m.rows[id])
					}
				}
			}
			if len(committed) == 0 {
				t.Fatal("nothing was ever committed: the test tests nothing")
			}
		})
	}
}

func TestQueueIsBounded(t *testing.T) {
	g := newGroup(t, 1)
	g.tick(60)
	lead := g.members[g.members[1].lead]
	lead.held = true // nothing is applied: everything queues
	var last txnpb.State
	for i := range uint64(MaxInflightEntries*MaxEntrySubmissions + MaxQueueSubmissions + 1) {
		b := batchOf(0, i+1)
		lead.Submit(g.now, 0, b)
		last = b.Outcomes[0].State
	}
	if last != txnpb.StateOverloaded {
		t.Fatalf("the last submission is %v, want overloaded", last)
	}
	if n := len(lead.queue); n != MaxQueueSubmissions {
		t.Fatalf("%d submissions are queued, the bound is %d", n, MaxQueueSubmissions)
	}
	if slices.ContainsFunc(lead.queue, func(s slot) bool { return s.batch.Outcomes[s.at].State != txnpb.StateUnknown }) {
		t.Fatal("a queued submission has an answer already")
	}
}
