package cluster

import (
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/ledger"
	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/comps/txn/store/memstore"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/schema/txnpb"
	"virtualservicesinc.com/rrts/sim/disk"
)

const (
	// segmentBytes keeps the journal's segments small, so that runs of seconds see
	// many of them begin, end and be used again.
	segmentBytes = 64 << 10
	// keepBytes is how much log a node keeps when it compacts.
	keepBytes = 16 << 10
	// cacheBytes makes the log read back what a member that lags needs.
	cacheBytes = 64 << 10
)

// smallCaches makes the ledger evict and read back.
var smallCaches = ledger.Config{MaxCachedAccounts: 1000, MaxCachedPendings: 1000, MaxCachedIDs: 1000}

// node is one SFU: what survives a crash, and the life that it leads now.
type node struct {
	w    *world
	id   uint64 // SFU number, raft id and network port
	rng  *rand.Rand
	disk *disk.Disk
	// rows survives with what was flushed; state is what the machine sees of it.
	rows        *memstore.Store
	state       store.State
	incarnation uint64
	clock       []clockSet // how its wall clock was set, the newest last
	// proven is the journal's position below which rot must be told from a torn tail:
	// a durable record or mark says that it was synced.
	proven journal.Position
	rotten bool // some of its journal below that has rotted
	fenced bool // it noted durably that its state must not be used
	// armed are events that wait for an operation of the disk, which takes up to delay
	// longer for a sync until slowUntil.
	armed            []armed
	delay, slowUntil time.Duration
	lost             bool // its journal was found damaged, or its disk is lost: it takes no part any more

	witness bool
	marker  *txnpb.Marker     // of a witness: what a crash leaves
	heard   map[uint64]uint64 // by a witness: what voters have flushed

	software uint32 // the newest apply version that what is installed knows

	founder bool          // it was there when the cluster began
	known   *txnpb.Roster // the newest that it keeps, without members that are leaving
	gone    bool          // it knows that it was removed, or overruled
	off     bool          // its machine is switched off

	*life // nil while it is down
}

// life is what a crash ends.
type life struct {
	roster    *txnpb.Roster // by which it has its peers
	epoch     uint32
	random    io.Reader // of its sessions
	responder *session.Responder
	sessions  map[uint64]*session.Session
	lanes     map[laneKey]*lane
	replica   *replica.Replica
	log       *raftlog.Log
	machine   body
	out       replica.Output

	append   []*raftpb.Message
	writing  bool // an append is with the disk
	written  time.Duration
	compact  uint64 // the log may be cut up to here
	apply    []*raftpb.Message
	applying bool
	alarm    time.Duration   // when the sessions want to be advanced; 0 means unset
	paused   time.Duration   // the process gets no time until then
	backlog  []func()        // what came meanwhile
	flushed  uint64          // applied index at the last flush
	leads    time.Duration   // since when it leads, if it is a witness; 0: it does not
	newest   uint32          // the newest apply version that its software knows
	halted   bool            // it has met a newer one
	outBy    map[uint32]bool // who says that it is not in the cluster any more
}

// newNode returns a node with an empty disk.
func newNode(w *world, id uint64) *node {
	n := &node{w: w, id: id, software: entry.ApplyVersion, rng: rand.New(rand.NewPCG(w.cfg.Seed, 100+id)), rows: memstore.New(), heard: map[uint64]uint64{}}
	n.state = w.cfg.Bug.state(id, n.rows)
	n.disk = disk.New(disk.Config{RNG: rand.New(rand.NewPCG(w.cfg.Seed, 200+id))})
	n.disk.Before(n.beforeDisk)
	n.setRight()
	return n
}

// fs is the file system that the journal sees.
func (n *node) fs() vfs.FS {
	if n.w.cfg.Bug == AckBeforeSync {
		return lateFS{n.disk, &n.w.Scheduler}
	}
	return n.disk
}

