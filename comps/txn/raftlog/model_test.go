package raftlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/sim/disk"
)

// shot is what the log may be found to hold after a crash.
type shot struct {
	base point
	ents []*raftpb.Entry // from base.index+1 on, whether compacted or not
	hard hardState
}

func (s *shot) last() uint64 { return s.base.index + uint64(len(s.ents)) }

func (s *shot) term(i uint64) uint64 {
	if i == s.base.index {
		return s.base.term
	}
	return s.ents[i-s.base.index-1].GetTerm()
}

// with returns the shot after one more record.
func (s shot) with(change func(*shot)) shot {
	s.ents = slices.Clone(s.ents)
	change(&s)
	return s
}

// model says what a log must hold: now, and what it may hold after a crash, which
// leaves a prefix of the records.
type model struct {
	*world
	rng     *rand.Rand
	shots   []shot // since the last sync; the newest is what raft sees now
	base    uint64 // compacted up to here
	applied point  // of the state, durable
	crashes int
}

func (m *model) now() *shot { return &m.shots[len(m.shots)-1] }

func (m *model) push(change func(*shot)) { m.shots = append(m.shots, m.now().with(change)) }

func (m *model) synced() { m.shots = m.shots[len(m.shots)-1:] }

func (m *model) fatalf(format string, a ...any) {
	m.t.Helper()
	m.t.Fatalf(format, a...)
}

// done takes the answer of an operation: nil, a failure of the power that ends this
// life, or anything else, which is wrong.
func (m *model) done(err error) bool {
	m.t.Helper()
	switch {
	case err == nil:
		m.synced()
		return true
	case errors.Is(err, errPower):
		m.restart()
		return false
	}
	m.fatalf("%v", err)
	return false
}

// append gives the log some messages as raft does: votes, entries that follow or
// overrule, commit indexes that speak of what is there.
func (m *model) append() {
	var msgs []*raftpb.Message
	durable := false
	commit := m.now().hard.commit
	before := len(m.shots)
	for range 1 + m.rng.IntN(3) {
		msg := &raftpb.Message{}
		if m.rng.IntN(2) == 0 {
			durable = true
			msg.Responses = []*raftpb.Message{{}}
		}
		s := m.now()
		term, vote := s.hard.term, s.hard.vote
		if m.rng.IntN(4) == 0 {
			term, vote = term+1, m.rng.Uint64N(4)
		}
		var ents []*raftpb.Entry
		if term > 0 && m.rng.IntN(4) > 0 {
			first := s.last() + 1
			if m.rng.IntN(4) == 0 {
				first -= m.rng.Uint64N(first - max(commit, s.base.index))
			}
			for i := range 1 + m.rng.Uint64N(4) {
				n := m.rng.IntN(300)
				if m.rng.IntN(10) == 0 {
					n = m.rng.IntN(12_000)
				}
				ents = append(ents, entryOf(first+i, term, n))
			}
			msg.Entries = ents
		}
		if term != s.hard.term || vote != s.hard.vote {
			m.push(func(s *shot) { s.hard.term, s.hard.vote = term, vote })
		}
		for _, e := range ents {
			m.push(func(s *shot) { s.ents = append(s.ents[:e.GetIndex()-s.base.index-1], e) })
		}
		if s := m.now(); m.rng.IntN(2) == 0 && s.last() > commit {
			commit += m.rng.Uint64N(s.last() - commit + 1)
		}
		if h := m.now().hard; h.term != 0 {
			msg.Term, msg.Vote, msg.Commit = &h.term, &h.vote, &commit
		}
		durable = durable || len(ents) > 0
		msgs = append(msgs, msg)
	}
	if commit > m.now().hard.commit && durable && slices.ContainsFunc(msgs, func(m *raftpb.Message) bool { return m.GetCommit() == commit }) {
		m.push(func(s *shot) { s.hard.commit = commit })
	}
	err := m.log.Append(msgs)
	if err == nil && !durable {
		if len(m.shots) > before && m.now().hard.commit != m.shots[before-1].hard.commit {
			m.fatalf("a commit index alone was written")
		}
		return // it may be lost
	}
	if m.done(err) {
		m.compare()
	}
}

// apply moves the state on, durably.
func (m *model) apply() {
	s := m.now()
	if low := max(m.applied.index, s.base.index); s.hard.commit > low {
		i := low + 1 + m.rng.Uint64N(s.hard.commit-low)
		m.applied = point{i, s.term(i)}
	}
}

func (m *model) compact() {
	limit := m.applied.index
	if m.rng.IntN(2) == 0 {
		limit = m.log.CompactTo(limit, int64(m.rng.IntN(200_000)))
	}
	if limit > m.applied.index {
		m.fatalf("CompactTo says %d, the limit is %d", limit, m.applied.index)
	}
	m.base = max(m.base, min(limit, m.now().last()-1))
	shots := m.shots
	if m.done(m.log.Compact(limit)) {
		m.shots = shots // it does not sync
		m.compare()
	}
}

