package fabric

import (
	"errors"
	"fmt"
	"log/slog"

	"virtualservicesinc.com/net/link"
	"virtualservicesinc.com/net/session"
)

// Network is one of the two interconnect networks.
type Network = session.Network

// The networks.
const (
	A = session.A
	B = session.B
)

// Lane is one of the ordered streams of records to a peer; see package session.
type Lane = session.Lane

// The lanes.
const (
	LaneControl = session.LaneControl
	LaneCommit  = session.LaneCommit
	LaneRequest = session.LaneRequest
	LaneBulk    = session.LaneBulk

	lanes = 4
)

// maxPeers bounds the sessions of one SFU. A cluster has a few dozen SFUs; each
// session costs some kilobytes idle and two probes every 25 ms.
const maxPeers = 255

// Port is one of the links of an SFU.
type Port int

const (
	PortA       Port = Port(A) // network A
	PortB       Port = Port(B) // network B
	PortMachine Port = 2       // the SFUs on the same machine

	ports = 3
)

// String returns "A", "B" or "machine".
func (p Port) String() string {
	if p == PortMachine {
		return "machine"
	}
	return Network(p).String()
}

// Peer is another SFU of the cluster.
type Peer struct {
	SFU    uint16   // its number, 1 to 65535
	Public [32]byte // its X25519 public key
	// SameMachine says that the peer is reached through PortMachine, and only
	// there: packet sockets of one machine do not hear each other.
	SameMachine bool
}

// Record is what one Send at the other end was given.
type Record struct {
	Peer uint16
	Lane Lane
	Data []byte
}

// Config describes a fabric.
type Config struct {
	// Session is what all sessions have in common: this SFU's number and keys,
	// the cluster's secrets, the incarnation, bounds and times, with their
	// defaults. Peer, Slot and MTU must stay zero: the fabric sets them.
	Session session.Config
	// Peers are the other SFUs. SetPeers replaces them later.
	Peers []Peer
	// Links are the networks A and B and the link to the SFUs on the same
	// machine; nil where there is none. Run closes them. One of A and B alone
	// works, and is told by the event NotRedundant.
	Links [ports]link.Link
	// Deliver takes records that arrived, in order for each peer and lane, lower
	// lanes first. The slice and the data are valid until it returns. It must
	// not block: nothing is sent or received meanwhile. It may call Send and
	// SendBatch, and nothing else of the fabric. It is called by one goroutine at
	// a time, never from Send.
	Deliver func(batch []Record)
	// Event takes what happened to peers and networks; the same rules as for
	// Deliver. Records of a connection are delivered after its PeerUp and before
	// its PeerLost.
	Event func(Event)
	// Log is told of what an operator may want to read; nil is silent.
	Log *slog.Logger
}

// validate reports every fault that New of the sessions will not.
func (c *Config) validate() error {
	var faults []error
	check := func(ok bool, format string, a ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf("fabric: "+format, a...))
		}
	}
	check(c.Deliver != nil, "Config.Deliver must be set")
	check(c.Event != nil, "Config.Event must be set")
	check(c.Session.Peer == session.Peer{} && c.Session.Slot == 0 && c.Session.MTU == [2]int{},
		"Config.Session.Peer, Slot and MTU must not be set")
	faults = append(faults, c.validatePeers(c.Peers))
	return errors.Join(faults...)
}

// validatePeers checks a set of peers against the links that there are.
func (c *Config) validatePeers(peers []Peer) error {
	var faults []error
	if len(peers) > maxPeers {
		faults = append(faults, fmt.Errorf("fabric: %d peers of at most %d", len(peers), maxPeers))
	}
	seen := make(map[uint16]bool)
	for _, p := range peers {
		if seen[p.SFU] {
			faults = append(faults, fmt.Errorf("fabric: peer %d stands there twice", p.SFU))
		}
		seen[p.SFU] = true
		switch {
		case p.SameMachine && c.Links[PortMachine] == nil:
			faults = append(faults, fmt.Errorf("fabric: peer %d is on this machine, but Links[PortMachine] is nil", p.SFU))
		case !p.SameMachine && c.Links[PortA] == nil && c.Links[PortB] == nil:
			faults = append(faults, fmt.Errorf("fabric: peer %d needs a network, but Links[PortA] and Links[PortB] are nil", p.SFU))
		}
	}
	return errors.Join(faults...)
}
