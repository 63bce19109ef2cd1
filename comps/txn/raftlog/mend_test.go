package raftlog

import (
	"bytes"
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/journal/keyring"
)

// member is one of two that hold the same entries.
type member struct {
	t   *testing.T
	fs  *vfs.MemFS
	cfg Config
	log *Log
}

func newMember(t *testing.T, seed byte) *member {
	t.Helper()
	m := &member{t: t, fs: vfs.NewMem()}
	keys, err := keyring.New(rand.NewChaCha8([32]byte{seed}))
	if err != nil {
		t.Fatal(err)
	}
	m.cfg = Config{Journal: journal.Config{FS: m.fs, Dir: "journal", Keys: keys, Cluster: [16]byte{1}, Epoch: 1, SegmentBytes: 64 << 10,
		Rand: rand.NewChaCha8([32]byte{seed, 1})}, CacheBytes: 1}
	m.open()
	return m
}

func (m *member) open() {
	m.t.Helper()
	var err error
	if m.log, err = Open(m.cfg); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) close() {
	m.t.Helper()
	if err := m.log.Close(); err != nil {
		m.t.Fatal(err)
	}
	m.log = nil
}

// append writes entries and a hard state, and the mark that tells them from a torn tail.
func (m *member) append(term, vote, commit uint64, entries ...*raftpb.Entry) {
	m.t.Helper()
	msg := &raftpb.Message{Type: raftpb.MsgStorageAppend.Enum(), Term: &term, Vote: &vote, Commit: &commit, Entries: entries, Responses: []*raftpb.Message{{}}}
	if err := m.log.Append([]*raftpb.Message{msg}); err != nil {
		m.t.Fatal(err)
	}
	if err := m.log.Journal().Mark(); err != nil {
		m.t.Fatal(err)
	}
	if err := m.log.Journal().Reserve(); err != nil {
		m.t.Fatal(err)
	}
}

// everything is all entries, as text.
func (m *member) everything() string {
	m.t.Helper()
	first, _ := m.log.FirstIndex()
	last, _ := m.log.LastIndex()
	var b strings.Builder
	for i := first; i <= last; i++ {
		e, err := m.log.entry(i)
		if err != nil {
			m.t.Fatal(err)
		}
		fmt.Fprintf(&b, "%d@%d %q\n", e.GetIndex(), e.GetTerm(), e.GetData())
	}
	return b.String()
}

// rot flips bits in a range of one segment's file.
func (m *member) rot(rng *rand.Rand, name string, off, n int) {
	m.t.Helper()
	f, err := m.fs.OpenReadWrite(path.Join("journal", name), vfs.WriteCategoryUnspecified)
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	b := make([]byte, n)
	if _, err := f.ReadAt(b, int64(off)); err != nil {
		m.t.Fatal(err)
	}
	for i := range b {
		b[i] ^= byte(1 + rng.IntN(255))
	}
	if _, err := f.WriteAt(b, int64(off)); err != nil {
		m.t.Fatal(err)
	}
}

func (m *member) segments() (names []string) {
	m.t.Helper()
	all, err := m.fs.List("journal")
	if err != nil {
		m.t.Fatal(err)
	}
	for _, name := range all {
		if strings.HasSuffix(name, ".seg") {
			names = append(names, name)
		}
	}
	return names
}

// fill closes every gap with another's entries, some at a time, and tries wrong ones
// first.
func (m *member) fill(mend *Mend, from *Log, applied uint64) (abandoned int) {
	m.t.Helper()
	for gap, open := mend.Gap(); open; gap, open = mend.Gap() {
		if given, err := mend.Abandon(gap, applied); err != nil {
			m.t.Fatal(err)
		} else if given {
			if gap.First+gap.Count > applied+1 {
				m.t.Fatalf("%+v was given up, the state is applied up to %d", gap, applied)
			}
			abandoned++
			continue
		}
		var records [][]byte
		for uint64(len(records)) < gap.Count {
			part, err := from.Records(gap.First+uint64(len(records)), gap.Count-uint64(len(records)), 2000)
			if err != nil {
				m.t.Fatalf("%+v: %v", gap, err)
			}
			records = append(records, part...)
		}
		if gap.Count > 0 {
			wrong := bytes.Clone(records[0])
			wrong[len(wrong)-1]++
			if err := mend.Fill(gap, append([][]byte{wrong}, records[1:]...)); !errors.Is(err, journal.ErrMismatch) {
				m.t.Fatalf("entries that were not the lost ones: %v", err)
			}
		}
		if err := mend.Fill(gap, records); err != nil {
			m.t.Fatal(err)
		}
	}
	return abandoned
}

