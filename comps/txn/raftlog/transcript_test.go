package raftlog

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/journal/keyring"
	"virtualservicesinc.com/rrts/sim/disk"
)

const testSegmentBytes = journal.MinSegmentBytes

// errPower is what a disk operation answers in which the power failed.
var errPower = errors.New("power failure")

// world is a log on a simulated disk.
type world struct {
	t     *testing.T
	disk  *disk.Disk
	keys  *keyring.Ring
	salts *rand.ChaCha8
	cache int
	log   *Log

	failKind disk.OpKind // the power fails at the failNth operation of this kind from now on
	failNth  int
}

func newWorld(t *testing.T, seed byte) *world {
	w := &world{t: t, salts: rand.NewChaCha8([32]byte{seed})}
	w.disk = disk.New(disk.Config{RNG: rand.New(rand.NewPCG(uint64(seed), 1))})
	w.disk.Before(func(op disk.Op) error {
		if op.Kind != w.failKind {
			return nil
		}
		if w.failNth--; w.failNth > 0 {
			return nil
		}
		w.failKind = 0
		return errPower
	})
	var err error
	if w.keys, err = keyring.New(w.salts); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *world) open() error {
	l, err := Open(Config{
		Journal:    journal.Config{FS: w.disk, Dir: "log", Keys: w.keys, SegmentBytes: testSegmentBytes, Rand: w.salts},
		CacheBytes: w.cache,
	})
	if err == nil {
		w.log = l
	}
	return err
}

// crash fails the power and starts again.
func (w *world) crash() error {
	w.log, w.failKind = nil, 0
	w.disk.Crash()
	return w.open()
}

// entryOf makes the entry of an index and a term, with n bytes of data that tell both.
func entryOf(index, term uint64, n int) *raftpb.Entry {
	e := &raftpb.Entry{Index: &index, Term: &term, Type: raftpb.EntryNormal.Enum()}
	if mark := fmt.Sprintf("%d@%d,", index, term); n > 0 {
		e.Data = []byte(strings.Repeat(mark, n/len(mark)+1))[:n]
	}
	return e
}

// parsePoint reads "index@term".
func (w *world) parsePoint(s string) point {
	index, term, ok := strings.Cut(s, "@")
	if !ok {
		w.t.Fatalf("%q is no index@term", s)
	}
	return point{w.number(index), w.number(term)}
}

func (w *world) number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// parseMessage reads one MsgStorageAppend: "hard=term/vote/commit", entries as
// "first-last@term" or "index@term", each with "x" and a length at will, and "ack"
// when something waits for it.
func (w *world) parseMessage(line string) *raftpb.Message {
	m := &raftpb.Message{Type: raftpb.MsgStorageAppend.Enum()}
	for word := range strings.FieldsSeq(line) {
		if word == "ack" {
			m.Responses = append(m.Responses, &raftpb.Message{})
			continue
		}
		if hard, ok := strings.CutPrefix(word, "hard="); ok {
			f := strings.Split(hard, "/")
			m.Term, m.Vote, m.Commit = new(w.number(f[0])), new(w.number(f[1])), new(w.number(f[2]))
			continue
		}
		word, size, sized := strings.Cut(word, "x")
		n := uint64(8)
		if sized {
			n = w.number(size)
		}
		span, term, _ := strings.Cut(word, "@")
		first, last, more := strings.Cut(span, "-")
		if !more {
			last = first
		}
		for i := w.number(first); i <= w.number(last); i++ {
			m.Entries = append(m.Entries, entryOf(i, w.number(term), int(n)))
		}
	}
	return m
}

// describe prints what raft would see, runs of entries of one term together.
func (w *world) describe() string {
	l := w.log
	first, _ := l.FirstIndex()
	last, _ := l.LastIndex()
	hs, _, _ := l.InitialState()
	var b strings.Builder
	fmt.Fprintf(&b, "hard %d/%d/%d base %d@%d entries", hs.GetTerm(), hs.GetVote(), hs.GetCommit(), l.base.index, l.base.term)
	for i := first; i <= last; {
		term, err := l.Term(i)
		if err != nil {
			w.t.Fatal(err)
		}
		end := i
		for end < last {
			if next, _ := l.Term(end + 1); next != term {
				break
			}
			end++
		}
		fmt.Fprintf(&b, " %d-%d@%d", i, end, term)
		i = end + 1
	}
	fmt.Fprintf(&b, "\nsegments %d-%d cached %d\n", l.journal.First().Segment(), l.journal.Synced().Segment(), len(l.tail))
	return b.String()
}

