package login

import (
	"bytes"
	"crypto/ed25519"
	"strings"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/sealed"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// TestSchemas walks through the life of schemas: rotated on schedule and on demand, with
// overlap, bounded, and destroyed.
func TestSchemas(t *testing.T) {
	s := schemas{every: 10 * time.Minute, make: func(epoch uint64) (*sealed.Keys, error) {
		return sealed.NewKeys([16]byte{1}, 2, epoch, signer)
	}}
	now, wall := time.Hour, int64(5_000*time.Millisecond)
	tick := func(after, next time.Duration) {
		t.Helper()
		now += after
		if got, err := s.tick(now, wall); err != nil || got-now != next {
			t.Fatalf("the next tick is %v away, want %v (%v)", got-now, next, err)
		}
	}
	alive := func(epoch uint64, want bool) {
		t.Helper()
		if got := s.find(now, epoch) != nil; got != want {
			t.Fatalf("epoch %d is alive: %v, want %v", epoch, got, want)
		}
	}
	tick(0, 10*time.Minute)
	alive(5_000, true)
	tick(10*time.Minute, grace) // the wall clock stands still: epochs rise nevertheless
	if s.newest().Epoch != 5_001 {
		t.Fatalf("epoch %d", s.newest().Epoch)
	}
	alive(5_000, true)
	now += grace // no tick came: it is not used any more all the same
	alive(5_000, false)
	tick(0, 9*time.Minute)
	if len(s.former) != 0 {
		t.Error("keys outlived their time of grace")
	}
	if _, err := s.rotate(now, wall, false); err != nil {
		t.Fatal(err)
	}
	alive(5_001, true)
	tick(0, grace)
	if _, err := s.rotate(now, wall, true); err != nil {
		t.Fatal(err)
	}
	alive(5_001, false)
	alive(5_002, false)
	alive(5_003, true)
	for range 3 * maxFormer {
		if _, err := s.rotate(now, wall, false); err != nil {
			t.Fatal(err)
		}
	}
	if len(s.former) != maxFormer || s.newest().Epoch != 5_003+3*maxFormer {
		t.Errorf("%d former schemas, epoch %d", len(s.former), s.newest().Epoch)
	}
	alive(s.newest().Epoch-maxFormer, true)
	alive(s.newest().Epoch-maxFormer-1, false)
}

// seal seals secrets as a client does.
func seal(t testing.TB, l *Login, method uint16, s message.Message) *loginpb.SealedRequest {
	t.Helper()
	r := l.ask(loginpb.LoginSchemaMethod, message.RoleNone, &loginpb.SchemaRequest{}).reply.(*loginpb.SchemaReply)
	schema, err := sealed.Parse(r.Schema, signer.Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	binding := []byte("of this TLS session")
	b, err := schema.Seal(method, binding, message.Marshal(s))
	if err != nil {
		t.Fatal(err)
	}
	return &loginpb.SealedRequest{Sfu: uint32(b.SFU), Epoch: b.Epoch, Suite: b.Suite, Encapsulated: b.Encapsulated, Ciphertext: b.Ciphertext,
		Binding: binding, Address: "10.0.0.1"}
}

func nonce(n byte) []byte { return bytes.Repeat([]byte{n}, NonceSize) }

// reply returns the reply to a login, or nil.
func (a *ask) login() *loginpb.LoginReply {
	r, _ := a.reply.(*loginpb.LoginReply)
	return r
}

func TestEnter(t *testing.T) {
	l, b, tokens := newLogin(t)
	l.ask(loginpb.LoginRegisterMethod, message.RoleOperator, &registration)
	anna := loginpb.Secrets{Nonce: nonce(1), LoginName: "anna@SHOP", Password: "correct horse"}
	in := seal(t, l, loginpb.LoginEnterMethod, &anna)
	a := l.ask(loginpb.LoginEnterMethod, message.RoleNone, in)
	if r := a.login(); r == nil || r.User != 77 || len(r.Schema) > 0 {
		t.Fatalf("%v %v %s", a.reply, a.code, a.text)
	} else if claims, err := tokens.Open(r.Token, 1_000); err != nil || claims.User != 77 || claims.Version != 4 || claims.Epoch != 3 {
		t.Fatalf("%+v, %v", claims, err)
	}
	// The same bytes, and the same nonce sealed anew.
	for name, again := range map[string]*loginpb.SealedRequest{"the same": in, "the same nonce": seal(t, l, loginpb.LoginEnterMethod, &anna)} {
		if a := l.ask(loginpb.LoginEnterMethod, message.RoleNone, again); name == "the same" && (a.code != message.Denied || a.text != errReplayed.Detail) || a.login() != nil {
			t.Errorf("%s: %v %v %s", name, a.reply, a.code, a.text)
		}
	}
	anna.Nonce = nonce(2)
	for name, tt := range map[string]struct {
		spoil func(*loginpb.SealedRequest)
		code  message.Code
	}{
		"another binding":    {func(r *loginpb.SealedRequest) { r.Binding = nil }, message.Denied},
		"another ciphertext": {func(r *loginpb.SealedRequest) { r.Ciphertext[3] ^= 1 }, message.Denied},
		"another suite":      {func(r *loginpb.SealedRequest) { r.Suite++ }, message.Denied},
		"for another method": {func(r *loginpb.SealedRequest) { *r = *seal(t, l, loginpb.LoginChangePasswordMethod, &anna) }, message.Denied},
		"a short nonce": {func(r *loginpb.SealedRequest) {
			*r = *seal(t, l, loginpb.LoginEnterMethod, &loginpb.Secrets{Nonce: []byte("x"), LoginName: "anna@shop", Password: "correct horse"})
		}, message.Invalid},
	} {
		in := seal(t, l, loginpb.LoginEnterMethod, &anna)
		tt.spoil(in)
		if a := l.ask(loginpb.LoginEnterMethod, message.RoleNone, in); a.code != tt.code || a.reply != nil {
			t.Errorf("%s: %v %v %s", name, a.reply, a.code, a.text)
		}
	}
	// Sealed to keys that are gone: the answer holds others.
	old := seal(t, l, loginpb.LoginEnterMethod, &anna)
	if a := l.ask(loginpb.LoginRotateMethod, message.RoleOperator, &loginpb.RotateRequest{Destroy: true}); a.reply.(*loginpb.RotateReply).Epoch <= old.Epoch {
		t.Errorf("%v", a.reply)
	}
	elsewhere := seal(t, l, loginpb.LoginEnterMethod, &anna)
	elsewhere.Sfu++
	for name, in := range map[string]*loginpb.SealedRequest{"destroyed": old, "of another SFU": elsewhere} {
		r := l.ask(loginpb.LoginEnterMethod, message.RoleNone, in).login()
		if r == nil || len(r.Token) > 0 || !bytes.Equal(r.Schema, l.schemas.newest().Bytes()) {
			t.Errorf("%s: %v", name, r)
		}
	}
	// Equal answers.
	for name, s := range map[string]loginpb.Secrets{
		"wrong password": {Nonce: nonce(3), LoginName: "anna@shop", Password: "wrong horse"},
		"unknown":        {Nonce: nonce(4), LoginName: "berta@shop", Password: "correct horse"},
		"impossible":     {Nonce: nonce(5), LoginName: "?", Password: "correct horse"},
	} {
		if a := l.ask(loginpb.LoginEnterMethod, message.RoleNone, seal(t, l, loginpb.LoginEnterMethod, &s)); a.code != message.Denied || a.text != errDenied.Detail {
			t.Errorf("%s: %v %s", name, a.code, a.text)
		}
	}
	if len(b.spent) != 1 {
		t.Errorf("%d nonces were spent: who guesses must not fill the log", len(b.spent))
	}
	if log := b.log.String(); strings.Contains(strings.ToLower(log), "anna") || strings.Contains(log, "horse") {
		t.Errorf("log: %s", log)
	}
}

func TestChangePassword(t *testing.T) {
	l, b, _ := newLogin(t)
	l.ask(loginpb.LoginRegisterMethod, message.RoleOperator, &registration)
	change := func(n byte, old, fresh string) *ask {
		return l.ask(loginpb.LoginChangePasswordMethod, message.RoleNone, seal(t, l, loginpb.LoginChangePasswordMethod,
			&loginpb.Secrets{Nonce: nonce(n), LoginName: "anna@shop", Password: old, NewPassword: fresh}))
	}
	if a := change(1, "wrong horse", "battery staple"); a.code != message.Denied || a.text != errDenied.Detail {
		t.Errorf("with a wrong password: %v %s", a.code, a.text)
	}
	if a := change(2, "correct horse", "Anna@Shop"); a.code != message.Invalid {
		t.Errorf("to the login name: %v %s", a.code, a.text)
	}
	b.users[0].Disabled = true
	if a := change(3, "correct horse", "battery staple"); a.code != message.Denied {
		t.Errorf("of a disabled user: %v %s", a.code, a.text)
	}
	b.users[0].Disabled = false
	before := b.users[0].Version
	if a := change(4, "correct horse", "battery staple"); a.login() == nil || b.users[0].Version != before+1 {
		t.Fatalf("%v %s, version %d", a.code, a.text, b.users[0].Version)
	}
	if a := change(5, "correct horse", "another staple"); a.code != message.Denied {
		t.Errorf("with the old password: %v", a.code)
	}
	if v, err := parseVerifier(b.users[0].Verifier); err != nil || !v.check("battery staple") {
		t.Error("the new password is not the one that was asked for")
	}
}

func TestChangeUser(t *testing.T) {
	l, b, _ := newLogin(t)
	l.ask(loginpb.LoginRegisterMethod, message.RoleOperator, &registration)
	good := loginpb.ChangeUserRequest{User: 77, TransactionId: u128.From64(5)}
	for want, spoil := range map[string]func(*loginpb.ChangeUserRequest){
		"login: user is missing":           func(r *loginpb.ChangeUserRequest) { r.User = 0 },
		"login: the password has 3 bytes":  func(r *loginpb.ChangeUserRequest) { r.Password = "abc" },
		"login: role 4 is not one":         func(r *loginpb.ChangeUserRequest) { r.Role = uint32(message.RoleSFU) },
		"login: standing 3 is not known":   func(r *loginpb.ChangeUserRequest) { r.Standing = 3 },
		"login: transaction_id is missing": func(r *loginpb.ChangeUserRequest) { r.TransactionId = u128.Int{} },
	} {
		r := good
		spoil(&r)
		a := l.ask(loginpb.LoginChangeUserMethod, message.RoleOperator, &r)
		if reply, ok := a.reply.(*loginpb.ChangeUserReply); !ok || !strings.HasPrefix(reply.Refused, want) {
			t.Errorf("%s: %v", want, a.reply)
		}
	}
	submitted := len(b.submits)
	for _, role := range []message.Role{message.RoleNone, message.RoleClient, message.RoleAuditor} {
		if a := l.ask(loginpb.LoginChangeUserMethod, role, &good); a.code != message.Denied {
			t.Errorf("role %d: %v", role, a.code)
		}
		if a := l.ask(loginpb.LoginRotateMethod, role, &loginpb.RotateRequest{}); a.code != message.Denied {
			t.Errorf("role %d rotates: %v", role, a.code)
		}
	}
	if len(b.submits) != submitted {
		t.Error("something was submitted")
	}
	for _, tt := range []struct {
		name string
		r    loginpb.ChangeUserRequest
		want txnpb.UserChange
	}{
		{"sessions", loginpb.ChangeUserRequest{}, txnpb.UserChange{KeepStanding: true}},
		{"disable", loginpb.ChangeUserRequest{Standing: loginpb.StandingDisabled}, txnpb.UserChange{Disabled: true}},
		{"enable", loginpb.ChangeUserRequest{Standing: loginpb.StandingEnabled}, txnpb.UserChange{}},
		{"role", loginpb.ChangeUserRequest{Role: 3}, txnpb.UserChange{Role: 3, KeepStanding: true}},
	} {
		tt.r.User, tt.r.TransactionId = 77, u128.From64(5)
		a := l.ask(loginpb.LoginChangeUserMethod, message.RoleOperator, &tt.r)
		if r, ok := a.reply.(*loginpb.ChangeUserReply); !ok || r.Refused != "" {
			t.Fatalf("%s: %v %v %s", tt.name, a.reply, a.code, a.text)
		}
		var tx txnpb.Transaction
		if err := tx.Parse(b.submits[len(b.submits)-1]); err != nil {
			t.Fatal(err)
		}
		if tt.want.Number = 77; len(tx.Users) != 1 || tx.Users[0].String() != tt.want.String() {
			t.Errorf("%s: %v", tt.name, tx.Users)
		}
	}
	reset := loginpb.ChangeUserRequest{User: 77, Password: "battery staple", TransactionId: u128.From64(6)}
	l.ask(loginpb.LoginChangeUserMethod, message.RoleOperator, &reset)
	l.ask(loginpb.LoginChangeUserMethod, message.RoleOperator, &reset)
	if n := len(b.submits); !bytes.Equal(b.submits[n-1], b.submits[n-2]) {
		t.Error("the same reset makes another transaction")
	}
	if v, err := parseVerifier(b.users[0].Verifier); err != nil || !v.check("battery staple") {
		t.Error("the password was not reset")
	}
}

// TestSealedUsers: what an operator asks for is opened by the login service alone, does
// what it does unsealed, and no other method opens it.
func TestSealedUsers(t *testing.T) {
	l, b, _ := newLogin(t)
	in := seal(t, l, loginpb.LoginRegisterSealedMethod, &registration)
	for _, role := range []message.Role{message.RoleNone, message.RoleClient, message.RoleAuditor} {
		for _, method := range []uint16{loginpb.LoginRegisterSealedMethod, loginpb.LoginChangeUserSealedMethod} {
			if a := l.ask(method, role, in); a.code != message.Denied {
				t.Errorf("role %d, method %d: %v", role, method, a.code)
			}
		}
	}
	if a := l.ask(loginpb.LoginChangeUserSealedMethod, message.RoleOperator, in); a.code != message.Denied || len(b.submits) != 0 {
		t.Errorf("a registration as a change: %v %s", a.code, a.text)
	}
	a := l.ask(loginpb.LoginRegisterSealedMethod, message.RoleOperator, in)
	if r, ok := a.reply.(*loginpb.RegisterReply); !ok || r.User != 77 || r.Refused != "" || len(r.Schema) > 0 {
		t.Fatalf("%v %v %s", a.reply, a.code, a.text)
	}
	l.ask(loginpb.LoginRegisterMethod, message.RoleOperator, &registration)
	if !bytes.Equal(b.submits[0], b.submits[1]) {
		t.Error("a registration that was sealed makes another transaction than one that was not")
	}
	reset := loginpb.ChangeUserRequest{User: 77, Password: "battery staple", TransactionId: u128.From64(6)}
	change := seal(t, l, loginpb.LoginChangeUserSealedMethod, &reset)
	a = l.ask(loginpb.LoginChangeUserSealedMethod, message.RoleOperator, change)
	if r, ok := a.reply.(*loginpb.ChangeUserReply); !ok || r.Refused != "" {
		t.Fatalf("%v %v %s", a.reply, a.code, a.text)
	}
	if v, err := parseVerifier(b.users[0].Verifier); err != nil || !v.check("battery staple") {
		t.Error("the password was not reset")
	}
	for _, method := range []uint16{loginpb.LoginRegisterSealedMethod, loginpb.LoginChangeUserSealedMethod} {
		if a := l.ask(method, message.RoleOperator, seal(t, l, method, &loginpb.Secrets{Nonce: []byte{0xff}, LoginName: "\xff"})); a.code == message.OK && a.reply == nil {
			t.Errorf("method %d of something else: no answer", method)
		}
	}
	// The keys are gone: both answer with the schema that follows.
	if _, err := l.schemas.rotate(l.host.Now(), l.cfg.Wall(), true); err != nil {
		t.Fatal(err)
	}
	want := l.schemas.newest().Bytes()
	if r, ok := l.ask(loginpb.LoginRegisterSealedMethod, message.RoleOperator, in).reply.(*loginpb.RegisterReply); !ok || !bytes.Equal(r.Schema, want) {
		t.Errorf("a registration under a schema that is gone: %v", r)
	}
	if r, ok := l.ask(loginpb.LoginChangeUserSealedMethod, message.RoleOperator, change).reply.(*loginpb.ChangeUserReply); !ok || !bytes.Equal(r.Schema, want) {
		t.Errorf("a change under a schema that is gone: %v", r)
	}
}

// FuzzEnter: whatever comes sealed or not, it gets one answer, nobody is let in who does
// not know the password, and nobody changes users who is no operator.
func FuzzEnter(f *testing.F) {
	l, b, _ := newLogin(f)
	l.ask(loginpb.LoginRegisterMethod, message.RoleOperator, &registration)
	methods := []uint16{loginpb.LoginEnterMethod, loginpb.LoginChangePasswordMethod, loginpb.LoginRegisterSealedMethod, loginpb.LoginChangeUserSealedMethod}
	secrets := message.Marshal(&loginpb.Secrets{Nonce: nonce(9), LoginName: "anna@shop", Password: "wrong horse"})
	f.Add(secrets, []byte(nil), uint32(2), uint32(0), uint8(0), false)
	f.Add(message.Marshal(&loginpb.Secrets{Nonce: nonce(9), NewPassword: "x"}), []byte("x"), uint32(2), uint32(1), uint8(1), false)
	f.Add([]byte("not a message"), []byte("of this TLS session"), uint32(3), uint32(2), uint8(1), false)
	f.Add(message.Marshal(&loginpb.RegisterRequest{LoginName: "berta@shop", Password: "battery staple", PublicName: "Berta", Role: 1, TransactionId: u128.From64(1)}),
		[]byte(nil), uint32(2), uint32(0), uint8(2), true)
	f.Add(message.Marshal(&loginpb.ChangeUserRequest{User: 77, Role: 3, TransactionId: u128.From64(2)}), []byte(nil), uint32(2), uint32(1), uint8(3), true)
	schema := l.schemas.newest()
	anna := b.users[0]
	f.Fuzz(func(t *testing.T, text, binding []byte, sfu, suite uint32, kind uint8, operator bool) {
		if bytes.Contains(text, []byte("correct horse")) {
			t.Skip("whoever knows the password may log in")
		}
		method, role := methods[int(kind)%len(methods)], message.RoleNone
		if operator {
			role = message.RoleOperator
		}
		in := &loginpb.SealedRequest{Sfu: sfu, Epoch: schema.Epoch, Suite: suite, Encapsulated: text, Ciphertext: text, Binding: binding}
		if box, err := schema.Seal(method, binding, text); err == nil && suite < 8 { // otherwise the bytes as they are
			in.Suite, in.Encapsulated, in.Ciphertext = box.Suite, box.Encapsulated, box.Ciphertext
		}
		submitted := len(b.submits)
		a := l.ask(method, role, in)
		if (a.reply == nil) == (a.code == message.OK) {
			t.Fatalf("%v %v %s", a.reply, a.code, a.text)
		}
		if r := a.login(); r != nil && len(r.Token) > 0 {
			t.Fatalf("let in: %v", r)
		}
		if len(b.submits) > submitted && !(operator && kind%4 >= 2) {
			t.Fatalf("method %d with role %d changes users", method, role)
		}
		l.names, l.addresses = newLockout(freeByName), newLockout(freeByAddress)
		b.users, b.submits = []txnpb.User{anna}, nil
		b.log.Reset()
	})
}
