package message

// Envelope is the header of every message that RRTS carries: between Components
// of one engine, between engines (a record of the interconnect is one Envelope)
// and between clients and gateways (each frame is a big-endian uint32 length and
// one Envelope). On the wire it is a protobuf message (envelope.proto in this
// folder); absent fields take no bytes, so that a short request's header is
// about twelve bytes.
type Envelope struct {
	Kind    Kind
	Service uint16
	Method  uint16
	// Call joins an answer to its request: chosen by the sender of the request,
	// unique among its outstanding calls, returned unchanged.
	Call uint64
	// RemainingMillis is the time left until the deadline, in milliseconds as the
	// sender saw it; 0 means no deadline. Wall clocks never matter.
	RemainingMillis uint32
	// Code and Detail are set in a Failure only.
	Code   Code
	Detail string
	// Trace identifies the piece of work across SFUs; zero when not traced.
	Trace [16]byte
	// From and To are SFU numbers; 0 stands for a client, or for "not yet routed".
	From, To uint16
	// Epoch is the sender's epoch of the group; an older one is refused.
	Epoch uint32
	// Group is the transaction group that the message is about.
	Group uint16
	// Principal is the user on whose behalf a gateway sends; 0 is the system. A
	// gateway overwrites whatever a client put here.
	Principal uint64
	// Role is the principal's role as the gateway knows it.
	Role Role
	// Body is the encoded message of the method. After Parse it aliases the input.
	Body []byte
}

// Kind says what an Envelope is. Append-only: the numbers are on the wire.
type Kind uint8

const (
	KindRequest Kind = 1 // wants a Reply or a Failure
	KindReply   Kind = 2
	KindFailure Kind = 3
	KindNotice  Kind = 4 // wants nothing
	KindPacked  Kind = 5 // its body is other Envelopes; see package pack
	KindBlock   Kind = 6 // its body is another Envelope; see package block
)

// Role is what a principal may do. Append-only: the numbers are on the wire.
type Role uint8

const (
	RoleNone     Role = 0 // not logged in
	RoleClient   Role = 1 // moves its own money
	RoleOperator Role = 2 // runs the cluster
	RoleAuditor  Role = 3 // reads everything, changes nothing
	RoleSFU      Role = 4 // a Component of the cluster itself
)

// Roles is a set of roles, bit 1 << role each. Append-only: it is on the wire.
type Roles uint32

// RoleSet returns the set of the given roles.
func RoleSet(of ...Role) (s Roles) {
	for _, r := range of {
		s |= 1 << r
	}
	return s
}

// Has reports whether r is in the set.
func (s Roles) Has(r Role) bool { return s>>r&1 == 1 }
