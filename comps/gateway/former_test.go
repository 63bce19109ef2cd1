package gateway_test

import (
	"context"
	"crypto/ed25519"
	"crypto/tls"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/frame"
	"virtualservicesinc.com/rrts/schema/gatewaypb"
	"virtualservicesinc.com/rrts/schema/loginpb"
)

// former is a gateway of protocol version 1, as release 0.1.0 has it: it knows no sealed
// requests, and notes what it is asked.
type former struct {
	mu    sync.Mutex
	asked []uint16 // methods of the login service
}

func (f *former) serve(t *testing.T, w *world) (address string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	t.Cleanup(func() { l.Close(); serving.Wait() })
	serving.Go(func() {
		for {
			raw, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() { f.answer(t, w, raw) })
		}
	})
	return l.Addr().String()
}

func (f *former) answer(t *testing.T, w *world, raw net.Conn) {
	c, err := frame.Server(t.Context(), raw, &tls.Config{MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{w.cert}},
		frame.Limits{Frame: 1 << 20, Backlog: 1 << 20, Stall: time.Second})
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	for {
		b, err := c.Next()
		var e message.Envelope
		if err != nil || e.Parse(b) != nil {
			return
		}
		a := message.Envelope{Kind: message.KindReply, Call: e.Call}
		switch {
		case e.Service == loginpb.LoginService:
			f.mu.Lock()
			f.asked = append(f.asked, e.Method)
			f.mu.Unlock()
			if e.Method > loginpb.LoginRegisterMethod && e.Method != loginpb.LoginChangeUserMethod {
				a.Kind, a.Code = message.KindFailure, message.NoMethod
			}
			if e.Method == loginpb.LoginRegisterMethod {
				a.Body = message.Marshal(&loginpb.RegisterReply{User: 5})
			}
		case e.Method == gatewaypb.GatewayHelloMethod:
			a.Body = message.Marshal(&gatewaypb.HelloReply{Protocol: 1, ClusterId: w.cluster[:], Sfu: 1, Window: 8, HeartbeatMillis: 1000})
		}
		if c.Send(&a) != nil {
			return
		}
	}
}

// TestFormerGateway: at a gateway of the release before, a Client that was told whom to
// seal for keeps login names and passwords to itself; one that was not goes on as before.
func TestFormerGateway(t *testing.T) {
	w := newWorld(t)
	var f former
	config := client.Config{Gateways: []string{f.serve(t, w)}, RootCAs: w.roots, Token: []byte("a session")}
	register := &loginpb.RegisterRequest{LoginName: "anna@shop", Password: "correct horse", PublicName: "Anna", Role: 1}
	reset := &loginpb.ChangeUserRequest{User: 5, Password: "battery staple"}

	c, err := client.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if r, err := c.Register(t.Context(), register); err != nil || r.User != 5 {
		t.Errorf("%v, %v", r, err)
	}
	if _, err := c.ChangeUser(t.Context(), reset); err != nil {
		t.Error(err)
	}
	if want := []uint16{loginpb.LoginRegisterMethod, loginpb.LoginChangeUserMethod}; !slices.Equal(f.asked, want) {
		t.Errorf("methods %d were asked, want %d", f.asked, want)
	}

	f.asked = nil
	config.LoginKey = w.signer.Public().(ed25519.PublicKey)
	careful, err := client.Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	defer careful.Close()
	if _, err := careful.Register(t.Context(), register); !errors.Is(err, client.ErrUnsealed) {
		t.Errorf("a registration: %v", err)
	}
	if _, err := careful.ChangeUser(t.Context(), reset); !errors.Is(err, client.ErrUnsealed) {
		t.Errorf("a new password: %v", err)
	}
	config.LoginName, config.Password, config.Token = "anna@shop", "correct horse", nil
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond) // another gateway might be newer
	defer cancel()
	if _, err := client.Open(ctx, config); !errors.Is(err, client.ErrUnsealed) {
		t.Errorf("a login: %v", err)
	}
	if len(f.asked) > 0 {
		t.Errorf("methods %d were asked: nothing may be sent", f.asked)
	}
}
