package txn

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/engine"
	"virtualservicesinc.com/rrts/engine/timer"
	"virtualservicesinc.com/rrts/journal"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// forceAsk is how long another replica may take to say how it stands, before a forced
	// recovery and in between.
	forceAsk = time.Second
	// acquaintInterval is how often the others are asked: so old is what this member can
	// tell of one that has died.
	acquaintInterval = 2 * time.Second
)

// acquaintances is what the other replicas last said of themselves.
type acquaintances struct {
	mu sync.Mutex
	of map[uint32]acquaintance
}

type acquaintance struct {
	status *txnpb.ReplicaStatus
	at     time.Duration
}

// survey asks all other replicas at once how they stand, and remembers it. Those that do
// not answer are left out.
func (c *Component) survey(ctx context.Context, group *roster.State) map[uint32]*txnpb.ReplicaStatus {
	ctx, cancel := context.WithTimeout(ctx, forceAsk)
	defer cancel()
	var asking sync.WaitGroup
	var mu sync.Mutex
	answers := map[uint32]*txnpb.ReplicaStatus{}
	for _, m := range otherReplicas(group.Roster, c.cfg.Node) {
		asking.Go(func() {
			st := &txnpb.ReplicaStatus{}
			if c.ask(ctx, uint16(m.Number), txnpb.ReplicaStatusMethod, &txnpb.ReplicaStatusRequest{}, st) != nil {
				return
			}
			mu.Lock()
			answers[m.Number] = st
			mu.Unlock()
		})
	}
	asking.Wait()
	k := &c.known
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.of == nil {
		k.of = map[uint32]acquaintance{}
	}
	for number, st := range answers {
		if st.Role != roleDamaged {
			k.of[number] = acquaintance{st, c.host.Now()}
		}
	}
	return answers
}

// acquaint keeps what is known of the others fresh: when one of them is dead it is all
// that there is to decide by.
func (c *Component) acquaint(ctx context.Context) {
	ticker := time.NewTimer(timer.Next(acquaintInterval))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			ticker.Reset(timer.Next(acquaintInterval))
			c.survey(ctx, c.group.Load())
		}
	}
}

// otherReplicas are the members with a replica but one, in the order of their numbers.
func otherReplicas(r *txnpb.Roster, self uint64) []*txnpb.Member {
	var all []*txnpb.Member
	if r != nil {
		for i := range r.Members {
			if m := &r.Members[i]; roster.Replicates(m.Type) && !m.Overruled && uint64(m.Number) != self {
				all = append(all, m)
			}
		}
	}
	return all
}

// Force implements txnpb.ReplicaHandler.
func (d replicaService) Force(r message.Responder[*txnpb.ForceAnswer], in *txnpb.ForceRequest) {
	c := d.c
	if r.Envelope().Role != message.RoleOperator {
		r.Fail(message.Denied, "a forced recovery is the operator's decision")
		return
	}
	c.host.Go("forced recovery", func(ctx context.Context) {
		answers := c.survey(ctx, c.group.Load())
		c.applier.do(func() {
			reached := c.applier.machine.Digest()
			c.post(func() { c.loop.force(r, in, answers, &reached) })
		})
	})
}

// force tells how things stand, and goes on without the others where that is asked for
// and nothing speaks against it. From then on this life says nothing more to anybody.
func (l *loop) force(r message.Responder[*txnpb.ForceAnswer], in *txnpb.ForceRequest, answers map[uint32]*txnpb.ReplicaStatus, reached *txnpb.StateDigest) {
	a := l.prospect(answers, reached)
	switch {
	case l.halted:
		a.Refused = "another forced recovery is under way, or has overruled this SFU"
	case a.Refused == "" && in.GoOn && !in.OtherIsOff:
		a.Refused = "nothing is forced as long as nobody says that the others are switched off"
	}
	if a.Refused != "" || !in.GoOn {
		r.Reply(a)
		return
	}
	above := a.Own.Term
	for _, st := range answers {
		above = max(above, st.Term)
	}
	l.halted = true
	l.c.appender.do(func() { l.c.goOn(r, a, above) })
}

