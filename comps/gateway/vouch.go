package gateway

import (
	"fmt"

	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/sealed"
	"virtualservicesinc.com/rrts/schema/loginpb"
)

// challengeSize is the length of a connection's challenge, in bytes.
const challengeSize = 32

// proves reports whether a method of the login service proves who the client is, and
// so gives the connection a session.
func proves(method uint16) bool {
	switch method {
	case loginpb.LoginLoginMethod, loginpb.LoginEnterMethod, loginpb.LoginChangePasswordMethod:
		return true
	}
	return false
}

// bound reports whether a method of the login service takes what is bound to the
// connection: the gateway says to which one.
func bound(method uint16) bool {
	return proves(method) || method == loginpb.LoginRegisterSealedMethod || method == loginpb.LoginChangeUserSealedMethod
}

// absent reports whether a code means that a login service is not there.
func absent(code message.Code) bool {
	return code == message.Unavailable || code == message.Draining || code == message.NoMethod
}

// vouch puts into a login what the gateway knows of the connection, whatever the client
// wrote there, and takes a sealed one to the SFU that can open it.
func (c *conn) vouch(call *engine.Call) error {
	if call.Method == loginpb.LoginLoginMethod {
		var in loginpb.LoginRequest
		if err := in.Parse(call.Body); err != nil {
			return fmt.Errorf("gateway: the login request is malformed: %w", err)
		}
		in.Address = c.address
		call.Body = message.Marshal(&in)
		return nil
	}
	var in loginpb.SealedRequest
	if err := in.Parse(call.Body); err != nil {
		return fmt.Errorf("gateway: the sealed login request is malformed: %w", err)
	}
	if in.Sfu == 0 || in.Sfu > 65535 {
		return fmt.Errorf("gateway: the sealed login request names SFU %d, need 1 to 65535", in.Sfu)
	}
	in.Address, in.Binding = c.address, c.challenge[:]
	if !in.Challenged || c.admin {
		var err error
		if in.Binding, err = c.fc.Exporter(sealed.BindingLabel, sealed.BindingSize); err != nil {
			return fmt.Errorf("gateway: the TLS connection exports nothing: %w", err)
		}
	}
	call.Target, call.Body = uint16(in.Sfu), message.Marshal(&in)
	return nil
}
