package gateway_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"virtualservicesinc.com/comps/gateway"
	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/message/token"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/sim/require"
)

// raw is a client that does what it likes.
type raw struct {
	t      testing.TB
	conn   *tls.Conn
	reader *frame.Reader
}

func (w *world) raw() *raw {
	w.t.Helper()
	c, err := tls.Dial("tcp", w.sfus[0].address, &tls.Config{RootCAs: w.roots, ServerName: "127.0.0.1"})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	return &raw{w.t, c, frame.NewReader(c, 64<<20)}
}

// signed returns a raw client with a session.
func (w *world) signed() *raw {
	w.t.Helper()
	r := w.raw()
	var nonce [token.NonceSize]byte
	rand.Read(nonce[:])
	sealed := w.tokens.Seal(token.Claims{User: 1000, Version: 1, Epoch: 1, Role: message.RoleClient, Expires: w.wall() + int64(time.Hour)}, nonce)
	r.request(1, gatewaypb.GatewayService, gatewaypb.GatewayHelloMethod, &gatewaypb.HelloRequest{Protocol: 1, Agent: "raw"})
	r.request(2, gatewaypb.GatewayService, gatewaypb.GatewayResumeMethod, &gatewaypb.ResumeRequest{Token: sealed})
	for range 2 {
		if e := r.next(); e.Kind != message.KindReply {
			w.t.Fatal(e)
		}
	}
	return r
}

func (r *raw) request(call uint64, service, method uint16, m message.Message) {
	r.t.Helper()
	e := message.Envelope{Kind: message.KindRequest, Service: service, Method: method, Call: call}
	if m != nil {
		e.Body = message.Marshal(m)
	}
	r.send(frame.Append(nil, &e))
}

func (r *raw) send(b []byte) {
	r.t.Helper()
	if _, err := r.conn.Write(b); err != nil {
		r.t.Fatal(err)
	}
}

func (r *raw) submit(call uint64) {
	r.request(call, gatewaypb.GatewayService, gatewaypb.GatewaySubmitMethod, &txnpb.Transaction{Id: u128.From64(call)})
}

func (r *raw) next() message.Envelope {
	r.t.Helper()
	e, err := r.read()
	if err != nil {
		r.t.Fatal(err)
	}
	return e
}

func (r *raw) read() (message.Envelope, error) {
	r.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	b, err := r.reader.Next()
	if err != nil {
		return message.Envelope{}, err
	}
	var e message.Envelope
	err = e.Parse(bytes.Clone(b))
	return e, err
}

// farewell reads up to the gateway's last word and returns it.
func (r *raw) farewell() (last gatewaypb.Closing) {
	r.t.Helper()
	for {
		e, err := r.read()
		if err != nil {
			if err != io.EOF {
				r.t.Errorf("instead of a clean end: %v", err)
			}
			return last
		}
		if e.Kind == message.KindNotice && e.Method == gatewaypb.GatewayClosedMethod {
			if err := last.Parse(e.Body); err != nil {
				r.t.Fatal(err)
			}
		}
	}
}

func TestBrokenProtocol(t *testing.T) {
	w := newWorld(t).start(1).register()
	long := binary.BigEndian.AppendUint32(nil, 1<<31)
	tests := []struct {
		name  string
		bytes []byte
		want  string
	}{
		{"length 0", []byte{0, 0, 0, 0}, "frame: malformed: length 0"},
		{"length over the bound", long, "frame: malformed: length 2147483648 is more than 4195328"},
		{"no Envelope", []byte{0, 0, 0, 3, 0xff, 0xff, 0xff}, "message: malformed: rrts.message.Envelope"},
		{"no kind", []byte{0, 0, 0, 2, 0x10, 5}, "gateway: a client sends requests only"},
		{"a reply", frame.Append(nil, &message.Envelope{Kind: message.KindReply, Call: 1}), "gateway: a client sends requests only"},
		{"a notice", frame.Append(nil, &message.Envelope{Kind: message.KindNotice, Service: 3, Method: 1}), "gateway: a client sends requests only"},
	}
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := w.signed()
			r.t = t
			r.submit(uint64(1000 + i))
			if e := r.next(); e.Kind != message.KindReply {
				t.Fatal(e)
			}
			r.send(tt.bytes)
			last := r.farewell()
			if message.Code(last.Code) != message.Invalid || !strings.Contains(last.Reason, tt.want) {
				t.Errorf("last word %v %q, want %q", message.Code(last.Code), last.Reason, tt.want)
			}
			within(t, "counted", func() bool { return status(t, w).BadFrames == uint64(i+1) })
		})
	}
	if n := strings.Count(w.log.String(), "it breaks the protocol"); n == 0 || n > len(tests) {
		t.Errorf("%d lines about %d clients", n, len(tests))
	}
	// Before the login even less is taken.
	r := w.raw()
	r.send(binary.BigEndian.AppendUint32(nil, 8<<10+1))
	if last := r.farewell(); !strings.Contains(last.Reason, "is more than 8192") {
		t.Errorf("last word %q", last.Reason)
	}
}

