package effects

import (
	"fmt"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// maxWindow bounds the effects of a queue that are kept in memory, at some hundred bytes
	// to 256 KiB each. Those behind a key that is held up are left out first.
	maxWindow = 2048
	// listMost is the longest list that is asked for at once.
	listMost = 512
	// maxChanges bounds the changes of one transaction, and maxFlying the transactions that
	// are under way: while one is on its way to the disks, the next one fills.
	maxChanges = 512
	maxFlying  = 2
	// notYet is how long a claim waits that the log found too early: its clock is another.
	notYet = 200 * time.Millisecond
	// failingAfter attempts without a success in between are an alarm.
	failingAfter = 3
)

// CoreConfig describes a Core. Where 0 has a meaning it is said.
type CoreConfig struct {
	Service, Target string
	// SFU is this one's number, and Token a random number of this life of the Component.
	SFU   uint32
	Token uint64
	// Attempts is how often an effect is tried before it goes into quarantine; 0 means 12.
	Attempts uint32
	// Parallel bounds the calls of Do at a time, and Batch the attempts in one; 0 means 8
	// and 1.
	Parallel, Batch int
	// Lease is how long the queue waits for this SFU when it is gone, 1 to 60 s; 0 means 6 s.
	Lease time.Duration
	// RetryFirst is the pause before the second attempt; it doubles up to RetryMost. 0
	// means 1 s and 5 min.
	RetryFirst, RetryMost time.Duration
}

func (c *CoreConfig) fill() {
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&c.Lease, 6*time.Second)
	set(&c.RetryFirst, time.Second)
	set(&c.RetryMost, 5*time.Minute)
	if c.Attempts == 0 {
		c.Attempts = 12
	}
	if c.Parallel == 0 {
		c.Parallel = 8
	}
	if c.Batch == 0 {
		c.Batch = 1
	}
}

// stage is where an effect in memory stands.
type stage uint8

const (
	queued      stage = iota // behind another one of its key
	ready                    // to be claimed
	delayed                  // to be claimed later
	quarantined              // an operator's
	claiming                 // its claim is under way
	claimed                  // it waits for a free call of Do
	doing                    // Do has it
	judged                   // its report is to be sent
	reporting                // its report is under way
)

type item struct {
	row    txnpb.OwedEffect
	stage  stage
	due    time.Duration // of delayed
	doubt  bool          // an earlier attempt was never reported
	result Result        // of judged and reporting
}

// List is a list of the queue that is asked for.
type List struct {
	From  uint64 // a sequence
	Limit uint32
}

// Change is a transaction of changes that is to be submitted until its outcome is final.
type Change struct {
	Changes []txnpb.EffectChange
	items   []*item // that they are about; nil for those of the queue
	life    int
	built   time.Duration
}

// Job is one call of Do.
type Job struct {
	Attempts []Attempt
	items    []*item
	life     int
}

// Output is what a Core wants done.
type Output struct {
	List    *List
	Change  *Change
	Jobs    []*Job
	Abandon []*Job // to be cancelled; what they return is not wanted
	// Await asks for Woken when the outbox is at another version than this.
	Await   bool
	Version uint64
	// Wake is when Ready wants to be called at the latest; 0: not by itself.
	Wake time.Duration
}

// Core is one queue as one SFU sees it: a state machine without I/O, owned by one
// goroutine. After each round of inputs Ready is called until it asks for nothing more.
// Times are the engine's, wall the wall clock in nanoseconds since 1970.
type Core struct {
	cfg  CoreConfig
	life int // rises when the queue is lost: what began before is of no interest

	cluster  [16]byte // its id
	fence    uint64   // under which the queue is held; 0: it is not
	leaseEnd time.Duration
	held     bool // by a restore
	draining bool
	left     bool // it was given up for good

	version  uint64 // of the outbox, as heard last
	awaiting bool
	listing  bool
	stale    bool // a list is wanted
	retryAt  time.Duration
	revision uint64
	cursor   uint64          // where the next list begins
	skipped  uint64          // the first effect that was left out; 0: none
	gone     map[uint64]bool // ended while a list is under way

	rival  rival
	taking bool

	items   map[uint64]*item
	keys    map[string][]*item // in their order
	ready   []*item
	delayed []*item
	claimed []*item
	judged  []*item
	jobs    []*Job
	lost    []*Job // to be abandoned
	flying  int
	shelved int // items in quarantine: of them no more than the key is kept
	claims  int // items that are claimed or being claimed, and those being done

	effects, quarantined uint64 // in the queue, as listed last
	failures             int
	failing              string
}

