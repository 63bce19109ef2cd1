package login

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/u128"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// retryFirst and retryMost bound the pause before a transaction is submitted again
	// that no leader has taken.
	retryFirst = 5 * time.Millisecond
	retryMost  = 100 * time.Millisecond
)

// Register implements loginpb.LoginHandler. The gateway lets operators alone call
// it, and so does this.
func (l *Login) Register(r message.Responder[*loginpb.RegisterReply], in *loginpb.RegisterRequest) {
	env := r.Envelope()
	principal, role := env.Principal, env.Role
	if role != message.RoleOperator {
		r.Fail(message.Denied, "login: only an operator may create users")
		return
	}
	l.work(r.Request, func(ctx context.Context) {
		reply, err := l.register(ctx, principal, in)
		if err != nil {
			fail(r.Request, err)
			return
		}
		r.Reply(reply)
	})
}

// RegisterSealed implements loginpb.LoginHandler: Register of what no gateway can read.
func (l *Login) RegisterSealed(r message.Responder[*loginpb.RegisterReply], in *loginpb.SealedRequest) {
	env := r.Envelope()
	principal, role := env.Principal, env.Role
	if role != message.RoleOperator {
		r.Fail(message.Denied, "login: only an operator may create users")
		return
	}
	newer := func(schema []byte) *loginpb.RegisterReply { return &loginpb.RegisterReply{Schema: schema} }
	sealedWork(l, r, in, loginpb.LoginRegisterSealedMethod, newer, func(ctx context.Context, text []byte) (*loginpb.RegisterReply, error) {
		var opened loginpb.RegisterRequest
		if err := opened.Parse(text); err != nil {
			return nil, message.Errorf(message.Invalid, "login: what was sealed is no registration")
		}
		return l.register(ctx, principal, &opened)
	})
}

// register creates a user by a transaction. A rule that the request breaks is the
// reply's refusal; an error says that the outcome is not known or not final.
func (l *Login) register(ctx context.Context, principal uint64, in *loginpb.RegisterRequest) (*loginpb.RegisterReply, error) {
	name, err := normalize(in.LoginName)
	if err == nil {
		err = errors.Join(checkPassword(in.Password, name), checkPublicName(in.PublicName, name), checkRole(in.Role), checkID(in.TransactionId))
	}
	if err != nil {
		return &loginpb.RegisterReply{Refused: err.Error()}, nil
	}
	hash := hashName(l.cfg.Pepper, name)
	verifier, err := l.verifier(ctx, in.Password, l.salt(in.TransactionId, hash))
	if err != nil {
		return nil, err
	}
	tx := txnpb.Transaction{Id: in.TransactionId, Users: []txnpb.UserChange{{
		LoginHash: hash, PublicName: in.PublicName, Verifier: verifier, Role: in.Role,
	}}}
	o, err := l.submit(ctx, principal, message.RoleOperator, message.Marshal(&tx))
	if err != nil {
		return nil, err
	}
	if o.State != txnpb.StateCommitted || len(o.UserNumbers) != 1 {
		return &loginpb.RegisterReply{Refused: "login: " + refusal(o)}, nil
	}
	return &loginpb.RegisterReply{User: o.UserNumbers[0]}, nil
}

// salt derives the salt of a new verifier: fresh for every transaction, and the
// same when the same one is sent again.
func (l *Login) salt(id u128.Int, hash []byte) [saltSize]byte {
	h := hmac.New(sha256.New, l.cfg.Pepper)
	h.Write([]byte("rrts password salt 1\x00"))
	full := id.Bytes()
	h.Write(full[:])
	h.Write(hash)
	return [saltSize]byte(h.Sum(nil))
}

// submit submits a transaction until its outcome is final or ctx ends.
func (l *Login) submit(ctx context.Context, principal uint64, role message.Role, tx []byte) (*txnpb.Outcome, error) {
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		s := txnpb.Submission{Transaction: tx, Principal: principal, Role: uint32(role)}
		if deadline, ok := ctx.Deadline(); ok {
			s.RemainingMillis = uint32(max(time.Until(deadline).Milliseconds(), 1))
		}
		out, err := l.txn.Submit(ctx, &txnpb.SubmitBatch{Submissions: []txnpb.Submission{s}})
		var e *message.Error
		switch {
		case err == nil && len(out.Outcomes) == 1 && final(out.Outcomes[0].State):
			return &out.Outcomes[0], nil
		case err == nil || errors.As(err, &e) && (e.Code.NotExecuted() || e.Code == message.Unknown):
		default:
			return nil, err
		}
		select {
		case <-ctx.Done():
			return nil, message.Errorf(message.Expired, "login: no outcome in time: it may have been done or not")
		case <-time.After(pause):
		}
	}
}

func final(s txnpb.State) bool {
	switch s {
	case txnpb.StateUnknown, txnpb.StatePending, txnpb.StateOverloaded, txnpb.StateNotLeader, txnpb.StateClockUnsynced:
		return false
	}
	return true
}

// refusal says in one line why a user was not created or changed.
func refusal(o *txnpb.Outcome) string {
	if o.Results != nil && len(o.Results.Exceptions) == 1 {
		switch txnpb.UserStatus(o.Results.Exceptions[0].Status) {
		case txnpb.UserStatusLoginExists:
			return "there is a user with this login name: choose another"
		case txnpb.UserStatusPublicNameExists:
			return "there is a user with this public name: choose another"
		case txnpb.UserStatusNotFound:
			return "there is no such user: rrts user list says the numbers"
		}
	}
	return fmt.Sprintf("%v: %s", o.State, o.Reason)
}

func checkRole(role uint32) error {
	switch message.Role(role) {
	case message.RoleClient, message.RoleOperator, message.RoleAuditor:
		return nil
	}
	return fmt.Errorf("login: role %d is not one that a user can have: 1 client, 2 operator, 3 auditor", role)
}

func checkID(id u128.Int) error {
	if id.IsZero() {
		return errors.New("login: transaction_id is missing: choose one, so that the registration can be repeated")
	}
	return nil
}