// TestGarbage: thousands of connections that speak no TLS, or not at all, cost
// counters, a few lines, no memory that stays, and no honest client anything.
func TestGarbage(t *testing.T) {
	w := newWorld(t).start(1).register()
	c := w.open()
	if _, err := c.Submit(t.Context(), payment(c)); err != nil {
		t.Fatal(err)
	}
	before := heap()
	const bad = 1500
	var open []net.Conn
	for i := range bad {
		conn, err := net.Dial("tcp", w.sfus[0].address)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, conn)
		switch i % 4 {
		case 0:
			fmt.Fprint(conn, "GET / HTTP/1.1\r\n\r\n")
		case 1:
			conn.Write([]byte{0x16, 3, 1, 0xff, 0xff, 1, 0, 0xff, 0xff}) // a ClientHello that never ends
		case 2:
			conn.Close()
		}
		if i%100 == 0 {
			if _, err := c.Submit(t.Context(), payment(c)); err != nil {
				t.Fatalf("an honest client among %d bad ones: %v", i, err)
			}
		}
	}
	within(t, "turned away", func() bool { return status(t, w).TurnedAway > 0 })
	if grown := heap() - before; grown > 64<<20 {
		t.Errorf("%d MiB for %d bad connections", grown>>20, bad)
	}
	for _, conn := range open {
		conn.Close()
	}
	within(t, "all counted and forgotten", func() bool {
		st := status(t, w)
		return st.FailedHandshakes+st.TurnedAway == bad && st.Connections == st.Sessions
	})
	if lines := strings.Count(w.log.String(), "\n"); lines > 400 {
		t.Errorf("%d lines in the log", lines)
	}
	if _, err := c.Submit(t.Context(), payment(c)); err != nil {
		t.Error(err)
	}
	w.open()
}

// TestCrowdedOut: connections that do not log in, from many addresses and more of them than
// there is room for, displace each other: who comes from elsewhere comes in.
func TestCrowdedOut(t *testing.T) {
	w := newWorld(t).start(1).register()
	const room, addresses = 1024, 5 // at most 256 of each address
	hold := func(from byte) net.Conn {
		d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, from)}}
		conn, err := d.Dial("tcp", w.sfus[0].address)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	var first net.Conn
	for i := range room {
		from := byte(10 + i%addresses)
		if i < 2*addresses {
			from = 10 // has more than any other
		}
		if c := hold(from); i == 0 {
			first = c
		}
	}
	within(t, "all there is room for", func() bool { return status(t, w).Connections >= room })
	c := w.open()
	if _, err := c.Submit(t.Context(), payment(c)); err != nil {
		t.Error(err)
	}
	// The oldest of the address that has most has given way, and nobody else.
	first.SetReadDeadline(time.Now().Add(5 * time.Second)) // half of what a handshake may take
	if _, err := first.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the oldest is still there: %v", err)
	}
	within(t, "no more than there is room for", func() bool {
		st := status(t, w)
		return st.Connections-st.Sessions <= room && st.Connections-st.Sessions >= room-5
	})
	// An address that has as many as any other makes no room for itself.
	before := status(t, w).TurnedAway
	for range 300 {
		hold(10)
	}
	within(t, "turned away", func() bool { return status(t, w).TurnedAway > before })
}

func heap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc + m.StackInuse)
}

// TestSlowReader: who asks and does not read is cut off with a reason, and others
// do not notice.
func TestSlowReader(t *testing.T) {
	w := newWorld(t).start(1).register()
	r := w.signed()
	// In one piece, which costs nothing to encode: what waits must reach its bound long
	// before its time is over, with the race detector too.
	w.answer = txnpb.QueryAnswer{Notes: []txnpb.Note{{Memo: strings.Repeat("m", 450<<10)}}}
	c := w.open()
	for i := range 120 {
		r.request(uint64(10+i), txnpb.TxnService, txnpb.TxnReadMethod, nil)
	}
	if _, err := c.Submit(t.Context(), payment(c)); err != nil {
		t.Fatal(err)
	}
	within(t, "cut off", func() bool { return status(t, w).SlowReaders == 1 })
	if last := r.farewell(); message.Code(last.Code) != message.Overloaded || !strings.Contains(last.Reason, "too many answers wait to be read") {
		t.Errorf("last word %v", last)
	}
	contains(t, w.log.String(), "client cut off: too much waits for it")
}

