package gateway

import (
	"bytes"
	"io"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/message/token"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// FuzzClient plays a hostile client: frames of any content, before and after a
// login. Whatever it says, nothing crashes, nothing goes further that its role may
// not send, nobody else's name stands on it, and every request gets an answer or
// waits for one.
func FuzzClient(f *testing.F) {
	request := func(service, method uint16, m message.Message) []byte {
		e := message.Envelope{Kind: message.KindRequest, Service: service, Method: method, Call: 7, RemainingMillis: 100,
			Principal: 1, Role: message.RoleOperator, From: 3, To: 2}
		if m != nil {
			e.Body = message.Marshal(m)
		}
		return frame.Append(nil, &e)
	}
	hello := request(gatewaypb.GatewayService, gatewaypb.GatewayHelloMethod, &gatewaypb.HelloRequest{Protocol: 1, Agent: "fuzz"})
	sealedLogin := request(loginpb.LoginService, loginpb.LoginEnterMethod, &loginpb.SealedRequest{Sfu: 2, Epoch: 1, Suite: 1,
		Encapsulated: make([]byte, 32), Ciphertext: make([]byte, 272), Binding: []byte("spoofed"), Address: "spoofed", Challenged: true})
	login := request(loginpb.LoginService, loginpb.LoginLoginMethod, &loginpb.LoginRequest{LoginName: "anna", Password: "secret", Address: "spoofed"})
	submit := request(gatewaypb.GatewayService, gatewaypb.GatewaySubmitMethod, &txnpb.Transaction{Id: u128.Max})
	f.Add(bytes.Join([][]byte{hello, login, submit}, nil), false)
	f.Add(bytes.Join([][]byte{hello, sealedLogin, request(loginpb.LoginService, loginpb.LoginSchemaMethod, nil)}, nil), false)
	f.Add(bytes.Join([][]byte{hello, submit, submit}, nil), true)
	f.Add(request(gatewaypb.GatewayService, gatewaypb.GatewayResumeMethod, &gatewaypb.ResumeRequest{Token: make([]byte, token.Size)}), false)
	f.Add(request(txnpb.TxnService, txnpb.TxnReadMethod, &txnpb.Query{}), true)
	f.Add(request(txnpb.TxnService, txnpb.TxnFindUserMethod, &txnpb.UserQuery{Number: 1}), true)
	f.Add([]byte{0, 0, 0, 3, 1, 2, 3}, true)

	s := newScene(f)
	f.Fuzz(func(t *testing.T, in []byte, signed bool) {
		s.t, s.h.now = t, time.Hour
		c, at := s.client()
		defer at.Close()
		defer c.fc.Close()
		go io.Copy(io.Discard, readerOf(at))
		if signed {
			s.g.conns[c], s.g.openings, s.g.opening[c.address] = struct{}{}, 1, []*conn{c}
			s.g.signed(c, 7, session{role: message.RoleClient, expires: forever, version: 3})
		}
		requests := 0
		r := frame.NewReader(bytes.NewReader(in), openingFrame)
		for {
			b, err := r.Next()
			if err != nil {
				break
			}
			var e message.Envelope
			if e.Parse(b) != nil || e.Kind != message.KindRequest {
				break
			}
			c.request(&e)
			requests++
		}
		c.fc.Flush()
		for _, call := range s.send() {
			check(t, c, call.Service, call.Method, call.Principal, call.Role, call.Body)
		}
		if n := c.inFlight.Load(); n < 0 || n > int64(requests) {
			t.Fatalf("%d in flight of %d requests", n, requests)
		}
		s.h.now += 1 << 32 * time.Millisecond // beyond any deadline: what was submitted is PENDING
		s.g.queue.tick(s.h.now)
		s.calls()
		for _, b := range s.g.queue.flying {
			b.answered = true
		}
		s.g.queue.flying = nil
		if n := s.g.queue.count.Load(); n != 0 {
			t.Fatalf("%d transactions have no answer", n)
		}
		if signed {
			s.g.leaveLocked(c.session.Load().user)
			delete(s.g.conns, c)
		}
	})
}

func check(t *testing.T, c *conn, service, method uint16, principal uint64, role message.Role, body []byte) {
	t.Helper()
	signed := c.session.Load() != nil
	switch {
	case service == txnpb.TxnService && method == txnpb.TxnSubmitMethod:
		var in txnpb.SubmitBatch
		if err := in.Parse(body); err != nil || !signed {
			t.Fatalf("a batch: %v, signed %v", err, signed)
		}
		for _, s := range in.Submissions {
			if s.Principal != 7 || s.Role != uint32(message.RoleClient) || s.UserVersion != 3 {
				t.Fatalf("on behalf of %d with role %d in a session of version %d", s.Principal, s.Role, s.UserVersion)
			}
		}
	case service == loginpb.LoginService && method == loginpb.LoginLoginMethod:
		var in loginpb.LoginRequest
		if err := in.Parse(body); err != nil || in.Address != c.address {
			t.Fatalf("login from %q, %v", in.Address, err)
		}
	case service == loginpb.LoginService && method == loginpb.LoginSchemaMethod:
	case service == loginpb.LoginService && proves(method):
		var in loginpb.SealedRequest
		if err := in.Parse(body); err != nil || in.Address != c.address || in.Challenged && !bytes.Equal(in.Binding, c.challenge[:]) || !in.Challenged && in.Binding != nil {
			t.Fatalf("a sealed login from %q, bound to %x, %v", in.Address, in.Binding, err)
		}
	default:
		if a := open[methodKey{service, method}]; !signed || !a.roles.Has(message.RoleClient) || principal != 7 || role != message.RoleClient {
			t.Fatalf("service %d method %d, signed %v, on behalf of %d with role %d", service, method, signed, principal, role)
		}
	}
}

// readerOf reads everything that the gateway says.
func readerOf(c *frame.Conn) io.Reader {
	return readFunc(func(p []byte) (int, error) {
		b, err := c.Next()
		return min(len(b), len(p)), err
	})
}

type readFunc func([]byte) (int, error)

func (f readFunc) Read(p []byte) (int, error) { return f(p) }
