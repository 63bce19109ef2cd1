package frame

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/pack"
)

// ErrBacklog says that the peer has not read for so long that no more may be
// queued for it.
var ErrBacklog = errors.New("frame: the peer does not read: too much is waiting for it")

// ErrSlow says that the peer took too little of what waits for it in the time
// that it had.
var ErrSlow = errors.New("frame: the peer reads too slowly")

// ErrClosed is returned by a Conn that was closed on this side.
var ErrClosed = errors.New("frame: closed")

// Limits bounds a Conn. Every field must be given.
type Limits struct {
	// Frame is the longest frame taken from the peer, in bytes.
	Frame int
	// Backlog is how much may wait for the peer, in bytes; more is ErrBacklog, but
	// for a frame that would be the only one.
	Backlog int
	// Stall is how long the peer may take for the next 64 KiB of what waits for it;
	// longer is ErrSlow.
	Stall time.Duration
}

// Conn is one connection. One goroutine reads, by Next; any goroutine may queue
// and flush.
type Conn struct {
	raw    net.Conn
	tls    *tls.Conn // nil on a Unix socket
	out    *sink
	reader *Reader
	limits Limits

	methods atomic.Uint32 // of package pack, that the peer reads; 0: nothing is packed, either way

	// Of the goroutine that calls Next.
	unpacked []byte // what was packed in the last frame
	inner    []byte // what is left of it

	mu       sync.Mutex
	queued   []byte // frames that are not sealed yet
	plain    []int  // where in queued there are frames that must not be packed
	flushing bool   // a goroutine is in Flush; it will take what is queued meanwhile
	sealing  int    // bytes that the goroutine in Flush is sealing
	closing  bool   // CloseAfter was called: nothing more is queued
	err      error  // why nothing can be sent any more
}

// Client makes the client's end of a connection over raw, which must have a
// descriptor, as TCP and Unix sockets do, and which it owns from now on. During the
// handshake raw's Write is called, afterwards mostly the descriptor is written to.
// With a nil config there is no TLS.
func Client(ctx context.Context, raw net.Conn, config *tls.Config, limits Limits) (*Conn, error) {
	return newConn(ctx, raw, config, limits, tls.Client)
}

// Server is Client for the gateway's end.
func Server(ctx context.Context, raw net.Conn, config *tls.Config, limits Limits) (*Conn, error) {
	return newConn(ctx, raw, config, limits, tls.Server)
}

func newConn(ctx context.Context, raw net.Conn, config *tls.Config, limits Limits,
	side func(net.Conn, *tls.Config) *tls.Conn) (*Conn, error) {
	sc, ok := raw.(syscall.Conn)
	if !ok {
		raw.Close()
		return nil, fmt.Errorf("frame: %T has no descriptor", raw)
	}
	rc, err := sc.SyscallConn()
	if err != nil {
		raw.Close()
		return nil, fmt.Errorf("frame: %w", err)
	}
	c := &Conn{raw: raw, limits: limits, out: newSink(raw, rc, limits.Stall)}
	c.out.drained = func() { c.Flush() }
	c.out.failed = c.fail
	if config != nil {
		c.tls = side(c.out, config)
		if err := c.tls.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, fmt.Errorf("frame: TLS: %w", err)
		}
		c.reader = NewReader(c.tls, limits.Frame)
	} else {
		c.reader = NewReader(raw, limits.Frame)
	}
	c.out.buffered()
	return c, nil
}

// Raw returns the stream below TLS, given the net.Conn that a callback of crypto/tls
// gets during the handshake of a Client or Server.
func Raw(c net.Conn) net.Conn {
	if s, ok := c.(*sink); ok {
		return s.Conn
	}
	return c
}

// Pack packs what leaves from now on by the methods of package pack that the peer reads,
// and opens what comes. Both sides have agreed on it.
func (c *Conn) Pack(methods uint32) { c.methods.Store(methods) }

// Next returns the next Envelope; see Reader.Next. One goroutine calls it.
func (c *Conn) Next() ([]byte, error) {
	for {
		if len(c.inner) > 0 {
			var e []byte
			var err error
			if e, c.inner, err = pack.Next(c.inner); err != nil {
				err = fmt.Errorf("%w: %w", ErrFrame, err)
			}
			return e, err
		}
		if cap(c.unpacked) > keptBuffer {
			c.unpacked = nil
		}
		b, err := c.reader.Next()
		if err != nil || c.methods.Load() == 0 {
			return b, err
		}
		body, ok := message.PackedBody(b)
		if !ok {
			return b, nil
		}
		if c.unpacked, err = pack.Open(c.unpacked[:0], body, int(c.reader.limit.Load())); err != nil {
			return nil, fmt.Errorf("%w: %w", ErrFrame, err)
		}
		c.inner = c.unpacked
	}
}

// Discard takes what the peer says, whatever it is, until it says no more or the
// read deadline comes. Next cannot be called afterwards.
func (c *Conn) Discard() { io.Copy(io.Discard, c.reader.src) }

// Ready reports whether Next has a frame at hand. The goroutine that calls Next
// calls it.
func (c *Conn) Ready() bool { return len(c.inner) > 0 || c.reader.Ready() }

// SetFrameLimit changes Limits.Frame for the frames that have not come yet.
func (c *Conn) SetFrameLimit(n int) { c.reader.SetLimit(n) }

