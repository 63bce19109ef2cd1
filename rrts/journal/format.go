package journal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
)

// These constants are part of the disk format and never change.
const (
	magic         = "rrtsjrnl"
	formatVersion = 1
	keyInfo       = "rrts journal segment 1"

	headerClear  = 80                                    // bytes of the header in clear
	headerSealed = 56                                    // plaintext of its sealed part
	headerCheck  = headerClear + headerSealed + tagBytes // place of the checksum
	headerEnd    = headerCheck + 4                       // zeros behind it, to the end of the block

	firstFrame = 3 * BlockBytes // offset of a segment's first frame: behind a header and two marks
	tailBytes  = 3 * BlockBytes // two marks and a header stand behind the frames

	frameAlign    = 8
	frameClear    = 40
	frameOverhead = frameClear + sha256.Size + tagBytes
	tagBytes      = 16
)

// frameType says what a frame is for. Append-only: the numbers are on the disk.
type frameType uint8

const (
	typeRecord frameType = 1
	typeGap    frameType = 2
	typeMark   frameType = 3
)

// nonce domains: frames count by offset, marks by their number, the header has
// a nonce to itself.
const (
	nonceFrame  = 0
	nonceHeader = 1
	nonceMark   = 2
)

var (
	errFrame  = errors.New("journal: not a frame of this segment")
	errHeader = errors.New("journal: not a segment header")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// digest is a link of the chain.
type digest = [sha256.Size]byte

// state is how far the log has come: the records of each class so far, and the
// chain over the shared ones.
type state struct {
	shared, local uint64
	chain         digest
}

func (s *state) total() uint64 { return s.shared + s.local }

// chainer computes the chain without allocating.
type chainer struct {
	h      hash.Hash
	prefix [5]byte
}

func newChainer() chainer { return chainer{h: sha256.New()} }

// advance moves s behind the record whose chain and payload lie in linked, one
// behind the other.
func (c *chainer) advance(s *state, kind Kind, linked []byte) {
	if kind.Local() {
		s.local++
		return
	}
	c.prefix[0] = byte(kind)
	binary.LittleEndian.PutUint32(c.prefix[1:], uint32(len(linked)-sha256.Size))
	c.h.Reset()
	c.h.Write(c.prefix[:])
	c.h.Write(linked)
	c.h.Sum(s.chain[:0])
	s.shared++
}

// header is a segment's header in plaintext.
type header struct {
	keyID   uint32
	cluster [16]byte
	epoch   uint64
	num     uint32
	size    uint32
	salt    [32]byte
	prevEnd Position
	base    state // what stands before the segment
}

// appendTo appends the header's block to b, sealed by s.
func (h *header) appendTo(b []byte, s *sealer) []byte {
	le, from := binary.LittleEndian, len(b)
	b = append(b, magic...)
	b = le.AppendUint16(b, formatVersion)
	b = le.AppendUint16(b, 0)
	b = le.AppendUint32(b, h.keyID)
	b = append(b, h.cluster[:]...)
	b = le.AppendUint64(b, h.epoch)
	b = le.AppendUint32(b, h.num)
	b = le.AppendUint32(b, h.size)
	b = append(b, h.salt[:]...)
	clear := b[from:]
	var plain [headerSealed]byte
	le.PutUint64(plain[0:], uint64(h.prevEnd))
	le.PutUint64(plain[8:], h.base.shared)
	le.PutUint64(plain[16:], h.base.local)
	copy(plain[24:], h.base.chain[:])
	var n nonce
	n.set(nonceHeader, 0)
	b = s.aead.Seal(b, n[:], plain[:], clear)
	b = le.AppendUint32(b, crc32.Checksum(b[from:], castagnoli))
	return append(b, make([]byte, from+BlockBytes-len(b))...)
}

// parseHeader reads a header's block and opens it. Errors: errHeader for a block that
// is none or was changed, else ErrVersion, ErrForeign, ErrUnknownKey.
func parseHeader(b []byte, cluster [16]byte, keys KeyRing) (h header, s *sealer, err error) {
	le := binary.LittleEndian
	if len(b) < headerEnd || string(b[:8]) != magic {
		return h, nil, errHeader
	}
	if v := le.Uint16(b[8:]); v != formatVersion {
		return h, nil, fmt.Errorf("%w: segment has version %d, this program knows %d", ErrVersion, v, formatVersion)
	}
	if le.Uint32(b[headerCheck:]) != crc32.Checksum(b[:headerCheck], castagnoli) {
		return h, nil, errHeader
	}
	h.keyID = le.Uint32(b[12:])
	copy(h.cluster[:], b[16:])
	h.epoch = le.Uint64(b[32:])
	h.num = le.Uint32(b[40:])
	h.size = le.Uint32(b[44:])
	copy(h.salt[:], b[48:])
	if h.cluster != cluster {
		return h, nil, fmt.Errorf("%w: %x, this one is %x", ErrForeign, h.cluster, cluster)
	}
	key, ok := keys.Key(h.keyID)
	if !ok {
		return h, nil, fmt.Errorf("%w: segment %d is sealed under key %d", ErrUnknownKey, h.num, h.keyID)
	}
	if s, err = newSealer(key, h.salt, h.cluster); err != nil {
		return h, nil, err
	}
	var plain [headerSealed]byte
	var n nonce
	n.set(nonceHeader, 0)
	if _, err := s.aead.Open(plain[:0], n[:], b[headerClear:headerCheck], b[:headerClear]); err != nil {
		return h, nil, fmt.Errorf("%w: key %d of the ring does not open segment %d", ErrUnknownKey, h.keyID, h.num)
	}
	h.prevEnd = Position(le.Uint64(plain[0:]))
	h.base.shared = le.Uint64(plain[8:])
	h.base.local = le.Uint64(plain[16:])
	copy(h.base.chain[:], plain[24:])
	if h.size < MinSegmentBytes || h.size > MaxSegmentBytes || h.size%BlockBytes != 0 || h.num == 0 {
		return h, nil, errHeader
	}
	return h, s, nil
}

type nonce [12]byte

func (n *nonce) set(domain uint32, count uint64) {
	binary.LittleEndian.PutUint32(n[0:], domain)
	binary.LittleEndian.PutUint64(n[4:], count)
}

// sealer seals and opens the frames of one segment. It is safe for concurrent use.
type sealer struct {
	aead cipher.AEAD
	word uint32 // the segment word, never 0
}

func newSealer(key, salt [32]byte, cluster [16]byte) (*sealer, error) {
	okm, err := hkdf.Key(sha256.New, key[:], salt[:], keyInfo+string(cluster[:]), 36)
	if err != nil {
		return nil, fmt.Errorf("journal: segment key: %w", err)
	}
	block, err := aes.NewCipher(okm[:32])
	if err != nil {
		return nil, fmt.Errorf("journal: segment key: %w", err)
	}
	aead, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("journal: segment key: %w", err)
	}
	return &sealer{aead: aead, word: max(binary.LittleEndian.Uint32(okm[32:]), 1)}, nil
}

