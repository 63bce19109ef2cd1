package kit

import (
	"bytes"
	"crypto/ed25519"
	"encoding/pem"
	"errors"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"virtualservicesinc.com/rrts/config/genesis"
)

var passphrase = []byte("correct horse battery")

func master(t testing.TB) *genesis.Master {
	t.Helper()
	m, err := genesis.Create(genesis.Spec{
		Name: "shop", SFUs: []genesis.SFU{{Name: "alpha", Gateways: []string{"pc1.example:7400"}}},
		Rand: rand.NewChaCha8([32]byte{1}), Now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
	})
	if err != nil {
		t.Fatal(err)
	}
	return m.Master
}

// cheap makes a kit that opens in a moment.
func cheap(t testing.TB, m *genesis.Master) []byte {
	t.Helper()
	data, err := seal(m, passphrase, rand.NewChaCha8([32]byte{2}), price{memory: 8, passes: 1, lanes: 1})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func TestRoundTrip(t *testing.T) {
	m := master(t)
	data, err := Seal(m, passphrase, rand.NewChaCha8([32]byte{2}))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(data, []byte("memory=262144 passes=3 lanes=4")) {
		t.Errorf("a real kit is cheaper than it says:\n%s", data)
	}
	got, err := Open(data, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(m.Files(), got.Files()); diff != "" {
		t.Errorf("what came out differs (-in +out):\n%s", diff)
	}
	for _, f := range m.Files() {
		if bytes.Contains(data, f.Data) {
			t.Errorf("%s is readable in the kit", f.Path)
		}
	}
	// What comes out signs: a client that trusts the authority trusts the gateway.
	public, _, err := genesis.NewGatewayKey(rand.NewChaCha8([32]byte{3}))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := got.CA.Sign(&m.Cluster.SFUs[0], ed25519.PublicKey(public), time.Now(), rand.NewChaCha8([32]byte{4})); err != nil {
		t.Error(err)
	}
	name, err := Cluster(data)
	if want := "shop " + m.Cluster.ID.String(); err != nil || name != want {
		t.Errorf("Cluster: %q, %v, want %q", name, err, want)
	}
	// Text around the kit, as mail and printing add, does no harm.
	if _, err := Open(append([]byte("Keep this safe.\n\n"), cheap(t, m)...), passphrase); err != nil {
		t.Errorf("with text around it: %v", err)
	}
}

func TestRefusals(t *testing.T) {
	m := master(t)
	if _, err := Seal(m, []byte("short"), rand.NewChaCha8([32]byte{2})); err == nil || !strings.Contains(err.Error(), "at least 12") {
		t.Errorf("a short passphrase: %v", err)
	}
	data := cheap(t, m)
	edit := func(change func(*pem.Block)) []byte {
		block, _ := pem.Decode(data)
		change(block)
		return pem.EncodeToMemory(block)
	}
	for _, tc := range []struct {
		name       string
		data       []byte
		passphrase string
		want       error
		text       string
	}{
		{"wrong passphrase", data, "correct horse batterz", ErrPassphrase, ""},
		{"changed byte", edit(func(b *pem.Block) { b.Bytes[40] ^= 1 }), "", ErrPassphrase, ""},
		{"cut", edit(func(b *pem.Block) { b.Bytes = b.Bytes[:len(b.Bytes)-20] }), "", ErrPassphrase, ""},
		{"cut to nothing", edit(func(b *pem.Block) { b.Bytes = nil }), "", ErrPassphrase, ""},
		{"another cluster's name", edit(func(b *pem.Block) { b.Headers["Cluster"] = "mall 00" }), "", ErrPassphrase, ""},
		{"cut file", data[:len(data)-10], "", ErrKit, "END line"},
		{"empty", nil, "", ErrKit, "BEGIN RRTS"},
		{"too long", make([]byte, MaxBytes+1), "", ErrKit, "limit"},
		{"a certificate", m.CA.CertPEM, "", ErrKit, "BEGIN RRTS"},
		{"newer", edit(func(b *pem.Block) { b.Headers["Version"] = "2" }), "", ErrKit, `version "2"`},
		{"all memory", edit(func(b *pem.Block) { b.Headers["Argon2id"] = "memory=4000000000 passes=3 lanes=4" }), "", ErrKit, "beyond memory"},
		{"no lanes", edit(func(b *pem.Block) { b.Headers["Argon2id"] = "memory=65536 passes=3 lanes=0" }), "", ErrKit, "beyond memory"},
		{"no price", edit(func(b *pem.Block) { delete(b.Headers, "Argon2id") }), "", ErrKit, "header Argon2id"},
		{"short salt", edit(func(b *pem.Block) { b.Headers["Salt"] = "AAAA" }), "", ErrKit, "header Salt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := passphrase
			if tc.passphrase != "" {
				p = []byte(tc.passphrase)
			}
			_, err := Open(tc.data, p)
			if !errors.Is(err, tc.want) || !strings.Contains(err.Error(), tc.text) {
				t.Errorf("got %v, want %v with %q", err, tc.want, tc.text)
			}
		})
	}
}

// FuzzParse holds what is read before the passphrase proves anything.
func FuzzParse(f *testing.F) {
	f.Add(cheap(f, master(f)))
	f.Add([]byte("-----BEGIN RRTS RECOVERY KIT-----\nVersion: 1\n\nAAAA\n-----END RRTS RECOVERY KIT-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		block, err := parse(data)
		if err != nil {
			if !errors.Is(err, ErrKit) {
				t.Errorf("%v is not ErrKit", err)
			}
			return
		}
		if p, salt, err := parsePrice(block); err == nil && (p.memory > most.memory || len(salt) != saltBytes) {
			t.Errorf("price %+v, salt of %d bytes", p, len(salt))
		}
	})
}
