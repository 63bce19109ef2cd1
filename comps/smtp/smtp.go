// Package smtp hands messages to a mail server that takes mail for others, such as a
// provider's or the company's own. The mail Component and the Monitor are built on it; it
// is no Component itself.
//
//	r := smtp.Relay{Address: "mail.example.com:587", Security: smtp.StartTLS, User: "rrts", Password: "…"}
//	err := r.Send(ctx, &smtp.Message{ID: "1@example.com", From: from, To: []string{"anna@example.com"}, …})
//
// A message has its id from whoever makes it. Sent twice with the same id, because the
// answer to the first time was lost, it is one message for mail programs.
//
// The session is encrypted before the password is said, and the server's certificate is
// checked, unless the way is not protected at all: then no password is said. Send returns
// nil once the server has taken the message, whatever becomes of the session after that.
// Its error is an *Error, which says at which phase of the session the server refused or
// was lost, and with which code.
package smtp

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/textproto"
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

// stepTimeout bounds each step of a session: a server may look for a while at who comes.
const stepTimeout = 30 * time.Second

// Relay is a mail server that takes mail for others.
type Relay struct {
	Address  string // host:port
	Security Security
	// User and Password are said where the server asks for them; empty means that it
	// does not.
	User, Password string
	// CAs sign the server's certificate; nil means the machine's.
	CAs *x509.CertPool
	// Name is what the client calls itself: a host name; empty means the machine's.
	Name string
	// StepTimeout bounds each step; 0 means 30 s.
	StepTimeout time.Duration
}

// Message is one message.
type Message struct {
	ID      string // without angle brackets
	Replies string // the ID of the message that it belongs below; empty for none
	Date    time.Time
	From    mail.Address
	To      []string // addresses
	Subject string
	// Text and HTML are the same twice; one of them may be empty.
	Text, HTML string
	// Headers are further ones, for programs that sort mail.
	Headers map[string]string
}

// Phase is how far a session came.
type Phase uint8

const (
	Compose   Phase = iota // the message itself cannot be made
	Session                // connection, greeting, TLS, password
	Sender                 // MAIL FROM
	Recipient              // RCPT TO
	Content                // DATA and what follows
)

// Error is why a message was not taken. It has one line of text.
type Error struct {
	Phase Phase
	// Code is what the server answered; 0: it said nothing.
	Code int
	text string
	err  error
}

func (e *Error) Error() string { return e.text }
func (e *Error) Unwrap() error { return e.err }

// Final reports whether the server refuses for good.
func (e *Error) Final() bool { return e.Phase == Compose || e.Code >= 500 && e.Code < 600 }

func failed(phase Phase, format string, args ...any) *Error {
	err := fmt.Errorf(format, args...)
	e := &Error{Phase: phase, err: err}
	var said *gomail.SendError
	var answer *textproto.Error
	switch {
	case errors.As(err, &said) && said.ErrorCode() > 0:
		e.Code = said.ErrorCode()
	case errors.As(err, &answer):
		e.Code = answer.Code
	}
	e.text = strings.Join(strings.Fields(err.Error()), " ") // what a server says may have several lines
	return e
}

// Send hands a message over. A recipient that the server does not take it for keeps it
// from the others.
func (r *Relay) Send(ctx context.Context, m *Message) error {
	msg, err := compose(m)
	if err != nil {
		return failed(Compose, "smtp: %w", err)
	}
	// A connection in the clear and one under STARTTLS end with ctx; each step of one under
	// TLS with its own limit alone.
	c, err := r.client(ctx)
	if err != nil {
		return failed(Session, "smtp: %w", err)
	}
	session, err := c.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return failed(Session, "smtp: relay %s: %w", r.Address, err)
	}
	// A farewell that fails takes nothing back.
	defer c.CloseWithSMTPClient(session)
	err = c.SendWithSMTPClient(session, msg)
	if err == nil {
		return nil
	}
	phase := Session
	var said *gomail.SendError
	if errors.As(err, &said) {
		switch said.Reason {
		case gomail.ErrSMTPMailFrom:
			phase = Sender
		case gomail.ErrSMTPRcptTo:
			phase = Recipient
		case gomail.ErrSMTPData, gomail.ErrSMTPDataClose, gomail.ErrWriteContent:
			phase = Content
		}
	}
	return failed(phase, "smtp: relay %s: %w", r.Address, err)
}

