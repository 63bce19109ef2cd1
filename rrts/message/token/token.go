// Package token seals and opens session tokens. The login service seals one when a
// user has proved who they are; every gateway opens it when a client comes, also
// on its hundredth reconnect, without asking anybody.
//
// It stands below rrts/message because Components meet in messages only, and a
// token is one: the one that login and gateways exchange through the client, who
// cannot read it.
//
// A token is 109 bytes:
//
//	 0       1               9                        33                  93   109
//	+-------+---------------+------------------------+-------------------+-----+
//	| 0x01  | key id, 8     | nonce, 24 random bytes | sealed claims, 60 | tag |
//	+-------+---------------+------------------------+-------------------+-----+
//
// sealed with XChaCha20-Poly1305; the additional data is the first nine bytes and
// then the cluster's id, so that a token of another cluster, or of this one before
// a restore, does not open. The nonce is long enough to be drawn at random for as
// many tokens as will ever be made. The key id is the start of the key's SHA-256.
//
// The claims, all numbers big-endian:
//
//	 0      8       9         13       21        29        45       49         60
//	+------+-------+---------+--------+---------+---------+--------+----------+
//	| user | role  | version | issued | expires | session | epoch  | reserved |
//	| u64  | u8    | u32     | i64 ns | i64 ns  | 16 B    | u32 −1 | 11 B, 0  |
//	+------+-------+---------+--------+---------+---------+--------+----------+
//
// The epoch is the cluster's, less one: before it stood here its place was reserved, and
// so tokens of a first epoch are what they always were. The first byte is the version of
// this layout and never moves; it becomes 2 when anything here changes.
package token

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"golang.org/x/crypto/chacha20poly1305"

	"virtualservicesinc.com/rrts/message"
)

// Sizes in bytes. Fixed by the layout.
const (
	KeySize     = chacha20poly1305.KeySize
	NonceSize   = chacha20poly1305.NonceSizeX
	SessionSize = 16
	Size        = headerSize + NonceSize + claimsSize + chacha20poly1305.Overhead

	layout     = 1
	keyIDSize  = 8
	headerSize = 1 + keyIDSize
	claimsSize = 60
	epochAt    = 45
	reservedAt = 49
)

// MaxKeys bounds a Keyring: the current key and those before it whose tokens have
// not run out. Keys live much longer than tokens, so two would do.
const MaxKeys = 8

// ErrInvalid is what every token is that does not open: malformed, forged, of
// another cluster, or under a key that is gone. The cure is to log in again.
var ErrInvalid = errors.New("token: not a session token of this cluster")

// ErrExpired is a genuine token whose time is over. The cure is to log in again.
var ErrExpired = errors.New("token: expired")

// Claims is what a token says.
type Claims struct {
	User uint64
	Role message.Role
	// Version is the user's version when the token was made; a change of password,
	// role or state raises the user's and so ends the token.
	Version uint32
	// Issued and Expires are wall time, nanoseconds since 1970.
	Issued, Expires int64
	// Session is random and names the session.
	Session [SessionSize]byte
	// Epoch is the cluster's when the token was made, 1 or more. A forced recovery or a
	// restore raises the cluster's, and so ends the token.
	Epoch uint32
}

// Keyring seals under one key and opens under several. It does not change once
// made, so it may be shared.
type Keyring struct {
	cluster [16]byte
	keys    []key // the first one seals
}

type key struct {
	id   [keyIDSize]byte
	aead cipher.AEAD
}

// NewKeyring returns a Keyring of one cluster. The first key seals, all of them
// open. Keys are KeySize bytes and are copied.
func NewKeyring(cluster [16]byte, keys ...[]byte) (*Keyring, error) {
	if len(keys) == 0 || len(keys) > MaxKeys {
		return nil, fmt.Errorf("token: %d keys, need 1 to %d", len(keys), MaxKeys)
	}
	k := &Keyring{cluster: cluster}
	for i, secret := range keys {
		aead, err := chacha20poly1305.NewX(secret)
		if err != nil {
			return nil, fmt.Errorf("token: key %d is %d bytes, need %d", i, len(secret), KeySize)
		}
		digest := sha256.Sum256(append([]byte("rrts token key id\x00"), secret...))
		k.keys = append(k.keys, key{id: [keyIDSize]byte(digest[:]), aead: aead})
	}
	return k, nil
}

// Seal returns the token of c. The nonce must be fresh from a random source.
func (k *Keyring) Seal(c Claims, nonce [NonceSize]byte) []byte {
	var claims [claimsSize]byte
	binary.BigEndian.PutUint64(claims[0:], c.User)
	claims[8] = byte(c.Role)
	binary.BigEndian.PutUint32(claims[9:], c.Version)
	binary.BigEndian.PutUint64(claims[13:], uint64(c.Issued))
	binary.BigEndian.PutUint64(claims[21:], uint64(c.Expires))
	copy(claims[29:], c.Session[:])
	binary.BigEndian.PutUint32(claims[epochAt:], max(c.Epoch, 1)-1)
	t := make([]byte, 0, Size)
	t = append(t, layout)
	t = append(t, k.keys[0].id[:]...)
	ad := k.additional(t)
	t = append(t, nonce[:]...)
	return k.keys[0].aead.Seal(t, nonce[:], claims[:], ad[:])
}

// Open returns what token t says. now is wall time in nanoseconds since 1970. The
// error is ErrInvalid or ErrExpired; with ErrExpired the claims are returned too,
// for the log.
func (k *Keyring) Open(t []byte, now int64) (Claims, error) {
	if len(t) != Size {
		return Claims{}, fmt.Errorf("%w: %d bytes, need %d", ErrInvalid, len(t), Size)
	}
	if t[0] != layout {
		return Claims{}, fmt.Errorf("%w: layout %d, need %d", ErrInvalid, t[0], layout)
	}
	for i := range k.keys {
		if k.keys[i].id == [keyIDSize]byte(t[1:]) {
			return k.open(&k.keys[i], t, now)
		}
	}
	return Claims{}, fmt.Errorf("%w: unknown key", ErrInvalid)
}

func (k *Keyring) open(key *key, t []byte, now int64) (Claims, error) {
	ad := k.additional(t)
	var buf [claimsSize]byte
	b, err := key.aead.Open(buf[:0], t[headerSize:headerSize+NonceSize], t[headerSize+NonceSize:], ad[:])
	if err != nil {
		return Claims{}, ErrInvalid
	}
	for _, v := range b[reservedAt:] {
		if v != 0 {
			return Claims{}, fmt.Errorf("%w: reserved bytes are set", ErrInvalid)
		}
	}
	c := Claims{
		User:    binary.BigEndian.Uint64(b[0:]),
		Role:    message.Role(b[8]),
		Version: binary.BigEndian.Uint32(b[9:]),
		Issued:  int64(binary.BigEndian.Uint64(b[13:])),
		Expires: int64(binary.BigEndian.Uint64(b[21:])),
		Session: [SessionSize]byte(b[29:]),
		Epoch:   binary.BigEndian.Uint32(b[epochAt:]) + 1,
	}
	if now >= c.Expires {
		return c, fmt.Errorf("%w %v ago", ErrExpired, time.Duration(now-c.Expires).Round(time.Second))
	}
	return c, nil
}

// additional returns the additional data of a token that begins with t.
func (k *Keyring) additional(t []byte) (ad [headerSize + 16]byte) {
	copy(ad[:], t[:headerSize])
	copy(ad[headerSize:], k.cluster[:])
	return ad
}
