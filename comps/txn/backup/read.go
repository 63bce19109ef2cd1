package backup

import (
	"bufio"
	"crypto/cipher"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/klauspost/compress/zstd"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Info is what can be said of a backup without keys.
type Info struct {
	Header txnpb.BackupHeader
	Chunks uint64
	Bytes  int64
}

// file takes a backup apart, whatever is in its chunks.
type file struct {
	src      *bufio.Reader
	header   txnpb.BackupHeader
	preamble [sha256.Size]byte
	whole    hash.Hash
	sealed   []byte
	chunks   uint64
	bytes    int64
	over     bool // the last chunk and the digest were there
}

// open reads up to the first chunk.
func open(src io.Reader) (*file, error) {
	f := &file{src: bufio.NewReaderSize(src, 64<<10), whole: sha256.New()}
	head := make([]byte, preambleBytes)
	if _, err := io.ReadFull(f.src, head); err != nil || string(head[:len(magic)]) != magic {
		if err != nil && !ended(err) {
			return nil, fmt.Errorf("backup: %w", err)
		}
		return nil, fmt.Errorf("%w: it does not begin with %q", ErrFormat, magic)
	}
	if v := binary.LittleEndian.Uint16(head[len(magic):]); v != Version {
		return nil, fmt.Errorf("%w that this program reads: its format is %d, this is %d; use the rrts that made it or a newer one", ErrFormat, v, Version)
	}
	n := binary.LittleEndian.Uint32(head[len(magic)+2:])
	if n > MaxHeaderBytes {
		return nil, fmt.Errorf("%w: a header of %d bytes, at most %d", ErrDamaged, n, MaxHeaderBytes)
	}
	head = append(head, make([]byte, n)...)
	if err := f.read(head[preambleBytes:]); err != nil {
		return nil, err
	}
	if err := f.header.Parse(head[preambleBytes:]); err != nil {
		return nil, fmt.Errorf("%w: its header: %w", ErrDamaged, err)
	}
	f.preamble = sha256.Sum256(head)
	f.whole.Write(head)
	f.bytes = int64(len(head))
	return f, nil
}

func ended(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) }

// read fills b.
func (f *file) read(b []byte) error {
	switch n, err := io.ReadFull(f.src, b); {
	case err == nil:
		return nil
	case ended(err):
		return fmt.Errorf("%w: it ends after %d bytes, before its end mark: it was not copied whole", ErrDamaged, f.bytes+int64(n))
	default:
		return fmt.Errorf("backup: %w", err)
	}
}

// chunk returns what is sealed in the next chunk, valid until the next call; io.EOF
// behind the last one. With the last one it has seen that the file is whole.
func (f *file) chunk() (sealed []byte, last bool, err error) {
	if f.over {
		return nil, false, io.EOF
	}
	var head [4]byte
	if err := f.read(head[:]); err != nil {
		return nil, false, err
	}
	n := binary.LittleEndian.Uint32(head[:])
	last = n&lastBit != 0
	if n &^= lastBit; n > MaxSealedBytes {
		return nil, false, fmt.Errorf("%w: chunk %d has %d bytes, at most %d", ErrDamaged, f.chunks, n, MaxSealedBytes)
	}
	if uint32(cap(f.sealed)) < n {
		f.sealed = make([]byte, n)
	}
	f.sealed = f.sealed[:n]
	f.bytes += int64(len(head))
	if err := f.read(f.sealed); err != nil {
		return nil, false, err
	}
	f.bytes += int64(n)
	f.chunks++
	f.whole.Write(head[:])
	f.whole.Write(f.sealed)
	if last {
		return f.sealed, true, f.end()
	}
	return f.sealed, false, nil
}

// end compares the digest, behind which nothing may stand.
func (f *file) end() error {
	var sum [sha256.Size]byte
	if err := f.read(sum[:]); err != nil {
		return err
	}
	f.bytes += int64(len(sum))
	if subtle.ConstantTimeCompare(sum[:], f.whole.Sum(nil)) == 0 {
		return fmt.Errorf("%w: its digest is another than its bytes': use another copy", ErrDamaged)
	}
	switch _, err := f.src.ReadByte(); {
	case err == nil:
		return fmt.Errorf("%w: bytes stand behind its end", ErrDamaged)
	case !errors.Is(err, io.EOF):
		return fmt.Errorf("backup: %w", err)
	}
	f.over = true
	return nil
}

// ReadHeader returns what the beginning of a backup says. Nothing proves it.
func ReadHeader(src io.Reader) (*txnpb.BackupHeader, error) {
	f, err := open(src)
	if err != nil {
		return nil, err
	}
	return &f.header, nil
}

// Check reads a backup to its end and tells whether it is as it was written. It finds
// accidents only; see NewReader.
func Check(src io.Reader) (*Info, error) {
	f, err := open(src)
	if err != nil {
		return nil, err
	}
	for err == nil {
		_, _, err = f.chunk()
	}
	if err != io.EOF {
		return nil, err
	}
	return &Info{Header: f.header, Chunks: f.chunks, Bytes: f.bytes}, nil
}

// Reader opens a backup. It belongs to one goroutine.
type Reader struct {
	file  *file
	aead  cipher.AEAD
	zstd  *zstd.Decoder
	plain []byte
	chunk txnpb.SnapshotChunk
}

// NewReader opens a backup. The error wraps ErrForeign when the keys are not for it.
func NewReader(src io.Reader, k *OpenKeys) (*Reader, error) {
	f, err := open(src)
	if err != nil {
		return nil, err
	}
	shared, err := decapsulate(k, &f.header)
	if err != nil {
		return nil, err
	}
	r := &Reader{file: f}
	if r.aead, err = chunkKey(shared, k.Secret, f.preamble); err != nil {
		return nil, err
	}
	r.zstd, err = decoder()
	return r, err
}

// decoder returns what decompresses chunks, and takes no more than their bounds.
func decoder() (*zstd.Decoder, error) {
	z, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(MaxChunkBytes), zstd.WithDecoderMaxWindow(MaxChunkBytes))
	if err != nil {
		return nil, fmt.Errorf("backup: %w", err)
	}
	return z, nil
}

// Header is the backup's. It is proved once Next has returned a chunk.
func (r *Reader) Header() *txnpb.BackupHeader { return &r.file.header }

// Next returns the next chunk, valid until the next call, and io.EOF once all of the
// backup was there. Until then nothing may be done that cannot be taken back.
func (r *Reader) Next() (*txnpb.SnapshotChunk, error) {
	number := r.file.chunks
	sealed, last, err := r.file.chunk()
	if err != nil {
		return nil, err
	}
	packed, err := r.aead.Open(sealed[:0], nonce(number, last), sealed, r.file.preamble[:])
	if err != nil {
		return nil, fmt.Errorf("%w: chunk %d was changed since it was written, or not written by an SFU of cluster %s", ErrDamaged, number, name(&r.file.header))
	}
	if r.plain, err = r.zstd.DecodeAll(packed, r.plain[:0]); err != nil {
		return nil, fmt.Errorf("%w: chunk %d: %w", ErrDamaged, number, err)
	}
	r.chunk = txnpb.SnapshotChunk{}
	if err := r.chunk.Parse(r.plain); err != nil {
		return nil, fmt.Errorf("%w: chunk %d: %w", ErrDamaged, number, err)
	}
	if r.chunk.Last != last || uint64(r.chunk.Sequence) != number {
		return nil, fmt.Errorf("%w: chunk %d says that it is chunk %d", ErrDamaged, number, r.chunk.Sequence)
	}
	return &r.chunk, nil
}