// rival is what is known of another holder of the queue.
type rival struct {
	fence, until uint64
	takeAt       time.Duration // when the queue is taken if nothing has changed by then
	sure         bool          // nothing has
}

// NewCore returns the Core of a queue.
func NewCore(cfg CoreConfig) *Core {
	cfg.fill()
	c := &Core{cfg: cfg, stale: true}
	c.forget()
	return c
}

func (c *Core) forget() {
	c.items, c.keys, c.gone = map[uint64]*item{}, map[string][]*item{}, map[uint64]bool{}
	c.ready, c.delayed, c.claimed, c.judged = nil, nil, nil, nil
	c.cursor, c.skipped, c.claims, c.shelved = 0, 0, 0, 0
}

// Holds reports whether this SFU holds the queue.
func (c *Core) Holds() bool { return c.fence != 0 }

// Quarantined is how many effects wait for an operator, and Failing why the newest
// attempts failed, "" when they did not; both only where the queue is held.
func (c *Core) Quarantined() uint64 {
	if c.fence == 0 {
		return 0
	}
	return c.quarantined
}

// Failing is described with Quarantined.
func (c *Core) Failing() string {
	if c.fence == 0 {
		return ""
	}
	return c.failing
}

// Held reports whether a restore holds the effects of the queue back.
func (c *Core) Held() bool { return c.held && c.effects > 0 }

// Drain claims nothing more and gives the queue up when nothing is under way.
func (c *Core) Drain() { c.draining = true }

// Idle reports whether a Core that drains is done with it.
func (c *Core) Idle() bool {
	return c.claims == 0 && len(c.judged) == 0 && c.flying == 0 && (c.fence == 0 || c.left)
}

// Woken takes in that the outbox is at another version.
func (c *Core) Woken(version uint64) {
	c.awaiting = false
	if version != c.version {
		c.version, c.stale = version, true
	}
}

// AwaitFailed and ListFailed take in that nobody answers: what is to be asked again is,
// after a pause.
func (c *Core) AwaitFailed(now time.Duration, pause time.Duration) {
	c.awaiting, c.stale, c.retryAt = false, true, now+pause
}

// ListFailed is described with AwaitFailed.
func (c *Core) ListFailed(now time.Duration, pause time.Duration) {
	c.listing, c.stale, c.retryAt = false, true, now+pause
}

// Listed takes in an answer to the list that was asked for.
func (c *Core) Listed(now time.Duration, wall uint64, a *txnpb.OutboxAnswer) {
	c.listing = false
	// Ledger time has come at least so far: a clock that is behind it, and set right later,
	// would have effects wait for as long as it was.
	wall = max(wall, a.Stamp)
	c.version, c.held = a.Version, a.Held
	copy(c.cluster[:], a.ClusterId)
	var q txnpb.EffectQueue
	if len(a.Queues) > 0 {
		q = a.Queues[0]
	}
	c.effects, c.quarantined = q.Effects, q.Quarantined
	if q.Fence == 0 || q.Holder != c.cfg.SFU || q.Token != c.cfg.Token {
		if c.fence != 0 {
			c.lose()
		}
		c.watch(now, wall, &q)
		return
	}
	if c.fence != q.Fence {
		c.fence, c.revision = q.Fence, q.Revision
		c.forget()
	}
	if c.revision != q.Revision { // an operator has changed something, maybe before the cursor
		c.revision = q.Revision
		c.forgetIdle()
		c.stale = true
		return
	}
	for i := range a.Effects {
		c.add(now, wall, &a.Effects[i])
	}
	if a.More {
		c.stale = true
	}
}

