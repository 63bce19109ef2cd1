package link

import (
	"fmt"
	"net"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// descriptor is a socket that nobody waits for but a Poller. Sockets that Go's packages
// open are watched by the runtime's poller as well: each frame would tell that one too,
// and have it look twice before it sleeps.
type descriptor struct {
	mu sync.RWMutex // read: for the time of a call
	fd int          // negative once closed
}

var _ syscall.RawConn = (*descriptor)(nil)

// duplicate returns another descriptor of a socket, whose own may be closed then.
func duplicate(rc syscall.RawConn) (*descriptor, error) {
	d := &descriptor{}
	var fault error
	err := rc.Control(func(fd uintptr) {
		d.fd, fault = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0)
	})
	if err == nil {
		err = fault
	}
	if err != nil {
		return nil, fmt.Errorf("link: duplicate of a socket: %w", err)
	}
	return d, nil
}

// Control, Read and Write call f once; they do not wait. The error is net.ErrClosed.
func (d *descriptor) Control(f func(fd uintptr)) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.fd < 0 {
		return net.ErrClosed
	}
	f(uintptr(d.fd))
	return nil
}

func (d *descriptor) Read(f func(fd uintptr) (done bool)) error {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if d.fd < 0 {
		return net.ErrClosed
	}
	f(uintptr(d.fd))
	return nil
}

func (d *descriptor) Write(f func(fd uintptr) (done bool)) error { return d.Read(f) }

// Close waits for calls under way; it may be called again.
func (d *descriptor) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.fd < 0 {
		return nil
	}
	err := unix.Close(d.fd)
	d.fd = -1
	return err
}
