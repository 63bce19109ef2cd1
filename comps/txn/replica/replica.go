package replica

import (
	"fmt"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/quorum"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// DefaultTick is the unit of raft's time, DefaultHeartbeat and DefaultElection
	// count it: a leader's heartbeat every 30 ms, and a follower campaigns after a
	// silence of 100 ms, stretched at random up to twice that.
	DefaultTick      = 10 * time.Millisecond
	DefaultHeartbeat = 3
	DefaultElection  = 10

	// maxMessageBytes bounds one append message; a peer that lags gets several.
	maxMessageBytes = 2 << 20
	// maxInflightMessages bounds append messages to one peer: the entries in
	// flight, and as many again while a lagging peer catches up.
	maxInflightMessages = 16
	// maxUncommittedBytes bounds the log's uncommitted tail on the leader.
	maxUncommittedBytes = 128 << 20
)

// Config describes a replica.
type Config struct {
	// ID is this member's raft id, never reused after its disk was lost.
	ID uint64
	// Epoch is the group's epoch, which stands in every entry; a forced recovery in Group,
	// or in the log, raises it.
	Epoch uint32
	// Heartbeat and Election count ticks; 0 means DefaultHeartbeat and
	// DefaultElection. Election must be greater.
	Heartbeat, Election int
	// Log is the durable log; its InitialState names the members.
	Log raft.Storage
	// Applied is the index up to which the machine's state reaches already.
	Applied uint64
	// NextExpiry is the earliest time-out of a pending transfer in that state,
	// nanoseconds since 1970; 0 when there is none.
	NextExpiry uint64
	// Group is the roster and the group in that state; without its Conf, the Log's.
	Group roster.State
	// Witness says that this member votes and keeps the log and has no state: Applied is
	// as far as it has read the log for changes of the group. It leads only to catch up a
	// voter, takes no submission, read or change, and founds nothing.
	Witness bool
	// Found is the roster with which the first leader founds the cluster, and Window how
	// long outcomes are kept from then on; nil means that this one does not.
	Found  *txnpb.Roster
	Window time.Duration
	// Valid, if not nil, says in one line why a roster with a new member breaks a rule
	// that package roster does not know.
	Valid func(*txnpb.Roster) error
	// Holds, if not nil, reports whether the log surely has room for entries of these
	// sizes in bytes, in this order. What it does not hold is not proposed yet: an entry
	// that waits for room at its leader, and not at the others, is committed and cannot be
	// applied here, and every read would wait for it.
	Holds func(entries []int) bool
	// CompareClocks says that the owner tells the other members' wall clocks, by Clocks:
	// without a majority of the voters' that agrees with its own a leader stamps nothing.
	CompareClocks bool
	// Newest is the newest apply version that the owner's machine knows; 0 means
	// entry.ApplyVersion.
	Newest uint32
	// Logger takes raft's own lines.
	Logger raft.Logger
}

// AppliedEntries is the apply thread's report on one Apply message.
type AppliedEntries struct {
	// Message is the MsgStorageApply that was done.
	Message *raftpb.Message
	Results []entry.Result
	// Changes are those of the roster and of the group, in their order.
	Changes []roster.Applied
	// NextExpiry as in Config, after these entries.
	NextExpiry uint64
}

// Output is what the owner must do; see the package comment. Its slices are valid
// until the next Ready.
type Output struct {
	Messages []*raftpb.Message
	Append   []*raftpb.Message
	Apply    []*raftpb.Message
	Finished []*Batch
	Reads    []*Read
	Changes  []*Change
	// Lead is the leader's raft id (0 when unknown) in Term; LeadChanged says that
	// they are not what the last Output said.
	Lead        uint64
	Term        uint64
	LeadChanged bool
}

