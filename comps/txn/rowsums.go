package txn

import (
	"fmt"
	"time"

	"virtualservicesinc.com/comps/txn/replica"
	"virtualservicesinc.com/comps/txn/store"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// sumsRetry is how soon the leader asks for sums again of which too few came: a member
	// was beyond the entry already, or away.
	sumsRetry = 10 * time.Second
	// sumsAhead is how many entries ahead of a busy log the sums are asked for, so that
	// nobody has applied that entry when the wish arrives, and all have settled most rows.
	sumsAhead = 64
)

// sumWatch is when the leader asks for sums next. It belongs to the loop.
type sumWatch struct {
	due     time.Duration
	leading bool
}

// compareSums has all members tell the sums of their rows at one entry, now and then: the
// leader asks for it.
func (l *loop) compareSums(now time.Duration) {
	w := &l.sums
	if !l.leading || l.c.witness() {
		w.leading = false
		return
	}
	pause := l.c.cfg.Scrub
	if !w.leading { // a new leader does not know when it was done last
		w.leading, w.due = true, now+min(pause, sumsRetry)
	}
	if now < w.due {
		return
	}
	w.due = now + min(pause, sumsRetry)
	st := l.replica.Status()
	last, _ := l.c.log.LastIndex() // never fails
	if st.Applied < last {
		last += sumsAhead
	}
	ask := &txnpb.RowsSum{Index: last, Ask: true}
	l.tellMembers(txnpb.ReplicaSumMethod, ask)
	l.c.wantSum(ask.Index)
}

// Sum implements txnpb.ReplicaHandler.
func (d replicaService) Sum(r message.Request, in *txnpb.RowsSum) {
	c, env := d.c, r.Envelope()
	switch {
	case env.Group != c.cfg.Group || env.Epoch != c.epoch.Load() || env.From == 0 || c.witness():
	case in.Ask:
		c.wantSum(in.Index)
	default:
		from := uint64(env.From)
		d.add(func() { c.loop.summed(from, in) })
	}
}

// wantSum has this member tell the sum of its rows once it has applied an entry; where it
// is beyond that it does not.
func (c *Component) wantSum(index uint64) {
	c.applier.do(func() {
		a := c.applier
		a.sums.index = index
		if a.next() <= index {
			// Most rows are settled beside the apply thread, so that it has little left to do.
			select {
			case c.reads <- c.settleRows:
			default: // readers are busy: then it waits for that longer
			}
		}
		a.sums.reached(a, a.next()-1)
	})
}

// settleRows brings the rows up to date.
func (c *Component) settleRows() {
	if snap, err := c.store.Snapshot(); err == nil {
		err = snap.Close()
		if err != nil {
			c.host.Log().Error("closing a snapshot", "err", err)
		}
	}
}

// sumAsked is the entry at which the sum of the rows is to be told, or 0. It belongs to the
// apply thread.
type sumAsked struct{ index uint64 }

// reached tells the sum if the entry that was applied last is that.
func (s *sumAsked) reached(a *applier, index uint64) {
	if s.index == 0 || index < s.index {
		return
	}
	asked := s.index
	s.index = 0
	if index != asked {
		return
	}
	snap, err := a.c.store.Snapshot()
	if err != nil {
		a.c.host.Log().Error("the sum of the rows", "err", err)
		return
	}
	out := &txnpb.RowsSum{Index: index, Sum: snap.Sum()}
	if err := snap.Close(); err != nil {
		a.c.host.Log().Error("closing a snapshot", "err", err)
	}
	a.c.post(func() {
		a.c.loop.tellMembers(txnpb.ReplicaSumMethod, out)
		a.c.loop.summed(a.c.cfg.Node, out)
	})
}

// summed compares the sums that members have at an entry.
func (l *loop) summed(member uint64, s *txnpb.RowsSum) {
	v := l.replica.Sum(member, s.Index, s.Sum)
	if v == replica.VerdictMajority {
		l.sums.due = max(l.sums.due, l.c.host.Now()+l.c.cfg.Scrub)
	}
	l.judge(v, fmt.Sprintf("at entry %d the rows of this SFU are others than those of most: %v", s.Index, store.ErrRotten))
}
