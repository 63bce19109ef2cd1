package replica

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/raft/v3"
	"go.etcd.io/raft/v3/quorum"
	"go.etcd.io/raft/v3/raftpb"
	"go.etcd.io/raft/v3/tracker"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// MaxChanges bounds the changes of the roster that wait: operators ask for them.
	MaxChanges = 16
	// endangeredElections is how many election times a change waits for the voters that
	// it needs to be there, before it is refused: raft forgets once in an election time
	// whom it has heard.
	endangeredElections = 3
	// caughtUpEntries is how far behind the commit index a learner may be that counts as
	// caught up: what is under way to a healthy follower at any time.
	caughtUpEntries = 2 * MaxInflightEntries
	// caughtUpElections is for how many election times in a row it must have been no
	// further behind. One that keeps up with the load for so long will acknowledge like
	// the others when its vote counts.
	caughtUpElections = 2
	// handOverTicks is how long a leader that gives its seat away waits before it passes
	// the lead on: meanwhile the other one syncs its state once, and nothing stands still.
	handOverTicks = 3
)

// Change is a change of the roster that an operator asks for.
type Change struct {
	// Wish is what is asked for: to add, without a number, or to remove, or both, or to
	// demote, or to demote one and promote a Successor, or to activate an apply version.
	Wish txnpb.RosterChange
	// Origin is the owner's.
	Origin any
	// Deadline is when the owner gives up, on the clock of now; 0 means never.
	Deadline time.Duration

	// Refused says why nothing was changed, in one line; empty when it was done.
	Refused string
	// Failed, if not nil, is raft's side of it: ErrNotLeader, when nothing was done
	// here, or ErrLost.
	Failed error
	// Group is the roster and the group after it.
	Group roster.State
	// Added is the number of the member that was added.
	Added uint32

	endangered   int   // ticks
	endangerment error // nil: errEndangered
}

// danger is why a change has waited in vain.
func (c *Change) danger() error {
	if c.endangerment != nil {
		return c.endangerment
	}
	return errEndangered
}

var (
	// ErrNotLeader says that nothing was done here: ask the leader.
	ErrNotLeader = errors.New("replica: not the leader")
	// ErrLost says that the change may be done or not: ask again.
	ErrLost = errors.New("replica: leadership or the deadline was lost before the change was done")

	errEndangered = errors.New("too few of the other voters are there: without this one they could decide nothing; start them first")
)

// changes are the changes of the roster and of the group.
type changes struct {
	queue []*Change // not proposed
	// under says that a change is proposed and not applied; asked is the operator's
	// that it is, which stays until the second step, too.
	under bool
	asked *Change
	done  []*Change

	learners map[uint64]*learner
	joint    int // ticks since the group is between two sets of voters
}

// learner is what the leader knows of one that is to vote.
type learner struct {
	caughtUp int // ticks in a row
	silent   int // likewise
}

// Change asks for a change of the roster. It comes back in Output.Changes, once.
func (r *Replica) Change(c *Change) {
	q := &r.changes
	switch {
	case !r.leading:
		q.fail(c, ErrNotLeader)
	case len(q.queue) >= MaxChanges:
		q.refuse(c, fmt.Errorf("%d changes of the members wait already: try again in a moment", MaxChanges))
	default:
		q.queue = append(q.queue, c)
	}
}

func (q *changes) fail(c *Change, err error) {
	c.Failed = err
	q.done = append(q.done, c)
}

func (q *changes) refuse(c *Change, why error) {
	c.Refused = why.Error()
	q.done = append(q.done, c)
}

func (q *changes) finish(c *Change, s roster.State) {
	c.Group = s
	q.done = append(q.done, c)
}

// Group is the roster and the group as far as they are applied.
func (r *Replica) Group() roster.State { return r.group }

