package raftlog

import (
	"bytes"
	"encoding/binary"
	"errors"
	"sync"
	"testing"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/rrts/journal"
)

// records packs records for FuzzReplay: kind, length in two bytes, payload.
func records(recs ...journal.Record) []byte {
	var b []byte
	for _, r := range recs {
		b = append(b, byte(r.Kind))
		b = binary.LittleEndian.AppendUint16(b, uint16(len(r.Payload)))
		b = append(b, r.Payload...)
	}
	return b
}

func entryRecord(index, term, prev uint64) journal.Record {
	e := entryOf(index, term, 20)
	return journal.Record{Kind: kindEntry, Payload: append(encodeEntry(nil, e, prev), e.GetData()...)}
}

func pointRecord(kind journal.Kind, index, term uint64) journal.Record {
	return journal.Record{Kind: kind, Payload: encodePoint(nil, point{index, term})}
}

// FuzzReplay: whatever stands in a journal, opening it either answers ErrFormat or
// gives a log that holds together.
func FuzzReplay(f *testing.F) {
	hard := journal.Record{Kind: kindHard, Payload: encodeHard(nil, hardState{3, 2, 1})}
	f.Add(records(pointRecord(kindBase, 0, 0), hard, entryRecord(1, 1, 0), entryRecord(2, 1, 1), entryRecord(2, 2, 1)))
	f.Add(records(pointRecord(kindBase, 4, 1), hard, entryRecord(20, 2, 2), entryRecord(9, 3, 1), entryRecord(10, 3, 3)))
	f.Add(records(entryRecord(1, 1, 0), pointRecord(kindIntent, 9, 2), pointRecord(kindInstall, 9, 2), entryRecord(10, 2, 2)))
	f.Add(records(journal.Record{Kind: 7}, journal.Record{Kind: kindEntry}))
	f.Add(records(entryRecord(1<<63, 1, 0), entryRecord(1<<63+1, 1, 1), entryRecord(^uint64(0), 1, 1)))
	f.Fuzz(func(t *testing.T, b []byte) {
		l := &Log{cacheBytes: 1000}
		for pos := journal.Position(0); len(b) >= 3; pos++ {
			kind, n := journal.Kind(b[0]), int(binary.LittleEndian.Uint16(b[1:]))
			if b = b[3:]; n > len(b) {
				return
			}
			payload := b[:n]
			b = b[n:]
			if err := l.replay(pos, kind, payload); err != nil {
				if !errors.Is(err, ErrFormat) {
					t.Fatalf("%v is not ErrFormat", err)
				}
				return
			}
			holdsTogether(t, l)
		}
	})
}

func holdsTogether(t *testing.T, l *Log) {
	if last := l.last(); last < l.base.index {
		t.Fatalf("a log of %d entries after %d ends at %d", len(l.recs), l.base.index, last)
	}
	if len(l.tail) > len(l.recs) || l.cached > l.cacheBytes {
		t.Fatalf("%d of %d entries are cached, %d bytes of %d", len(l.tail), len(l.recs), l.cached, l.cacheBytes)
	}
	for i, e := range l.tail {
		at := l.last() - uint64(len(l.tail)-1-i)
		if term, err := l.Term(at); e.GetIndex() != at || err != nil || e.GetTerm() != term {
			t.Fatalf("entry %d of term %d is cached in the place of %d of term %d (%v)", e.GetIndex(), e.GetTerm(), at, term, err)
		}
	}
	if !bytes.Equal(l.head.hard[:], encodeHard(nil, l.hard)) && l.hard != (hardState{}) ||
		!bytes.Equal(l.head.base[:], encodePoint(nil, l.base)) {
		t.Fatalf("the next segment would begin with %x %x, the log is %v after %v", l.head.hard, l.head.base, l.hard, l.base)
	}
}

// FuzzEntry: a record that decodes encodes to the same bytes.
func FuzzEntry(f *testing.F) {
	f.Add(entryRecord(7, 3, 2).Payload)
	f.Add([]byte{})
	f.Add(make([]byte, entryHeaderBytes))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, prev, err := decodeEntry(b)
		if err != nil {
			if !errors.Is(err, ErrFormat) {
				t.Fatalf("%v is not ErrFormat", err)
			}
			return
		}
		if again := append(encodeEntry(nil, e, prev), e.GetData()...); !bytes.Equal(again, b) {
			t.Fatalf("%x was read, %x is written", b, again)
		}
	})
}

