package sealed

import (
	"crypto/ed25519"
	"crypto/hpke"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
)

// Sizes in bytes. Fixed by the layout.
const (
	// BindingSize is the length of a binding to a TLS session.
	BindingSize = 32
	// BindingLabel is the label under which TLS exports it (RFC 8446, 7.5).
	BindingLabel = "EXPORTER-rrts-login"

	layout     = 1
	headerSize = 28
	suiteSize  = 8
)

const (
	// MaxSchema bounds a schema: three suites take less than half of it.
	MaxSchema = 4096
	// maxSuites bounds its suites.
	maxSuites = 16
)

const (
	schemaLabel = "rrts login schema 1\x00"
	sealLabel   = "rrts sealed login 1\x00"
)

// ErrSchema is what every schema is that cannot be used: malformed, not signed by the
// cluster's login services, or without a suite that is known here.
var ErrSchema = errors.New("sealed: not a login schema of this cluster")

// suite is one choice of algorithms, by HPKE's numbers.
type suite struct{ kem, kdf, aead uint16 }

// suites are those in which keys are made, the preferred one first: a hybrid that is
// also safe from quantum computers, the one that every language has, and NIST's curve.
// A suite is retired by leaving it out here: clients take the next.
var suites = []suite{
	{kem: 0x647a, kdf: 0x0001, aead: 0x0003}, // ML-KEM-768 with X25519, HKDF-SHA256, ChaCha20-Poly1305
	{kem: 0x0020, kdf: 0x0001, aead: 0x0002}, // X25519, HKDF-SHA256, AES-256-GCM
	{kem: 0x0010, kdf: 0x0001, aead: 0x0002}, // P-256, HKDF-SHA256, AES-256-GCM
}

// algorithms returns what a suite's numbers mean.
func (s suite) algorithms() (hpke.KEM, hpke.KDF, hpke.AEAD, error) {
	kem, err1 := hpke.NewKEM(s.kem)
	kdf, err2 := hpke.NewKDF(s.kdf)
	aead, err3 := hpke.NewAEAD(s.aead)
	return kem, kdf, aead, errors.Join(err1, err2, err3)
}

// offer is a suite with its public key.
type offer struct {
	suite
	public []byte
}

// Schema is a login schema as clients see it.
type Schema struct {
	Cluster [16]byte
	SFU     uint16
	Epoch   uint64 // milliseconds since 1970

	offers []offer
	raw    []byte
}

// Bytes returns the encoded schema, which the caller must not change.
func (s *Schema) Bytes() []byte { return s.raw }

// Parse reads a schema, which it copies. A signer of nil takes any signature: the
// gateway is trusted then. The error is ErrSchema.
func Parse(b []byte, signer ed25519.PublicKey) (*Schema, error) {
	if len(b) < headerSize+ed25519.SignatureSize || len(b) > MaxSchema || b[0] != layout {
		return nil, fmt.Errorf("%w: %d bytes, need %d to %d that begin with %d", ErrSchema, len(b), headerSize+ed25519.SignatureSize, MaxSchema, layout)
	}
	b = slices.Clone(b)
	s := &Schema{Cluster: [16]byte(b[1:]), SFU: binary.BigEndian.Uint16(b[17:]), Epoch: binary.BigEndian.Uint64(b[19:]), raw: b}
	body, signature := b[:len(b)-ed25519.SignatureSize], b[len(b)-ed25519.SignatureSize:]
	if signer != nil && (len(signer) != ed25519.PublicKeySize || !ed25519.Verify(signer, signed(body), signature)) {
		return nil, fmt.Errorf("%w: its signature is not by the key login_key of client-kit.toml", ErrSchema)
	}
	n, at := int(b[headerSize-1]), headerSize
	if n == 0 || n > maxSuites {
		return nil, fmt.Errorf("%w: %d suites, need 1 to %d", ErrSchema, n, maxSuites)
	}
	for range n {
		if len(body)-at < suiteSize {
			return nil, fmt.Errorf("%w: it ends within a suite", ErrSchema)
		}
		o := offer{suite: suite{binary.BigEndian.Uint16(b[at:]), binary.BigEndian.Uint16(b[at+2:]), binary.BigEndian.Uint16(b[at+4:])}}
		size := int(binary.BigEndian.Uint16(b[at+6:]))
		if at += suiteSize; len(body)-at < size {
			return nil, fmt.Errorf("%w: it ends within a key", ErrSchema)
		}
		o.public = body[at : at+size : at+size]
		at += size
		s.offers = append(s.offers, o)
	}
	if at != len(body) {
		return nil, fmt.Errorf("%w: %d bytes after the last suite", ErrSchema, len(body)-at)
	}
	return s, nil
}

// encode returns the signed bytes of a schema.
func (s *Schema) encode(signer ed25519.PrivateKey) []byte {
	b := append([]byte{layout}, s.Cluster[:]...)
	b = binary.BigEndian.AppendUint16(b, s.SFU)
	b = binary.BigEndian.AppendUint64(b, s.Epoch)
	b = append(b, byte(len(s.offers)))
	for _, o := range s.offers {
		for _, n := range []uint16{o.kem, o.kdf, o.aead, uint16(len(o.public))} {
			b = binary.BigEndian.AppendUint16(b, n)
		}
		b = append(b, o.public...)
	}
	return append(b, ed25519.Sign(signer, signed(b))...)
}

// signed is what a signature is of.
func signed(body []byte) []byte { return append([]byte(schemaLabel), body...) }