// tickChanges goes on with the changes that wait, founds the cluster, and promotes
// learners.
func (r *Replica) tickChanges(now time.Duration, wall uint64) {
	q := &r.changes
	q.sweep(now)
	r.watchLearners()
	r.leaveJoint()
	if !r.mayChange() {
		return
	}
	if r.group.Roster == nil {
		if r.cfg.Found != nil {
			r.proposeChange(nil, &txnpb.RosterChange{Found: r.cfg.Found, Window: uint64(r.cfg.Window), Activate: r.cfg.Newest}, r.stamp(now, wall))
		}
		return
	}
	for len(q.queue) > 0 && r.mayChange() {
		if !r.begin(q.queue[0], r.stamp(now, wall)) {
			return
		}
		q.queue = q.queue[1:]
	}
	if len(q.queue) == 0 && r.mayChange() {
		r.promote(r.stamp(now, wall))
	}
}

// leaveJoint asks for the second step of a change where raft does not: when a seat
// moves, and when raft's own proposal has met a hand-over that fails afterwards. A leader
// that gives its seat away passes the lead on before that, so that nobody has to miss it:
// once the other one has applied the first step, which takes it no longer than it took
// here.
func (r *Replica) leaveJoint() {
	q := &r.changes
	if !r.ruled || r.handing || !r.group.Joint() {
		q.joint = 0
		return
	}
	q.joint++
	moves, stays := !r.group.Conf.GetAutoLeave(), slices.Contains(r.group.Conf.Voters, r.cfg.ID)
	switch {
	case moves && !stays && q.joint < endangeredElections*r.cfg.Election:
		if q.joint%handOverTicks == 0 {
			r.HandOver()
		}
	case moves && stays && q.joint == 1, q.joint%r.cfg.Election == 0:
		_ = r.node.ProposeConfChange(&raftpb.ConfChangeV2{}) // dropped: the next time
	}
}

// emptied takes note of an entry without content: raft makes one of a change that
// it finds another under way with.
func (q *changes) emptied() {
	if !q.under {
		return
	}
	q.under = false
	if q.asked != nil {
		q.fail(q.asked, ErrLost)
		q.asked = nil
	}
}

// mayChange reports whether this leader may propose a change now. It knows the
// group only when all that earlier leaders have left is applied.
func (r *Replica) mayChange() bool {
	return r.ruled && !r.handing && !r.changes.under && !r.group.Joint()
}

// begin looks at the change that waits first, and reports whether it waits no more.
func (r *Replica) begin(c *Change, wall uint64) bool {
	q := &r.changes
	wish := c.Wish
	if wish.Add != nil {
		for i := range r.group.Roster.Members {
			if m := &r.group.Roster.Members[i]; bytes.Equal(m.PublicKey, wish.Add.PublicKey) { // asked for again
				c.Added = m.Number
				q.finish(c, r.group)
				return true
			}
		}
		added := *wish.Add
		added.Number = r.group.Roster.LastNumber + 1
		wish.Add = &added
	} else if wish.Remove != 0 && wish.Remove <= r.group.Roster.LastNumber && r.group.Member(wish.Remove) == nil {
		q.finish(c, r.group) // it is gone
		return true
	}
	if wish.Activate != 0 && wish.Activate <= r.ActiveVersion() {
		q.finish(c, r.group) // it is active
		return true
	}
	err := r.group.Check(&wish)
	if err == nil && wish.Activate != 0 {
		err = r.tooOld(wish.Activate)
	}
	after := r.group
	if err == nil {
		after, err = r.group.After(&wish, r.group.ConfChange(&wish))
	}
	if err == nil && !after.CanLead() {
		err = errNobodyLeads
	}
	if err == nil && wish.Add != nil && r.cfg.Valid != nil {
		err = r.cfg.Valid(after.Roster)
	}
	switch {
	case err != nil:
		q.refuse(c, err)
		return true
	case wish.Promote != 0:
		if r.keepsUp(uint64(wish.Promote)) && after.Quorum(r.isThere()) {
			c.Wish = wish
			r.proposeChange(c, &wish, wall)
			return true
		}
	case uint64(wish.Remove) == r.cfg.ID || uint64(wish.Demote) == r.cfg.ID:
		// Who leads on can do it.
		if r.HandOver() {
			q.fail(c, ErrNotLeader)
			return true
		}
	case wish.Activate != 0 && r.unheard(wish.Activate) != nil:
		c.endangerment = r.unheard(wish.Activate)
	case after.Quorum(r.isThere()):
		c.Wish = wish
		if wish.Add != nil {
			c.Added = wish.Add.Number
		}
		r.proposeChange(c, &wish, wall)
		return true
	}
	if c.endangered++; c.endangered <= endangeredElections*r.cfg.Election {
		return false
	}
	q.refuse(c, c.danger())
	return true
}

// isThere tells which voters take part as far as this leader sees.
func (r *Replica) isThere() func(id uint64) bool {
	progress := r.node.Status().Progress
	return func(id uint64) bool {
		p := progress[id]
		return id == r.cfg.ID || p.RecentActive && p.State != tracker.StateSnapshot && !r.suspects[id]
	}
}

// proposeChange puts a change into the log; asked is the operator's.
func (r *Replica) proposeChange(asked *Change, c *txnpb.RosterChange, wall uint64) {
	cc := r.group.ConfChange(c)
	var err error
	if cc != nil {
		c.ApplyVersion, c.Epoch = r.changeVersion(c), r.cfg.Epoch
		cc.Context = message.Marshal(c)
		err = r.node.ProposeConfChange(cc)
	} else {
		raw := message.Marshal(&txnpb.Entry{ApplyVersion: r.changeVersion(c), Epoch: r.cfg.Epoch, Proposed: wall, Change: c})
		if err = r.node.Propose(raw); err == nil {
			r.work.proposed = append(r.work.proposed, proposal{bytes: len(raw)})
		}
	}
	switch {
	case err == nil:
		r.changes.under, r.changes.asked = true, asked
	case !errors.Is(err, raft.ErrProposalDropped):
		panic(fmt.Sprintf("replica: propose a change: %v", err)) // raft documents no other error
	case asked != nil:
		r.changes.fail(asked, ErrNotLeader) // leadership is gone, or the log is full of what is not committed
	}
}

// watchLearners notes for how long each learner that is to vote has kept up.
func (r *Replica) watchLearners() {
	q := &r.changes
	if !r.ruled || len(r.group.Conf.Learners) == 0 {
		q.learners = nil
		return
	}
	if q.learners == nil {
		q.learners = map[uint64]*learner{}
	}
	status := r.node.Status()
	for id := range q.learners { // in any order: each stands alone
		if _, ok := status.Config.Learners[id]; !ok {
			delete(q.learners, id)
		}
	}
	for id := range status.Config.Learners { // likewise
		l, p := q.learners[id], status.Progress[id]
		if l == nil {
			l = &learner{}
			q.learners[id] = l
		}
		if l.silent++; p.RecentActive {
			l.silent = 0
		}
		l.caughtUp++
		if p.State != tracker.StateReplicate || p.Match+caughtUpEntries < status.GetCommit() || r.suspects[id] || r.draining[id] || l.silent > r.cfg.Election/2 {
			l.caughtUp = 0
		}
	}
}

// keepsUp reports whether a learner can vote without holding the others up.
func (r *Replica) keepsUp(id uint64) bool {
	l := r.changes.learners[id]
	return l != nil && l.caughtUp >= caughtUpElections*r.cfg.Election
}

// Successor returns the learner of its own machine that a voter's seat can move to, once
// it keeps up. Only the leader knows, and only where all members understand it.
func (r *Replica) Successor(voter uint32) (to uint32, ok bool) {
	if !r.ruled || r.ActiveVersion() < entry.VersionForce {
		return 0, false
	}
	there := r.isThere()
	return r.group.Successor(voter, func(id uint64) bool { return there(id) && !r.draining[id] })
}

