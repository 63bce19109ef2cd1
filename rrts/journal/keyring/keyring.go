// Package keyring holds the node keys: 256-bit keys with ids, of which one is
// current. New files are sealed under the current one, the others open what was
// sealed before. The ring lies on the disk sealed under a master secret, which the
// service manager hands to the process and which never touches the disk in clear.
//
// A rotation without downtime, in the order that a crash at any point forgives:
//
//	next, err := ring.Rotate(rand.Reader)
//	err = keyring.Save(fs, path, next, master, rand.Reader) // durable before anything is sealed under it
//	live.Set(next)                                          // new files use it from here on
//	…                                                       // old files are trimmed or written anew
//	err = keyring.Save(fs, path, next.Without(unused...), master, rand.Reader)
//
// # File format, version 1
//
// Little-endian. The whole is at most 64 KiB.
//
//	 0    8  magic "rrtskeys"
//	 8    2  format version, 1
//	10    6  0
//	16   32  salt, random
//	48    n  sealed keys: AES-256-GCM, key = HKDF-SHA256(master, salt, "rrts key ring 1"),
//	         nonce 0, additional data bytes 0..48
//	48+n 16  tag
//
// Sealed: current id (4), then per key, in rising order of ids, id (4) and key (32).
package keyring

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"
	"sync/atomic"
)

const (
	magic         = "rrtskeys"
	formatVersion = 1
	clearBytes    = 48
	tagBytes      = 16
	entryBytes    = 4 + 32
	keyInfo       = "rrts key ring 1"

	// MaxKeys bounds a ring: one rotation a day and a journal kept for years
	// stay below, a file of garbage does not get far.
	MaxKeys = 1024

	// MinMasterBytes is the least that can carry 128 bits of secrecy.
	MinMasterBytes = 16

	maxFileBytes = clearBytes + 4 + MaxKeys*entryBytes + tagBytes
)

// ErrSealed says that a ring's file does not open: it is not one, it was
// changed, or the master secret is another.
var ErrSealed = errors.New("keyring: file does not open under this master secret")

type entry struct {
	id  uint32
	key [32]byte
}

// Ring is an immutable set of keys. Rotation makes a new ring. Its methods are
// safe for concurrent use.
type Ring struct {
	current uint32
	keys    []entry // by rising id
}

// New returns a ring of one fresh key with id 1.
func New(rand io.Reader) (*Ring, error) {
	return (&Ring{}).Rotate(rand)
}

// Rotate returns a ring with one fresh key more, of the highest id, which is
// current in it. It fails on a full ring (MaxKeys) and when rand does.
func (r *Ring) Rotate(rand io.Reader) (*Ring, error) {
	if len(r.keys) >= MaxKeys {
		return nil, fmt.Errorf("keyring: ring holds %d keys, the limit is %d: remove the unused ones first", len(r.keys), MaxKeys)
	}
	e := entry{id: 1}
	if n := len(r.keys); n > 0 {
		if e.id = r.keys[n-1].id + 1; e.id == math.MaxUint32 {
			return nil, errors.New("keyring: out of key ids")
		}
	}
	if _, err := io.ReadFull(rand, e.key[:]); err != nil {
		return nil, fmt.Errorf("keyring: new key: %w", err)
	}
	return &Ring{current: e.id, keys: append(slices.Clone(r.keys), e)}, nil
}

// Without returns a ring without the keys of these ids. The current key stays
// whatever ids says, so an id is never given twice.
func (r *Ring) Without(ids ...uint32) *Ring {
	keys := slices.DeleteFunc(slices.Clone(r.keys), func(e entry) bool {
		return e.id != r.current && slices.Contains(ids, e.id)
	})
	return &Ring{current: r.current, keys: keys}
}

// Current is the key that new files are sealed under.
func (r *Ring) Current() (id uint32, key [32]byte) {
	key, _ = r.Key(r.current)
	return r.current, key
}

// Key is the key of that id.
func (r *Ring) Key(id uint32) (key [32]byte, ok bool) {
	i, ok := slices.BinarySearchFunc(r.keys, id, func(e entry, id uint32) int { return int(int64(e.id) - int64(id)) })
	if !ok {
		return key, false
	}
	return r.keys[i].key, true
}

// IDs lists the ids of the keys in rising order.
func (r *Ring) IDs() []uint32 {
	ids := make([]uint32, len(r.keys))
	for i, e := range r.keys {
		ids[i] = e.id
	}
	return ids
}

