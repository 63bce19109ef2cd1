package pack

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"errors"
	"flag"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/klauspost/compress/zstd"
)

var update = flag.Bool("update", false, "train the table again")

// corpus is the demo's traffic as it was recorded by rrts/cmd/rrts (TestCorpus -update):
// frames as they passed, by what they are.
type corpus struct {
	single, singleAnswers, many, manyAnswers, bulk, bulkAnswers, rest, restAnswers [][]byte
}

func readCorpus(t testing.TB) (c corpus) {
	t.Helper()
	b, err := os.ReadFile("testdata/corpus.bin")
	if err != nil {
		t.Fatal(err)
	}
	for _, section := range []*[][]byte{&c.single, &c.singleAnswers, &c.many, &c.manyAnswers, &c.bulk, &c.bulkAnswers, &c.rest, &c.restAnswers} {
		n := binary.BigEndian.Uint32(b)
		frames := b[4 : 4+n]
		b = b[4+n:]
		for len(frames) > 0 {
			n := 4 + binary.BigEndian.Uint32(frames)
			*section = append(*section, frames[:n])
			frames = frames[n:]
		}
	}
	return c
}

func (c *corpus) all() (all [][]byte) {
	for _, s := range [][][]byte{c.single, c.singleAnswers, c.many, c.manyAnswers, c.bulk, c.bulkAnswers, c.rest, c.restAnswers} {
		all = append(all, s...)
	}
	return all
}

// train makes a table of the byte that followed most often.
func train(frames [][]byte) (out [1 << tableBits]byte) {
	seen := map[uint32]map[byte]int{}
	for _, f := range frames {
		before := uint32(0)
		for _, x := range Sequence(nil, f) {
			at := place(before)
			if seen[at] == nil {
				seen[at] = map[byte]int{}
			}
			seen[at][x]++
			before = before<<8 | uint32(x)
		}
	}
	for at, bytes := range seen {
		best := 0
		for x, n := range bytes {
			if c := cmp.Compare(n, best); c > 0 || c == 0 && x < out[at] {
				out[at], best = x, n
			}
		}
	}
	return out
}

// half returns every second frame, the first ones or the others.
func half(frames [][]byte, odd bool) (out [][]byte) {
	for i, f := range frames {
		if i%2 == 1 == odd {
			out = append(out, f)
		}
	}
	return out
}

