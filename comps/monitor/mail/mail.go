// Package mail hands the Monitor's messages to a mail server: one that takes mail for
// others, such as a provider's or the company's own.
//
//	s := mail.Server{Address: "mail.example.com:587", Security: mail.StartTLS, User: "rrts", Password: "…"}
//	err := s.Send(ctx, &mail.Message{ID: "1@example.com", From: "rrts@example.com", To: []string{"anna@example.com"}, …})
//
// A message has its id from whoever makes it. Sent twice with the same id, because the
// answer to the first time was lost, it is one message for mail programs.
//
// Send says with [ErrRefused] that there is no use in sending the message again, and with
// any other error that there is: a server that is away, a wrong password, a mailbox that
// is full. The session is encrypted before the password is said, and the server's
// certificate is checked, unless the server is on this machine.
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

// ErrRefused says that a message is not to be sent again: the server will not take it, or
// has taken it for some of those who should get it, and not for all.
var ErrRefused = errors.New("mail: the server refuses the message")

// errRecipient says that it was one of those who should get a message that the server did
// not take it for, now or for good.
var errRecipient = errors.New("recipient")

// Send hands a message over. It returns nil once the server has taken it for all who
// should get it. Those for whom it does not take it do not keep the others from getting
// it.
func (s *Server) Send(ctx context.Context, m *Message) error {
	err := s.sendTo(ctx, m, m.To)
	if len(m.To) == 1 || !errors.Is(err, errRecipient) {
		return err
	}
	// One of them has stopped the session: each alone.
	var taken, later int
	var said []string
	for _, to := range m.To {
		err := s.sendTo(ctx, m, []string{to})
		switch {
		case err == nil:
			taken++
			continue
		case !errors.Is(err, ErrRefused):
			later++
		}
		said = append(said, err.Error())
	}
	switch all := strings.Join(said, "; "); {
	case len(said) == 0:
		return nil
	case taken == 0 && later > 0:
		return errors.New(all)
	default:
		return fmt.Errorf("%w: %d of %d got it: %s", ErrRefused, taken, len(m.To), all)
	}
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
	what := fmt.Errorf("mail: %s", s.Address)
	var said *gomail.SendError
	if errors.As(err, &said) {
		switch said.Reason {
		case gomail.ErrSMTPRcptTo, gomail.ErrSMTPData, gomail.ErrSMTPDataClose:
			if !said.IsTemp() {
				what = ErrRefused
			}
			if said.Reason == gomail.ErrSMTPRcptTo {
				what = &recipientError{what}
			}
		}
	}
	// What a server says may have several lines.
	return fmt.Errorf("%w: %s", what, strings.Join(strings.Fields(err.Error()), " "))
}

// recipientError adds to an error that it is errRecipient.
type recipientError struct{ error }

func (e *recipientError) Unwrap() []error { return []error{e.error, errRecipient} }

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
