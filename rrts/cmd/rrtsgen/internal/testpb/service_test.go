package testpb

import (
	"context"
	"errors"
	"reflect"
	"testing"

	"virtualservicesinc.com/rrts/cmd/internal/codecpb/barepb"
	"virtualservicesinc.com/rrts/cmd/internal/codecpb/kindspb"
	"virtualservicesinc.com/rrts/cmd/internal/codecpb/sharedpb"
	"virtualservicesinc.com/rrts/message"
)

// exchange is a request and what became of it.
type exchange struct {
	envelope message.Envelope
	reply    []byte
	failure  *message.Error
}

func (x *exchange) Envelope() *message.Envelope { return &x.envelope }
func (x *exchange) Reply(m message.Message)     { x.reply = message.Marshal(m) }
func (x *exchange) Fail(code message.Code, detail string) {
	x.failure = message.Errorf(code, "%s", detail)
}

// shop is a handler; it notes what it was told.
type shop struct{ told []sharedpb.Point }

func (s *shop) Buy(r message.Responder[*kindspb.Scalars], in *kindspb.Batch) {
	r.Reply(&kindspb.Scalars{U32: uint32(len(in.Transfers))})
}
func (s *shop) Tell(r message.Request, in *sharedpb.Point) { s.told = append(s.told, *in) }
func (s *shop) Enter(r message.Responder[*sharedpb.Secret], in *kindspb.Login) {
	r.Fail(message.Denied, "no "+in.Name)
}

// loop is a Caller whose service is in the same place.
type loop struct{ shop *shop }

func (l loop) Call(ctx context.Context, m *message.MethodDescriptor, service uint16, body []byte) ([]byte, error) {
	x := &exchange{envelope: message.Envelope{Service: service, Method: m.Number, Body: body}}
	kindspb.ServeShop(l.shop, x)
	if x.failure != nil {
		return nil, x.failure
	}
	return x.reply, ctx.Err()
}

func TestClientAndHandler(t *testing.T) {
	s := new(shop)
	c := kindspb.ShopClient{Caller: loop{s}}
	got, err := c.Buy(t.Context(), &kindspb.Batch{Transfers: make([]kindspb.Transfer, 3)})
	if err != nil || got.U32 != 3 {
		t.Errorf("Buy: %v, %v", got, err)
	}
	if err := c.Tell(t.Context(), &sharedpb.Point{X: 5}); err != nil || len(s.told) != 1 || s.told[0].X != 5 {
		t.Errorf("Tell: %v, told %v", err, s.told)
	}
	if _, err := c.Enter(t.Context(), &kindspb.Login{Name: "bob"}); !errors.Is(err, &message.Error{Code: message.Denied}) {
		t.Errorf("Enter: %v", err)
	}
	_, err = c.Buy(t.Context(), &kindspb.Batch{Transfers: make([]kindspb.Transfer, 1000)})
	if !errors.Is(err, &message.Error{Code: message.Invalid}) || err.Error() != "invalid: message: testsite.kinds.Batch: 2000 bytes are more than 1000" {
		t.Errorf("Buy beyond its bound: %v", err)
	}
}

func TestServeRefuses(t *testing.T) {
	for _, c := range []struct {
		name   string
		method uint16
		body   string
		want   message.Error
	}{
		{"unknown method", 9, "", message.Error{Code: message.NoMethod, Detail: "Shop has no method 9"}},
		{"reserved method", 3, "", message.Error{Code: message.NoMethod, Detail: "Shop has no method 3"}},
		{"malformed request", kindspb.ShopBuyMethod, "\x0a\x09", message.Error{Code: message.Invalid, Detail: "message: malformed: testsite.kinds.Batch.transfers"}},
		{"malformed notice", kindspb.ShopTellMethod, "\x08", message.Error{Code: message.Invalid, Detail: "message: malformed: testsite.shared.Point.x"}},
	} {
		s := new(shop)
		x := &exchange{envelope: message.Envelope{Method: c.method, Body: []byte(c.body)}}
		kindspb.ServeShop(s, x)
		if x.failure == nil || *x.failure != c.want || x.reply != nil || len(s.told) > 0 {
			t.Errorf("%s: %v, want %v", c.name, x.failure, &c.want)
		}
	}
}

// garbled is a Caller whose replies are no messages.
type garbled struct{}

func (garbled) Call(context.Context, *message.MethodDescriptor, uint16, []byte) ([]byte, error) {
	return []byte{0x80}, nil
}

func TestMalformedReply(t *testing.T) {
	c := kindspb.ShopClient{Caller: garbled{}}
	_, err := c.Buy(t.Context(), new(kindspb.Batch))
	if !errors.Is(err, &message.Error{Code: message.Internal}) {
		t.Errorf("error is %v", err)
	}
}

func TestDescriptor(t *testing.T) {
	want := message.ServiceDescriptor{Number: 1000, Name: "Shop", Policy: message.PolicyLeader, Methods: []message.MethodDescriptor{
		{Number: 1, Name: "Tell", Lane: message.LaneRequest, Notice: true, MaxBytes: 1 << 20, Request: "testsite.shared.Point"},
		{Number: 2, Name: "Buy", Lane: message.LaneCommit, Idempotent: true, MaxBytes: 1000, Request: "testsite.kinds.Batch", Reply: "testsite.kinds.Scalars"},
		{Number: 5, Name: "Enter", Lane: message.LaneRequest, Sensitive: true, MaxBytes: 1 << 20, Request: "testsite.kinds.Login", Reply: "testsite.shared.Secret"},
	}}
	if !reflect.DeepEqual(kindspb.ShopDescriptor, want) {
		t.Errorf("got\n%+v, want\n%+v", kindspb.ShopDescriptor, want)
	}
	r, err := message.NewRegistry(&kindspb.Schema, &sharedpb.Schema, &barepb.Schema)
	if err != nil {
		t.Fatal(err)
	}
	if r.Service(1000) != &kindspb.ShopDescriptor || r.Method(1000, kindspb.ShopBuyMethod).Name != "Buy" {
		t.Error("the registry does not find Shop.Buy")
	}
	if s := r.Service(barepb.BoardService); s == nil || s.Policy != message.PolicyAll || !s.Method(barepb.BoardPostMethod).Notice {
		t.Errorf("the registry has of Board: %+v", s)
	}
	if s := r.Service(barepb.SilentService); s == nil || len(s.Methods) != 0 {
		t.Errorf("the registry has of Silent: %+v", s)
	}
	for _, m := range want.Methods {
		if r.New(m.Request) == nil || !m.Notice && r.New(m.Reply) == nil {
			t.Errorf("the registry cannot make the messages of %s", m.Name)
		}
	}
}