// prospect says what a forced recovery would mean, and what speaks against it.
func (l *loop) prospect(answers map[uint32]*txnpb.ReplicaStatus, reached *txnpb.StateDigest) *txnpb.ForceAnswer {
	c, group := l.c, l.replica.Group()
	a := &txnpb.ForceAnswer{Own: c.status(), Epoch: c.epoch.Load()}
	a.Own.Csn, a.Own.Transactions = reached.Csn, reached.Transactions
	now := c.host.Now()
	c.known.mu.Lock()
	for _, m := range otherReplicas(group.Roster, c.cfg.Node) {
		k := txnpb.KnownReplica{Member: m, Seat: group.Seat(m.Number), Answers: answers[m.Number] != nil}
		if last, ok := c.known.of[m.Number]; ok {
			k.Csn, k.LastIndex, k.LastTerm = last.status.Csn, last.status.LastIndex, last.status.LastTerm
			k.AgeMillis = uint64((now - last.at) / time.Millisecond)
		}
		a.Others = append(a.Others, k)
	}
	c.known.mu.Unlock()
	for _, st := range answers {
		a.Epoch = max(a.Epoch, st.Epoch)
	}
	a.Epoch++
	a.Refused = c.objection(group, a.Own, answers)
	a.Warnings = forceWarnings(group, a)
	return a
}

// objection says in one line why nothing is to be forced here and now; "" when nothing
// speaks against it.
func (c *Component) objection(group roster.State, own *txnpb.ReplicaStatus, answers map[uint32]*txnpb.ReplicaStatus) string {
	self := group.Member(uint32(c.cfg.Node))
	if self == nil {
		return "this SFU holds no state of the cluster: it has nothing to go on from"
	}
	if group.Witness(c.cfg.Node) {
		return fmt.Sprintf("SFU %s is a witness and holds no accounts: run it on an SFU that does", self.Name)
	}
	name := func(number uint32) string {
		if m := group.Member(number); m != nil {
			return m.Name
		}
		return fmt.Sprint(number)
	}
	for _, m := range otherReplicas(group.Roster, c.cfg.Node) {
		if st := answers[m.Number]; st != nil && st.Epoch > own.Epoch {
			return fmt.Sprintf("SFU %s is in epoch %d: this SFU was overruled, replace it with `rrts sfu replace %s`", m.Name, st.Epoch, self.Name)
		}
	}
	if st := answers[own.Leader]; uint64(own.Leader) == c.cfg.Node || st != nil && st.Role == "leader" {
		return fmt.Sprintf("SFU %s leads: most of the voters reach each other, and nothing has to be forced", name(own.Leader))
	}
	sound := func(id uint64) bool {
		st := answers[uint32(id)]
		return id == c.cfg.Node || st != nil && st.Role != roleDamaged
	}
	if group.Quorum(sound) {
		return "most of the voters answer: wait until they have elected a leader, and if they do not, look at their alarms (rrts status)"
	}
	for _, m := range otherReplicas(group.Roster, c.cfg.Node) {
		if st := answers[m.Number]; st != nil && st.Role != roleDamaged && further(st, own) {
			return fmt.Sprintf("SFU %s holds more than this SFU (entry %d of term %d, here entry %d of term %d): run it there",
				m.Name, st.LastIndex, st.LastTerm, own.LastIndex, own.LastTerm)
		}
	}
	return ""
}

// further reports whether a replica holds what another does not, as elections compare.
func further(a, b *txnpb.ReplicaStatus) bool {
	return cmp.Or(cmp.Compare(a.LastTerm, b.LastTerm), cmp.Compare(a.LastIndex, b.LastIndex)) > 0
}