// TestSilentClient: who says nothing for three heartbeats is cut off; a Ping is
// enough to stay.
func TestSilentClient(t *testing.T) {
	w := newWorld(t).start(1, func(c *gateway.Config) { c.Heartbeat = 100 * time.Millisecond }).register()
	silent := w.signed()
	c := w.open()
	gw := c.Session().Gateway
	if last := silent.farewell(); message.Code(last.Code) != message.Expired || !strings.Contains(last.Reason, "send a Ping when idle") {
		t.Errorf("last word %v", last)
	}
	silent.conn.Close()
	time.Sleep(500 * time.Millisecond) // five heartbeats, in which the SDK says nothing else
	if st := status(t, w); st.Silent != 1 || st.Sessions != 2 || c.Session().Gateway != gw {
		t.Errorf("the SDK's client: %v", st)
	}
}

// TestWindow: more requests than the window get an answer at once, and nothing
// else happens to the connection.
func TestWindow(t *testing.T) {
	w := newWorld(t).start(1, func(c *gateway.Config) { c.Window = 10 }).register()
	release := make(chan struct{})
	w.fate = func(r message.Responder[*txnpb.Outcomes], in *txnpb.SubmitBatch) bool {
		go func() {
			<-release
			out := &txnpb.Outcomes{}
			for i := range in.Submissions {
				out.Outcomes = append(out.Outcomes, w.execute(&in.Submissions[i]))
			}
			r.Reply(out)
		}()
		return true
	}
	r := w.signed()
	for i := range 15 {
		r.submit(uint64(100 + i))
	}
	for range 5 {
		if e := r.next(); e.Kind != message.KindFailure || e.Code != message.Overloaded || e.Call < 110 {
			t.Fatal(e)
		}
	}
	close(release)
	for range 10 {
		if e := r.next(); e.Kind != message.KindReply || e.Call >= 110 {
			t.Fatal(e)
		}
	}
}

// TestBeforeLogin: what a connection without a session may do.
func TestBeforeLogin(t *testing.T) {
	w := newWorld(t).start(1).register()
	r := w.raw()
	r.submit(1)
	r.request(2, txnpb.TxnService, txnpb.TxnReadMethod, &txnpb.Query{})
	r.request(3, txnpb.ReplicaService, txnpb.ReplicaAppendMethod, nil)
	r.request(4, gatewaypb.GatewayService, gatewaypb.GatewayPingMethod, nil)
	for _, want := range []message.Code{message.Unsigned, message.Unsigned, message.NoMethod, message.OK} {
		if e := r.next(); e.Code != want {
			t.Errorf("call %d: %v, want %v", e.Call, e.Code, want)
		}
	}
	// A client cannot say who it is, nor where it comes from.
	body := message.Marshal(&loginpb.LoginRequest{LoginName: "till-1@shop", Password: "correct horse", Address: "spoofed"})
	r.send(frame.Append(nil, &message.Envelope{Kind: message.KindRequest, Service: loginpb.LoginService, Method: loginpb.LoginLoginMethod,
		Call: 5, Body: body, Principal: 1, Role: message.RoleOperator, From: 1}))
	if e := r.next(); e.Kind != message.KindReply {
		t.Fatal(e)
	}
	r.send(frame.Append(nil, &message.Envelope{Kind: message.KindRequest, Service: gatewaypb.GatewayService, Method: gatewaypb.GatewaySubmitMethod,
		Call: 6, Body: message.Marshal(&txnpb.Transaction{Id: u128.From64(6)}), Principal: 1, Role: message.RoleOperator, From: 1}))
	if e := r.next(); e.Kind != message.KindReply {
		t.Fatal(e)
	}
	if got := w.batches[len(w.batches)-1][0]; got.Principal != 1000 || got.Role != uint32(message.RoleClient) {
		t.Errorf("on behalf of %d with role %d", got.Principal, got.Role)
	}
	if strings.Contains(w.log.String(), "spoofed") {
		t.Error("the client's own word about its address counts")
	}
}

