package cluster

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"virtualservicesinc.com/comps/txn/machine"
	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/net/session"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// farewell is how long a member that was removed is still reached.
	farewell = 50 * time.Millisecond
	// announcement is how long a roster takes from one node to another.
	announcement = time.Millisecond
	// operatorPatience is how long the operator waits for one answer: longer than a change
	// waits for the voters that it needs.
	operatorPatience = 500 * time.Millisecond
	// maxMembers keeps runs small.
	maxMembers = 7
	// typeWitness is the type of a member that votes and applies nothing.
	typeWitness = "witness"
)

// founding is the roster with which the cluster begins.
func (w *world) founding() *txnpb.Roster {
	r := &txnpb.Roster{}
	for id := uint64(1); id <= uint64(w.cfg.Nodes); id++ {
		m := txnpb.Member{Number: uint32(id), Name: fmt.Sprint("n", id), Machine: fmt.Sprint("m", id), Type: "all", Voter: true}
		if w.cfg.Witness && id == uint64(w.cfg.Nodes) {
			m.Type = typeWitness
		}
		public := w.pairs[id].Public
		m.PublicKey = public[:]
		r.Members, r.LastNumber = append(r.Members, m), m.Number
	}
	return r
}

// node returns the node of a number, or nil.
func (w *world) node(id uint64) *node {
	for _, n := range w.nodes {
		if n.id == id {
			return n
		}
	}
	return nil
}

// saw takes note of the newest roster and group that any replica has applied.
func (w *world) saw(index uint64, s roster.State) {
	if index > w.groupAt && s.Roster != nil {
		w.group, w.groupAt = s, index
	}
}

// members are the nodes in the newest roster.
func (w *world) members() []*node {
	if w.group.Roster == nil {
		return w.nodes
	}
	var all []*node
	for i := range w.group.Roster.Members {
		if n := w.node(uint64(w.group.Roster.Members[i].Number)); n != nil && !w.group.Roster.Members[i].Overruled {
			all = append(all, n)
		}
	}
	return all
}

// maySpare reports whether a node may be lost for good: as long as one is, or mends what it
// has, or somebody changes the group, another could be one too many.
func (w *world) maySpare() bool {
	if w.group.Roster == nil || w.group.Joint() || w.operator.open || len(w.group.Conf.Voters) < 3 || len(holders(w.group)) < 2 {
		return false
	}
	for _, n := range w.members() {
		if n.lost || n.rotten || n.fenced || n.rows.Rotten() {
			return false
		}
	}
	return true
}

// released takes note that another announces a roster, and reports whether those that
// announced one without this node are most voters of it: they have applied that, durably.
// Fewer might yet hear that from it alone, because the others are not there.
func (n *node) released(from uint64, r *txnpb.Roster) bool {
	if r == nil || roster.Listed(r, uint32(n.id)) {
		return false
	}
	if n.w.cfg.Bug == LeaveAtOnce {
		return true
	}
	n.outBy[uint32(from)] = true
	return n.machine.Group().Released(uint32(n.id), r, n.outBy)
}

// learn makes a roster that a node hears of the one by which it has its peers. Only
// others can tell it that it was removed: released.
func (n *node) learn(r *txnpb.Roster, released bool) {
	l := n.life
	if l == nil || r == nil || !roster.Newer(r, l.roster) {
		return
	}
	self, leaving := false, false
	for i := range r.Members {
		self = self || r.Members[i].Number == uint32(n.id) && !r.Members[i].Overruled
		leaving = leaving || r.Members[i].Leaving
	}
	if !self && !released {
		return
	}
	l.roster = r
	if !leaving && !n.countsOnOthers(r) {
		n.known = r
	}
	if !self {
		n.w.trace("node %d: stops, it was removed or overruled", n.id)
		n.gone = true
		if roster.EpochOf(r) > l.epoch {
			n.w.report.Overruled++
		}
		n.crash(false)
		return
	}
	n.setPeers()
}

// setPeers makes sessions with the peers of the roster, and ends those with others
// after a moment.
func (n *node) setPeers() {
	l := n.life
	peers := l.peers(n.id)
	there := map[uint64]bool{}
	for _, p := range peers {
		there[uint64(p.SFU)] = true
	}
	for _, o := range n.w.nodes {
		s := l.sessions[o.id]
		if s == nil || there[o.id] {
			continue
		}
		n.w.After(farewell, func() {
			n.run(l, func() {
				if l.sessions[o.id] == s && !n.counts(o.id) {
					s.Close(n.w.Now())
					n.exchange(o.id, s)
					delete(l.sessions, o.id)
				}
			})
		})
	}
	if err := n.addSessions(l, peers); err != nil {
		n.w.fail("node %d: %v", n.id, err)
	}
}

