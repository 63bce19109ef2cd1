package replica

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/raftpb"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// DefaultTick is the unit of raft's time, DefaultHeartbeat and DefaultElection
	// count it: a leader's heartbeat every 30 ms, and a follower campaigns after a
	// silence of 100 ms, stretched at random up to twice that.
	DefaultTick      = 10 * time.Millisecond
	DefaultHeartbeat = 3
	DefaultElection  = 10

	// MaxInflightEntries bounds the entries of this leader that are proposed and
	// not yet applied. Four keep disk and network busy while the next one fills;
	// more would only make each one smaller.
	MaxInflightEntries = 4
	// MaxEntryBytes is the size at which a batch is closed. A larger entry delays
	// all that is in it; a smaller one wastes a sync. One transaction may exceed it.
	MaxEntryBytes = 1 << 20
	// MaxEntrySubmissions bounds the submissions of one entry likewise.
	MaxEntrySubmissions = 8192
	// MaxQueueBytes and MaxQueueSubmissions bound what waits for a place in an
	// entry: about a second's work; beyond it clients hear OVERLOADED at once.
	MaxQueueBytes       = 64 << 20
	MaxQueueSubmissions = 65536
	// MaxReads bounds the reads that wait for their index.
	MaxReads = 4096

	// maxMessageBytes bounds one append message; a peer that lags gets several.
	maxMessageBytes = 2 << 20
	// maxInflightMessages bounds append messages to one peer: the entries in
	// flight, and as many again while a lagging peer catches up.
	maxInflightMessages = 16
	// maxUncommittedBytes bounds the log's uncommitted tail on the leader.
	maxUncommittedBytes = 128 << 20
	// expirePerPulse bounds the pending transfers that one entry expires.
	expirePerPulse = 8192
)

// Config describes a replica.
type Config struct {
	// ID is this member's raft id, never reused after its disk was lost.
	ID uint64
	// Epoch is the group's epoch, which stands in every entry.
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
	// Logger takes raft's own lines.
	Logger raft.Logger
}

// Batch is a set of submissions that is answered together.
type Batch struct {
	// Submissions is set by the owner and not changed until the batch is finished.
	Submissions []txnpb.Submission
	// Outcomes is filled in here, one for each submission in its order.
	Outcomes []txnpb.Outcome
	// Origin is the owner's: whom to answer.
	Origin any

	keys     []entry.Key
	deadline []time.Duration // 0: none
	open     int
}

// Read is a linearizable read that waits until it may be answered.
type Read struct {
	// Origin is the owner's.
	Origin any
	// Deadline is when the owner gives up, on the clock of now; 0 means never.
	Deadline time.Duration
	// Failed is set when the read cannot be served here: not the leader, or the
	// deadline passed. Ask the leader.
	Failed bool

	index uint64
}

// AppliedEntries is the apply thread's report on one Apply message.
type AppliedEntries struct {
	// Message is the MsgStorageApply that was done.
	Message *raftpb.Message
	Results []entry.Result
	// NextExpiry as in Config, after these entries.
	NextExpiry uint64
}

// Output is what the owner must do; see the package comment.
type Output struct {
	Messages []*raftpb.Message
	Append   []*raftpb.Message
	Apply    []*raftpb.Message
	Finished []*Batch
	Reads    []*Read
	// Lead is the leader's raft id (0 when unknown) in Term; LeadChanged says that
	// it differs from what the last Output said.
	Lead        uint64
	Term        uint64
	LeadChanged bool
}

// slot is one waiting submission.
type slot struct {
	batch *Batch
	at    int
}

// Replica is one member of a group. It is not safe for concurrent use.
type Replica struct {
	cfg  Config
	node *raft.RawNode

	lead, term uint64
	leading    bool
	leadTerm   uint64 // of the newest leadership of this replica

	queue      []slot // not yet proposed, in order of arrival
	queueBytes int
	inflight   int    // entries of this leadership not yet applied
	resolves   []slot // not yet proposed

	waiting map[entry.Key][]slot // proposed
	batches []*Batch             // not finished, in order of arrival
	reads   []*Read              // index known, or asked for under its context
	asked   map[uint64]*Read     // by context
	nextCtx uint64

	applied    uint64
	nextExpiry uint64
	expiring   bool // an expiry pulse is in flight
	suspects   map[uint64]bool

	finished []*Batch
	ready    []*Read
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
	return &Replica{
		cfg: cfg, node: node, applied: cfg.Applied, nextExpiry: cfg.NextExpiry,
		waiting: map[entry.Key][]slot{}, asked: map[uint64]*Read{}, suspects: map[uint64]bool{},
	}, nil
}

