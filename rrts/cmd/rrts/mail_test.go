package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

	"virtualservicesinc.com/comps/smtp/smtptest"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena"
	"virtualservicesinc.com/rrts/cmd/rrts/internal/arena/arenatest"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// post is a mail server that drops a connection now and then after it has taken a mail.
type post struct {
	mu    sync.Mutex
	rng   *rand.Rand
	taken map[string]int // Message-IDs
}

// NewSession implements smtp.Backend.
func (p *post) NewSession(c *smtp.Conn) (smtp.Session, error) { return &delivery{p, c}, nil }

type delivery struct {
	p *post
	c *smtp.Conn
}

func (d *delivery) Mail(string, *smtp.MailOptions) error { return nil }
func (d *delivery) Rcpt(string, *smtp.RcptOptions) error { return nil }
func (d *delivery) Reset()                               {}
func (d *delivery) Logout() error                        { return nil }

func (d *delivery) Data(r io.Reader) error {
	m, err := mail.ReadMessage(r)
	if err != nil {
		return err
	}
	d.p.mu.Lock()
	defer d.p.mu.Unlock()
	d.p.taken[m.Header.Get("Message-Id")]++
	if d.p.rng.IntN(30) == 0 {
		d.c.Conn().Close()
	}
	return nil
}

// relay is the mail server of a test.
type relay struct {
	address        string
	security       string
	user, password string
	ca             []byte
	kill           func()                // ends it as a crash would, and starts it again; nil: it stays
	taken          func() map[string]int // Message-IDs, and how often each came
}

// scripted is a relay that drops connections after it has taken a mail.
func scripted(t *testing.T) *relay {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &post{rng: rand.New(rand.NewPCG(7, 7)), taken: map[string]int{}}
	srv := smtp.NewServer(p)
	srv.Domain, srv.ReadTimeout, srv.WriteTimeout = "post.test", 10*time.Second, 10*time.Second
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return &relay{address: ln.Addr().String(), security: "none", taken: func() map[string]int {
		p.mu.Lock()
		defer p.mu.Unlock()
		return maps.Clone(p.taken)
	}}
}

// postfix is a real Postfix, which is killed.
func postfix(t *testing.T) *relay {
	p := smtptest.NewPostfix(t)
	return &relay{address: p.Address, security: "starttls", user: p.User, password: p.Password, ca: p.CA,
		kill: func() { p.Kill(); p.Start() },
		taken: func() map[string]int {
			all := map[string]int{}
			for _, m := range p.Mails() {
				all[m.Header.Get("Message-Id")]++
			}
			return all
		}}
}

