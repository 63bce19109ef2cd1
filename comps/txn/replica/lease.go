package replica

import (
	"errors"
	"fmt"
	"time"
)

const (
	// LeaseTime is how long a lease on a planned restart lasts unless it is renewed.
	LeaseTime = 30 * time.Second
	// leaseQuiet is how long a new leader gives no lease to anybody: whoever got one of
	// the leader before it has renewed it by then.
	leaseQuiet = LeaseTime / 6
)

var errLeaseQuiet = errors.New("another SFU has just become the leader: try again in some seconds")

// lease is the leader's word that one member may be stopped on purpose. It is kept in
// memory alone: a new leader waits until a holder has had the time to renew it, and gives
// none while a voter is away, the holder's included.
type lease struct {
	holder uint64        // 0: nobody
	until  time.Duration // when it ends
	since  time.Duration // when this leadership was first seen to last; 0: not yet
}

// Lease asks that member may be stopped on purpose while no other one is: granted or
// renewed with nil for LeaseTime. Errors: ErrNotLeader, or in one line why it has to
// wait: another holds it, or a voter is away or behind, so that one more could be one
// too many.
func (r *Replica) Lease(now time.Duration, member uint64) error {
	l := &r.lease
	switch {
	case !r.leading:
		return ErrNotLeader
	case l.holder == member && now < l.until:
	case l.holder != 0 && now < l.until:
		return fmt.Errorf("SFU %d is being restarted: one at a time", l.holder)
	case l.since == 0 || now-l.since < leaseQuiet:
		return errLeaseQuiet
	case r.group.Joint() || r.changes.under || len(r.changes.queue) > 0:
		return errors.New("the members are being changed: try again when that is done")
	default:
		if err := r.whole(member); err != nil {
			return err
		}
	}
	l.holder, l.until = member, now+LeaseTime
	return nil
}

// Release gives a lease back.
func (r *Replica) Release(member uint64) {
	if r.lease.holder == member {
		r.lease.holder = 0
	}
}

// tickLease notes since when this member leads.
func (r *Replica) tickLease(now time.Duration) {
	if r.leading && r.lease.since == 0 {
		r.lease.since = max(now, 1)
	}
}

// whole reports whether all voters but one are there, do not leave and have what this
// leader has, or nearly so.
func (r *Replica) whole(but uint64) error {
	status := r.node.Status()
	there := r.isThere()
	for id := range status.Config.Voters.IDs() {
		switch p := status.Progress[id]; {
		case id == but || id == r.cfg.ID:
		case !there(id) || r.draining[id]:
			return fmt.Errorf("SFU %d, which votes, is not there: start it first", id)
		case p.Match+caughtUpEntries < status.GetCommit():
			return fmt.Errorf("SFU %d, which votes, is still %d entries behind: wait until it is level", id, status.GetCommit()-p.Match)
		}
	}
	return nil
}