// Tick advances raft's time by one tick. wall is the wall clock in
// nanoseconds since 1970, now the monotonic clock that deadlines refer to.
func (r *Replica) Tick(now time.Duration, wall uint64) {
	r.node.Tick()
	r.sweep(now)
	if r.leading && !r.expiring && r.nextExpiry != 0 && r.nextExpiry <= wall {
		r.expiring = r.proposeEntry(&txnpb.Entry{Proposed: wall, Expire: expirePerPulse})
	}
	r.propose(wall)
}

// Step takes a message of a peer that has passed the owner's checks (cluster,
// epoch, group, from, to). Messages that raft refuses are dropped, as the network
// may drop them.
func (r *Replica) Step(m *raftpb.Message) {
	_ = r.node.Step(m) // an unknown peer or a proposal without leader: both are answered by silence
}

// Respond delivers a response of the append thread that is addressed to this
// replica.
func (r *Replica) Respond(m *raftpb.Message) {
	_ = r.node.Step(m) // of an older term: raft drops it by design
}

// Submit takes a batch. Submissions that cannot be accepted are answered in
// their Outcome; the batch is finished, now or later, through Ready.
func (r *Replica) Submit(now time.Duration, wall uint64, b *Batch) {
	n := len(b.Submissions)
	b.Outcomes = slices.Grow(b.Outcomes[:0], n)[:n]
	b.keys = make([]entry.Key, n)
	b.deadline = make([]time.Duration, n)
	b.open = n
	r.batches = append(r.batches, b)
	for i := range b.Submissions {
		s := &b.Submissions[i]
		b.Outcomes[i] = txnpb.Outcome{}
		key, err := entry.KeyOf(s)
		b.keys[i] = key
		b.Outcomes[i].Id = key.ID
		if s.RemainingMillis > 0 {
			b.deadline[i] = now + time.Duration(s.RemainingMillis)*time.Millisecond
		}
		switch {
		case err != nil:
			r.answer(slot{b, i}, txnpb.Outcome{State: txnpb.StateRefused, Reason: err.Error()})
		case !r.leading:
			r.answer(slot{b, i}, txnpb.Outcome{State: txnpb.StateNotLeader})
		case len(r.queue) >= MaxQueueSubmissions || r.queueBytes+len(s.Transaction) > MaxQueueBytes:
			r.answer(slot{b, i}, txnpb.Outcome{State: txnpb.StateOverloaded})
		case len(r.waiting[key]) > 0: // a repetition of what is under way
			r.waiting[key] = append(r.waiting[key], slot{b, i})
		default:
			r.queue = append(r.queue, slot{b, i})
			r.queueBytes += len(s.Transaction)
		}
	}
	if n == 0 {
		r.finish(b)
	}
	r.propose(wall)
}

// Resolve asks for a final answer to the ids that the batch's submissions name:
// each Transaction holds nothing but an id.
func (r *Replica) Resolve(now time.Duration, wall uint64, b *Batch) {
	b.Outcomes = make([]txnpb.Outcome, len(b.Submissions))
	b.keys = make([]entry.Key, len(b.Submissions))
	b.deadline = make([]time.Duration, len(b.Submissions))
	b.open = len(b.Submissions)
	r.batches = append(r.batches, b)
	for i := range b.Submissions {
		s := &b.Submissions[i]
		key, err := entry.KeyOf(s)
		b.keys[i] = entry.Key{ID: key.ID}
		b.Outcomes[i].Id = key.ID
		if s.RemainingMillis > 0 {
			b.deadline[i] = now + time.Duration(s.RemainingMillis)*time.Millisecond
		}
		switch {
		case err != nil:
			r.answer(slot{b, i}, txnpb.Outcome{State: txnpb.StateRefused, Reason: err.Error()})
		case !r.leading:
			r.answer(slot{b, i}, txnpb.Outcome{State: txnpb.StateNotLeader})
		case len(r.resolves) >= MaxQueueSubmissions:
			r.answer(slot{b, i}, txnpb.Outcome{State: txnpb.StateOverloaded})
		default:
			r.resolves = append(r.resolves, slot{b, i})
		}
	}
	r.propose(wall)
}

