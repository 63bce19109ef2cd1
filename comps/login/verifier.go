package login

import (
	"crypto/subtle"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/argon2"
)

const (
	saltSize = 16
	hashSize = 32
	// lanes is Argon2's parallelism: one, since as many passwords are checked at once
	// as there are processors.
	lanes = 1
	// maxMemoryKiB and maxPasses bound what a stored verifier may ask for: the most
	// that the configuration allows.
	maxMemoryKiB = 1 << 20
	maxPasses    = 64
)

// errVerifier is a stored verifier that this package did not make.
var errVerifier = errors.New("login: malformed password verifier")

// cost is what checking a password takes.
type cost struct {
	memoryKiB uint32
	passes    uint32
}

// hash returns the verifier of a password.
func (c cost) hash(password string, salt [saltSize]byte) string {
	h := argon2.IDKey([]byte(password), salt[:], c.passes, c.memoryKiB, lanes, hashSize)
	b64 := base64.RawStdEncoding
	return fmt.Sprintf("$argon2id$v=%d$m=%d,t=%d,p=%d$%s$%s", argon2.Version, c.memoryKiB, c.passes, lanes,
		b64.EncodeToString(salt[:]), b64.EncodeToString(h))
}

// verifier is a parsed PHC string.
type verifier struct {
	cost  cost
	lanes uint8
	salt  [saltSize]byte
	hash  [hashSize]byte
}

// parseVerifier reads a PHC string. The error is errVerifier.
func parseVerifier(s string) (v verifier, err error) {
	var version int
	var salt, hash string
	if n, err := fmt.Sscanf(s, "$argon2id$v=%d$m=%d,t=%d,p=%d$%22s$%43s", &version, &v.cost.memoryKiB, &v.cost.passes, &v.lanes, &salt, &hash); n != 6 || err != nil {
		return v, errVerifier
	}
	b64 := base64.RawStdEncoding.Strict()
	rawSalt, err1 := b64.DecodeString(salt)
	rawHash, err2 := b64.DecodeString(hash)
	switch {
	case err1 != nil || err2 != nil || len(rawSalt) != saltSize || len(rawHash) != hashSize:
		return v, errVerifier
	case version != argon2.Version:
		return v, fmt.Errorf("%w: Argon2 version %d, this is %d", errVerifier, version, argon2.Version)
	case v.cost.memoryKiB < 8 || v.cost.memoryKiB > maxMemoryKiB || v.cost.passes < 1 || v.cost.passes > maxPasses || v.lanes < 1:
		return v, fmt.Errorf("%w: m=%d,t=%d,p=%d is out of bounds", errVerifier, v.cost.memoryKiB, v.cost.passes, v.lanes)
	}
	v.salt, v.hash = [saltSize]byte(rawSalt), [hashSize]byte(rawHash)
	return v, nil
}

// check reports whether v is the verifier of the password. It takes the memory and
// the time that v's cost says.
func (v *verifier) check(password string) bool {
	h := argon2.IDKey([]byte(password), v.salt[:], v.cost.passes, v.cost.memoryKiB, v.lanes, hashSize)
	return subtle.ConstantTimeCompare(h, v.hash[:]) == 1
}
