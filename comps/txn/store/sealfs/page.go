package sealfs

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
)

// These constants are part of the disk format and never change.
const (
	magic         = "rrtsseal"
	formatVersion = 1
	keyInfo       = "rrts sealed file 1"

	pageBytes = 4096
	dataStart = 2 * pageBytes // offset of page 0: behind two headers

	headerClear = 48
	headerCheck = headerClear + 32 + tagBytes

	pageClear = 16
	tagBytes  = 16
	pageData  = pageBytes - pageClear - tagBytes // content of a full page

	flagEnd = 1 // a Sync or the Close ended with this page
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func newGCM(key []byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// wrapCipher seals one file key: its own key comes from a fresh salt.
func wrapCipher(nodeKey [32]byte, salt []byte) (cipher.AEAD, error) {
	key, err := hkdf.Key(sha256.New, nodeKey[:], salt, keyInfo, 32)
	if err != nil {
		return nil, err
	}
	return newGCM(key)
}

// wrap makes a header that holds fileKey under the current node key and a fresh salt.
func (fs *FS) wrap(fileKey []byte) ([]byte, error) {
	b := make([]byte, pageBytes)
	id, nodeKey := fs.keys.Current()
	copy(b, magic)
	binary.LittleEndian.PutUint16(b[8:], formatVersion)
	binary.LittleEndian.PutUint32(b[12:], id)
	if _, err := io.ReadFull(fs.rand, b[16:headerClear]); err != nil {
		return nil, fmt.Errorf("sealfs: salt: %w", err)
	}
	aead, err := wrapCipher(nodeKey, b[16:headerClear])
	if err != nil {
		return nil, fmt.Errorf("sealfs: wrap a file's key: %w", err)
	}
	aead.Seal(b[:headerClear], make([]byte, aead.NonceSize()), fileKey, b[:headerClear])
	binary.LittleEndian.PutUint32(b[headerCheck:], crc32.Checksum(b[:headerCheck], castagnoli))
	return b, nil
}

// unwrap reads a header. Errors: ErrCorrupt for what is none or was changed, else ErrUnknownKey.
func (fs *FS) unwrap(b []byte) (id uint32, fileKey []byte, err error) {
	le := binary.LittleEndian
	if len(b) < headerCheck+4 || string(b[:8]) != magic || le.Uint32(b[headerCheck:]) != crc32.Checksum(b[:headerCheck], castagnoli) {
		return 0, nil, fmt.Errorf("%w: no header", ErrCorrupt)
	}
	if v := le.Uint16(b[8:]); v != formatVersion {
		return 0, nil, fmt.Errorf("%w: format version %d, this program knows %d", ErrCorrupt, v, formatVersion)
	}
	id = le.Uint32(b[12:])
	nodeKey, ok := fs.keys.Key(id)
	if !ok {
		return id, nil, fmt.Errorf("%w: key %d", ErrUnknownKey, id)
	}
	aead, err := wrapCipher(nodeKey, b[16:headerClear])
	if err != nil {
		return id, nil, fmt.Errorf("sealfs: unwrap a file's key: %w", err)
	}
	fileKey, err = aead.Open(nil, make([]byte, aead.NonceSize()), b[headerClear:headerCheck], b[:headerClear])
	if err != nil {
		return id, nil, fmt.Errorf("%w: key %d of the ring is another", ErrUnknownKey, id)
	}
	return id, fileKey, nil
}

// page is a page's clear part.
type page struct {
	start int64 // place of its content in the plaintext
	n     int   // bytes of content
	group int64 // not 0: a Sync or the Close ended with it and wrote that many pages
}

type nonce [12]byte

func (n *nonce) set(number int64) { binary.LittleEndian.PutUint64(n[4:], uint64(number)) }

// sealPage seals page number in b, whose content lies in its place in plaintext.
func sealPage(aead cipher.AEAD, n *nonce, b []byte, number int64, p page) {
	clear(b[pageClear+p.n:])
	binary.LittleEndian.PutUint64(b[0:], uint64(p.start))
	binary.LittleEndian.PutUint16(b[8:], uint16(p.n))
	b[10], b[11] = 0, 0
	if p.group > 0 {
		b[10] = flagEnd
	}
	binary.LittleEndian.PutUint32(b[12:], uint32(p.group))
	n.set(number)
	aead.Seal(b[pageClear:pageClear], n[:], b[pageClear:pageClear+pageData], b[:pageClear])
}

// parsePage reads a page's clear part. It trusts nothing: openPage proves.
func parsePage(b []byte) (p page, ok bool) {
	if len(b) < pageBytes {
		return p, false
	}
	p.start = int64(binary.LittleEndian.Uint64(b))
	p.n = int(binary.LittleEndian.Uint16(b[8:]))
	p.group = int64(binary.LittleEndian.Uint32(b[12:]))
	return p, p.start >= 0 && p.n <= pageData && (p.group > 0) == (b[10] == flagEnd)
}

// openPage proves page number in b and opens it in place; its content is
// b[pageClear:][:p.n] then. A page that does not open is wiped.
func openPage(aead cipher.AEAD, n *nonce, b []byte, number int64) (p page, ok bool) {
	if p, ok = parsePage(b); !ok {
		return p, false
	}
	n.set(number)
	_, err := aead.Open(b[pageClear:pageClear], n[:], b[pageClear:pageBytes], b[:pageClear])
	return p, err == nil
}
