package gateway_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"math/big"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"virtualservicesinc.com/comps/gateway"
	"virtualservicesinc.com/comps/login"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/token"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/childpb"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/ledgerpb"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/mailpb"
	"virtualservicesinc.com/rrts/schema/monitorpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// ledgerAhead is how far the world's ledger time is ahead of wall time.
const ledgerAhead = 90 * time.Second

// world is a cluster as the edge sees it: some SFUs, each a real engine with a real
// gateway and login over real TLS, before one make-believe transaction service.
type world struct {
	t       testing.TB
	roots   *x509.CertPool
	cert    tls.Certificate
	cluster [16]byte
	tokens  *token.Keyring
	signer  ed25519.PrivateKey // of login schemas
	epoch   func() uint32
	wall    func() int64
	log     *logBook
	sfus    []*sfu
	// components are further ones of every SFU.
	components []func() (engine.Component, error)
	hosts      []engine.Host // of the make-believe transaction services

	mu       sync.Mutex
	rows     map[u128.Int]*row
	users    []txnpb.User
	changed  []txnpb.UserStanding // in the order of their changes
	spent    map[u128.Int]string  // nonces of logins
	csn      uint64
	twice    int // submissions of a row that stood already
	batches  [][]txnpb.Submission
	behave   func(s *txnpb.Submission, tx *txnpb.Transaction) (txnpb.State, bool) // a state instead of executing
	cutOff   atomic.Uint32                                                        // the SFU whose gateway reaches no leader
	fate     func(r message.Responder[*txnpb.Outcomes], in *txnpb.SubmitBatch) bool
	requests []string            // every body that reached the transaction service
	logins   map[uint16][]string // those that reached a login service, by method
	answer   txnpb.QueryAnswer

	happened  uint64 // events
	listening []listening
}

// row is what the world remembers of a transaction.
type row struct {
	content string
	outcome txnpb.Outcome
}

// sfu is one engine of the world.
type sfu struct {
	number  uint16
	address string
	admin   string
	engine  *engine.Engine
	gateway *gateway.Gateway
	stop    context.CancelFunc
	done    chan error
}

// overheard is a login service whose requests the world keeps, as a gateway that reads
// what it passes on would.
type overheard struct {
	engine.Component
	w *world
}

func (o *overheard) Serve(batch []message.Request) {
	o.w.mu.Lock()
	for _, r := range batch {
		e := r.Envelope()
		o.w.logins[e.Method] = append(o.w.logins[e.Method], string(e.Body))
	}
	o.w.mu.Unlock()
	o.Component.Serve(batch)
}

// logBook is a log that can be searched.
type logBook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logBook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, cluster: [16]byte{'t', 'e', 's', 't'}, rows: make(map[u128.Int]*row), spent: make(map[u128.Int]string), logins: make(map[uint16][]string), log: &logBook{},
		signer: ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize)), epoch: func() uint32 { return 1 },
		wall: func() int64 { return time.Now().UnixNano() }}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		IsCA: true, BasicConstraintsValid: true, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	w.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	w.roots = x509.NewCertPool()
	w.roots.AddCert(leaf)
	if w.tokens, err = token.NewKeyring(w.cluster, bytes.Repeat([]byte{7}, token.KeySize)); err != nil {
		t.Fatal(err)
	}
	return w
}

// start starts n SFUs.
func (w *world) start(n int, adjust ...func(*gateway.Config)) *world {
	w.t.Helper()
	var listeners []net.Listener
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		listeners = append(listeners, l)
		addresses = append(addresses, l.Addr().String())
	}
	for i, l := range listeners {
		w.startSFU(uint16(i+1), l, addresses, adjust...)
	}
	return w
}

