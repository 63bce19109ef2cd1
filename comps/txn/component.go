package txn

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/marker"
	"virtualservicesinc.com/comps/txn/raftlog"
	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Config describes the Component.
type Config struct {
	// Group is the group's number, and Epoch its epoch, as far as is known before log and
	// state are read: they may know of a forced recovery since.
	Group uint16
	Epoch uint32
	// Node is this member's raft id and the number of its SFU.
	Node uint64
	// Seed is the roster that this member starts from. Where its version is 0 it is that
	// with which the cluster began: the members begin as it says, and the first leader
	// makes it the replicated one. Otherwise this member joins a cluster that runs
	// already: it begins with nothing, and is sent the state.
	Seed *txnpb.Roster
	// Valid, if not nil, says in one line why a roster with a new member is refused.
	Valid func(*txnpb.Roster) error
	// Roster, if not nil, is told of every newer roster, on the apply thread: it must
	// not block.
	Roster func(*txnpb.Roster)
	// Tick is the unit of the consensus' time, Heartbeat and Election are multiples
	// of it: how often a leader shows life, and the least silence after which another
	// member campaigns. 0 means 10, 30 and 100 ms.
	Tick, Heartbeat, Election time.Duration
	// Birth allows this member to begin with an empty log. Without it an empty log
	// means a lost disk, and the member refuses to start: it could vote twice.
	Birth bool
	// Born is called, if Birth is set, once the log holds something and before this
	// member promises anything to others: from then on Birth must not be set again.
	// nil means nothing is to be done.
	Born func() error
	// FS, Dir, Keys and Cluster are the journal's.
	FS      vfs.FS
	Dir     string
	Keys    journal.KeyRing
	Cluster [16]byte
	// Rotation, if not nil, changes the keys under which log and state are sealed. What a
	// crash has left of a change is ended at the start.
	Rotation Rotation
	// SegmentBytes is the size of the journal's segments; 0 means its default.
	SegmentBytes int64
	// FlushBytes is the growth of the journal after which the state is flushed, and
	// KeepBytes how much of the journal stays for members that lag; 0 means 64 and
	// 256 MiB, in a witness 64 and 64 MiB.
	FlushBytes, KeepBytes int64
	// HungAfter is how long the disk may take for a write of the log before this SFU
	// ends, to be started anew: it can promise nothing any more, and others can. 0 means
	// 30 s: a disk that only wakes up, or shares a queue with a backup, takes seconds.
	HungAfter time.Duration
	// WitnessBytes bounds the journal of a witness, which keeps what a voter lacks as
	// long as that lacks it; 0 means 4 GiB.
	WitnessBytes int64
	// Full, if not nil, reports whether the state waits for space on the disk: then
	// new work is refused. It is asked at every tick.
	Full func() bool
	// Stopping, if not nil, is called first when the Component stops: what waits
	// for the disk should give up.
	Stopping func()
	// OpenStore opens the state. The Component closes it.
	OpenStore func() (store.Store, error)
	// OpenDamaged opens the state without its rows where these are damaged, for those of
	// another member: see store.OpenDamaged. nil means that such a member does not start.
	OpenDamaged func(why string) (store.Store, error)
	// OpenMarker, if not nil, makes this member a witness: it opens what it keeps, and
	// OpenStore is not called.
	OpenMarker func() (*marker.File, error)
	// Marks is after how many entries the members compare their states, the same on all of
	// them; 0 means 256.
	Marks uint64
	// Scrub is how long the state is left alone between two looks through it, and between
	// two comparisons of what members keep of the sums of their rows; 0 means an hour.
	Scrub time.Duration
	// Machine bounds caches and names the window in which outcomes are kept.
	Machine machine.Config
	// Backup says how backups are sealed; nil means that none are made.
	Backup *BackupConfig
	// Wall is the wall clock, nanoseconds since 1970; nil means the machine's.
	Wall func() uint64
	// Clocks calls f with the wall clocks of the other SFUs that are known, nanoseconds
	// since 1970 as of now, and how far off each may be; it may block for moments. nil
	// means that clocks are not compared.
	Clocks func(f func(sfu uint16, unixNano int64, within time.Duration))
	// Timer returns the timer of the ticks; nil means one of the Go runtime.
	Timer func() (timer.Timer, error)
}

