package txn

import (
	"context"
	"errors"
	"time"

	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// membersService answers operators who change the roster.
type membersService struct{ *dispatch }

// List implements txnpb.MembersHandler.
func (d membersService) List(r message.Responder[*txnpb.MembersAnswer], _ *txnpb.ListMembers) {
	c := d.c
	rd := &replica.Read{Deadline: c.deadline(r.Request), Origin: func(ok bool) {
		if !ok {
			r.Fail(message.NotLeader, "")
			return
		}
		r.Reply(c.loop.members(c.loop.replica.Group()))
	}}
	d.add(func() { c.loop.replica.Read(rd) })
}

// Add implements txnpb.MembersHandler.
func (d membersService) Add(r message.Responder[*txnpb.MembersAnswer], in *txnpb.AddMember) {
	if in.Member == nil || in.Member.Number != 0 || in.Member.Leaving {
		r.Fail(message.Invalid, "name the new member, without a number: the cluster gives it")
		return
	}
	d.change(r, txnpb.RosterChange{Add: in.Member, Remove: in.Replaces})
}

// Remove implements txnpb.MembersHandler.
func (d membersService) Remove(r message.Responder[*txnpb.MembersAnswer], in *txnpb.RemoveMember) {
	if in.Number == 0 {
		r.Fail(message.Invalid, "name the member to remove by its number")
		return
	}
	d.change(r, txnpb.RosterChange{Remove: in.Number})
}

// Lease implements txnpb.MembersHandler.
func (d membersService) Lease(r message.Responder[*txnpb.LeaseAnswer], in *txnpb.LeaseRequest) {
	c := d.c
	d.add(func() {
		if in.Release {
			c.loop.replica.Release(uint64(in.Number))
			r.Reply(&txnpb.LeaseAnswer{})
			return
		}
		switch err := c.loop.replica.Lease(c.host.Now(), uint64(in.Number)); {
		case errors.Is(err, replica.ErrNotLeader):
			r.Fail(message.NotLeader, "")
		case err != nil:
			r.Reply(&txnpb.LeaseAnswer{Refused: err.Error()})
		default:
			c.host.Log().Info("an SFU may be restarted, and no other beside it", "restarts", in.Number)
			r.Reply(&txnpb.LeaseAnswer{Millis: uint32(replica.LeaseTime.Milliseconds())})
		}
	})
}

// Rest implements txnpb.ReplicaHandler.
func (d replicaService) Rest(r message.Responder[*txnpb.MembersAnswer], _ *txnpb.RestRequest) {
	env := r.Envelope()
	if env.Group != d.c.cfg.Group || env.Epoch != d.c.epoch.Load() || env.From == 0 {
		r.Fail(message.Denied, "not of this group and epoch")
		return
	}
	d.add(func() {
		l, from := d.c.loop, uint32(env.From)
		if to, ok := l.replica.Successor(from); ok {
			l.moveSeat(from, to, func(refused string) { l.letRest(r, from, refused) })
			return
		}
		l.letRest(r, from, "the others can decide without it")
	})
}

// letRest takes the vote of one of two voters; otherwise it is refused, for that reason or,
// without one, because nothing has to be done.
func (l *loop) letRest(r message.Responder[*txnpb.MembersAnswer], from uint32, otherwise string) {
	if s := l.replica.Group(); !l.leading || s.Seat(from) == txnpb.SeatVoter && len(s.Conf.Voters) == 2 {
		l.c.changeNow(r, txnpb.RosterChange{Demote: from})
		return
	}
	r.Reply(&txnpb.MembersAnswer{Refused: otherwise})
}

// moveSeat makes a learner vote in the place of a voter of its machine, and then says why
// not, or "".
func (l *loop) moveSeat(from, to uint32, done func(refused string)) {
	l.c.host.Log().Info("a vote moves to another SFU of its machine", "from", from, "to", to)
	l.replica.Change(&replica.Change{Wish: txnpb.RosterChange{Demote: from, Promote: to}, Origin: func(ch *replica.Change) {
		if ch.Failed != nil {
			ch.Refused = ch.Failed.Error()
		}
		done(ch.Refused)
	}})
}

const (
	// restAttempt is how long one request to rest may take, and restPatience how long a
	// stop waits for it in all: then the other one of two voters is left suspended, as
	// after a crash.
	restAttempt  = 500 * time.Millisecond
	restPatience = 3 * time.Second
)

// rest gives up this member's vote where that is better for those that stay: to another
// SFU of its machine, for good, or, where it is one of two, so that the other decides alone
// from then on. The leader gives it back in that case, when this member is there again and
// has caught up.
func (c *Component) rest(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, restPatience)
	defer cancel()
	for ctx.Err() == nil {
		type pair struct {
			lead uint16
			so   bool
		}
		found := make(chan pair, 1)
		c.post(func() {
			lead, so := c.loop.decidesWith()
			found <- pair{lead, so}
		})
		var p pair
		select {
		case p = <-found:
		case <-ctx.Done():
			return
		}
		if !p.so {
			return
		}
		to, answer, err := p.lead, (*txnpb.MembersAnswer)(nil), errNobodyLeads
		if to != 0 {
			attempt, done := context.WithTimeout(ctx, restAttempt)
			answer, err = c.askRest(attempt, to)
			done()
		}
		switch {
		case err == nil && answer.Refused == "":
			c.host.Log().Info("this SFU votes no more", "leader", to)
			return
		case err == nil:
			c.host.Log().Info("this SFU keeps its vote", "why", answer.Refused)
			return
		}
		select {
		case <-time.After(handOverPause):
		case <-ctx.Done():
		}
	}
}

// errNobodyLeads says that it has to be asked again: who has just handed over does not
// know the new leader before that has shown itself.
var errNobodyLeads = errors.New("nobody leads yet")