// TestMend rots the journal of one member anywhere, and makes it whole with the
// entries of another. What it holds is then what it held; and if it may have voted in
// a term that it does not know any more, it is beyond that term.
func TestMend(t *testing.T) {
	var mended, votes, beyond, abandoned int
	for seed := range uint64(120) {
		rng := rand.New(rand.NewPCG(seed, 0))
		a, b := newMember(t, 1), newMember(t, 2)
		term := uint64(1)
		for i := uint64(1); i <= 80; i++ {
			if rng.IntN(10) == 0 {
				term++
			}
			a.append(term, 1+term%3, i-1, entryOf(i, term, 10+rng.IntN(5000)))
			e, err := a.log.entry(i)
			if err != nil {
				t.Fatal(err)
			}
			b.append(term, 2, i-1, e)
		}
		term++ // the newest vote, behind the last entry
		a.append(term, 3, 80)
		want, hard, end := a.everything(), a.log.hard, a.log.Journal().Synced()
		a.close()
		names := a.segments()
		for range 1 + rng.IntN(3) {
			n := 1 + rng.IntN(3000)
			a.rot(rng, names[rng.IntN(len(names))], rng.IntN(64<<10-n), n)
		}
		if rng.IntN(3) == 0 { // the newest vote
			a.rot(rng, names[len(names)-1], (int(end.Offset())-1)&^(journal.BlockBytes-1), 150)
		}
		log, err := Open(a.cfg)
		if err == nil { // it met what nobody uses, or what stands there twice
			a.log = log
			if got := a.everything(); got != want || a.log.hard != hard {
				t.Fatalf("seed %d: no damage is seen and the log is another", seed)
			}
			continue
		}
		if !journal.IsDamage(err) {
			t.Fatalf("seed %d: %v", seed, err)
		}
		mend, err := OpenDamaged(a.cfg)
		if errors.Is(err, ErrBeyondRepair) {
			beyond++
			continue
		}
		if err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		lost := mend.VoteLost()
		applied := uint64(rng.IntN(2) * rng.IntN(81))
		abandoned += a.fill(mend, b.log, applied)
		if lost && rng.IntN(2) == 0 { // the process ends before it has heard all others
			if err := mend.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(a.cfg); !errors.Is(err, ErrVoteLost) {
				t.Fatalf("seed %d: the lost vote is forgotten: %v", seed, err)
			}
			if mend, err = OpenDamaged(a.cfg); err != nil || !mend.VoteLost() {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		const others = 9
		if lost {
			votes++
			if err := mend.Outbid(others + 1); err != nil {
				t.Fatal(err)
			}
		}
		if err := mend.Close(); err != nil {
			t.Fatal(err)
		}
		a.open()
		appliedTerm, err := b.log.Term(applied)
		if err != nil {
			t.Fatal(err)
		}
		if err := a.log.Begin(raftpb.EnsureConfState(nil), applied, appliedTerm); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		got, base := a.everything(), a.log.base.index
		if !strings.HasSuffix(want, got) || base > applied || len(got) < len(want) && base == 0 || a.log.last() != 80 {
			t.Fatalf("seed %d: the mended log begins behind %d, the state is applied up to %d:\n%s\nwant\n%s", seed, base, applied, got, want)
		}
		switch h := a.log.hard; {
		case lost && (h.vote != 0 || h.term <= others || h.term < term):
			t.Fatalf("seed %d: a vote was lost, the hard state is %+v, the lost one was %+v", seed, h, hard)
		case !lost && (h.term != hard.term || h.vote != hard.vote):
			t.Fatalf("seed %d: the hard state is %+v, it was %+v", seed, h, hard)
		}
		a.append(max(a.log.hard.term, term), 0, 80, entryOf(81, max(a.log.hard.term, term), 10)) // it goes on
		mended++
	}
	t.Logf("%d mended, %d of them had lost a vote, %d beyond repair; %d gaps were given up", mended, votes, beyond, abandoned)
	if mended < 50 || votes < 1 || abandoned < 5 {
		t.Error("the test rots nothing that matters")
	}
}

// TestRecords: what is not there is refused, and what was compacted.
func TestRecords(t *testing.T) {
	m := newMember(t, 1)
	for i := uint64(1); i <= 100; i++ {
		m.append(1, 1, 0, entryOf(i, 1, 3000))
	}
	if _, err := m.log.Records(101, 1, 1000); !errors.Is(err, raft.ErrUnavailable) {
		t.Errorf("behind the end: %v", err)
	}
	if r, err := m.log.Records(99, 9, 1<<20); err != nil || len(r) != 2 {
		t.Errorf("%d records, %v", len(r), err)
	}
	if r, err := m.log.Records(5, 9, 1); err != nil || len(r) != 1 {
		t.Errorf("%d records, %v", len(r), err)
	}
	if err := m.log.Compact(50); err != nil {
		t.Fatal(err)
	}
	if _, err := m.log.Records(50, 1, 1000); !errors.Is(err, raft.ErrCompacted) {
		t.Errorf("compacted: %v", err)
	}
	if r, err := m.log.Records(51, 1, 1000); err != nil || len(r) != 1 {
		t.Errorf("the first: %d records, %v", len(r), err)
	}
}

// TestMendNeighbours: behind a part that was given up, lost entries behind each other with
// nothing but local records between them are numbered from the next one that is there.
func TestMendNeighbours(t *testing.T) {
	a, b := newMember(t, 1), newMember(t, 2)
	for i := uint64(1); i <= 40; i++ {
		e := entryOf(i, 1, 6000)
		a.append(1, 1, i-1, e)
		b.append(1, 1, i-1, e)
	}
	want := a.everything()
	var lost []journal.Position
	for i := uint64(2); i <= 6; i++ {
		lost = append(lost, a.log.recs[i-a.log.base.index-1].pos)
	}
	a.close()
	names := a.segments()
	for _, pos := range lost {
		a.rot(rand.New(rand.NewPCG(1, 2)), names[pos.Segment()-1], int(pos.Offset())+200, 100)
	}
	mend, err := OpenDamaged(a.cfg)
	if err != nil {
		t.Fatal(err)
	}
	if len(mend.gaps) < 3 {
		t.Fatalf("the gaps are %+v; the test wants several", mend.gaps)
	}
	first := mend.gaps[0].First + mend.gaps[0].Count - 1
	if given, err := mend.Abandon(mend.gaps[0], first); err != nil || !given {
		t.Fatalf("%t, %v", given, err)
	}
	a.fill(mend, b.log, first)
	if err := mend.Close(); err != nil {
		t.Fatal(err)
	}
	a.open()
	if err := a.log.Begin(raftpb.EnsureConfState(nil), first, 1); err != nil {
		t.Fatal(err)
	}
	if got := a.everything(); !strings.HasSuffix(want, got) {
		t.Errorf("the mended log:\n%s\nwant the end of\n%s", got, want)
	}
}

// TestMendBehindTheCut: the first segment that is left says where the log began when it
// did, which was long before the segments in front of it were given up.
func TestMendBehindTheCut(t *testing.T) {
	a, b := newMember(t, 1), newMember(t, 2)
	for i := uint64(1); i <= 60; i++ {
		e := entryOf(i, 1, 3000)
		a.append(1, 1, i-1, e)
		b.append(1, 1, i-1, e)
	}
	if err := a.log.Compact(40); err != nil {
		t.Fatal(err)
	}
	want := a.everything()
	a.close()
	names := a.segments()
	if names[0] == "0000000001.seg" {
		t.Fatal("no segment was given up")
	}
	const frames = 12288
	a.rot(rand.New(rand.NewPCG(1, 2)), names[0], frames+300, 100) // its first entry
	mend, err := OpenDamaged(a.cfg)
	if err != nil {
		t.Fatal(err)
	}
	gap, open := mend.Gap()
	if !open || gap.Count != 1 || gap.First < 13 {
		t.Fatalf("the gap is %+v", gap)
	}
	a.fill(mend, b.log, 0)
	if err := mend.Close(); err != nil {
		t.Fatal(err)
	}
	a.open()
	if err := a.log.Begin(raftpb.EnsureConfState(nil), 40, 1); err != nil {
		t.Fatal(err)
	}
	if got := a.everything(); !strings.HasSuffix(got, want) {
		t.Errorf("the mended log:\n%s\nwant\n%s", got, want)
	}
}
