package client

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Register creates a user; operators only. With the same transaction id it may be
// repeated. Login name and password are sealed to the login services, as in a login: no
// gateway on the way can read them, but one of before protocol version 2, which a Client
// with a LoginKey does not use for it.
func (c *Client) Register(ctx context.Context, r *loginpb.RegisterRequest) (*loginpb.RegisterReply, error) {
	reply := &loginpb.RegisterReply{}
	err := c.aside(ctx, func(cn *conn) error {
		if cn.protocol < 2 {
			return cn.askOpenly(loginpb.LoginRegisterMethod, r, reply)
		}
		return cn.askSealed(loginpb.LoginRegisterSealedMethod, func() []byte { return message.Marshal(r) }, reply, &reply.Schema)
	})
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// ChangeUser changes a user and ends the user's sessions; operators only. With the same
// transaction id it may be called again. A new password is sealed as in Register.
func (c *Client) ChangeUser(ctx context.Context, r *loginpb.ChangeUserRequest) (*loginpb.ChangeUserReply, error) {
	if r.Password == "" { // nothing of it is secret
		return loginpb.LoginClient{Caller: c}.ChangeUser(ctx, r)
	}
	reply := &loginpb.ChangeUserReply{}
	err := c.aside(ctx, func(cn *conn) error {
		if cn.protocol < 2 {
			return cn.askOpenly(loginpb.LoginChangeUserMethod, r, reply)
		}
		return cn.askSealed(loginpb.LoginChangeUserSealedMethod, func() []byte { return message.Marshal(r) }, reply, &reply.Schema)
	})
	if err != nil {
		return nil, err
	}
	return reply, nil
}

// Users yields the users of the cluster, by their numbers, as others see them; operators
// and auditors only.
func (c *Client) Users(ctx context.Context) iter.Seq2[txnpb.UserRow, error] {
	return func(yield func(txnpb.UserRow, error) bool) {
		for f := (txnpb.UsersFilter{Limit: usersPage}); ; {
			a, err := c.Query(ctx, &txnpb.Query{ListUsers: &f})
			if err != nil {
				yield(txnpb.UserRow{}, err)
				return
			}
			for _, u := range a.Users {
				if !yield(u, nil) {
					return
				}
			}
			if f.NumberMin = a.NextUser; f.NumberMin == 0 {
				return
			}
		}
	}
}

// usersPage is how many users are asked for at once.
const usersPage = 1000

// askOpenly asks a gateway of before sealed requests, unless the Client was told whom to
// seal for. At an admin socket there is nobody between who could not read it anyhow.
func (cn *conn) askOpenly(method uint16, in, out message.Message) error {
	if cn.c.config.LoginKey != nil && !strings.HasPrefix(cn.gw.address, unixPrefix) {
		return ErrUnsealed
	}
	return cn.ask(loginpb.LoginService, method, in, out)
}

// aside has f ask over a connection of its own, to which what is sealed is bound: at the
// gateway through which requests go, and at the others, again and again until ctx ends,
// while f may be repeated and none of them has decided.
func (c *Client) aside(ctx context.Context, f func(cn *conn) error) error {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		c.mu.Lock()
		gateways := slices.Clone(c.gateways)
		if c.active != nil {
			gateways = slices.Insert(gateways, 0, c.active.gw)
		}
		c.mu.Unlock()
		var err error
		for _, g := range gateways {
			if err = c.asideAt(ctx, g, f); err == nil || decided(err) {
				return err
			}
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return errors.Join(ctx.Err(), err)
		case <-c.ended:
			return c.Err()
		}
	}
}

func (c *Client) asideAt(ctx context.Context, g *gateway, f func(cn *conn) error) error {
	cn, err := c.open(ctx, g)
	if err != nil {
		return err
	}
	defer cn.fc.Close()
	defer context.AfterFunc(ctx, cn.fc.Close)()
	if deadline, ok := ctx.Deadline(); ok {
		cn.fc.SetReadDeadline(deadline)
	}
	return f(cn)
}

// decided reports whether an error says that a request fails the same everywhere.
func decided(err error) bool {
	if hopeless(err) || errors.Is(err, ErrUnsealed) {
		return true
	}
	var e *message.Error
	return errors.As(err, &e) && (e.Code == message.NoMethod || e.Code == message.Internal || e.Code == message.NotFound)
}
