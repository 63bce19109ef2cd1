package message

import (
	"context"
	"fmt"
)

// Message is what every generated message implements, on its pointer.
type Message interface {
	// AppendTo appends the message's protobuf form to b.
	AppendTo(b []byte) []byte
	// Size is the length that AppendTo will append, in bytes.
	Size() int
	// Parse replaces the message by what b holds, reusing the capacity of its
	// slices. Fields of type []byte alias b.
	Parse(b []byte) error
}

// Lane is the class of a message on the interconnect. Lanes 0 and 1 have strict
// priority over the others. Append-only: the numbers are on the wire.
type Lane uint8

const (
	LaneControl Lane = 0 // votes, heartbeats, announcements
	LaneCommit  Lane = 1 // log appends and their acknowledgements
	LaneRequest Lane = 2 // requests and replies
	LaneBulk    Lane = 3 // snapshots, backups
	Lanes            = 4
)

// Policy says which instance of a service answers a call.
type Policy uint8

const (
	PolicyAny    Policy = iota // the instance with the fewest outstanding calls
	PolicyLeader               // the instance that the service itself named as its holder
	PolicyKey                  // the same instance for the same key, by rendezvous hash
	PolicyAll                  // every instance; for notices only
	PolicyNamed                // the instance in the SFU that the caller names
)

// Code is the outcome of a call that a service did not answer with a reply of
// its own. Append-only: the numbers are on the wire.
type Code uint32

const (
	OK          Code = 0  // answered
	Overloaded  Code = 1  // a bounded queue was full; nothing was executed, try again later
	NotLeader   Code = 2  // the instance does not hold the service now; nothing was executed
	Expired     Code = 3  // the deadline passed; the outcome is unknown if the work had started
	Unavailable Code = 4  // no instance of the service can be reached; nothing was executed
	Unknown     Code = 5  // the instance was lost while it held the call; the outcome is unknown
	NoMethod    Code = 6  // no such service or method
	Denied      Code = 7  // the caller's role may not call this method
	Invalid     Code = 8  // the request is malformed or breaks a bound; it will never succeed
	Draining    Code = 9  // the instance is stopping; nothing was executed, another will answer
	Internal    Code = 10 // the Component failed on this request
	Quarantined Code = 11 // the request crashed its Component too often and is held for the operator
	Unsigned    Code = 12 // no valid session: log in first
	NotFound    Code = 13 // the thing that the request names does not exist
)

var codeNames = [...]string{"ok", "overloaded", "not_leader", "expired", "unavailable", "unknown", "no_method",
	"denied", "invalid", "draining", "internal", "quarantined", "unsigned", "not_found"}

func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code_%d", uint32(c))
}

// NotExecuted reports whether the code promises that nothing was executed, so
// that even a call that is not idempotent may be sent again.
func (c Code) NotExecuted() bool {
	switch c {
	case Overloaded, NotLeader, Unavailable, NoMethod, Denied, Invalid, Draining, Unsigned:
		return true
	}
	return false
}

// Error is a call's failure: a code for programs and one line for people.
type Error struct {
	Code   Code
	Detail string
}

func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Code.String()
	}
	return e.Code.String() + ": " + e.Detail
}

// Is makes errors.Is(err, &Error{Code: c}) compare codes only.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

// Errorf returns an *Error with a formatted detail.
func Errorf(code Code, format string, a ...any) *Error {
	return &Error{Code: code, Detail: fmt.Sprintf(format, a...)}
}

// MethodDescriptor is what routing must know of a method. rrtsgen makes it from
// the method's options.
type MethodDescriptor struct {
	Number     uint16
	Name       string
	Lane       Lane
	Idempotent bool   // may be sent again to another instance when the outcome is unknown
	Notice     bool   // has no reply
	Sensitive  bool   // request or reply holds a sensitive field: never compressed with other messages
	MaxBytes   uint32 // bound on the encoded request, in bytes
	Request    string // full name of the request's message
	Reply      string // full name of the reply's message; empty for a notice
	// Clients are the roles for which gateways pass a method of a service of the site,
	// as the configuration of the SFU that answers it grants them. Of RRTS's own
	// services the gateway itself knows who may call what.
	Clients Roles
}

// ServiceDescriptor is what routing must know of a service.
type ServiceDescriptor struct {
	Number  uint16 // 1–999 are RRTS's own, 1000 and up the site's
	Name    string
	Policy  Policy
	Methods []MethodDescriptor // in the order of their numbers
}

// Method returns the descriptor of method number n, or nil.
func (s *ServiceDescriptor) Method(n uint16) *MethodDescriptor {
	for i := range s.Methods {
		if s.Methods[i].Number == n {
			return &s.Methods[i]
		}
	}
	return nil
}

// Request is a request or notice as its handler sees it. It must be answered
// exactly once, by Reply or Fail, from any goroutine; a second answer and an
// answer to a notice are ignored.
type Request interface {
	// Envelope is the request's header with its body; it belongs to the handler
	// until the request is answered and to nobody afterwards.
	Envelope() *Envelope
	// Reply answers with m, which the caller may reuse when Reply returns.
	Reply(m Message)
	// Fail answers with a code instead.
	Fail(code Code, detail string)
}

// Responder answers one request of a known reply type.
type Responder[M Message] struct{ Request }

// Reply answers with m, which the caller may reuse when Reply returns.
func (r Responder[M]) Reply(m M) { r.Request.Reply(m) }

// ReplyPlain is Reply with a message that holds nothing sensitive, though one of the method
// may: it may be made smaller on its way, whoever wrote what stands in it.
func (r Responder[M]) ReplyPlain(m M) {
	if p, ok := r.Request.(interface{ ReplyPlain(m Message) }); ok {
		p.ReplyPlain(m)
		return
	}
	r.Request.Reply(m)
}

// Caller sends a request and waits for its answer.
type Caller interface {
	// Call sends body as the request of the given method and returns the body of
	// the reply, which belongs to the caller. The error is an *Error, or ctx's.
	Call(ctx context.Context, method *MethodDescriptor, service uint16, body []byte) ([]byte, error)
}