// forceWarnings is what the operator should know.
func forceWarnings(group roster.State, a *txnpb.ForceAnswer) []string {
	var all []string
	switch seat := group.Seat(a.Own.Sfu); {
	case seat != txnpb.SeatVoter:
		all = append(all, "This SFU had given up its vote, or never had one: what the others committed without it is not here.")
	case len(group.Conf.Voters) == 2 && !group.Joint():
		all = append(all, "Both voters had to have every committed transaction on disk: all of them are here.")
	default:
		all = append(all, "The other voters may have committed transactions among themselves that are not here.")
	}
	var there []string
	for i := range a.Others {
		if a.Others[i].Answers {
			there = append(there, a.Others[i].Member.Name)
		}
	}
	if len(there) > 0 {
		all = append(all, fmt.Sprintf("%s can be reached and will be overruled like the others: replace it afterwards.", strings.Join(there, ", ")))
	}
	return all
}

// goOn decides, on the append thread, for this member alone.
func (c *Component) goOn(r message.Responder[*txnpb.ForceAnswer], a *txnpb.ForceAnswer, above uint64) {
	last, err := c.log.LastIndex()
	if err != nil {
		c.host.Fatal(err)
		return
	}
	force := &txnpb.Force{Epoch: a.Epoch, By: uint32(c.cfg.Node), At: c.cfg.Wall(), LastIndex: last}
	for _, t := range c.log.Terms(roster.MaxTerms) {
		force.Terms = append(force.Terms, txnpb.LogTerm{Term: t.Term, FirstIndex: t.First})
	}
	e := txnpb.Entry{ApplyVersion: max(entry.VersionForce, c.active.Load()), Epoch: a.Epoch, Proposed: force.At, Change: &txnpb.RosterChange{Force: force}}
	switch err := c.log.Force(uint64(a.Epoch), above, message.Marshal(&e)); {
	case errors.Is(err, journal.ErrNoSpace):
		a.Refused = "there is no room on the disk to write it down: make some, in " + c.cfg.Dir
		c.post(func() { c.loop.halted = false })
	case err != nil:
		c.host.Fatal(err)
		return
	}
	r.Reply(a)
	if a.Refused == "" {
		c.host.Log().Warn("forced recovery: this SFU goes on as the only voter", "epoch", a.Epoch, "entry", last, "csn", a.Own.Csn)
		c.host.Renew("forced recovery")
	}
}

// Heard takes note of a roster that another SFU announces. If a forced recovery has
// overruled this member, its alarm is raised when Heard returns.
func (c *Component) Heard(r *txnpb.Roster) {
	h := &c.hearsay
	h.mu.Lock()
	h.times++
	if roster.Newer(r, h.newest) {
		h.newest = r
	}
	h.mu.Unlock()
	c.sayOverruled()
}

// Released reports whether this member, which is not in a newer roster, may go: see
// roster.State.Released. outBy are the SFUs that announce such a roster.
func (c *Component) Released(r *txnpb.Roster, outBy map[uint32]bool) bool {
	if c.mending.Load() { // nobody has its vote
		return len(outBy) > 0
	}
	s := c.group.Load()
	if s == nil { // it does not know its group yet
		return false
	}
	return s.Released(uint32(c.cfg.Node), r, outBy)
}

// sayOverruled raises the alarm of a member that has heard that it is overruled, as soon as
// it knows its own epoch.
func (c *Component) sayOverruled() {
	c.hearsay.mu.Lock()
	r := c.hearsay.newest
	c.hearsay.mu.Unlock()
	if r != nil && c.sound.Load() && c.isOverruledBy(r) {
		c.host.Alarm("overruled", engine.Critical, OverruledText(r, uint32(c.cfg.Node)))
	}
}

