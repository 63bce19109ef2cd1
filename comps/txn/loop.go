package txn

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"slices"
	"sync"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"
	"google.golang.org/protobuf/proto"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/engine/trace"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// maxTicks is how many ticks a loop that was paused makes up for at once, if it did
// not mean to sleep through more. Messages of the leader may wait in its inbox: it
// should read them before it campaigns.
const maxTicks = 2

// never is a time that does not come.
const never = time.Duration(math.MaxInt64)

// loop owns the replica. Whoever holds mu takes its turn at the work: the goroutine of what is
// posted, that of the ticks, or one that brings a heartbeat.
type loop struct {
	c     *Component
	timer timer.Timer
	beat  func() // tells the host that turns are taken

	mu      sync.Mutex
	ended   bool
	armed   time.Duration // when the timer fires; never if it does not
	events  []func()      // reused
	replica *replica.Replica
	out     replica.Output
	ticked  time.Duration // up to when ticks are counted
	rest    int           // ticks that may come at once, because the loop slept through them
	ready   bool
	noRoom  bool // the journal could not reserve its next segment
	leading bool
	moving  bool // this member's seat goes to another one of its machine
	stays   bool // it was to, and did not
	vacant  vacancy
	stands  standing

	halted      bool // nothing of this life counts any more: the next one goes on, or none
	listening   bool // for whether others have gone on without this member
	began       time.Duration
	told        map[uint16]time.Duration // when SFUs of an older epoch were told so
	clocks      clockWatch
	clocksAsked time.Duration
	clocksTold  []replica.Clock // reused
	sums        sumWatch
	relieved    time.Duration // when it was tried last to pass the lead on because of a slow disk

	pin       *pinned
	pinning   bool
	unpinned  []chan struct{} // closed when the pin is given up
	transfers map[uint64]bool // nodes that are being sent a snapshot
	installed bool            // the last flush handed a snapshot to the appender

	awaitsSwept time.Duration

	commits router.Histogram // how long transactions took that were answered here
	replied []replied        // reused
}

func newLoop(c *Component, m body) (*loop, error) {
	l := &loop{c: c, transfers: map[uint64]bool{}, told: map[uint16]time.Duration{}, listening: true, began: c.host.Now()}
	cfg := replica.Config{
		ID: c.cfg.Node, Epoch: c.epoch.Load(), Log: c.log, NextExpiry: m.NextExpiry(),
		Group: m.Group(), Window: c.cfg.Machine.Window, Valid: c.cfg.Valid, Witness: c.witness(), CompareClocks: c.cfg.Clocks != nil, Newest: c.cfg.Machine.Newest,
		Heartbeat: int(c.cfg.Heartbeat / c.cfg.Tick), Election: int(c.cfg.Election / c.cfg.Tick),
		Holds: c.log.Holds, Logger: raftLogger{c.host.Log()},
	}
	cfg.Applied, _ = m.Applied()
	if c.cfg.Seed.Version == 0 {
		cfg.Found = c.cfg.Seed
	}
	var err error
	if l.replica, err = replica.New(cfg); err != nil {
		return nil, err
	}
	l.regrouped()
	l.timer, err = c.cfg.Timer()
	return l, err
}

// begin starts the clock of the ticks.
func (l *loop) begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ticked = l.c.host.Now()
	l.beat = l.c.host.Pulse("loop", loopLimit)
	l.armed = l.ticked + l.c.cfg.Tick
	l.timer.Arm(l.c.cfg.Tick)
}

// giveUp is for one that does not begin, perhaps because there is no timer.
func (l *loop) giveUp() {
	if l.beat == nil && l.timer != nil {
		l.timer.Close()
	}
}

// run takes turns for what is posted.
func (l *loop) run(ctx context.Context) {
	defer l.end()
	for {
		select {
		case <-ctx.Done():
			return
		case <-l.c.inbox.wake:
		}
		l.turn(cause{heard: true})
	}
}

// tickOn takes turns for the ticks.
func (l *loop) tickOn(ctx context.Context) {
	defer l.end()
	defer context.AfterFunc(ctx, func() { l.timer.Close() })()
	l.timer.Run(func() { l.turn(cause{fired: true, exact: true}) })
}