// install receives a state from ahead of the log; the power may fail at each step.
func (m *model) install() {
	s := m.now()
	p := point{s.last() + 1 + m.rng.Uint64N(4), s.hard.term}
	if p.term == 0 {
		return
	}
	snap := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &p.index, Term: &p.term}}
	if !m.done(m.log.Intend(snap)) {
		return
	}
	if m.rng.IntN(3) == 0 {
		m.restart() // before the state was replaced
		return
	}
	m.applied = p
	if m.rng.IntN(3) == 0 {
		m.restart() // after it
		return
	}
	m.push(func(s *shot) { s.base, s.ents = p, nil })
	m.push(func(s *shot) { s.hard.commit = max(s.hard.commit, p.index) })
	if m.done(m.log.Install(snap)) {
		m.base = p.index
		m.compare()
	}
}

// restart fails the power, starts again and finds out what was left.
func (m *model) restart() {
	for {
		m.crashes++
		m.cache = m.rng.IntN(40_000) + 1
		if err := m.crash(); err != nil {
			m.fatalf("%v", err)
		}
		err := m.log.Begin(&raftpb.ConfState{}, m.applied.index, m.applied.term)
		if err == nil {
			break
		} else if !errors.Is(err, errPower) {
			m.fatalf("%v", err)
		}
	}
	// The state may have been replaced and the log not: Begin has done it now.
	m.push(func(s *shot) {
		if s.last() < m.applied.index || m.applied.index < s.base.index || s.term(m.applied.index) != m.applied.term {
			s.base, s.ents = m.applied, nil
		}
	})
	first, _ := m.log.FirstIndex()
	for i := range m.shots {
		s := m.shots[i]
		s.hard.commit = max(s.hard.commit, m.applied.index)
		if m.same(&s) == "" {
			m.base = first - 1
			m.shots = []shot{s}
			m.compare()
			return
		}
	}
	m.fatalf("after a crash: %s\nwant one of the %d states since the last sync, from\n%v to\n%v: %s",
		m.describe(), len(m.shots), m.shots[0], *m.now(), m.same(m.now()))
}

func (s shot) String() string {
	return fmt.Sprintf("hard %v base %v up to %d@%d", s.hard, s.base, s.last(), s.term(s.last()))
}

// same tells how the log differs from a shot, "" when it does not.
func (m *model) same(s *shot) string {
	hs, _, _ := m.log.InitialState()
	if h := (hardState{hs.GetTerm(), hs.GetVote(), hs.GetCommit()}); h != s.hard {
		return fmt.Sprintf("hard state %v, want %v", h, s.hard)
	}
	first, _ := m.log.FirstIndex()
	last, _ := m.log.LastIndex()
	if last != s.last() || first > m.base+1 && first > s.base.index+1 {
		return fmt.Sprintf("entries %d to %d, want %d to %d", first, last, max(m.base, s.base.index)+1, s.last())
	}
	for i := max(first, s.base.index+1); i <= last; i++ {
		es, err := m.log.Entries(i, i+1, 1)
		if want := s.ents[i-s.base.index-1]; err != nil || len(es) != 1 || es[0].GetTerm() != want.GetTerm() ||
			es[0].GetIndex() != i || string(es[0].GetData()) != string(want.GetData()) {
			return fmt.Sprintf("entry %d: %v %v, want %v", i, es, err, want)
		}
	}
	return ""
}