// watch decides when a queue is taken that is not this SFU's.
func (c *Core) watch(now time.Duration, wall uint64, q *txnpb.EffectQueue) {
	if q.Effects == 0 || c.held || c.draining {
		c.rival = rival{}
		return
	}
	r := &c.rival
	if r.takeAt != 0 && r.fence == q.Fence && r.until == q.Until {
		r.sure = now >= r.takeAt
		return
	}
	*r = rival{fence: q.Fence, until: q.Until, takeAt: now}
	switch {
	case q.Holder == c.cfg.SFU || q.Until == 0: // an earlier life of this Component, given up, or never held
		r.sure = true
	default: // who held it last comes first
		r.takeAt += c.cfg.Lease / 2
		if q.Until > wall {
			r.takeAt += time.Duration(min(q.Until-wall, uint64(time.Minute)))
		}
	}
}

// lose takes in that the queue is another's.
func (c *Core) lose() {
	c.life++
	c.lost = append(c.lost, c.jobs...)
	c.jobs, c.fence, c.failures, c.failing = nil, 0, 0, ""
	c.forget()
	c.rival = rival{}
	c.stale = true
}

// forgetIdle forgets what nothing is under way with, to read it anew.
func (c *Core) forgetIdle() {
	for seq, it := range c.items { // in any order
		if it.stage <= quarantined {
			delete(c.items, seq)
		}
	}
	c.ready, c.delayed, c.shelved = nil, nil, 0
	for key, line := range c.keys { // in any order
		if line = slices.DeleteFunc(line, func(it *item) bool { return it.stage <= quarantined }); len(line) == 0 {
			delete(c.keys, key)
		} else {
			c.keys[key] = line
		}
	}
	c.cursor, c.skipped = 0, 0
}

// window is how many effects are in memory with all that they hold.
func (c *Core) window() int { return len(c.items) - c.shelved }

// add takes in an effect of a list.
func (c *Core) add(now time.Duration, wall uint64, e *txnpb.OwedEffect) {
	c.cursor = max(c.cursor, e.Sequence+1)
	if c.items[e.Sequence] != nil || c.gone[e.Sequence] {
		return
	}
	line := c.keys[e.Effect.Key]
	if e.Effect.Key != "" && len(line) > 0 && c.window() >= maxWindow/2 || c.window() >= maxWindow {
		if c.skipped == 0 || e.Sequence < c.skipped {
			c.skipped = e.Sequence
		}
		return
	}
	it := &item{row: *e, doubt: e.InDoubt || e.State == txnpb.EffectStateClaimed}
	c.items[e.Sequence] = it
	if e.Due > wall {
		it.due = now + time.Duration(min(e.Due-wall, uint64(24*time.Hour)))
	}
	if e.Effect.Key != "" {
		c.keys[e.Effect.Key] = append(line, it)
	}
	if len(line) == 0 {
		c.settle(now, it)
	}
}

// settle gives an effect that nothing is before its place.
func (c *Core) settle(now time.Duration, it *item) {
	switch {
	case it.row.State == txnpb.EffectStateQuarantined:
		it.stage = quarantined
		it.row.Effect = &txnpb.Effect{Key: it.row.Effect.Key}
		c.shelved++
	case it.due > now:
		it.stage = delayed
		c.delayed = append(c.delayed, it)
	case it.row.State == txnpb.EffectStateClaimed && it.row.Attempts >= c.cfg.Attempts:
		c.judge(it, Result{Class: ClassQuarantine, Reason: fmt.Sprintf("%d attempts, and the last one was never reported", it.row.Attempts)})
	default:
		it.stage = ready
		c.ready = append(c.ready, it)
	}
}

// remove takes an effect out that has ended; the next one of its key follows.
func (c *Core) remove(now time.Duration, it *item) {
	delete(c.items, it.row.Sequence)
	if c.listing {
		c.gone[it.row.Sequence] = true
	}
	if key := it.row.Effect.Key; key != "" {
		line := c.keys[key]
		if i := slices.Index(line, it); i >= 0 {
			line = slices.Delete(line, i, i+1)
		}
		if len(line) == 0 {
			delete(c.keys, key)
		} else if c.keys[key] = line; line[0].stage == queued {
			c.settle(now, line[0])
		}
	}
	if c.skipped != 0 && c.window() < maxWindow/2 {
		c.cursor, c.skipped, c.stale = c.skipped, 0, true
	}
}

