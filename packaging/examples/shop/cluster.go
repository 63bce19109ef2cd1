package main

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/config"
	"virtualservicesinc.com/rrts/config/genesis"
	"virtualservicesinc.com/rrts/freeport"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/datasourcepb"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/mailpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// The shop's accounts in ledger 978, euros in cents. What the provider owes stands on
// clearing, what it has paid out on bank and fees, what was sold on merchant.
var (
	clearing, bank, fees = u128.From64(1001), u128.From64(1002), u128.From64(1003)
	merchant             = u128.From64(2001)
)

const ledger = 978

// cluster is three SFUs as processes of this machine.
type cluster struct {
	dir, programs string
	kit           *config.ClientKit
	sfus          []*sfu
}

type sfu struct {
	name, config, control string
	cmd                   *exec.Cmd
	log                   string
}

// newCluster makes keys and configuration of a cluster, as rrts init does for a real one:
// what stands in /etc/rrts there stands in a directory for each SFU here.
func newCluster(dir, programs, relay string) (*cluster, error) {
	programs, err := filepath.Abs(programs)
	if err != nil {
		return nil, err
	}
	for _, program := range []string{"rrtsd", "rrts-odbc"} {
		if _, err := os.Stat(filepath.Join(programs, program)); err != nil {
			return nil, fmt.Errorf("%w: build it with: make build (rrts-odbc needs: apt install gcc libc6-dev unixodbc-dev)", err)
		}
	}
	c := &cluster{dir: dir, programs: programs}
	spec := genesis.Spec{Name: "shop", Carrier: config.UDP} // UDP on loopback stands in for the two networks
	for _, name := range []string{"alpha", "bravo", "carol"} {
		s := &sfu{name: name, config: filepath.Join(dir, "etc", name), log: filepath.Join(dir, name+".log")}
		run := filepath.Join(dir, "run", name)
		s.control = filepath.Join(run, name, "control.sock")
		var ports [3]uint16 // two of UDP and one of TCP
		for i := range ports {
			if ports[i], err = freeport.Take(); err != nil {
				return nil, err
			}
		}
		local := netip.AddrFrom4([4]byte{127, 0, 0, 1})
		g := genesis.SFU{Name: name, Machine: name, UDPA: netip.AddrPortFrom(local, ports[0]), UDPB: netip.AddrPortFrom(local, ports[1]),
			Gateways: []string{fmt.Sprintf("127.0.0.1:%d", ports[2])}}
		g.Settings.StateDir = filepath.Join(dir, "state", name)
		g.Settings.Mail = config.MailSettings{Relay: relay, Security: "none", From: "Shop <shop@shop.example>", Templates: filepath.Join(dir, "templates"),
			ClientTemplates: []string{"receipt"}, Parallel: 4, PerDomain: 4}
		spec.SFUs = append(spec.SFUs, g)
		spec.Machines = append(spec.Machines, config.Machine{Name: name, RunDir: run})
		if err := errors.Join(os.MkdirAll(g.Settings.StateDir, 0o700), os.MkdirAll(filepath.Dir(s.control), 0o700), genesis.Birth(g.Settings.StateDir)); err != nil {
			return nil, err
		}
		c.sfus = append(c.sfus, s)

	}
	material, err := genesis.Create(spec)
	if err != nil {
		return nil, err
	}
	c.kit = material.Kit
	// The drivers of databases run under a user of their own, who has to come to the program
	// and to the file.
	database := filepath.Join(dir, "database")
	program, err := os.ReadFile(filepath.Join(programs, "rrts-odbc"))
	if err := errors.Join(err, os.Chmod(dir, 0o755), os.Mkdir(database, 0o700), os.Chmod(database, 0o777), os.WriteFile(c.odbc(), program, 0o755)); err != nil {
		return nil, err
	}
	files := map[string]string{
		filepath.Join(dir, "templates", "receipt.subject"): "Your {{.order}}\n",
		filepath.Join(dir, "templates", "receipt.txt"):     "Dear {{.to}},\n\nthank you for {{.order}}. That is {{.amount}} EUR.\n",
	}
	for _, s := range c.sfus {
		if err := material.WriteMachine(s.config, s.name, genesis.WriteOptions{}); err != nil {
			return nil, err
		}
		files[filepath.Join(s.config, "datasource", "shop.toml")] = dataSource(filepath.Join(database, "shop.db"))
		files[filepath.Join(s.config, "payment", "sandbox.toml")] = paymentProvider(filepath.Join(dir, "provider"))
	}
	for path, text := range files {
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o640)); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// odbc is where the program with the drivers is.
func (c *cluster) odbc() string { return filepath.Join(c.dir, "rrts-odbc") }

// dataSource is datasource/shop.toml. A constraint refuses what the shop does not sell.
func dataSource(file string) string {
	return `connection = "Driver=SQLite3;StepAPI=1;Timeout=10000;JournalMode=WAL;Database=` + file + `"
startup = ["CREATE TABLE IF NOT EXISTS orders (number TEXT NOT NULL, article TEXT NOT NULL CHECK (article <> 'unicorn'), cents INTEGER NOT NULL, cancelled INTEGER NOT NULL DEFAULT 0)"]
connections = 1
nontransactional = "none"
fail_on = ["HY000/19"]

[[statement]]
name = "add-order"
sql = "INSERT INTO orders (number, article, cents) VALUES (?, ?, ?)"
parameters = ["number text(32)", "article text(32)", "cents integer"]
rows = 1

[[statement]]
name = "cancel-order"
sql = "UPDATE orders SET cancelled = 1 WHERE number = ?"
parameters = ["number text(32)"]
rows = 1

[[statement]]
name = "orders"
sql = "SELECT number, cents, cancelled FROM orders"
columns = ["number text(32)", "cents integer", "cancelled integer"]
`
}