// SetReadDeadline bounds the wait of Next.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.raw.SetReadDeadline(t) }

// TLS returns the TLS connection's state, or nil without TLS.
func (c *Conn) TLS() *tls.ConnectionState {
	if c.tls == nil {
		return nil
	}
	s := c.tls.ConnectionState()
	return &s
}

// Exporter returns n bytes that both ends of the TLS connection know, and nobody else
// (RFC 8446, 7.5); nil without TLS.
func (c *Conn) Exporter(label string, n int) ([]byte, error) {
	if c.tls == nil {
		return nil, nil
	}
	s := c.tls.ConnectionState()
	return s.ExportKeyingMaterial(label, nil, n)
}

// Queue queues e as one frame, copying it. Nothing leaves before Flush. It never
// waits. The error is ErrBacklog, or why the connection is over.
func (c *Conn) Queue(e *message.Envelope) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.roomLocked(e.Size()); err != nil {
		return err
	}
	c.queued = Append(c.queued, e)
	return nil
}

// QueuePlain is Queue for a frame that is never packed: it holds a secret.
func (c *Conn) QueuePlain(e *message.Envelope) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.roomLocked(e.Size()); err != nil {
		return err
	}
	c.plain = append(c.plain, len(c.queued))
	c.queued = Append(c.queued, e)
	return nil
}

// QueueMessage is Queue with m as the body.
func (c *Conn) QueueMessage(e *message.Envelope, m message.Message) error {
	n := m.Size()
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.roomLocked(e.HeaderSize(n) + n); err != nil {
		return err
	}
	c.queued = AppendMessage(c.queued, e, m)
	return nil
}

func (c *Conn) roomLocked(n int) error {
	switch {
	case c.err != nil:
		return c.err
	case c.closing:
		return ErrClosed
	}
	if waiting := c.waitingLocked(); waiting > 0 && waiting+HeaderSize+n > c.limits.Backlog {
		return ErrBacklog
	}
	if c.queued == nil {
		c.queued = takeBuffer()
	}
	return nil
}

// Flush seals what is queued and gives it to the kernel. It never waits for the
// peer: what the kernel does not take is brought out by a goroutine. When several
// goroutines flush at once, one does the work of all.
func (c *Conn) Flush() error {
	c.mu.Lock()
	if c.flushing {
		c.mu.Unlock()
		return nil
	}
	c.flushing = true
	for len(c.queued) > 0 && c.err == nil && c.out.waiting.Load() == 0 {
		b, plain := c.queued, c.plain
		c.queued, c.plain, c.sealing = nil, nil, len(b)
		c.mu.Unlock()
		if methods := c.methods.Load(); methods != 0 {
			b = packed(b, plain, methods)
		}
		err := c.write(b)
		giveBuffer(b)
		if err != nil {
			c.fail(err)
		}
		c.mu.Lock()
		c.sealing = 0
	}
	c.flushing = false
	err := c.err
	last := c.closing && len(c.queued) == 0 && c.out.waiting.Load() == 0
	c.mu.Unlock()
	if last && err == nil {
		c.closeWrite()
	}
	return err
}

func (c *Conn) write(b []byte) error {
	c.out.cork()
	var err error
	if c.tls != nil {
		_, err = c.tls.Write(b)
	} else {
		_, err = c.out.Write(b)
	}
	if perr := c.out.push(); err == nil {
		err = perr
	}
	return err
}

// Send queues e and flushes.
func (c *Conn) Send(e *message.Envelope) error {
	if err := c.Queue(e); err != nil {
		return err
	}
	return c.Flush()
}

// Backlog returns how many bytes wait for the peer.
func (c *Conn) Backlog() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.waitingLocked()
}

// waitingLocked is how many bytes wait. What is being sealed stands in no buffer as a
// whole: nothing else waits in out when that begins.
func (c *Conn) waitingLocked() int {
	return len(c.queued) + max(c.sealing, int(c.out.waiting.Load()))
}

// fail ends the connection: Next and Queue return from now on.
func (c *Conn) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
	}
	c.mu.Unlock()
	c.raw.Close()
}

// Err returns why nothing can be sent any more, or nil.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the connection at once; what is queued is lost.
func (c *Conn) Close() { c.fail(ErrClosed) }

// CloseAfter brings out what is queued and then last, if it is not nil, however
// much waits before it; then it ends this direction, and lets the peer speak until
// it has ended its own or until d has passed: an answer that is on its way is not
// destroyed by a reset. The goroutine that calls Next reads on until it fails, or
// calls Discard, and then Close.
func (c *Conn) CloseAfter(d time.Duration, last *message.Envelope) {
	c.mu.Lock()
	if last != nil && !c.closing && c.err == nil {
		if c.queued == nil {
			c.queued = takeBuffer()
		}
		c.queued = Append(c.queued, last)
	}
	c.closing = true
	c.mu.Unlock()
	c.raw.SetReadDeadline(time.Now().Add(d))
	c.Flush()
}

func (c *Conn) closeWrite() {
	if c.tls != nil {
		c.tls.CloseWrite() // the close_notify alert
	}
	if w, ok := c.raw.(interface{ CloseWrite() error }); ok {
		w.CloseWrite()
	}
}

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }
