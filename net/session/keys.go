package session

import (
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"virtualservicesinc.com/net/wire"
)

// maxKeyFrames is the hard bound on frames sealed under one key, far below what
// either AEAD allows for frames of this length. A key that could not be replaced by
// then seals nothing more.
const maxKeyFrames = 1 << 30

// keys is one completed handshake: an AEAD for each direction.
type keys struct {
	seal, open  cipher.AEAD
	cipher      wire.Cipher
	localPhase  uint8  // what frames to us bear under these keys
	remotePhase uint8  // what our frames bear
	remoteSlot  uint16 // what our frames bear
	sealed      uint64 // frames sealed
	installed   time.Duration
	initiator   bool // we made the handshake's first message

	// In the struct, so that handing them to the AEAD does not allocate.
	sealNonce, openNonce [12]byte
}

func newAEAD(c wire.Cipher, key [32]byte) cipher.AEAD {
	if c == wire.CipherChaChaPoly {
		aead, err := chacha20poly1305.New(key[:])
		if err != nil {
			panic("session: " + err.Error()) // only for a key of another length
		}
		return aead
	}
	block, err := aes.NewCipher(key[:])
	if err != nil {
		panic("session: " + err.Error()) // only for a key of another length
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		panic("session: " + err.Error()) // only for another block size
	}
	return aead
}

// sealFrame seals frame in place: its header is written, its payload stands behind
// the header, and its last TagSize bytes are for the tag. number must never have
// been sealed under these keys.
func (k *keys) sealFrame(frame []byte, number uint64) {
	binary.BigEndian.PutUint64(k.sealNonce[4:], number)
	k.sealed++
	payload := frame[wire.HeaderSize : len(frame)-wire.TagSize]
	k.seal.Seal(payload[:0], k.sealNonce[:], payload, frame[:wire.HeaderSize])
}

// openFrame opens frame in place and returns its payload, which aliases it.
func (k *keys) openFrame(frame []byte, number uint64) ([]byte, bool) {
	binary.BigEndian.PutUint64(k.openNonce[4:], number)
	sealed := frame[wire.HeaderSize:]
	payload, err := k.open.Open(sealed[:0], k.openNonce[:], sealed, frame[:wire.HeaderSize])
	return payload, err == nil
}

// keyring is the keys that open frames, by the phase that those frames bear: the
// current ones, the ones before for a while, and those of a handshake that we
// answered and the peer has not confirmed. A fourth phase is that of a handshake
// under way, which has no keys yet.
type keyring struct {
	phase [4]*keys

	current  *keys // seals; nil while the peer is not up
	previous *keys // opens until previousUntil
	pending  *keys // see responding

	previousUntil time.Duration
}

// freePhase is a phase that no keys use and that is not taken.
func (r *keyring) freePhase(taken int) uint8 {
	for p, k := range r.phase {
		if k == nil && p != taken {
			return uint8(p)
		}
	}
	panic("session: all key phases in use") // there are four, and at most three keys and one handshake
}

// drop forgets k; nil is allowed.
func (r *keyring) drop(k *keys) {
	if k == nil {
		return
	}
	r.phase[k.localPhase] = nil
	for _, p := range []**keys{&r.current, &r.previous, &r.pending} {
		if *p == k {
			*p = nil
		}
	}
}