func (w *world) startSFU(number uint16, l net.Listener, all []string, adjust ...func(*gateway.Config)) {
	w.t.Helper()
	registry, err := message.NewRegistry(&enginepb.Schema, &gatewaypb.Schema, &loginpb.Schema, &ledgerpb.Schema, &txnpb.Schema, &monitorpb.Schema, &mailpb.Schema)
	if err != nil {
		w.t.Fatal(err)
	}
	s := &sfu{number: number, address: l.Addr().String(), done: make(chan error, 1)}
	s.admin = filepath.Join(w.t.TempDir(), "admin")
	e, err := engine.New(engine.Config{SFU: number, Registry: registry, Incarnation: 1, DrainWithin: time.Second,
		Log: slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	if err != nil {
		w.t.Fatal(err)
	}
	s.engine = e
	cfg := gateway.Config{
		Listen:      func() ([]net.Listener, error) { return []net.Listener{l}, nil },
		ListenAdmin: func() (net.Listener, error) { return net.Listen("unix", s.admin) },
		Certificate: func() (*tls.Certificate, error) { return &w.cert, nil },
		Tokens:      w.tokens, Wall: func() int64 { return w.wall() }, Cluster: "test", ClusterID: w.cluster, Epoch: w.epoch,
		Gateways: func() []string { return all }, Own: []string{s.address}, MoveGrace: 500 * time.Millisecond,
	}
	for _, f := range adjust {
		f(&cfg)
	}
	add := func(construct func() (engine.Component, error)) {
		if err := e.Add(construct); err != nil {
			w.t.Fatal(err)
		}
	}
	add(func() (engine.Component, error) { return &ledgerComponent{world: w}, nil })
	add(func() (engine.Component, error) {
		l, err := login.New(login.Config{Pepper: make([]byte, login.PepperSize), Cluster: w.cluster, Signer: w.signer, Epoch: w.epoch,
			Tokens: w.tokens, MemoryKiB: 64, Passes: 1, Wall: func() int64 { return w.wall() }})
		return &overheard{l, w}, err
	})
	for _, construct := range w.components {
		add(construct)
	}
	add(func() (engine.Component, error) {
		g, err := gateway.New(cfg)
		s.gateway = g
		return g, err
	})
	ctx, cancel := context.WithCancel(context.Background())
	s.stop = cancel
	go func() { s.done <- e.Run(ctx) }()
	wait, end := context.WithTimeout(ctx, 5*time.Second)
	defer end()
	if err := e.WaitReady(wait); err != nil {
		w.t.Fatalf("SFU %d does not come up: %v\n%s", number, err, w.log)
	}
	w.sfus = append(w.sfus, s)
	w.t.Cleanup(func() {
		cancel()
		if err := <-s.done; err != nil {
			w.t.Errorf("SFU %d: %v", number, err)
		}
	})
}

// config is that of a client of all gateways.
func (w *world) config() client.Config {
	c := client.Config{RootCAs: w.roots, ClusterID: w.cluster, LoginKey: w.signer.Public().(ed25519.PublicKey), LoginName: "Till-1@Shop", Password: "correct horse",
		Logger: slog.New(slog.NewTextHandler(w.log, nil))}
	for _, s := range w.sfus {
		c.Gateways = append(c.Gateways, s.address)
	}
	return c
}

// register makes the user of config, as an operator at the first SFU does.
func (w *world) register() *world {
	w.t.Helper()
	c := w.operator(0)
	defer c.Close()
	r, err := c.Register(w.t.Context(), &loginpb.RegisterRequest{LoginName: "till-1@shop", Password: "correct horse",
		PublicName: "Till 1", Role: uint32(message.RoleClient), TransactionId: c.NewID()})
	if err != nil || r.User == 0 {
		w.t.Fatal(r, err)
	}
	return w
}

func (w *world) operator(i int) *client.Client {
	w.t.Helper()
	c, err := client.Open(w.t.Context(), client.Config{Gateways: []string{"unix:" + w.sfus[i].admin}})
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func (w *world) open(adjust ...func(*client.Config)) *client.Client {
	w.t.Helper()
	config := w.config()
	for _, f := range adjust {
		f(&config)
	}
	c, err := client.Open(w.t.Context(), config)
	if err != nil {
		w.t.Fatalf("%v\n%s", err, w.log)
	}
	w.t.Cleanup(func() { c.Close() })
	return c
}

// execute does with one submission what the transaction service would.
func (w *world) execute(s *txnpb.Submission) txnpb.Outcome {
	var tx txnpb.Transaction
	if err := tx.Parse(s.Transaction); err != nil || tx.Id.IsZero() {
		return txnpb.Outcome{State: txnpb.StateRefused, Reason: "malformed"}
	}
	w.mu.Lock()
	behave := w.behave
	w.mu.Unlock()
	if behave != nil {
		if state, instead := behave(s, &tx); instead {
			return txnpb.Outcome{Id: tx.Id, State: state}
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if u := w.userLocked(s.Principal); s.UserVersion != 0 && (u == nil || u.Version != s.UserVersion || u.Disabled) {
		return txnpb.Outcome{Id: tx.Id, State: txnpb.StateSessionOver}
	}
	if r := w.rows[tx.Id]; r != nil {
		w.twice++
		if r.content != string(s.Transaction) {
			return txnpb.Outcome{Id: tx.Id, State: txnpb.StateIdReused}
		}
		return r.outcome
	}
	w.csn++
	o := txnpb.Outcome{Id: tx.Id, State: txnpb.StateCommitted, Csn: w.csn,
		Results: &txnpb.Results{Timestamp: uint64(time.Now().Add(ledgerAhead).UnixNano()), Count: uint32(len(tx.Transfers) + len(tx.Users))}}
	for i, c := range tx.Users {
		if s.Role != uint32(message.RoleOperator) {
			return txnpb.Outcome{Id: tx.Id, State: txnpb.StateRefused, Reason: "only an operator may change users"}
		}
		if c.Number != 0 {
			u := w.userLocked(c.Number)
			u.Version++
			if c.Verifier != "" {
				u.Verifier = c.Verifier
			}
			if !c.KeepStanding {
				u.Disabled = c.Disabled
			}
			w.changed = append(w.changed, txnpb.UserStanding{Number: u.Number, Version: u.Version, Disabled: u.Disabled})
			o.Results.Exceptions = append(o.Results.Exceptions, txnpb.Exception{Index: uint32(i), Status: uint32(txnpb.UserStatusUpdated)})
			continue
		}
		if slices.ContainsFunc(w.users, func(u txnpb.User) bool { return bytes.Equal(u.LoginHash, c.LoginHash) }) {
			o.State, o.Reason = txnpb.StateAborted, "user 0: login_exists"
			o.Results.Exceptions = append(o.Results.Exceptions, txnpb.Exception{Index: uint32(i), Status: uint32(txnpb.UserStatusLoginExists)})
			continue
		}
		u := txnpb.User{Number: uint64(1000 + len(w.users)), LoginHash: bytes.Clone(c.LoginHash), PublicName: c.PublicName,
			Verifier: c.Verifier, Role: c.Role, Version: 1}
		w.users = append(w.users, u)
		o.UserNumbers = append(o.UserNumbers, u.Number)
	}
	w.rows[tx.Id] = &row{content: string(s.Transaction), outcome: o}
	return o
}

// spend does with the nonce of a login what the transaction service would.
func (w *world) spend(s *txnpb.Submission) txnpb.Outcome {
	w.mu.Lock()
	defer w.mu.Unlock()
	var tx txnpb.Transaction
	if err := tx.Parse(s.Transaction); err != nil {
		return txnpb.Outcome{State: txnpb.StateRefused, Reason: "malformed"}
	}
	content, ok := w.spent[tx.Id]
	if ok && content != string(s.Transaction) {
		return txnpb.Outcome{Id: tx.Id, State: txnpb.StateIdReused}
	}
	w.spent[tx.Id] = string(s.Transaction)
	return txnpb.Outcome{Id: tx.Id, State: txnpb.StateCommitted}
}

// ledgerComponent is the make-believe transaction service.
type ledgerComponent struct {
	world *world
	host  engine.Host
}

func (l *ledgerComponent) Name() string { return "txn" }
func (l *ledgerComponent) Services() []engine.Service {
	return []engine.Service{{Descriptor: &txnpb.TxnDescriptor}}
}
func (l *ledgerComponent) Provision(h engine.Host) error {
	l.host = h
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	l.world.hosts = append(l.world.hosts, h)
	return nil
}
func (l *ledgerComponent) Validate() error { return nil }
func (l *ledgerComponent) Start(context.Context) error {
	l.host.Hold(txnpb.TxnService, l.host.SFU(), 1)
	l.host.Ready(true)
	return nil
}

// Drain sends away who waits for events.
func (l *ledgerComponent) Drain(context.Context) error {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listening = slices.DeleteFunc(w.listening, func(q listening) bool {
		if q.at == l {
			q.r.Fail(message.Draining, "")
		}
		return q.at == l
	})
	return nil
}
func (l *ledgerComponent) Stop() {}

func (l *ledgerComponent) Serve(batch []message.Request) {
	for _, r := range batch {
		l.world.mu.Lock()
		l.world.requests = append(l.world.requests, string(r.Envelope().Body))
		l.world.mu.Unlock()
		txnpb.ServeTxn(l, r)
	}
}

func (l *ledgerComponent) Submit(r message.Responder[*txnpb.Outcomes], in *txnpb.SubmitBatch) {
	w := l.world
	if in.Submissions[0].Role == uint32(message.RoleSFU) {
		r.Reply(&txnpb.Outcomes{Outcomes: []txnpb.Outcome{w.spend(&in.Submissions[0])}})
		return
	}
	w.mu.Lock()
	fate := w.fate
	w.batches = append(w.batches, in.Submissions)
	w.mu.Unlock()
	if w.cutOff.Load() == uint32(l.host.SFU()) {
		r.Fail(message.NotLeader, "")
		return
	}
	if fate != nil && fate(r, in) {
		return
	}
	out := &txnpb.Outcomes{}
	for i := range in.Submissions {
		out.Outcomes = append(out.Outcomes, w.execute(&in.Submissions[i]))
	}
	r.Reply(out)
}

func (l *ledgerComponent) Status(r message.Responder[*txnpb.Outcome], in *txnpb.StatusRequest) {
	l.world.mu.Lock()
	defer l.world.mu.Unlock()
	if row := l.world.rows[in.Id]; row != nil {
		r.Reply(&row.outcome)
		return
	}
	r.Reply(&txnpb.Outcome{Id: in.Id})
}

func (l *ledgerComponent) Resolve(r message.Responder[*txnpb.Outcome], in *txnpb.StatusRequest) {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rows[in.Id] == nil {
		w.rows[in.Id] = &row{outcome: txnpb.Outcome{Id: in.Id, State: txnpb.StateAborted, Reason: "cancelled"}}
	}
	r.Reply(&w.rows[in.Id].outcome)
}

func (l *ledgerComponent) Read(r message.Responder[*txnpb.QueryAnswer], _ *txnpb.Query) {
	r.Reply(&l.world.answer)
}

func (l *ledgerComponent) AwaitEffects(r message.Responder[*txnpb.EffectsReady], in *txnpb.AwaitRequest) {
	r.Reply(&txnpb.EffectsReady{Version: in.Version})
}

// listening is a question for events that waits.
type listening struct {
	at *ledgerComponent
	r  message.Responder[*txnpb.EventsAnswer]
	in *txnpb.EventsRequest
}

// Events tells one event of each CSN that world.happen made.
func (l *ledgerComponent) Events(r message.Responder[*txnpb.EventsAnswer], in *txnpb.EventsRequest) {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	w.listening = append(w.listening, listening{l, r, in})
	w.tellLocked()
}

// happen makes an event.
func (w *world) happen() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.happened++
	w.tellLocked()
}

func (w *world) tellLocked() {
	w.listening = slices.DeleteFunc(w.listening, func(q listening) bool {
		a := &txnpb.EventsAnswer{Next: &txnpb.Position{Csn: w.happened}, End: true, Notes: w.answer.Notes}
		for csn := q.in.After.Csn + 1; csn <= w.happened; csn++ {
			a.Events = append(a.Events, txnpb.Event{Csn: csn, N: 1, Transfer: &ledgerpb.Transfer{}})
		}
		if len(a.Events) > 0 {
			q.r.Reply(a)
		}
		return len(a.Events) > 0
	})
}

func (l *ledgerComponent) FindUser(r message.Responder[*txnpb.UserAnswer], in *txnpb.UserQuery) {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.users {
		if in.Number != 0 && w.users[i].Number == in.Number || in.Number == 0 && bytes.Equal(w.users[i].LoginHash, in.LoginHash) {
			r.Reply(&txnpb.UserAnswer{User: &w.users[i]})
			return
		}
	}
	r.Reply(&txnpb.UserAnswer{})
}

func (l *ledgerComponent) Sessions(r message.Responder[*txnpb.SessionsAnswer], in *txnpb.SessionsRequest) {
	w := l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	a := &txnpb.SessionsAnswer{Instance: 1, Counter: uint64(len(w.changed)), Afresh: in.Instance != 1}
	if !a.Afresh {
		a.Users = slices.Clone(w.changed[in.Counter:])
	}
	for _, n := range in.Users {
		s := txnpb.UserStanding{Number: n}
		if u := w.userLocked(n); u != nil {
			s.Version, s.Disabled = u.Version, u.Disabled
		}
		a.Users = append(a.Users, s)
	}
	r.Reply(a)
}

func (w *world) userLocked(number uint64) *txnpb.User {
	for i := range w.users {
		if w.users[i].Number == number {
			return &w.users[i]
		}
	}
	return nil
}

// descriptors are all services of RRTS.
var descriptors = []*message.ServiceDescriptor{
	&enginepb.EngineDescriptor, &txnpb.TxnDescriptor, &txnpb.ReplicaDescriptor, &txnpb.MembersDescriptor, &txnpb.RosterKeeperDescriptor,
	&txnpb.BackupDescriptor,
	&loginpb.LoginDescriptor, &gatewaypb.GatewayDescriptor, &monitorpb.MonitorDescriptor, &childpb.ChildDescriptor, &mailpb.MailDescriptor,
}

// payment is a transaction under a fresh id.
func payment(c *client.Client) *txnpb.Transaction {
	return c.Transfer(u128.From64(1), u128.From64(2), u128.From64(1999), 1, 1)
}

// code returns the code of an error that a gateway or service gave.
func code(err error) message.Code {
	var e *message.Error
	if errors.As(err, &e) {
		return e.Code
	}
	return message.OK
}

// within waits until f, at most some seconds.
func within(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("%s: it does not happen", what)
		}
		time.Sleep(time.Millisecond)
	}
}

func contains(t testing.TB, text, part string) {
	t.Helper()
	if !strings.Contains(text, part) {
		t.Errorf("%q is not in:\n%s", part, text)
	}
}
