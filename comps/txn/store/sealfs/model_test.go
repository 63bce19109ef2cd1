package sealfs

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// model drives a sealed file system and a plain one alike, by a program of
// bytes, and compares everything that can be asked of them.
type model struct {
	t      testing.TB
	rng    *rand.Rand
	sealed *FS
	plain  vfs.FS
	open   [4][2]vfs.File // files being written
	dirty  [4]bool
}

func (m *model) step(op, arg byte) {
	slot := int(op>>3) % len(m.open)
	name := fmt.Sprintf("/f%d", slot)
	w := &m.open[slot]
	both := func(f func(fs vfs.FS) error) {
		m.t.Helper()
		a, b := f(m.sealed), f(m.plain)
		if (a == nil) != (b == nil) {
			m.t.Fatalf("op %d on %s: sealed %v, plain %v", op&7, name, a, b)
		}
	}
	closeIt := func() {
		if w[0] != nil {
			check(m.t, errors.Join(w[0].Close(), w[1].Close()))
			*w, m.dirty[slot] = [2]vfs.File{}, false
		}
	}
	switch op & 7 {
	case 0:
		closeIt()
		var err error
		w[0], err = m.sealed.Create(name, vfs.WriteCategoryUnspecified)
		check(m.t, err)
		w[1], err = m.plain.Create(name, vfs.WriteCategoryUnspecified)
		check(m.t, err)
	case 1, 2, 3:
		if w[0] == nil {
			return
		}
		n := int(arg)
		switch op & 7 {
		case 2:
			n = int(arg) * 97
		case 3:
			n = int(arg)/64*pageData + int(arg%4) - 1
		}
		p := noise(m.rng, max(n, 0))
		for _, f := range w {
			k, err := f.Write(bytes.Clone(p))
			if check(m.t, err); k != len(p) {
				m.t.Fatalf("wrote %d of %d", k, len(p))
			}
		}
		m.dirty[slot] = true
	case 4:
		if w[0] != nil {
			check(m.t, w[0].Sync())
			m.dirty[slot] = false
		}
	case 5:
		closeIt()
	case 6:
		closeIt()
		other := (slot + 1) % len(m.open)
		if m.open[other][0] != nil {
			return
		}
		switch to := fmt.Sprintf("/f%d", other); arg % 3 {
		case 0:
			both(func(fs vfs.FS) error { return fs.Rename(name, to) })
		case 1:
			both(func(fs vfs.FS) error { return fs.Link(name, to) })
		case 2:
			both(func(fs vfs.FS) error { return fs.Remove(name) })
		}
	case 7:
		if w[0] != nil {
			a, err := w[0].Stat()
			check(m.t, err)
			b, err := w[1].Stat()
			if check(m.t, err); a.Size() != b.Size() {
				m.t.Fatalf("%s, being written: %d bytes, want %d", name, a.Size(), b.Size())
			}
		}
		if !m.dirty[slot] {
			m.compare(name, int64(arg))
		}
	}
}

func (m *model) compare(name string, arg int64) {
	ai, aerr := m.sealed.Stat(name)
	bi, berr := m.plain.Stat(name)
	if (aerr == nil) != (berr == nil) {
		m.t.Fatalf("stat of %s: sealed %v, plain %v", name, aerr, berr)
	}
	if berr != nil {
		return
	}
	if ai.Size() != bi.Size() || ai.Name() != bi.Name() {
		m.t.Fatalf("%s has %d bytes, want %s with %d", ai.Name(), ai.Size(), bi.Name(), bi.Size())
	}
	a, err := m.sealed.Open(name)
	check(m.t, err)
	defer a.Close()
	b, err := m.plain.Open(name)
	check(m.t, err)
	defer b.Close()
	for range 4 {
		off := m.rng.Int64N(bi.Size() + 10)
		p, q := make([]byte, arg*arg+1), make([]byte, arg*arg+1)
		n, aerr := a.ReadAt(p, off)
		k, berr := b.ReadAt(q, off)
		if n != k || aerr != berr || !bytes.Equal(p[:n], q[:k]) {
			m.t.Fatalf("%s, %d bytes at %d: %d, %v; want %d, %v; or they differ", name, len(p), off, n, aerr, k, berr)
		}
		check(m.t, a.Prefetch(off, int64(len(p))))
	}
	all, err := io.ReadAll(a)
	check(m.t, err)
	want, err := io.ReadAll(b)
	check(m.t, err)
	if !bytes.Equal(all, want) {
		m.t.Fatalf("%s read from front to back differs", name)
	}
}

func runModel(t testing.TB, program []byte) {
	plain := vfs.NewMem()
	m := &model{t: t, rng: rand.New(rand.NewPCG(1, 1)), sealed: newFS(t, vfs.NewMem()), plain: plain}
	for ; len(program) >= 2; program = program[2:] {
		m.step(program[0], program[1])
	}
}

func TestModel(t *testing.T) {
	for seed := range uint64(150) {
		rng := rand.New(rand.NewPCG(seed, 5))
		runModel(t, noise(rng, 300))
	}
}

func FuzzModel(f *testing.F) {
	f.Add([]byte{0, 0, 1, 9, 4, 0, 7, 3, 2, 90, 5, 0, 7, 40})
	f.Add([]byte{0, 0, 3, 129, 4, 0, 3, 65, 1, 1, 5, 0, 7, 200, 6, 1, 7, 3, 15, 3})
	f.Fuzz(func(t *testing.T, program []byte) { runModel(t, program[:min(len(program), 400)]) })
}
