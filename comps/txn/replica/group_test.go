package replica

import (
	"crypto/rand"
	"fmt"
	"io"
	"log"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// member is one replica with its threads, driven by hand.
type member struct {
	*Replica
	id       uint64
	log      *raft.MemoryStorage
	append   []*raftpb.Message
	apply    []*raftpb.Message
	state    state
	pinned   state // what the log's snapshot is of
	down     bool
	held     bool                       // its append thread waits
	until    func(*raftpb.Message) bool // its append thread waits before such a message
	lazy     bool                       // its apply thread waits
	light    bool                       // it is a witness
	skew     time.Duration              // of its wall clock
	software uint32                     // the newest apply version that it knows
	told     []string
	out      Output
}

// state stands in for the machine's: every new id is committed, a repeated one gets
// its first answer, and a transaction with a time-out pends until a pulse.
type state struct {
	applied  uint64
	csn      uint64
	rows     map[u128.Int]row
	pendings []uint64 // expiries, ascending
	group    roster.State
}

type row struct {
	principal uint64
	outcome   txnpb.Outcome
}

func (s state) clone() state {
	s.rows, s.pendings = maps.Clone(s.rows), slices.Clone(s.pendings)
	return s
}

func (s *state) nextExpiry() uint64 {
	if len(s.pendings) == 0 {
		return 0
	}
	return s.pendings[0]
}

// group is some members and the network between them.
type group struct {
	t        *testing.T
	now      time.Duration
	members  map[uint64]*member
	wire     []*raftpb.Message
	cut      map[[2]uint64]bool
	deaf     bool          // no acknowledgement of a heartbeat arrives
	noStates bool          // states that are sent do not arrive
	clocks   bool          // members compare their wall clocks
	found    *txnpb.Roster // what the first leader founds the cluster with; nil as a rule

	finished  map[*Batch]int   // how often
	readsDone map[*Read]int    // likewise
	sawAt     map[*Read]uint64 // the CSN of the state that answers
}

// drbg makes raft's random election times repeat.
type drbg struct{ *mathrand.ChaCha8 }

func (d drbg) Read(p []byte) (int, error) { return d.ChaCha8.Read(p) }

func newGroup(t *testing.T, seed byte, members uint64) *group {
	old := rand.Reader
	rand.Reader = drbg{mathrand.NewChaCha8([32]byte{seed})}
	t.Cleanup(func() { rand.Reader = old })
	g := &group{t: t, members: map[uint64]*member{}, cut: map[[2]uint64]bool{},
		finished: map[*Batch]int{}, readsDone: map[*Read]int{}, sawAt: map[*Read]uint64{}}
	conf := &raftpb.ConfState{}
	for id := uint64(1); id <= members; id++ {
		conf.Voters = append(conf.Voters, id)
	}
	for id := uint64(1); id <= members; id++ {
		m := &member{id: id, software: entry.ApplyVersion, log: raft.NewMemoryStorage(), state: state{rows: map[u128.Int]row{}, group: roster.State{Conf: raftpb.EnsureConfState(conf)}}}
		if err := m.log.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{ConfState: conf}}); err != nil {
			t.Fatal(err)
		}
		g.members[id] = m
		g.start(m)
	}
	return g
}

// begun is a log that names the members as of the applied state.
type begun struct {
	*raft.MemoryStorage
	conf *raftpb.ConfState
}

func (b begun) InitialState() (*raftpb.HardState, *raftpb.ConfState, error) {
	hard, _, err := b.MemoryStorage.InitialState()
	return hard, b.conf, err
}

// start begins a life of a member. The state is durable up to what it has applied.
func (g *group) start(m *member) {
	var err error
	m.Replica, err = New(Config{
		ID: m.id, Epoch: 1, Log: begun{m.log, m.state.group.Conf}, Applied: m.state.applied, NextExpiry: m.state.nextExpiry(), Group: m.state.group, Found: g.found, Witness: m.light, CompareClocks: g.clocks, Newest: m.software,
		Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
	})
	if err != nil {
		g.t.Fatal(err)
	}
	m.append, m.apply = nil, nil
}

func (g *group) ids() []uint64 { return slices.Sorted(maps.Keys(g.members)) }

// leader is the member that leads in the newest term.
func (g *group) leader() *member {
	var lead *member
	for _, id := range g.ids() {
		if m := g.members[id]; m.leading && (lead == nil || m.term > lead.term) {
			lead = m
		}
	}
	return lead
}