func (n *node) logConfig() raftlog.Config {
	return raftlog.Config{
		Journal: journal.Config{
			FS: n.fs(), Dir: "journal", Keys: n.w.keys, Cluster: [16]byte{1}, Epoch: 1,
			SegmentBytes: segmentBytes, Rand: n.w.random(n.rng.Uint64()),
		},
		CacheBytes: cacheBytes,
		Snapshot:   n.snapshot,
	}
}

// start begins a life. The error says that what the disk holds cannot be used,
// which no fault excuses but the failing power and rot.
func (n *node) start() error {
	n.incarnation++
	l := &life{sessions: map[uint64]*session.Session{}, lanes: map[laneKey]*lane{}, roster: n.known, newest: n.software, outBy: map[uint32]bool{}}
	var err error
	l.log, err = raftlog.Open(n.logConfig())
	if err != nil {
		return fmt.Errorf("node %d: %w", n.id, err)
	}
	members, found := &raftpb.ConfState{}, (*txnpb.Roster)(nil)
	if n.founder {
		members, found = roster.Founders(n.w.founders), n.w.founders
	}
	if l.machine, err = n.open(members, l.newest); err != nil {
		return err
	}
	if w, ok := l.machine.(*machine.Witness); ok && n.marker == nil {
		n.keepMarker(w.Marker())
	}
	applied, term := l.machine.Applied()
	if err := l.log.Begin(l.machine.Group().Conf, applied, term); err != nil {
		return fmt.Errorf("node %d: %w", n.id, err)
	}
	if l.machine.GroupIndex() > 0 {
		l.log.Grown()
	}
	if r := l.machine.Group().Roster; r != nil && roster.Newer(r, l.roster) {
		l.roster = r
	}
	l.epoch = max(1, uint32(l.log.Epoch()), roster.EpochOf(l.roster))
	l.flushed = applied
	l.replica, err = replica.New(replica.Config{
		ID: n.id, Epoch: l.epoch, Log: l.log, Applied: applied, NextExpiry: l.machine.NextExpiry(), Group: l.machine.Group(), Found: found, Holds: l.log.Holds, Witness: n.witness, Newest: l.newest,
		CompareClocks: n.w.cfg.Bug != TrustClock,
		Logger:        &raft.DefaultLogger{Logger: log.New(io.Discard, "", 0)},
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
	doer := n.newDoer(l)
	n.every(l, replica.DefaultTick, func() {
		l.replica.Tick(n.w.Now(), n.wall())
		if doer != nil {
			doer.pump()
		}
		if n.witness {
			n.watchWitness()
		}
	})
	n.every(l, upkeepInterval, n.upkeep)
	n.every(l, upkeepInterval, n.tellClocks)
	if !n.witness {
		n.every(l, scrubInterval, n.scrub)
	}
	n.poke()
	return nil
}

// every does something again and again as long as a life lasts.
func (n *node) every(l *life, d time.Duration, f func()) {
	n.w.After(d, func() {
		if n.life == l {
			n.run(l, f)
			n.every(l, d, f)
		}
	})
}

// crash ends the life. Either the power fails, and with it goes what was not synced, or
// the process alone ends.
func (n *node) crash(power bool) {
	if n.life == nil {
		return
	}
	for net := range n.w.networks {
		n.w.networks[net].Unplug(int(n.id))
	}
	n.life = nil
	n.w.report.Crashes++
	n.forget(power)
}

// forget is what the disks do when a life ends. The state's rows are not logged, so
// those that were not flushed are gone either way.
func (n *node) forget(power bool) {
	if power {
		n.disk.Crash()
	} else {
		n.disk.Kill()
	}
	if f, ok := n.state.(interface{ Crash() }); ok {
		f.Crash()
	}
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

// diskFailed ends the process, as a failed write must; anything but a failure
// that the schedule arranged is a bug.
func (n *node) diskFailed(err error) {
	if !errors.Is(err, errPower) && !errors.Is(err, errSync) {
		n.w.fail("node %d: %v", n.id, err)
	}
	n.crash(errors.Is(err, errPower))
}