// Read asks for the right to answer a linearizable read. It comes back in
// Output.Reads, possibly Failed.
func (r *Replica) Read(rd *Read) {
	if !r.leading || len(r.reads) >= MaxReads {
		rd.Failed = true
		r.ready = append(r.ready, rd)
		return
	}
	r.nextCtx++
	r.asked[r.nextCtx] = rd
	r.reads = append(r.reads, rd)
	r.node.ReadIndex(binary.BigEndian.AppendUint64(nil, r.nextCtx))
}

// Applied takes the apply thread's report.
func (r *Replica) Applied(a AppliedEntries, wall uint64) {
	entries := a.Message.GetEntries()
	for _, e := range entries {
		if r.leading && e.GetTerm() == r.leadTerm && len(e.GetData()) > 0 {
			r.inflight-- // only the leader of a term makes entries of that term
		}
	}
	for _, m := range a.Message.GetResponses() {
		_ = r.node.Step(m) // addressed to this replica; never refused
	}
	r.applied = entries[len(entries)-1].GetIndex()
	r.nextExpiry = a.NextExpiry
	r.expiring = false
	for i := range a.Results {
		res := &a.Results[i]
		for _, s := range r.waiting[res.Key] {
			r.answer(s, res.Outcome)
		}
		delete(r.waiting, res.Key)
	}
	r.serveReads()
	r.propose(wall)
}

// Installed tells that a snapshot replaced the applied state.
func (r *Replica) Installed(index, nextExpiry uint64) {
	r.applied, r.nextExpiry = max(r.applied, index), nextExpiry
}

// Suspect tells what the interconnect thinks of a peer. When the leader falls
// silent, the lowest of the other voters campaigns at once and the rest are ready
// to vote for it: two candidates at the same time would split the votes.
func (r *Replica) Suspect(peer uint64, suspect bool) {
	if !suspect {
		delete(r.suspects, peer)
		return
	}
	r.suspects[peer] = true
	if peer != r.lead || r.leading {
		return
	}
	for id := range r.node.Status().Config.Voters.IDs() {
		if id < r.cfg.ID && !r.suspects[id] {
			_ = r.node.ForgetLeader() // refused by a learner only, which has no vote to lend
			return
		}
	}
	_ = r.node.Campaign() // refused with a membership change to apply: the timer will campaign
}

// Unreachable tells raft that messages to the peer were not sent.
func (r *Replica) Unreachable(peer uint64) { r.node.ReportUnreachable(peer) }

// SnapshotSent tells raft how the transfer of a snapshot to the peer ended.
func (r *Replica) SnapshotSent(peer uint64, ok bool) {
	status := raft.SnapshotFinish
	if !ok {
		status = raft.SnapshotFailure
	}
	r.node.ReportSnapshot(peer, status)
}

// HandOver passes leadership to the voter that has most of the log, if this
// replica leads and another voter is there. It reports whether it tried; success
// shows in Output.Lead.
func (r *Replica) HandOver() bool {
	if !r.leading {
		return false
	}
	var best, match uint64
	status := r.node.Status()
	for id := range status.Config.Voters.IDs() {
		p := status.Progress[id]
		if id == r.cfg.ID || r.suspects[id] || !p.RecentActive {
			continue
		}
		if best == 0 || p.Match > match || p.Match == match && id < best {
			best, match = id, p.Match
		}
	}
	if best == 0 {
		return false
	}
	r.node.TransferLeader(best)
	return true
}