func TestOldTLSIsRefused(t *testing.T) {
	w := newWorld(t).start(1)
	_, err := tls.Dial("tcp", w.sfus[0].address, &tls.Config{RootCAs: w.roots, ServerName: "127.0.0.1", MaxVersion: tls.VersionTLS12})
	if err == nil {
		t.Fatal("TLS 1.2 was accepted")
	}
	within(t, "counted", func() bool { return status(t, w).FailedHandshakes == 1 })
}

func TestOtherCA(t *testing.T) {
	w, other := newWorld(t).start(2), newWorld(t)
	config := w.config()
	config.RootCAs = other.roots
	start := time.Now()
	_, err := client.Open(t.Context(), config)
	if err == nil || !strings.Contains(err.Error(), "certificate signed by unknown authority") {
		t.Fatal(err)
	}
	if d := time.Since(start); d > 3*time.Second {
		t.Errorf("it took %v to find out", d)
	}
	config = w.config()
	config.ClusterID = [16]byte{1}
	if _, err := client.Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), `belongs to another cluster: "test"; if that was restored from a backup, use its new client-kit.toml`) {
		t.Fatal(err)
	}
}

// TestConnectionLimit: clients over the bound are turned away; the admin socket is
// not bounded by them.
func TestConnectionLimit(t *testing.T) {
	w := newWorld(t).start(1, func(c *gateway.Config) { c.MaxConnections = 3 }).register()
	w.signed()
	w.signed()
	w.signed()
	config := w.config()
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := client.Open(ctx, config); err == nil {
		t.Error("a fourth client came in")
	}
	if st := status(t, w); st.TurnedAway == 0 {
		t.Errorf("%v", st)
	}
	contains(t, w.log.String(), "raise gateway.max_connections")
}

// TestSecretsStaySecret: a login name goes to the login service and nowhere else:
// not to the transaction service, not into a log, not into an answer.
func TestSecretsStaySecret(t *testing.T) {
	w := newWorld(t).start(2)
	const name, password = "planted-login-name-7291", "planted-password-3382"
	op := w.operator(0)
	defer op.Close()
	id := op.NewID()
	for _, r := range []loginpb.RegisterRequest{
		{LoginName: name, Password: password, PublicName: "Anna", Role: 1, TransactionId: id},
		{LoginName: name, Password: password, PublicName: "Berta", Role: 1, TransactionId: op.NewID()},
		{LoginName: name, Password: password, PublicName: name, Role: 1, TransactionId: op.NewID()},
		{LoginName: name + "!", Password: password, PublicName: "C", Role: 1, TransactionId: op.NewID()},
		{LoginName: name, Password: "short", PublicName: "D", Role: 9, TransactionId: op.NewID()},
	} {
		a, err := op.Register(t.Context(), &r)
		if err != nil {
			t.Fatal(err)
		}
		clean(t, "an answer to a registration", fmt.Sprint(a, a.Refused))
	}
	c := w.open(func(c *client.Config) { c.LoginName, c.Password = name, password })
	if r, err := op.ChangeUser(t.Context(), &loginpb.ChangeUserRequest{User: c.Session().User, Password: password, TransactionId: op.NewID()}); err != nil || r.Refused != "" {
		t.Fatal(r, err)
	}
	if _, err := c.Submit(t.Context(), payment(c)); err != nil {
		t.Fatal(err)
	}
	clean(t, "the session", fmt.Sprintf("%+v", c.Session()))
	config := w.config()
	config.LoginName, config.Password = name, password+"x"
	_, err := client.Open(t.Context(), config)
	clean(t, "the error of a wrong password", fmt.Sprint(err))
	w.mu.Lock()
	for method, bodies := range w.logins {
		clean(t, "what a gateway could read of "+loginpb.LoginDescriptor.Method(method).Name, strings.Join(bodies, "\n"))
	}
	if len(w.logins[loginpb.LoginRegisterSealedMethod]) != 5 || len(w.logins[loginpb.LoginChangeUserSealedMethod]) != 1 || len(w.logins[loginpb.LoginEnterMethod]) == 0 {
		t.Errorf("%d kinds of requests reached the login services", len(w.logins))
	}
	w.mu.Unlock()
	r := w.raw()
	r.request(1, loginpb.LoginService, loginpb.LoginLoginMethod, &loginpb.LoginRequest{LoginName: name, Password: password})
	reply := r.next()
	clean(t, "the answer to a login", string(reply.Body)+reply.Detail)
	long := w.raw() // too long to be passed on
	long.request(1, loginpb.LoginService, loginpb.LoginLoginMethod, &loginpb.LoginRequest{LoginName: strings.Repeat(name, 170), Password: password})
	refusal := long.next()
	clean(t, "the answer to an overlong login", string(refusal.Body)+refusal.Detail)

	w.mu.Lock()
	requests := strings.Join(w.requests, "\n")
	w.mu.Unlock()
	clean(t, "a message to the transaction service", requests)
	if len(requests) == 0 {
		t.Error("no message to search")
	}
	clean(t, "the log", w.log.String())
	contains(t, w.log.String(), "login user=1000")
}