// paymentProvider is payment/sandbox.toml.
func paymentProvider(books string) string {
	return fmt.Sprintf(`kind = "sandbox"
currency = "eur"
ledger = %d
code = 7
clearing = "%v"
settled = "%v"
fees = "%v"
timeout = "500ms"
poll = "1s"

[sandbox]
books = %q
settle_after = "1s"
`, ledger, clearing, bank, fees, books)
}

// start starts SFU i.
func (c *cluster) start(i int) error {
	s := c.sfus[i]
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	s.cmd = exec.Command(filepath.Join(c.programs, "rrtsd"), "--config", s.config, s.name)
	s.cmd.Env = append(os.Environ(), "NOTIFY_SOCKET=", "CREDENTIALS_DIRECTORY=", "RRTS_ODBC="+c.odbc())
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return s.cmd.Start()
}

// kill ends SFU i as a power failure does.
func (c *cluster) kill(i int) {
	if cmd := c.sfus[i].cmd; cmd != nil {
		cmd.Process.Kill()
		cmd.Wait()
		c.sfus[i].cmd = nil
	}
}

func (c *cluster) stop() {
	for i := range c.sfus {
		c.kill(i)
	}
}

// lastWords are the ends of the SFUs' logs.
func (c *cluster) lastWords() string {
	var all strings.Builder
	for _, s := range c.sfus {
		text, _ := os.ReadFile(s.log)
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		fmt.Fprintf(&all, "%s:\n  %s\n", s.name, strings.Join(lines[max(len(lines)-8, 0):], "\n  "))
	}
	return all.String()
}

// open connects to a cluster and prepares it: accounts, users, the table of the database.
func open(ctx context.Context, c *cluster) (s *shop, err error) {
	s = &shop{}
	defer func() {
		if err != nil && s.op != nil {
			s.Close()
		}
	}()
	// An operator comes in through the socket of an SFU on the same machine: it may take a
	// moment until that is there.
	if err := again(ctx, func() (err error) {
		s.op, err = client.Open(ctx, client.Config{Gateways: []string{"unix:" + c.sfus[2].control}})
		return err
	}); err != nil {
		return nil, err
	}
	tx := s.op.Transaction()
	for _, id := range []u128.Int{clearing, bank, fees, merchant} {
		tx.Accounts = append(tx.Accounts, ledgerpb.Account{Id: id, Ledger: ledger, Code: 1})
	}
	if _, err := s.op.Submit(ctx, tx); err != nil {
		return s, err
	}
	numbers := map[string]uint64{}
	for _, name := range []string{"Till", "Anna", "Bert"} {
		a, err := s.op.Register(ctx, &loginpb.RegisterRequest{LoginName: "login-of-" + strings.ToLower(name), Password: "password of " + name, PublicName: name,
			Role: uint32(message.RoleClient), TransactionId: s.op.NewID()})
		if err == nil && a.Refused != "" {
			err = errors.New(a.Refused)
		}
		if err != nil {
			return s, fmt.Errorf("user %s: %w", name, err)
		}
		numbers[name] = a.User
	}
	// The till may move the provider's and the shop's money.
	tx = s.op.Transaction()
	tx.Access = []txnpb.AccessChange{client.Grant(clearing, numbers["Till"], txnpb.AccessRightsDebit), client.Grant(merchant, numbers["Till"], txnpb.AccessRightsOwner)}
	if _, err := s.op.Submit(ctx, tx); err != nil {
		return s, err
	}
	if err := again(ctx, func() error {
		_, err := mailpb.MailClient{Caller: s.op}.SetAddress(ctx, &mailpb.SetAddressRequest{PublicName: "Anna", Address: "anna@home.example"})
		return err
	}); err != nil {
		return s, err
	}
	if err := again(ctx, func() error {
		_, err := datasourcepb.DatasourceClient{Caller: s.op.To(3)}.Init(ctx, &datasourcepb.InitRequest{Source: "shop"})
		return err
	}); err != nil {
		return s, err
	}
	if err := again(ctx, func() (err error) {
		s.provider, err = s.op.Provider(ctx, "sandbox")
		return err
	}); err != nil {
		return s, err
	}
	s.till, err = client.Open(ctx, client.Config{Gateways: c.kit.Gateways, RootCAs: c.kit.Pool(), ClusterID: [16]byte(c.kit.ID), LoginKey: c.kit.Signer(),
		LoginName: "login-of-till", Password: "password of Till"})
	return s, err
}

// again repeats what a cluster that has just begun may refuse.
func again(ctx context.Context, f func() error) error {
	for deadline := time.Now().Add(30 * time.Second); ; {
		err := f()
		if err == nil || time.Now().After(deadline) || ctx.Err() != nil {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
		}
	}
}