// end lets nobody take a turn any more.
func (l *loop) end() {
	l.mu.Lock()
	l.ended = true
	l.mu.Unlock()
}

// hear steps a heartbeat, or the answer to one, on the goroutine that received it, if
// nobody is at work and nothing can come of it but an answer. It reports false if it is to
// be posted.
func (l *loop) hear(m *raftpb.Message, events []func()) bool {
	if !l.mu.TryLock() {
		return false
	}
	defer l.mu.Unlock()
	if l.ended || l.halted || !l.ready || l.c.inbox.waits() || !l.replica.Idle() || !l.replica.Expects(m) {
		return false
	}
	l.turnLocked(cause{heard: true, exact: true, received: events})
	return true
}

// cause is why a turn is taken.
type cause struct {
	fired bool // the timer has
	heard bool // somebody has something to say
	exact bool // nothing else will come soon: a timer that fires in vain costs a wake-up
	// received is what came by who works for the interconnect, which is not to be asked for
	// anything; nil if nothing did.
	received []func()
}

func (l *loop) turn(why cause) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.turnLocked(why)
	}
}

// turnLocked does what is to be done. A turn that panics is the last one: nobody goes on with
// what it leaves half done.
func (l *loop) turnLocked(why cause) {
	l.ended = true
	l.beat()
	if why.fired {
		l.armed = never
	}
	events := why.received
	if events == nil { // otherwise what was posted meanwhile may wait for the interconnect
		l.events = l.c.inbox.take(l.events)
		events = l.events
	}
	for _, f := range events {
		f()
	}
	l.tick()
	if now := l.c.host.Now(); l.clocksDue(now) {
		if why.received != nil {
			l.c.inbox.post(nil) // another turn asks for them
		} else {
			l.askClocks(now)
		}
	}
	l.flush()
	if l.replica.Cramped() {
		l.c.makeRoom()
	}
	l.rest = l.restTicks(why.heard)
	if due := l.ticked + time.Duration(l.rest)*l.c.cfg.Tick; due < l.armed || why.exact && due != l.armed {
		l.armed = due
		l.timer.Arm(due - l.c.host.Now())
	}
	l.ended = false
}

// restTicks is how many ticks may pass before the loop must look at the clock again. An
// idle group is woken by heartbeats alone: a leader has nothing to do before the next
// one is due, nor a member that was just spoken to until one is late. Only silence is
// counted tick by tick, so that an election comes when its time has come.
func (l *loop) restTicks(heard bool) int {
	switch {
	case !l.replica.Idle():
		return 1
	case l.leading:
		return l.replica.NextBeat()
	case heard:
		return int(l.c.cfg.Heartbeat/l.c.cfg.Tick) + 1
	}
	return 1
}

// loopLimit is the longest silence of the loop before it counts as stuck: well
// above what a loaded desktop does to a process.
const loopLimit = 10 * time.Second

func (l *loop) tick() {
	now := l.c.host.Now()
	for n := 0; now-l.ticked >= l.c.cfg.Tick; n++ {
		if n >= max(l.rest, maxTicks) {
			l.ticked = now
			break
		}
		l.ticked += l.c.cfg.Tick
		if l.listens(now) || l.halted {
			continue
		}
		l.replica.Tick(now, l.c.cfg.Wall())
		l.lookAtDisk()
		l.lookAtSpeed(now)
		l.vacant.look(l.c.host, now, l.replica.Lead(), l.replica.Group())
		l.stands.look(l.c.host, l.leading, l.replica.Group())
		state, lasting, off := l.replica.Clock(now)
		l.clocks.look(l.c.host, now, l.leading, state, lasting, off)
		l.compareSums(now)
		l.unpinOld()
	}
	if l.leading {
		l.sweepAwaits(now)
	}
}

