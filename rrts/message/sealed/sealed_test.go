package sealed

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"slices"
	"testing"
)

var (
	signer  = ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	cluster = [16]byte{1, 2, 3}
	binding = bytes.Repeat([]byte{5}, BindingSize)
	secret  = []byte("anna and her password")
)

func newKeys(t testing.TB) *Keys {
	t.Helper()
	k, err := NewKeys(cluster, 3, 1_700_000_000_000, signer)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func public() ed25519.PublicKey { return signer.Public().(ed25519.PublicKey) }

// only returns a schema as a client sees it that knows nothing but one suite.
func only(s *Schema, suite int) *Schema {
	c := *s
	c.offers = slices.Clone(s.offers)
	for i := range c.offers {
		if i != suite {
			c.offers[i].kem = 0xfffe
		}
	}
	return &c
}

func TestEverySuite(t *testing.T) {
	k := newKeys(t)
	s, err := Parse(k.Schema().Bytes(), public())
	if err != nil || s.Cluster != cluster || s.SFU != 3 || s.Epoch != 1_700_000_000_000 || len(s.offers) != len(suites) {
		t.Fatalf("%+v, %v", s, err)
	}
	for i := range suites {
		b, err := only(s, i).Seal(4, binding, secret)
		if err != nil || b.Suite != uint32(i) {
			t.Fatalf("suite %d: %+v, %v", i, b, err)
		}
		if bytes.Contains(b.Ciphertext, secret) {
			t.Fatalf("suite %d: the secret is readable", i)
		}
		if got, err := k.Open(4, binding, b); err != nil || !bytes.Equal(got, secret) {
			t.Fatalf("suite %d: %q, %v", i, got, err)
		}
	}
	if _, err := only(s, len(suites)).Seal(4, binding, secret); !errors.Is(err, ErrSchema) {
		t.Errorf("no suite is known: %v", err)
	}
	if _, err := s.Seal(4, binding, make([]byte, MaxText+1)); err == nil {
		t.Error("too much was sealed")
	}
}

// TestLengthsAreHidden: names and passwords of any usual length are sealed alike.
func TestLengthsAreHidden(t *testing.T) {
	s := newKeys(t).Schema()
	short, err1 := s.Seal(4, nil, []byte("x"))
	long, err2 := s.Seal(4, nil, make([]byte, 250))
	if err1 != nil || err2 != nil || len(short.Ciphertext) != len(long.Ciphertext) {
		t.Errorf("%d and %d bytes, %v, %v", len(short.Ciphertext), len(long.Ciphertext), err1, err2)
	}
}

func TestOpensOnlyAsSealed(t *testing.T) {
	k := newKeys(t)
	b, err := k.Schema().Seal(4, binding, secret)
	if err != nil {
		t.Fatal(err)
	}
	other := newKeys(t) // the same epoch, as after a restart within a millisecond
	for name, f := range map[string]func(b *Box) ([]byte, error){
		"another method":      func(b *Box) ([]byte, error) { return k.Open(5, binding, b) },
		"another TLS session": func(b *Box) ([]byte, error) { return k.Open(4, make([]byte, BindingSize), b) },
		"no TLS session":      func(b *Box) ([]byte, error) { return k.Open(4, nil, b) },
		"other keys":          func(b *Box) ([]byte, error) { return other.Open(4, binding, b) },
		"another SFU":         func(b *Box) ([]byte, error) { b.SFU++; return k.Open(4, binding, b) },
		"another epoch":       func(b *Box) ([]byte, error) { b.Epoch++; return k.Open(4, binding, b) },
		"another suite":       func(b *Box) ([]byte, error) { b.Suite++; return k.Open(4, binding, b) },
		"a suite beyond":      func(b *Box) ([]byte, error) { b.Suite = 1 << 31; return k.Open(4, binding, b) },
		"a changed key":       func(b *Box) ([]byte, error) { b.Encapsulated[9] ^= 1; return k.Open(4, binding, b) },
		"no key":              func(b *Box) ([]byte, error) { b.Encapsulated = nil; return k.Open(4, binding, b) },
		"a changed text":      func(b *Box) ([]byte, error) { b.Ciphertext[0] ^= 1; return k.Open(4, binding, b) },
		"no text":             func(b *Box) ([]byte, error) { b.Ciphertext = nil; return k.Open(4, binding, b) },
	} {
		c := *b
		c.Encapsulated, c.Ciphertext = bytes.Clone(b.Encapsulated), bytes.Clone(b.Ciphertext)
		if got, err := f(&c); !errors.Is(err, ErrSealed) || got != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

func TestSchemasThatAreRefused(t *testing.T) {
	good := newKeys(t).Schema().Bytes()
	for name, f := range map[string]func(b []byte) []byte{
		"empty":             func([]byte) []byte { return nil },
		"cut":               func(b []byte) []byte { return b[:len(b)-1] },
		"another layout":    func(b []byte) []byte { b[0]++; return b },
		"another cluster":   func(b []byte) []byte { b[1]++; return b },
		"another SFU":       func(b []byte) []byte { b[18]++; return b },
		"another epoch":     func(b []byte) []byte { b[26]++; return b },
		"another key":       func(b []byte) []byte { b[headerSize+suiteSize]++; return b },
		"another signature": func(b []byte) []byte { b[len(b)-1]++; return b },
		"a gateway's own": func([]byte) []byte {
			k, _ := NewKeys(cluster, 3, 1, ed25519.NewKeyFromSeed(make([]byte, 32)))
			return k.Schema().Bytes()
		},
		"longer than allowed": func(b []byte) []byte { return append(b, make([]byte, MaxSchema)...) },
	} {
		if _, err := Parse(f(bytes.Clone(good)), public()); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Without a key to hold them against, only the form counts.
	for name, f := range map[string]func(b []byte) []byte{
		"no suites":        func(b []byte) []byte { b[headerSize-1] = 0; return b },
		"too many suites":  func(b []byte) []byte { b[headerSize-1] = 255; return b },
		"a suite missing":  func(b []byte) []byte { b[headerSize-1]++; return b },
		"a suite too many": func(b []byte) []byte { b[headerSize-1]--; return b },
		"a key beyond":     func(b []byte) []byte { binary.BigEndian.PutUint16(b[headerSize+6:], 65535); return b },
	} {
		if _, err := Parse(f(bytes.Clone(good)), nil); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzParse: whatever a gateway hands out as a schema, it is refused or can be tried.
func FuzzParse(f *testing.F) {
	f.Add(newKeys(f).Schema().Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := Parse(b, nil)
		if err != nil {
			if !errors.Is(err, ErrSchema) {
				t.Fatal(err)
			}
			return
		}
		if !bytes.Equal(s.Bytes(), b) {
			t.Fatal("the bytes are not those that were parsed")
		}
		if _, err := s.Seal(4, nil, secret); err != nil && !errors.Is(err, ErrSchema) {
			t.Fatal(err)
		}
	})
}

// FuzzOpen: whatever is sent as sealed, it opens or is ErrSealed.
func FuzzOpen(f *testing.F) {
	k := newKeys(f)
	for i := range suites {
		b, err := only(k.Schema(), i).Seal(4, binding, secret)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b.Suite, b.Encapsulated, b.Ciphertext)
	}
	f.Fuzz(func(t *testing.T, suite uint32, enc, text []byte) {
		if _, err := k.Open(4, binding, &Box{SFU: 3, Epoch: 1_700_000_000_000, Suite: suite, Encapsulated: enc, Ciphertext: text}); err != nil && !errors.Is(err, ErrSealed) {
			t.Fatal(err)
		}
	})
}

func BenchmarkOpen(b *testing.B) {
	k := newKeys(b)
	box, err := k.Schema().Seal(4, binding, secret)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := k.Open(4, binding, box); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkNewKeys(b *testing.B) {
	for b.Loop() {
		newKeys(b)
	}
}