// settle runs threads and network until nothing moves.
func (g *group) settle() {
	for moved := true; moved; {
		moved = false
		for _, id := range g.ids() {
			if m := g.members[id]; !m.down {
				for m.Ready(&m.out) {
					moved = true
					g.take(m)
				}
				if q := &m.reads; m.ruled && q.round == 0 && len(q.fresh) > 0 {
					g.t.Fatalf("member %d has nothing to do, and yet %d reads are not asked for", id, len(q.fresh))
				}
				moved = g.threads(m) || moved
			}
		}
		wire := g.wire
		g.wire = nil
		for _, msg := range wire {
			to := g.members[msg.GetTo()]
			if to == nil || to.down || g.members[msg.GetFrom()].down || g.cut[[2]uint64{msg.GetFrom(), msg.GetTo()}] {
				continue
			}
			moved = true
			if msg.GetType() == raftpb.MsgSnap && g.noStates || msg.GetType() == raftpb.MsgHeartbeatResp && g.deaf {
				continue
			}
			to.PeerKnows(msg.GetFrom(), g.members[msg.GetFrom()].software)
			to.Step(msg)
		}
	}
}

// take does what a member wants done.
func (g *group) take(m *member) {
	out := &m.out
	if out.LeadChanged {
		m.told = append(m.told, fmt.Sprintf("leader %d term %d", out.Lead, out.Term))
	}
	for _, msg := range out.Messages {
		if msg.GetType() == raftpb.MsgSnap {
			m.told = append(m.told, fmt.Sprintf("state of entry %d for member %d", msg.GetSnapshot().GetMetadata().GetIndex(), msg.GetTo()))
		}
		g.wire = append(g.wire, msg)
	}
	m.append = append(m.append, out.Append...)
	m.apply = append(m.apply, out.Apply...)
	for _, b := range out.Finished {
		g.finished[b]++
		for i := range b.Outcomes {
			m.told = append(m.told, outcomeLine(&b.Outcomes[i]))
		}
	}
	for _, rd := range out.Reads {
		g.readsDone[rd]++
		g.sawAt[rd] = m.state.csn
		m.told = append(m.told, fmt.Sprintf("read %v failed=%v", rd.Origin, rd.Failed))
	}
	for _, c := range out.Changes {
		m.told = append(m.told, changeLine(c))
	}
}

// threads runs the append and apply threads of one member once.
func (g *group) threads(m *member) (moved bool) {
	for !m.held && len(m.append) > 0 {
		if m.until != nil && m.until(m.append[0]) {
			m.held = true
			break
		}
		moved = true
		msg := m.append[0]
		m.append = m.append[1:]
		if s := msg.GetSnapshot(); !raft.IsEmptySnap(s) {
			if err := m.log.ApplySnapshot(s); err != nil {
				g.t.Fatal(err)
			}
			m.state = g.pinnedAt(s.GetMetadata().GetIndex())
			m.Installed(m.state.applied, m.state.nextExpiry(), m.state.group)
			m.told = append(m.told, fmt.Sprintf("state of entry %d installed", m.state.applied))
		}
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
	for !m.lazy && len(m.apply) > 0 {
		moved = true
		msg := m.apply[0]
		m.apply = m.apply[1:]
		results, changes := m.state.apply(g.t, msg)
		for _, a := range changes {
			m.told = append(m.told, appliedLine(&a))
		}
		before := m.applied
		m.Applied(AppliedEntries{Message: msg, Results: results, Changes: changes, NextExpiry: m.state.nextExpiry()}, g.now, g.wall(m))
		if m.applied < before {
			g.t.Fatalf("member %d went back from entry %d to %d", m.id, before, m.applied)
		}
	}
	return moved
}

func (g *group) pinnedAt(index uint64) state {
	for _, id := range g.ids() {
		if p := g.members[id].pinned; p.applied == index {
			return p.clone()
		}
	}
	g.t.Fatalf("nobody has pinned the state of entry %d", index)
	return state{}
}

// compact cuts a member's log behind what it has applied.
func (g *group) compact(m *member) {
	m.pinned = m.state.clone()
	if _, err := m.log.CreateSnapshot(m.state.applied, m.state.group.Conf, nil); err != nil {
		g.t.Fatal(err)
	}
	if err := m.log.Compact(m.state.applied); err != nil {
		g.t.Fatal(err)
	}
}

func (s *state) apply(t *testing.T, msg *raftpb.Message) (results []entry.Result, changes []roster.Applied) {
	for _, e := range msg.GetEntries() {
		if e.GetIndex() <= s.applied {
			continue // a snapshot came first
		}
		s.applied = e.GetIndex()
		if e.GetType() == raftpb.EntryConfChangeV2 {
			changes = append(changes, s.reconfigure(t, e))
			continue
		}
		var p txnpb.Entry
		if err := p.Parse(e.GetData()); err != nil {
			t.Fatal(err)
		}
		for range p.Expire {
			if s.nextExpiry() == 0 || s.nextExpiry() >= p.Proposed {
				break
			}
			s.pendings = s.pendings[1:]
		}
		for i := range p.Submissions {
			results = append(results, s.submit(t, &p, &p.Submissions[i]))
		}
		for _, q := range p.Resolves {
			results = append(results, s.resolve(q))
		}
		if p.Change != nil {
			changes = append(changes, s.change(t, e, p.Change, nil))
		}
	}
	return results, changes
}

func (s *state) submit(t *testing.T, e *txnpb.Entry, sub *txnpb.Submission) entry.Result {
	key, err := entry.KeyOf(sub)
	if err != nil {
		t.Fatal(err)
	}
	r, ok := s.rows[key.ID]
	if !ok {
		s.csn++
		r = row{sub.Principal, txnpb.Outcome{Id: key.ID, State: txnpb.StateCommitted, Csn: s.csn}}
		s.rows[key.ID] = r
		var tx txnpb.Transaction
		if err := tx.Parse(sub.Transaction); err != nil {
			t.Fatal(err)
		}
		for _, p := range tx.Transfers {
			s.pendings = append(s.pendings, e.Proposed+uint64(time.Duration(p.Timeout)*time.Millisecond))
			slices.Sort(s.pendings)
		}
	}
	return entry.Result{Key: key, Outcome: r.outcome}
}

func (s *state) resolve(q txnpb.ResolveRequest) entry.Result {
	key := entry.ResolveKey(q.Id, q.Principal)
	r, ok := s.rows[q.Id]
	switch {
	case !ok:
		r = row{q.Principal, txnpb.Outcome{Id: q.Id, State: txnpb.StateAborted}}
		s.rows[q.Id] = r
	case r.principal != q.Principal:
		return entry.Result{Key: key, Outcome: txnpb.Outcome{Id: q.Id, State: txnpb.StateRefused}}
	}
	return entry.Result{Key: key, Outcome: r.outcome}
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
				g.tellClocks(m)
				m.Tick(g.now, g.wall(m))
			}
		}
		g.settle()
	}
}

