package effects

import (
	"slices"
	"time"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

// Ready fills in what is to be done now, and reports whether that is anything.
func (c *Core) Ready(now time.Duration, out *Output) bool {
	*out = Output{Abandon: c.lost}
	c.lost = nil
	c.wakeDelayed(now)
	out.Change = c.change(now)
	out.Jobs = c.work(now)
	c.ask(now, out)
	out.Wake = c.wake(now)
	return out.List != nil || out.Change != nil || len(out.Jobs) > 0 || len(out.Abandon) > 0 || out.Await
}

func (c *Core) wakeDelayed(now time.Duration) {
	due := c.delayed
	c.delayed = nil
	for _, it := range due {
		if it.stage == delayed {
			c.settle(now, it)
		}
	}
}

// change puts the next transaction together.
func (c *Core) change(now time.Duration) *Change {
	if c.flying == maxFlying {
		return nil
	}
	ch := &Change{life: c.life, built: now}
	add := func(it *item, x txnpb.EffectChange) {
		x.Service, x.Target = c.cfg.Service, c.cfg.Target
		if it != nil {
			x.Sequence = it.row.Sequence
		}
		ch.Changes, ch.items = append(ch.Changes, x), append(ch.items, it)
	}
	lease := uint32(c.cfg.Lease / time.Millisecond)
	switch {
	case c.fence == 0 && c.rival.sure && !c.taking && !c.listing && !c.draining:
		c.taking = true
		add(nil, txnpb.EffectChange{Action: txnpb.EffectActionTake, Holder: c.cfg.SFU, Token: c.cfg.Token, LeaseMillis: lease})
	case c.fence != 0:
		c.reports(add)
		if c.draining {
			if c.claims == 0 && len(ch.Changes) == 0 && c.flying == 0 && !c.left {
				c.left = true
				add(nil, txnpb.EffectChange{Action: txnpb.EffectActionKeep, Fence: c.fence}) // for no longer
			}
			break
		}
		claims := len(ch.Changes)
		c.claim(now, lease, add)
		if len(ch.Changes) == claims && c.claims > 0 && c.leaseEnd-now < c.cfg.Lease/2 && c.flying == 0 {
			add(nil, txnpb.EffectChange{Action: txnpb.EffectActionKeep, Fence: c.fence, LeaseMillis: lease})
		}
	}
	if len(ch.Changes) == 0 {
		return nil
	}
	c.flying++
	return ch
}

// reports adds what became of attempts.
func (c *Core) reports(add func(*item, txnpb.EffectChange)) {
	n := min(len(c.judged), maxChanges/2)
	for _, it := range c.judged[:n] {
		it.stage = reporting
		x := txnpb.EffectChange{Fence: c.fence, Reason: line(it.result.Reason)}
		if r := it.result.Reference; r != "" {
			x.Result = []byte(r[:min(len(r), maxReference)])
		}
		switch it.result.Class {
		case ClassDone:
			x.Action, x.Reason = txnpb.EffectActionDone, ""
		case ClassFail:
			x.Action = txnpb.EffectActionFail
		case ClassQuarantine:
			x.Action = txnpb.EffectActionQuarantine
		default:
			x.Action = txnpb.EffectActionRetry
			x.DelayMillis = uint32(c.pause(it) / time.Millisecond)
		}
		add(it, x)
	}
	c.judged = slices.Delete(c.judged, 0, n)
}

// maxPause is the log's bound.
const maxPause = 24 * time.Hour

// pause is how long an effect waits for its next attempt.
func (c *Core) pause(it *item) time.Duration {
	d := c.cfg.RetryFirst
	for n := uint32(1); n < it.row.Attempts && d < c.cfg.RetryMost; n++ {
		d *= 2
	}
	return min(max(min(d, c.cfg.RetryMost), it.result.After), maxPause)
}

// claim adds claims for as many effects as can be done.
func (c *Core) claim(now time.Duration, lease uint32, add func(*item, txnpb.EffectChange)) {
	if c.held {
		return
	}
	n := min(len(c.ready), c.cfg.Parallel*c.cfg.Batch-c.claims, maxChanges/2)
	if n <= 0 {
		return
	}
	for _, it := range c.ready[:n] {
		it.stage = claiming
		c.claims++
		add(it, txnpb.EffectChange{Action: txnpb.EffectActionClaim, Fence: c.fence, LeaseMillis: lease})
	}
	c.ready = slices.Delete(c.ready, 0, n)
}

// work makes jobs of what is claimed. When the lease is over nothing is begun before it is
// known to be renewed: another SFU may do the same.
func (c *Core) work(now time.Duration) (jobs []*Job) {
	for len(c.claimed) > 0 && len(c.jobs) < c.cfg.Parallel && now < c.leaseEnd {
		n := min(len(c.claimed), c.cfg.Batch)
		j := &Job{life: c.life, items: slices.Clone(c.claimed[:n])}
		for _, it := range j.items {
			it.stage = doing
			j.Attempts = append(j.Attempts, attemptOf(&it.row, c.cluster, it.row.Attempts, c.fence, it.doubt))
		}
		c.claimed = slices.Delete(c.claimed, 0, n)
		c.jobs = append(c.jobs, j)
		jobs = append(jobs, j)
	}
	return jobs
}

// ask asks for what is not known.
func (c *Core) ask(now time.Duration, out *Output) {
	looks := c.fence == 0 && c.rival.takeAt != 0 && now >= c.rival.takeAt && !c.rival.sure
	switch {
	case c.listing || c.taking || c.draining || now < c.retryAt:
	case c.fence == 0 && (c.stale || looks):
		c.list(out, 0, 1)
	case c.fence != 0 && c.stale && c.window() < maxWindow:
		c.list(out, c.cursor, listMost)
	}
	if !c.awaiting && !c.listing && !c.stale && !c.draining && now >= c.retryAt {
		c.awaiting = true
		out.Await, out.Version = true, c.version
	}
}

func (c *Core) list(out *Output, from uint64, limit uint32) {
	c.listing, c.stale = true, false
	clear(c.gone)
	out.List = &List{From: from, Limit: limit}
}

// wake is when something becomes due.
func (c *Core) wake(now time.Duration) (at time.Duration) {
	soonest := func(t time.Duration) {
		if t > now && (at == 0 || t < at) {
			at = t
		}
	}
	for _, it := range c.delayed {
		soonest(it.due)
	}
	if c.fence == 0 && c.rival.takeAt != 0 {
		soonest(c.rival.takeAt)
	}
	if c.claims > 0 && c.fence != 0 {
		soonest(c.leaseEnd - c.cfg.Lease/2)
	}
	if c.retryAt > now {
		soonest(c.retryAt)
	}
	return at
}
