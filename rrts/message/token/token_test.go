package token

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"virtualservicesinc.com/rrts/message"
)

var update = flag.Bool("update", false, "write the golden file anew")

var (
	cluster = [16]byte{'c', 'l', 'u', 's', 't', 'e', 'r'}
	keyA    = bytes.Repeat([]byte{0xa}, KeySize)
	keyB    = bytes.Repeat([]byte{0xb}, KeySize)
	claims  = Claims{User: 1234567, Role: message.RoleOperator, Version: 3, Issued: 1_700_000_000_000_000_000,
		Expires: 1_700_003_600_000_000_000, Session: [16]byte{1, 2, 3}, Epoch: 1}
	nonce = [NonceSize]byte{9, 8, 7}
)

func ring(t testing.TB, cluster [16]byte, keys ...[]byte) *Keyring {
	t.Helper()
	k, err := NewKeyring(cluster, keys...)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestLayout holds the bytes: a token made today opens after an upgrade.
func TestLayout(t *testing.T) {
	got := ring(t, cluster, keyA).Seal(claims, nonce)
	if *update {
		if err := os.WriteFile("testdata/token.hex", []byte(hex.EncodeToString(got)+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile("testdata/token.hex")
	if err != nil {
		t.Fatal(err)
	}
	want, err := hex.DecodeString(strings.TrimSpace(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) || len(got) != Size {
		t.Fatalf("the layout has changed\ngot  %x\nwant %x", got, want)
	}
}

func TestKeysRotate(t *testing.T) {
	old, both, only := ring(t, cluster, keyA), ring(t, cluster, keyB, keyA), ring(t, cluster, keyB)
	now := claims.Issued
	for name, tt := range map[string]struct {
		by, at *Keyring
		want   error
	}{
		"the same key":            {old, old, nil},
		"an old key still held":   {old, both, nil},
		"the new key":             {both, only, nil},
		"an old key that is gone": {old, only, ErrInvalid},
		"a key not yet known":     {both, old, ErrInvalid},
	} {
		got, err := tt.at.Open(tt.by.Seal(claims, nonce), now)
		if !errors.Is(err, tt.want) || err == nil && got != claims {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
}

func TestOpenRefuses(t *testing.T) {
	k := ring(t, cluster, keyA)
	good := k.Seal(claims, nonce)
	now := claims.Issued
	if c, err := k.Open(good, claims.Expires-1); err != nil || c != claims {
		t.Fatal(c, err)
	}
	if c, err := k.Open(good, claims.Expires); !errors.Is(err, ErrExpired) || c != claims {
		t.Fatal(c, err)
	}
	if _, err := ring(t, [16]byte{'o'}, keyA).Open(good, now); !errors.Is(err, ErrInvalid) {
		t.Fatalf("a token of another cluster: %v", err)
	}
	for n := range good {
		if _, err := k.Open(good[:n], now); !errors.Is(err, ErrInvalid) {
			t.Fatalf("cut to %d bytes: %v", n, err)
		}
		bad := bytes.Clone(good)
		bad[n] ^= 1
		if _, err := k.Open(bad, now); !errors.Is(err, ErrInvalid) {
			t.Fatalf("byte %d changed: %v", n, err)
		}
	}
}

func TestKeyring(t *testing.T) {
	if _, err := NewKeyring(cluster); err == nil || !strings.Contains(err.Error(), "0 keys, need 1 to 8") {
		t.Error(err)
	}
	if _, err := NewKeyring(cluster, keyA, keyA[:31]); err == nil || !strings.Contains(err.Error(), "key 1 is 31 bytes, need 32") {
		t.Error(err)
	}
}

func FuzzOpen(f *testing.F) {
	k := ring(f, cluster, keyA)
	good := k.Seal(claims, nonce)
	f.Add(good)
	f.Add(good[:headerSize])
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := k.Open(b, claims.Issued)
		if (err == nil) != bytes.Equal(b, good) {
			t.Fatalf("%x opened as %+v, %v", b, c, err)
		}
	})
}
