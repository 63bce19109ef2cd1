package mail

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"mime"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/comps/effects"
	"virtualservicesinc.com/comps/effects/effectstest"
	"virtualservicesinc.com/comps/smtp"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/mailpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// shop is a cluster with a mail Component and users.
type shop struct {
	*effectstest.Cluster
	t      *testing.T
	server *server
	cfg    Config
	comp   *Component
}

var templates = map[string]string{
	"receipt.subject": "Your order {{.order}}",
	"receipt.txt":     "Dear {{.to}},\n\nthank you for {{.order}}. That is {{.amount}} EUR.\n",
	"receipt.html":    "<p>Dear {{.to}}, thank you for <b>{{.order}}</b>.</p>\n",
	"plain.subject":   "Hello",
	"plain.txt":       "Hello {{.to}}\n{{if .extra}}{{.extra}}{{end}}\n",
	"wide.subject":    "{{.order}}",
	"wide.html":       "<a href=\"{{.url}}\">{{.order}}</a>",
}

func newShop(t *testing.T, security smtp.Security, change func(*Config)) *shop {
	s := &shop{Cluster: effectstest.New(t), t: t, server: newServer(t, security)}
	dir := t.TempDir()
	for name, text := range templates {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.cfg = Config{Relay: s.server.address, Security: security, From: "Shop <shop@shop.example>", Templates: dir, ClientTemplates: []string{"receipt", "plain", "wide"},
		AddressKey: AddressKey([]byte("pepper")), CAs: s.server.cas, RetryFirst: 20 * time.Millisecond, RetryMost: 100 * time.Millisecond, Attempts: 8}
	if change != nil {
		change(&s.cfg)
	}
	s.start()
	t.Cleanup(func() { s.comp.Stop() })
	s.AddUser("Anna")
	s.address("Anna", "anna@home.example")
	return s
}

func (s *shop) start() {
	s.t.Helper()
	s.comp = New(s.cfg)
	if err := s.comp.Provision(s.Host(1).Engine()); err != nil {
		s.t.Fatal(err)
	}
	if err := s.comp.Validate(); err != nil {
		s.t.Fatal(err)
	}
	if err := s.comp.Start(s.t.Context()); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shop) address(name, address string) {
	s.t.Helper()
	if refused, err := s.comp.setAddress(s.t.Context(), 1, name, address); err != nil || refused != "" {
		s.t.Fatalf("address of %s: %q, %v", name, refused, err)
	}
}

func receipt(args ...txnpb.Argument) txnpb.Effect {
	if len(args) == 0 {
		args = []txnpb.Argument{effectstest.Text("to", "Anna"), effectstest.Text("order", "a <b> & ü"), effectstest.Arg("amount", txnpb.ArgumentKindDecimal, "12.50")}
	}
	return txnpb.Effect{Service: "mail", Operation: "receipt", Arguments: args}
}

// eventually waits for what other goroutines bring about.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within half a minute: %s", what)
		}
	}
}

func (s *shop) completed(o *txnpb.Outcome) func() bool {
	return func() bool { c := s.Completion(o); return c.Done == c.Owed }
}

// quarantined waits for the effect to come into quarantine, and returns why it did.
func (s *shop) quarantined() string {
	s.t.Helper()
	reason := ""
	eventually(s.t, "an effect in quarantine", func() bool {
		for _, e := range s.Outbox(&txnpb.OutboxFilter{Limit: 100, Quarantined: true}).Effects {
			reason = e.Reason
			s.Change(message.RoleOperator, txnpb.EffectChange{Action: txnpb.EffectActionDiscard, Service: "mail", Sequence: e.Sequence})
			return true
		}
		return false
	})
	return reason
}

