package client

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/sealed"
	"virtualservicesinc.com/rrts/schema/loginpb"
)

const (
	// maxSeals bounds how often one login is sealed anew because the schema that it was
	// sealed under was gone: each time a newer one comes with the answer, so that twice is
	// rare even while schemas are destroyed every second.
	maxSeals = 8
	// nonceSize is the length of a sealed request's nonce, in bytes.
	nonceSize = 16
)

// ErrUnsealed is why a Client with a LoginKey does not log in at a gateway: it is older
// than sealed logins, or pretends to be, and would get login name and password to read.
var ErrUnsealed = errors.New("client: the gateway takes no sealed logins: upgrade it, or leave login_key out of client-kit.toml until it is")

// logIn begins a session with the user's login name and password.
func (cn *conn) logIn(password string) error {
	c := cn.c
	secrets := loginpb.Secrets{LoginName: c.config.LoginName, Password: password}
	var r loginpb.LoginReply
	var err error
	switch {
	case cn.protocol >= 2:
		err = cn.askSealed(loginpb.LoginEnterMethod, secretsOf(&secrets), &r, &r.Schema)
	case c.config.LoginKey != nil:
		err = ErrUnsealed
	default:
		err = cn.ask(loginpb.LoginService, loginpb.LoginLoginMethod,
			&loginpb.LoginRequest{LoginName: secrets.LoginName, Password: secrets.Password}, &r)
	}
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	cn.begun(&r)
	return nil
}

// begun takes the session that a login has begun.
func (cn *conn) begun(r *loginpb.LoginReply) {
	c := cn.c
	c.mu.Lock()
	defer c.mu.Unlock()
	cn.token = slices.Clone(r.Token)
	c.token = cn.token
	c.user.User, c.user.Role, c.user.PublicName = r.User, r.Role, r.PublicName
}

// askSealed seals what text returns for a login service, asks it, and seals again as long
// as the service has other keys by then, or its outcome is not known. newer is the field
// of the reply r that holds them.
func (cn *conn) askSealed(method uint16, text func() []byte, r message.Message, newer *[]byte) error {
	binding, err := cn.fc.Exporter(sealed.BindingLabel, sealed.BindingSize)
	if err != nil {
		return err
	}
	var raw []byte
	for try := 0; ; try++ {
		if raw == nil {
			var s loginpb.SchemaReply
			if err := cn.ask(loginpb.LoginService, loginpb.LoginSchemaMethod, &loginpb.SchemaRequest{}, &s); err != nil {
				return err
			}
			raw = s.Schema
		}
		in, err := cn.c.seal(raw, method, binding, text())
		if err != nil {
			return err
		}
		err = cn.ask(loginpb.LoginService, method, in, r)
		switch {
		case err == nil && len(*newer) == 0:
			return nil
		case err == nil:
			raw, err = slices.Clone(*newer), message.Errorf(message.Unavailable, "the login services change their keys faster than this client seals")
		case sealAgain(method, err):
			raw = nil
		default:
			return err
		}
		if try == maxSeals {
			return err
		}
	}
}

// secretsOf returns s encoded, each time with a new nonce.
func secretsOf(s *loginpb.Secrets) func() []byte {
	return func() []byte {
		s.Nonce = make([]byte, nonceSize)
		rand.Read(s.Nonce)
		return message.Marshal(s)
	}
}

// sealAgain reports whether a request that failed so may be tried again at once, with
// another login service: this one was lost, or is about to stop. A second login harms
// nobody, and what an operator asks for is done once; after a change of the password that
// may have been made, the old one is wrong.
func sealAgain(method uint16, err error) bool {
	var e *message.Error
	return errors.As(err, &e) && (e.Code == message.Unavailable || e.Code == message.Draining ||
		e.Code == message.Unknown && method != loginpb.LoginChangePasswordMethod)
}

// seal seals a text under an encoded schema.
func (c *Client) seal(raw []byte, method uint16, binding, text []byte) (*loginpb.SealedRequest, error) {
	schema, err := sealed.Parse(raw, c.config.LoginKey)
	if err != nil {
		return nil, err
	}
	if id := c.config.ClusterID; id != ([16]byte{}) && schema.Cluster != id {
		return nil, fmt.Errorf("%w: its login schema", ErrOtherCluster)
	}
	b, err := schema.Seal(method, binding, text)
	if err != nil {
		return nil, err
	}
	return &loginpb.SealedRequest{Sfu: uint32(b.SFU), Epoch: b.Epoch, Suite: b.Suite, Encapsulated: b.Encapsulated, Ciphertext: b.Ciphertext}, nil
}

// ChangePassword gives the user another password, which the Client uses from then on.
// All sessions of the user end, also those of other Clients, which have to be given the
// new password; this one goes on. It needs the Client's LoginName and Password. A
// password that the cluster does not take is a *message.Error of code Invalid; after any
// other error than Invalid and Denied the password may have been changed or not: Open
// with either shows which.
func (c *Client) ChangePassword(ctx context.Context, password string) error {
	if c.config.LoginName == "" {
		return errors.New("client: ChangePassword needs LoginName and Password in the Config")
	}
	select {
	case c.login <- struct{}{}:
		defer func() { <-c.login }()
	case <-ctx.Done():
		return ctx.Err()
	case <-c.ended:
		return c.Err()
	}
	c.mu.Lock()
	old := c.config.Password
	gateways := slices.Clone(c.gateways)
	if c.active != nil {
		gateways = slices.Insert(gateways, 0, c.active.gw)
	}
	c.mu.Unlock()
	var err error
	for _, g := range gateways {
		if strings.HasPrefix(g.address, unixPrefix) {
			continue
		}
		if err = c.changeAt(ctx, g, old, password); err == nil || !unreached(err) {
			return err
		}
	}
	if err == nil {
		err = errors.New("client: a password is changed through a gateway, not at an admin socket")
	}
	return err
}

// unreached reports whether nothing was asked for yet.
func unreached(err error) bool { return errors.Is(err, errUnreached) }

var errUnreached = errors.New("client: no gateway")

// changeAt changes the password over a connection of its own.
func (c *Client) changeAt(ctx context.Context, g *gateway, old, password string) error {
	fc, err := c.connect(ctx, g)
	if err != nil {
		return fmt.Errorf("%w: %s: %w", errUnreached, g.address, err)
	}
	defer fc.Close()
	defer context.AfterFunc(ctx, fc.Close)()
	fc.SetReadDeadline(time.Now().Add(loginTime))
	cn := &conn{c: c, gw: g, fc: fc}
	if err := cn.hello(); err != nil {
		return fmt.Errorf("%w: %s: %w", errUnreached, g.address, err)
	}
	if cn.protocol < 2 {
		return fmt.Errorf("%w: %s: %w", errUnreached, g.address, ErrUnsealed)
	}
	var r loginpb.LoginReply
	secrets := loginpb.Secrets{LoginName: c.config.LoginName, Password: old, NewPassword: password}
	if err := cn.askSealed(loginpb.LoginChangePasswordMethod, secretsOf(&secrets), &r, &r.Schema); err != nil {
		return fmt.Errorf("change of the password: %w", err)
	}
	cn.begun(&r)
	c.mu.Lock()
	c.config.Password = password
	c.mu.Unlock()
	return nil
}