// TestRefusesForeignRecords: each fault of a record has its own words and the one sentinel.
func TestRefusesForeignRecords(t *testing.T) {
	for _, c := range []struct {
		name string
		recs []journal.Record
	}{
		{"unknown shared kind", []journal.Record{{Kind: 9, Payload: []byte("x")}}},
		{"unknown local kind", []journal.Record{{Kind: 200}}},
		{"short hard state", []journal.Record{{Kind: kindHard, Payload: make([]byte, hardBytes-1)}}},
		{"long hard state", []journal.Record{{Kind: kindHard, Payload: make([]byte, hardBytes+1)}}},
		{"short point", []journal.Record{{Kind: kindBase, Payload: make([]byte, pointBytes-1)}}},
		{"short entry", []journal.Record{{Kind: kindEntry, Payload: make([]byte, entryHeaderBytes-1)}}},
		{"entry 0", []journal.Record{{Kind: kindEntry, Payload: make([]byte, entryHeaderBytes)}}},
		{"gap", []journal.Record{entryRecord(1, 1, 0), entryRecord(3, 1, 1)}},
		{"another term before it", []journal.Record{entryRecord(1, 1, 0), entryRecord(2, 2, 2)}},
		{"below an installation", []journal.Record{pointRecord(kindInstall, 9, 2), entryRecord(9, 2, 2)}},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := &Log{cacheBytes: 1000}
			for i, r := range c.recs {
				err := l.replay(journal.Position(i), r.Kind, r.Payload)
				if last := i == len(c.recs)-1; last != errors.Is(err, ErrFormat) {
					t.Fatalf("record %d: %v", i, err)
				}
			}
		})
	}
}

// TestReadersBesideTheWriter: raft reads while the append thread writes, overrules,
// compacts and installs. For the race detector; what is read must hold together.
func TestReadersBesideTheWriter(t *testing.T) {
	w := newWorld(t, 1)
	w.cache = 3000 // so that readers go to the journal
	if err := w.open(); err != nil {
		t.Fatal(err)
	}
	l := w.log
	var wg sync.WaitGroup
	stop := make(chan struct{})
	read := make(chan struct{}, 1) // what the reader has begun lets the writer go on
	wg.Go(func() {
		for n := uint64(0); ; n++ {
			select {
			case <-stop:
				return
			case read <- struct{}{}:
			default:
			}
			first, _ := l.FirstIndex()
			last, _ := l.LastIndex()
			if _, _, err := l.InitialState(); err != nil {
				t.Error(err)
			}
			if first > last {
				continue
			}
			lo := first + n*7%(last-first+1)
			es, err := l.Entries(lo, last+1, 2000)
			switch {
			case errors.Is(err, raft.ErrCompacted), errors.Is(err, raft.ErrUnavailable):
				continue // meanwhile
			case err != nil:
				t.Error(err)
				return
			}
			for i, e := range es {
				want := entryOf(e.GetIndex(), e.GetTerm(), len(e.GetData()))
				if e.GetIndex() != lo+uint64(i) || !bytes.Equal(e.GetData(), want.GetData()) {
					t.Errorf("entry %d is %v", lo+uint64(i), e)
					return
				}
			}
			_, _ = l.Term(lo)
		}
	})
	next, term := uint64(1), uint64(1)
	for n := range 150 {
		<-read
		m := &raftpb.Message{Responses: []*raftpb.Message{{}}, Term: new(term), Vote: new(uint64(1)), Commit: new(uint64(0))}
		if n%10 == 9 && next > 5 { // overrule some
			next, term = next-3, term+1
		}
		for range 1 + n%4 {
			m.Entries = append(m.Entries, entryOf(next, term, 100+n*13%1000))
			next++
		}
		if err := l.Append([]*raftpb.Message{m}); err != nil {
			t.Fatal(err)
		}
		if n%20 == 19 {
			if err := l.Compact(l.CompactTo(next-8, 50_000)); err != nil {
				t.Fatal(err)
			}
		}
		if n == 100 {
			index := next + 10
			snap := &raftpb.Snapshot{Metadata: &raftpb.SnapshotMetadata{Index: &index, Term: new(term)}}
			if err := errors.Join(l.Intend(snap), l.Install(snap)); err != nil {
				t.Fatal(err)
			}
			next = index + 1
		}
	}
	close(stop)
	wg.Wait()
}
