package engine

import (
	"context"
	"log/slog"
	"time"

	"virtualservicesinc.com/rrts/engine/alarm"
	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/message"
)

// Component is a unit with a name, a life cycle and the services that it answers.
// See the package comment for which function runs when and on which goroutine.
type Component interface {
	// Name is the same at every call and unique in an engine; it stands in logs,
	// alarms and the quarantine.
	Name() string
	// Services says what the Component answers; it may be empty. It is called once
	// after construction and must not depend on Provision.
	Services() []Service
	// Provision keeps h and opens what the Component needs. h's calls and notices
	// may be used from Start on.
	Provision(h Host) error
	// Validate reports every fault of the configuration at once. Nothing was
	// started yet in any Component when it is called first.
	Validate() error
	// Start starts what runs and returns; ctx ends when the Component must stop.
	// That it is ready to answer is told later, by Host.Ready(true).
	Start(ctx context.Context) error
	// Serve takes a batch of requests and notices, those of the lanes with priority
	// first, in the order of arrival within a lane. It must not block. An answer
	// may come during Serve or later, from any goroutine. A notice is done when Serve
	// returns. The slice is the engine's when Serve returns; the requests are not.
	Serve(batch []message.Request)
	// Drain finishes or hands over what is in flight and returns when that is done,
	// or when ctx ends. New work by any policy but Named is already refused.
	Drain(ctx context.Context) error
	// Stop ends every goroutine and releases what Provision and Start took. It is
	// safe from any point of the life, also after a Provision or Start that failed
	// or never ran, and more than once.
	Stop()
}

// Service is one service as a Component answers it.
type Service struct {
	Descriptor *message.ServiceDescriptor
	// Mailbox bounds the requests that wait for Serve, for each lane apart, so that
	// a flood on one lane cannot lock out one with priority. A full mailbox refuses
	// with Overloaded at once. 0 means DefaultMailbox.
	Mailbox int
}

// Hearer is a Component that takes some notices where they arrive, on the goroutine that
// received them: a heartbeat costs an idle process no hand-over to another one.
type Hearer interface {
	// Hear takes a notice of the most urgent lane, or reports false: then Serve gets it.
	// It may be called beside Serve and by several at a time, while Start runs, and for
	// moments after Stop. The interconnect waits for it: it must not block, nor ask
	// the interconnect for anything that waits for it.
	Hear(n message.Request) bool
}

// Host is what the engine gives a Component. All of it may be used from any
// goroutine and never blocks, except for what Caller returns.
type Host interface {
	// SFU is the number of the SFU, 1 to 65535.
	SFU() uint16
	// Log is a logger that names the Component.
	Log() *slog.Logger
	// Now is monotonic time since an arbitrary origin.
	Now() time.Duration

	// Ready tells the cluster whether the Component can answer. Until the first
	// Ready(true), and after Ready(false), only Named calls and notices reach it.
	Ready(ready bool)
	// Offer makes services of the site known that the Component answers from now on,
	// numbers from FirstSite on, in the place of those that it offered before. They are
	// announced to every engine with their descriptions, so that they can be called from
	// everywhere. The descriptors pass to the engine for good. The error names all that
	// cannot be offered.
	Offer(services []Service) error
	// Service returns the descriptor of a service, also of one of the site that this or
	// another SFU has offered; nil if there is none. Nobody changes it any more.
	Service(number uint16) *message.ServiceDescriptor
	// Hold tells the cluster who holds a service of policy Leader as this Component
	// knows it: the SFU (0 while nobody does) and the term of that knowledge. The
	// knowledge with the highest term wins everywhere, whoever told it; in the same
	// term somebody wins over nobody. Terms must never fall, not even by a restore:
	// put the epoch above the term.
	Hold(service, holder uint16, term uint64)

	// Call sends a request; c.Done gets the answer.
	Call(c Call)
	// Caller returns what typed clients call through, for control paths that may
	// wait: never from Serve or Done. A `to` other than 0 names the SFU to ask.
	Caller(to uint16) message.Caller
	// Notify sends a notice. The body may be reused when Notify returns. An error,
	// always a *message.Error, says that nothing was sent; a nil error promises
	// nothing but that the notice is on its way.
	Notify(n Notice) error

	// Peers lists the other SFUs that are reachable, by number.
	Peers() []Peer
	// WatchPeers makes f be told of every change from now on, after one PeerUp for
	// each SFU that is reachable now. To be called once, in Start.
	WatchPeers(f func(PeerEvent))

	// Alarm raises an alarm, or adds to the count of one that stands. name is the kind,
	// or kind@subject where one kind can stand for several subjects at once:
	// "peer-lost@3".
	Alarm(name string, severity Severity, detail string)
	// ClearAlarm ends an alarm; it does nothing if none of that name stands.
	ClearAlarm(name string)

	// Go starts a goroutine of the Component: a panic in it is the Component's
	// failure, and Stop of the Component's life ends ctx. The Component's Stop must
	// see to it that f returns.
	Go(name string, f func(ctx context.Context))
	// Pulse declares a loop that must show life: beat has to be called at least once
	// every limit until the Component is stopped, or the Component is restarted.
	Pulse(name string, limit time.Duration) (beat func())
	// Renew ends this life of the Component and begins another at once: for a change of
	// what it is made of. What waits for it is kept as after a failure, without being one.
	Renew(reason string)
	// Fail is this life's failure, as a panic would be: for a Component that has found
	// that it cannot go on. What it has been given and not answered counts as the cause.
	Fail(reason string)
	// Fatal ends the whole engine: Run returns err. For what a restart of the
	// Component cannot cure and must not hide, such as a failed fsync.
	Fatal(err error)

	// Connect is for the Cluster Connector alone: it hands in the way to the other
	// SFUs and returns the way back. Whatever was connected before is cut off and its
	// peers count as lost.
	Connect(t Transport) Inlet
}