// Ready moves what is to be done into out, replacing its content, and reports
// whether there is anything.
func (r *Replica) Ready(out *Output) bool {
	*out = Output{Lead: r.lead, Term: r.term}
	if r.node.HasReady() {
		rd := r.node.Ready()
		if rd.SoftState != nil {
			r.roleChanged(rd.SoftState)
		}
		if term := r.node.BasicStatus().GetTerm(); rd.SoftState != nil || term != r.term {
			r.term = term
			out.LeadChanged = true
		}
		out.Lead, out.Term = r.lead, r.term
		for _, rs := range rd.ReadStates {
			r.readIndexed(rs)
		}
		for _, m := range rd.Messages {
			switch m.GetTo() {
			case raft.LocalAppendThread:
				out.Append = append(out.Append, m)
			case raft.LocalApplyThread:
				out.Apply = append(out.Apply, m)
			default:
				out.Messages = append(out.Messages, m)
			}
		}
	}
	r.serveReads()
	out.Finished, r.finished = r.finished, nil
	out.Reads, r.ready = r.ready, nil
	return out.LeadChanged || len(out.Messages)+len(out.Append)+len(out.Apply)+len(out.Finished)+len(out.Reads) > 0
}

// roleChanged notices the beginning and the end of leadership.
func (r *Replica) roleChanged(s *raft.SoftState) {
	r.lead = s.Lead
	leading := s.RaftState == raft.StateLeader
	if leading == r.leading {
		return
	}
	r.leading = leading
	if leading {
		r.leadTerm, r.inflight = r.node.BasicStatus().GetTerm(), 0
		return
	}
	// What was proposed may yet be committed by the next leader, so nothing is
	// known about it; what was only queued never entered the log.
	r.expiring = false
	for _, s := range r.queue {
		r.answer(s, txnpb.Outcome{State: txnpb.StateNotLeader})
	}
	for _, s := range r.resolves {
		r.answer(s, txnpb.Outcome{State: txnpb.StateNotLeader})
	}
	r.queue, r.queueBytes, r.resolves = nil, 0, nil
	for _, b := range r.batches {
		for i := range b.Outcomes {
			if b.open > 0 && b.Outcomes[i].State == txnpb.StateUnknown {
				r.close(b)
			}
		}
	}
	clear(r.waiting)
	for _, rd := range r.reads {
		rd.Failed = true
		r.ready = append(r.ready, rd)
	}
	r.reads = nil
	clear(r.asked)
}

// propose turns what is queued into entries while there is room in flight.
func (r *Replica) propose(wall uint64) {
	for r.leading && r.inflight < MaxInflightEntries && len(r.queue)+len(r.resolves) > 0 {
		var e txnpb.Entry
		e.Proposed = wall
		n, size := 0, 0
		for n < len(r.queue) && n < MaxEntrySubmissions {
			s := r.queue[n].submission()
			if n > 0 && size+len(s.Transaction) > MaxEntryBytes {
				break
			}
			size += len(s.Transaction)
			e.Submissions = append(e.Submissions, txnpb.Submission{Transaction: s.Transaction, Principal: s.Principal, Role: s.Role})
			n++
		}
		m := min(len(r.resolves), MaxEntrySubmissions)
		for _, s := range r.resolves[:m] {
			e.Resolves = append(e.Resolves, txnpb.ResolveRequest{Id: s.key().ID, Principal: s.submission().Principal})
		}
		if !r.proposeEntry(&e) {
			return // the log is full or leadership is on its way to another: what is queued waits
		}
		for _, s := range r.queue[:n] {
			r.waiting[s.key()] = append(r.waiting[s.key()], s)
		}
		for _, s := range r.resolves[:m] {
			r.waiting[s.key()] = append(r.waiting[s.key()], s)
		}
		r.queue, r.resolves = r.queue[n:], r.resolves[m:]
		r.queueBytes -= size
	}
}

// proposeEntry completes an entry and hands it to raft; it reports success.
func (r *Replica) proposeEntry(e *txnpb.Entry) bool {
	e.ApplyVersion = entry.ApplyVersion
	e.Epoch = r.cfg.Epoch
	if err := r.node.Propose(e.AppendTo(make([]byte, 0, e.Size()))); err != nil {
		if !errors.Is(err, raft.ErrProposalDropped) {
			panic(fmt.Sprintf("replica: propose: %v", err)) // raft documents no other error
		}
		return false
	}
	r.inflight++
	return true
}

