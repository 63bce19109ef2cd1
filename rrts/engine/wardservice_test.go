package engine

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"virtualservicesinc.com/rrts/engine/quarantine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
	"virtualservicesinc.com/rrts/schema/loginpb"
)

// askOwn asks the engine's own service, as somebody of a role.
func askOwn(f *fixture, method uint16, role message.Role, in, out message.Message) error {
	p := &pending{wait: make(chan Reply, 1)}
	f.call(p, &Call{Service: enginepb.EngineService, Method: method, Target: 1, Role: role, Timeout: 30 * time.Second, Body: message.Marshal(in)})
	r := <-p.wait
	if r.Code != message.OK {
		return &message.Error{Code: r.Code, Detail: r.Detail}
	}
	return out.Parse(r.Body)
}

func wants(t *testing.T, err error, code message.Code, detail string) {
	t.Helper()
	if e, ok := err.(*message.Error); !ok || e.Code != code || !strings.Contains(e.Detail, detail) {
		t.Fatalf("got %v, want %v with %q", err, code, detail)
	}
}

// TestHeldOfOperators: an operator, and nobody else, lists, sees, retries and discards
// what is in quarantine; the log says who.
func TestHeldOfOperators(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		var cured atomic.Bool
		slow := make(chan struct{})
		s := stub{name: "a", services: provides(echo), serve: func(s *stub, r message.Request) {
			body := raw(r.Envelope().Body)
			switch {
			case strings.HasPrefix(string(body), "poison") && !cured.Load():
				panic("it hurts " + strings.Repeat("ä", 150))
			case string(body) == "fall":
				panic("once")
			case string(body) == "poison":
				s.host.Go("slow", func(ctx context.Context) {
					select {
					case <-slow:
						r.Reply(&body)
					case <-ctx.Done():
					}
				})
			default:
				r.Fail(message.Invalid, "it is wrong")
			}
		}}
		f := newFixture(t, []func() (Component, error){made(s)}, func(c *Config) { c.Log = slog.New(slog.NewTextHandler(&log, nil)) }).begin()
		f.call(&pending{wait: make(chan Reply, 1)}, &Call{Service: echoService, Method: 1, Body: []byte("poison"), Principal: 7, Role: message.RoleClient, Trace: [16]byte{1}})
		synctest.Wait()
		time.Sleep(time.Minute)
		for range 3 {
			f.notify(&Notice{To: 1, Service: echoService, Method: 3, Body: []byte("poison it")})
			time.Sleep(time.Minute)
		}

		const operator = message.RoleOperator
		var all, one enginepb.HeldAnswer
		for _, role := range []message.Role{message.RoleNone, message.RoleClient, message.RoleAuditor, message.RoleSFU} {
			wants(t, askOwn(f, enginepb.EngineHeldMethod, role, &enginepb.HeldQuery{}, &all), message.Denied, "operator")
			wants(t, askOwn(f, enginepb.EngineRetryHeldMethod, role, &enginepb.RetryHeldRequest{}, &all), message.Denied, "operator")
			wants(t, askOwn(f, enginepb.EngineDiscardHeldMethod, role, &enginepb.DiscardHeldRequest{}, &all), message.Denied, "operator")
		}
		if err := askOwn(f, enginepb.EngineHeldMethod, operator, &enginepb.HeldQuery{}, &all); err != nil || len(all.Held) != 2 || all.More {
			t.Fatal(all, err)
		}
		h, notice := all.Held[0], all.Held[1]
		if h.Notice {
			h, notice = notice, h
		}
		if h.Component != "a" || h.Crashes != 3 || h.Name != "Echo.Get" || !h.Idempotent || h.BodyBytes != 6 || h.Service != echoService || h.Method != 1 ||
			!strings.HasPrefix(h.Reason, "panic: it hurts ä") || strings.ContainsAny(h.Reason, "\n\uFFFD") || len(h.Reason) > maxHeldLine || h.Since == 0 || h.Principal != 0 {
			t.Fatalf("%+v", h)
		}
		// Behind the first there is the second.
		first, second := all.Held[0].Id, all.Held[1].Id
		if err := askOwn(f, enginepb.EngineHeldMethod, operator, &enginepb.HeldQuery{After: first}, &one); err != nil || len(one.Held) != 1 || one.Held[0].Id != second {
			t.Fatal(one, err)
		}
		if err := askOwn(f, enginepb.EngineHeldMethod, operator, &enginepb.HeldQuery{Id: h.Id}, &one); err != nil || len(one.Held) != 1 {
			t.Fatal(one, err)
		}
		if w := one.Held[0]; !strings.Contains(w.Reason, "goroutine ") || w.Principal != 7 || w.Role != uint32(message.RoleClient) || w.From != 1 || w.Trace[0] != 1 ||
			strings.Contains(w.String(), "poison") {
			t.Fatalf("%+v", w)
		}

		// Not cured, it stays; a notice is not tried.
		retry := func(id string) (out enginepb.RetryHeldReply, err error) {
			err = askOwn(f, enginepb.EngineRetryHeldMethod, operator, &enginepb.RetryHeldRequest{Id: id, By: "anna"}, &out)
			return out, err
		}
		if r, err := retry(h.Id); err != nil || r.Answered || message.Code(r.Code) != message.Quarantined {
			t.Fatal(r, err)
		}
		_, err := retry(notice.Id)
		wants(t, err, message.Invalid, "discard it")
		_, err = retry(strings.Repeat("0", 32))
		wants(t, err, message.NotFound, "no request")

		// A try ends the rest of a Component that has crashed.
		cured.Store(true)
		time.Sleep(time.Minute)
		f.later(echoService, 2, "fall")
		synctest.Wait()
		if s := f.state("a"); s == "ready" {
			t.Fatal(s)
		}

		// While one is tried nothing else is decided. Cured, it leaves.
		done := make(chan error)
		go func() {
			r, err := retry(h.Id)
			if err == nil && !r.Answered {
				err = fmt.Errorf("%+v", r)
			}
			done <- err
		}()
		synctest.Wait()
		if s := f.state("a"); s != "ready" {
			t.Fatal(s)
		}
		discard := func(id, by string) error {
			return askOwn(f, enginepb.EngineDiscardHeldMethod, operator, &enginepb.DiscardHeldRequest{Id: id, By: by}, new(enginepb.DiscardHeldReply))
		}
		wants(t, discard(h.Id, "bert"), message.Overloaded, "is being tried")
		_, err = retry(h.Id)
		wants(t, err, message.Overloaded, "is being tried")
		close(slow)
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		wants(t, discard(notice.Id, strings.Repeat("b", maxBy+1)), message.Invalid, "by has 65 bytes")
		if err := discard(notice.Id, "bert"); err != nil {
			t.Fatal(err)
		}
		wants(t, discard(notice.Id, "bert"), message.NotFound, notice.Id)
		if err := askOwn(f, enginepb.EngineHeldMethod, operator, &enginepb.HeldQuery{}, &all); err != nil || len(all.Held) != 0 ||
			slices.ContainsFunc(f.Alarms(), func(a Alarm) bool { return a.Name == quarantineAlarm }) {
			t.Fatal(all, err, f.Alarms())
		}
		for _, want := range []string{"stays in quarantine\" sfu=1 id=" + h.Id + " answer=quarantined by=anna", "left quarantine\" sfu=1 id=" + h.Id + " answer=ok by=anna",
			"discarded from quarantine\" sfu=1 id=" + notice.Id + " by=bert"} {
			if !strings.Contains(log.String(), want) {
				t.Errorf("%q is not in the log:\n%s", want, log.String())
			}
		}
		f.end(nil)
	})
}

