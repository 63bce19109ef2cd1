package journal

import (
	"bytes"
	"fmt"
	"testing"
)

// TestTornInsideBlock tears a group in the middle of its first block. What follows
// the hole must not come back when the next segment has begun.
func TestTornInsideBlock(t *testing.T) {
	d := newDisk(1)
	cfg := testConfig(t, d)
	j := mustOpen(t, cfg)
	mustAppend(t, j, kindEntry, "one")
	torn := mustAppend(t, j, kindEntry, "two")
	mustAppend(t, j, kindEntry, "three")
	check(t, j.Sync())
	d.Kill()
	spoil(t, d, torn)
	j = mustOpen(t, cfg)
	if got := replay(t, j, 0); j.Damage() != nil || len(got) != 1 {
		t.Fatalf("damage %v, replayed %v", j.Damage(), got)
	}
	mustAppend(t, j, kindEntry, "four")
	check(t, j.Sync())
	check(t, j.Close())
	j = mustOpen(t, cfg)
	if got := replay(t, j, 0); j.Damage() != nil || len(got) != 2 || got[1].payload != "four" {
		t.Fatalf("damage %v, replayed %v", j.Damage(), got)
	}
}

// TestRepairKeepsMark wants a repaired segment to remember how far it was synced.
func TestRepairKeepsMark(t *testing.T) {
	d := newDisk(1)
	cfg := testConfig(t, d)
	j := mustOpen(t, cfg)
	one := mustAppend(t, j, kindEntry, "one")
	check(t, j.Sync())
	two := mustAppend(t, j, kindEntry, "two")
	check(t, j.Mark())
	check(t, j.Close())
	spoil(t, d, one)
	j = mustOpen(t, cfg)
	check(t, j.Repair(j.Damage()[0], []Record{{kindEntry, []byte("one")}}))
	check(t, j.Close())
	spoil(t, d, two)
	j = mustOpen(t, cfg)
	if dam := j.Damage(); len(dam) != 1 || dam[0].From > two || dam[0].To <= two || dam[0].Shared != 1 {
		t.Fatalf("damage: %v", dam)
	}
	check(t, j.Repair(j.Damage()[0], []Record{{kindEntry, []byte("two")}}))
	if got := replay(t, j, 0); len(got) != 2 || got[0].pos != one {
		t.Fatalf("replayed %v", got)
	}
}

// TestTwoMarks wants the mark before the newest one to stand, in case the newest is torn.
func TestTwoMarks(t *testing.T) {
	d := newDisk(1)
	cfg := testConfig(t, d)
	j := mustOpen(t, cfg)
	a := mustAppend(t, j, kindEntry, "a")
	check(t, j.Mark())
	b := mustAppend(t, j, kindEntry, "b")
	check(t, j.Mark())
	newest := int64(j.cur.markOffset(j.marks, j.Synced().Offset()))
	check(t, j.Close())
	check(t, d.Rot("/j/0000000001.seg", newest, 100))
	spoil(t, d, a)
	spoil(t, d, b)
	j = mustOpen(t, cfg)
	if dam := j.Damage(); len(dam) != 1 || dam[0].From != a || dam[0].Shared != 1 {
		t.Fatalf("damage: %v", dam)
	}
}

// TestMarksAreFar wants half a segment between a mark and what it speaks of.
func TestMarksAreFar(t *testing.T) {
	seg := &segment{num: 1, size: DefaultSegmentBytes}
	for end := uint32(firstFrame); end <= seg.room(); end += 1 << 20 {
		for number := range uint64(4) {
			off := seg.markOffset(number, end)
			far := max(off, end) - min(off, end)
			if far < DefaultSegmentBytes/2-firstFrame-tailBytes {
				t.Fatalf("mark %d of the position at %d stands at %d", number, end, off)
			}
			if off >= firstFrame && off < seg.room() || off < BlockBytes || off >= DefaultSegmentBytes-BlockBytes {
				t.Fatalf("mark %d of the position at %d stands at %d, where frames or headers are", number, end, off)
			}
		}
	}
}

// TestNoncesDiffer seals the same plaintext in every place a segment has, and
// wants no two results alike: under one key, equal nonces would give equal bytes.
func TestNoncesDiffer(t *testing.T) {
	s, err := newSealer([32]byte{1}, [32]byte{2}, [16]byte{3})
	check(t, err)
	seen := make(map[string]string)
	add := func(what string, sealed []byte) {
		key := string(sealed[:24])
		if other, ok := seen[key]; ok {
			t.Errorf("%s and %s share a nonce", what, other)
		}
		seen[key] = what
	}
	for off := uint32(0); off < 64*frameAlign; off += frameAlign {
		b := make([]byte, frameSize(0))
		s.seal(new(nonce), b, off, &frame{typ: typeRecord, kind: 1})
		add(fmt.Sprint("frame at ", off), b[frameClear:])
	}
	for number := range uint32(64) {
		b := make([]byte, frameSize(0))
		s.seal(new(nonce), b, BlockBytes, &frame{typ: typeMark, sharedSynced: number, localSynced: number % 3})
		add(fmt.Sprint("mark ", number), b[frameClear:])
	}
	h := header{size: MinSegmentBytes, num: 1}
	b := h.appendTo(nil, s)
	add("header", b[headerClear:])
	if !bytes.Equal(b, h.appendTo(nil, s)) {
		t.Error("a header written twice differs: its nonce would repeat with another plaintext")
	}
}
