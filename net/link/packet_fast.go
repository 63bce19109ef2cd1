package link

import (
	"errors"
	"io"
	"net"

	"github.com/mdlayher/packet"
	"golang.org/x/net/bpf"
)

// packetSocket is one open packet socket on one NIC. It lives until the NIC
// goes away. Errors of receive but net.ErrClosed are the socket's own.
type packetSocket interface {
	send(frames []Frame, mtu int) (int, error)
	receive(frames []Frame) (int, error)
	// overrun is the number of frames the kernel dropped at this socket.
	overrun() uint64
	close() error
}

// polled is a packetSocket that a Poller can wait for.
type polled interface {
	packetSocket
	poll(frames []Frame) (n int, more bool, err error)
	waitWith(p *Poller) error
}

var _ polled = (*fastSocket)(nil)

// fastSocket is the fast path: mdlayher/packet opens the socket, batch moves
// the frames.
type fastSocket struct {
	*batch
	conn io.Closer // the packet.Conn, or the descriptor that took its place
}

func openFast(nic *net.Interface, etherType uint16, filter []bpf.RawInstruction, want int, count *counters) (packetSocket, buffers, error) {
	conn, err := packet.Listen(nic, packet.Datagram, int(etherType), &packet.Config{Filter: filter})
	if err != nil {
		return nil, buffers{}, err
	}
	rc, err := conn.SyscallConn()
	if err != nil {
		conn.Close()
		return nil, buffers{}, err
	}
	granted, err := setBuffers(rc, want)
	if err != nil {
		conn.Close()
		return nil, buffers{}, err
	}
	c := ethernetCodec{etherType: etherType, index: uint32(nic.Index)}
	return &fastSocket{batch: newBatch(rc, c, count), conn: conn}, granted, nil
}

func (s *fastSocket) overrun() uint64 { return dropped(s.rc) }
func (s *fastSocket) close() error    { return s.conn.Close() }

// waitWith takes the socket from the runtime's poller.
func (s *fastSocket) waitWith(p *Poller) error {
	d, err := duplicate(s.rc)
	if err != nil {
		return err
	}
	err = s.conn.Close()
	s.conn, s.rc = d, d
	return errors.Join(err, p.add(d))
}