// Component is one member of a transaction group; see the package comment.
type Component struct {
	cfg  Config
	host engine.Host

	log    *raftlog.Log
	keep   keep         // what is below
	store  store.Store  // nil in a witness
	marker *marker.File // nil in others

	// storeMu is held for reading by queries and for writing while a received
	// snapshot takes the store's place.
	storeMu sync.RWMutex

	inbox    inbox
	appender *appender
	applier  *applier
	loop     *loop
	hears    atomic.Pointer[loop] // loop while it runs
	reads    chan func()
	cramped  chan struct{} // work waits for journal space
	backups  backups
	traces   traces
	tasks    tasks
	states   states
	scrubs   scrubs
	rotation rotation
	// listeners wait for events.
	listeners *listeners
	sessions  sessions

	epoch   atomic.Uint32
	group   atomic.Pointer[roster.State] // as raft knows it
	known   acquaintances
	hearsay hearsay

	mend *raftlog.Mend // the damaged log; nil when it is sound
	// fenced says that the state is damaged and has to be rebuilt before anything.
	fenced  bool
	fencing atomic.Bool // it has been found damaged in this life
	sound   atomic.Bool // the log is, and the threads run
	mending atomic.Bool // log or state: it takes no part
	full    atomic.Bool // the disk is: new work is refused
	slow    atomic.Bool // the disk is: another member should lead

	active atomic.Uint32 // the apply version that was activated last, as applied here
	halted atomic.Bool   // the group uses what this software does not know

	stop context.CancelFunc
	crew engine.Crew
}

var _ engine.Component = (*Component)(nil)

const (
	// mailbox bounds waiting messages of each service and lane: a gateway has a
	// few batches under way, a peer a few appends.
	mailbox = 1024
	// readers is the number of queries answered at a time, and readQueue how many
	// wait: beyond, clients hear OVERLOADED at once.
	readers   = 2
	readQueue = 256
)

// New returns the Component.
func New(cfg Config) *Component {
	if cfg.Tick == 0 {
		cfg.Tick = replica.DefaultTick
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = replica.DefaultHeartbeat * cfg.Tick
	}
	if cfg.Election == 0 {
		cfg.Election = replica.DefaultElection * cfg.Tick
	}
	if cfg.FlushBytes == 0 {
		cfg.FlushBytes = defaultFlushBytes
	}
	if cfg.KeepBytes == 0 && cfg.OpenMarker != nil {
		cfg.KeepBytes = defaultWitnessKeep
	} else if cfg.KeepBytes == 0 {
		cfg.KeepBytes = defaultKeepBytes
	}
	if cfg.HungAfter == 0 {
		cfg.HungAfter = defaultHungAfter
	}
	if cfg.WitnessBytes == 0 {
		cfg.WitnessBytes = defaultWitnessMost
	}
	if cfg.Full == nil {
		cfg.Full = func() bool { return false }
	}
	if cfg.Wall == nil {
		cfg.Wall = func() uint64 { return uint64(time.Now().UnixNano()) }
	}
	if cfg.Timer == nil {
		cfg.Timer = func() (timer.Timer, error) { return timer.Runtime(), nil }
	}
	if cfg.Marks == 0 {
		cfg.Marks = defaultMarks
	}
	if cfg.Scrub == 0 {
		cfg.Scrub = scrubEvery
	}
	if cfg.Machine.Newest == 0 {
		cfg.Machine.Newest = entry.ApplyVersion
	}
	c := &Component{cfg: cfg, reads: make(chan func(), readQueue), cramped: make(chan struct{}, 1), traces: newTraces()}
	c.backups.c, c.states.c, c.scrubs.c = c, c, c
	c.rotation.c, c.rotation.wake = c, make(chan struct{}, 1)
	c.listeners = newListeners(c)
	c.epoch.Store(max(cfg.Epoch, roster.EpochOf(cfg.Seed)))
	return c
}

// Name implements engine.Component.
func (c *Component) Name() string { return "txn" }

// Services implements engine.Component. A witness answers the other members alone.
func (c *Component) Services() []engine.Service {
	if c.witness() {
		return []engine.Service{{Descriptor: &txnpb.ReplicaDescriptor, Mailbox: mailbox}}
	}
	return []engine.Service{
		{Descriptor: &txnpb.TxnDescriptor, Mailbox: mailbox},
		{Descriptor: &txnpb.ReplicaDescriptor, Mailbox: mailbox},
		{Descriptor: &txnpb.MembersDescriptor, Mailbox: replica.MaxChanges},
		{Descriptor: &txnpb.BackupDescriptor, Mailbox: mailbox},
	}
}

// Provision opens log and state and brings them together.
func (c *Component) Provision(h engine.Host) error {
	c.host = h
	c.inbox.wake = make(chan struct{}, 1)
	err := c.openKeep()
	if err == nil && c.store != nil {
		if why := c.store.Fenced(); why != "" {
			return c.openFenced(why)
		}
	}
	if err == nil {
		err = readable(c.open)
	}
	if store.IsDamage(err) || errors.Is(err, raftlog.ErrStateBehind) {
		return c.openDamagedState(err)
	}
	if journal.IsDamage(err) || errors.Is(err, raftlog.ErrVoteLost) {
		return c.openDamaged(err)
	}
	return err
}