// TestSends: a mail has both parts, its effect's Message-ID and date, and goes to the
// user's address, which stands nowhere in the state.
func TestSends(t *testing.T) {
	for _, security := range []smtp.Security{smtp.None, smtp.StartTLS, smtp.TLS} {
		t.Run(string(security), func(t *testing.T) {
			var rcpt []string
			s := newShop(t, security, func(c *Config) {
				if c.Security != smtp.None {
					c.User, c.Password = "shop", "secret"
				}
			})
			var mu sync.Mutex
			s.server.set(func(step, value string) error {
				mu.Lock()
				defer mu.Unlock()
				if step == "rcpt" {
					rcpt = append(rcpt, value)
				}
				return nil
			})
			o := s.Owe(receipt())
			eventually(t, "the mail is sent", s.completed(o))
			mails, bodies := s.server.received()
			if len(mails) != 1 {
				t.Fatalf("%d mails", len(mails))
			}
			h := mails[0].Header
			key := effects.Key{Cluster: effectstest.ID, Transaction: o.Id, Ordinal: 0}
			subject, err := new(mime.WordDecoder).DecodeHeader(h.Get("Subject"))
			date, derr := h.Date()
			if h.Get("Message-Id") != "<rrts."+key.String()+"@shop.example>" || subject != "Your order a <b> & ü" || err != nil ||
				h.Get("To") != "<anna@home.example>" || h.Get("From") != `"Shop" <shop@shop.example>` || h.Get("Auto-Submitted") != "auto-generated" ||
				derr != nil || time.Since(date) > time.Minute {
				t.Errorf("header %v, subject %q, date %v", h, subject, date)
			}
			if !strings.HasPrefix(h.Get("Content-Type"), "multipart/alternative") || !strings.Contains(bodies[0], "thank you for a <b> & =C3=BC. That is 12.50 EUR.") ||
				!strings.Contains(bodies[0], "<b>a &lt;b&gt; &amp; =C3=BC</b>") {
				t.Errorf("%s\n%s", h.Get("Content-Type"), bodies[0])
			}
			if len(rcpt) != 1 || rcpt[0] != "anna@home.example" {
				t.Errorf("recipients %v", rcpt)
			}
			if security != smtp.None && (len(s.server.users) != 1 || s.server.users[0] != "shop:secret") {
				t.Errorf("logins %v", s.server.users)
			}
			if bytes.Contains(s.Dump(), []byte("anna@home")) {
				t.Error("the address stands in the state in the clear")
			}
		})
	}
}

// TestRefuses: what cannot be a mail goes into quarantine at once, with a reason that names
// the field, and never reaches the relay.
func TestRefuses(t *testing.T) {
	s := newShop(t, smtp.None, func(c *Config) { c.ClientTemplates = []string{"receipt", "wide"} })
	s.server.set(func(step, value string) error {
		if step == "mail" {
			t.Errorf("the relay was asked")
		}
		return nil
	})
	s.AddUser("Bob")
	text, order, amount := effectstest.Text, effectstest.Text("order", "1"), effectstest.Arg("amount", txnpb.ArgumentKindDecimal, "1")
	for want, e := range map[string]txnpb.Effect{
		`operation: there is no template "bill"`:                          {Service: "mail", Operation: "bill"},
		`operation: transactions of clients may not use template "plain"`: {Service: "mail", Operation: "plain", Arguments: []txnpb.Argument{text("to", "Anna")}},
		`argument "to" is missing`:                                        receipt(order, amount),
		`argument "to": there is no user "Eve"`:                           receipt(text("to", "Eve"), order, amount),
		`argument "to": user "Bob" has no address`:                        receipt(text("to", "Bob"), order, amount),
		`template receipt: text: template: receipt.txt:3:`:                receipt(text("to", "Anna"), order),
		`argument "order": a line break would break the header Subject`:   receipt(text("to", "Anna"), text("order", "1\r\nBcc: all@example.com"), amount),
		`argument "order": a control character at byte 1`:                 receipt(text("to", "Anna"), text("order", "1\x00"), amount),
		`argument "logo": bytes cannot stand in a mail`:                   receipt(text("to", "Anna"), order, amount, effectstest.Arg("logo", txnpb.ArgumentKindBytes, "x")),
		`template wide: subject: more than 500 bytes`:                     {Service: "mail", Operation: "wide", Arguments: []txnpb.Argument{text("to", "Anna"), text("order", strings.Repeat("x", 501)), text("url", "/")}},
		`argument "to" is of kind null, it must be text`:                  receipt(txnpb.Argument{Name: "to", Kind: txnpb.ArgumentKindNull}, order, amount),
	} {
		s.Owe(e)
		if got := s.quarantined(); !strings.Contains(got, want) {
			t.Errorf("got  %s\nwant %s", got, want)
		}
	}
}

// TestSmuggling: what looks like the end of a mail, or like commands to the relay, is text
// of the mail, which arrives as it stands.
func TestSmuggling(t *testing.T) {
	s := newShop(t, smtp.None, nil)
	const evil = "one\r\n.\r\nMAIL FROM:<evil@evil.example>\r\nRCPT TO:<all@home.example>\r\nDATA\r\n.\nRSET\n..dots"
	o := s.Owe(txnpb.Effect{Service: "mail", Operation: "plain", Arguments: []txnpb.Argument{effectstest.Text("to", "Anna"), effectstest.Text("extra", evil)}})
	eventually(t, "the mail is sent", s.completed(o))
	mails, bodies := s.server.received()
	if len(mails) != 1 || !strings.Contains(strings.ReplaceAll(bodies[0], "\r\n", "\n"), strings.ReplaceAll(evil, "\r\n", "\n")) {
		t.Errorf("%d mails: %q", len(mails), bodies)
	}
}