// said turns an error into one word where there is one.
func said(err error) string {
	switch {
	case err == nil:
		return "ok\n"
	case errors.Is(err, errPower):
		return "power failure\n"
	case errors.Is(err, journal.ErrNoSpace):
		return "no space\n"
	case journal.IsDamage(err):
		return "damage\n"
	}
	return err.Error() + "\n"
}

// TestTranscripts plays testdata; `go test -rewrite` writes what is said now.
func TestTranscripts(t *testing.T) {
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		w := newWorld(t, 1)
		if err := w.open(); err != nil {
			t.Fatal(err)
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			arg := func(key string) (v string) {
				if d.HasArg(key) {
					d.ScanArgs(t, key, &v)
				}
				return v
			}
			at := func() *raftpb.Snapshot {
				p := w.parsePoint(arg("at"))
				return &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &p.index, Term: &p.term}}
			}
			switch d.Cmd {
			case "append":
				var msgs []*raftpb.Message
				for line := range strings.Lines(d.Input) {
					msgs = append(msgs, w.parseMessage(line))
				}
				return said(w.log.Append(msgs))
			case "state":
				return w.describe()
			case "crash", "kill", "open":
				switch w.failKind = 0; d.Cmd {
				case "crash":
					w.disk.Crash()
				case "kill":
					w.disk.Kill()
				}
				if d.HasArg("cache") {
					w.cache = int(w.number(arg("cache")))
				}
				if err := w.open(); err != nil {
					return said(err)
				}
				return w.describe()
			case "fail": // op=sync nth=2
				w.failNth = int(w.number(arg("nth")))
				w.failKind = map[string]disk.OpKind{"write": disk.OpWrite, "sync": disk.OpSync, "rename": disk.OpRename}[arg("op")]
			case "begin":
				p := w.parsePoint(arg("applied"))
				if err := w.log.Begin(&raftpb.ConfState{Voters: []uint64{1}}, p.index, p.term); err != nil {
					return said(err)
				}
				return w.describe()
			case "intend":
				return said(w.log.Intend(at()))
			case "install":
				return said(w.log.Install(at()))
			case "compact":
				return said(w.log.Compact(w.number(arg("to"))))
			case "compact-to":
				return fmt.Sprintln(w.log.CompactTo(w.number(arg("limit")), int64(w.number(arg("keep")))))
			case "read": // lo=1 hi=5 max=100
				es, err := w.log.Entries(w.number(arg("lo")), w.number(arg("hi")), w.number(arg("max")))
				if err != nil {
					return said(err)
				}
				var b strings.Builder
				for _, e := range es {
					want := entryOf(e.GetIndex(), e.GetTerm(), len(e.GetData()))
					if string(want.Data) != string(e.GetData()) {
						return fmt.Sprintf("entry %d holds %q\n", e.GetIndex(), e.GetData())
					}
					fmt.Fprintf(&b, "%d@%d ", e.GetIndex(), e.GetTerm())
				}
				return strings.TrimSpace(b.String()) + "\n"
			case "grown":
				w.log.Grown()
			case "term": // index=5
				term, err := w.log.Term(w.number(arg("index")))
				if err != nil {
					return said(err)
				}
				return fmt.Sprintln(term)
			case "capacity":
				n := w.number(arg("bytes"))
				if d.HasArg("more") {
					n = uint64(w.disk.Used()) + w.number(arg("more"))
				}
				w.disk.SetCapacity(int64(n))
			case "rot": // entry=5
				pos := w.log.recs[w.number(arg("entry"))-w.log.base.index-1].pos
				if err := w.disk.Rot(fmt.Sprintf("log/%010d.seg", pos.Segment()), int64(pos.Offset())+50, 8); err != nil {
					t.Fatal(err)
				}
			case "force": // epoch=2 above=7
				last, _ := w.log.LastIndex()
				term := max(w.log.hard.term, w.number(arg("above"))) + 1
				return said(w.log.Force(w.number(arg("epoch")), w.number(arg("above")), entryOf(last+1, term, 8).Data))
			case "epoch":
				return fmt.Sprintf("log %d journal %d\n", w.log.Epoch(), w.log.Journal().Epoch())
			case "terms": // n=2
				return fmt.Sprintln(w.log.Terms(int(w.number(arg("n")))))
			case "mark":
				return said(w.log.Journal().Mark())
			case "reserve":
				return said(w.log.Journal().Reserve())
			default:
				t.Fatalf("unknown command %q", d.Cmd)
			}
			return "ok\n"
		})
	})
}
