package quarantine

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/message"
)

func sample() *Record {
	return &Record{Time: 1_700_000_000_123456789, Crashes: 3, Component: "login", Reason: "panic: no such thing\ngoroutine 7",
		Request: message.Envelope{Kind: message.KindRequest, Service: 4, Method: 1, Call: 77, Principal: 9, Body: []byte("poison")}}
}

func stores(t *testing.T) map[string]Store {
	d, err := NewDir(filepath.Join(t.TempDir(), "quarantine"), make([]byte, 32), rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]Store{"dir": d, "memory": new(Memory)}
}

func TestStore(t *testing.T) {
	for name, s := range stores(t) {
		t.Run(name, func(t *testing.T) {
			a, b := sample(), sample()
			b.Request.Body = []byte("other")
			ids := []string{ID(&a.Request), ID(&b.Request)}
			for i, r := range []*Record{a, b} {
				if err := s.Put(ids[i], r); err != nil {
					t.Fatal(err)
				}
			}
			got, err := s.Get(ids[0])
			if err != nil || !reflect.DeepEqual(got, a) {
				t.Fatalf("%+v, %v", got, err)
			}
			sorted := slices.Sorted(slices.Values(ids))
			if l, err := s.List(); err != nil || !slices.Equal(l, sorted) {
				t.Fatalf("%v, %v", l, err)
			}
			for range 2 {
				if err := s.Delete(ids[0]); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := s.Get(ids[0]); !errors.Is(err, fs.ErrNotExist) {
				t.Fatal(err)
			}
			if l, _ := s.List(); len(l) != 1 || l[0] != ids[1] {
				t.Fatal(l)
			}
		})
	}
}

func TestDirIsSealed(t *testing.T) {
	dir := t.TempDir()
	d, err := NewDir(dir, make([]byte, 32), rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	id := ID(&sample().Request)
	if err := d.Put(id, sample()); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, id+suffix)
	b, err := os.ReadFile(file)
	if err != nil || bytes.Contains(b, []byte("poison")) || bytes.Contains(b, []byte("login")) {
		t.Fatalf("%q, %v", b, err)
	}
	for i := range b {
		bad := bytes.Clone(b)
		bad[i] ^= 1
		os.WriteFile(file, bad, 0o600)
		if _, err := d.Get(id); !errors.Is(err, ErrSealed) {
			t.Fatalf("byte %d was changed: %v", i, err)
		}
	}
	for _, short := range [][]byte{nil, b[:3], b[:16], b[:len(b)-1]} {
		os.WriteFile(file, short, 0o600)
		if _, err := d.Get(id); !errors.Is(err, ErrSealed) {
			t.Fatalf("%d bytes: %v", len(short), err)
		}
	}
	// A file under another's name is not that other.
	other := strings.Repeat("0", 2*idBytes)
	os.WriteFile(filepath.Join(dir, other+suffix), b, 0o600)
	if _, err := d.Get(other); !errors.Is(err, ErrSealed) {
		t.Fatal(err)
	}
	wrong, _ := NewDir(dir, bytes.Repeat([]byte{1}, 32), rand.NewChaCha8([32]byte{1}))
	os.WriteFile(file, b, 0o600)
	if _, err := wrong.Get(id); !errors.Is(err, ErrSealed) {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "../x", strings.Repeat("G", 32), strings.Repeat("A", 32)} {
		if _, err := d.Get(bad); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%q: %v", bad, err)
		}
		if d.Put(bad, sample()) == nil || d.Delete(bad) == nil {
			t.Errorf("%q was taken for an id", bad)
		}
	}
	if _, err := NewDir(dir, make([]byte, 16), nil); err == nil {
		t.Error("a short key was taken")
	}
}

func TestID(t *testing.T) {
	base := sample().Request
	seen := map[string]bool{ID(&base): true}
	for _, change := range []func(*message.Envelope){
		func(e *message.Envelope) { e.Service++ },
		func(e *message.Envelope) { e.Method++ },
		func(e *message.Envelope) { e.Principal++ },
		func(e *message.Envelope) { e.Body = []byte("poisoN") },
	} {
		e := base
		change(&e)
		if seen[ID(&e)] {
			t.Errorf("%v has the same id", e)
		}
		seen[ID(&e)] = true
	}
	again := base
	again.Call, again.From, again.RemainingMillis, again.Trace[0] = 1, 2, 3, 4
	if !seen[ID(&again)] {
		t.Error("sent again, it has another id")
	}
}

func TestSuspects(t *testing.T) {
	var s Suspects
	for want := 1; want <= Limit; want++ {
		if n := s.Crashed(time.Duration(want), "a"); n != want {
			t.Fatalf("crash %d counts %d", want, n)
		}
		s.Crashed(time.Duration(want), fmt.Sprint("other", want))
	}
	s.Clear("a")
	s.Clear("never seen")
	if n := s.Crashed(0, "a"); n != 1 {
		t.Fatalf("after Clear: %d", n)
	}
	if n := s.Crashed(2*forget, "a"); n != 1 {
		t.Fatalf("after two hours: %d", n)
	}
	for i := range 2 * maxSuspects {
		s.Crashed(2*forget, fmt.Sprint(i))
	}
	if len(s.seen) != maxSuspects || len(s.order) != maxSuspects {
		t.Fatalf("%d and %d suspects", len(s.seen), len(s.order))
	}
	if n := s.Crashed(2*forget, fmt.Sprint(2*maxSuspects-1)); n != 2 {
		t.Fatalf("the newest was forgotten: %d", n)
	}
	if n := s.Crashed(2*forget, "a"); n != 1 {
		t.Fatalf("the oldest was kept: %d", n)
	}
}

func TestRecordCutsLongTexts(t *testing.T) {
	r := sample()
	r.Component, r.Reason = strings.Repeat("c", 1000), strings.Repeat("r", 100000)
	var got Record
	if err := got.Parse(r.AppendTo(nil)); err != nil || len(got.Component) != maxName || len(got.Reason) != maxReason {
		t.Fatal(err, len(got.Component), len(got.Reason))
	}
}

func FuzzRecord(f *testing.F) {
	whole := sample().AppendTo(nil)
	for i := range whole {
		f.Add(whole[:i])
	}
	f.Add(whole)
	f.Fuzz(func(t *testing.T, b []byte) {
		var r, again Record
		if err := r.Parse(b); err != nil {
			if !errors.Is(err, ErrBadRecord) {
				t.Fatal(err)
			}
			return
		}
		once := r.AppendTo(nil)
		if err := again.Parse(once); err != nil || !bytes.Equal(once, again.AppendTo(nil)) {
			t.Fatalf("%+v\n%+v\n%v", r, again, err)
		}
	})
}
