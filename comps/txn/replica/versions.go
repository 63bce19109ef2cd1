package replica

import (
	"fmt"

	"virtualservicesinc.com/comps/txn/entry"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

// PeerKnows tells the newest apply version that a peer's software knows; a message of its
// own said so.
func (r *Replica) PeerKnows(peer uint64, newest uint32) { r.newest[peer] = newest }

// Newest is the newest apply version that a member's software knows; 0 where it was not
// heard.
func (r *Replica) Newest(id uint64) uint32 {
	if id == r.cfg.ID {
		return r.cfg.Newest
	}
	return r.newest[id]
}

// ActiveVersion is the apply version that entries name.
func (r *Replica) ActiveVersion() uint32 { return max(r.group.Version, entry.BaseVersion) }

// tooOld reports why an apply version must not become active: a member would halt.
func (r *Replica) tooOld(version uint32) error {
	for _, id := range r.group.Members() {
		if newest := r.Newest(id); newest != 0 && newest < version {
			return fmt.Errorf("SFU %s knows apply versions up to %d, not %d: install the newer software on it first", r.nameOf(id), newest, version)
		}
	}
	return nil
}

// unheard reports a member of which it is not known whether it knows an apply version.
func (r *Replica) unheard(version uint32) error {
	progress := r.node.Status().Progress
	for _, id := range r.group.Members() {
		if r.Newest(id) == 0 || id != r.cfg.ID && (!progress[id].RecentActive || r.suspects[id]) {
			return fmt.Errorf("whether SFU %s knows apply version %d is not known: it is not there; start it first, or remove it", r.nameOf(id), version)
		}
	}
	return nil
}

func (r *Replica) nameOf(id uint64) string {
	if m := r.group.Member(uint32(id)); m != nil {
		return m.Name
	}
	return fmt.Sprint(id)
}

// changeVersion is the apply version that a change of the roster names: the one that it
// brings, or the active one.
func (r *Replica) changeVersion(c *txnpb.RosterChange) uint32 {
	return max(c.Activate, r.ActiveVersion())
}

// Halt makes this member one that applies nothing any more, because it has met what its
// software does not know. It goes on storing the log, which needs no understanding, and
// votes, but it does not lead: it would answer nobody.
func (r *Replica) Halt() { r.halted = true }

// Halted reports whether Halt was called.
func (r *Replica) Halted() bool { return r.halted }

// tickHalted is Tick of a halted member. Raft's time stands still for it, so that it never
// campaigns; when the leader has been silent for long it forgets it, and so votes for
// another.
func (r *Replica) tickHalted() {
	if r.leading {
		r.tickRaft()
		r.HandOver()
		return
	}
	if r.silent++; r.silent >= r.cfg.Election {
		_ = r.node.ForgetLeader() // refused by a learner only, which has no vote to lend
	}
}

// knowsActive reports whether a member is not known to know less than the active version.
func (r *Replica) knowsActive(id uint64) bool {
	newest := r.Newest(id)
	return newest == 0 || newest >= r.ActiveVersion()
}
