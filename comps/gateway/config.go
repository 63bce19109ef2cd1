package gateway

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"time"

	"virtualservicesinc.com/rrts/message/token"
)

// Config says where a gateway listens and what it tells its clients.
type Config struct {
	// Listen opens the listeners for clients: TCP, without TLS. It is called each time
	// the Component is made, and the gateway closes what it returned.
	Listen func() ([]net.Listener, error)
	// ListenAdmin opens the Unix socket of the operators; nil means none.
	ListenAdmin func() (net.Listener, error)
	// AdminGroup is the group whose members are operators at that socket, besides
	// root and the SFU's own user; 0 means none.
	AdminGroup uint32
	// Certificate returns the gateway's certificate; it is asked at every handshake,
	// so that a renewed one is used at once.
	Certificate func() (*tls.Certificate, error)
	// ClientCAs, if not nil, are the authorities that sign clients' certificates: without
	// one a client says hello and no more.
	ClientCAs *x509.CertPool
	// Tokens opens session tokens.
	Tokens *token.Keyring
	// Wall is wall time, nanoseconds since 1970.
	Wall func() int64

	// Cluster, ClusterID, Epoch and Group are what the gateway says of the cluster
	// and puts into every request. Epoch is called from any goroutine and must not block:
	// it rises with a forced recovery. nil means 0.
	Cluster   string
	ClusterID [16]byte
	Epoch     func() uint32
	Group     uint16
	// Gateways returns the addresses of all gateways of the cluster as they are now; it
	// is called from any goroutine and must not block. nil means that there are none to
	// tell of. Own of them are this one's.
	Gateways func() []string
	Own      []string
	// SFUs returns the numbers of the cluster's SFUs and the version of that list,
	// likewise.
	SFUs func() (numbers []uint32, version uint64)

	// Heartbeat is how often a client must send something; it is cut off after three.
	// 0 means DefaultHeartbeat.
	Heartbeat time.Duration
	// MaxConnections bounds the clients; more are turned away. 0 means
	// DefaultMaxConnections.
	MaxConnections int
	// Window bounds the requests in flight on one connection. 0 means DefaultWindow.
	Window int
	// MoveGrace is how long requests are still taken after clients were told to move,
	// if there is another gateway. 0 means DefaultMoveGrace.
	MoveGrace time.Duration
}

// withDefaults returns c with the defaults in the place of zeros.
func (c Config) withDefaults() Config {
	if c.Epoch == nil {
		c.Epoch = func() uint32 { return 0 }
	}
	if c.Gateways == nil {
		c.Gateways = func() []string { return nil }
	}
	if c.SFUs == nil {
		c.SFUs = func() ([]uint32, uint64) { return nil, 0 }
	}
	if c.Heartbeat == 0 {
		c.Heartbeat = DefaultHeartbeat
	}
	if c.MaxConnections == 0 {
		c.MaxConnections = DefaultMaxConnections
	}
	if c.Window == 0 {
		c.Window = DefaultWindow
	}
	if c.MoveGrace == 0 {
		c.MoveGrace = DefaultMoveGrace
	}
	return c
}

func (c *Config) validate() error {
	var errs []error
	fault := func(bad bool, format string, a ...any) {
		if bad {
			errs = append(errs, fmt.Errorf("gateway: "+format, a...))
		}
	}
	fault(c.Listen == nil, "Listen is missing")
	fault(c.Certificate == nil, "Certificate is missing")
	fault(c.Tokens == nil, "Tokens is missing")
	fault(c.Wall == nil, "Wall is missing")
	fault(c.Heartbeat < 100*time.Millisecond, "Heartbeat is %v, at least 100ms", c.Heartbeat)
	fault(c.MaxConnections < 1, "MaxConnections is %d, at least 1", c.MaxConnections)
	fault(c.Window < 1 || c.Window > maxQueued, "Window is %d, need 1 to %d", c.Window, maxQueued)
	fault(c.MoveGrace < 0, "MoveGrace is %v, at least 0", c.MoveGrace)
	return errors.Join(errs...)
}