// Replica is one member of a group. It is not safe for concurrent use.
type Replica struct {
	cfg  Config
	node *raft.RawNode

	lead, term uint64
	leading    bool
	leadTerm   uint64 // of the newest leadership of this replica
	ruled      bool   // an entry of this leadership is applied
	handing    bool   // raft may be passing the leadership on
	full       bool   // no room can be made for new work
	suspects   map[uint64]bool
	draining   map[uint64]bool
	fullPeers  map[uint64]bool
	slowPeers  map[uint64]bool
	newest     map[uint64]uint32 // apply versions that peers know
	marks      told              // chains
	sums       told              // sums of rows
	halted     bool
	silent     int    // ticks since the leader was heard, of a halted member
	beats      int    // ticks since the last heartbeat of this leader,
	beatTerm   uint64 // in this term

	work    work
	reads   reads
	changes changes
	lease   lease
	witness witness
	clocks  clocks

	applied    uint64
	nextExpiry uint64
	group      roster.State
	restored   uint64 // the entry of the newest state that raft took from another member
}

// New returns a replica that continues from its log and applied state. The error
// is raft's for an impossible configuration.
func New(cfg Config) (*Replica, error) {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = DefaultHeartbeat
	}
	if cfg.Election == 0 {
		cfg.Election = DefaultElection
	}
	if cfg.Newest == 0 {
		cfg.Newest = entry.ApplyVersion
	}
	node, err := raft.NewRawNode(&raft.Config{
		ID:                        cfg.ID,
		ElectionTick:              cfg.Election,
		HeartbeatTick:             cfg.Heartbeat,
		Storage:                   cfg.Log,
		Applied:                   cfg.Applied,
		AsyncStorageWrites:        true,
		MaxSizePerMsg:             maxMessageBytes,
		MaxCommittedSizePerReady:  maxMessageBytes,
		MaxUncommittedEntriesSize: maxUncommittedBytes,
		MaxInflightMsgs:           maxInflightMessages,
		CheckQuorum:               true,
		PreVote:                   true,
		DisableProposalForwarding: true,
		StepDownOnRemoval:         true,
		Logger:                    cfg.Logger,
	})
	if err != nil {
		return nil, fmt.Errorf("replica: %w", err)
	}
	if cfg.Group.Conf == nil {
		if _, cfg.Group.Conf, err = cfg.Log.InitialState(); err != nil {
			return nil, fmt.Errorf("replica: %w", err)
		}
	}
	r := &Replica{
		cfg: cfg, node: node, applied: cfg.Applied, nextExpiry: cfg.NextExpiry,
		term: node.BasicStatus().GetTerm(), suspects: map[uint64]bool{}, draining: map[uint64]bool{}, fullPeers: map[uint64]bool{}, slowPeers: map[uint64]bool{}, newest: map[uint64]uint32{}, marks: told{}, sums: told{},
		work: work{waiting: map[entry.Key]waiters{}}, clocks: clocks{bases: map[uint64]clockBase{}},
	}
	r.setGroup(cfg.Group)
	return r, nil
}

// Tick advances raft's time by one tick. wall is the wall clock in
// nanoseconds since 1970, now the monotonic clock that deadlines refer to.
func (r *Replica) Tick(now time.Duration, wall uint64) {
	switch {
	case r.cfg.Witness:
		r.tickWitness()
		return
	case r.halted:
		r.tickHalted()
	default:
		r.tickRaft()
	}
	if r.handing && r.node.BasicStatus().LeadTransferee == 0 {
		r.handing = false // raft gave it up
	}
	r.work.sweep(now)
	r.reads.sweep(now)
	r.tickClock(now, wall)
	r.tickChanges(now, wall)
	r.tickLease(now)
	r.propose(now, wall)
}

// tickRaft advances raft's time, and counts as raft does how far the next heartbeat is.
func (r *Replica) tickRaft() {
	r.node.Tick()
	st := r.node.BasicStatus()
	if st.RaftState != raft.StateLeader || st.GetTerm() != r.beatTerm {
		r.beats, r.beatTerm = 0, st.GetTerm()
	}
	if st.RaftState == raft.StateLeader {
		r.beats = (r.beats + 1) % r.cfg.Heartbeat
	}
}

