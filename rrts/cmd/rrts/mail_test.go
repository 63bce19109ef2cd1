package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/mail"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/emersion/go-smtp"

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

// TestMails: transactions owe mails while the SFUs are killed, the one that leads and the
// one that sends among them. Every committed transaction's mail comes, each under a
// Message-ID of its own; no other comes; and all SFUs agree in the end.
func TestMails(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &post{rng: rand.New(rand.NewPCG(7, 7)), taken: map[string]int{}}
	srv := smtp.NewServer(p)
	srv.Domain, srv.ReadTimeout, srv.WriteTimeout = "post.test", 10*time.Second, 10*time.Second
	go srv.Serve(ln)
	defer srv.Close()

	templates := t.TempDir()
	for name, text := range map[string]string{"receipt.subject": "Order {{.order}}", "receipt.txt": "Thank you, {{.to}}.\n"} {
		if err := os.WriteFile(filepath.Join(templates, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	a := newArena(t, 3, func(c *arena.Config) {
		m := &c.Settings.Mail
		m.Relay, m.Security, m.From, m.Templates, m.ClientTemplates = ln.Addr().String(), "none", "Shop <shop@shop.example>", templates, []string{"receipt"}
	})
	ctx := run(t, a)
	c := newUser(ctx, t, a)
	name := c.Session().PublicName

	dir := a.ConfigDir(0)
	address := exec.Command(filepath.Join(arenatest.Programs(t), "rrts"), "user", "address", "--config", dir, name)
	address.Stdin = strings.NewReader("anna@home.example\n")
	if out, err := address.CombinedOutput(); err != nil || !bytes.Contains(out, []byte(": ok")) {
		t.Fatalf("%v: %s", err, out)
	}
	if test := must(t, "mail", "test", "--config", dir, name); test["taken"] != true || test["relay"] != ln.Addr().String() {
		t.Fatalf("%v", test)
	}
	p.mu.Lock()
	clear(p.taken)
	p.mu.Unlock()

	ids := submitMails(ctx, t, a, c, name)
	deadline, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, tx := range ids {
		if o, err := c.Completed(deadline, tx.Id); err != nil {
			t.Fatalf("%v: %v", o, err)
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	repeated := 0
	for _, tx := range ids {
		id := fmt.Sprintf("-%016x%016x-0@shop.example>", tx.Id.Hi, tx.Id.Lo)
		found := 0
		for taken, n := range p.taken {
			if strings.HasSuffix(taken, id) {
				found++
				repeated += n - 1
			}
		}
		if found != 1 {
			t.Errorf("transaction %v: its mail came under %d Message-IDs", tx.Id, found)
		}
	}
	if len(p.taken) != len(ids) {
		t.Errorf("%d transactions owe mails, %d different ones came", len(ids), len(p.taken))
	}
	t.Logf("%d mails, %d of them taken twice", len(ids), repeated)
	if equal, detail, err := a.Agree(ctx); err != nil || !equal {
		t.Errorf("the SFUs do not agree: %s, %v", detail, err)
	}
}

// submitMails submits transactions that owe a mail each, and kills SFUs meanwhile.
func submitMails(ctx context.Context, t *testing.T, a *arena.Arena, c *client.Client, to string) []*txnpb.Transaction {
	const batches, perBatch = 3, 50
	var all []*txnpb.Transaction
	for batch := range batches {
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