// askRest asks the leader for it.
func (c *Component) askRest(ctx context.Context, leader uint16) (*txnpb.MembersAnswer, error) {
	replies := make(chan engine.Reply, 1)
	c.host.Call(engine.Call{
		Service: txnpb.ReplicaService, Method: txnpb.ReplicaRestMethod, Target: leader, Timeout: restAttempt,
		Epoch: c.epoch.Load(), Group: c.cfg.Group, Role: message.RoleSFU,
		Body: message.Marshal(&txnpb.RestRequest{}), Done: func(r engine.Reply) { replies <- r },
	})
	select {
	case r := <-replies:
		if err := r.Err(); err != nil {
			return nil, err
		}
		answer := &txnpb.MembersAnswer{}
		return answer, answer.Parse(r.Body)
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// decidesWith reports whether this member is one of two voters, or one whose seat another
// SFU of its machine may take, and which SFU leads; 0 while nobody is known to.
func (l *loop) decidesWith() (leader uint16, so bool) {
	s := l.replica.Group()
	_, replaceable := s.Successor(uint32(l.c.cfg.Node), func(uint64) bool { return true })
	if l.halted || len(s.Conf.Voters) != 2 && !replaceable || s.Seat(uint32(l.c.cfg.Node)) != txnpb.SeatVoter {
		return 0, false
	}
	return sfuOf(l.replica.Status().Lead), true
}

// change has the replica do a change, and answers when it is done.
func (d membersService) change(r message.Responder[*txnpb.MembersAnswer], wish txnpb.RosterChange) {
	d.add(func() { d.c.changeNow(r, wish) })
}

// changeNow is change, on the loop.
func (c *Component) changeNow(r message.Responder[*txnpb.MembersAnswer], wish txnpb.RosterChange) {
	ch := &replica.Change{Wish: wish, Deadline: c.deadline(r.Request)}
	ch.Origin = func(ch *replica.Change) {
		switch {
		case ch.Failed == replica.ErrNotLeader:
			r.Fail(message.NotLeader, "")
		case ch.Failed != nil:
			r.Fail(message.Unknown, "whether the change was done is not known: ask again")
		default:
			out := c.loop.members(c.loop.replica.Group())
			out.Refused, out.Added = ch.Refused, ch.Added
			r.Reply(out)
		}
	}
	c.loop.replica.Change(ch)
}

// deadline is when whoever asked gives up; 0 when that was not said.
func (c *Component) deadline(r message.Request) time.Duration {
	if ms := r.Envelope().RemainingMillis; ms > 0 {
		return c.host.Now() + time.Duration(ms)*time.Millisecond
	}
	return 0
}

// members tells the roster and what its members are.
func (l *loop) members(s roster.State) *txnpb.MembersAnswer {
	out := &txnpb.MembersAnswer{Roster: s.Roster, Leader: uint32(sfuOf(l.replica.Status().Lead))}
	versions(l.replica, out)
	if s.Roster != nil {
		for i := range s.Roster.Members {
			out.Seats = append(out.Seats, s.Seat(s.Roster.Members[i].Number))
		}
	}
	return out
}

// tookChanges tells what became of changes, on the apply thread, and reports whether
// it goes on. From the first of the group on a new member must begin with the state. A
// change of the group is durable before anybody hears that it is done: what is only in
// the log needs the old group to be found committed after a crash, and who was removed
// would be gone.
func (a *applier) tookChanges(changes []roster.Applied) bool {
	group := false
	if now, was := a.machine.Group().Version, a.c.active.Load(); now > was {
		a.c.active.Store(now)
		a.c.host.Log().Info("entries have a new apply version from here on", "version", now, "before", was)
	}
	for i := range changes {
		ch := &changes[i]
		if ch.Regroups() {
			group = true
			a.c.log.Grown() // before the loop can make raft know the new member
			a.c.host.Log().Info("the group", "voters", ch.State.Conf.Voters, "outgoing", ch.State.Conf.VotersOutgoing, "learners", ch.State.Conf.Learners)
		}
		if ch.Refused != nil {
			a.c.host.Log().Warn("a change of the roster is refused", "entry", ch.Index, "why", ch.Refused)
		}
	}
	if group {
		if err := a.c.keep.Flush(); err != nil {
			a.c.host.Fatal(err)
			return false
		}
	}
	a.tellRoster()
	return true
}

// tellRoster hands the newest roster to the owner.
func (a *applier) tellRoster() {
	if r := a.machine.Group().Roster; r != nil && a.c.cfg.Roster != nil {
		a.c.cfg.Roster(r)
	}
}

// changed takes note of changes that raft knows of now.
func (l *loop) changed(changes []roster.Applied) {
	if len(changes) == 0 {
		return
	}
	l.regrouped()
	if l.pin != nil {
		l.pin.outdated = true
		l.unpinOld()
	}
	l.announce(0) // by every member: who was removed may go when most voters say so
}

// regrouped lets the other threads know the group.
func (l *loop) regrouped() {
	s := l.replica.Group()
	l.c.group.Store(&s)
}

// announce tells an SFU, or all where sfu is 0, of the roster. Those without a replica
// hear of it in no other way, and those that were away learn whom to ask.
func (l *loop) announce(sfu uint16) {
	r := l.replica.Group().Roster
	if r == nil {
		return
	}
	err := l.c.host.Notify(engine.Notice{
		To: sfu, Service: txnpb.RosterKeeperService, Method: txnpb.RosterKeeperAnnounceMethod,
		Epoch: l.c.epoch.Load(), Group: l.c.cfg.Group, Body: message.Marshal(r),
	})
	if err != nil {
		l.c.host.Log().Debug("the roster was not announced", "to", sfu, "err", err)
	}
}
