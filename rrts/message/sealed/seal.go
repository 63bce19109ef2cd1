package sealed

import (
	"crypto/ed25519"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// MaxText bounds what is sealed, in bytes: two passwords and a name are well below.
	MaxText = 2046
	// pad is the step in which the length of what is sealed grows.
	pad = 256
)

// ErrSealed is what everything is that does not open: forged, of another TLS session,
// for another method, or sealed under another schema.
var ErrSealed = errors.New("sealed: it does not open: not sealed under this schema, for this method and in this TLS session")

// Box is a sealed message.
type Box struct {
	SFU   uint16
	Epoch uint64
	// Suite is its place in the schema, from 0 on.
	Suite        uint32
	Encapsulated []byte
	Ciphertext   []byte
}

// Seal seals an encoded message for a method, under the first suite of the schema that
// is known here. The binding is the TLS session's, empty where there is none.
func (s *Schema) Seal(method uint16, binding, message []byte) (*Box, error) {
	if len(message) > MaxText {
		return nil, fmt.Errorf("sealed: %d bytes to be sealed, at most %d", len(message), MaxText)
	}
	for i, o := range s.offers {
		kem, kdf, aead, err := o.algorithms()
		if err != nil {
			continue
		}
		public, err := kem.NewPublicKey(o.public)
		if err != nil {
			return nil, fmt.Errorf("%w: suite %d: %v", ErrSchema, i, err)
		}
		enc, sender, err := hpke.NewSender(public, kdf, aead, info(method, s.raw))
		if err != nil {
			return nil, fmt.Errorf("%w: suite %d: %v", ErrSchema, i, err)
		}
		ciphertext, err := sender.Seal(binding, padded(message))
		if err != nil {
			return nil, fmt.Errorf("sealed: %w", err)
		}
		return &Box{SFU: s.SFU, Epoch: s.Epoch, Suite: uint32(i), Encapsulated: enc, Ciphertext: ciphertext}, nil
	}
	return nil, fmt.Errorf("%w: none of its %d suites is known here: install a newer client", ErrSchema, len(s.offers))
}

func info(method uint16, schema []byte) []byte {
	digest := sha256.Sum256(schema)
	return append(binary.BigEndian.AppendUint16([]byte(sealLabel), method), digest[:]...)
}

func padded(message []byte) []byte {
	n := (2 + len(message) + pad - 1) / pad * pad
	b := make([]byte, n)
	binary.BigEndian.PutUint16(b, uint16(len(message)))
	copy(b[2:], message)
	return b
}

// Keys are the private half of a schema. They are destroyed by dropping them: nothing
// else refers to their memory, and the process dumps no core.
type Keys struct {
	schema  Schema
	private []hpke.PrivateKey // of the schema's offers
}

// NewKeys makes the keys of a schema and signs it. They may be used from any goroutine.
func NewKeys(cluster [16]byte, sfu uint16, epoch uint64, signer ed25519.PrivateKey) (*Keys, error) {
	k := &Keys{schema: Schema{Cluster: cluster, SFU: sfu, Epoch: epoch}}
	for _, s := range suites {
		kem, _, _, err := s.algorithms()
		if err != nil {
			return nil, fmt.Errorf("sealed: suite %v: %w", s, err)
		}
		private, err := kem.GenerateKey()
		if err != nil {
			return nil, fmt.Errorf("sealed: suite %v: %w", s, err)
		}
		k.private = append(k.private, private)
		k.schema.offers = append(k.schema.offers, offer{s, private.PublicKey().Bytes()})
	}
	k.schema.raw = k.schema.encode(signer)
	return k, nil
}

// Schema is the public half.
func (k *Keys) Schema() *Schema { return &k.schema }

// Open returns the message that was sealed for a method in the TLS session of a
// binding. The error is ErrSealed.
func (k *Keys) Open(method uint16, binding []byte, b *Box) ([]byte, error) {
	if b.SFU != k.schema.SFU || b.Epoch != k.schema.Epoch || int64(b.Suite) >= int64(len(k.private)) {
		return nil, ErrSealed
	}
	_, kdf, aead, err := k.schema.offers[b.Suite].algorithms()
	if err != nil {
		return nil, ErrSealed
	}
	recipient, err := hpke.NewRecipient(b.Encapsulated, k.private[b.Suite], kdf, aead, info(method, k.schema.raw))
	if err != nil {
		return nil, ErrSealed
	}
	text, err := recipient.Open(binding, b.Ciphertext)
	if err != nil || len(text) < 2 {
		return nil, ErrSealed
	}
	n := int(binary.BigEndian.Uint16(text))
	if n > len(text)-2 {
		return nil, ErrSealed
	}
	return text[2 : 2+n], nil
}
