package login

import (
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Bounds of names and passwords, in bytes. They hold for new users; a login with
// others is simply wrong.
const (
	MinLoginName  = 3
	MaxLoginName  = 64
	MinPassword   = 8
	MaxPassword   = 512
	MaxPublicName = 64
)

// PepperSize is the length of a pepper, in bytes.
const PepperSize = 32

// normalize returns the form of a login name under which it is hashed: without
// spaces around it and in lower case, so that a user may write it either way. The
// alphabet is small on purpose: two names that look alike must not be two users.
func normalize(name string) (string, error) {
	name = strings.TrimSpace(name)
	if n := len(name); n < MinLoginName || n > MaxLoginName {
		return "", fmt.Errorf("login: the login name has %d characters, need %d to %d", n, MinLoginName, MaxLoginName)
	}
	lower := []byte(name)
	for i, c := range lower {
		switch {
		case c >= 'A' && c <= 'Z':
			lower[i] = c + 'a' - 'A'
		case (c < 'a' || c > 'z') && (c < '0' || c > '9') && strings.IndexByte("._-@+", c) < 0:
			return "", fmt.Errorf("login: character %d of the login name is not a letter a-z, a digit or one of . _ - @ +", i+1)
		}
	}
	return string(lower), nil
}

// hashName returns what is stored of a normalized login name.
func hashName(pepper []byte, name string) []byte {
	h := hmac.New(sha256.New, pepper)
	h.Write([]byte("rrts login name 1\x00"))
	h.Write([]byte(name))
	return h.Sum(nil)
}

// checkPassword reports why a password cannot be taken for a new user.
func checkPassword(password, normalizedName string) error {
	switch n := len(password); {
	case n < MinPassword || n > MaxPassword:
		return fmt.Errorf("login: the password has %d bytes, need %d to %d", n, MinPassword, MaxPassword)
	case !utf8.ValidString(password) || strings.ContainsFunc(password, unicode.IsControl):
		return errors.New("login: the password holds control characters or is not UTF-8")
	case strings.EqualFold(password, normalizedName):
		return errors.New("login: the password is the login name")
	case strings.Count(password, password[:1]) == len(password):
		return errors.New("login: the password is one character again and again")
	}
	return nil
}

// checkPublicName reports why a public name cannot be taken.
func checkPublicName(name, normalizedLogin string) error {
	switch {
	case name == "" || len(name) > MaxPublicName:
		return fmt.Errorf("login: the public name has %d bytes, need 1 to %d", len(name), MaxPublicName)
	case !utf8.ValidString(name) || strings.ContainsFunc(name, func(r rune) bool { return !unicode.IsPrint(r) }):
		return errors.New("login: the public name holds characters that cannot be shown")
	case strings.TrimSpace(name) != name:
		return errors.New("login: the public name begins or ends with a space")
	case strings.EqualFold(name, normalizedLogin):
		return errors.New("login: the public name is the login name, which must stay secret")
	}
	return nil
}
