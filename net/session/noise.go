package session

import (
	"crypto/subtle"
	"hash"
	"io"

	"github.com/flynn/noise"
	"golang.org/x/crypto/blake2s"

	"virtualservicesinc.com/net/wire"
)

// suite is the handshake's, whatever cipher the data frames use: it runs well on
// every CPU and must be the same on both sides before they have spoken.
var suite = noise.NewCipherSuite(noise.DH25519, noise.CipherChaChaPoly, noise.HashBLAKE2s)

const (
	prologueLabel = "RRTS interconnect 1"
	macLabel      = "RRTS interconnect 1 mac"
)

// handshakeState begins a Noise handshake as one of its sides. head is the clear
// bytes of the initiation.
func handshakeState(initiator bool, key *KeyPair, psk *[32]byte, peer []byte, head []byte, rand io.Reader) (*noise.HandshakeState, error) {
	return noise.NewHandshakeState(noise.Config{
		CipherSuite:           suite,
		Random:                rand,
		Pattern:               noise.HandshakeIK,
		Initiator:             initiator,
		Prologue:              append([]byte(prologueLabel), head[:wire.HeaderSize]...),
		PresharedKey:          psk[:],
		PresharedKeyPlacement: 2,
		StaticKeypair:         noise.DHKey{Private: key.Private[:], Public: key.Public[:]},
		PeerStatic:            peer,
	})
}

// mac makes and checks the tag of handshake frames to one receiver.
type mac struct {
	hash hash.Hash
	sum  [wire.TagSize]byte
}

// newMAC returns the MAC of frames to the holder of public.
func newMAC(psk, public *[32]byte) *mac {
	key := blake2s.Sum256(append(append([]byte(macLabel), psk[:]...), public[:]...))
	h, err := blake2s.New128(key[:])
	if err != nil {
		panic("session: " + err.Error()) // only for a key of another length
	}
	return &mac{hash: h}
}

func (m *mac) compute(frame []byte) []byte {
	m.hash.Reset()
	m.hash.Write(frame[:len(frame)-wire.TagSize])
	return m.hash.Sum(m.sum[:0])
}

// put writes the tag of a handshake frame to its last bytes.
func (m *mac) put(frame []byte) {
	copy(frame[len(frame)-wire.TagSize:], m.compute(frame))
}

// check reports whether the tag of a handshake frame is right. It does not allocate.
func (m *mac) check(frame []byte) bool {
	return subtle.ConstantTimeCompare(m.compute(frame), frame[len(frame)-wire.TagSize:]) == 1
}