// receipts is a directory of templates.
func receipts(t *testing.T) string {
	dir := t.TempDir()
	for name, text := range map[string]string{"receipt.subject": "Order {{.order}}", "receipt.txt": "Thank you, {{.to}}.\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestMails: transactions owe mails while the SFUs are killed, the one that leads and the
// one that sends among them. Every committed transaction's mail comes, each under a
// Message-ID of its own; no other comes; and all SFUs agree in the end. RRTS_MAILS is how
// many there are, 150 by default; with RRTS_POSTFIX the relay is a Postfix, which is killed,
// too.
func TestMails(t *testing.T) {
	mails := 150
	if n, err := strconv.Atoi(os.Getenv("RRTS_MAILS")); err == nil {
		mails = n
	}
	p := scripted(t)
	if os.Getenv("RRTS_POSTFIX") != "" {
		p = postfix(t)
	}
	ca := ""
	if p.ca != nil {
		ca = filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(ca, p.ca, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := newArena(t, 3, func(c *arena.Config) {
		m := &c.Settings.Mail
		m.Relay, m.Security, m.User, m.CA, m.From, m.Templates, m.ClientTemplates = p.address, p.security, p.user, ca, "Shop <shop@shop.example>", receipts(t), []string{"receipt"}
		m.Parallel, m.PerDomain = 8, 8
	})
	for i := range a.SFUs() {
		if p.password == "" {
			break
		}
		if err := os.WriteFile(filepath.Join(a.ConfigDir(i), "keys", a.Name(i), "relay.password"), []byte(p.password), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx := run(t, a)
	c := newUser(ctx, t, a)
	name := c.Session().PublicName

	dir := a.ConfigDir(0)
	address := exec.Command(filepath.Join(arenatest.Programs(t), "rrts"), "user", "address", "--config", dir, name)
	address.Stdin = strings.NewReader("anna@home.example\n")
	if out, err := address.CombinedOutput(); err != nil || !bytes.Contains(out, []byte(": ok")) {
		t.Fatalf("%v: %s", err, out)
	}
	test := must(t, "mail", "test", "--config", dir, name)
	if test["taken"] != true || test["relay"] != p.address {
		t.Fatalf("%v", test)
	}
	tried := fmt.Sprintf("<%v>", test["message_id"])

	ids := submitMails(ctx, t, a, c, name, mails, p.kill)
	deadline, cancel := context.WithTimeout(ctx, time.Minute+time.Duration(mails)*20*time.Millisecond)
	defer cancel()
	for _, tx := range ids {
		if o, err := c.Completed(deadline, tx.Id); err != nil {
			t.Fatalf("%v: %v", o, err)
		}
	}
	want := map[string]bool{}
	for _, tx := range ids {
		want[fmt.Sprintf("-%016x%016x-0@shop.example>", tx.Id.Hi, tx.Id.Lo)] = true
	}
	var missing, repeated, others int
	for { // a relay may deliver what it took a moment later
		missing, repeated, others = len(want), 0, 0
		came := map[string]bool{}
		for id, n := range p.taken() {
			switch _, key, _ := strings.Cut(id, "@"); {
			case id == tried:
			case !want[ending(id)] || key != "shop.example>" || came[ending(id)]:
				others++
			default:
				came[ending(id)] = true
				missing--
				repeated += n - 1
			}
		}
		if missing == 0 || deadline.Err() != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Logf("%d mails, %d missing, %d under another Message-ID, %d taken twice", len(ids), missing, others, repeated)
	if missing > 0 || others > 0 {
		t.Error("each transaction's mail must come under one Message-ID")
	}
	if equal, detail, err := a.Agree(ctx); err != nil || !equal {
		t.Errorf("the SFUs do not agree: %s, %v", detail, err)
	}
}

// TestMailCA: a relay whose certificate no authority of this machine has signed gets no
// mail, until the key ca names the one that has. A file without certificates keeps the SFU
// from starting, which says so.
func TestMailCA(t *testing.T) {
	relay := smtptest.New(t, smtptest.Config{})
	ca := filepath.Join(t.TempDir(), "ca.pem")
	a := newArena(t, 1, func(c *arena.Config) {
		m := &c.Settings.Mail
		m.Relay, m.Security, m.From, m.Templates = relay.Address, "starttls", "Shop <shop@shop.example>", receipts(t)
	})
	ctx := run(t, a)
	dir := a.ConfigDir(0)
	refused(t, "certificate signed by unknown authority", "mail", "test", "--config", dir, "anna@home.example")
	if taken, _ := relay.Taken(); len(taken) > 0 {
		t.Fatalf("the relay took %+v", taken)
	}

	if err := a.Stop(0); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "sfu", a.Name(0)+".toml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	text = bytes.Replace(text, []byte("\n# ca = "), fmt.Appendf(nil, "\nca = %q\n# ca = ", ca), 1)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ text, says string }{
		{"", "mail.ca: " + ca + " holds no certificate: write those of the authorities as PEM"},
		{string(relay.CA), ""},
	} {
		if err := os.WriteFile(ca, []byte(step.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := a.Start(0); err != nil {
			t.Fatal(err)
		}
		err := a.WaitControl(ctx, 0)
		if step.says == "" {
			if err != nil {
				t.Fatal(err)
			}
			continue
		}
		if log, _ := os.ReadFile(a.LogFile(0)); err == nil || !bytes.Contains(log, []byte(step.says)) {
			t.Fatalf("%v; want %q in\n%s", err, step.says, log)
		}
		_ = a.Kill(0) // it has ended
	}
	if test := must(t, "mail", "test", "--config", dir, "anna@home.example"); test["taken"] != true {
		t.Fatalf("%v", test)
	}
	if taken, _ := relay.Taken(); len(taken) != 1 || !taken[0].TLS {
		t.Fatalf("%+v", taken)
	}
}

// ending is a Message-ID without the cluster's id.
func ending(id string) string {
	_, rest, _ := strings.Cut(id, "-")
	return "-" + rest
}

// submitMails submits transactions that owe a mail each, and kills SFUs meanwhile, and the
// relay where that can be.
func submitMails(ctx context.Context, t *testing.T, a *arena.Arena, c *client.Client, to string, mails int, relay func()) []*txnpb.Transaction {
	perBatch := max(50, mails/60)
	var all []*txnpb.Transaction
	for batch := range (mails + perBatch - 1) / perBatch {
		victim := batch % a.SFUs()
		if batch%2 == 0 {
			leader, err := a.Leader(ctx)
			if err != nil {
				t.Fatal(err)
			}
			victim = leader
		}
		var wg sync.WaitGroup
		for i := range perBatch {
			tx := pay(c, 1)
			tx.Effects = []txnpb.Effect{{Service: "mail", Operation: "receipt", Arguments: []txnpb.Argument{client.Text("to", to), client.Integer("order", int64(batch*perBatch+i))}}}
			all = append(all, tx)
			wg.Go(func() {
				if o, err := c.Submit(ctx, tx); err != nil || o.Effects != 1 {
					t.Errorf("%v, %v", o, err)
				}
			})
		}
		if err := a.Kill(victim); err != nil {
			t.Fatal(err)
		}
		if relay != nil && batch%3 == 1 {
			relay()
		}
		wg.Wait()
		if err := a.Start(victim); err != nil {
			t.Fatal(err)
		}
		if err := a.WaitControl(ctx, victim); err != nil {
			t.Fatal(err)
		}
	}
	return all
}