// TestHeldShowsNoSecrets: of a body whose type is known the text is shown without the
// values of sensitive fields, of others their length alone.
func TestHeldShowsNoSecrets(t *testing.T) {
	f := newFixture(t, nil, func(c *Config) {
		var err error
		if c.Registry, err = message.NewRegistry(&enginepb.Schema, &loginpb.Schema); err != nil {
			t.Fatal(err)
		}
	})
	described := func(env message.Envelope) enginepb.HeldRequest {
		h := Held{ID: "x"}
		h.Request = env
		return f.describeHeld(&h, true)
	}
	known := described(message.Envelope{Service: loginpb.LoginService, Method: loginpb.LoginRegisterMethod,
		Body: message.Marshal(&loginpb.RegisterRequest{LoginName: "secret", Password: "secret", PublicName: "Anna"})})
	if known.Name != "Login.Register" || !strings.Contains(known.Body, `public_name:"Anna"`) || !strings.Contains(known.Body, "password:[redacted]") || strings.Contains(known.Body, "secret") {
		t.Errorf("%+v", known)
	}
	for what, env := range map[string]message.Envelope{
		"malformed":   {Service: loginpb.LoginService, Method: loginpb.LoginRegisterMethod, Body: []byte("\xffsecret")},
		"of the site": {Service: echoService, Method: 1, Body: []byte("secret")},
		"unknown":     {Service: 4711, Method: 1, Body: []byte("secret")},
	} {
		h := described(env)
		if h.Body != "" || h.BodyBytes != uint64(len(env.Body)) || strings.Contains(h.String(), "secret") || strings.Contains(h.String(), hex.EncodeToString([]byte("secret"))) {
			t.Errorf("%s: %+v", what, h)
		}
	}
}

// TestRetryNotServed: what nobody here could serve stays in quarantine.
func TestRetryNotServed(t *testing.T) {
	for name, x := range map[string]struct {
		service uint16
		want    message.Code
	}{
		"its service is gone":   {4711, message.NoMethod},
		"it is not held here":   {ownerService, message.NotLeader},
		"no Component is ready": {namedService, message.Unavailable},
		"the Component is busy": {echoService, message.Overloaded},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := new(quarantine.Memory)
				r := quarantine.Record{Component: "a", Request: message.Envelope{Kind: message.KindRequest, Service: x.service, Method: 2, Body: []byte("poison")}}
				id := quarantine.ID(&r.Request)
				if err := store.Put(id, &r); err != nil {
					t.Fatal(err)
				}
				s := stub{name: "a", services: append(provides(echo), provides(owner)...), serve: func(s *stub, r message.Request) { r.Fail(x.want, "not now") }}
				f := newFixture(t, []func() (Component, error){made(s)}, func(c *Config) { c.Quarantine = store }).begin()
				reply, err := f.Retry(t.Context(), id)
				if err == nil || reply.Code != x.want || !f.ward.holds(&r.Request) {
					t.Errorf("%v, %v, held %v", reply, err, f.ward.holds(&r.Request))
				}
				if held, err := f.Quarantine(); err != nil || len(held) != 1 {
					t.Errorf("%v, %v", held, err)
				}
				f.end(nil)
			})
		})
	}
}