// flush does what the replica wants done.
func (l *loop) flush() {
	for !l.halted && l.replica.Ready(&l.out) {
		o := &l.out
		if o.LeadChanged {
			l.leadChanged(o.Lead, o.Term)
		}
		for _, m := range o.Messages {
			l.send(m)
		}
		for _, m := range o.Append {
			l.installed = l.installed || !raft.IsEmptySnap(m.GetSnapshot())
		}
		l.c.note(trace.Appended, o.Append)
		l.c.note(trace.Committed, o.Apply)
		l.c.appender.add(o.Append)
		l.c.applier.apply(o.Apply)
		for _, b := range o.Finished {
			l.replies(b)
			finish(b)
		}
		for _, rd := range o.Reads {
			rd.Origin.(func(ok bool))(!rd.Failed)
		}
		for _, ch := range o.Changes {
			ch.Origin.(func(*replica.Change))(ch)
		}
	}
	if !l.ready && !l.halted {
		if st := l.replica.Status(); st.Lead != 0 && st.Applied >= st.Commit {
			l.ready = true
			l.c.host.Ready(true)
		}
	}
}

// finish answers a batch.
func finish(b *replica.Batch) {
	switch r := b.Origin.(type) {
	case message.Responder[*txnpb.Outcomes]:
		r.ReplyPlain(&txnpb.Outcomes{Outcomes: b.Outcomes})
	case message.Responder[*txnpb.Outcome]:
		r.Reply(&b.Outcomes[0])
	}
}

func (l *loop) leadChanged(lead, term uint64) {
	l.leading = lead == l.c.cfg.Node
	if a := l.c.applier; !l.leading {
		a.do(a.awaits.refuse)
	}
	// The epoch stands above the term: terms begin anew with a restore.
	for _, service := range [...]uint16{txnpb.TxnService, txnpb.MembersService} {
		l.c.host.Hold(service, sfuOf(l.decides(lead)), uint64(l.c.epoch.Load())<<40|term)
	}
	if l.leading {
		l.announce(0)
	}
	if l.leading && l.c.witness() {
		l.c.host.Log().Info("this witness leads until another SFU has caught up", "term", term)
	}
	if lead == 0 {
		l.c.host.Log().Debug("no leader", "term", term)
	} else {
		l.c.host.Log().Info("leader", "sfu", sfuOf(lead), "term", term)
	}
}

// decides is a leader with which anything is decided: not a witness.
func (l *loop) decides(lead uint64) uint64 {
	if l.replica.Witness(lead) {
		return 0
	}
	return lead
}

// sfuOf returns the SFU of a member: a raft id is the number of its SFU.
func sfuOf(node uint64) uint16 { return uint16(node) }

// send sends a raft message to a peer. Only the loop may call it with a MsgSnap.
func (l *loop) send(m *raftpb.Message) {
	if m.GetType() == raftpb.MsgSnap {
		l.sendSnapshot(m)
		return
	}
	if err := l.c.sendRaft(m); err != nil {
		l.replica.Unreachable(m.GetTo())
	}
}

// sendRaft encodes a raft message and hands it to the engine.
func (c *Component) sendRaft(m *raftpb.Message) error {
	raw, err := proto.Marshal(m)
	if err != nil {
		return fmt.Errorf("txn: encoding %v: %w", m.GetType(), err)
	}
	method := txnpb.ReplicaControlMethod
	if t := m.GetType(); t == raftpb.MsgApp || t == raftpb.MsgAppResp {
		method = txnpb.ReplicaAppendMethod
	}
	return c.host.Notify(engine.Notice{
		To: sfuOf(m.GetTo()), Service: txnpb.ReplicaService, Method: method,
		Epoch: c.epoch.Load(), Group: c.cfg.Group,
		Body:  message.Marshal(&txnpb.RaftMessage{Message: raw, Full: c.full.Load(), Slow: c.slow.Load(), NewestVersion: c.cfg.Machine.Newest, ActiveVersion: c.active.Load()}),
		Plain: plain(m.GetEntries()),
	})
}

// plain reports whether nothing sensitive stands in entries of the log: changes of the
// group hold nothing secret, and the others are batches of transactions.
func plain(entries []*raftpb.Entry) bool {
	for _, e := range entries {
		if e.GetType() == raftpb.EntryNormal && !entry.Plain(e.GetData()) {
			return false
		}
	}
	return true
}

