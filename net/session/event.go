package session

import "fmt"

// EventKind says what happened to a session.
type EventKind uint8

const (
	// Up: the peer is there, under keys that both sides have confirmed, and all
	// lanes begin anew. Alternates with Lost.
	Up EventKind = iota + 1
	// Lost: the peer is gone and so is all that was on the way to it or from it.
	// Comes exactly once after each Up.
	Lost
	// Suspect: the peer has been silent on every network for Config.Suspect. Only
	// between Up and Lost; alternates with Recovered.
	Suspect
	// Recovered: a suspected peer was heard.
	Recovered
	// NetworkUp: probes pass both ways and the hold-down is over.
	NetworkUp
	// NetworkDown: probes stay unanswered, or the local carrier is gone. Alternates
	// with NetworkUp, which comes first.
	NetworkDown
	// CrossWired: a probe of the other network arrived on this one: cables are
	// exchanged, or the networks are joined. (Where networks are told apart by more than
	// their cables, and addresses are learned, somebody must broadcast probes; see Probing.) Told again, with Again, every CrossWiredAgain
	// as long as such probes arrive.
	CrossWired
)

var eventNames = [...]string{"none", "up", "lost", "suspect", "recovered", "network-up", "network-down", "cross-wired"}

func (k EventKind) String() string {
	if int(k) < len(eventNames) {
		return eventNames[k]
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// Reason says why a peer was lost.
type Reason uint8

const (
	Silence  Reason = iota + 1 // nothing heard for Config.Dead
	Replaced                   // the peer began new streams: it restarted, or had lost us
	Closed                     // the peer closed the session
	Local                      // Close was called here
	Protocol                   // the peer broke the protocol, though authentic
)

var reasonNames = [...]string{"none", "silence", "replaced", "closed", "local", "protocol"}

func (r Reason) String() string {
	if int(r) < len(reasonNames) {
		return reasonNames[r]
	}
	return fmt.Sprintf("reason(%d)", uint8(r))
}

// Event is something that the session's owner must know.
type Event struct {
	Kind        EventKind
	Network     Network // of NetworkUp, NetworkDown, CrossWired
	Incarnation uint64  // of Up and Lost: the peer's
	Restarted   bool    // of Up: the incarnation is not the one of the Up before
	Reason      Reason  // of Lost
	Again       bool    // of CrossWired: not for the first time since Up
}

func (e Event) String() string {
	switch e.Kind {
	case Up:
		if e.Restarted {
			return fmt.Sprintf("up incarnation=%d restarted", e.Incarnation)
		}
		return fmt.Sprintf("up incarnation=%d", e.Incarnation)
	case Lost:
		return fmt.Sprintf("lost incarnation=%d reason=%v", e.Incarnation, e.Reason)
	case NetworkUp, NetworkDown, CrossWired:
		return fmt.Sprintf("%v %v", e.Kind, e.Network)
	}
	return e.Kind.String()
}