// NextBeat is how many ticks there are to a leader's next heartbeat, 1 to Config.Heartbeat.
func (r *Replica) NextBeat() int { return r.cfg.Heartbeat - r.beats }

// Full tells whether the disk has no room for new work: it is answered OVERLOADED then,
// and so is what waited for room. What is under way has its room.
func (r *Replica) Full(full bool) {
	if r.full = full; full {
		r.work.dropQueued(diskFull)
	}
}

// Cramped reports whether work waits until the log has more room.
func (r *Replica) Cramped() bool { return r.work.cramped }

// Step takes a message of a peer that has passed the owner's checks (cluster,
// epoch, group, from, to). Messages that raft refuses are dropped, as the network
// may drop them; and so are proposals, which members do not forward.
func (r *Replica) Step(m *raftpb.Message) {
	switch {
	case m.GetType() == raftpb.MsgProp, r.halted && m.GetType() == raftpb.MsgTimeoutNow:
		return
	case m.GetFrom() == r.lead:
		r.silent = 0
	}
	r.learnCommitted(m)
	_ = r.node.Step(m) // of an unknown peer: answered by silence
	if r.cfg.Witness {
		r.witnessed(m)
	}
}

// Expects reports whether m is a heartbeat of the leader that is followed, or an answer to
// one by this leader, in the term that lasts: nobody else can come to lead by it.
func (r *Replica) Expects(m *raftpb.Message) bool {
	switch m.GetType() {
	case raftpb.MsgHeartbeat:
		return m.GetTerm() == r.term && m.GetFrom() == r.lead
	case raftpb.MsgHeartbeatResp:
		return m.GetTerm() == r.term && r.leading && !r.halted
	}
	return false
}

// Respond delivers a response of the append thread that is addressed to this
// replica.
func (r *Replica) Respond(m *raftpb.Message) {
	_ = r.node.Step(m) // of an older term: raft drops it by design
}

// Applied takes the apply thread's report.
func (r *Replica) Applied(a AppliedEntries, now time.Duration, wall uint64) {
	r.applyChanges(a.Changes) // before raft hears that they are applied
	for _, m := range a.Message.GetResponses() {
		_ = r.node.Step(m) // addressed to this replica; never refused
	}
	for _, e := range a.Message.GetEntries() {
		r.applied = max(r.applied, e.GetIndex()) // less, when a snapshot came first
		if r.leading && e.GetTerm() == r.leadTerm {
			switch {
			case e.GetType() != raftpb.EntryNormal:
			case len(e.GetData()) > 0: // only the leader of a term makes entries of that term
				r.work.proposed = r.work.proposed[1:]
			case r.ruled:
				r.changes.emptied()
			}
			r.ruled = true
		}
	}
	r.nextExpiry = a.NextExpiry
	r.work.apply(a.Results)
	r.propose(now, wall)
}

// Installed tells that a snapshot replaced the applied state.
func (r *Replica) Installed(index, nextExpiry uint64, group roster.State) {
	r.applied, r.nextExpiry = max(r.applied, index), nextExpiry
	r.setGroup(group)
}

// Ready moves what is to be done into out, replacing its content, and reports
// whether there is anything.
func (r *Replica) Ready(out *Output) bool {
	out.reset()
	r.askReads()
	if r.node.HasReady() {
		r.take(r.node.Ready(), out)
	}
	r.serveReads()
	r.askReads() // the end of one round lets the next begin
	out.Finished = move(out.Finished, &r.work.finished)
	out.Reads = move(out.Reads, &r.reads.done)
	out.Changes = move(out.Changes, &r.changes.done)
	out.Lead, out.Term = r.lead, r.term
	return out.LeadChanged || len(out.Messages)+len(out.Append)+len(out.Apply)+len(out.Finished)+len(out.Reads)+len(out.Changes) > 0 ||
		r.node.HasReady()
}

