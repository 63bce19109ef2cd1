package cluster

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/net/wire"
	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/sim/disk"
)

const (
	// frameBytes is the MTU of the simulated networks.
	frameBytes = 1500
	// segmentBytes keeps the journal's segments small, so that runs of seconds see
	// many of them begin, end and be used again.
	segmentBytes = 64 << 10
	// keepBytes is how much log a node keeps when it compacts.
	keepBytes = 16 << 10
)

// node is one SFU: what survives a crash, and the life that it leads now.
type node struct {
	w    *world
	id   uint64 // SFU number, raft id and network port
	rng  *rand.Rand
	disk *disk.Disk
	// state survives with what was flushed.
	state       *memstore.Store
	incarnation uint64
	skew        time.Duration // of its wall clock
	crashes     int

	*life // nil while it is down
}

// life is what a crash ends.
type life struct {
	responder *session.Responder
	sessions  map[uint64]*session.Session
	replica   *replica.Replica
	log       *raftlog.Log
	machine   *machine.Machine
	out       replica.Output

	append    []*raftpb.Message
	writing   bool // an append is with the disk
	apply     []*raftpb.Message
	applying  bool
	alarm     time.Duration // when the sessions want to be advanced; 0 means unset
	paused    time.Duration // the process gets no time until then
	backlog   []func()      // what came meanwhile
	unflushed int           // entries applied since the last flush
}

// start begins a life. The error says that what the disk holds cannot be used,
// which no fault of the safety phase excuses.
func (n *node) start() error {
	n.incarnation++
	l := &life{sessions: map[uint64]*session.Session{}}
	var err error
	l.log, err = raftlog.Open(raftlog.Config{
		Journal: journal.Config{
			FS: n.fs(), Dir: "journal", Keys: n.w.keys, Cluster: [16]byte{1}, Epoch: 1,
			SegmentBytes: segmentBytes, Rand: n.w.random(n.rng.Uint64()),
		},
		CacheBytes: 64 << 10,
		Snapshot:   n.snapshot,
	})
	if err != nil {
		return fmt.Errorf("node %d: %w", n.id, err)
	}
	members := &raftpb.ConfState{}
	for _, m := range n.w.nodes {
		members.Voters = append(members.Voters, m.id)
	}
	if l.machine, err = machine.Open(n.state, machine.Config{Ledger: smallCaches}, members); err != nil {
		return err
	}
	conf, err := l.machine.Members()
	if err != nil {
		return err
	}
	applied, term := l.machine.Applied()
	if err := l.log.Begin(conf, applied, term); err != nil {
		return fmt.Errorf("node %d: %w", n.id, err)
	}
	l.replica, err = replica.New(replica.Config{
		ID: n.id, Epoch: 1, Log: l.log, Applied: applied, NextExpiry: l.machine.NextExpiry(),
		Logger: &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
	})
	if err != nil {
		return err
	}
	if err := n.connect(l); err != nil {
		return err
	}
	n.life = l
	for net := range n.w.networks {
		n.w.networks[net].Plug(int(n.id), func(_ int, frame []byte) {
			n.run(l, func() { n.receive(session.Network(net), frame) })
		})
	}
	n.tick(l)
	n.poke()
	return nil
}

// fs is the file system that the journal sees.
func (n *node) fs() vfs.FS {
	if n.w.cfg.AckBeforeSync {
		return lateFS{n.disk, &n.w.Scheduler}
	}
	return n.disk
}

// smallCaches makes the ledger evict and read back.
var smallCaches = ledger.Config{MaxCachedAccounts: 1000, MaxCachedPendings: 1000, MaxCachedIDs: 1000}

// connect makes the sessions.
func (n *node) connect(l *life) error {
	var peers []session.Peer
	for _, m := range n.w.nodes {
		if m != n {
			peers = append(peers, session.Peer{SFU: uint16(m.id), Public: n.w.pairs[m.id].Public})
		}
	}
	random := n.w.random(n.rng.Uint64())
	var err error
	l.responder, err = session.NewResponder(session.ResponderConfig{
		Local: uint16(n.id), Key: n.w.pairs[n.id], PSK: psk, ClusterHash: clusterHash, Rand: random, Peers: peers,
	})
	if err != nil {
		return err
	}
	for _, p := range peers {
		l.sessions[uint64(p.SFU)], err = session.New(session.Config{
			Local: uint16(n.id), Key: n.w.pairs[n.id], Peer: p, PSK: psk, ClusterHash: clusterHash,
			Slot: p.SFU, Incarnation: n.incarnation, Rand: random, MTU: [2]int{frameBytes, frameBytes},
		})
		if err != nil {
			return err
		}
	}
	return nil
}

var psk = [32]byte{7}

const clusterHash = 0x52525453