// peer takes note of what the engine tells of another SFU.
func (l *loop) peer(ev engine.PeerEvent) {
	id := uint64(ev.Peer.SFU)
	l.replica.Draining(id, ev.Peer.Draining && ev.Change != engine.PeerLost)
	switch ev.Change {
	case engine.PeerSuspect, engine.PeerLost:
		l.replica.Suspect(id, true)
	case engine.PeerRecovered:
		l.replica.Suspect(id, false)
	case engine.PeerUp:
		l.replica.Suspect(id, false)
		l.announce(ev.Peer.SFU)
	}
}

// handOverState is how far a hand-over is.
type handOverState int

const (
	following  handOverState = iota // this member does not lead (any more)
	handing                         // another was asked to take over
	nobodyElse                      // no other member is there to take over
)

// handOver passes leadership on, if this member has it. Where no other voter is there to
// take it, a learner of the same machine becomes one in this member's place: the lead goes
// with the seat.
func (l *loop) handOver() handOverState {
	self := uint32(l.c.cfg.Node)
	switch {
	case l.halted:
		return following
	case !l.leading:
		if s := l.replica.Group(); s.Joint() && slices.Contains(s.Conf.VotersOutgoing, uint64(self)) {
			return handing // until the others can do without it
		}
		return following
	case l.moving || l.replica.Group().Joint():
		return handing
	case l.replica.HandOver():
		return handing
	}
	to, ok := l.replica.Successor(self)
	if !ok || l.stays {
		return nobodyElse
	}
	l.moving = true
	l.moveSeat(self, to, func(refused string) {
		l.moving, l.stays = false, refused != ""
	})
	return handing
}

// lookAtDisk notes whether the disk has room for new work. A leader without room lets a
// member lead that has some.
func (l *loop) lookAtDisk() {
	full := l.noRoom || l.c.cfg.Full()
	if full {
		l.replica.Yield()
	}
	if full == l.c.full.Load() {
		return
	}
	l.c.full.Store(full)
	l.replica.Full(full)
	if full {
		l.c.host.Alarm("disk-full", engine.Critical,
			"new transactions are refused, reads go on; make room on the disk that holds "+l.c.cfg.Dir)
	} else {
		l.c.host.ClearAlarm("disk-full")
	}
}

// close releases what the loop holds; no thread runs any more.
func (l *loop) close() {
	for _, p := range []*pinned{l.pin, l.c.applier.pin} {
		if p != nil && !p.closed {
			p.close(l.c.host.Log())
		}
	}
}

// raftLogger takes raft's lines into the Component's log. What raft calls info is
// of interest when an election goes wrong and noise otherwise.
type raftLogger struct{ log *slog.Logger }

func (r raftLogger) Debug(v ...any)              { r.log.Debug(fmt.Sprint(v...)) }
func (r raftLogger) Debugf(f string, v ...any)   { r.log.Debug(fmt.Sprintf(f, v...)) }
func (r raftLogger) Info(v ...any)               { r.log.Debug(fmt.Sprint(v...)) }
func (r raftLogger) Infof(f string, v ...any)    { r.log.Debug(fmt.Sprintf(f, v...)) }
func (r raftLogger) Warning(v ...any)            { r.log.Warn(fmt.Sprint(v...)) }
func (r raftLogger) Warningf(f string, v ...any) { r.log.Warn(fmt.Sprintf(f, v...)) }
func (r raftLogger) Error(v ...any)              { r.log.Error(fmt.Sprint(v...)) }
func (r raftLogger) Errorf(f string, v ...any)   { r.log.Error(fmt.Sprintf(f, v...)) }
func (r raftLogger) Fatal(v ...any)              { panic(fmt.Sprint(v...)) }
func (r raftLogger) Fatalf(f string, v ...any)   { panic(fmt.Sprintf(f, v...)) }
func (r raftLogger) Panic(v ...any)              { panic(fmt.Sprint(v...)) }
func (r raftLogger) Panicf(f string, v ...any)   { panic(fmt.Sprintf(f, v...)) }