// TestTable: the table is what the corpus makes, of one half of it: the other half is what
// it is measured on.
func TestTable(t *testing.T) {
	c := readCorpus(t)
	want := train(half(c.all(), false))
	if *update {
		if err := os.WriteFile("table.bin", want[:], 0o644); err != nil {
			t.Fatal(err)
		}
		table = want
	}
	// The Python client's own.
	const copied = "../../../packaging/examples/python/table.bin"
	if *update {
		if err := os.WriteFile(copied, want[:], 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if other, err := os.ReadFile(copied); err != nil || !bytes.Equal(other, want[:]) {
		t.Errorf("%s is not table.bin: %v", copied, err)
	}
	if table != want {
		t.Error("table.bin is not what the corpus makes: it is part of the protocol, and with another one nobody understands the others")
	}
}

// onWire is what frames take when they leave together.
func onWire(frames []byte, methods uint32) int {
	body, ok := Append(nil, Sequence(nil, frames), methods)
	if !ok {
		return len(frames)
	}
	return len(Frame(nil, body))
}

// short takes the id out of an answer to a Submit, as a gateway does: 18 bytes at the
// front of the Outcome, which is the body and comes last.
func short(frames [][]byte) (out [][]byte) {
	for _, f := range frames {
		at := bytes.Index(f, []byte{0x0a, 0x10})
		if at < 0 || at > 16 {
			out = append(out, f)
			continue
		}
		s := bytes.Clone(append(bytes.Clone(f[:at]), f[at+18:]...))
		s[at-1] -= 18 // the body's length
		binary.BigEndian.PutUint32(s, uint32(len(s)-4))
		out = append(out, s)
	}
	return out
}

// given puts the id of its transfer, which is as long as the transaction's, into a single
// payment: what a client sends that names it.
func given(frames [][]byte) (n int) {
	for _, f := range frames {
		n += len(f) + 18 - 2 // instead of the flag
	}
	return n
}

func size(frames [][]byte) (n int) {
	for _, f := range frames {
		n += len(f)
	}
	return n
}

// TestBytesOnTheWire measures on the half of the corpus that the table was not trained on,
// and holds the bars: 65 % of plain protobuf for single payments, 40 % in batches of 100.
func TestBytesOnTheWire(t *testing.T) {
	c := readCorpus(t)
	packer, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedDefault), zstd.WithEncoderCRC(false))
	if err != nil {
		t.Fatal(err)
	}
	gzipped := func(b []byte) int {
		var out bytes.Buffer
		w, _ := gzip.NewWriterLevel(&out, gzip.BestCompression)
		w.Write(b)
		w.Close()
		return out.Len()
	}
	t.Logf("%-34s %9s %9s %9s %9s %9s", "bytes per payment", "protobuf", "gzip", "zstd", "ours", "of plain")
	line := func(what string, payments, plain int, groups [][]byte, most float64, ours func(group []byte) int) {
		t.Helper()
		var g, z, o int
		for _, b := range groups {
			g += gzipped(b)
			z += len(packer.EncodeAll(b, nil))
			o += ours(b)
		}
		n := float64(payments)
		ratio := float64(o) / float64(plain)
		t.Logf("%-34s %9.1f %9.1f %9.1f %9.1f %8.0f%%", what, float64(plain)/n, float64(g)/n, float64(z)/n, float64(o)/n, 100*ratio)
		if ratio > most {
			t.Errorf("%s: %.3f of plain protobuf, at most %.2f", what, ratio, most)
		}
	}
	all := func(b []byte) int { return onWire(b, All) }
	single, answers := half(c.single, true), half(c.singleAnswers, true)
	line("single payment", len(single), given(single), single, 0.65, all)
	line("  the same without the second id", len(single), size(single), single, 0.75, all)
	shorter := short(answers)
	i := -1
	line("its answer", len(answers), size(answers), answers, 0.65, func([]byte) int { i++; return all(shorter[i]) })
	join := func(frames [][]byte) [][]byte {
		var out [][]byte
		for len(frames) >= 100 {
			out = append(out, bytes.Join(frames[:100], nil))
			frames = frames[100:]
		}
		return out
	}
	many, manyShort := join(c.many), join(short(c.manyAnswers))
	line("100 single payments at once", len(c.many), given(c.many), many, 0.40, all)
	i = -1
	line("their answers", len(c.manyAnswers), size(c.manyAnswers), join(c.manyAnswers), 0.50, func([]byte) int { i++; return all(manyShort[i]) })
	line("a batch of 100 transfers", 100*len(c.bulk), size(c.bulk)+18*100*len(c.bulk), c.bulk, 0.40, all)
	line("  the same without their ids", 100*len(c.bulk), size(c.bulk), c.bulk, 0.65, all)
	guessOnly := func(b []byte) int { return onWire(b, Guess) }
	line("100 at once, by guesses alone", len(c.many), given(c.many), many, 0.60, guessOnly)
}

