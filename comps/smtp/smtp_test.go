package smtp_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/comps/smtp"
	"virtualservicesinc.com/comps/smtp/smtptest"
)

// script is a mail server that says what it is told at each step of a session: "greeting",
// "EHLO", "STARTTLS", "AUTH", "MAIL", "RCPT", "DATA", "end" of the content and "QUIT".
// Where the script has nothing to say the server goes on as one should.
type script struct {
	cert *tls.Certificate // of STARTTLS; nil: it is not offered

	mu    sync.Mutex
	step  string
	say   string // "drop" ends the connection, "stall" says nothing, the rest is an answer
	taken int    // messages whose content came to its end, and was answered by 250
}

func (s *script) set(step, say string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.step, s.say, s.taken = step, say, 0
}

var usual = map[string]string{
	"greeting": "220 relay.test", "EHLO": "250-relay.test\r\n250-AUTH PLAIN\r\n250 STARTTLS", "STARTTLS": "220 go on", "AUTH": "235 welcome",
	"MAIL": "250 ok", "RCPT": "250 ok", "DATA": "354 go on", "end": "250 taken", "QUIT": "221 bye", "RSET": "250 ok", "NOOP": "250 ok",
}

// answer says what the script has for a step, and reports whether the session goes on.
func (s *script) answer(c net.Conn, step string) bool {
	s.mu.Lock()
	say := usual[step]
	if s.step == step {
		say = s.say
	}
	if step == "end" && strings.HasPrefix(say, "250") {
		s.taken++
	}
	s.mu.Unlock()
	switch say {
	case "":
		say = "500 what is " + step
	case "drop":
		return false
	case "stall":
		c.Read(make([]byte, 1)) // until the other side gives up
		return false
	}
	_, err := fmt.Fprintf(c, "%s\r\n", say)
	return err == nil
}

func (s *script) serve(c net.Conn) {
	defer func() { c.Close() }()
	if !s.answer(c, "greeting") {
		return
	}
	in := bufio.NewReader(c)
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		verb, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		verb = strings.ToUpper(verb)
		if !s.answer(c, verb) || verb == "QUIT" {
			return
		}
		switch s.mu.Lock(); {
		case verb == "STARTTLS" && (s.step != verb || strings.HasPrefix(s.say, "220")):
			s.mu.Unlock()
			t := tls.Server(c, &tls.Config{Certificates: []tls.Certificate{*s.cert}})
			c, in = t, bufio.NewReader(t)
		case verb == "DATA" && (s.step != verb || strings.HasPrefix(s.say, "354")):
			s.mu.Unlock()
			for line != ".\r\n" {
				if line, err = in.ReadString('\n'); err != nil {
					return
				}
			}
			if !s.answer(c, "end") {
				return
			}
		default:
			s.mu.Unlock()
		}
	}
}

// newScript starts one, and returns a relay for it.
func newScript(t *testing.T) (*script, smtp.Relay) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	cert, pem, err := smtptest.Certificate(net.IPv4(127, 0, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	s := &script{cert: &cert}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	cas := x509.NewCertPool()
	cas.AppendCertsFromPEM(pem)
	return s, smtp.Relay{Address: l.Addr().String(), Security: smtp.StartTLS, User: "shop", Password: "secret", CAs: cas, Name: "pc1.example.com", StepTimeout: 150 * time.Millisecond}
}

func message() *smtp.Message {
	return &smtp.Message{ID: "17@example.com", Date: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), From: mail.Address{Address: "shop@example.com"}, To: []string{"anna@home.example"},
		Subject: "Your order", Text: "Thank you.\n.\n"}
}