// counts reports whether the group as it is applied here counts on a member's vote, be
// it that it has left by a newer roster: this one asks for that one's vote yet.
func (n *node) counts(id uint64) bool {
	conf := n.machine.Group().Conf
	return slices.Contains(conf.Voters, id) || slices.Contains(conf.VotersOutgoing, id)
}

// countsOnOthers reports whether the group as it is applied here counts on a vote of a
// member that is not in a roster. Then a start must go by an older one.
func (n *node) countsOnOthers(r *txnpb.Roster) bool {
	conf := n.machine.Group().Conf
	return slices.ContainsFunc(slices.Concat(conf.Voters, conf.VotersOutgoing), func(id uint64) bool { return !roster.Listed(r, uint32(id)) })
}

// peers are the others of the roster that a life goes by.
func (l *life) peers(self uint64) []session.Peer {
	var peers []session.Peer
	for i := range l.roster.Members {
		if m := &l.roster.Members[i]; m.Number != uint32(self) && roster.Replicates(m.Type) {
			peers = append(peers, session.Peer{SFU: uint16(m.Number), Public: [32]byte(m.PublicKey)})
		}
	}
	return peers
}

// announce tells a peer whose session has come up of the roster that is applied here.
func (n *node) announce(peer uint64) {
	r, epoch := n.machine.Group().Roster, n.epoch
	n.w.After(announcement, func() {
		if p := n.w.node(peer); p != nil && p.life != nil && epoch >= p.epoch {
			p.run(p.life, func() { p.learn(r, p.released(n.id, r)) })
		}
	})
}

// applyChanges takes note of what was applied to roster and group, before raft does.
func (n *node) applyChanges(index uint64, changes []roster.Applied) {
	if len(changes) == 0 {
		return
	}
	l := n.life
	for i := range changes {
		ch := &changes[i]
		if !ch.Regroups() {
			continue
		}
		l.log.Grown()
		if ch.Change != nil && index > n.w.groupAt {
			n.w.countChange(ch.Change)
		}
	}
	n.w.saw(index, l.machine.Group())
	early := n.w.cfg.Bug == LeaveEarly
	if !early {
		n.flush() // before anybody hears of it
	}
	if n.learn(l.machine.Group().Roster, early); n.life != l {
		return
	}
	for _, o := range n.w.nodes {
		if l.sessions[o.id] != nil {
			n.announce(o.id)
		}
	}
}

// flush makes the state durable.
func (n *node) flush() {
	if w, ok := n.life.machine.(*machine.Witness); ok {
		n.keepMarker(w.Marker())
	} else if err := n.state.Flush(); err != nil {
		n.w.fail("node %d: %v", n.id, err)
	}
	n.life.flushed, _ = n.life.machine.Applied()
}

func (w *world) countChange(c *txnpb.RosterChange) {
	switch {
	case c.Add != nil && c.Remove != 0:
		w.report.Replaced++
	case c.Add != nil:
		w.report.Added++
	case c.Remove != 0:
		w.report.Removed++
	case c.Promote != 0:
		w.report.Promoted++
	case c.Demote != 0:
		w.report.Demoted++
	}
}

// operator changes who is in the cluster: one change after the other, each asked for
// until its answer is final.
type operator struct {
	w      *world
	rng    *rand.Rand
	wish   txnpb.RosterChange
	pair   session.KeyPair // of the member that is added
	starts time.Duration   // after its time, once it is in the cluster
	open   bool
	asked  int
	made   uint64 // members made up so far
}

func newOperator(w *world) *operator {
	return &operator{w: w, rng: rand.New(rand.NewPCG(w.cfg.Seed, 3000))}
}

// wants begins the change of an event, if the operator is at no other one. A member
// that will never take part again comes first.
func (o *operator) wants(e *Event) {
	w := o.w
	r := w.group.Roster
	if r == nil || w.group.Joint() || o.open {
		return
	}
	o.starts = e.For
	for _, n := range w.members() {
		if n.lost {
			o.replace(n)
			return
		}
	}
	// Nobody is taken away from a group that may lose another for good: the leader knows
	// who is silent only an election time-out later.
	spoiled := slices.ContainsFunc(w.members(), func(n *node) bool { return n.rotten || n.fenced || n.rows.Rotten() })
	member := w.group.Member(uint32(e.Node))
	switch {
	case e.Kind == Add:
		if len(r.Members) < maxMembers {
			o.begin(txnpb.RosterChange{Add: o.record("", e)})
		}
	case member == nil || spoiled:
	case e.Kind == Lose:
		if n := w.node(e.Node); n != nil && w.maySpare() {
			w.trace("node %d: its disk is lost", n.id)
			n.crash(true)
			n.lost = true
			o.replace(n)
		}
	case len(r.Members) < 2:
	case e.Kind == Demote:
		o.begin(txnpb.RosterChange{Demote: member.Number})
	case e.Kind == Remove && !w.strands(member.Number):
		o.begin(txnpb.RosterChange{Remove: member.Number})
	}
}

