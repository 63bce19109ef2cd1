package login

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/argon2"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/token"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

func TestLoginNames(t *testing.T) {
	for _, tt := range []struct{ in, want, err string }{
		{"anna", "anna", ""},
		{"  Anna.B_C-1@Shop+x ", "anna.b_c-1@shop+x", ""},
		{"ab", "", "login: the login name has 2 characters, need 3 to 64"},
		{strings.Repeat("a", 65), "", "login: the login name has 65 characters, need 3 to 64"},
		{"an na", "", "login: character 3 of the login name is not a letter a-z, a digit or one of . _ - @ +"},
		{"änna", "", "login: character 1 of the login name is not a letter a-z, a digit or one of . _ - @ +"},
		{"anna\x00", "", "login: character 5 of the login name is not a letter a-z, a digit or one of . _ - @ +"},
		{"K\u212Aelvin", "", "login: character 2"}, // a Kelvin sign, whose lower case is a k
	} {
		got, err := normalize(tt.in)
		if got != tt.want && tt.err == "" || (err != nil) != (tt.err != "") || err != nil && !strings.HasPrefix(err.Error(), tt.err) {
			t.Errorf("%q: %q, %v; want %q, %s", tt.in, got, err, tt.want, tt.err)
		}
	}
}

func TestRulesForNewUsers(t *testing.T) {
	for _, tt := range []struct{ password, public, err string }{
		{"correct horse", "Anna", ""},
		{"pass wörter sind erlaubt ✓", "Anna Müller", ""},
		{"1234567", "Anna", "login: the password has 7 bytes, need 8 to 512"},
		{strings.Repeat("xy", 257), "Anna", "login: the password has 514 bytes, need 8 to 512"},
		{"ANNA@SHOP", "Anna", "login: the password is the login name"},
		{"aaaaaaaaaa", "Anna", "login: the password is one character again and again"},
		{"with\ttab in it", "Anna", "login: the password holds control characters or is not UTF-8"},
		{"correct horse", "", "login: the public name has 0 bytes, need 1 to 64"},
		{"correct horse", " Anna", "login: the public name begins or ends with a space"},
		{"correct horse", "Anna\u202e", "login: the public name holds characters that cannot be shown"},
		{"correct horse", "Anna@Shop", "login: the public name is the login name, which must stay secret"},
	} {
		err := checkPassword(tt.password, "anna@shop")
		if err == nil {
			err = checkPublicName(tt.public, "anna@shop")
		}
		if fmt.Sprint(err) != tt.err && (err != nil || tt.err != "") {
			t.Errorf("%q, %q: %v, want %s", tt.password, tt.public, err, tt.err)
		}
	}
}

func TestHashName(t *testing.T) {
	a := hashName(bytes.Repeat([]byte{1}, PepperSize), "anna")
	if len(a) != 32 || bytes.Equal(a, hashName(bytes.Repeat([]byte{2}, PepperSize), "anna")) || bytes.Equal(a, hashName(bytes.Repeat([]byte{1}, PepperSize), "anne")) {
		t.Error("the hash does not depend on pepper and name")
	}
}

func TestVerifier(t *testing.T) {
	c := cost{memoryKiB: 64, passes: 2}
	s := c.hash("correct horse", [saltSize]byte{1, 2, 3})
	if !strings.HasPrefix(s, "$argon2id$v=19$m=64,t=2,p=1$AQIDAAAAAAAAAAAAAAAAAA$") {
		t.Errorf("verifier %s", s)
	}
	v, err := parseVerifier(s)
	if err != nil || v.cost != c || !v.check("correct horse") || v.check("wrong horse") || v.check("") {
		t.Errorf("%+v, %v", v, err)
	}
	// The reference implementation's own example parameters, computed here by the library.
	want := argon2.IDKey([]byte("correct horse"), v.salt[:], 2, 64, 1, 32)
	if !bytes.Equal(want, v.hash[:]) {
		t.Error("the hash is not Argon2id's")
	}
	for name, bad := range map[string]string{
		"empty":           "",
		"another kind":    strings.Replace(s, "argon2id", "argon2i", 1),
		"another version": strings.Replace(s, "v=19", "v=16", 1),
		"much memory":     strings.Replace(s, "m=64", "m=4294967295", 1),
		"no memory":       strings.Replace(s, "m=64", "m=0", 1),
		"many passes":     strings.Replace(s, "t=2", "t=4000000", 1),
		"no pass":         strings.Replace(s, "t=2", "t=0", 1),
		"no lanes":        strings.Replace(s, "p=1", "p=0", 1),
		"short salt":      strings.Replace(s, "AQIDAAAAAAAAAAAAAAAAAA", "AQID", 1),
		"cut":             s[:len(s)-2],
		"not base64":      s[:len(s)-1] + "!",
	} {
		if _, err := parseVerifier(bad); err == nil {
			t.Errorf("%s: %s was accepted", name, bad)
		}
	}
}