// compare holds raft's view of the log against raft's own MemoryStorage.
func (m *model) compare() {
	m.t.Helper()
	s := m.now()
	ms := raft.NewMemoryStorage()
	if s.base.index > 0 {
		if err := ms.ApplySnapshot(&raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &s.base.index, Term: &s.base.term}}); err != nil {
			m.fatalf("%v", err)
		}
	}
	if err := ms.Append(s.ents); err != nil {
		m.fatalf("%v", err)
	}
	first, _ := m.log.FirstIndex()
	if first > s.base.index+1 {
		if err := ms.Compact(first - 1); err != nil {
			m.fatalf("%v", err)
		}
	}
	if want, _ := ms.FirstIndex(); first != want || first > max(m.base, s.base.index)+1 {
		m.fatalf("first index %d, want %d; compacted up to %d", first, want, m.base)
	}
	last, _ := m.log.LastIndex()
	if want, _ := ms.LastIndex(); last != want {
		m.fatalf("last index %d, want %d", last, want)
	}
	for range 4 {
		i := first - min(first, 3) + m.rng.Uint64N(last-first+8)
		term, err := m.log.Term(i)
		if want, wantErr := ms.Term(i); term != want || err != wantErr {
			m.fatalf("term of %d is %d (%v), want %d (%v)", i, term, err, want, wantErr)
		}
	}
	if first > last {
		return
	}
	lo := first + m.rng.Uint64N(last-first+1)
	hi := lo + 1 + m.rng.Uint64N(last-lo+1)
	bound := uint64(m.rng.IntN(20_000))
	got, err := m.log.Entries(lo, hi, bound)
	want, wantErr := ms.Entries(lo, hi, 1<<60)
	if err != nil || wantErr != nil {
		m.fatalf("entries [%d, %d): %v, %v", lo, hi, err, wantErr)
	}
	size := uint64(0)
	for i, e := range got {
		if e.GetIndex() != want[i].GetIndex() || e.GetTerm() != want[i].GetTerm() || string(e.GetData()) != string(want[i].GetData()) {
			m.fatalf("entry %d is %v, want %v", want[i].GetIndex(), e, want[i])
		}
		size += uint64(len(e.GetData()))
	}
	if len(got) == 0 || len(got) > 1 && size > bound {
		m.fatalf("%d entries of %d bytes, the bound is %d", len(got), size, bound)
	}
	if _, err := m.log.Entries(first-1, hi, bound); err != raft.ErrCompacted && first > 1 {
		m.fatalf("entries below the first: %v", err)
	}
	m.log.mu.Lock()
	defer m.log.mu.Unlock()
	weighed := 0
	for _, e := range m.log.tail {
		weighed += weight(e)
	}
	if weighed != m.log.cached || weighed > m.log.cacheBytes {
		m.fatalf("the cache weighs %d, is thought to weigh %d, its bound is %d", weighed, m.log.cached, m.log.cacheBytes)
	}
}

// TestModel drives logs at random and fails their power at random disk operations.
// RRTS_RAFTLOG_SEEDS says how many, RRTS_RAFTLOG_SEED replays one.
func TestModel(t *testing.T) {
	first, n := uint64(1), uint64(100)
	if testing.Short() {
		n = 30
	}
	for name, set := range map[string]func(uint64){
		"RRTS_RAFTLOG_SEEDS": func(v uint64) { n = v },
		"RRTS_RAFTLOG_SEED":  func(v uint64) { first, n = v, 1 },
	} {
		if v := os.Getenv(name); v != "" {
			x, err := strconv.ParseUint(v, 10, 64)
			if err != nil {
				t.Fatalf("%s=%q: %v", name, v, err)
			}
			set(x)
		}
	}
	crashes := 0
	for seed := first; seed < first+n; seed++ {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { crashes += runModel(t, seed) })
	}
	if crashes == 0 {
		t.Fatal("no crash was arranged")
	}
}

func runModel(t *testing.T, seed uint64) int {
	w := newWorld(t, byte(seed))
	w.disk = disk.New(disk.Config{RNG: rand.New(rand.NewPCG(seed, 2))})
	m := &model{world: w, rng: rand.New(rand.NewPCG(seed, 3)), shots: []shot{{}}}
	w.cache = 1 + m.rng.IntN(40_000)
	odds := 50 + m.rng.IntN(400)
	w.disk.Before(func(op disk.Op) error {
		if w.log != nil && op.Kind != disk.OpRead && op.Kind != disk.OpOpen && m.rng.IntN(odds) == 0 {
			return errPower
		}
		return nil
	})
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	for range 150 {
		switch m.rng.IntN(12) {
		case 0:
			m.apply()
		case 1:
			m.compact()
		case 2:
			m.install()
		case 3:
			if m.rng.IntN(4) == 0 {
				m.restart()
			}
		case 4:
			if err := m.log.Journal().Mark(); err != nil && !errors.Is(err, errPower) {
				t.Fatal(err)
			} else if err != nil {
				m.restart()
			}
		default:
			m.append()
		}
	}
	return m.crashes
}

// TestHoldsRaftToItsWord: what raft never does is a fault of this process, not of
// the disk, and must not reach the journal.
func TestHoldsRaftToItsWord(t *testing.T) {
	w := newWorld(t, 1)
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	if err := w.log.Append([]*raftpb.Message{w.parseMessage("hard=1/1/5 1-9@1 ack")}); err != nil {
		t.Fatal(err)
	}
	if err := w.log.Compact(5); err != nil {
		t.Fatal(err)
	}
	synced := w.log.Journal().Synced()
	for name, line := range map[string]string{
		"a gap":                         "11@1 ack",
		"a gap among the new":           "10@1 12@1 ack",
		"below what was compacted":      "5@2 ack",
		"a commit index beyond the end": "hard=1/1/12 10@1 ack",
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Fatal("was written")
				}
				if now := w.log.Journal().Synced(); now != synced {
					t.Fatalf("the journal went from %v to %v", synced, now)
				}
			}()
			_ = w.log.Append([]*raftpb.Message{w.parseMessage(line)})
		})
	}
}