// judge notes what is to be reported.
func (c *Core) judge(it *item, r Result) {
	switch r.Class {
	case ClassRetry:
		if c.failures++; c.failures >= failingAfter {
			c.failing = line(r.Reason)
		}
		if it.row.Attempts >= c.cfg.Attempts {
			r.Class, r.Reason = ClassQuarantine, fmt.Sprintf("%d attempts: %s", it.row.Attempts, r.Reason)
		}
	case ClassDone, ClassFail:
		c.failures, c.failing = 0, ""
	}
	it.stage, it.result = judged, r
	c.judged = append(c.judged, it)
}

// Did takes in what became of a job.
func (c *Core) Did(j *Job, results []Result) {
	if j.life != c.life {
		return
	}
	c.jobs = slices.DeleteFunc(c.jobs, func(x *Job) bool { return x == j })
	for i, it := range j.items {
		c.claims--
		r := Result{Reason: "no result"}
		if i < len(results) {
			r = results[i]
		}
		c.judge(it, r)
	}
}

// Changed takes in what became of a Change: a status for each of its changes, or none
// where it can never be committed.
func (c *Core) Changed(now time.Duration, ch *Change, statuses []txnpb.EffectStatus) {
	c.flying--
	if ch.life != c.life {
		return
	}
	if len(statuses) != len(ch.Changes) { // older than the log remembers: read all anew
		c.taking = false
		c.lose()
		return
	}
	for i := range ch.Changes {
		x, status := &ch.Changes[i], statuses[i]
		switch x.Action {
		case txnpb.EffectActionTake:
			c.taking, c.stale, c.rival = false, true, rival{}
			if status == txnpb.EffectStatusChanged {
				c.leaseEnd = ch.built + c.cfg.Lease
			}
			continue
		case txnpb.EffectActionKeep:
			c.left = c.left && status == txnpb.EffectStatusChanged
		}
		if status == txnpb.EffectStatusFenced {
			c.lose()
			return
		}
		switch it := ch.items[i]; x.Action {
		case txnpb.EffectActionKeep:
			c.leaseEnd = max(c.leaseEnd, ch.built+c.cfg.Lease)
		case txnpb.EffectActionClaim:
			c.tookClaim(now, ch, it, status)
		default:
			if !c.tookReport(now, x, it, status) {
				c.lose()
				return
			}
		}
	}
}

func (c *Core) tookClaim(now time.Duration, ch *Change, it *item, status txnpb.EffectStatus) {
	switch status {
	case txnpb.EffectStatusChanged:
		c.leaseEnd = max(c.leaseEnd, ch.built+c.cfg.Lease)
		it.row.State = txnpb.EffectStateClaimed
		it.row.Attempts++
		it.stage = claimed
		c.claimed = append(c.claimed, it)
		return
	case txnpb.EffectStatusNotFound: // discarded
		c.remove(now, it)
	default:
		if status == txnpb.EffectStatusNotReleased {
			c.held = true
		}
		it.due = now + notYet
		c.settle(now, it)
	}
	c.claims--
}

func (c *Core) tookReport(now time.Duration, x *txnpb.EffectChange, it *item, status txnpb.EffectStatus) (ok bool) {
	switch status {
	case txnpb.EffectStatusChanged:
	case txnpb.EffectStatusNotFound:
		c.remove(now, it)
		return true
	case txnpb.EffectStatusContinuationFailed:
		c.judge(it, Result{Class: ClassQuarantine, Reason: line(fmt.Sprintf("the attempt is over (%v), but what follows it in the ledger cannot be done %s", x.Action, it.result.Reason))})
		return true
	default:
		return false
	}
	switch x.Action {
	case txnpb.EffectActionRetry:
		it.row.State, it.due = txnpb.EffectStateOwed, now+time.Duration(x.DelayMillis+1)*time.Millisecond // ledger time counts on in nanoseconds
		c.settle(now, it)
	case txnpb.EffectActionQuarantine:
		it.row.State = txnpb.EffectStateQuarantined
		c.quarantined++
		c.settle(now, it)
	default:
		c.remove(now, it)
	}
	return true
}
