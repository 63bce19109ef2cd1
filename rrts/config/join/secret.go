package join

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
)

// Secret is what the two machines have in common: 256 random bits, good for one
// successful join. It never prints itself; Reveal does.
type Secret [32]byte

var secretEncoding = base64.RawURLEncoding.Strict()

// NewSecret draws a secret. One in 64 would begin with a hyphen, which a command line takes
// for a flag: it is drawn again.
func NewSecret(random io.Reader) (Secret, error) {
	var s Secret
	for {
		if _, err := io.ReadFull(random, s[:]); err != nil {
			return s, fmt.Errorf("join: no randomness: %w", err)
		}
		if s.Reveal()[0] != '-' {
			return s, nil
		}
	}
}

// ParseSecret reads what Reveal wrote.
func ParseSecret(text string) (Secret, error) {
	b, err := secretEncoding.DecodeString(text)
	if err != nil || len(b) != len(Secret{}) {
		return Secret{}, errors.New("join: this is not a whole secret: 43 letters, digits, - and _; copy the line again")
	}
	return Secret(b), nil
}

// Reveal returns the secret as the operator carries it: 43 characters that need no
// quotes.
func (s Secret) Reveal() string { return secretEncoding.EncodeToString(s[:]) }

// Format hides the secret from every verb of package fmt.
func (Secret) Format(f fmt.State, _ rune) { io.WriteString(f, "(hidden)") }

// BeaconKey is the key under which the two machines find out, on their NICs, how
// their networks are plugged. It says nothing about the secret.
func (s Secret) BeaconKey() [32]byte {
	return sha256.Sum256(append([]byte("RRTS join beacon 1"), s[:]...))
}
