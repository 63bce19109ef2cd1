package gateway_test

import (
	"context"
	"crypto/ed25519"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/sealed"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// ask sends a request and returns its answer.
func (r *raw) ask(call uint64, service, method uint16, m message.Message) message.Envelope {
	r.t.Helper()
	r.request(call, service, method, m)
	for {
		if e := r.next(); e.Call == call {
			return e
		}
	}
}

// binding is what the login of a raw client is bound to.
func (r *raw) binding() []byte {
	r.t.Helper()
	s := r.conn.ConnectionState()
	b, err := s.ExportKeyingMaterial(sealed.BindingLabel, nil, sealed.BindingSize)
	if err != nil {
		r.t.Fatal(err)
	}
	return b
}

// schema asks for a login schema.
func (r *raw) schema(signer ed25519.PublicKey) *sealed.Schema {
	r.t.Helper()
	var reply loginpb.SchemaReply
	e := r.ask(50, loginpb.LoginService, loginpb.LoginSchemaMethod, nil)
	if e.Kind != message.KindReply || reply.Parse(e.Body) != nil {
		r.t.Fatal(e)
	}
	s, err := sealed.Parse(reply.Schema, signer)
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

// sealLogin seals the login of the world's user.
func sealLogin(t testing.TB, s *sealed.Schema, method uint16, binding []byte) *loginpb.SealedRequest {
	t.Helper()
	b, err := s.Seal(method, binding, message.Marshal(&loginpb.Secrets{Nonce: []byte("sixteen bytes of"), LoginName: "till-1@shop", Password: "correct horse", NewPassword: "battery staple"}))
	if err != nil {
		t.Fatal(err)
	}
	return &loginpb.SealedRequest{Sfu: uint32(b.SFU), Epoch: b.Epoch, Suite: b.Suite, Encapsulated: b.Encapsulated, Ciphertext: b.Ciphertext}
}

func publicOf(k ed25519.PrivateKey) ed25519.PublicKey { return k.Public().(ed25519.PublicKey) }

// TestReplay: captured login bytes are refused, whoever sends them and wherever: on the
// same connection, on another one, and even where a gateway lies about the connection.
func TestReplay(t *testing.T) {
	w := newWorld(t).start(1).register()
	first := w.raw()
	in := sealLogin(t, first.schema(publicOf(w.signer)), loginpb.LoginEnterMethod, first.binding())
	if e := first.ask(1, loginpb.LoginService, loginpb.LoginEnterMethod, in); e.Kind != message.KindReply {
		t.Fatal(e)
	}
	if e := first.ask(2, gatewaypb.GatewayService, gatewaypb.GatewaySubmitMethod, &txnpb.Transaction{}); e.Kind != message.KindReply {
		t.Fatal("the login gave no session", e)
	}
	if e := first.ask(3, loginpb.LoginService, loginpb.LoginEnterMethod, in); e.Code != message.Denied || !strings.Contains(e.Detail, "used before") {
		t.Errorf("on the same connection: %v %s", e.Code, e.Detail)
	}
	second := w.raw()
	if e := second.ask(1, loginpb.LoginService, loginpb.LoginEnterMethod, in); e.Code != message.Denied || !strings.Contains(e.Detail, "does not open") {
		t.Errorf("on another connection: %v %s", e.Code, e.Detail)
	}
	if e := second.ask(2, loginpb.LoginService, loginpb.LoginChangePasswordMethod, in); e.Code != message.Denied || !strings.Contains(e.Detail, "does not open") {
		t.Errorf("as a change of the password: %v %s", e.Code, e.Detail)
	}
	// The gateway lies: it tells the login service what the first connection exported.
	lie := *in
	lie.Binding = first.binding()
	_, err := loginpb.LoginClient{Caller: w.hosts[0].Caller(0)}.Enter(t.Context(), &lie)
	if code(err) != message.Denied || !strings.Contains(err.Error(), "used before") {
		t.Errorf("through a lying gateway: %v", err)
	}
}

// TestChallenge: a client whose TLS library exports nothing binds its login to the
// challenge of its connection.
func TestChallenge(t *testing.T) {
	w := newWorld(t).start(1).register()
	hello := func(r *raw) []byte {
		var reply gatewaypb.HelloReply
		e := r.ask(40, gatewaypb.GatewayService, gatewaypb.GatewayHelloMethod, &gatewaypb.HelloRequest{Protocol: 2})
		if reply.Parse(e.Body) != nil || len(reply.Challenge) != 32 || reply.Protocol != 2 {
			t.Fatal(e)
		}
		return reply.Challenge
	}
	a, b := w.raw(), w.raw()
	challenge := hello(a)
	if other := hello(b); string(other) == string(challenge) || string(hello(a)) != string(challenge) {
		t.Error("a challenge is not its connection's alone")
	}
	in := sealLogin(t, a.schema(nil), loginpb.LoginEnterMethod, challenge)
	in.Challenged = true
	if e := b.ask(1, loginpb.LoginService, loginpb.LoginEnterMethod, in); e.Code != message.Denied {
		t.Errorf("on another connection: %v", e)
	}
	if e := a.ask(1, loginpb.LoginService, loginpb.LoginEnterMethod, in); e.Kind != message.KindReply {
		t.Errorf("%v", e)
	}
}

// TestRotation: a login under an old schema gets the new one, and the SDK uses it by
// itself, also when the keys are destroyed all the time.
func TestRotation(t *testing.T) {
	w := newWorld(t).start(2).register()
	ops := []*client.Client{w.operator(0), w.operator(1)}
	defer ops[0].Close()
	defer ops[1].Close()
	r := w.raw()
	old := r.schema(publicOf(w.signer))
	for _, destroy := range []bool{false, true} {
		rotated, err := loginpb.LoginClient{Caller: ops[0]}.Rotate(t.Context(), &loginpb.RotateRequest{Destroy: destroy})
		if err != nil || rotated.Epoch <= old.Epoch || rotated.Sfu != uint32(old.SFU) {
			t.Fatal(rotated, err)
		}
		e := r.ask(1, loginpb.LoginService, loginpb.LoginEnterMethod, sealLogin(t, old, loginpb.LoginEnterMethod, r.binding()))
		var reply loginpb.LoginReply
		if e.Kind != message.KindReply || reply.Parse(e.Body) != nil {
			t.Fatal(e)
		}
		if destroy {
			newer, err := sealed.Parse(reply.Schema, publicOf(w.signer))
			if err != nil || newer.Epoch < rotated.Epoch || len(reply.Token) > 0 {
				t.Errorf("destroyed: %+v, %v", reply, err)
			}
		} else if len(reply.Token) == 0 {
			t.Errorf("in its time of grace: %v", e)
		}
	}
	// What was sealed for an SFU that is not there gets a schema of one that is.
	gone := sealLogin(t, old, loginpb.LoginEnterMethod, r.binding())
	gone.Sfu = 77
	var reply loginpb.LoginReply
	if e := r.ask(2, loginpb.LoginService, loginpb.LoginEnterMethod, gone); e.Kind != message.KindReply || reply.Parse(e.Body) != nil || len(reply.Schema) == 0 {
		t.Errorf("sealed for an SFU that is gone: %v", e)
	}

	ctx, stop := context.WithCancel(t.Context())
	var storm, keys sync.WaitGroup
	keys.Go(func() { // far faster than in earnest: every login meets it
		for ctx.Err() == nil {
			for _, op := range ops {
				if _, err := (loginpb.LoginClient{Caller: op}).Rotate(ctx, &loginpb.RotateRequest{Destroy: true}); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			}
			time.Sleep(2 * time.Millisecond)
		}
	})
	var logins atomic.Int64
	for range 4 {
		storm.Go(func() {
			for range 20 {
				config := w.config()
				config.SingleConnection = true
				c, err := client.Open(t.Context(), config)
				if err != nil {
					t.Error(err)
					return
				}
				logins.Add(1)
				c.Close()
			}
		})
	}
	storm.Wait()
	stop()
	keys.Wait()
	if logins.Load() != 80 {
		t.Errorf("%d of 80 logins", logins.Load())
	}
}

// TestHostileGateway: a client that has the login key gives its password to no gateway
// that hands out a schema of its own, or claims to know no sealed logins.
func TestHostileGateway(t *testing.T) {
	w := newWorld(t).start(1).register()
	stranger := ed25519.NewKeyFromSeed(make([]byte, ed25519.SeedSize))
	config := w.config()
	config.LoginKey = publicOf(stranger)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := client.Open(ctx, config); !errors.Is(err, sealed.ErrSchema) {
		t.Errorf("a schema of its own: %v", err)
	}
	if len(w.spent) != 0 || strings.Contains(w.log.String(), "login refused") {
		t.Error("something was sealed to it")
	}
}

func TestChangePassword(t *testing.T) {
	w := newWorld(t).start(2).register()
	c, other := w.open(), w.open()
	if err := c.ChangePassword(t.Context(), "short"); code(err) != message.Invalid {
		t.Errorf("a password that is too short: %v", err)
	}
	if err := c.ChangePassword(t.Context(), "battery staple"); err != nil {
		t.Fatal(err)
	}
	// The client goes on; the user's others have to be told.
	if _, err := c.Submit(t.Context(), payment(c)); err != nil {
		t.Error(err)
	}
	if _, err := other.Submit(t.Context(), payment(other)); code(err) != message.Denied {
		t.Errorf("with the old password: %v", err)
	}
	config := w.config()
	if _, err := client.Open(t.Context(), config); code(err) != message.Denied {
		t.Errorf("the old password: %v", err)
	}
	w.open(func(c *client.Config) { c.Password = "battery staple" })
}

// TestRevocation: a session ends within a second at every gateway, for transactions at
// once; its token begins no other one.
func TestRevocation(t *testing.T) {
	w := newWorld(t).start(3).register()
	op := w.operator(0)
	defer op.Close()
	first := w.open()
	held := first.Token()
	var all []*client.Client
	for i := range w.sfus {
		all = append(all, w.open(func(c *client.Config) {
			c.Gateways, c.SingleConnection, c.Token, c.LoginName, c.Password = []string{w.sfus[i].address}, true, held, "", ""
		}))
	}
	for i, c := range all {
		if _, err := c.Query(t.Context(), &txnpb.Query{Stale: true}); err != nil {
			t.Fatalf("gateway %d: %v", i, err)
		}
	}
	user := first.Session().User
	if r, err := op.ChangeUser(t.Context(), &loginpb.ChangeUserRequest{User: user, TransactionId: op.NewID()}); err != nil || r.Refused != "" {
		t.Fatal(r, err)
	}
	revoked := time.Now()
	if _, err := all[0].Submit(t.Context(), payment(all[0])); !errors.Is(err, client.ErrSession) {
		t.Errorf("a transaction: %v", err)
	}
	for i, c := range all[1:] {
		for {
			_, err := c.Query(t.Context(), &txnpb.Query{Stale: true})
			if errors.Is(err, client.ErrSession) {
				break
			}
			if time.Since(revoked) > time.Second {
				t.Fatalf("gateway %d serves after a second: %v", i+2, err)
			}
			time.Sleep(5 * time.Millisecond)
		}
	}
	t.Logf("revoked everywhere after %v", time.Since(revoked))
	for i := range w.sfus {
		config := w.config()
		config.Gateways, config.Token, config.LoginName, config.Password = []string{w.sfus[i].address}, held, "", ""
		if _, err := client.Open(t.Context(), config); !errors.Is(err, client.ErrSession) {
			t.Errorf("gateway %d takes the token: %v", i+1, err)
		}
	}
	// Who has the password is in again, and is not noticed to have been out.
	if _, err := first.Submit(t.Context(), payment(first)); err != nil {
		t.Error(err)
	}
	// A disabled user is out for good.
	if r, err := op.ChangeUser(t.Context(), &loginpb.ChangeUserRequest{User: user, Standing: loginpb.StandingDisabled, TransactionId: op.NewID()}); err != nil || r.Refused != "" {
		t.Fatal(r, err)
	}
	if _, err := first.Submit(t.Context(), payment(first)); code(err) != message.Denied {
		t.Errorf("a disabled user: %v", err)
	}
}

// TestEpochEndsSessions: a forced recovery raises the epoch, and no session of before it
// goes on.
func TestEpochEndsSessions(t *testing.T) {
	var epoch atomic.Uint32
	epoch.Store(1)
	w := newWorld(t)
	w.epoch = epoch.Load
	w.start(2).register()
	c := w.open()
	bare := w.open(func(o *client.Config) { o.Token, o.LoginName, o.Password = c.Token(), "", "" })
	old := c.Token()
	epoch.Store(2)
	within(t, "the session ends", func() bool {
		_, err := bare.Query(t.Context(), &txnpb.Query{Stale: true})
		return errors.Is(err, client.ErrSession)
	})
	within(t, "who can log in goes on in another session", func() bool {
		if _, err := c.Submit(t.Context(), payment(c)); err != nil {
			t.Fatal(err)
		}
		return len(c.Token()) > 0 && string(c.Token()) != string(old)
	})
}
