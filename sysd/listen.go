package sysd

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"

	"github.com/coreos/go-systemd/v22/activation"
)

// Sockets are the listening sockets that systemd opened for this process, by the
// FileDescriptorName of their socket unit.
type Sockets struct {
	named map[string][]net.Listener
}

// InheritSockets takes over the sockets that systemd passed. It works once in a
// process: the environment that announces them is removed.
func InheritSockets() (*Sockets, error) {
	named, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("sysd: sockets: %w", err)
	}
	return &Sockets{named: named}, nil
}

// Listen returns the sockets that systemd holds under a name. They stay open in
// systemd while the service restarts, so no client is refused. If there are none it
// listens on TCP at the addresses itself. key is the configuration key that an error
// points to. The caller closes what it gets.
func (s *Sockets) Listen(name string, addresses []string, key string) ([]net.Listener, error) {
	if inherited := s.named[name]; len(inherited) > 0 {
		delete(s.named, name)
		return inherited, nil
	}
	var all []net.Listener
	for _, a := range addresses {
		l, err := net.Listen("tcp", a)
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

// Close closes the inherited sockets that nobody asked for, and says which.
func (s *Sockets) Close() (unused []string) {
	for name, listeners := range s.named {
		unused = append(unused, name)
		for _, l := range listeners {
			l.Close()
		}
	}
	clear(s.named)
	slices.Sort(unused)
	return unused
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
		return "ports below 1024 are for root: set another port in " + key
	}
	return "correct " + key
}