// promote makes the first learner a voter that is to vote and has caught up.
func (r *Replica) promote(wall uint64) {
	for _, id := range r.group.Conf.Learners {
		m := r.group.Member(uint32(id))
		if m == nil || !m.Voter || !r.keepsUp(id) || !r.isWhole(id) {
			continue
		}
		c := &txnpb.RosterChange{Promote: m.Number}
		if r.group.Check(c) != nil {
			continue
		}
		after, err := r.group.After(c, r.group.ConfChange(c))
		if err == nil && after.Quorum(r.isThere()) {
			r.proposeChange(nil, c, wall)
			return
		}
	}
}

// applyChanges takes over what the apply thread says of changes.
func (r *Replica) applyChanges(applied []roster.Applied) {
	for i := range applied {
		a := &applied[i]
		if a.Index <= r.restored {
			continue // the group is that of a state that came since
		}
		if a.Regroups() {
			var conf *raftpb.ConfState
			if a.Forced() {
				conf = r.regroup(a.State.Conf)
			} else {
				conf = r.node.ApplyConfChange(a.Group)
			}
			if err := raftpb.EnsureConfState(conf).Equivalent(a.State.Conf); err != nil {
				panic(fmt.Sprintf("replica: entry %d makes raft's group another than the state's: %v", a.Index, err))
			}
			r.reads.regroup()
		}
		r.setGroup(a.State)
		r.answerChange(a)
	}
}

// setGroup takes over the group of the state.
func (r *Replica) setGroup(s roster.State) {
	r.group = s
	r.cfg.Epoch = max(r.cfg.Epoch, roster.EpochOf(s.Roster))
}

// regroup makes raft's group another one, of voters alone, at once: nobody but this
// replica agrees to a forced recovery.
func (r *Replica) regroup(to *raftpb.ConfState) *raftpb.ConfState {
	if r.group.Joint() {
		r.node.ApplyConfChange(&raftpb.ConfChangeV2{})
	}
	from := r.node.Status().Config
	cc := &raftpb.ConfChangeV2{Transition: raftpb.ConfChangeTransitionJointExplicit.Enum()}
	change := func(kind raftpb.ConfChangeType, id uint64) {
		cc.Changes = append(cc.Changes, &raftpb.ConfChangeSingle{Type: kind.Enum(), NodeId: new(id)})
	}
	for _, id := range to.Voters {
		change(raftpb.ConfChangeAddNode, id)
	}
	for _, old := range []quorum.MajorityConfig{from.Voters[0], from.Learners} {
		for _, id := range old.Slice() {
			if !slices.Contains(to.Voters, id) {
				change(raftpb.ConfChangeRemoveNode, id)
			}
		}
	}
	r.node.ApplyConfChange(cc)
	return r.node.ApplyConfChange(&raftpb.ConfChangeV2{})
}

// answerChange finishes the operator's change that is done now. It is when the
// second step is, too.
func (r *Replica) answerChange(a *roster.Applied) {
	q := &r.changes
	if r.leading && a.Term == r.leadTerm && a.Change != nil {
		q.under = false
		if q.asked != nil && a.Refused != nil {
			q.refuse(q.asked, a.Refused)
			q.asked = nil
		}
	}
	if q.asked != nil && !q.under && !r.group.Joint() {
		q.finish(q.asked, r.group)
		q.asked = nil
	}
}

// abandon answers all changes at the end of leadership.
func (q *changes) abandon() {
	for _, c := range q.queue {
		q.fail(c, ErrNotLeader)
	}
	if q.asked != nil {
		q.fail(q.asked, ErrLost)
	}
	*q = changes{done: q.done}
}

// sweep gives up what has passed its deadline.
func (q *changes) sweep(now time.Duration) {
	over := func(c *Change) bool { return c.Deadline != 0 && c.Deadline <= now }
	left := q.queue[:0]
	for _, c := range q.queue {
		switch {
		case !over(c):
			left = append(left, c)
		case c.endangered > 0:
			q.refuse(c, c.danger())
		default:
			q.fail(c, ErrLost)
		}
	}
	clear(q.queue[len(left):])
	q.queue = left
	if q.asked != nil && over(q.asked) {
		q.fail(q.asked, ErrLost)
		q.asked = nil
	}
}