// TestRoundTrip: everything comes back as it was, by either method, alone or together.
func TestRoundTrip(t *testing.T) {
	c := readCorpus(t)
	rng := rand.New(rand.NewPCG(1, 2))
	frames := c.all()
	random := make([]byte, 300)
	for i := range random {
		random[i] = byte(rng.Uint32())
	}
	binary.BigEndian.PutUint32(random, 296)
	frames = append(frames, random)
	for _, methods := range []uint32{0, Guess, Zstd, All} {
		for i := 0; i < len(frames); {
			n := min(1+rng.IntN(40), len(frames)-i)
			run := bytes.Join(frames[i:i+n], nil)
			i += n
			sequence := Sequence(nil, run)
			prefix := []byte("before")
			body, ok := Append(bytes.Clone(prefix), sequence, methods)
			if !bytes.HasPrefix(body, prefix) || !ok && len(body) != len(prefix) || methods == 0 && ok {
				t.Fatal("what was there before is gone")
			}
			if !ok {
				continue
			}
			got, err := Open(bytes.Clone(prefix), body[len(prefix):], len(sequence))
			if err != nil || !bytes.Equal(got[len(prefix):], sequence) {
				t.Fatalf("methods %d: %v", methods, err)
			}
			if _, err := Open(nil, body[len(prefix):], len(sequence)-1); !errors.Is(err, ErrPacked) {
				t.Fatalf("beyond the limit: %v", err)
			}
			var back []byte
			for rest := got[len(prefix):]; len(rest) > 0; {
				var e []byte
				if e, rest, err = Next(rest); err != nil {
					t.Fatal(err)
				}
				back = append(binary.BigEndian.AppendUint32(back, uint32(len(e))), e...)
			}
			if !bytes.Equal(back, run) {
				t.Fatal("the frames are others")
			}
		}
	}
}

// TestOpenAllocates: nothing that is declared costs memory before it is checked.
func TestOpenAllocates(t *testing.T) {
	c := readCorpus(t)
	sequence := Sequence(nil, c.single[1])
	body, _ := Append(nil, sequence, Guess)
	buf, out := make([]byte, 0, 1<<10), make([]byte, 0, 1<<10)
	if n := testing.AllocsPerRun(100, func() {
		body, _ = Append(out[:0], sequence, Guess)
		if _, err := Open(buf[:0], body, 1<<20); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("a payment takes %v allocations", n)
	}
	huge := binary.AppendUvarint(nil, 1<<30<<1|1)
	if n := testing.AllocsPerRun(10, func() { Open(nil, huge, 1<<20) }); n > 4 { // the error's
		t.Errorf("a lie takes %v allocations", n)
	}
}

func FuzzOpen(f *testing.F) {
	c := readCorpus(f)
	for _, frames := range [][]byte{c.single[0], c.singleAnswers[0], c.bulk[0], bytes.Join(c.many[:30], nil)} {
		for _, methods := range []uint32{Guess, Zstd} {
			if body, ok := Append(nil, Sequence(nil, frames), methods); ok {
				f.Add(body)
			}
		}
	}
	f.Add([]byte{})
	f.Add([]byte{3, 0x28, 0xb5, 0x2f, 0xfd})
	f.Fuzz(func(t *testing.T, body []byte) {
		const limit = 1 << 16
		out, err := Open(nil, body, limit)
		if len(out) > limit {
			t.Fatalf("%d bytes", len(out))
		}
		if err != nil {
			if !errors.Is(err, ErrPacked) {
				t.Fatal(err)
			}
			return
		}
		for len(out) > 0 && err == nil {
			_, out, err = Next(out)
		}
	})
}

func BenchmarkGuess(b *testing.B) {
	c := readCorpus(b)
	sequence := Sequence(nil, c.single[1])
	var body, out []byte
	b.Run("pack", func(b *testing.B) {
		for b.Loop() {
			body, _ = Append(body[:0], sequence, Guess)
		}
	})
	b.Run("open", func(b *testing.B) {
		for b.Loop() {
			out, _ = Open(out[:0], body, 1<<20)
		}
	})
	many := Sequence(nil, bytes.Join(c.many[:100], nil))
	b.Run("pack 100", func(b *testing.B) {
		for b.Loop() {
			body, _ = Append(body[:0], many, All)
		}
	})
	b.Run("open 100", func(b *testing.B) {
		for b.Loop() {
			out, _ = Open(out[:0], body, 1<<20)
		}
	})
}
