// Package backup is the form of a backup: the state of a transaction group at one
// CSN, sealed so that the machines that write it cannot read it.
//
//	s, head, err := backup.NewSealer(keys, header)  // in an SFU: head is the file's beginning,
//	file = s.Seal(file, &chunk)                     // then chunk after chunk; the last one says so
//
//	info, err := backup.Check(file)                 // anybody: is it whole?
//	r, err := backup.NewReader(file, openKeys)      // who has the recovery kit
//	for { chunk, err := r.Next(); … io.EOF }        // all of it was there, and nothing else
//
// # Layout
//
//	 0  8  "RRTSBKUP"
//	 8  2  version of the format, 1; all numbers are little-endian
//	10  4  n, the length of the header, at most MaxHeaderBytes
//	14  n  header: an encoded txnpb.BackupHeader
//	  then chunks, the last of them marked
//	 0  4  m, the length of what follows, at most MaxSealedBytes; bit 31: the last chunk
//	 4  m  AES-256-GCM of a Zstandard frame of an encoded txnpb.SnapshotChunk, with its tag
//	  and at the end
//	 0 32  SHA-256 of everything before it
//
// The chunks are those of a state transfer, rows in key order. A chunk's nonce is its
// number (8 bytes), three zero bytes, and 1 in the last chunk; what is authenticated
// with it is the SHA-256 of magic, version, length and header. So no chunk can be left
// out, moved, or taken from another backup, and a file that ends early is told from one
// that is whole.
//
// # Keys
//
// The key of the chunks is HKDF-SHA-256 of two secrets:
//
//   - what HPKE (RFC 9180: X25519, HKDF-SHA-256) agrees on with the cluster's backup
//     key. Its private half is in the recovery kit: an SFU, or whoever steals one, or
//     who keeps the backups, cannot read them.
//   - the Secret that every SFU has. Backup keys are public; without it, who keeps
//     the backups could put a state of his own in the place of one.
//
// The digest at the end needs no key: it finds what a disk or a copy did to the file,
// not what somebody did to it on purpose. That, only NewReader finds.
package backup

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/hpke"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	magic = "RRTSBKUP"
	// Version is the version of the format. Its history:
	//
	//	1  as above
	Version = 1

	// MaxHeaderBytes bounds a header: a few hundred bytes are usual.
	MaxHeaderBytes = 64 << 10
	// MaxChunkBytes bounds a chunk before it is compressed. A state transfer cuts at
	// 1 MiB and never within a row; rows are far below the other 3.
	MaxChunkBytes = 4 << 20
	// MaxSealedBytes bounds it as it stands in the file: what does not compress grows
	// by some bytes.
	MaxSealedBytes = MaxChunkBytes + 64<<10

	// maxWindow is how far back a chunk's compression refers, in bytes.
	maxWindow = 1 << 20

	preambleBytes = len(magic) + 2 + 4
	lastBit       = 1 << 31
	info          = "rrts backup 1"
)

var (
	// ErrFormat is what is refused that is no backup, or one of another format.
	ErrFormat = errors.New("backup: not a backup")
	// ErrDamaged is a backup that is not as it was written: cut short or changed.
	ErrDamaged = errors.New("backup: damaged")
	// ErrForeign is a backup that the given keys do not open.
	ErrForeign = errors.New("backup: of another cluster than the keys")
)

// Keys are what an SFU needs to write backups.
type Keys struct {
	// Recipient is the cluster's backup key, an X25519 public key.
	Recipient [32]byte
	// Secret is what every SFU of the cluster has and nobody else.
	Secret [32]byte
}

// OpenKeys are what is needed to read a backup of a cluster.
type OpenKeys struct {
	Cluster [16]byte
	// Private belongs to Keys.Recipient.
	Private [32]byte
	Secret  [32]byte
}

// suite is HPKE's; its AEAD is not used.
func suite() (hpke.KDF, hpke.AEAD) { return hpke.HKDFSHA256(), hpke.ExportOnly() }

// chunkKey joins the two secrets.
func chunkKey(shared []byte, secret, preamble [32]byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, append(shared, secret[:]...), preamble[:], info, 32)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return cipher.NewGCM(block)
}

// nonce is that of chunk n.
func nonce(n uint64, last bool) []byte {
	b := binary.LittleEndian.AppendUint64(make([]byte, 0, 12), n)
	if last {
		return append(b, 0, 0, 0, 1)
	}
	return append(b, 0, 0, 0, 0)
}

// encapsulate agrees on a secret with the backup key, for h to carry.
func encapsulate(k *Keys, h *txnpb.BackupHeader) (shared []byte, err error) {
	public, err := ecdh.X25519().NewPublicKey(k.Recipient[:])
	if err != nil {
		return nil, err
	}
	to, err := hpke.NewDHKEMPublicKey(public)
	if err != nil {
		return nil, err
	}
	kdf, aead := suite()
	enc, sender, err := hpke.NewSender(to, kdf, aead, []byte(info))
	if err != nil {
		return nil, err
	}
	h.Recipient, h.Encapsulated = k.Recipient[:], enc
	return sender.Export(info, 32)
}

// decapsulate returns the secret that h carries.
func decapsulate(k *OpenKeys, h *txnpb.BackupHeader) (shared []byte, err error) {
	private, err := ecdh.X25519().NewPrivateKey(k.Private[:])
	if err != nil {
		return nil, err
	}
	own, err := hpke.NewDHKEMPrivateKey(private)
	if err != nil {
		return nil, err
	}
	switch {
	case string(h.ClusterId) != string(k.Cluster[:]):
		return nil, fmt.Errorf("%w: it is of cluster %s, the keys are of cluster %x; use the recovery kit of that cluster", ErrForeign, name(h), k.Cluster)
	case string(private.PublicKey().Bytes()) != string(h.Recipient):
		return nil, fmt.Errorf("%w: it was sealed to another backup key than that of cluster %s", ErrForeign, name(h))
	}
	kdf, aead := suite()
	r, err := hpke.NewRecipient(h.Encapsulated, own, kdf, aead, []byte(info))
	if err != nil {
		return nil, fmt.Errorf("%w: its header: %w", ErrDamaged, err)
	}
	return r.Export(info, 32)
}

// name is a cluster as people know it.
func name(h *txnpb.BackupHeader) string { return fmt.Sprintf("%q (%x)", h.Cluster, h.ClusterId) }

// preamble is the file up to the first chunk.
func preamble(h *txnpb.BackupHeader) []byte {
	b := append(make([]byte, 0, preambleBytes+h.Size()), magic...)
	b = binary.LittleEndian.AppendUint16(b, Version)
	b = binary.LittleEndian.AppendUint32(b, uint32(h.Size()))
	return append(b, message.Marshal(h)...)
}
