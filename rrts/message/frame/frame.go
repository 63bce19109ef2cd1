// Package frame carries Envelopes over the byte stream between a client and a
// gateway: TCP under TLS 1.3, or a Unix socket on the gateway's own machine. Both
// ends use it, so it stands below the SDK and below the gateway.
//
// A frame is
//
//	0                 4                 4+n
//	+--------+--------+--------- ... ---+
//	| n, uint32, big- | one Envelope of |
//	| endian          | n bytes         |
//	+-----------------+-----------------+
//
// n counts the Envelope alone, at least 1. This layout never changes: what a later
// protocol version adds, it adds inside the Envelope.
//
// A Reader takes frames off a stream and believes no length before the bytes are
// there. A Conn adds the other direction: any goroutine queues frames without ever
// waiting for the peer, and many frames leave in one TLS record and one system
// call.
package frame

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"virtualservicesinc.com/rrts/message"
)

const (
	// HeaderSize is the length of what stands before an Envelope, in bytes.
	HeaderSize = 4
	// Overhead is more than what an Envelope and its frame add to the body of a
	// message, in bytes, if its Detail is at most MaxDetail long.
	Overhead = 1024
	// MaxDetail is the longest Detail that either end sends, in bytes.
	MaxDetail = 512

	// firstBuffer is what a connection reads into until a frame needs more: room for
	// a dozen single payments. Ten thousand idle connections hold 20 MiB of it.
	firstBuffer = 2 << 10
	// keptBuffer is the largest buffer that a Reader keeps when it is empty: one TLS
	// record. What a larger frame needed is given back.
	keptBuffer = 16 << 10
)

// ErrFrame is what every fault in the framing is, for errors.Is. Nothing can be
// read after it: the place of the next frame is not known.
var ErrFrame = errors.New("frame: malformed")

// Append appends e as one frame to b.
func Append(b []byte, e *message.Envelope) []byte {
	b = binary.BigEndian.AppendUint32(b, uint32(e.Size()))
	return e.AppendTo(b)
}

// AppendMessage appends e as one frame to b, with m as its body; e.Body is not
// looked at.
func AppendMessage(b []byte, e *message.Envelope, m message.Message) []byte {
	n := m.Size()
	b = binary.BigEndian.AppendUint32(b, uint32(e.HeaderSize(n)+n))
	return m.AppendTo(e.AppendHeader(b, n))
}

// Reader takes frames off a stream.
type Reader struct {
	src   io.Reader
	limit atomic.Int64
	buf   []byte // buf[r:w] is read and not yet returned
	r, w  int
}

// NewReader returns a Reader of src that refuses frames of more than limit bytes,
// their header not counted.
func NewReader(src io.Reader, limit int) *Reader {
	r := &Reader{src: src}
	r.SetLimit(limit)
	return r
}

// SetLimit changes the limit for the frames that have not come yet. Any goroutine
// may call it, also while another is in Next.
func (r *Reader) SetLimit(limit int) { r.limit.Store(int64(limit)) }

// Next returns the next frame without its header. It belongs to the caller until
// the next call. The error is io.EOF at the end of the stream between two frames,
// an ErrFrame, or the stream's.
//
// Memory grows with the bytes that have arrived, never with the length that the
// peer declares.
func (r *Reader) Next() ([]byte, error) {
	for {
		if have := r.w - r.r; have >= HeaderSize {
			n := int(binary.BigEndian.Uint32(r.buf[r.r:]))
			if n == 0 {
				return nil, fmt.Errorf("%w: length 0", ErrFrame)
			}
			if limit := r.limit.Load(); int64(n) > limit {
				return nil, fmt.Errorf("%w: length %d is more than %d", ErrFrame, n, limit)
			}
			if have >= HeaderSize+n {
				f := r.buf[r.r+HeaderSize : r.r+HeaderSize+n]
				r.r += HeaderSize + n
				return f[:n:n], nil
			}
		}
		if err := r.fill(); err != nil {
			if err == io.EOF && r.w > r.r {
				err = fmt.Errorf("%w: the stream ends inside a frame", ErrFrame)
			}
			return nil, err
		}
	}
}

// Ready reports whether a whole frame is read already, so that Next will not wait
// for the peer. What was answered so far should leave before a Next that waits.
func (r *Reader) Ready() bool {
	have := r.w - r.r
	return have >= HeaderSize && uint64(have) >= HeaderSize+uint64(binary.BigEndian.Uint32(r.buf[r.r:]))
}

// fill reads more of the stream, at least one byte.
func (r *Reader) fill() error {
	switch {
	case r.r == r.w:
		r.r, r.w = 0, 0
		if len(r.buf) > keptBuffer {
			r.buf = nil
		}
	case r.r > 0 && r.w == len(r.buf):
		r.w = copy(r.buf, r.buf[r.r:r.w])
		r.r = 0
	}
	if r.w == len(r.buf) {
		grown := make([]byte, max(firstBuffer, 2*len(r.buf)))
		copy(grown, r.buf[:r.w])
		r.buf = grown
	}
	// A stream that returns nothing without an error is given a few more chances, as
	// io.Reader asks for.
	for range maxEmptyReads {
		n, err := r.src.Read(r.buf[r.w:])
		r.w += n
		if n > 0 {
			return nil // an error is met again by the next Read
		}
		if err != nil {
			return err
		}
	}
	return io.ErrNoProgress
}

// maxEmptyReads is how often in a row a stream may return nothing: the bound that
// bufio has.
const maxEmptyReads = 100
