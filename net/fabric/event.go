package fabric

import (
	"fmt"

	"virtualservicesinc.com/net/session"
)

// EventKind says what happened.
type EventKind uint8

const (
	// PeerUp: records can be sent to the peer; all lanes begin anew. Alternates
	// with PeerLost.
	PeerUp EventKind = iota + 1
	// PeerLost: the peer is gone, and so is what was on the way to it and from
	// it. Comes exactly once after each PeerUp.
	PeerLost
	// PeerSuspect: the peer has been silent on every network for a while.
	PeerSuspect
	// PeerRecovered: a suspected peer was heard.
	PeerRecovered
	// PathUp: frames pass to the peer and back on Network.
	PathUp
	// PathDown: they no longer do.
	PathDown
	// CrossWired: frames of one network arrive on the other. Told again, with Again, every
	// session.CrossWiredAgain as long as they do.
	CrossWired
	// LinkUp: this SFU's own link, Port, can carry frames.
	LinkUp
	// LinkDown: it cannot; Why says what is known. A link begins up.
	LinkDown
	// NotRedundant: fewer than two networks lead to some peer on another machine, as
	// far as this SFU's own links go. Alternates with Redundant, and comes first.
	NotRedundant
	// Redundant: both networks are usable again.
	Redundant
	// BuffersSmall: the buffers of Port's socket are smaller than asked for; Why
	// names the limit and what raises it. At most once per port.
	BuffersSmall
)

var eventNames = [...]string{"none", "peer-up", "peer-lost", "peer-suspect", "peer-recovered",
	"path-up", "path-down", "cross-wired", "link-up", "link-down", "not-redundant", "redundant", "buffers-small"}

func (k EventKind) String() string {
	if int(k) < len(eventNames) {
		return eventNames[k]
	}
	return fmt.Sprintf("event(%d)", uint8(k))
}

// Event is something that the fabric's owner must know.
type Event struct {
	Kind        EventKind
	Peer        uint16         // of PeerUp to CrossWired
	Incarnation uint64         // of PeerUp and PeerLost: the peer's
	Restarted   bool           // of PeerUp: the peer's process is not the one of the PeerUp before
	Reason      session.Reason // of PeerLost
	Network     Network        // of PathUp, PathDown, CrossWired
	Port        Port           // of LinkUp, LinkDown, BuffersSmall
	Why         string         // of LinkDown, BuffersSmall
	Again       bool           // of CrossWired: not for the first time since PeerUp
}

func (e Event) String() string {
	switch e.Kind {
	case PeerUp:
		if e.Restarted {
			return fmt.Sprintf("%v %d incarnation=%d restarted", e.Kind, e.Peer, e.Incarnation)
		}
		return fmt.Sprintf("%v %d incarnation=%d", e.Kind, e.Peer, e.Incarnation)
	case PeerLost:
		return fmt.Sprintf("%v %d incarnation=%d reason=%v", e.Kind, e.Peer, e.Incarnation, e.Reason)
	case PeerSuspect, PeerRecovered:
		return fmt.Sprintf("%v %d", e.Kind, e.Peer)
	case PathUp, PathDown, CrossWired:
		return fmt.Sprintf("%v %d %v", e.Kind, e.Peer, e.Network)
	case LinkUp:
		return fmt.Sprintf("%v %v", e.Kind, e.Port)
	case LinkDown, BuffersSmall:
		return fmt.Sprintf("%v %v: %s", e.Kind, e.Port, e.Why)
	}
	return e.Kind.String()
}

// fromSession words a session's event as one of the fabric.
func fromSession(peer uint16, e session.Event) Event {
	kinds := [...]EventKind{
		session.Up:          PeerUp,
		session.Lost:        PeerLost,
		session.Suspect:     PeerSuspect,
		session.Recovered:   PeerRecovered,
		session.NetworkUp:   PathUp,
		session.NetworkDown: PathDown,
		session.CrossWired:  CrossWired,
	}
	return Event{
		Kind:        kinds[e.Kind],
		Peer:        peer,
		Incarnation: e.Incarnation,
		Restarted:   e.Restarted,
		Reason:      e.Reason,
		Network:     e.Network,
		Again:       e.Again,
	}
}