func clean(t *testing.T, where, text string) {
	t.Helper()
	for _, secret := range []string{"planted-login-name", "planted-password"} {
		if strings.Contains(text, secret) {
			t.Errorf("%s is in %s: %.300q", secret, where, text)
		}
	}
}

// TestForeignUserAtAdminSocket: who is neither root nor in the group is told so.
func TestForeignUserAtAdminSocket(t *testing.T) {
	const nobody, group, other = 65534, 4711, 4712
	if path := os.Getenv("RRTS_TEST_ADMIN"); path != "" { // the child below
		c, err := client.Open(t.Context(), client.Config{Gateways: []string{"unix:" + path}})
		if err == nil {
			_, err = c.Status(t.Context(), u128.From64(1))
			c.Close()
		}
		fmt.Println("result:", err)
		return
	}
	require.Root(t)
	w := newWorld(t).start(1, func(c *gateway.Config) { c.AdminGroup = group })
	for p := w.sfus[0].admin; p != "/"; p = p[:max(strings.LastIndexByte(p, '/'), 1)] {
		os.Chmod(p, 0o777)
		if strings.Count(p, "/") == 2 {
			break
		}
	}
	for name, tt := range map[string]struct {
		groups []uint32
		want   string
	}{
		"a stranger":           {nil, "user 65534 is not an operator of this machine"},
		"of another group":     {[]uint32{other}, "user 65534 is not an operator of this machine"},
		"a member":             {[]uint32{group}, "result: <nil>"},
		"a member of two more": {[]uint32{other, 1, group}, "result: <nil>"},
	} {
		cmd := exec.Command("/proc/self/exe", "-test.run=TestForeignUserAtAdminSocket", "-test.v")
		cmd.Env = append(os.Environ(), "RRTS_TEST_ADMIN="+w.sfus[0].admin)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: tt.groups}}
		out, err := cmd.CombinedOutput()
		if !strings.Contains(string(out), tt.want) {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
	}
}

// TestManyClients: hundreds of clients come, pay and go; nothing of them stays.
func TestManyClients(t *testing.T) {
	w := newWorld(t).start(2).register()
	first := w.open()
	var paid atomic.Int64
	done := make(chan error)
	const clients = 100
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute) // a hundred handshakes at once, on a busy machine
	defer cancel()
	for range clients {
		go func() {
			config := w.config()
			config.Token, config.LoginName, config.Password = first.Token(), "", ""
			c, err := client.Open(ctx, config)
			if err == nil {
				defer c.Close()
				for range 10 {
					if _, err = c.Submit(ctx, payment(c)); err != nil {
						break
					}
					paid.Add(1)
				}
			}
			done <- err
		}()
	}
	for range clients {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if paid.Load() != clients*10 {
		t.Errorf("%d payments", paid.Load())
	}
	first.Close()
	within(t, "all gone", func() bool { return sessions(t, w) == 0 })
}

// TestClientCertificates: where they are wanted, a client without one is told so, and a
// password does not help it.
func TestClientCertificates(t *testing.T) {
	w := newWorld(t)
	stranger := newWorld(t).cert
	w.start(1, func(c *gateway.Config) { c.ClientCAs = w.roots }).register()
	config := w.config()
	if _, err := client.Open(t.Context(), config); code(err) != message.Denied || !strings.Contains(err.Error(), "gateway.client_ca") {
		t.Errorf("without one: %v", err)
	}
	held := w.open(func(c *client.Config) { c.Certificate = &w.cert }).Token()
	config.Token, config.LoginName, config.Password = held, "", ""
	if _, err := client.Open(t.Context(), config); code(err) != message.Denied {
		t.Errorf("with a token alone: %v", err)
	}
	config.Certificate = &stranger
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := client.Open(ctx, config); err == nil {
		t.Error("with a stranger's certificate")
	}
}