// TestPhases: whatever a server does at whatever step, the error says at which phase, with
// which code, and whether it is for good; once the message is taken there is none.
func TestPhases(t *testing.T) {
	s, relay := newScript(t)
	if err := relay.Send(t.Context(), message()); err != nil || s.taken != 1 {
		t.Fatalf("nothing fails: %v, %d taken", err, s.taken)
	}
	for _, step := range []struct {
		name  string
		phase smtp.Phase
	}{
		{"greeting", smtp.Session}, {"EHLO", smtp.Session}, {"STARTTLS", smtp.Session}, {"AUTH", smtp.Session},
		{"MAIL", smtp.Sender}, {"RCPT", smtp.Recipient}, {"DATA", smtp.Content}, {"end", smtp.Content}, {"QUIT", 0},
	} {
		for _, fault := range []struct {
			say  string
			code int
		}{{"421 come back later", 421}, {"450-not\r\n450 now", 450}, {"550 never", 550}, {"554-5.7.1 spam\r\n554 never", 554}, {"drop", 0}, {"stall", 0}, {"what?", 0}} {
			name := step.name + ": " + fault.say
			s.set(step.name, fault.say)
			began := time.Now()
			err := relay.Send(t.Context(), message())
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("%s: took %v", name, took)
			}
			if step.name == "QUIT" {
				if err != nil || s.taken != 1 {
					t.Errorf("%s: %v, %d taken", name, err, s.taken)
				}
				continue
			}
			var failed *smtp.Error
			if !errors.As(err, &failed) || failed.Phase != step.phase || strings.ContainsAny(err.Error(), "\r\n") || s.taken != 0 {
				t.Errorf("%s: %v, %d taken", name, err, s.taken)
				continue
			}
			// go-mail goes back to HELO when EHLO is refused, and says what that came to.
			if step.name != "EHLO" && (failed.Code != fault.code || failed.Final() != (fault.code >= 500)) {
				t.Errorf("%s: code %d, final %v: %v", name, failed.Code, failed.Final(), err)
			}
		}
	}
}

// TestTLS: no server without the right certificate, or without STARTTLS, hears password or
// message.
func TestTLS(t *testing.T) {
	s, relay := newScript(t)
	for _, x := range []struct {
		name   string
		change func(*smtp.Relay)
		want   string
	}{
		{"nobody signed it", func(r *smtp.Relay) { r.CAs = nil }, "certificate signed by unknown authority"},
		{"another name", func(r *smtp.Relay) { r.Address = strings.Replace(r.Address, "127.0.0.1", "localhost", 1) }, "certificate is not valid for any names"},
		{"STARTTLS is refused", func(*smtp.Relay) { s.set("STARTTLS", "454 no TLS now") }, "454"},
		{"STARTTLS is not offered", func(*smtp.Relay) { s.set("EHLO", "250 relay.test") }, "STARTTLS"},
		{"no TLS from the first byte", func(r *smtp.Relay) { r.Security = smtp.TLS; s.set("", "") }, "first record does not look like a TLS handshake"},
		{"an unknown way", func(r *smtp.Relay) { r.Security = "ssl" }, `security "ssl" is none of`},
	} {
		s.set("", "")
		r := relay
		x.change(&r)
		err := r.Send(t.Context(), message())
		var failed *smtp.Error
		if !errors.As(err, &failed) || failed.Phase != smtp.Session || failed.Final() || !strings.Contains(err.Error(), x.want) || strings.Contains(err.Error(), "secret") || s.taken != 0 {
			t.Errorf("%s: %v, %d taken; want %q", x.name, err, s.taken, x.want)
		}
	}
}

// TestEnds: a session ends with its context.
func TestEnds(t *testing.T) {
	s, relay := newScript(t)
	relay.StepTimeout = time.Minute
	s.set("DATA", "stall")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	began := time.Now()
	if err := relay.Send(ctx, message()); err == nil || time.Since(began) > 10*time.Second {
		t.Errorf("%v after %v", err, time.Since(began))
	}
}

// TestCompose: no field of a message makes a header of its own.
func TestCompose(t *testing.T) {
	s, relay := newScript(t)
	for want, change := range map[string]func(*smtp.Message){
		"subject: a line break":                   func(m *smtp.Message) { m.Subject = "x\r\nBcc: all@example.com" },
		"id: a line break":                        func(m *smtp.Message) { m.ID = "1@example.com\r\nBcc: all@example.com" },
		"the id that it replies to: a line break": func(m *smtp.Message) { m.Replies = "x\nBcc: all@example.com" },
		`header "X-RRTS-SFU": a line break`:       func(m *smtp.Message) { m.Headers = map[string]string{"X-RRTS-SFU": "a\r\nBcc: all@example.com"} },
		"to: ":                                    func(m *smtp.Message) { m.To = []string{"anna@home.example\r\nBcc: all@example.com"} },
	} {
		m := message()
		change(m)
		err := relay.Send(t.Context(), m)
		var failed *smtp.Error
		if !errors.As(err, &failed) || failed.Phase != smtp.Compose || !failed.Final() || !strings.Contains(err.Error(), want) || s.taken != 0 {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