// TestCodes: what the relay says of the mail itself with 500 and above is for good; all
// else is tried again, and the second try succeeds.
func TestCodes(t *testing.T) {
	for _, c := range []struct {
		step   string
		answer error
		final  string // "" when it is tried again
	}{
		{"mail", code(451, "busy"), ""},
		{"mail", code(553, "who are you"), "553"},
		{"rcpt", code(450, "greylisted"), ""},
		{"rcpt", code(550, "no Anna@Home.example here"), "no (the user's address) here"},
		{"data", code(452, "no room"), ""},
		{"data", code(554, "spam"), "spam"},
		{"auth", code(535, "wrong password"), ""},
		{"mail", errDrop, ""},
		{"rcpt", errDrop, ""},
		{"data", errDrop, ""},
	} {
		t.Run(fmt.Sprint(c.step, c.answer), func(t *testing.T) {
			t.Parallel()
			s := newShop(t, smtp.StartTLS, func(c *Config) { c.User, c.Password = "shop", "secret" })
			var mu sync.Mutex
			asked := 0
			s.server.set(func(step, _ string) error {
				mu.Lock()
				defer mu.Unlock()
				if step != c.step {
					return nil
				}
				if asked++; asked == 1 || c.final != "" {
					return c.answer
				}
				return nil
			})
			o := s.Owe(receipt())
			if c.final != "" {
				got := s.quarantined()
				if !strings.Contains(got, c.final) || strings.Contains(strings.ToLower(got), "anna@home") {
					t.Errorf("%s", got)
				}
				return
			}
			eventually(t, "the mail is sent", s.completed(o))
			if mails, _ := s.server.received(); len(mails) != 1 || asked < 2 {
				t.Errorf("%d mails, %d times asked", len(mails), asked)
			}
		})
	}
}

// TestLostAnswer: a relay that has taken a mail and does not say so gets it again, under
// the same Message-ID and with the same date: both are known to be one.
func TestLostAnswer(t *testing.T) {
	s := newShop(t, smtp.None, nil)
	var mu sync.Mutex
	lost := false
	s.server.set(func(step, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		switch {
		case step == "data" && !lost:
			lost = true
			return errTaken
		case step == "taken":
			return errDrop
		}
		return nil
	})
	o := s.Owe(receipt())
	eventually(t, "the mail is sent", s.completed(o))
	mails, _ := s.server.received()
	if len(mails) != 2 || mails[0].Header.Get("Message-Id") != mails[1].Header.Get("Message-Id") || mails[0].Header.Get("Date") != mails[1].Header.Get("Date") {
		t.Errorf("%v", mails)
	}
}

// TestPerDomain: no more mails than that to one domain at a time.
func TestPerDomain(t *testing.T) {
	s := newShop(t, smtp.None, func(c *Config) { c.Parallel, c.PerDomain = 6, 2 })
	var mu sync.Mutex
	now, most := 0, 0
	s.server.set(func(step, _ string) error {
		mu.Lock()
		switch step {
		case "mail":
			now++
			most = max(most, now)
		case "data":
			now--
		}
		mu.Unlock()
		if step == "rcpt" {
			time.Sleep(10 * time.Millisecond)
		}
		return nil
	})
	o := s.Owe(receipt(), receipt(), receipt(), receipt(), receipt(), receipt(), receipt(), receipt())
	eventually(t, "the mails are sent", s.completed(o))
	if most != 2 {
		t.Errorf("%d at a time", most)
	}
}

// TestKilled: while the Component is killed, the service is away and the relay drops
// connections before and after it takes mails, none is lost; each has its own Message-ID,
// and more than one of a kind only where a relay got it twice.
func TestKilled(t *testing.T) {
	const mails = 400
	s := newShop(t, smtp.None, func(c *Config) { c.Parallel, c.PerDomain, c.Attempts = 8, 8, 1000 })
	rng := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex
	s.server.set(func(step, _ string) error {
		mu.Lock()
		defer mu.Unlock()
		switch n := rng.IntN(200); {
		case n == 0 && step == "rcpt":
			return code(450, "later")
		case n == 1 && step == "data":
			return errDrop
		case n == 2 && step == "data":
			return errTaken
		case step == "taken":
			return errDrop
		}
		return nil
	})
	ids := map[string]bool{}
	var outcomes []*txnpb.Outcome
	for range mails {
		o := s.Owe(receipt())
		outcomes = append(outcomes, o)
		ids["<rrts."+effects.Key{Cluster: effectstest.ID, Transaction: o.Id}.String()+"@shop.example>"] = true
	}
	done := func() bool {
		for _, o := range outcomes {
			if !s.completed(o)() {
				return false
			}
		}
		return true
	}
	for deadline := time.Now().Add(time.Minute); !done(); {
		if time.Now().After(deadline) {
			t.Fatal("not done within a minute")
		}
		mu.Lock()
		pause := time.Duration(rng.IntN(120)) * time.Millisecond
		mu.Unlock()
		time.Sleep(pause)
		s.comp.Stop()
		s.Down(true)
		s.Down(false)
		s.start()
	}
	got := map[string]int{}
	all, _ := s.server.received()
	for _, m := range all {
		got[m.Header.Get("Message-Id")]++
	}
	for id := range ids {
		if got[id] == 0 {
			t.Errorf("mail %s is missing", id)
		}
	}
	if len(got) != mails {
		t.Errorf("%d Message-IDs of %d mails", len(got), mails)
	}
	t.Logf("%d mails were taken %d times", mails, len(all))
}