func FuzzParseVerifier(f *testing.F) {
	f.Add(cost{memoryKiB: 8, passes: 1}.hash("x", [saltSize]byte{}))
	f.Add("$argon2id$v=19$m=19456,t=2,p=1$$")
	f.Fuzz(func(t *testing.T, s string) {
		v, err := parseVerifier(s)
		if err == nil && (v.cost.memoryKiB > maxMemoryKiB || v.cost.passes > maxPasses || v.lanes == 0) {
			t.Fatalf("%s asks for %+v", s, v.cost)
		}
	})
}

// TestLockout walks through the locks of one key.
func TestLockout(t *testing.T) {
	l := newLockout(3)
	now := time.Hour
	attempt := func(right bool) (time.Duration, bool) {
		wait, ok := l.begin(now, "k")
		if ok {
			l.end(now, "k", right, true)
		}
		return wait, ok
	}
	for i := range 3 {
		if _, ok := attempt(false); !ok {
			t.Fatalf("attempt %d is refused", i)
		}
	}
	for i, lock := range []time.Duration{1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300} {
		lock *= time.Second
		if wait, ok := l.begin(now, "k"); ok || wait != lock {
			t.Fatalf("lock %d: %v, %v, want %v", i, wait, ok, lock)
		}
		now += lock
		if _, ok := attempt(false); !ok {
			t.Fatalf("after lock %d", i)
		}
	}
	now += lockMost
	if _, ok := attempt(true); !ok {
		t.Fatal("the right password is refused")
	}
	if _, ok := attempt(false); !ok {
		t.Fatal("a right password does not clear")
	}
	// Time clears as well.
	attempt(false)
	attempt(false)
	if _, ok := l.begin(now, "k"); ok {
		t.Fatal("not locked")
	}
	now += forget + 1
	for i := range 3 {
		if _, ok := attempt(false); !ok {
			t.Fatalf("attempt %d long after", i)
		}
	}
}

// TestLockoutTogether: hurrying gains an attacker nothing.
func TestLockoutTogether(t *testing.T) {
	l := newLockout(3)
	begun := 0
	for range 100 {
		if _, ok := l.begin(0, "k"); ok {
			begun++
		}
	}
	if begun != together {
		t.Errorf("%d attempts at once", begun)
	}
	for range begun {
		l.end(0, "k", false, true)
	}
	now := lockMost
	begun = 0
	for range 100 {
		if _, ok := l.begin(now, "k"); ok {
			begun++
		}
	}
	if begun != 1 {
		t.Errorf("%d attempts at once after a lock", begun)
	}
	l.abort("k")
	if _, ok := l.begin(now, "k"); !ok {
		t.Error("an attempt that came to nothing still counts")
	}
	// A right password that must not clear does not.
	l.end(now, "k", true, false)
	if l.touch("k").wrong == 0 {
		t.Error("cleared")
	}
}

func TestLockoutIsBounded(t *testing.T) {
	l := newLockout(1)
	for i := range 2 * maxLockouts {
		l.begin(0, fmt.Sprint(i))
	}
	if len(l.entries) != maxLockouts || l.order.Len() != maxLockouts {
		t.Errorf("%d entries", len(l.entries))
	}
	l.end(0, "0", false, true) // forgotten meanwhile
	l.abort("1")
}