func (r *Relay) client(ctx context.Context) (*gomail.Client, error) {
	host, port, err := net.SplitHostPort(r.Address)
	if err != nil {
		return nil, fmt.Errorf("relay: %w", err)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return nil, fmt.Errorf("relay: the port of %s: %w", r.Address, err)
	}
	timeout := r.StepTimeout
	if timeout == 0 {
		timeout = stepTimeout
	}
	options := []gomail.Option{
		gomail.WithPort(number), gomail.WithTimeout(timeout), gomail.WithoutNoop(), gomail.WithoutRset(), // one message for each session
		gomail.WithTLSConfig(&tls.Config{ServerName: host, RootCAs: r.CAs, MinVersion: tls.VersionTLS12}),
	}
	if r.Name != "" {
		options = append(options, gomail.WithHELO(r.Name))
	}
	switch r.Security {
	case TLS: // with its own dialer, or it takes the connection for one in the clear
		options = append(options, gomail.WithSSL(), gomail.WithTLSPolicy(gomail.NoTLS))
	case StartTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithDialContextFunc(endsWith(ctx)))
	case None:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS), gomail.WithDialContextFunc(endsWith(ctx)))
	default:
		return nil, fmt.Errorf("the security %q is none of %q, %q, %q", r.Security, StartTLS, TLS, None)
	}
	if r.User != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(r.User), gomail.WithPassword(r.Password))
	}
	return gomail.NewClient(host, options...)
}

// endsWith dials connections that end with ctx.
func endsWith(ctx context.Context) gomail.DialContextFunc {
	return func(dialCtx context.Context, network, address string) (net.Conn, error) {
		conn, err := (&net.Dialer{}).DialContext(dialCtx, network, address)
		if err == nil {
			context.AfterFunc(ctx, func() { conn.Close() })
		}
		return conn, err
	}
}

// compose makes the message as it is sent.
func compose(m *Message) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(&m.From)
	if err := msg.To(m.To...); err != nil {
		return nil, fmt.Errorf("to: %w", err)
	}
	for _, h := range []struct{ name, value string }{{"subject", m.Subject}, {"id", m.ID}, {"the id that it replies to", m.Replies}} {
		if strings.ContainsAny(h.value, "\r\n") {
			return nil, fmt.Errorf("%s: a line break", h.name)
		}
	}
	msg.SetMessageIDWithValue(m.ID)
	if m.Replies != "" {
		msg.SetGenHeader(gomail.HeaderInReplyTo, "<"+m.Replies+">")
		msg.SetGenHeader(gomail.HeaderReferences, "<"+m.Replies+">")
	}
	msg.SetDateWithValue(m.Date)
	msg.Subject(m.Subject)
	// Absent people do not reply (RFC 3834).
	msg.SetGenHeader("Auto-Submitted", "auto-generated")
	for name, value := range m.Headers {
		if strings.ContainsAny(name+value, "\r\n") {
			return nil, fmt.Errorf("header %q: a line break", name)
		}
		msg.SetGenHeader(gomail.Header(name), value)
	}
	if m.Text == "" && m.HTML != "" {
		msg.SetBodyString(gomail.TypeTextHTML, m.HTML)
		return msg, nil
	}
	msg.SetBodyString(gomail.TypeTextPlain, m.Text)
	if m.HTML != "" {
		msg.AddAlternativeString(gomail.TypeTextHTML, m.HTML)
	}
	return msg, nil
}
