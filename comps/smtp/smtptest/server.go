// Package smtptest is a mail server for tests and for the lab: a real one, which keeps what
// it is given.
package smtptest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// Config says what a server demands.
type Config struct {
	TLS      bool // from the first byte; without it STARTTLS is offered
	Plain    bool // neither is
	User     string
	Password string // of User; without one nobody is asked
}

// Server is a mail server.
type Server struct {
	Address string
	CA      []byte         // the certificate that signs its own, PEM
	CAs     *x509.CertPool // the same

	cfg  Config
	cert tls.Certificate

	mu     sync.Mutex
	taken  []Taken
	refuse map[string]*smtp.SMTPError
	tries  int
	news   chan struct{}
}

// Taken is a message that the server took.
type Taken struct {
	From string
	To   []string
	Data string
	TLS  bool
}

// New starts a server on 127.0.0.1, which ends with the test.
func New(t testing.TB, cfg Config) *Server {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s, err := Make(l.Addr(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	stop := s.Serve(l)
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// Make makes a server for an address, with a certificate of its own.
func Make(address net.Addr, cfg Config) (*Server, error) {
	s := &Server{Address: address.String(), cfg: cfg, refuse: map[string]*smtp.SMTPError{}, news: make(chan struct{}, 1)}
	host, _, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, err
	}
	if s.cert, s.CA, err = Certificate(net.ParseIP(host)); err != nil {
		return nil, err
	}
	s.CAs = x509.NewCertPool()
	s.CAs.AppendCertsFromPEM(s.CA)
	return s, nil
}

// Serve takes mail on a listener until stop is called, which closes it.
func (s *Server) Serve(l net.Listener) (stop func() error) {
	server := smtp.NewServer(smtp.BackendFunc(s.session))
	server.Domain, server.ReadTimeout, server.WriteTimeout = "mail.test", 10*time.Second, 10*time.Second
	conf := &tls.Config{Certificates: []tls.Certificate{s.cert}}
	switch {
	case s.cfg.TLS:
		l = tls.NewListener(l, conf)
	case !s.cfg.Plain:
		server.TLSConfig = conf
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	return func() error {
		err := server.Close()
		if e := <-done; !errors.Is(e, smtp.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	}
}

// Refuse has the server answer err to a recipient; nil takes that back.
func (s *Server) Refuse(to string, err *smtp.SMTPError) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.refuse[to] = err
}

// Taken is what the server took so far, and how many messages were begun.
func (s *Server) Taken() ([]Taken, int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Taken(nil), s.taken...), s.tries
}

// News tells that a message was taken or refused.
func (s *Server) News() <-chan struct{} { return s.news }

func (s *Server) session(c *smtp.Conn) (smtp.Session, error) {
	_, encrypted := c.TLSConnectionState()
	return &session{s: s, encrypted: encrypted}, nil
}

type session struct {
	s         *Server
	encrypted bool
	known     bool
	from      string
	to        []string
}

var _ smtp.AuthSession = (*session)(nil)

func (c *session) AuthMechanisms() []string {
	if c.s.cfg.Password == "" || !c.encrypted {
		return nil
	}
	return []string{sasl.Plain}
}

func (c *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != c.s.cfg.User || password != c.s.cfg.Password {
			return smtp.ErrAuthFailed
		}
		c.known = true
		return nil
	}), nil
}

func (c *session) Mail(from string, _ *smtp.MailOptions) error {
	c.s.mu.Lock()
	c.s.tries++
	c.s.mu.Unlock()
	if c.s.cfg.Password != "" && !c.known {
		return smtp.ErrAuthRequired
	}
	c.from, c.to = from, nil
	return nil
}

func (c *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.s.mu.Lock()
	err := c.s.refuse[to]
	c.s.mu.Unlock()
	if err != nil {
		c.s.tell()
		return err
	}
	c.to = append(c.to, to)
	return nil
}

func (c *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	c.s.mu.Lock()
	c.s.taken = append(c.s.taken, Taken{From: c.from, To: c.to, Data: string(data), TLS: c.encrypted})
	c.s.mu.Unlock()
	c.s.tell()
	return nil
}

func (c *session) Reset()        {}
func (c *session) Logout() error { return nil }

func (s *Server) tell() {
	select {
	case s.news <- struct{}{}:
	default:
	}
}

// Certificate is one for an address that signs itself, and the same as PEM.
func Certificate(ip net.IP) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "mail.test"}, IPAddresses: []net.IP{ip},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour), IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