// Format names the ring's ids, whatever the verb: no key gets into a text.
func (r *Ring) Format(s fmt.State, _ rune) {
	fmt.Fprintf(s, "keyring(current %d, ids %v)", r.current, r.IDs())
}

// Seal returns the ring's file form, sealed under the master secret, which has
// at least MinMasterBytes of high entropy: it is a key, not a passphrase.
func (r *Ring) Seal(master []byte, rand io.Reader) ([]byte, error) {
	b := make([]byte, clearBytes, clearBytes+4+len(r.keys)*entryBytes+tagBytes)
	copy(b, magic)
	binary.LittleEndian.PutUint16(b[8:], formatVersion)
	if _, err := io.ReadFull(rand, b[16:clearBytes]); err != nil {
		return nil, fmt.Errorf("keyring: salt: %w", err)
	}
	aead, err := fileCipher(master, b[16:clearBytes])
	if err != nil {
		return nil, err
	}
	plain := binary.LittleEndian.AppendUint32(nil, r.current)
	for _, e := range r.keys {
		plain = binary.LittleEndian.AppendUint32(plain, e.id)
		plain = append(plain, e.key[:]...)
	}
	// The key is used once: it comes from a fresh salt.
	return aead.Seal(b, make([]byte, aead.NonceSize()), plain, b[:clearBytes]), nil
}

// Open opens what Seal made. It answers ErrSealed for a wrong secret and for a
// changed file alike.
func Open(master, sealed []byte) (*Ring, error) {
	if len(sealed) < clearBytes+4+entryBytes+tagBytes || len(sealed) > maxFileBytes {
		return nil, fmt.Errorf("%w: %d bytes", ErrSealed, len(sealed))
	}
	if string(sealed[:8]) != magic {
		return nil, fmt.Errorf("%w: no key ring", ErrSealed)
	}
	if v := binary.LittleEndian.Uint16(sealed[8:]); v != formatVersion {
		return nil, fmt.Errorf("%w: it has version %d, this program knows %d", ErrSealed, v, formatVersion)
	}
	aead, err := fileCipher(master, sealed[16:clearBytes])
	if err != nil {
		return nil, err
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed[clearBytes:], sealed[:clearBytes])
	if err != nil {
		return nil, ErrSealed
	}
	r := &Ring{current: binary.LittleEndian.Uint32(plain)}
	for b := plain[4:]; len(b) > 0; b = b[entryBytes:] {
		if len(b) < entryBytes {
			return nil, fmt.Errorf("%w: %d bytes left over", ErrSealed, len(b))
		}
		e := entry{id: binary.LittleEndian.Uint32(b)}
		copy(e.key[:], b[4:])
		if n := len(r.keys); e.id == 0 || n > 0 && e.id <= r.keys[n-1].id {
			return nil, fmt.Errorf("%w: key ids do not rise", ErrSealed)
		}
		r.keys = append(r.keys, e)
	}
	if r.current != r.keys[len(r.keys)-1].id {
		return nil, fmt.Errorf("%w: its current key %d is not its newest", ErrSealed, r.current)
	}
	return r, nil
}

func fileCipher(master, salt []byte) (cipher.AEAD, error) {
	if len(master) < MinMasterBytes {
		return nil, fmt.Errorf("keyring: master secret has %d bytes, the least is %d", len(master), MinMasterBytes)
	}
	key, err := hkdf.Key(sha256.New, master, salt, keyInfo, 32)
	if err != nil {
		return nil, fmt.Errorf("keyring: file key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("keyring: file key: %w", err)
	}
	return cipher.NewGCM(block)
}

// Live is the ring that a running process uses, and that a rotation changes
// under it. The zero Live holds no ring: Set it first.
type Live struct {
	ring atomic.Pointer[Ring]
}

// Set makes r the ring in use.
func (l *Live) Set(r *Ring) { l.ring.Store(r) }

// Ring is the ring in use.
func (l *Live) Ring() *Ring { return l.ring.Load() }

// Current is the current key of the ring in use.
func (l *Live) Current() (id uint32, key [32]byte) { return l.Ring().Current() }

// Key is the key of that id in the ring in use.
func (l *Live) Key(id uint32) (key [32]byte, ok bool) { return l.Ring().Key(id) }
