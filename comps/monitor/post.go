package monitor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/comps/monitor/judge"
	"virtualservicesinc.com/comps/monitor/mail"
	"virtualservicesinc.com/comps/smtp"
	"virtualservicesinc.com/rrts/engine"
)

const (
	// mailFailing is the alarm about the mail itself. It is never mailed.
	mailFailing = "mail-failing"
	// sendFor is how long one message may take, with all that a slow server does.
	sendFor = 2 * time.Minute
	// retryFirst and retryMost are the pauses after a failure, each twice the one before:
	// a server that puts strangers off for a while (greylisting) is done in minutes, and
	// one that is away for a day is not asked a thousand times.
	retryFirst, retryMost = 10 * time.Second, 10 * time.Minute
	// patience is how many failures in a row are none of anybody's business.
	patience = 3
	// maxPerHour bounds the mail of one SFU: people read no more. What is not sent stays in
	// the Book, where the beginning and the end of an alarm become one letter.
	maxPerHour = 60
	// idleFor is how long it may take to see that mail is wanted now, while no alarm comes
	// or goes.
	idleFor = 10 * time.Minute
)

// Post is the mail that goes out about alarms.
type Post struct {
	Cluster string   // its name
	ID      [16]byte // and its id
	// Settings says who is told, and through which server; nil when nobody is. It is asked
	// whenever there may be something to say.
	Settings func() (*PostSettings, error)
	// Send hands a message to a server. Default: mail.Send.
	Send func(context.Context, *smtp.Relay, *smtp.Message) error
}

// PostSettings say who is told of alarms, and how.
type PostSettings struct {
	Server                  smtp.Relay
	From                    string
	Critical, Warning, Info []string
}

// To lists who is told of a severity.
func (p *PostSettings) To(severity string) []string {
	switch severity {
	case engine.Critical.String():
		return p.Critical
	case engine.Warning.String():
		return p.Warning
	}
	return p.Info
}

// postman sends letters. It belongs to one goroutine.
type postman struct {
	m    *Monitor
	post *Post
	from sender

	failures int           // in a row
	until    time.Duration // when it is tried again after a failure
	hour     time.Duration // when the hour began for which sent counts
	sent     int
	failing  bool // the alarm stands
}

// deliver sends what is owed, until ctx ends.
func (m *Monitor) deliver(ctx context.Context) {
	e := m.cfg.Engine()
	p := &postman{m: m, post: m.cfg.Post, from: sender{m.cfg.Post.Cluster, m.cfg.Post.ID, e.Name, m.cfg.Machine}}
	for {
		wait := time.NewTimer(p.round(ctx))
		select {
		case <-ctx.Done():
		case <-m.cfg.Book.news:
		case <-wait.C:
		}
		wait.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

// round sends what is owed, and returns how long there is nothing to do if nothing
// happens.
func (p *postman) round(ctx context.Context) time.Duration {
	if now := p.m.host.Now(); now < p.until {
		return p.until - now
	}
	settings, err := p.post.Settings()
	if err != nil {
		return p.failed(err, true)
	}
	if settings == nil {
		p.m.cfg.Book.owed(func(string) bool { return false })
		p.went()
		return idleFor
	}
	owed := p.m.cfg.Book.owed(func(severity string) bool { return len(settings.To(severity)) > 0 })
	for i := range owed {
		now := p.m.host.Now()
		if now-p.hour >= time.Hour {
			p.hour, p.sent = now, 0
		}
		if p.sent >= maxPerHour {
			return p.hour + time.Hour - now
		}
		p.sent++
		err := p.send(ctx, settings, &owed[i])
		switch {
		case err == nil:
			p.m.cfg.Book.told(&owed[i])
			p.went()
		case ctx.Err() != nil:
			return 0
		case errors.Is(err, mail.ErrRefused):
			p.m.cfg.Book.told(&owed[i])
			p.m.host.Log().Warn("the mail server does not take a message", "about", owed[i].Name, "err", err)
			p.alarm(err)
		default:
			return p.failed(err, false)
		}
	}
	return idleFor
}

func (p *postman) send(ctx context.Context, s *PostSettings, l *letter) error {
	ctx, cancel := context.WithTimeout(ctx, sendFor)
	defer cancel()
	return p.post.Send(ctx, &s.Server, p.from.message(l, s))
}

// went takes in that the mail works.
func (p *postman) went() {
	p.failures, p.until = 0, 0
	if p.failing {
		p.failing = false
		p.m.tell([]judge.Change{{Name: mailFailing}})
	}
}

// failed takes in that it does not, and returns how long to wait. What will not get
// better by itself is an alarm at once.
func (p *postman) failed(err error, atOnce bool) time.Duration {
	wait := min(retryFirst<<min(p.failures, 16), retryMost)
	p.failures++
	p.until = p.m.host.Now() + wait
	p.m.host.Log().Warn("mail about alarms cannot be sent", "err", err, "retry_in", wait)
	if atOnce || p.failures >= patience {
		p.alarm(err)
	}
	return wait
}

func (p *postman) alarm(err error) {
	if !p.failing {
		p.failing = true
		p.m.tell([]judge.Change{{Name: mailFailing, Raise: true, Severity: engine.Warning, Detail: fmt.Sprintf("alarms cannot be told by mail: %v", err)}})
	}
}
