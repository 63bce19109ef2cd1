package mail_test

import (
	"errors"
	"net/mail"
	"strings"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	ours "virtualservicesinc.com/comps/monitor/mail"
	relay "virtualservicesinc.com/comps/smtp"
	"virtualservicesinc.com/comps/smtp/smtptest"
)

func message(to ...string) *relay.Message {
	return &relay.Message{
		ID: "rrts.17@example.com", Replies: "rrts.16@example.com", Date: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC),
		From: mail.Address{Address: "rrts@example.com"}, To: to, Subject: "[shop] critical: disk-full bei Müller", Text: "The disk is full.\n.\nMake room.\n",
		Headers: map[string]string{"X-RRTS-Alarm": "disk-full"},
	}
}

// TestSend: a server that demands TLS and a password, in both ways, gets the message,
// whole, and its own certificate is what counts.
func TestSend(t *testing.T) {
	for _, x := range []struct {
		name string
		cfg  smtptest.Config
		as   relay.Relay
		want string // of the error; empty for none
	}{
		{"starttls", smtptest.Config{User: "rrts", Password: "secret"}, relay.Relay{Security: relay.StartTLS, User: "rrts", Password: "secret"}, ""},
		{"tls", smtptest.Config{TLS: true, User: "rrts", Password: "secret"}, relay.Relay{Security: relay.TLS, User: "rrts", Password: "secret"}, ""},
		{"plain", smtptest.Config{Plain: true}, relay.Relay{Security: relay.None}, ""},
		{"no TLS to be had", smtptest.Config{Plain: true}, relay.Relay{Security: relay.StartTLS}, "STARTTLS"},
		{"no password in clear text", smtptest.Config{Plain: true, User: "rrts", Password: "secret"}, relay.Relay{Security: relay.None, User: "rrts", Password: "secret"}, "AUTH"},
		{"a wrong password", smtptest.Config{User: "rrts", Password: "secret"}, relay.Relay{Security: relay.StartTLS, User: "rrts", Password: "guess"}, "535"},
		{"no password", smtptest.Config{User: "rrts", Password: "secret"}, relay.Relay{Security: relay.StartTLS}, "502"},
	} {
		t.Run(x.name, func(t *testing.T) {
			server := smtptest.New(t, x.cfg)
			s := x.as
			s.Address, s.CAs, s.Name = server.Address, server.CAs, "pc1.example.com"
			err := ours.Send(t.Context(), &s, message("anna@example.com", "bert@example.com"))
			taken, _ := server.Taken()
			if x.want != "" {
				if err == nil || errors.Is(err, ours.ErrRefused) || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "\n") || len(taken) != 0 {
					t.Fatalf("%v, %d taken; want one line with %q", err, len(taken), x.want)
				}
				return
			}
			if err != nil || len(taken) != 1 {
				t.Fatalf("%v, %d taken", err, len(taken))
			}
			got := taken[0]
			if got.TLS == x.cfg.Plain || got.From != "rrts@example.com" || strings.Join(got.To, " ") != "anna@example.com bert@example.com" {
				t.Errorf("%+v", got)
			}
			m, err := mail.ReadMessage(strings.NewReader(got.Data))
			if err != nil {
				t.Fatal(err)
			}
			for name, want := range map[string]string{
				"Message-Id": "<rrts.17@example.com>", "In-Reply-To": "<rrts.16@example.com>", "References": "<rrts.16@example.com>",
				"Date": "Sun, 01 Mar 2026 12:00:00 +0000", "Auto-Submitted": "auto-generated", "X-Rrts-Alarm": "disk-full", "From": "<rrts@example.com>",
			} {
				if have := m.Header.Get(name); have != want {
					t.Errorf("%s: %q, want %q", name, have, want)
				}
			}
			if !strings.Contains(got.Data, "The disk is full.\r\n.\r\nMake room.\r\n") {
				t.Errorf("the text is not whole:\n%s", got.Data)
			}
		})
	}
}

// TestStranger: a server whose certificate nobody signed hears neither password nor
// message.
func TestStranger(t *testing.T) {
	server := smtptest.New(t, smtptest.Config{})
	s := relay.Relay{Address: server.Address, Security: relay.StartTLS, User: "rrts", Password: "secret", Name: "pc1.example.com"}
	err := ours.Send(t.Context(), &s, message("anna@example.com"))
	if _, tries := server.Taken(); err == nil || !strings.Contains(err.Error(), "certificate") || tries != 0 {
		t.Fatalf("%v, %d tries", err, tries)
	}
}

// TestRefused: who is refused for good is told from who is not now, and keeps nobody
// else from getting the message.
func TestRefused(t *testing.T) {
	server := smtptest.New(t, smtptest.Config{})
	s := relay.Relay{Address: server.Address, Security: relay.StartTLS, CAs: server.CAs, Name: "pc1.example.com"}
	server.Refuse("gone@example.com", &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no such mailbox"})
	err := ours.Send(t.Context(), &s, message("anna@example.com", "gone@example.com", "bert@example.com"))
	if !errors.Is(err, ours.ErrRefused) || !strings.Contains(err.Error(), "gone@example.com") || !strings.Contains(err.Error(), "2 of 3") || !strings.Contains(err.Error(), "no such mailbox") {
		t.Fatal(err)
	}
	taken, _ := server.Taken()
	if len(taken) != 2 || taken[0].To[0] != "anna@example.com" || taken[1].To[0] != "bert@example.com" {
		t.Fatalf("%+v", taken)
	}
	server.Refuse("full@example.com", &smtp.SMTPError{Code: 452, EnhancedCode: smtp.EnhancedCode{4, 2, 2}, Message: "mailbox full"})
	if err := ours.Send(t.Context(), &s, message("full@example.com")); err == nil || errors.Is(err, ours.ErrRefused) || !strings.Contains(err.Error(), "mailbox full") {
		t.Fatal(err)
	}
	// Whom it is not taken for now does not keep the message from others, who must not get
	// it again.
	if err := ours.Send(t.Context(), &s, message("full@example.com", "anna@example.com")); !errors.Is(err, ours.ErrRefused) || !strings.Contains(err.Error(), "mailbox full") {
		t.Fatal(err)
	}
	if taken, _ = server.Taken(); len(taken) != 3 || taken[2].To[0] != "anna@example.com" {
		t.Fatalf("%+v", taken)
	}
	if err := ours.Send(t.Context(), &s, message("full@example.com", "gone@example.com")); err == nil || errors.Is(err, ours.ErrRefused) || !strings.Contains(err.Error(), "mailbox full") || !strings.Contains(err.Error(), "no such mailbox") {
		t.Fatal(err)
	}
	away := relay.Relay{Address: "127.0.0.1:1", Security: relay.StartTLS, Name: "pc1.example.com"}
	if err := ours.Send(t.Context(), &away, message("anna@example.com")); err == nil || errors.Is(err, ours.ErrRefused) {
		t.Fatal(err)
	}
}
