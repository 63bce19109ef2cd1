package mail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/comps/effects"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/mailpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

var _ mailpb.MailHandler = (*Component)(nil)

// Serve implements engine.Component.
func (c *Component) Serve(batch []message.Request) {
	for _, r := range batch {
		mailpb.ServeMail(c, r)
	}
}

// work runs f beside Serve, for operators alone: the gateway lets nobody else call, and so
// does this.
func (c *Component) work(r message.Request, f func(ctx context.Context) error) {
	if r.Envelope().Role != message.RoleOperator {
		r.Fail(message.Denied, "mail: only an operator may do this")
		return
	}
	c.crew.Go(context.Background(), c.host, "request", func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(ctx, requestWithin)
		defer cancel()
		if err := f(ctx); err != nil {
			var e *message.Error
			if errors.As(err, &e) {
				r.Fail(e.Code, e.Detail)
				return
			}
			r.Fail(message.Unavailable, err.Error())
		}
	})
}

// SetAddress implements mailpb.MailHandler.
func (c *Component) SetAddress(r message.Responder[*mailpb.SetAddressReply], in *mailpb.SetAddressRequest) {
	principal := r.Envelope().Principal
	c.work(r.Request, func(ctx context.Context) error {
		refused, err := c.setAddress(ctx, principal, in.PublicName, in.Address)
		if err == nil {
			r.Reply(&mailpb.SetAddressReply{Refused: refused})
		}
		return err
	})
}

func (c *Component) setAddress(ctx context.Context, principal uint64, name, address string) (refused string, err error) {
	if address != "" {
		if err := checkAddress(address); err != nil {
			return err.Error(), nil
		}
	}
	u, err := c.user(ctx, name)
	if err != nil {
		return "", err
	}
	if u == nil {
		return fmt.Sprintf("there is no user %q", name), nil
	}
	change := txnpb.UserChange{Number: u.Number, Disabled: u.Disabled, SealedAddress: []byte{0}}
	if address != "" {
		change.SealedAddress = c.seal.seal(u.Number, address)
	}
	o, err := effects.Submit(ctx, c.txn, principal, message.RoleOperator, &txnpb.Transaction{Users: []txnpb.UserChange{change}})
	if err != nil {
		return "", err
	}
	if o.State != txnpb.StateCommitted {
		return fmt.Sprintf("%v: %s", o.State, o.Reason), nil
	}
	return "", nil
}

// Test implements mailpb.MailHandler.
func (c *Component) Test(r message.Responder[*mailpb.TestReply], in *mailpb.TestRequest) {
	c.work(r.Request, func(ctx context.Context) error {
		reply := &mailpb.TestReply{Relay: c.cfg.Relay, Security: string(c.cfg.Security), MessageId: c.relay.messageID(newID())}
		to, err := in.Address, error(nil)
		switch {
		case (in.PublicName == "") == (in.Address == ""):
			err = errors.New("give a public name or an address")
		case in.Address != "":
			err = checkAddress(to)
		default:
			to, err = c.address(ctx, in.PublicName)
		}
		if err == nil {
			err = c.relay.send(ctx, to, reply.MessageId, time.Now(), content{
				subject: "RRTS: a test", text: "An operator has asked this SFU for a mail. Nothing is wrong.\n"})
		}
		if err != nil {
			reply.Refused = err.Error()
		}
		r.Reply(reply)
		return nil
	})
}
