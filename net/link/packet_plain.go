package link

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	//lint:ignore SA1019 it is the package of the plain carrier; the fast one has its successor
	"github.com/mdlayher/raw"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// plainPatience is sendPatience of the plain carrier, which waits by the runtime's timers.
const plainPatience = time.Millisecond

// plainSocket is the plain carrier: mdlayher/raw, one frame a system call. The
// package gives no access to the socket, so its buffers have the system's
// default size and a frame that was cut is only seen by reading one byte more
// than a frame may have.
type plainSocket struct {
	conn   *raw.Conn
	count  *counters
	jammed bool // the last frame found no room; see patience
	buf    [MaxFrame + 1]byte
}

func openPlain(nic *net.Interface, etherType uint16, filter []bpf.RawInstruction, want int, count *counters) (packetSocket, buffers, error) {
	conn, err := raw.ListenPacket(nic, etherType, &raw.Config{LinuxSockDGRAM: true, Filter: filter})
	if err != nil {
		return nil, buffers{}, err
	}
	granted := buffers{
		receive: readSysctl("net.core.rmem_default"),
		send:    readSysctl("net.core.wmem_default"),
	}
	if granted.receive != 0 && granted.receive < want {
		granted.small = tooSmall("receive buffer", granted.receive, want, "net.core.rmem_default")
	}
	return &plainSocket{conn: conn, count: count}, granted, nil
}

func (s *plainSocket) send(frames []Frame, mtu int) (sent int, first error) {
	bytes := 0
	for i := range frames {
		f := &frames[i]
		err := s.sendOne(f, mtu)
		if err == nil {
			sent++
			bytes += len(f.Data)
			continue
		}
		if first == nil {
			first = err
		}
		if err == net.ErrClosed || err == ErrDown || err == ErrFull {
			break
		}
	}
	s.count.sentFrames.Add(uint64(sent))
	s.count.sentBytes.Add(uint64(bytes))
	s.count.sendLost.Add(uint64(len(frames) - sent))
	return sent, first
}

func (s *plainSocket) sendOne(f *Frame, mtu int) error {
	if len(f.Data) == 0 || len(f.Data) > mtu {
		return ErrSize
	}
	mac := [6]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}
	switch f.Addr.kind {
	case kindEthernet:
		mac = f.Addr.mac()
	case kindBroadcast:
	default:
		return ErrAddr
	}
	// Without a deadline WriteTo would wait for room without end; with one that
	// is over it does not even try, which on a busy machine happens to a thread
	// that was put aside in between. Hence a second try.
	tries := 2
	if s.jammed {
		tries = 1
	}
	to := &raw.Addr{HardwareAddr: mac[:]}
	for began := time.Now(); ; {
		if s.conn.SetWriteDeadline(time.Now().Add(plainPatience)) != nil {
			return net.ErrClosed
		}
		_, err := s.conn.WriteTo(f.Data, to)
		switch {
		case err == nil:
			s.jammed = false
			return nil
		case errors.Is(err, unix.EBADF), errors.Is(err, os.ErrClosed):
			return net.ErrClosed
		case errors.Is(err, unix.ENETDOWN), errors.Is(err, unix.ENXIO), errors.Is(err, unix.ENODEV):
			return ErrDown
		case errors.Is(err, unix.ENOBUFS) && !s.jammed && time.Since(began) < plainPatience:
			s.count.sendRetries.Add(1)
			shortSleep(sendPause)
		case errors.Is(err, os.ErrDeadlineExceeded) && tries > 1:
			s.count.sendRetries.Add(1)
			tries--
		case errors.Is(err, unix.ENOBUFS), errors.Is(err, os.ErrDeadlineExceeded):
			s.jammed = true
			return ErrFull
		default:
			return err
		}
	}
}

func (s *plainSocket) receive(frames []Frame) (int, error) {
	f := &frames[0]
	for {
		n, from, err := s.conn.ReadFrom(s.buf[:])
		if err != nil {
			var errno syscall.Errno
			if errors.As(err, &errno) && errno != unix.EBADF {
				return 0, os.NewSyscallError("recvfrom", errno)
			}
			return 0, net.ErrClosed
		}
		mac := from.(*raw.Addr).HardwareAddr
		switch {
		case n > cap(f.Data) || n > MaxFrame:
			s.count.truncated.Add(1)
			continue
		case len(mac) != 6 || n == 0:
			s.count.foreign.Add(1)
			continue
		}
		f.Data, f.Addr = f.Data[:n], Ethernet([6]byte(mac))
		copy(f.Data, s.buf[:n])
		s.count.received(frames[:1])
		return 1, nil
	}
}

func (s *plainSocket) overrun() uint64 {
	stats, err := s.conn.Stats()
	if err != nil {
		return 0
	}
	return stats.Drops
}

func (s *plainSocket) close() error { return s.conn.Close() }
