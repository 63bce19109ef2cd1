package frame

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// sink is the stream below TLS as crypto/tls writes to it. After the handshake a
// Write never waits: sealed bytes are kept here, push gives the kernel what it
// takes at once, and a goroutine that lives only as long as it is needed brings
// the rest out as the peer reads. So one goroutine can answer many connections,
// and a peer that does not read holds up nobody but itself.
type sink struct {
	net.Conn // reads, deadlines and addresses
	rc       syscall.RawConn
	stall    time.Duration
	drained  func()                // called, without the lock, when a drain has ended well
	failed   func(error)           // called, without the lock, when the stream cannot be written
	try      func(fd uintptr) bool // the one closure that push hands to rc

	waiting atomic.Int64 // bytes in buf[off:], readable without the lock

	mu       sync.Mutex
	direct   bool // the handshake: write through, waiting
	corked   bool // the owner will call push after its last Write
	draining bool // the goroutine runs; it alone writes to the kernel
	buf      []byte
	off      int // buf[:off] is the kernel's
	err      error
}

func newSink(c net.Conn, rc syscall.RawConn, stall time.Duration) *sink {
	s := &sink{Conn: c, rc: rc, stall: stall, direct: true}
	s.try = s.tryWrite
	return s
}

// Write takes b, copying it.
func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	if s.direct {
		s.mu.Unlock()
		return s.Conn.Write(b)
	}
	if s.err != nil {
		s.mu.Unlock()
		return 0, s.err
	}
	if s.buf == nil {
		s.buf = takeBuffer()
	}
	s.buf = append(s.buf, b...)
	s.waiting.Store(int64(len(s.buf) - s.off))
	var err error
	if !s.corked {
		err = s.pushLocked()
	}
	s.mu.Unlock()
	if err != nil {
		s.failed(err)
		return 0, err
	}
	return len(b), nil
}

// buffered ends the time in which Write waits.
func (s *sink) buffered() {
	s.mu.Lock()
	s.direct = false
	s.mu.Unlock()
}

// cork makes Write keep bytes until push.
func (s *sink) cork() {
	s.mu.Lock()
	s.corked = true
	s.mu.Unlock()
}

// push gives the kernel what it takes.
func (s *sink) push() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.corked = false
	return s.pushLocked()
}

// SetWriteDeadline is not for crypto/tls: its way to close would put a deadline of
// the past on what still has to be brought out.
func (s *sink) SetWriteDeadline(time.Time) error { return nil }

func (s *sink) pushLocked() error {
	if s.err != nil || s.draining || s.off == len(s.buf) {
		return s.err
	}
	if err := s.rc.Write(s.try); err != nil && s.err == nil {
		s.err = err
	}
	if s.err != nil {
		return s.err
	}
	if s.off == len(s.buf) {
		s.emptyLocked()
		return nil
	}
	s.draining = true
	go s.drain()
	return nil
}

// tryWrite is called by the runtime with the descriptor. It never asks to be
// called again: waiting is the drain's work.
func (s *sink) tryWrite(fd uintptr) bool {
	for s.off < len(s.buf) {
		n, err := syscall.Write(int(fd), s.buf[s.off:])
		switch {
		case err == nil:
			s.off += n
		case errors.Is(err, syscall.EINTR):
		case errors.Is(err, syscall.EAGAIN):
			s.waiting.Store(int64(len(s.buf) - s.off))
			return true
		default:
			s.err = err
			return true
		}
	}
	return true
}

func (s *sink) emptyLocked() {
	giveBuffer(s.buf)
	s.buf, s.off = nil, 0
	s.waiting.Store(0)
}

// drainStep is what the peer must take within one stall time, in bytes.
const drainStep = 64 << 10

// drain brings out what the kernel did not take at once, waiting for the peer.
func (s *sink) drain() {
	err := s.drainAll()
	if err != nil {
		s.failed(err)
		return
	}
	s.drained()
}

func (s *sink) drainAll() error {
	for {
		s.mu.Lock()
		if s.off == len(s.buf) {
			s.emptyLocked()
			s.draining = false
			s.mu.Unlock()
			return nil
		}
		// Writers may append and move the buffer meanwhile; what is to be written
		// stays as it is where it is.
		step := s.buf[s.off:min(len(s.buf), s.off+drainStep)]
		s.mu.Unlock()
		s.Conn.SetWriteDeadline(time.Now().Add(s.stall))
		n, err := s.Conn.Write(step)
		if err == nil {
			// The next push must not meet a deadline of old.
			err = s.Conn.SetWriteDeadline(time.Time{})
		}
		s.mu.Lock()
		s.off += n
		s.waiting.Store(int64(len(s.buf) - s.off))
		if err != nil {
			if ne := net.Error(nil); errors.As(err, &ne) && ne.Timeout() {
				err = ErrSlow
			}
			s.err = err
			s.draining = false
			s.mu.Unlock()
			return err
		}
		s.mu.Unlock()
	}
}

// keptOut is the largest buffer that is kept for the next use, in bytes: one TLS
// record and its seal.
const keptOut = 17 << 10

var buffers = sync.Pool{New: func() any { return new([]byte) }}

// takeBuffer returns an empty slice that may have capacity.
func takeBuffer() []byte {
	p := buffers.Get().(*[]byte)
	b := *p
	*p = nil
	holders.Put(p)
	if b == nil {
		b = make([]byte, 0, 1<<10)
	}
	return b
}

// giveBuffer takes a slice back that nobody else holds.
func giveBuffer(b []byte) {
	if cap(b) == 0 || cap(b) > keptOut {
		return
	}
	p := holders.Get().(*[]byte)
	*p = b[:0]
	buffers.Put(p)
}

// holders keeps the slice headers that travel through buffers, so that neither
// taking nor giving allocates.
var holders = sync.Pool{New: func() any { return new([]byte) }}
