package cluster

import (
	"encoding/binary"
	"hash/crc32"
	"time"

	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/net/wire"
)

// frameBytes is the MTU of the simulated networks.
const frameBytes = 1500

var psk = [32]byte{7}

const clusterHash = 0x52525453

// laneKey names one direction of one lane with a peer.
type laneKey struct {
	peer uint64
	lane session.Lane
	sent bool
}

// lane counts the records of a connection. What a session promises is held against
// it: between an Up and its Lost every record arrives once, unchanged and in order.
type lane struct{ next uint64 }

// recordHead is what the simulation puts before each record: its number, a checksum, and
// the apply versions that the sender knows and has seen activated, and its epoch.
const recordHead = 24

// connect makes the sessions.
func (n *node) connect(l *life) error {
	l.random = n.w.random(n.rng.Uint64())
	var err error
	l.responder, err = session.NewResponder(session.ResponderConfig{
		Local: uint16(n.id), Key: n.w.pairs[n.id], PSK: psk, ClusterHash: clusterHash, Rand: l.random,
	})
	if err != nil {
		return err
	}
	return n.addSessions(l, l.peers(n.id))
}

// addSessions makes those with peers that are new.
func (n *node) addSessions(l *life, peers []session.Peer) error {
	if err := l.responder.SetPeers(peers); err != nil {
		return err
	}
	for _, p := range peers {
		if l.sessions[uint64(p.SFU)] != nil {
			continue
		}
		s, err := session.New(session.Config{
			Local: uint16(n.id), Key: n.w.pairs[n.id], Peer: p, PSK: psk, ClusterHash: clusterHash,
			Slot: p.SFU, Incarnation: n.incarnation, Rand: l.random, MTU: [2]int{frameBytes, frameBytes},
		})
		if err != nil {
			return err
		}
		l.sessions[uint64(p.SFU)] = s
	}
	return nil
}

// receive takes a frame.
func (n *node) receive(net session.Network, frame []byte) {
	header, err := wire.ParseHeader(frame)
	if err != nil {
		return
	}
	if header.Type == wire.TypeInitiation {
		if in, err := n.responder.Open(n.w.Now(), frame); err == nil && n.sessions[uint64(in.Peer)] != nil {
			n.sessions[uint64(in.Peer)].Accept(n.w.Now(), in)
		}
		return
	}
	if s := n.sessions[uint64(header.Slot)]; s != nil {
		s.SetWall(n.w.Now(), int64(n.wall()))
		s.Receive(n.w.Now(), net, frame)
	}
}

// poke moves everything that can move.
func (n *node) poke() {
	l := n.life
	for moved := true; moved && n.life == l; {
		moved = false
		for _, peer := range n.w.nodes { // first, so that an Up is told before anything is sent
			if s := l.sessions[peer.id]; s != nil && n.life == l {
				moved = n.exchange(peer.id, s) || moved
			}
		}
		if n.life == l {
			moved = n.replicate() || moved
		}
	}
	if n.life != l {
		return
	}
	for _, peer := range n.w.nodes {
		s := l.sessions[peer.id]
		if s == nil {
			continue
		}
		if at := max(s.NextTimeout(), n.w.Now()+time.Microsecond); l.alarm == 0 || at < l.alarm {
			l.alarm = at
			n.w.At(at, func() {
				if n.life == l && l.alarm == at {
					l.alarm = 0
					n.run(l, func() { n.advance() })
				}
			})
		}
	}
}

func (n *node) advance() {
	for _, peer := range n.w.nodes {
		if s := n.sessions[peer.id]; s != nil && s.NextTimeout() <= n.w.Now() {
			s.SetWall(n.w.Now(), int64(n.wall()))
			s.Advance(n.w.Now())
		}
	}
}

// exchange moves records, events and frames of one session.
func (n *node) exchange(peer uint64, s *session.Session) (moved bool) {
	l := n.life
	take := func() {
		for lane := range session.Lane(wire.Lanes) {
			for _, record := range s.Take(lane) {
				if n.life == l {
					moved = true
					n.arrived(peer, lane, record)
				}
			}
		}
	}
	take()
	for _, e := range s.Events() {
		moved = true
		switch e.Kind {
		case session.Up:
			for lane := range session.Lane(wire.Lanes) {
				delete(l.lanes, laneKey{peer, lane, true})
				delete(l.lanes, laneKey{peer, lane, false})
			}
			l.replica.Suspect(peer, false)
			n.announce(peer)
		case session.Suspect, session.Lost:
			l.replica.Suspect(peer, true)
		case session.Recovered:
			l.replica.Suspect(peer, false)
		}
	}
	take() // what came with an Up
	var frame [frameBytes]byte
	for n.life == l {
		size, on := s.Next(n.w.Now(), frame[:])
		if size == 0 {
			break
		}
		for net := range n.w.networks {
			if on.Has(session.Network(net)) {
				n.w.networks[net].Send(int(n.id), int(peer), frame[:size])
			}
		}
	}
	return moved
}

