package login

import (
	"context"
	"encoding/binary"
	"fmt"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/loginpb"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// ChangeUser implements loginpb.LoginHandler. The gateway lets operators alone call
// it, and so does this.
func (l *Login) ChangeUser(r message.Responder[*loginpb.ChangeUserReply], in *loginpb.ChangeUserRequest) {
	env := r.Envelope()
	principal, role := env.Principal, env.Role
	if role != message.RoleOperator {
		r.Fail(message.Denied, "login: only an operator may change users")
		return
	}
	l.work(r.Request, func(ctx context.Context) {
		reply, err := l.changeUser(ctx, principal, in)
		if err != nil {
			fail(r.Request, err)
			return
		}
		r.Reply(reply)
	})
}

// ChangeUserSealed implements loginpb.LoginHandler: ChangeUser of what no gateway can read.
func (l *Login) ChangeUserSealed(r message.Responder[*loginpb.ChangeUserReply], in *loginpb.SealedRequest) {
	env := r.Envelope()
	principal, role := env.Principal, env.Role
	if role != message.RoleOperator {
		r.Fail(message.Denied, "login: only an operator may change users")
		return
	}
	newer := func(schema []byte) *loginpb.ChangeUserReply { return &loginpb.ChangeUserReply{Schema: schema} }
	sealedWork(l, r, in, loginpb.LoginChangeUserSealedMethod, newer, func(ctx context.Context, text []byte) (*loginpb.ChangeUserReply, error) {
		var opened loginpb.ChangeUserRequest
		if err := opened.Parse(text); err != nil {
			return nil, message.Errorf(message.Invalid, "login: what was sealed is no change of a user")
		}
		return l.changeUser(ctx, principal, &opened)
	})
}

// changeUser changes a user by a transaction, which ends all sessions of the user. A
// rule that the request breaks is the reply's refusal; an error says that the outcome
// is not known or not final.
func (l *Login) changeUser(ctx context.Context, principal uint64, in *loginpb.ChangeUserRequest) (*loginpb.ChangeUserReply, error) {
	if err := checkChange(in); err != nil {
		return &loginpb.ChangeUserReply{Refused: err.Error()}, nil
	}
	change := txnpb.UserChange{Number: in.User, Role: in.Role,
		KeepStanding: in.Standing == loginpb.StandingUnchanged, Disabled: in.Standing == loginpb.StandingDisabled}
	if in.Password != "" {
		var err error
		change.Verifier, err = l.verifier(ctx, in.Password, l.salt(in.TransactionId, binary.BigEndian.AppendUint64(nil, in.User)))
		if err != nil {
			return nil, err
		}
	}
	tx := txnpb.Transaction{Id: in.TransactionId, Users: []txnpb.UserChange{change}}
	o, err := l.submit(ctx, principal, message.RoleOperator, message.Marshal(&tx))
	if err != nil {
		return nil, err
	}
	if !updated(o) {
		return &loginpb.ChangeUserReply{Refused: "login: " + refusal(o)}, nil
	}
	l.log.Info("user changed", "user", in.User, "operator", principal, "password", in.Password != "", "role", in.Role, "standing", in.Standing)
	return &loginpb.ChangeUserReply{}, nil
}

func checkChange(in *loginpb.ChangeUserRequest) error {
	if in.User == 0 {
		return fmt.Errorf("login: user is missing: name the user's number")
	}
	if in.Standing > loginpb.StandingDisabled {
		return fmt.Errorf("login: standing %d is not known", in.Standing)
	}
	if in.Password != "" {
		if err := checkPassword(in.Password, ""); err != nil {
			return err
		}
	}
	if in.Role != 0 {
		if err := checkRole(in.Role); err != nil {
			return err
		}
	}
	return checkID(in.TransactionId)
}

// updated reports whether the one change of a user that was submitted took effect.
func updated(o *txnpb.Outcome) bool {
	return o.State == txnpb.StateCommitted && o.Results != nil && len(o.Results.Exceptions) == 1 &&
		txnpb.UserStatus(o.Results.Exceptions[0].Status) == txnpb.UserStatusUpdated
}