// strands reports whether a member, without another, would know nobody in the cluster: it
// has been away for so long that all whom it knows have left. An operator who does that has to
// add it anew.
func (w *world) strands(without uint32) bool {
	for _, n := range w.members() {
		r := n.known
		if n.life != nil {
			r = n.roster
		}
		if n.id == uint64(without) || r == nil {
			continue
		}
		knows := slices.ContainsFunc(w.members(), func(o *node) bool {
			return o != n && o.id != uint64(without) && !o.lost && roster.Listed(r, uint32(o.id))
		})
		if !knows && len(w.members()) > 2 {
			return true
		}
	}
	return false
}

// replace replaces a node that will never take part again.
func (o *operator) replace(n *node) {
	for i := range o.w.group.Roster.Members {
		if m := &o.w.group.Roster.Members[i]; m.Number == uint32(n.id) {
			o.begin(txnpb.RosterChange{Add: o.record(m.Machine, &Event{Voter: m.Voter, Replica: true, Witness: m.Type == typeWitness}), Remove: m.Number})
		}
	}
}

// record makes up a member as the event says, on a machine of its own if none is named.
func (o *operator) record(machine string, e *Event) *txnpb.Member {
	o.made++
	m := &txnpb.Member{Name: fmt.Sprint("added", o.made), Machine: machine, Type: "all", Voter: e.Voter}
	if machine == "" {
		m.Machine = fmt.Sprint("machine", o.made)
	}
	switch {
	case !e.Replica:
		m.Type, m.Voter = "edge", false
	case e.Witness:
		m.Type = typeWitness
	}
	var err error
	if o.pair, err = keyPair(o.w.random(o.w.cfg.Seed<<16 + o.made)); err != nil {
		o.w.fail("%v", err)
	}
	m.PublicKey = o.pair.Public[:]
	return m
}

func (o *operator) begin(wish txnpb.RosterChange) {
	o.wish, o.open = wish, true
	o.w.trace("operator: asks for %v", wish.String())
	o.ask()
}

// ask asks some node, and again when nobody answers.
func (o *operator) ask() {
	w := o.w
	o.asked++
	number := o.asked
	is := func() bool { return o.open && o.asked == number }
	w.After(operatorPatience, func() {
		if is() {
			o.ask()
		}
	})
	all := w.members()
	all = slices.DeleteFunc(slices.Clone(all), func(n *node) bool { return n.life == nil })
	if len(all) == 0 {
		return
	}
	n := all[o.rng.IntN(len(all))]
	l := n.life
	c := &replica.Change{Wish: o.wish, Deadline: w.Now() + operatorPatience}
	c.Origin = func(c *replica.Change) {
		w.After(time.Millisecond, func() {
			switch {
			case !is():
			case c.Failed != nil:
				w.After(time.Duration(1+o.rng.IntN(20))*time.Millisecond, func() {
					if is() {
						o.ask()
					}
				})
			default:
				o.answer(c)
			}
		})
	}
	n.run(l, func() { l.replica.Change(c) })
}

// answer ends the change; a member that was added begins its life.
func (o *operator) answer(c *replica.Change) {
	w := o.w
	o.open = false
	switch {
	case c.Refused != "":
		w.report.Refused++
		w.trace("operator: %v refused: %s", o.wish.String(), c.Refused)
	case c.Added != 0 && roster.Replicates(o.wish.Add.Type):
		w.trace("operator: node %d is in the cluster", c.Added)
		w.pairs[uint64(c.Added)] = o.pair
		n := newNode(w, uint64(c.Added))
		n.witness = o.wish.Add.Type == typeWitness
		n.known = c.Group.Roster
		w.nodes = append(w.nodes, n)
		w.restartAfter(n, o.starts)
	default:
		w.trace("operator: %v done", o.wish.String())
	}
}

// unseated says which member is not yet what the roster wants it to be, or "".
func (w *world) unseated() string {
	if w.group.Roster == nil {
		return "nobody has founded the cluster"
	}
	if w.group.Joint() {
		return "the group is between two sets of voters"
	}
	for _, n := range w.there() {
		m := w.group.Member(uint32(n.id))
		if m.Voter && w.group.Seat(m.Number) != txnpb.SeatVoter {
			return fmt.Sprintf("node %d does not vote yet", n.id)
		}
	}
	return ""
}