func (l *life) lane(peer uint64, number session.Lane, sent bool) *lane {
	key := laneKey{peer, number, sent}
	if l.lanes[key] == nil {
		l.lanes[key] = &lane{}
	}
	return l.lanes[key]
}

// arrived takes a record from a session.
func (n *node) arrived(peer uint64, number session.Lane, record []byte) {
	n.record(peer, number, record)
	if n.w.cfg.Bug == DuplicateRecords && n.life != nil && n.w.rng.IntN(1000) == 0 {
		n.record(peer, number, record)
	}
}

// record takes a raft message from a peer.
func (n *node) record(peer uint64, number session.Lane, record []byte) {
	in := n.lane(peer, number, false)
	if len(record) < recordHead || binary.BigEndian.Uint32(record[8:]) != crc32.ChecksumIEEE(record[12:]) {
		n.w.fail("node %d got a record from %d on lane %d that nobody sent: %x", n.id, peer, number, record)
		return
	}
	if seq := binary.BigEndian.Uint64(record); seq != in.next {
		n.w.fail("node %d got record %d from %d on lane %d, record %d is next", n.id, seq, peer, number, in.next)
		return
	}
	in.next++
	m := &raftpb.Message{}
	if err := proto.Unmarshal(record[recordHead:], m); err != nil || m.GetFrom() != peer || m.GetTo() != n.id {
		n.w.fail("node %d got a record from %d that is not for it: %v %v", n.id, peer, err, m)
		return
	}
	if epoch := binary.BigEndian.Uint32(record[20:]); epoch != n.epoch {
		if epoch < n.epoch {
			n.announce(peer) // it was overruled
		}
		return
	}
	if n.checkActive(binary.BigEndian.Uint32(record[16:])); n.halted && m.GetType() == raftpb.MsgSnap {
		return // it does not take a state that it does not understand
	}
	if m.GetType() == raftpb.MsgSnap && !n.witness && !n.takes(n.w.states[binary.BigEndian.Uint32(m.GetSnapshot().GetData())].holds) {
		n.w.trace("node %d: takes no state of node %d, whose sum does not hold", n.id, peer)
		return
	}
	n.replica.PeerKnows(peer, binary.BigEndian.Uint32(record[12:]))
	n.replica.Step(m)
}

// send sends a raft message to a peer.
func (n *node) send(m *raftpb.Message) {
	number := session.LaneControl
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgAppResp:
		number = session.LaneCommit
	case raftpb.MsgTimeoutNow:
		if n.witness && n.w.cfg.Bug == HoldOn {
			return
		}
	case raftpb.MsgSnap:
		if n.witness {
			n.w.fail("node %d is a witness, and sends a state", n.id)
			return
		}
		number = session.LaneBulk
		l := n.life
		n.w.After(stateTransfer, func() { n.run(l, func() { l.replica.SnapshotSent(m.GetTo(), n.rng.IntN(4) > 0) }) })
	}
	raw, err := proto.MarshalOptions{}.MarshalAppend(make([]byte, recordHead), m)
	if err != nil {
		n.w.fail("node %d: %v", n.id, err)
		return
	}
	s := n.sessions[m.GetTo()]
	if s == nil {
		n.replica.Unreachable(m.GetTo())
		return
	}
	out := n.lane(m.GetTo(), number, true)
	binary.BigEndian.PutUint64(raw, out.next)
	binary.BigEndian.PutUint32(raw[12:], n.newest)
	binary.BigEndian.PutUint32(raw[16:], n.machine.Group().Version)
	binary.BigEndian.PutUint32(raw[20:], n.epoch)
	binary.BigEndian.PutUint32(raw[8:], crc32.ChecksumIEEE(raw[12:]))
	if err := s.Send(n.w.Now(), number, raw); err != nil {
		n.replica.Unreachable(m.GetTo())
		return
	}
	out.next++
}
