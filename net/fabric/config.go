package fabric

import (
	"errors"
	"fmt"
	"log/slog"
	"slices"

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
	PortUDPA    Port = 3       // UDP, in the place of network A
	PortUDPB    Port = 4       // UDP, in the place of network B

	// Ports is the number of ports.
	Ports = 5
)

// String returns "A", "B", "machine", "udp_a" or "udp_b".
func (p Port) String() string { return [...]string{"A", "B", "machine", "udp_a", "udp_b"}[p] }

// Links are the links of an SFU by port; nil where there is none.
type Links [Ports]link.Link

// Via is by which links a peer is reached.
type Via uint8

const (
	ViaNetworks Via = iota // the networks A and B
	ViaMachine             // the link to the SFUs on the same machine
	ViaUDP                 // UDP
)

// Port returns the link that a network of a peer's session is.
func (v Via) Port(n Network) Port {
	switch v {
	case ViaMachine:
		return PortMachine
	case ViaUDP:
		return PortUDPA + Port(n)
	}
	return Port(n)
}

// Peer is another SFU of the cluster.
type Peer struct {
	SFU    uint16   // its number, 1 to 65535
	Public [32]byte // its X25519 public key
	// Via says by which links it is reached, and by no others. One on the same machine
	// is by ViaMachine: packet sockets of one machine do not hear each other.
	Via Via
	// OnlyA says that nothing leads to it on network B.
	OnlyA bool
	// Spare says that nobody needs to be told when one network alone leads to it.
	Spare bool
}

// ports returns the links that lead to the peer.
func (p *Peer) ports() []Port {
	if p.Via == ViaMachine || p.OnlyA {
		return []Port{p.Via.Port(A)}
	}
	return []Port{p.Via.Port(A), p.Via.Port(B)}
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
	// defaults. Peer, Slot, MTU and Pacer must stay zero: the fabric sets them.
	Session session.Config
	// Peers are the other SFUs. SetPeers replaces them later.
	Peers []Peer
	// Links are closed by Run. One network alone works, and is told by the event
	// NotRedundant.
	Links Links
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
	check(c.Session.Peer == session.Peer{} && c.Session.Slot == 0 && c.Session.MTU == [2]int{} && c.Session.Pacer == [2]*session.Pacer{},
		"Config.Session.Peer, Slot, MTU and Pacer must not be set")
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
		if !slices.ContainsFunc(p.ports(), func(port Port) bool { return c.Links[port] != nil }) {
			faults = append(faults, fmt.Errorf("fabric: nothing leads to peer %d: there is no link to %v", p.SFU, p.ports()))
		}
	}
	return errors.Join(faults...)
}