// wall is a member's wall clock.
func (g *group) wall(m *member) uint64 { return uint64(g.now + m.skew) }

// tellClocks tells a member the clocks of those that it hears.
func (g *group) tellClocks(m *member) {
	if !g.clocks {
		return
	}
	var told []Clock
	for _, id := range g.ids() {
		if o := g.members[id]; o != m && !o.down && !g.cut[[2]uint64{id, m.id}] {
			told = append(told, Clock{ID: id, Wall: g.wall(o), Err: time.Millisecond})
		}
	}
	m.Clocks(g.now, g.wall(m), told)
}

// batchOf makes a batch of transactions by a principal; with a time-out in
// milliseconds each of them pends.
func batchOf(principal uint64, remaining, timeout uint32, ids ...uint64) *Batch {
	b := &Batch{}
	for _, id := range ids {
		tx := txnpb.Transaction{Id: u128.From64(id)}
		if timeout > 0 {
			tx.Transfers = []ledgerpb.Transfer{{Timeout: timeout}}
		}
		b.Submissions = append(b.Submissions, txnpb.Submission{Transaction: message.Marshal(&tx), Principal: principal, RemainingMillis: remaining})
	}
	return b
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
		if e.GetType() == raftpb.EntryConfChangeV2 {
			cc := &raftpb.ConfChangeV2{}
			if err := proto.Unmarshal(e.GetData(), cc); err != nil {
				g.t.Fatal(err)
			}
			fmt.Fprintf(&b, "%d term %d: group %s\n", e.GetIndex(), e.GetTerm(), raftpb.ConfChangesToString(cc.Changes))
			continue
		}
		var p txnpb.Entry
		if err := p.Parse(e.GetData()); err != nil {
			g.t.Fatal(err)
		}
		var words []string
		if p.Expire > 0 {
			words = append(words, fmt.Sprintf("expire %d", p.Expire))
		}
		for i := range p.Submissions {
			key, _ := entry.KeyOf(&p.Submissions[i])
			words = append(words, key.ID.String())
		}
		for _, q := range p.Resolves {
			words = append(words, "resolve "+q.Id.String())
		}
		if p.Change != nil && p.Change.Activate > 0 {
			words = append(words, fmt.Sprintf("activate %d", p.Change.Activate))
		}
		if p.ApplyVersion > entry.ApplyVersion {
			words = append(words, fmt.Sprintf("version %d", p.ApplyVersion))
		}
		fmt.Fprintf(&b, "%d term %d: %s\n", e.GetIndex(), e.GetTerm(), strings.Join(words, " "))
	}
	return b.String()
}