// crash ends the life: the power of this node fails.
func (n *node) crash() {
	if n.life == nil {
		return
	}
	for net := range n.w.networks {
		n.w.networks[net].Unplug(int(n.id))
	}
	n.disk.Crash()
	n.state.Crash()
	n.crashes++
	n.life = nil
}

// run does something in a life, unless it has ended; if the process is paused, it
// waits.
func (n *node) run(l *life, f func()) {
	if n.life != l {
		return
	}
	if l.paused > n.w.Now() {
		l.backlog = append(l.backlog, f)
		return
	}
	f()
	if n.life == l {
		n.poke()
	}
}

// pause takes the processor from the node for a while.
func (n *node) pause(d time.Duration) {
	l := n.life
	if l == nil || l.paused > n.w.Now() {
		return
	}
	l.paused = n.w.Now() + d
	n.w.After(d, func() {
		if n.life != l {
			return
		}
		backlog := l.backlog
		l.backlog = nil
		for _, f := range backlog {
			n.run(l, f)
		}
	})
}

func (n *node) wall() uint64 { return uint64(n.w.start + n.w.Now() + n.skew) }

// tick gives raft its time, again and again.
func (n *node) tick(l *life) {
	n.w.After(replica.DefaultTick, func() {
		if n.life != l {
			return
		}
		n.run(l, func() { l.replica.Tick(n.w.Now(), n.wall()) })
		n.tick(l)
	})
}

// receive takes a frame.
func (n *node) receive(net session.Network, frame []byte) {
	header, err := wire.ParseHeader(frame)
	if err != nil {
		return
	}
	if header.Type == wire.TypeInitiation {
		if in, err := n.responder.Open(n.w.Now(), frame); err == nil {
			n.sessions[uint64(in.Peer)].Accept(n.w.Now(), in)
		}
		return
	}
	if s := n.sessions[uint64(header.Slot)]; s != nil {
		s.Receive(n.w.Now(), net, frame)
	}
}

// poke moves everything that can move.
func (n *node) poke() {
	l := n.life
	for moved := true; moved && n.life == l; {
		moved = n.replicate()
		for _, peer := range n.w.nodes {
			if s := l.sessions[peer.id]; s != nil && n.life == l {
				moved = n.exchange(peer.id, s) || moved
			}
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
			s.Advance(n.w.Now())
		}
	}
}

// exchange moves records, events and frames of one session.
func (n *node) exchange(peer uint64, s *session.Session) (moved bool) {
	for lane := range session.Lane(wire.Lanes) {
		for _, record := range s.Take(lane) {
			moved = true
			n.record(peer, record)
		}
	}
	for _, e := range s.Events() {
		moved = true
		switch e.Kind {
		case session.Suspect, session.Lost:
			n.replica.Suspect(peer, true)
		case session.Up, session.Recovered:
			n.replica.Suspect(peer, false)
		}
	}
	var frame [frameBytes]byte
	for {
		size, on := s.Next(n.w.Now(), frame[:])
		if size == 0 {
			return moved
		}
		for net := range n.w.networks {
			if on.Has(session.Network(net)) {
				n.w.networks[net].Send(int(n.id), int(peer), frame[:size])
			}
		}
	}
}

// record takes a raft message from a peer.
func (n *node) record(peer uint64, record []byte) {
	m := &raftpb.Message{}
	if err := proto.Unmarshal(record, m); err != nil || m.GetFrom() != peer || m.GetTo() != n.id {
		n.w.fail("node %d got a record from %d that is not for it: %v %v", n.id, peer, err, m)
		return
	}
	n.replica.Step(m)
}

// send sends a raft message to a peer.
func (n *node) send(m *raftpb.Message) {
	raw, err := proto.Marshal(m)
	if err != nil {
		n.w.fail("node %d: %v", n.id, err)
		return
	}
	lane := session.LaneControl
	switch m.GetType() {
	case raftpb.MsgApp, raftpb.MsgAppResp:
		lane = session.LaneCommit
	case raftpb.MsgSnap:
		lane = session.LaneBulk
		l := n.life
		n.w.After(stateTransfer, func() { n.run(l, func() { n.replica.SnapshotSent(m.GetTo(), n.rng.IntN(4) > 0) }) })
	}
	if err := n.sessions[m.GetTo()].Send(n.w.Now(), lane, raw); err != nil {
		n.replica.Unreachable(m.GetTo())
	}
}

// replicate does what the replica wants done.
func (n *node) replicate() (moved bool) {
	l := n.life
	for l.replica.Ready(&l.out) {
		moved = true
		for _, m := range l.out.Messages {
			n.send(m)
		}
		l.append = append(l.append, l.out.Append...)
		l.apply = append(l.apply, l.out.Apply...)
		for _, b := range l.out.Finished {
			b.Origin.(func(*replica.Batch))(b)
		}
	}
	n.startAppend()
	n.startApply()
	return moved
}

