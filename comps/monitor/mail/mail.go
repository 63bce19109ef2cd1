// Package mail hands the Monitor's messages to a mail server: one that takes mail for
// others, such as a provider's or the company's own.
//
//	s := mail.Server{Address: "mail.example.com:587", Security: mail.StartTLS, User: "rrts", Password: "…"}
//	err := s.Send(ctx, &mail.Message{ID: "1@example.com", From: "rrts@example.com", To: []string{"anna@example.com"}, …})
//
// A message has its id from whoever makes it. Sent twice with the same id, because the
// answer to the first time was lost, it is one message for mail programs.
//
// Send says with [ErrRefused] that the server will never take the message, and with any
// other error that it may the next time: a server that is away, a wrong password, a
// mailbox that is full. The session is encrypted before the password is said, and the
// server's certificate is checked, unless the server is on this machine.
package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// Security is how the way to the server is protected.
type Security string

const (
	StartTLS Security = "starttls" // asked for in clear text, and insisted on: port 587
	TLS      Security = "tls"      // from the first byte: port 465
	None     Security = "none"     // for a server on this machine alone
)

// timeout bounds each step of a session: a server may look for a while at who comes.
const timeout = 30 * time.Second

// Server is a mail server that takes mail for others.
type Server struct {
	Address  string // host:port
	Security Security
	// User and Password are said where the server asks for them; empty means that it
	// does not.
	User, Password string
	// CAs sign the server's certificate; nil means the machine's.
	CAs *x509.CertPool
	// Name is what the client calls itself: a host name.
	Name string
}

// Message is one message, in plain text.
type Message struct {
	ID      string // without angle brackets
	Replies string // the ID of the message that it belongs below; empty for none
	Date    time.Time
	From    string
	To      []string
	Subject string
	Text    string
	// Headers are further ones, for programs that sort mail.
	Headers map[string]string
}

// ErrRefused says that the server will not take a message, at least for one of those
// who should get it.
var ErrRefused = errors.New("mail: the server refuses the message")

// Send hands a message over. It returns nil once the server has taken it for all who
// should get it. If it takes it for some, those who are refused do not keep the others
// from getting it.
func (s *Server) Send(ctx context.Context, m *Message) error {
	err := s.sendTo(ctx, m, m.To)
	if len(m.To) == 1 || !errors.Is(err, ErrRefused) {
		return err
	}
	// Who is refused stops the whole session: each alone.
	var errs []error
	for _, to := range m.To {
		errs = append(errs, s.sendTo(ctx, m, []string{to}))
	}
	return errors.Join(errs...)
}

// sendTo hands a message over for some of those whom it names.
func (s *Server) sendTo(ctx context.Context, m *Message, to []string) error {
	c, err := s.client()
	if err != nil {
		return err
	}
	msg, err := compose(m, to)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrRefused, err)
	}
	err = c.DialAndSendWithContext(ctx, msg)
	if err == nil {
		return nil
	}
	// Whether the message is at fault, and not the session, is said about those who get
	// it and about what it is.
	var said *gomail.SendError
	if errors.As(err, &said) && !said.IsTemp() {
		switch said.Reason {
		case gomail.ErrSMTPRcptTo, gomail.ErrSMTPData, gomail.ErrSMTPDataClose:
			return fmt.Errorf("%w for %s: %s", ErrRefused, strings.Join(to, ", "), oneLine(err))
		}
	}
	return fmt.Errorf("mail: %s: %s", s.Address, oneLine(err))
}

// oneLine keeps what a server says on one line.
func oneLine(err error) string { return strings.Join(strings.Fields(err.Error()), " ") }

func (s *Server) client() (*gomail.Client, error) {
	host, port, err := net.SplitHostPort(s.Address)
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("mail: the port of %s: %w", s.Address, err)
	}
	options := []gomail.Option{
		gomail.WithPort(number), gomail.WithTimeout(timeout), gomail.WithHELO(s.Name),
		gomail.WithTLSConfig(&tls.Config{ServerName: host, RootCAs: s.CAs, MinVersion: tls.VersionTLS12}),
	}
	switch s.Security {
	case TLS:
		options = append(options, gomail.WithSSL())
	case StartTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory))
	case None:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS))
	default:
		return nil, fmt.Errorf("mail: the security %q is none of %q, %q, %q", s.Security, StartTLS, TLS, None)
	}
	if s.User != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(s.User), gomail.WithPassword(s.Password))
	}
	c, err := gomail.NewClient(host, options...)
	if err != nil {
		return nil, fmt.Errorf("mail: %w", err)
	}
	return c, nil
}

// compose makes the message as it is sent to some of those whom it names.
func compose(m *Message, to []string) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	if err := msg.From(m.From); err != nil {
		return nil, fmt.Errorf("from: %w", err)
	}
	if err := msg.To(to...); err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	msg.SetMessageIDWithValue(m.ID)
	if m.Replies != "" {
		msg.SetGenHeader(gomail.HeaderInReplyTo, "<"+m.Replies+">")
		msg.SetGenHeader(gomail.HeaderReferences, "<"+m.Replies+">")
	}
	msg.SetDateWithValue(m.Date)
	msg.Subject(m.Subject)
	// No vacation notice is an answer to an alarm (RFC 3834).
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	for name, value := range m.Headers {
		msg.SetGenHeader(gomail.Header(name), value)
	}
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	return msg, nil
}