// reset empties an Output, and keeps its memory without what it held.
func (o *Output) reset() {
	clear(o.Messages)
	clear(o.Append)
	clear(o.Apply)
	clear(o.Finished)
	clear(o.Reads)
	clear(o.Changes)
	*o = Output{Messages: o.Messages[:0], Append: o.Append[:0], Apply: o.Apply[:0], Finished: o.Finished[:0], Reads: o.Reads[:0], Changes: o.Changes[:0]}
}

// move appends what from holds to a list, and empties it.
func move[T any](to []T, from *[]T) []T {
	to = append(to, *from...)
	clear(*from)
	*from = (*from)[:0]
	return to
}

// take sorts what raft wants done.
func (r *Replica) take(rd raft.Ready, out *Output) {
	if !raft.IsEmptyHardState(rd.HardState) && rd.HardState.GetTerm() != r.term {
		r.term, out.LeadChanged = rd.HardState.GetTerm(), true
	}
	if rd.SoftState != nil {
		out.LeadChanged = out.LeadChanged || rd.SoftState.Lead != r.lead
		r.roleChanged(rd.SoftState)
	}
	for _, rs := range rd.ReadStates {
		r.reads.indexed(rs)
	}
	for _, m := range rd.Messages {
		switch m.GetTo() {
		case raft.LocalAppendThread:
			if s := m.GetSnapshot(); !raft.IsEmptySnap(s) {
				r.restored = s.GetMetadata().GetIndex()
			}
			for _, response := range m.GetResponses() {
				if isVoteResponse(response) && !r.stands() {
					r.tellCommitted(response)
				}
			}
			out.Append = append(out.Append, m)
		case raft.LocalApplyThread:
			out.Apply = append(out.Apply, m)
		default:
			if isVoteRequest(m) {
				r.tellCommitted(m)
			}
			out.Messages = append(out.Messages, m)
		}
	}
}

// roleChanged notices the beginning and the end of leadership. Between two Readys
// it can end, but not begin: this member's own vote must be durable first.
func (r *Replica) roleChanged(s *raft.SoftState) {
	r.lead = s.Lead
	leading := s.RaftState == raft.StateLeader
	if r.cfg.Witness {
		r.witness.lifting = leading
		return
	}
	if leading == r.leading {
		return
	}
	r.leading, r.handing, r.ruled, r.lease = leading, false, false, lease{}
	if leading {
		r.leadTerm = r.term
		return
	}
	r.work.abandon()
	r.reads.abandon()
	r.changes.abandon()
}

// Idle reports whether no submission and no read waits here, so that ticks matter for
// raft alone. A pending transfer that times out meanwhile is expired by the next tick.
func (r *Replica) Idle() bool { return r.work.pending == 0 && r.reads.idle() }

// Lead is the leader's raft id, 0 while none is known or the one that is known is silent:
// a learner remembers it for ever.
func (r *Replica) Lead() uint64 {
	if r.suspects[r.lead] {
		return 0
	}
	return r.lead
}

// Status is the replica's own view of its group.
type Status struct {
	Role            string // "leader", "follower", "candidate", "learner", "witness", "halted"
	Lead, Term      uint64
	Commit, Applied uint64
	Voters          []uint64 // ascending
	Learners        []uint64 // ascending
	Pending         int      // submissions queued or under way
}

// Status returns the replica's view of its group.
func (r *Replica) Status() Status {
	st := r.node.Status()
	s := Status{Lead: st.Lead, Term: st.GetTerm(), Commit: st.GetCommit(), Applied: r.applied, Pending: r.work.pending}
	switch st.RaftState {
	case raft.StateLeader:
		s.Role = "leader"
	case raft.StateFollower:
		s.Role = "follower"
	default:
		s.Role = "candidate"
	}
	if r.cfg.Witness && s.Role != "leader" {
		s.Role = "witness"
	}
	if _, ok := st.Config.Learners[r.cfg.ID]; ok {
		s.Role = "learner"
	}
	if r.halted {
		s.Role = "halted"
	}
	s.Voters = quorum.MajorityConfig(st.Config.Voters[0]).Slice()
	s.Learners = quorum.MajorityConfig(st.Config.Learners).Slice()
	return s
}
