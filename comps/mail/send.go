package mail

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"strconv"
	"strings"
	"sync"
	"time"

	gomail "github.com/wneessen/go-mail"

	"virtualservicesinc.com/comps/effects"
)

// maxWait is how long a mail waits for its turn where others to its domain are under way,
// before it is put off.
const maxWait = 20 * time.Second

// relay sends mails through one mail server.
type relay struct {
	cfg     *Config
	host    string
	port    int
	from    *mail.Address
	tls     *tls.Config
	domains domains
}

func newRelay(cfg *Config) (*relay, error) {
	host, port, err := net.SplitHostPort(cfg.Relay)
	if err != nil {
		return nil, fmt.Errorf("mail: relay: %w", err)
	}
	r := &relay{cfg: cfg, host: host, domains: domains{most: cfg.PerDomain, busy: map[string]chan struct{}{}}}
	if r.port, err = strconv.Atoi(port); err != nil {
		return nil, fmt.Errorf("mail: relay: %w", err)
	}
	if r.from, err = mail.ParseAddress(cfg.From); err != nil {
		return nil, fmt.Errorf("mail: from: %w", err)
	}
	r.tls = &tls.Config{ServerName: host, MinVersion: tls.VersionTLS12}
	if cfg.Roots != nil {
		r.tls.RootCAs = x509.NewCertPool()
		if !r.tls.RootCAs.AppendCertsFromPEM(cfg.Roots) {
			return nil, errors.New("mail: the roots hold no certificate")
		}
	}
	return r, nil
}

// messageID is the Message-ID of what has a name that is its own.
func (r *relay) messageID(name string) string { return "rrts." + name + "@" + domainOf(r.from.Address) }

// send gives a mail to the relay.
func (r *relay) send(ctx context.Context, to, id string, date time.Time, c content) error {
	msg, err := r.message(to, id, date, c)
	if err != nil {
		return err
	}
	done, err := r.domains.enter(ctx, domainOf(to))
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	client, err := r.client(ctx)
	if err != nil {
		return fmt.Errorf("mail: %w", err)
	}
	if err := client.DialAndSendWithContext(ctx, msg); err != nil {
		return &sendError{hide(fmt.Sprintf("relay %s: %v", r.cfg.Relay, err), to), err}
	}
	return nil
}

// sendError is why a mail was not sent. Its text stands in the log and in alarms: it holds
// no address.
type sendError struct {
	text string
	err  error
}

func (e *sendError) Error() string { return e.text }
func (e *sendError) Unwrap() error { return e.err }

// hide takes an address out of what a relay has answered, in whatever letters.
func hide(text, address string) string {
	for from := 0; ; {
		i := strings.Index(asciiLower(text[from:]), asciiLower(address))
		if i < 0 {
			return text
		}
		const instead = "(the user's address)"
		text = text[:from+i] + instead + text[from+i+len(address):]
		from += i + len(instead)
	}
}

// asciiLower is strings.ToLower without a change of length.
func asciiLower(s string) string {
	b := []byte(s)
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			b[i] = c + 'a' - 'A'
		}
	}
	return string(b)
}

func (r *relay) message(to, id string, date time.Time, c content) (*gomail.Msg, error) {
	msg := gomail.NewMsg(gomail.WithNoDefaultUserAgent())
	msg.FromMailAddress(r.from)
	if err := msg.To(to); err != nil {
		return nil, &permanent{"to", err}
	}
	msg.Subject(c.subject)
	msg.SetDateWithValue(date)
	msg.SetMessageIDWithValue(id)
	msg.SetGenHeader("Auto-Submitted", "auto-generated") // no replies from absent people (RFC 3834)
	switch {
	case c.text == "":
		msg.SetBodyString(gomail.TypeTextHTML, c.html)
	default:
		msg.SetBodyString(gomail.TypeTextPlain, c.text)
		if c.html != "" {
			msg.AddAlternativeString(gomail.TypeTextHTML, c.html)
		}
	}
	return msg, nil
}

// client makes the connection's client. Each of its steps ends within dialTimeout, and in
// the clear and under STARTTLS with ctx.
func (r *relay) client(ctx context.Context) (*gomail.Client, error) {
	options := []gomail.Option{gomail.WithPort(r.port), gomail.WithTimeout(dialTimeout), gomail.WithTLSConfig(r.tls), gomail.WithoutNoop()}
	switch r.cfg.Security {
	case TLS: // with its own dialer, or it takes the connection for one in the clear
		options = append(options, gomail.WithSSL(), gomail.WithTLSPolicy(gomail.NoTLS))
	case StartTLS:
		options = append(options, gomail.WithTLSPolicy(gomail.TLSMandatory), gomail.WithDialContextFunc(endsWith(ctx)))
	case None:
		options = append(options, gomail.WithTLSPolicy(gomail.NoTLS), gomail.WithDialContextFunc(endsWith(ctx)))
	}
	if r.cfg.User != "" {
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(r.cfg.User), gomail.WithPassword(r.cfg.Password))
	}
	return gomail.NewClient(r.host, options...)
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

// permanent is why a mail can never be sent as it is.
type permanent struct {
	field string
	err   error
}

func (p *permanent) Error() string { return p.field + ": " + p.err.Error() }
func (p *permanent) Unwrap() error { return p.err }

// resultOf is what an error of send comes to: what the relay says of the mail itself, its
// sender, its recipient or its content, with a code of 500 and above, is for good.
func resultOf(err error) effects.Result {
	var p *permanent
	var refused *gomail.SendError
	switch {
	case err == nil:
		return effects.Done("")
	case errors.As(err, &p):
		return effects.Quarantine(err)
	case errors.As(err, &refused) && refused.ErrorCode() >= 500 && refused.ErrorCode() < 600 && aboutMail(refused.Reason):
		return effects.Quarantine(err)
	}
	return effects.Retry(err)
}

func aboutMail(r gomail.SendErrReason) bool {
	switch r {
	case gomail.ErrSMTPMailFrom, gomail.ErrSMTPRcptTo, gomail.ErrSMTPData, gomail.ErrSMTPDataClose:
		return true
	}
	return false
}

// domains bounds the mails to one domain at a time: mail servers put off or shut out those
// who come with too many.
type domains struct {
	most int

	mu   sync.Mutex // guards busy
	busy map[string]chan struct{}
}

// maxDomains bounds those that are remembered; idle ones are forgotten above it.
const maxDomains = 1024

// enter waits for a turn; done ends it.
func (d *domains) enter(ctx context.Context, domain string) (done func(), err error) {
	d.mu.Lock()
	turns := d.busy[domain]
	if turns == nil {
		if len(d.busy) >= maxDomains {
			for name, t := range d.busy { // in any order
				if len(t) == 0 {
					delete(d.busy, name)
				}
			}
		}
		turns = make(chan struct{}, d.most)
		d.busy[domain] = turns
	}
	d.mu.Unlock()
	timer := time.NewTimer(maxWait)
	defer timer.Stop()
	select {
	case turns <- struct{}{}:
		return func() { <-turns }, nil
	case <-timer.C:
		return nil, fmt.Errorf("mail: %d mails to %s are under way", d.most, domain)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