// readIndexed notes at which index a read may be served.
func (r *Replica) readIndexed(rs raft.ReadState) {
	if len(rs.RequestCtx) != 8 {
		return
	}
	ctx := binary.BigEndian.Uint64(rs.RequestCtx)
	if rd := r.asked[ctx]; rd != nil {
		rd.index = max(rs.Index, 1) // 0 means not yet known
		delete(r.asked, ctx)
	}
}

// serveReads releases the reads whose index is applied.
func (r *Replica) serveReads() {
	r.reads = slices.DeleteFunc(r.reads, func(rd *Read) bool {
		if rd.index == 0 || rd.index > max(r.applied, 1) {
			return false
		}
		r.ready = append(r.ready, rd)
		return true
	})
}

// sweep answers what has passed its deadline.
func (r *Replica) sweep(now time.Duration) {
	for _, b := range r.batches {
		for i, d := range b.deadline {
			if d != 0 && d <= now && b.open > 0 && b.Outcomes[i].State == txnpb.StateUnknown {
				r.drop(slot{b, i})
				r.answer(slot{b, i}, txnpb.Outcome{State: txnpb.StatePending})
			}
		}
	}
	r.batches = slices.DeleteFunc(r.batches, func(b *Batch) bool { return b.open == 0 })
	for ctx, rd := range r.asked {
		if rd.Deadline != 0 && rd.Deadline <= now {
			delete(r.asked, ctx) // order does not matter: the answer is given below, in order
		}
	}
	r.reads = slices.DeleteFunc(r.reads, func(rd *Read) bool {
		if rd.Deadline == 0 || rd.Deadline > now {
			return false
		}
		rd.Failed = true
		r.ready = append(r.ready, rd)
		return true
	})
}

// drop takes a slot out of the queue or the waiting ones.
func (r *Replica) drop(s slot) {
	if i := slices.Index(r.queue, s); i >= 0 {
		r.queueBytes -= len(s.submission().Transaction)
		r.queue = slices.Delete(r.queue, i, i+1)
		return
	}
	if i := slices.Index(r.resolves, s); i >= 0 {
		r.resolves = slices.Delete(r.resolves, i, i+1)
		return
	}
	left := slices.DeleteFunc(r.waiting[s.key()], func(w slot) bool { return w == s })
	if len(left) == 0 {
		delete(r.waiting, s.key())
	} else {
		r.waiting[s.key()] = left
	}
}

func (s slot) submission() *txnpb.Submission { return &s.batch.Submissions[s.at] }
func (s slot) key() entry.Key                { return s.batch.keys[s.at] }

// answer gives one submission its outcome.
func (r *Replica) answer(s slot, o txnpb.Outcome) {
	o.Id = s.key().ID
	s.batch.Outcomes[s.at] = o
	r.close(s.batch)
}

// close counts one answered submission; the last finishes the batch.
func (r *Replica) close(b *Batch) {
	if b.open--; b.open == 0 {
		r.finish(b)
	}
}

func (r *Replica) finish(b *Batch) { r.finished = append(r.finished, b) }

// Status is the replica's own view of its group.
type Status struct {
	Role            string // "leader", "follower", "candidate", "learner"
	Lead, Term      uint64
	Commit, Applied uint64
	Voters          []uint64 // ascending
	Pending         int      // submissions queued or under way
}

// Status returns the replica's view of its group.
func (r *Replica) Status() Status {
	st := r.node.Status()
	s := Status{Lead: st.Lead, Term: st.GetTerm(), Commit: st.GetCommit(), Applied: r.applied, Pending: len(r.queue) + len(r.waiting)}
	switch st.RaftState {
	case raft.StateLeader:
		s.Role = "leader"
	case raft.StateFollower:
		s.Role = "follower"
	default:
		s.Role = "candidate"
	}
	if _, ok := st.Config.Learners[r.cfg.ID]; ok {
		s.Role = "learner"
	}
	for id := range st.Config.Voters.IDs() {
		s.Voters = append(s.Voters, id)
	}
	slices.Sort(s.Voters)
	return s
}