func (c *Component) logConfig() raftlog.Config {
	cache := 0
	if c.witness() {
		cache = witnessCache
	}
	return raftlog.Config{
		CacheBytes: cache,
		Journal: journal.Config{
			FS: c.cfg.FS, Dir: c.cfg.Dir, Keys: c.cfg.Keys, Cluster: c.cfg.Cluster,
			Epoch: uint64(c.cfg.Epoch), SegmentBytes: c.cfg.SegmentBytes, Log: c.host.Log(),
		},
		Snapshot: func() (*raftpb.Snapshot, error) { return c.loop.snapshot() },
	}
}

func (c *Component) openLog() (err error) {
	c.log, err = raftlog.Open(c.logConfig())
	return err
}

// open opens the log and brings it and the state together.
func (c *Component) open() error {
	if err := c.openLog(); err != nil {
		return err
	}
	if c.log.Fresh() && !c.cfg.Birth || !c.cfg.Birth && c.cfg.Seed.Version > 0 && !c.begun() {
		return c.lostDisk()
	}
	m, err := c.begin()
	if err != nil {
		if unknownVersion(err) { // older software was installed after the activation
			c.host.Alarm(alarmVersion, engine.Critical, err.Error())
		}
		return err
	}
	c.active.Store(m.Group().Version)
	applied, term := m.Applied()
	if err := c.log.Begin(m.Group().Conf, applied, term); err != nil {
		return err
	}
	if m.GroupIndex() > 0 {
		c.log.Grown()
	}
	if err := c.beginEpoch(m); err != nil {
		return err
	}
	c.appender = newAppender(c)
	c.applier = newApplier(c, m)
	c.loop, err = newLoop(c, m)
	return err
}

// lostDisk says that this member cannot know any more what it has promised.
func (c *Component) lostDisk() error {
	return fmt.Errorf("txn: %s holds no journal, or no state with it, although this SFU has run before: its disk was lost; "+
		"give the SFU a new identity with `rrts sfu replace` instead of starting it empty", c.cfg.Dir)
}

// beginEpoch finds out the epoch. A forced recovery that a crash has cut short writes it
// into the journal's header now.
func (c *Component) beginEpoch(m body) error {
	epoch := max(c.epoch.Load(), uint32(c.log.Epoch()), roster.EpochOf(m.Group().Roster))
	c.epoch.Store(epoch)
	if j := c.log.Journal(); j.Epoch() < uint64(epoch) {
		if err := j.Rotate(uint64(epoch)); err != nil && !errors.Is(err, journal.ErrNoSpace) {
			return err
		}
	}
	return nil
}

// begin opens the body. Which members an empty state begins with is durable before
// the log holds anything: it must not depend on what the seed says later.
func (c *Component) begin() (body, error) {
	members := &raftpb.ConfState{}
	if c.cfg.Seed.Version == 0 {
		members = roster.Founders(c.cfg.Seed)
	}
	fresh := !c.begun()
	m, err := c.newBody(members)
	if err == nil && fresh {
		err = c.keep.Flush()
	}
	return m, err
}

// Validate implements engine.Component.
func (c *Component) Validate() error {
	var faults []error
	if c.cfg.Node != uint64(c.host.SFU()) {
		faults = append(faults, fmt.Errorf("txn: node %d in SFU %d: a member's raft id is its SFU's number", c.cfg.Node, c.host.SFU()))
	}
	seed := roster.State{Roster: c.cfg.Seed}
	if m := seed.Member(uint32(c.cfg.Node)); m == nil || !roster.Replicates(m.Type) {
		faults = append(faults, fmt.Errorf("txn: SFU %d has no replica by its roster", c.host.SFU()))
	} else if seed.Witness(c.cfg.Node) != c.witness() {
		faults = append(faults, fmt.Errorf("txn: SFU %d is of type %q by its roster, and runs as another", c.host.SFU(), m.Type))
	}
	return errors.Join(faults...)
}

// Start implements engine.Component.
func (c *Component) Start(ctx context.Context) error {
	ctx, c.stop = context.WithCancel(ctx)
	if c.mend == nil && !c.fenced {
		c.takePart(ctx)
		return nil
	}
	c.mending.Store(true)
	c.crew.Go(ctx, c.host, "mend", func(mendCtx context.Context) {
		if c.heal(mendCtx) {
			c.takePart(ctx)
		}
	})
	return nil
}