// TestAddresses: who may give one, what is none, and that it can be opened for its user
// alone.
func TestAddresses(t *testing.T) {
	s := newShop(t, smtp.None, nil)
	for _, bad := range []string{"anna", "Anna <anna@home.example>", "anna@home.example, bob@home.example", "anna@home.example\r\nRCPT TO:<x@y>", "a b@home.example",
		strings.Repeat("a", 250) + "@b.example"} {
		if refused, err := s.comp.setAddress(t.Context(), 1, "Anna", bad); err != nil || refused == "" {
			t.Errorf("%q: %q, %v", bad, refused, err)
		}
	}
	if refused, err := s.comp.setAddress(t.Context(), 1, "Eve", "eve@home.example"); err != nil || refused != `there is no user "Eve"` {
		t.Errorf("%q, %v", refused, err)
	}
	sealed := s.comp.seal.seal(7, "x@y.example")
	if a, err := s.comp.seal.open(7, sealed); err != nil || a != "x@y.example" {
		t.Errorf("%q, %v", a, err)
	}
	if _, err := s.comp.seal.open(8, sealed); err == nil {
		t.Error("another user's address was opened")
	}
	s.address("Anna", "") // taken away
	s.Owe(receipt())
	if got := s.quarantined(); !strings.Contains(got, "has no address") {
		t.Error(got)
	}
}

// TestConfig: every fault is told at once, and templates that cannot be used keep the
// Component from starting.
func TestConfig(t *testing.T) {
	err := (&Config{Relay: "relay", Security: smtp.None, User: "u", Password: "p", From: "nobody"}).validate()
	for _, want := range []string{`relay is "relay", must be HOST:PORT`, "a password without security", `from is "nobody"`, "the key of addresses has 0 bytes"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	dir := t.TempDir()
	if _, err := loadTemplates(dir); err == nil || !strings.Contains(err.Error(), "there is no template in") {
		t.Error(err)
	}
	for name, text := range map[string]string{"a.subject": "{{.x", "b.subject": "b", "c.subject": "c", "c.txt": "\xff", "D.subject": "d"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	_, err = loadTemplates(dir)
	for _, want := range []string{"a.subject: template: a.subject:1: unclosed action", "template b has neither b.txt nor b.html", "c.txt: not UTF-8", `template "D": a name has`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
}

// TestTest: an operator's mail goes to a user or an address, and says what the relay said.
func TestTest(t *testing.T) {
	s := newShop(t, smtp.None, nil)
	ask := func(in *mailpb.TestRequest, role message.Role) (*mailpb.TestReply, message.Code) {
		r := &request{role: role, done: make(chan struct{})}
		s.comp.Test(message.Responder[*mailpb.TestReply]{Request: r}, in)
		<-r.done
		return r.reply, r.code
	}
	if reply, _ := ask(&mailpb.TestRequest{PublicName: "Anna"}, message.RoleOperator); reply == nil || reply.Refused != "" || reply.Relay != s.server.address {
		t.Errorf("%v", reply)
	}
	s.server.set(func(step, _ string) error {
		if step == "rcpt" {
			return code(550, "no such user")
		}
		return nil
	})
	if reply, _ := ask(&mailpb.TestRequest{Address: "x@y.example"}, message.RoleOperator); reply == nil || !strings.Contains(reply.Refused, "no such user") {
		t.Errorf("%v", reply)
	}
	if reply, _ := ask(&mailpb.TestRequest{}, message.RoleOperator); reply == nil || reply.Refused != "give a public name or an address" {
		t.Errorf("%v", reply)
	}
	if _, code := ask(&mailpb.TestRequest{Address: "x@y.example"}, message.RoleClient); code != message.Denied {
		t.Errorf("a client: %v", code)
	}
}

// request is one whose answer is looked at.
type request struct {
	role  message.Role
	reply *mailpb.TestReply
	code  message.Code
	done  chan struct{}
}

func (r *request) Envelope() *message.Envelope { return &message.Envelope{Role: r.role} }

func (r *request) Reply(m message.Message) {
	r.reply = m.(*mailpb.TestReply)
	close(r.done)
}

func (r *request) Fail(code message.Code, _ string) {
	r.code = code
	close(r.done)
}
