package sysd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// Sockets are the listening sockets of this process. Each is kept by systemd as well,
// in the unit's file descriptor store: it stays open while the service is started
// again, whether after a crash or by `systemctl restart`, and comes back with the
// next life. A client that connects meanwhile waits; none is refused. When the
// service is stopped systemd closes it.
//
// A socket unit would not do: as long as its socket is open, the next client starts
// the service that an operator has just stopped.
type Sockets struct {
	mu   sync.Mutex
	kept map[string]*os.File // by the name in the store
}

// InheritSockets takes over the sockets that systemd passed. It works once in a
// process: the environment that announces them is removed.
func InheritSockets() *Sockets {
	s := &Sockets{kept: map[string]*os.File{}}
	for _, f := range activation.Files(true) {
		if old := s.kept[f.Name()]; old != nil {
			old.Close()
		}
		s.kept[f.Name()] = f
	}
	return s
}

// Listen returns listeners on TCP at the addresses: those that systemd kept, and new
// ones, which it keeps from now on. What it kept under the name for other addresses
// is closed. key is the configuration key that an error points to. The caller closes
// what it gets, and may ask again.
func (s *Sockets) Listen(name string, addresses []string, key string) ([]net.Listener, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.forgetLocked(name, addresses); err != nil {
		return nil, err
	}
	var all []net.Listener
	for _, a := range addresses {
		l, err := s.listenLocked(storeName(name, a), a)
		if err != nil {
			for _, l := range all {
				l.Close()
			}
			return nil, fmt.Errorf("sysd: %s cannot listen on %s: %w", name, a, &listenError{err: err, cure: listenCure(err, a, key)})
		}
		all = append(all, l)
	}
	return all, nil
}

func (s *Sockets) listenLocked(stored, address string) (net.Listener, error) {
	if f := s.kept[stored]; f != nil {
		return net.FileListener(f) // of a copy: ours stays for the next one who asks
	}
	l, err := net.Listen("tcp", address)
	if err != nil || !watched() {
		return l, err
	}
	f, err := l.(*net.TCPListener).File()
	if err == nil {
		if err = storeFile(stored, f); err == nil {
			s.kept[stored] = f
			return l, nil
		}
		f.Close()
	}
	l.Close()
	return nil, err
}

// forgetLocked drops what was kept under a name for other addresses than these.
func (s *Sockets) forgetLocked(name string, addresses []string) error {
	for stored, f := range s.kept {
		if !strings.HasPrefix(stored, name+"@") || slices.ContainsFunc(addresses, func(a string) bool { return storeName(name, a) == stored }) {
			continue
		}
		f.Close()
		delete(s.kept, stored)
		if err := notify("FDSTOREREMOVE=1", "FDNAME="+stored); err != nil {
			return err
		}
	}
	return nil
}

// storeName is what the store calls a socket. Colons separate names there.
func storeName(name, address string) string {
	return name + "@" + strings.ReplaceAll(address, ":", "_")
}

// Close closes this process's hold on the sockets; systemd keeps its own.
func (s *Sockets) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, f := range s.kept {
		f.Close()
	}
	clear(s.kept)
}

// listenError is one line that says why and what to do.
type listenError struct {
	err  error
	cure string
}

func (e *listenError) Error() string {
	reason := e.err
	if op := (*net.OpError)(nil); errors.As(reason, &op) {
		reason = op.Err
	}
	if sys := (*os.SyscallError)(nil); errors.As(reason, &sys) {
		reason = sys.Err
	}
	return reason.Error() + "; " + e.cure
}

func (e *listenError) Unwrap() error { return e.err }

func listenCure(err error, address, key string) string {
	_, port, _ := net.SplitHostPort(address)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Sprintf("see who holds it with: ss -ltnp 'sport = :%s', stop that or set another port in %s", port, key)
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		return "this machine does not have the address: correct " + key
	case errors.Is(err, syscall.EACCES):
		return "low ports are for root (sysctl net.ipv4.ip_unprivileged_port_start says which): set another port in " + key
	}
	return "correct " + key
}
