package mail

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"unicode/utf8"
)

// AddressKey makes the key of addresses of the cluster's pepper, which backups and the
// recovery kit keep: a restored cluster opens what was sealed before.
func AddressKey(pepper []byte) []byte {
	key, err := hkdf.Key(sha256.New, pepper, nil, "rrts mail addresses", 32)
	if err != nil {
		panic(err) // only of a longer key
	}
	return key
}

// sealer seals addresses: AES-256-GCM, bound to the user, so that one user's cannot be put
// in the place of another's.
//
//	nonce (12) | sealed address with its tag (16)
type sealer struct{ aead cipher.AEAD }

func newSealer(key []byte) (sealer, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return sealer{}, fmt.Errorf("mail: the key of addresses: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	return sealer{aead}, err
}

func bound(user uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte("rrts mail address 1"), user)
}

func (s sealer) seal(user uint64, address string) []byte {
	return s.aead.Seal(nil, nil, []byte(address), bound(user))
}

func (s sealer) open(user uint64, sealed []byte) (string, error) {
	plain, err := s.aead.Open(nil, nil, sealed, bound(user))
	if err != nil {
		return "", errors.New("the user's address was sealed under another key: give it again with rrts user address")
	}
	return string(plain), nil
}

// maxAddress is the longest address that SMTP carries (RFC 5321, 4.5.3.1.3).
const maxAddress = 254

// checkAddress refuses what is no plain address: no name beside it, no second one, nothing
// that would end a line.
func checkAddress(address string) error {
	parsed, err := mail.ParseAddress(address)
	switch {
	case len(address) > maxAddress:
		return fmt.Errorf("an address of %d bytes, the bound is %d", len(address), maxAddress)
	case err != nil || parsed.Address != address || strings.ContainsFunc(address, func(r rune) bool { return r <= ' ' || r == 0x7f || r == utf8.RuneError }):
		return errors.New("that is no address; write it as name@example.com")
	}
	return nil
}

// newID names a mail that no effect owes.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	return fmt.Sprintf("test-%x", b)
}

// domainOf is the domain of an address, in lower case.
func domainOf(address string) string {
	return strings.ToLower(address[strings.LastIndexByte(address, '@')+1:])
}
