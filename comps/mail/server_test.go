package mail

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/mail"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"

	ours "virtualservicesinc.com/comps/smtp"
	"virtualservicesinc.com/comps/smtp/smtptest"
)

// server is a mail server that does as it is told.
type server struct {
	address string
	cas     *x509.CertPool // that sign its certificate

	mu sync.Mutex
	// answer, if not nil, decides about a step ("auth", "mail", "rcpt", "data") of the
	// conversation; nil means yes. errDrop cuts the connection.
	answer func(step, value string) error
	mails  []*mail.Message
	bodies []string
	users  []string
	conns  []net.Conn
}

var errDrop = errors.New("drop")

func code(n int, text string) error {
	return &smtp.SMTPError{Code: n, EnhancedCode: smtp.EnhancedCodeNotSet, Message: text}
}

func newServer(t *testing.T, security ours.Security) *server {
	s := &server{}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s.address = ln.Addr().String()
	cert, ca, err := smtptest.Certificate(net.IPv4(127, 0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	s.cas = x509.NewCertPool()
	s.cas.AppendCertsFromPEM(ca)
	srv := smtp.NewServer(s)
	srv.Domain, srv.AllowInsecureAuth = "relay.test", security == ours.None
	srv.ErrorLog = log.New(io.Discard, "", 0)
	srv.ReadTimeout, srv.WriteTimeout = 10*time.Second, 10*time.Second
	config := &tls.Config{Certificates: []tls.Certificate{cert}}
	wrapped := &keeping{ln, s}
	switch security {
	case ours.StartTLS:
		srv.TLSConfig = config
		go srv.Serve(wrapped)
	case ours.TLS:
		go srv.Serve(tls.NewListener(wrapped, config))
	default:
		go srv.Serve(wrapped)
	}
	t.Cleanup(func() { srv.Close() })
	return s
}

// keeping keeps the connections, to cut them.
type keeping struct {
	net.Listener
	s *server
}

func (k *keeping) Accept() (net.Conn, error) {
	c, err := k.Listener.Accept()
	if err == nil {
		k.s.mu.Lock()
		k.s.conns = append(k.s.conns, c)
		k.s.mu.Unlock()
	}
	return c, err
}

func (s *server) set(answer func(step, value string) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = answer
}

func (s *server) ask(step, value string) error {
	s.mu.Lock()
	answer := s.answer
	s.mu.Unlock()
	if answer == nil {
		return nil
	}
	err := answer(step, value)
	if errors.Is(err, errDrop) {
		s.mu.Lock()
		for _, c := range s.conns {
			c.Close()
		}
		s.conns = nil
		s.mu.Unlock()
	}
	return err
}

// received returns the mails that were taken, and their bodies.
func (s *server) received() ([]*mail.Message, []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]*mail.Message(nil), s.mails...), append([]string(nil), s.bodies...)
}

// NewSession implements smtp.Backend.
func (s *server) NewSession(*smtp.Conn) (smtp.Session, error) { return &session{s: s}, nil }

type session struct{ s *server }

func (x *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (x *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		x.s.mu.Lock()
		x.s.users = append(x.s.users, user+":"+password)
		x.s.mu.Unlock()
		return x.s.ask("auth", user)
	}), nil
}

func (x *session) Mail(from string, _ *smtp.MailOptions) error { return x.s.ask("mail", from) }
func (x *session) Rcpt(to string, _ *smtp.RcptOptions) error   { return x.s.ask("rcpt", to) }
func (x *session) Reset()                                      {}
func (x *session) Logout() error                               { return nil }

func (x *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	m, err := mail.ReadMessage(bytes.NewReader(b))
	if err != nil {
		return code(554, "no mail")
	}
	verdict := x.s.ask("data", m.Header.Get("Message-ID"))
	if verdict != nil && !errors.Is(verdict, errTaken) {
		return verdict
	}
	body, err := io.ReadAll(m.Body)
	if err != nil {
		return err
	}
	x.s.mu.Lock()
	x.s.mails, x.s.bodies = append(x.s.mails, m), append(x.s.bodies, string(body))
	x.s.mu.Unlock()
	if errors.Is(verdict, errTaken) { // it is taken, and the answer is lost
		return x.s.ask("taken", "")
	}
	return nil
}

// errTaken takes a mail and goes on to the step "taken".
var errTaken = errors.New("taken")
