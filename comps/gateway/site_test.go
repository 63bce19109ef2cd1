package gateway_test

import (
	"context"
	"fmt"
	"testing"

	"virtualservicesinc.com/rrts/client"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
)

// shop is a service of the site.
var shop = &message.ServiceDescriptor{Number: 1000, Name: "Shop", Policy: message.PolicyAny, Methods: []message.MethodDescriptor{
	{Number: 1, Name: "Place", Lane: message.LaneRequest, Idempotent: true, MaxBytes: 64, Clients: message.RoleSet(message.RoleClient, message.RoleOperator)},
	{Number: 2, Name: "Refund", Lane: message.LaneRequest, MaxBytes: 64, Clients: message.RoleSet(message.RoleOperator)},
	{Number: 3, Name: "Inner", Lane: message.LaneRequest, MaxBytes: 64},
	{Number: 4, Name: "Tell", Lane: message.LaneRequest, Notice: true, MaxBytes: 64, Clients: message.RoleSet(message.RoleClient)},
}}

// shopComponent answers who asks and what.
type shopComponent struct{ host engine.Host }

func (s *shopComponent) Name() string                  { return "shop" }
func (s *shopComponent) Services() []engine.Service    { return nil }
func (s *shopComponent) Provision(h engine.Host) error { s.host = h; return nil }
func (s *shopComponent) Validate() error               { return nil }
func (s *shopComponent) Start(context.Context) error {
	s.host.Ready(true)
	return s.host.Offer([]engine.Service{{Descriptor: shop}})
}
func (s *shopComponent) Drain(context.Context) error { return nil }
func (s *shopComponent) Stop()                       {}
func (s *shopComponent) Serve(batch []message.Request) {
	for _, r := range batch {
		e := r.Envelope()
		t := body(fmt.Sprintf("%s by %d, role %d", e.Body, e.Principal, e.Role))
		r.Reply(&t)
	}
}

// body is a message that is its own encoding.
type body string

func (t *body) AppendTo(b []byte) []byte { return append(b, *t...) }
func (t *body) Size() int                { return len(*t) }
func (t *body) Parse(b []byte) error     { *t = body(b); return nil }

// TestSiteServices: gateways pass a service of the site for whom its configuration
// grants it, with the number and the role of the user.
func TestSiteServices(t *testing.T) {
	w := newWorld(t)
	w.components = append(w.components, func() (engine.Component, error) { return &shopComponent{}, nil })
	w.start(1).register()
	op := w.operator(0)
	defer op.Close()
	user := w.open()
	for _, c := range []struct {
		who    *client.Client
		method int
		body   string
		code   message.Code
		want   string
	}{
		{user, 0, "a cup", message.OK, "a cup by 1000, role 1"},
		{op, 0, "a cup", message.OK, "a cup by 0, role 2"},
		{op, 1, "it", message.OK, "it by 0, role 2"},
		{user, 1, "it", message.Denied, "gateway: the user's role may not call Refund"},
		{user, 2, "", message.NoMethod, "gateway: no such method for clients"},
		{op, 2, "", message.NoMethod, "gateway: no such method for clients"},
		{user, 0, string(make([]byte, 65)), message.Invalid, "gateway: the request is larger than Place takes"},
	} {
		m := shop.Methods[c.method]
		got, err := c.who.Call(t.Context(), &m, shop.Number, []byte(c.body))
		if code(err) != c.code || err == nil && string(got) != c.want || err != nil && err.Error() != c.code.String()+": "+c.want {
			t.Errorf("%s %q: %q, %v, want %v %q", m.Name, c.body, got, err, c.code, c.want)
		}
	}
	if _, err := user.Call(t.Context(), &shop.Methods[0], 1001, nil); code(err) != message.NoMethod {
		t.Errorf("a service that nobody has offered: %v", err)
	}
}