// takePart starts the threads of a member with a sound log.
func (c *Component) takePart(ctx context.Context) {
	for _, name := range [...]string{alarmNoLeader, alarmSolo, alarmForced} { // of an earlier life
		c.host.ClearAlarm(name)
	}
	c.sound.Store(true)
	c.mending.Store(false)
	c.sayOverruled()
	c.applier.tellRoster() // nothing is applied yet
	c.crew.Go(ctx, c.host, "appender", c.appender.run)
	c.crew.Go(ctx, c.host, "applier", c.applier.run)
	c.crew.Go(ctx, c.host, "upkeep", c.upkeep)
	c.crew.Go(ctx, c.host, "acquaint", c.acquaint)
	if c.cfg.Rotation != nil {
		c.crew.Go(ctx, c.host, "keys", c.rotation.run)
	}
	if !c.witness() {
		for range readers {
			c.crew.Go(ctx, c.host, "reader", c.read)
		}
		c.crew.Go(ctx, c.host, "scrub", c.scrubs.run)
		c.crew.Go(ctx, c.host, "events", c.listeners.run)
		c.crew.Go(ctx, c.host, "unserved effects", c.watchUnserved)
	}
	c.loop.begin()
	c.crew.Go(ctx, c.host, "loop", c.loop.run)
	c.crew.Go(ctx, c.host, "ticks", c.loop.tickOn)
	c.hears.Store(c.loop)
	c.host.WatchPeers(func(ev engine.PeerEvent) { c.post(func() { c.loop.peer(ev) }) })
}

// Drain hands leadership over and lets what is in flight finish; where the others could
// not decide without this member, its vote, too. A member that nobody can relieve just
// stops.
func (c *Component) Drain(ctx context.Context) error {
	if !c.sound.Load() {
		return nil
	}
	c.applier.do(c.applier.awaits.refuse)
	c.listeners.release()
	alone := 0
	for {
		state := make(chan handOverState, 1)
		c.post(func() { state <- c.loop.handOver() })
		select {
		case s := <-state:
			switch {
			case s == following:
				c.rest(ctx)
				return nil
			case s == nobodyElse:
				if alone++; alone > handOverPatience {
					return nil
				}
			}
		case <-ctx.Done():
			return ctx.Err()
		}
		select {
		case <-time.After(handOverPause):
		case <-ctx.Done():
			return fmt.Errorf("txn: no other member took over the leadership: %w", ctx.Err())
		}
	}
}

const (
	// handOverPause is the time between two looks at whether another member leads.
	handOverPause = 5 * time.Millisecond
	// handOverPatience is how many looks in a row find nobody to hand over to before
	// that is believed: the other members show life once in a heartbeat, and raft
	// forgets it once in an election time-out.
	handOverPatience = 60
)

// Stop implements engine.Component.
func (c *Component) Stop() {
	if c.cfg.Stopping != nil {
		c.cfg.Stopping()
	}
	c.hears.Store(nil)
	if c.stop != nil {
		c.stop()
		c.crew.Wait()
		c.stop = nil
	}
	c.backups.giveUp()
	c.states.giveUp()
	if c.mend != nil {
		if err := c.mend.Close(); err != nil {
			c.host.Log().Error("closing the journal", "err", err)
		}
		c.mend = nil
	}
	if c.loop != nil {
		c.loop.giveUp()
		c.loop.close()
		c.loop = nil
	}
	if c.log != nil {
		if err := c.log.Close(); err != nil {
			c.host.Log().Error("closing the journal", "err", err)
		}
		c.log = nil
	}
	if c.keep != nil {
		if err := c.keep.Flush(); err != nil {
			c.host.Log().Error("flushing the state: the next start replays the log", "err", err)
		}
		if err := c.keep.Close(); err != nil {
			c.host.Log().Error("closing the state", "err", err)
		}
		c.keep, c.store, c.marker = nil, nil, nil
	}
}

// read answers queries.
func (c *Component) read(ctx context.Context) {
	for {
		select {
		case f := <-c.reads:
			c.storeMu.RLock()
			f()
			c.storeMu.RUnlock()
		case <-ctx.Done():
			return
		}
	}
}

// enqueueRead hands a query to the readers, or refuses it.
func (c *Component) enqueueRead(r message.Request, f func()) {
	select {
	case c.reads <- f:
	default:
		r.Fail(message.Overloaded, fmt.Sprintf("%d queries wait already", readQueue))
	}
}

// post gives the loop something to do.
func (c *Component) post(events ...func()) { c.inbox.post(events) }

// inbox is what waits for the loop.
type inbox struct {
	mu     sync.Mutex
	events []func()
	wake   chan struct{}
}

func (b *inbox) post(events []func()) {
	b.mu.Lock()
	b.events = append(b.events, events...)
	b.mu.Unlock()
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// waits reports whether anything does.
func (b *inbox) waits() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.events) > 0
}

// take returns what waits, and reuses the slice that it gave out before.
func (b *inbox) take(reuse []func()) []func() {
	clear(reuse)
	b.mu.Lock()
	defer b.mu.Unlock()
	events := b.events
	b.events = reuse[:0]
	return events
}
