package login

import (
	"context"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/sealed"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// keepSchemas rotates the login schema on its schedule and destroys old keys, until ctx
// ends.
func (l *Login) keepSchemas(ctx context.Context) {
	for {
		next, err := l.schemas.tick(l.host.Now(), l.cfg.Wall())
		if err != nil {
			l.log.Error("no new login schema: the old one goes on", "err", err)
		}
		timer := time.NewTimer(next - l.host.Now())
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-l.rotated:
			timer.Stop()
		case <-timer.C:
		}
	}
}

// Schema implements loginpb.LoginHandler.
func (l *Login) Schema(r message.Responder[*loginpb.SchemaReply], _ *loginpb.SchemaRequest) {
	s := l.schemas.newest()
	if s == nil { // asked by name before it has started
		r.Fail(message.Unavailable, errStarting.Detail)
		return
	}
	r.Reply(&loginpb.SchemaReply{Schema: s.Bytes()})
}

// errStarting answers who asks this SFU by name before there is a schema.
var errStarting = message.Errorf(message.Unavailable, "login: it is starting: ask another SFU, or again")

// Rotate implements loginpb.LoginHandler.
func (l *Login) Rotate(r message.Responder[*loginpb.RotateReply], in *loginpb.RotateRequest) {
	if r.Envelope().Role != message.RoleOperator {
		r.Fail(message.Denied, "login: only an operator may rotate the login schema")
		return
	}
	s, err := l.schemas.rotate(l.host.Now(), l.cfg.Wall(), in.Destroy)
	if err != nil {
		r.Fail(message.Internal, err.Error())
		return
	}
	select { // the next rotation is due later now
	case l.rotated <- struct{}{}:
	default:
	}
	l.log.Info("login schema rotated", "epoch", s.Epoch, "destroyed_older", in.Destroy, "operator", r.Envelope().Principal)
	r.Reply(&loginpb.RotateReply{Sfu: uint32(s.SFU), Epoch: s.Epoch})
}

// Enter implements loginpb.LoginHandler.
func (l *Login) Enter(r message.Responder[*loginpb.LoginReply], in *loginpb.SealedRequest) {
	l.proof(r, in, loginpb.LoginEnterMethod, l.enter)
}

// ChangePassword implements loginpb.LoginHandler.
func (l *Login) ChangePassword(r message.Responder[*loginpb.LoginReply], in *loginpb.SealedRequest) {
	l.proof(r, in, loginpb.LoginChangePasswordMethod, l.changePassword)
}

// proof opens sealed Secrets and has f execute what they prove.
func (l *Login) proof(r message.Responder[*loginpb.LoginReply], in *loginpb.SealedRequest, method uint16,
	f func(ctx context.Context, in *loginpb.SealedRequest, s *loginpb.Secrets) (*loginpb.LoginReply, error)) {
	newer := func(schema []byte) *loginpb.LoginReply { return &loginpb.LoginReply{Schema: schema} }
	sealedWork(l, r, in, method, newer, func(ctx context.Context, text []byte) (*loginpb.LoginReply, error) {
		s := &loginpb.Secrets{}
		if err := s.Parse(text); err != nil || len(s.Nonce) != NonceSize {
			return nil, message.Errorf(message.Invalid, "login: what was sealed is not a request with a nonce of %d bytes", NonceSize)
		}
		return f(ctx, in, s)
	})
}

// sealedWork opens a sealed request and has f execute what it holds; newer makes the
// answer that gives a client another schema.
func sealedWork[R message.Message](l *Login, r message.Responder[R], in *loginpb.SealedRequest, method uint16,
	newer func(schema []byte) R, f func(ctx context.Context, text []byte) (R, error)) {
	l.work(r.Request, func(ctx context.Context) {
		var reply R
		text, err := l.open(in, method)
		switch {
		case errors.Is(err, errOldSchema):
			if newest := l.schemas.newest(); newest == nil {
				err = errStarting
			} else {
				reply, err = newer(newest.Bytes()), nil
			}
		case err == nil:
			reply, err = f(ctx, text)
		}
		if err != nil {
			fail(r.Request, err)
			return
		}
		r.Reply(reply)
	})
}

// errOldSchema says that the keys of a request's schema are not here, or not any more.
var errOldSchema = errors.New("login: sealed under a schema that is gone")

// open returns what was sealed. The error is errOldSchema, or final.
func (l *Login) open(in *loginpb.SealedRequest, method uint16) ([]byte, error) {
	if in.Sfu != uint32(l.host.SFU()) {
		return nil, errOldSchema
	}
	keys := l.schemas.find(l.host.Now(), in.Epoch)
	if keys == nil {
		return nil, errOldSchema
	}
	text, err := keys.Open(method, in.Binding, &sealed.Box{SFU: uint16(in.Sfu), Epoch: in.Epoch, Suite: in.Suite,
		Encapsulated: in.Encapsulated, Ciphertext: in.Ciphertext})
	if err != nil {
		return nil, message.Errorf(message.Denied, "login: %v", err)
	}
	return text, nil
}

// enter begins a session.
func (l *Login) enter(ctx context.Context, in *loginpb.SealedRequest, s *loginpb.Secrets) (*loginpb.LoginReply, error) {
	user, err := l.authenticate(ctx, s.LoginName, s.Password, in.Address)
	if err == nil {
		err = l.spend(ctx, in, s.Nonce)
	}
	if err != nil {
		return nil, err
	}
	return l.session(user)
}

// changePassword gives a user another password. All sessions end with it; the reply
// holds a new one.
func (l *Login) changePassword(ctx context.Context, in *loginpb.SealedRequest, s *loginpb.Secrets) (*loginpb.LoginReply, error) {
	user, err := l.authenticate(ctx, s.LoginName, s.Password, in.Address)
	if err != nil {
		return nil, err
	}
	name, err := normalize(s.LoginName)
	if err == nil {
		err = checkPassword(s.NewPassword, name)
	}
	if err != nil {
		return nil, message.Errorf(message.Invalid, "%v", err)
	}
	if err := l.spend(ctx, in, s.Nonce); err != nil {
		return nil, err
	}
	// The nonce was spent by this attempt: no other changes the password under this id.
	id := nonceID(in, append([]byte("password\x00"), s.Nonce...))
	verifier, err := l.verifier(ctx, s.NewPassword, l.salt(id, user.LoginHash))
	if err != nil {
		return nil, err
	}
	tx := txnpb.Transaction{Id: id, Users: []txnpb.UserChange{{Number: user.Number, Verifier: verifier, KeepStanding: true}}}
	o, err := l.submit(ctx, user.Number, message.RoleOperator, message.Marshal(&tx))
	if err != nil {
		return nil, err
	}
	if !updated(o) {
		return nil, message.Errorf(message.Invalid, "login: the password was not changed: %s", refusal(o))
	}
	l.log.Info("password changed", "user", user.Number)
	answer, err := l.txn.FindUser(ctx, &txnpb.UserQuery{Number: user.Number})
	switch {
	case err != nil:
		return nil, fmt.Errorf("login: the password was changed; log in with it: %w", err)
	case answer.User == nil || answer.User.Disabled:
		return nil, errDenied
	}
	return l.session(answer.User)
}

// verifier makes the verifier of a password when it is its turn.
func (l *Login) verifier(ctx context.Context, password string, salt [saltSize]byte) (string, error) {
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-l.slots }()
	return l.cost.hash(password, salt), nil
}