// frame is a frame's clear part. Counts are of the frame's own segment: records
// before the frame, and below the synced position. In a gap the latter two are the
// counts behind the gap, in a mark they are its number.
type frame struct {
	n                         int
	typ                       frameType
	kind                      Kind
	synced                    Position
	shared, local             uint32
	sharedSynced, localSynced uint32
}

// size is the frame's length on the disk.
func (f *frame) size() int { return frameSize(f.n) }

func frameSize(payload int) int {
	return (frameOverhead + payload + frameAlign - 1) &^ (frameAlign - 1)
}

// markNumber is the number of a mark.
func (f *frame) markNumber() uint64 { return uint64(f.localSynced)<<32 | uint64(f.sharedSynced) }

// nonce sets n to the nonce of the frame at off, which no other frame of the segment has.
func (f *frame) nonce(n *nonce, off uint32) {
	if f.typ == typeMark {
		n.set(nonceMark, f.markNumber())
		return
	}
	n.set(nonceFrame, uint64(off))
}

func frameCheck(b []byte) uint32 { return crc32.Checksum(b[8:frameClear], castagnoli) }

// put writes the clear part into b.
func (f *frame) put(b []byte, word uint32) {
	le := binary.LittleEndian
	le.PutUint32(b[0:], word)
	le.PutUint32(b[8:], uint32(f.n))
	b[12], b[13], b[14], b[15] = byte(f.typ), byte(f.kind), 0, 0
	le.PutUint64(b[16:], uint64(f.synced))
	le.PutUint32(b[24:], f.shared)
	le.PutUint32(b[28:], f.local)
	le.PutUint32(b[32:], f.sharedSynced)
	le.PutUint32(b[36:], f.localSynced)
	le.PutUint32(b[4:], frameCheck(b))
}

// seal finishes the frame in b, whose chain and payload lie in their places
// in plaintext. b has the frame's size; its last bytes become zero.
func (s *sealer) seal(n *nonce, b []byte, off uint32, f *frame) {
	f.put(b, s.word)
	f.nonce(n, off)
	end := frameClear + sha256.Size + f.n
	s.aead.Seal(b[frameClear:frameClear], n[:], b[frameClear:end], b[:frameClear])
	clear(b[end+tagBytes:])
}

// parse reads the clear part of a frame from b. room is how many bytes the frame may take. It
// trusts nothing: open proves, that the frame belongs where it stands too.
func (s *sealer) parse(f *frame, b []byte, room int) error {
	le := binary.LittleEndian
	if len(b) < frameClear || le.Uint32(b) != s.word || le.Uint32(b[4:]) != frameCheck(b) {
		return errFrame
	}
	n := le.Uint32(b[8:])
	f.typ, f.kind = frameType(b[12]), Kind(b[13])
	switch {
	case n > MaxRecordBytes || frameSize(int(n)) > room:
		return errFrame
	case f.typ < typeRecord || f.typ > typeMark || b[14] != 0 || b[15] != 0:
		return errFrame
	case (f.typ == typeRecord) != (f.kind != 0) || f.typ != typeRecord && n != 0:
		return errFrame
	}
	f.n = int(n)
	f.synced = Position(le.Uint64(b[16:]))
	f.shared, f.local = le.Uint32(b[24:]), le.Uint32(b[28:])
	f.sharedSynced, f.localSynced = le.Uint32(b[32:]), le.Uint32(b[36:])
	return nil
}

// open proves the frame in b, of f.size() bytes, and opens it in place. linked
// holds the chain before the record and the payload, one behind the other. A
// frame that does not open is wiped.
func (s *sealer) open(n *nonce, b []byte, off uint32, f *frame) (linked []byte, err error) {
	f.nonce(n, off)
	end := frameClear + sha256.Size + f.n + tagBytes
	linked, err = s.aead.Open(b[frameClear:frameClear], n[:], b[frameClear:end], b[:frameClear])
	if err != nil {
		return nil, errFrame
	}
	return linked, nil
}

// find returns the first multiple of frameAlign in b that may begin a frame of
// this segment, or -1.
func (s *sealer) find(b []byte) int {
	var word [4]byte
	binary.LittleEndian.PutUint32(word[:], s.word)
	for i := 0; i+4 <= len(b); {
		k := bytes.Index(b[i:], word[:])
		if k < 0 {
			return -1
		}
		if i += k; i%frameAlign == 0 {
			return i
		}
		i++
	}
	return -1
}