// isOverruledBy reports whether a roster is of an epoch that goes on without this member.
func (c *Component) isOverruledBy(r *txnpb.Roster) bool {
	if roster.EpochOf(r) <= c.epoch.Load() {
		return false
	}
	self := roster.State{Roster: r}.Member(uint32(c.cfg.Node))
	return self == nil || self.Overruled
}

// hearsay is what was heard of the roster.
type hearsay struct {
	mu     sync.Mutex
	times  int
	newest *txnpb.Roster
}

// lonePatience is how long a member that decides alone listens after its start whether
// others have gone on without it: what it committed before it hears that would be
// overruled.
const lonePatience = time.Second

// listens reports whether this member is to wait for what others announce. It ends its
// part where a forced recovery has overruled it.
func (l *loop) listens(now time.Duration) bool {
	h := &l.c.hearsay
	h.mu.Lock()
	newest, times := h.newest, h.times
	h.mu.Unlock()
	if newest != nil && !l.halted && l.c.isOverruledBy(newest) {
		l.halted = true // for good
		l.c.host.Ready(false)
	}
	if !l.listening {
		return false
	}
	group := l.replica.Group()
	alone := len(group.Conf.Voters) == 1 && group.Seat(uint32(l.c.cfg.Node)) == txnpb.SeatVoter
	l.listening = alone && times < len(otherReplicas(group.Roster, l.c.cfg.Node)) && now-l.began < lonePatience
	return l.listening
}

// OverruledText says what became of a member, and what to do.
func OverruledText(r *txnpb.Roster, number uint32) string {
	s, name, by := roster.State{Roster: r}, fmt.Sprint("number ", number), fmt.Sprint("number ", r.Force.By)
	if m := s.Member(number); m != nil {
		name = m.Name
	}
	if m := s.Member(r.Force.By); m != nil {
		by = m.Name
	}
	return fmt.Sprintf("SFU %s was overruled: SFU %s went on without it, in epoch %d from CSN %d on, by a forced recovery at %s; "+
		"it takes no part any more; bring it back under a new identity: `rrts sfu replace %s`",
		name, by, r.Force.Epoch, r.Force.Csn, time.Unix(0, int64(r.Force.At)).UTC().Format(time.RFC3339), name)
}

// refusesOverruled answers a request of an SFU that a forced recovery has overruled, and
// reports whether it did.
func (c *Component) refusesOverruled(r message.Request) bool {
	from := uint32(r.Envelope().From)
	if from == 0 || uint64(from) == c.cfg.Node {
		return false
	}
	m := c.group.Load().Member(from)
	if m == nil || !m.Overruled {
		return false
	}
	r.Fail(message.Denied, fmt.Sprintf("SFU %s was overruled by a forced recovery: replace it with `rrts sfu replace %s`", m.Name, m.Name))
	return true
}

// outdated tells a member that speaks in an older epoch, once in a while, who is in the
// cluster now.
func (l *loop) outdated(from uint16) {
	now := l.c.host.Now()
	if last, ok := l.told[from]; ok && now-last < forceAsk {
		return
	}
	l.told[from] = now
	l.c.host.Log().Info("an SFU speaks in an older epoch", "sfu", from, "epoch", l.c.epoch.Load())
	l.announce(from)
}

// forcedAlarm is what stands until every overruled member is replaced or removed.
func forcedAlarm(r *txnpb.Roster) string {
	all := roster.Overruled(r)
	if len(all) == 0 {
		return ""
	}
	names := make([]string, len(all))
	for i, m := range all {
		names[i] = m.Name
	}
	slices.Sort(names)
	s := roster.State{Roster: r}
	by := fmt.Sprint(r.Force.By)
	if m := s.Member(r.Force.By); m != nil {
		by = m.Name
	}
	return fmt.Sprintf("SFU %s went on alone in epoch %d from CSN %d on; overruled, and to be brought back with `rrts sfu replace NAME`: %s",
		by, r.Force.Epoch, r.Force.Csn, strings.Join(names, ", "))
}
