package client

import (
	"crypto/ed25519"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"time"
)

// Bounds of a Client. They are this implementation's choice.
const (
	// DefaultMaxInFlight is how many requests may be without an answer when Config
	// does not say: what a gateway's usual window takes, and as many again that wait
	// for their turn.
	DefaultMaxInFlight = 512
	// MaxGateways bounds the gateways that a Client knows, configured and learned:
	// a cluster has at most 64 SFUs with 8 addresses each.
	MaxGateways = 512
	// OpenTimeout ends an Open whose context has no deadline: longer than a cluster
	// takes to elect a leader, short enough for a person who mistyped an address.
	OpenTimeout = 10 * time.Second
	// MaxAnswer is the longest answer that a Client takes, in bytes.
	MaxAnswer = 16 << 20
)

// unixPrefix marks a gateway that is a Unix socket on this machine.
const unixPrefix = "unix:"

// Config says where the cluster is and who the client is.
type Config struct {
	// Gateways are "host:port", or "unix:" and the path of a gateway's admin socket,
	// where root and the group rrts are operators without a login. At least one. A
	// Client learns the cluster's others from the one that it reaches.
	Gateways []string
	// RootCAs are the authorities that may sign a gateway's certificate; nil means
	// the machine's.
	RootCAs *x509.CertPool
	// ClusterID refuses gateways of other clusters; zero accepts any.
	ClusterID [16]byte
	// Certificate is the client's own, for gateways that want one.
	Certificate *tls.Certificate
	// LoginKey is the key by which the cluster's login services sign what the login name
	// and the password are sealed to: no gateway between can read them. With nil every
	// gateway is trusted with them, and one of before protocol version 2 gets them
	// unsealed.
	LoginKey ed25519.PublicKey

	// LoginName and Password prove who the user is. Both may be empty when there is a
	// Token, and at an admin socket.
	LoginName string
	Password  string
	// Token continues a session that another Client of the same user began; see
	// Client.Token.
	Token []byte

	// Agent is the application's name and version, for the operator's eyes.
	Agent string
	// Compression says whether messages are packed on the way; see package pack.
	Compression Compression
	// MaxInFlight bounds the requests without an answer; a further one waits. 0 means
	// DefaultMaxInFlight.
	MaxInFlight int
	// SingleConnection keeps no second connection ready: for thousands of Clients in
	// one process, which can afford a moment's pause.
	SingleConnection bool
	// Logger gets connects, losses and moves; nil means none.
	Logger *slog.Logger
}

func (c *Config) validate() error {
	var errs []error
	if len(c.Gateways) == 0 {
		errs = append(errs, errors.New("client: Gateways is empty: name at least one, or read a client-kit.toml"))
	}
	if len(c.Gateways) > MaxGateways {
		errs = append(errs, fmt.Errorf("client: %d Gateways, at most %d", len(c.Gateways), MaxGateways))
	}
	unix := 0
	for _, g := range c.Gateways {
		if strings.HasPrefix(g, unixPrefix) {
			unix++
			continue
		}
		if _, _, err := net.SplitHostPort(g); err != nil {
			errs = append(errs, fmt.Errorf("client: gateway %q: write host:port, or unix: and a path", g))
		}
	}
	if c.LoginKey != nil && len(c.LoginKey) != ed25519.PublicKeySize {
		errs = append(errs, fmt.Errorf("client: LoginKey is %d bytes, need %d", len(c.LoginKey), ed25519.PublicKeySize))
	}
	if (c.LoginName == "") != (c.Password == "") {
		errs = append(errs, errors.New("client: LoginName and Password go together"))
	}
	if unix < len(c.Gateways) && c.LoginName == "" && len(c.Token) == 0 {
		errs = append(errs, errors.New("client: neither LoginName and Password nor Token"))
	}
	if c.MaxInFlight < 0 {
		errs = append(errs, fmt.Errorf("client: MaxInFlight is %d: at least 1, or 0 for %d", c.MaxInFlight, DefaultMaxInFlight))
	}
	return errors.Join(errs...)
}

// Compression says on which connections messages are packed, where the gateway can.
type Compression int

const (
	// CompressionAuto packs what leaves this machine: within it the wire costs nothing.
	CompressionAuto Compression = iota
	CompressionOn
	CompressionOff
)
