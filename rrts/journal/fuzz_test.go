package journal

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// realSegments are the files of a journal that has seen everything.
func realSegments(t testing.TB, cfg Config, d vfs.FS) map[Position]item {
	j := mustOpen(t, cfg)
	for i := range 40 {
		kind := []Kind{kindEntry, kindState}[i%2]
		mustAppend(t, j, kind, fmt.Sprintf("%d %s", i, bytes.Repeat([]byte{'x'}, i*i)))
		switch {
		case i%5 == 4:
			check(t, j.Sync())
		case i == 22:
			check(t, j.Mark())
		case i == 31:
			check(t, j.Rotate(5))
		}
	}
	check(t, j.Mark())
	all := make(map[Position]item)
	for _, it := range replay(t, j, 0) {
		all[it.pos] = it
	}
	check(t, j.Close())
	return all
}

func readFile(t testing.TB, fs vfs.FS, name string) []byte {
	f, err := fs.Open(name)
	check(t, err)
	defer f.Close()
	b, err := io.ReadAll(f)
	check(t, err)
	return b
}

func writeFile(t testing.TB, fs vfs.FS, name string, b []byte) {
	f, err := fs.Create(name, vfs.WriteCategoryUnspecified)
	check(t, err)
	_, err = f.Write(bytes.Clone(b))
	check(t, err)
	check(t, f.Close())
}

// spoilt changes a segment by a program of four bytes a step: an offset, what to do, how much.
func spoilt(segment, program []byte) []byte {
	b := bytes.Clone(segment)
	for ; len(program) >= 4 && len(b) > 0; program = program[4:] {
		off, n := int(binary.LittleEndian.Uint16(program))%len(b), int(program[3])
		to := min(len(b), off+16*n)
		switch program[2] % 5 {
		case 0:
			b[off] ^= program[3]
		case 1:
			clear(b[off:to])
		case 2: // what stands elsewhere in the segment, as a recycled file would show
			copy(b[off:to], segment[off/2:])
		case 3:
			for i := off; i < to; i++ {
				b[i] ^= program[3]
			}
		case 4:
			b = b[:len(b)-min(off, n)]
		}
	}
	return b
}

// FuzzOpen spoils a segment of a real journal. Open answers or refuses, and what
// it reads was written; what it reports can be settled.
func FuzzOpen(f *testing.F) {
	fs := vfs.NewMem()
	cfg := testConfig(f, fs)
	all := realSegments(f, cfg, fs)
	first, second := readFile(f, fs, "/j/0000000001.seg"), readFile(f, fs, "/j/0000000002.seg")
	for _, program := range [][]byte{nil, {0, 0x30, 0, 1}, {0, 0x40, 1, 255}, {0, 0, 1, 50, 0, 0xf0, 1, 255}, {9, 0x50, 3, 7}, {255, 255, 4, 255}} {
		f.Add(program, true)
		f.Add(program, false)
	}
	f.Fuzz(func(t *testing.T, program []byte, newest bool) {
		cfg := cfg
		cfg.FS = vfs.NewMem()
		check(t, cfg.FS.MkdirAll("/j", 0o700))
		a, b := first, second
		if newest {
			b = spoilt(b, program)
		} else {
			a = spoilt(a, program)
		}
		writeFile(t, cfg.FS, "/j/0000000001.seg", a)
		writeFile(t, cfg.FS, "/j/0000000002.seg", b)
		j, err := Open(cfg)
		if err != nil {
			if !errors.Is(err, ErrForeign) && !errors.Is(err, ErrVersion) && !errors.Is(err, ErrUnknownKey) {
				t.Fatal(err)
			}
			return
		}
		got := make(map[Position]item)
		for from := Position(0); ; {
			err := j.Replay(from, func(pos Position, kind Kind, payload []byte) error {
				got[pos] = item{pos, kind, string(payload)}
				return nil
			})
			var d *DamageError
			if !errors.As(err, &d) {
				check(t, err)
				break
			}
			from = d.Ranges[0].To
		}
		for pos, it := range got {
			if all[pos] != it {
				t.Fatalf("invented at %v: %d %.30q", pos, it.kind, it.payload)
			}
		}
		for left := j.Damage(); len(left) > 0; {
			check(t, j.Abandon(left[0]))
			now := j.Damage()
			if len(now) >= len(left) {
				t.Fatalf("after abandoning %v there is still %v", left[0], now)
			}
			left = now
		}
		mustAppend(t, j, kindEntry, "on")
		check(t, j.Sync())
	})
}

// FuzzFrames seals frames with any counts and positions into a segment, as no
// writer would. Reading them must end, and settling what is reported must lead to a sound journal.
func FuzzFrames(f *testing.F) {
	f.Add([]byte{1, 1, 0, 0, 0, 0, 5, 1, 130, 1, 0, 0, 0, 9})
	f.Add([]byte{1, 1, 0, 0, 0, 0, 5, 2, 0, 1, 0, 9, 9, 0, 1, 1, 9, 9, 9, 9, 1})
	f.Add([]byte{3, 0, 200, 200, 0, 0, 0, 1, 1, 5, 5, 5, 5, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		cfg := testConfig(t, vfs.NewMem())
		j := mustOpen(t, cfg)
		check(t, j.Rotate(0))
		seg := j.segs[0]
		off := uint32(firstFrame)
		for len(b) >= 7 && off+2000 < seg.room() {
			fr := frame{
				typ: frameType(b[0]%3 + 1), kind: Kind(b[1]), shared: uint32(int8(b[2])), local: uint32(int8(b[3])),
				sharedSynced: uint32(int8(b[4])), localSynced: uint32(int8(b[5])), n: int(b[6]),
			}
			if fr.typ != typeRecord {
				fr.kind, fr.n = 0, 0
			} else if fr.kind == 0 {
				fr.kind = 1
			}
			fr.synced = at(uint32(b[2]%3), uint32(b[3])*BlockBytes)
			buf := make([]byte, fr.size())
			to := off
			if fr.typ == typeMark {
				to = BlockBytes
				binary.LittleEndian.PutUint32(buf[frameClear:], uint32(b[6]))
			}
			seg.seal.seal(new(nonce), buf, to, &fr)
			_, err := seg.file.WriteAt(buf, int64(to))
			check(t, err)
			off += uint32(fr.size()) + uint32(b[6]%2)*BlockBytes&^7
			b = b[7:]
		}
		check(t, j.Close())
		j = mustOpen(t, cfg)
		for n := 0; len(j.Damage()) > 0 && n < 50; n++ {
			if err := j.Abandon(j.Damage()[0]); err != nil {
				return // counts that no gap can lead to
			}
		}
	})
}

// FuzzHeader decodes any block as a header: it never panics, and what it takes
// it gives back the same.
func FuzzHeader(f *testing.F) {
	fs := vfs.NewMem()
	cfg := testConfig(f, fs)
	realSegments(f, cfg, fs)
	f.Add(readFile(f, fs, "/j/0000000001.seg")[:headerEnd])
	f.Add(readFile(f, fs, "/j/0000000002.seg")[:headerEnd])
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, s, err := parseHeader(b, cfg.Cluster, cfg.Keys)
		if err != nil {
			return
		}
		if again := h.appendTo(nil, s); !bytes.Equal(again[:headerEnd], b[:headerEnd]) {
			t.Fatalf("%x was taken and comes back as %x", b[:headerEnd], again[:headerEnd])
		}
	})
}