// startAppend gives what is to be written to the disk, which takes its time.
func (n *node) startAppend() {
	l := n.life
	if l.writing || len(l.append) == 0 {
		return
	}
	l.writing = true
	msgs := l.append
	l.append = nil
	for i, m := range msgs { // a snapshot is installed on its own
		if i > 0 && !raft.IsEmptySnap(m.GetSnapshot()) {
			msgs, l.append = msgs[:i:i], msgs[i:]
			break
		}
	}
	n.w.After(n.w.diskDelay(n.rng), func() {
		n.run(l, func() {
			if s := msgs[0].GetSnapshot(); !raft.IsEmptySnap(s) && !n.install(s) {
				return
			}
			if err := l.log.Append(msgs); err != nil {
				n.diskFailed(err)
				return
			}
			l.writing = false
			n.respond(msgs)
		})
	})
}

// stateTransfer is how long the rows of a state take to a member that lags; here
// they go by reference, and only the message that installs them is sent.
const stateTransfer = 20 * time.Millisecond

// snapshot answers raft when a member needs the state, at times only the second time.
func (n *node) snapshot() (*raftpb.Snapshot, error) {
	if n.life == nil || n.rng.IntN(2) == 0 {
		return nil, raft.ErrSnapshotTemporarilyUnavailable
	}
	conf, err := n.machine.Members()
	if err != nil {
		return nil, err
	}
	index, term := n.machine.Applied()
	n.w.states = append(n.w.states, n.state.Clone())
	ref := binary.BigEndian.AppendUint32(nil, uint32(len(n.w.states)-1))
	return &raftpb.Snapshot{Data: ref, Metadata: &raftpb.SnapshotMetadata{ConfState: conf, Index: new(index), Term: new(term)}}, nil
}

// install puts a received state in the place of the node's own; the power may fail
// at each step.
func (n *node) install(s *raftpb.Snapshot) bool {
	l := n.life
	if err := l.log.Intend(s); err != nil {
		n.diskFailed(err)
		return false
	}
	n.state.Switch(n.w.states[binary.BigEndian.Uint32(s.GetData())])
	if !n.w.calm && n.rng.IntN(4) == 0 {
		n.w.trace("node %d: power fails after it switched to a received state", n.id)
		n.w.restartLater(n)
		n.crash()
		return false
	}
	if err := l.log.Install(s); err != nil {
		n.diskFailed(err)
		return false
	}
	var err error
	if l.machine, err = machine.Open(n.state, machine.Config{Ledger: smallCaches}, nil); err != nil {
		n.w.fail("node %d: %v", n.id, err)
		return false
	}
	n.w.report.Transfers++
	l.replica.Installed(s.GetMetadata().GetIndex(), l.machine.NextExpiry())
	return true
}

// respond delivers what the messages promised once they are durable.
func (n *node) respond(msgs []*raftpb.Message) {
	for _, m := range msgs {
		for _, r := range m.GetResponses() {
			if r.GetTo() == n.id {
				n.replica.Respond(r)
			} else {
				n.send(r)
			}
		}
	}
}

// diskFailed ends the process, as a failed write must; anything but a failure
// that the simulation itself arranged is a bug.
func (n *node) diskFailed(err error) {
	if !errors.Is(err, errPower) {
		n.w.fail("node %d: %v", n.id, err)
	}
	n.crash()
}

// startApply applies committed entries, and sometimes flushes and compacts.
func (n *node) startApply() {
	l := n.life
	if l.applying || len(l.apply) == 0 {
		return
	}
	l.applying = true
	m := l.apply[0]
	l.apply = l.apply[1:]
	n.w.After(time.Duration(n.rng.Int64N(int64(200*time.Microsecond))), func() {
		n.run(l, func() {
			l.applying = false
			var results []entry.Result
			for _, e := range m.GetEntries() {
				if applied, _ := l.machine.Applied(); e.GetIndex() <= applied {
					continue // a snapshot came first
				}
				var err error
				if results, err = l.machine.Apply(e.GetIndex(), e.GetTerm(), e.GetData(), results); err != nil {
					n.w.fail("node %d: %v", n.id, err)
					return
				}
				n.w.applied(n, l.machine)
				l.unflushed++
			}
			l.replica.Applied(replica.AppliedEntries{Message: m, Results: results, NextExpiry: l.machine.NextExpiry()}, n.wall())
			n.maybeFlush()
		})
	})
}

// maybeFlush makes the state durable now and then and cuts the log below it.
func (n *node) maybeFlush() {
	l := n.life
	if l.unflushed < 20 || n.rng.IntN(10) != 0 {
		return
	}
	l.unflushed = 0
	if err := n.state.Flush(); err != nil {
		n.w.fail("node %d: %v", n.id, err)
	}
	if l.writing {
		return // one thread at a time writes the log
	}
	if err := l.log.Compact(l.log.CompactTo(n.state.Flushed(), keepBytes)); err != nil {
		n.diskFailed(err)
	}
}