// bench is an engine.Host with a transaction service of a few users.
type bench struct {
	engine.Host
	mu      sync.Mutex
	users   []txnpb.User
	submits [][]byte
	answers []txnpb.State       // instead of executing, one for each submit
	spent   map[u128.Int]string // nonces, by id: the transaction that spent it
	passed  time.Duration
	log     bytes.Buffer
}

func (b *bench) SFU() uint16                  { return 2 }
func (b *bench) Ready(bool)                   {}
func (b *bench) Log() *slog.Logger            { return slog.New(slog.NewTextHandler(&b.log, nil)) }
func (b *bench) Now() time.Duration           { return time.Hour + b.passed }
func (b *bench) Caller(uint16) message.Caller { return service{b} }
func (b *bench) Go(name string, f func(ctx context.Context)) {
	if name == "login" { // the test rotates schemas itself
		f(context.Background())
	}
}

// service is what typed clients of it call through.
type service struct{ *bench }

func (b service) Call(_ context.Context, m *message.MethodDescriptor, _ uint16, body []byte) ([]byte, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch m.Number {
	case txnpb.TxnFindUserMethod:
		var q txnpb.UserQuery
		if err := q.Parse(body); err != nil {
			return nil, err
		}
		a := &txnpb.UserAnswer{}
		for i := range b.users {
			if q.Number != 0 && b.users[i].Number == q.Number || q.Number == 0 && bytes.Equal(b.users[i].LoginHash, q.LoginHash) {
				a.User = &b.users[i]
			}
		}
		return message.Marshal(a), nil
	case txnpb.TxnSubmitMethod:
		var in txnpb.SubmitBatch
		if err := in.Parse(body); err != nil {
			return nil, err
		}
		var tx txnpb.Transaction
		if err := tx.Parse(in.Submissions[0].Transaction); err != nil {
			return nil, err
		}
		if in.Submissions[0].Role == uint32(message.RoleSFU) {
			o := txnpb.Outcome{Id: tx.Id, State: txnpb.StateCommitted}
			switch content, ok := b.spent[tx.Id]; {
			case len(tx.Users)+len(tx.Accounts)+len(tx.Transfers) > 0:
				o.State = txnpb.StateRefused
			case ok && content != string(in.Submissions[0].Transaction):
				o.State = txnpb.StateIdReused
			}
			b.spent[tx.Id] = string(in.Submissions[0].Transaction)
			return message.Marshal(&txnpb.Outcomes{Outcomes: []txnpb.Outcome{o}}), nil
		}
		b.submits = append(b.submits, bytes.Clone(in.Submissions[0].Transaction))
		o := txnpb.Outcome{Id: tx.Id, State: txnpb.StateCommitted, UserNumbers: []uint64{77}}
		if len(b.answers) > 0 {
			o = txnpb.Outcome{Id: tx.Id, State: b.answers[0]}
			b.answers = b.answers[1:]
		} else if c := tx.Users[0]; c.Number != 0 {
			u := &b.users[0]
			u.Version++
			if c.Verifier != "" {
				u.Verifier = c.Verifier
			}
			if !c.KeepStanding {
				u.Disabled = c.Disabled
			}
			o.UserNumbers, o.Results = nil, &txnpb.Results{Exceptions: []txnpb.Exception{{Status: uint32(txnpb.UserStatusUpdated)}}}
		} else {
			b.users = append(b.users, txnpb.User{Number: 77, LoginHash: bytes.Clone(c.LoginHash), Verifier: c.Verifier, PublicName: c.PublicName, Role: c.Role, Version: 4})
		}
		return message.Marshal(&txnpb.Outcomes{Outcomes: []txnpb.Outcome{o}}), nil
	}
	return nil, message.Errorf(message.NoMethod, "")
}

var signer = ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))

