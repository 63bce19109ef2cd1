package smtp_test

import (
	"errors"
	"io"
	"os"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/comps/smtp"
	"virtualservicesinc.com/comps/smtp/smtptest"
)

// TestPostfix: a real Postfix that demands TLS and a password takes messages and delivers
// them; it refuses a stranger's password and a recipient of elsewhere as it should.
func TestPostfix(t *testing.T) {
	if os.Getenv("RRTS_POSTFIX") == "" { // its package removes the mail server that a machine has: not for every `make test`
		t.Skip("needs Postfix, in the place of this machine's own mail server: run `make test-mail`")
	}
	p := smtptest.NewPostfix(t)
	relay := smtp.Relay{Address: p.Address, Security: smtp.StartTLS, User: p.User, Password: p.Password, CAs: p.CAs, Name: "pc1.example.com"}
	m := message()
	m.HTML, m.Subject = "<p>Thank you, <b>Ünna</b>.</p>\n.\n", "Ihre Bestellung über 5 €"
	if err := relay.Send(t.Context(), m); err != nil {
		t.Fatalf("%v\n%s", err, p.Log())
	}
	for deadline := time.Now().Add(20 * time.Second); len(p.Mails()) == 0; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the message is not delivered:\n%s", p.Log())
		}
	}
	got := p.Mails()[0]
	body, _ := io.ReadAll(got.Body)
	if got.Header.Get("Message-Id") != "<17@example.com>" || got.Header.Get("Delivered-To") != "anna@home.example" || !strings.Contains(got.Header.Get("Received"), "SMTPSA ") ||
		!strings.Contains(string(body), "Thank you.") || !strings.Contains(string(body), "<b>=C3=9Cnna</b>") {
		t.Errorf("%v\n%s", got.Header, body)
	}
	for _, x := range []struct {
		name   string
		change func(*smtp.Relay, *smtp.Message)
		phase  smtp.Phase
		code   int
	}{
		{"a wrong password", func(r *smtp.Relay, _ *smtp.Message) { r.Password = "guess" }, smtp.Session, 535},
		{"no password", func(r *smtp.Relay, _ *smtp.Message) { r.User, r.Password = "", "" }, smtp.Recipient, 554},
		{"no TLS", func(r *smtp.Relay, _ *smtp.Message) { r.Security, r.User, r.Password = smtp.None, "", "" }, smtp.Sender, 530},
		{"too large", func(_ *smtp.Relay, m *smtp.Message) { m.Text = strings.Repeat(strings.Repeat("x", 70)+"\n", 11<<20/71) }, smtp.Content, 552},
	} {
		r, m := relay, message()
		x.change(&r, m)
		err := r.Send(t.Context(), m)
		var failed *smtp.Error
		if !errors.As(err, &failed) || failed.Phase != x.phase || failed.Code != x.code {
			t.Errorf("%s: %v; want phase %d and code %d", x.name, err, x.phase, x.code)
		}
	}
}
