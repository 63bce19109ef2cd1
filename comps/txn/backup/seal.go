package backup

import (
	"crypto/cipher"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"hash"

	"github.com/klauspost/compress/zstd"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Sealer writes one backup. It belongs to one goroutine.
type Sealer struct {
	aead     cipher.AEAD
	preamble [sha256.Size]byte
	next     uint64
	over     bool
	whole    hash.Hash
	zstd     *zstd.Encoder
	plain    []byte
	packed   []byte
}

// NewSealer begins a backup. It fills in what h says of keys, and returns the
// beginning of the file.
func NewSealer(k *Keys, h *txnpb.BackupHeader) (*Sealer, []byte, error) {
	shared, err := encapsulate(k, h)
	if err != nil {
		return nil, nil, fmt.Errorf("backup: the cluster's backup key: %w", err)
	}
	head := preamble(h)
	if len(head) > preambleBytes+MaxHeaderBytes {
		return nil, nil, fmt.Errorf("backup: a header of %d bytes, at most %d", len(head)-preambleBytes, MaxHeaderBytes)
	}
	s := &Sealer{preamble: sha256.Sum256(head), whole: sha256.New()}
	if s.aead, err = chunkKey(shared, k.Secret, s.preamble); err != nil {
		return nil, nil, err
	}
	// One thread and small windows: it runs beside transactions.
	if s.zstd, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithWindowSize(maxWindow)); err != nil {
		return nil, nil, fmt.Errorf("backup: %w", err)
	}
	s.whole.Write(head)
	return s, head, nil
}

// Seal appends a chunk to b. The one with Last ends the backup.
func (s *Sealer) Seal(b []byte, chunk *txnpb.SnapshotChunk) ([]byte, error) {
	if s.over {
		panic("backup: a chunk behind the last one")
	}
	s.plain = chunk.AppendTo(s.plain[:0])
	if len(s.plain) > MaxChunkBytes {
		return b, fmt.Errorf("backup: a chunk of %d bytes, at most %d", len(s.plain), MaxChunkBytes)
	}
	s.packed = s.zstd.EncodeAll(s.plain, s.packed[:0])
	n := uint32(len(s.packed) + s.aead.Overhead())
	if chunk.Last {
		n |= lastBit
	}
	from := len(b)
	b = binary.LittleEndian.AppendUint32(b, n)
	b = s.aead.Seal(b, nonce(s.next, chunk.Last), s.packed, s.preamble[:])
	s.next++
	s.whole.Write(b[from:])
	if chunk.Last {
		s.over = true
		b = s.whole.Sum(b)
	}
	return b, nil
}