func newLogin(t testing.TB, adjust ...func(*Config)) (*Login, *bench, *token.Keyring) {
	t.Helper()
	tokens, err := token.NewKeyring([16]byte{1}, bytes.Repeat([]byte{1}, token.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{Pepper: make([]byte, PepperSize), Cluster: [16]byte{1}, Signer: signer, Epoch: func() uint32 { return 3 }, Tokens: tokens, MemoryKiB: 8, Passes: 1, Wall: func() int64 { return 1_000 },
		Rand: rand.NewChaCha8([32]byte{})}
	for _, f := range adjust {
		f(&cfg)
	}
	l, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{spent: map[u128.Int]string{}}
	if err := l.Provision(b); err != nil {
		t.Fatal(err)
	}
	if err := l.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return l, b, tokens
}

// ask is a request of the login service and its answer.
type ask struct {
	env   message.Envelope
	reply message.Message
	code  message.Code
	text  string
}

func (a *ask) Envelope() *message.Envelope           { return &a.env }
func (a *ask) Reply(m message.Message)               { a.reply = m }
func (a *ask) Fail(code message.Code, detail string) { a.code, a.text = code, detail }

func (l *Login) ask(method uint16, role message.Role, m message.Message) *ask {
	a := &ask{env: message.Envelope{Service: loginpb.LoginService, Method: method, Role: role, Principal: 5, Body: message.Marshal(m)}}
	l.Serve([]message.Request{a})
	return a
}

var registration = loginpb.RegisterRequest{LoginName: "Anna@Shop", Password: "correct horse", PublicName: "Anna", Role: uint32(message.RoleClient), TransactionId: u128.From64(9)}

func TestRegisterAndLogin(t *testing.T) {
	l, b, tokens := newLogin(t)
	b.answers = []txnpb.State{txnpb.StateNotLeader, txnpb.StateUnknown, txnpb.StateOverloaded}
	a := l.ask(loginpb.LoginRegisterMethod, message.RoleOperator, &registration)
	if r, ok := a.reply.(*loginpb.RegisterReply); !ok || r.User != 77 || r.Refused != "" {
		t.Fatalf("%v %v %s", a.reply, a.code, a.text)
	}
	for i := range b.submits {
		if !bytes.Equal(b.submits[i], b.submits[0]) {
			t.Errorf("submission %d differs: it would be another transaction under the same id", i)
		}
	}
	if len(b.submits) != 4 {
		t.Errorf("%d submissions", len(b.submits))
	}
	l.ask(loginpb.LoginRegisterMethod, message.RoleOperator, &registration)
	if !bytes.Equal(b.submits[4], b.submits[0]) {
		t.Error("the same registration makes another transaction")
	}
	b.users = b.users[:1]

	a = l.ask(loginpb.LoginLoginMethod, message.RoleNone, &loginpb.LoginRequest{LoginName: "anna@SHOP", Password: "correct horse", Address: "10.0.0.1"})
	r, ok := a.reply.(*loginpb.LoginReply)
	if !ok || r.User != 77 || r.PublicName != "Anna" || r.ValidMillis != uint64(DefaultValidity.Milliseconds()) {
		t.Fatalf("%v %v %s", a.reply, a.code, a.text)
	}
	claims, err := tokens.Open(r.Token, 1_000)
	if err != nil || claims.User != 77 || claims.Role != message.RoleClient || claims.Version != 4 || claims.Issued != 1_000 || claims.Epoch != 3 ||
		claims.Expires != 1_000+int64(DefaultValidity) || claims.Session == [token.SessionSize]byte{} {
		t.Errorf("%+v, %v", claims, err)
	}

	for name, tt := range map[string]struct{ login, password string }{
		"wrong password": {"anna@shop", "wrong horse"},
		"unknown":        {"berta@shop", "correct horse"},
		"impossible":     {"?", "correct horse"},
	} {
		a := l.ask(loginpb.LoginLoginMethod, message.RoleNone, &loginpb.LoginRequest{LoginName: tt.login, Password: tt.password, Address: "10.0.0.1"})
		if a.code != message.Denied || a.text != errDenied.Detail {
			t.Errorf("%s: %v %s", name, a.code, a.text)
		}
	}
	b.users[0].Disabled = true
	if a := l.ask(loginpb.LoginLoginMethod, message.RoleNone, &loginpb.LoginRequest{LoginName: "anna@shop", Password: "correct horse"}); a.code != message.Denied {
		t.Errorf("a disabled user: %v", a.code)
	}
	b.users[0].Disabled, b.users[0].Verifier = false, "damaged"
	if a := l.ask(loginpb.LoginLoginMethod, message.RoleNone, &loginpb.LoginRequest{LoginName: "anna@shop", Password: "correct horse"}); a.code != message.Denied {
		t.Errorf("a damaged verifier: %v", a.code)
	}
	if log := b.log.String(); strings.Contains(strings.ToLower(log), "anna") || strings.Contains(log, "horse") || !strings.Contains(log, "verifier is damaged") {
		t.Errorf("log: %s", log)
	}
}

func TestRegisterRefusals(t *testing.T) {
	l, b, _ := newLogin(t)
	for want, spoil := range map[string]func(*loginpb.RegisterRequest){
		"login: the login name has 1 characters":       func(r *loginpb.RegisterRequest) { r.LoginName = "x" },
		"login: the password has 3 bytes":              func(r *loginpb.RegisterRequest) { r.Password = "abc" },
		"login: the public name has 0 bytes":           func(r *loginpb.RegisterRequest) { r.PublicName = "" },
		"login: role 4 is not one that a user can":     func(r *loginpb.RegisterRequest) { r.Role = uint32(message.RoleSFU) },
		"login: role 0 is not one that a user can":     func(r *loginpb.RegisterRequest) { r.Role = 0 },
		"login: transaction_id is missing: choose one": func(r *loginpb.RegisterRequest) { r.TransactionId = u128.Int{} },
	} {
		r := registration
		spoil(&r)
		a := l.ask(loginpb.LoginRegisterMethod, message.RoleOperator, &r)
		if reply, ok := a.reply.(*loginpb.RegisterReply); !ok || !strings.HasPrefix(reply.Refused, want) || reply.User != 0 {
			t.Errorf("%s: %v", want, a.reply)
		}
	}
	if len(b.submits) != 0 {
		t.Error("something was submitted")
	}
	for _, role := range []message.Role{message.RoleNone, message.RoleClient, message.RoleAuditor} {
		if a := l.ask(loginpb.LoginRegisterMethod, role, &registration); a.code != message.Denied {
			t.Errorf("role %d: %v", role, a.code)
		}
	}
	b.answers = []txnpb.State{txnpb.StateAborted}
	if a := l.ask(loginpb.LoginRegisterMethod, message.RoleOperator, &registration); a.reply.(*loginpb.RegisterReply).Refused != "login: aborted: " {
		t.Errorf("%v", a.reply)
	}
}

// TestEqualWork: a login name that nobody has costs the same check of a password.
// What is compared is the cost that is asked of Argon2, since time is noise.
func TestEqualWork(t *testing.T) {
	l, _, _ := newLogin(t, func(c *Config) { c.MemoryKiB, c.Passes = 4096, 2 })
	l.ask(loginpb.LoginRegisterMethod, message.RoleOperator, &registration)
	took := func(name string) time.Duration {
		in := seal(t, l, loginpb.LoginEnterMethod, &loginpb.Secrets{Nonce: nonce(1), LoginName: name, Password: "wrong horse"})
		start := time.Now()
		l.ask(loginpb.LoginEnterMethod, message.RoleNone, in)
		l.names, l.addresses = newLockout(freeByName), newLockout(freeByAddress)
		return time.Since(start)
	}
	// The least of many, in turns: a busy machine only ever adds.
	known, unknown := time.Hour, time.Hour
	for range 15 {
		known, unknown = min(known, took("anna@shop")), min(unknown, took("nobody@shop"))
	}
	if l.dummy.cost != l.cost || l.dummy.lanes != lanes {
		t.Errorf("the dummy costs %+v, a verifier %+v", l.dummy.cost, l.cost)
	}
	if ratio := float64(known) / float64(unknown); ratio < 0.5 || ratio > 2 {
		t.Errorf("a wrong password takes %v, an unknown name %v", known, unknown)
	}
}

func TestConfig(t *testing.T) {
	_, err := New(Config{Pepper: []byte("short"), MemoryKiB: 1, Passes: 100})
	for _, want := range []string{"Pepper is 5 bytes, need 32", "Tokens is missing", "Wall is missing", "MemoryKiB is 1, need 8 to 1048576", "Passes is 100, need 1 to 64"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func BenchmarkCheck(b *testing.B) {
	v, err := parseVerifier(cost{memoryKiB: DefaultMemoryKiB, passes: DefaultPasses}.hash("correct horse", [saltSize]byte{}))
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		v.check("correct horse")
	}
}
