package mail

import (
	"context"
	"errors"
	"fmt"
	"net/mail"
	"strings"
	"sync"
	"time"

	"virtualservicesinc.com/comps/effects"
	"virtualservicesinc.com/comps/smtp"
)

// maxWait is how long a mail waits for its turn where others to its domain are under way,
// before it is put off.
const maxWait = 20 * time.Second

// relay sends mails through one mail server.
type relay struct {
	smtp.Relay
	from    *mail.Address
	domains domains
}

func newRelay(cfg *Config) (*relay, error) {
	r := &relay{
		Relay:   smtp.Relay{Address: cfg.Relay, Security: cfg.Security, User: cfg.User, Password: cfg.Password, CAs: cfg.CAs},
		domains: domains{most: cfg.PerDomain, busy: map[string]chan struct{}{}},
	}
	var err error
	if r.from, err = mail.ParseAddress(cfg.From); err != nil {
		return nil, fmt.Errorf("mail: from: %w", err)
	}
	return r, nil
}

// messageID is the Message-ID of what has a name that is its own.
func (r *relay) messageID(name string) string { return "rrts." + name + "@" + domainOf(r.from.Address) }

// send gives a mail to the relay.
func (r *relay) send(ctx context.Context, to, id string, date time.Time, c content) error {
	done, err := r.domains.enter(ctx, domainOf(to))
	if err != nil {
		return err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	err = r.Send(ctx, &smtp.Message{ID: id, Date: date, From: *r.from, To: []string{to}, Subject: c.subject, Text: c.text, HTML: c.html})
	if err != nil {
		return &sendError{hide(err.Error(), to), err}
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
	var failed *smtp.Error
	switch {
	case err == nil:
		return effects.Done("")
	case errors.As(err, &p):
		return effects.Quarantine(err)
	case errors.As(err, &failed) && failed.Final() && failed.Phase != smtp.Session:
		return effects.Quarantine(err)
	}
	return effects.Retry(err)
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