// Call is a request to a service, wherever it may be answered.
type Call struct {
	Service, Method uint16
	// Target names the SFU to ask, whatever the service's policy; 0 leaves the choice
	// to the policy. A named SFU that is not reachable is Unavailable at once.
	Target uint16
	// Any takes any ready instance although the service's policy is Leader, for
	// reads that may be stale.
	Any bool
	// Key is what PolicyKey sticks to.
	Key uint64
	// Timeout is when the caller stops waiting; 0 means DefaultTimeout, and at most
	// MaxTimeout counts.
	Timeout time.Duration
	// Trace, Principal, Role, Epoch and Group travel in the envelope.
	Trace     [16]byte
	Principal uint64
	Role      message.Role
	Epoch     uint32
	Group     uint16
	// Body is the encoded request. It passes to the engine for good: a call that is
	// sent again to another instance still needs it.
	Body []byte
	// Plain says that this Body holds nothing sensitive, though one of the method may:
	// it may be made smaller on its way, whoever wrote what stands in it.
	Plain bool
	// Done gets the answer, exactly once, on the Component's own goroutine and never
	// from within Call. It is not called any more once the Component has failed or
	// was stopped.
	Done func(Reply)
}

// Reply is the answer to a Call.
type Reply = router.Reply

// Notice is a message that wants no answer.
type Notice struct {
	// To is the SFU to tell; 0 tells every instance of the service, this SFU's own
	// included.
	To              uint16
	Service, Method uint16
	Trace           [16]byte
	Epoch           uint32
	Group           uint16
	// Body is copied before Notify returns.
	Body []byte
	// Plain is as in Call.
	Plain bool
}

// Peer is another SFU as this engine sees it.
type Peer = router.Peer

// PeerEvent is one change of one Peer. A restart of a peer is a PeerLost and a
// PeerUp with another Incarnation.
type PeerEvent = router.PeerEvent

// What can happen to a Peer.
const (
	PeerUp        = router.PeerUp        // reachable, for the first time or again
	PeerSuspect   = router.PeerSuspect   // nothing heard for a while
	PeerRecovered = router.PeerRecovered // heard again before it was given up
	PeerLost      = router.PeerLost      // given up; told exactly once for each PeerUp
	PeerAnnounced = router.PeerAnnounced // what it offers, or says of itself, has changed
)

// Transport is the way to other SFUs. Send takes one encoded Envelope for SFU to;
// it copies record before it returns, does not block and does not call back into
// the engine. Records of one lane between two SFUs arrive in order and exactly
// once as long as the peer is not lost. ErrFull says that there is no room on that
// lane; any other error that the peer cannot be reached.
type Transport interface {
	Send(to uint16, lane message.Lane, record []byte) error
}

// Inlet is the way back from a Transport into the engine.
type Inlet interface {
	// Deliver hands in encoded Envelopes that the authenticated SFU `from` sent, in
	// order. The records' bytes pass to the engine for good, the slice does not.
	Deliver(from uint16, lane message.Lane, records [][]byte)
	// PeerUp says that a peer is reachable and all streams to it begin anew: what it
	// held of ours is lost, even if no PeerLost came before.
	PeerUp(sfu uint16, incarnation uint64)
	PeerSuspect(sfu uint16)
	PeerRecovered(sfu uint16)
	PeerLost(sfu uint16)
}

// Severity of an alarm.
type Severity = alarm.Severity

const (
	Info     = alarm.Info
	Warning  = alarm.Warning
	Critical = alarm.Critical
)
