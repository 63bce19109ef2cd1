package replica

import (
	"slices"
	"time"

	"virtualservicesinc.com/comps/txn/roster"
	"virtualservicesinc.com/rrts/schema/txnpb"
)

const (
	// MaxClockSkew is how far a leader's wall clock may be from the median of its voters'.
	MaxClockSkew = 500 * time.Millisecond
	// ClockAge is how long a member's clock counts after it was told: longer than a
	// member's session takes to come back after a restart of its process, which leaves the
	// machine's clock alone.
	ClockAge = 2 * time.Second
	// clockPatience is how long a leader waits for clocks that agree with its own before it
	// hands over: when all clocks were set at once, the others' are told again by then.
	clockPatience = 200 * time.Millisecond
	// clockGrace is how long submissions wait for clocks that agree before they are
	// answered.
	clockGrace = time.Second
)

// ClockState is what a member's wall clock is beside those of the voters.
type ClockState uint8

const (
	// ClockAgrees: most voters' clocks are near the median, and so is this one.
	ClockAgrees ClockState = iota
	// ClockWrong: most voters' clocks are near the median, and this one is not.
	ClockWrong
	// ClockNoMajority: no majority of the voters' clocks agrees.
	ClockNoMajority
)

func (s ClockState) String() string { return [...]string{"agrees", "wrong", "no majority"}[s] }

// Clock is a member's wall clock as the owner was told of it.
type Clock struct {
	ID   uint64
	Wall uint64        // nanoseconds since 1970
	Err  time.Duration // how far off that may be
}

// clocks is what a member knows of the voters' wall clocks.
type clocks struct {
	// bases hold each clock as what it says at time 0 of now: what a jump of this member's
	// own clock does not touch.
	bases map[uint64]clockBase
	own   int64 // this member's clock at time 0
	state ClockState
	off   time.Duration // this clock less the median
	since time.Duration // when state became another than ClockAgrees; 0 while it is that
}

type clockBase struct {
	wall int64 // nanoseconds since 1970 at time 0
	err  time.Duration
	at   time.Duration // when it was told
}

// Clocks tells the wall clocks of other members, as of now; wall is this member's own. Those
// that are not told again count for ClockAge.
func (r *Replica) Clocks(now time.Duration, wall uint64, told []Clock) {
	for _, c := range told {
		r.clocks.bases[c.ID] = clockBase{wall: int64(c.Wall) - int64(now), err: c.Err, at: now}
	}
	r.judgeClock(now, wall)
	r.propose(now, wall)
}

// Clock returns what this member's wall clock is beside the voters', for how long that has
// been so unless it agrees, and how far it is from their median.
func (r *Replica) Clock(now time.Duration) (state ClockState, lasting, off time.Duration) {
	c := &r.clocks
	if c.state != ClockAgrees {
		lasting = now - c.since
	}
	return c.state, lasting, c.off
}

// judgeClock compares this member's wall clock with the voters'.
//
// The median is of the clocks that are known; where two are in the middle it is the one
// that is nearer to this member's. A clock agrees that is within MaxClockSkew of it, as
// far as can be told; the rest, and those that are not known, are no part of a majority.
func (r *Replica) judgeClock(now time.Duration, wall uint64) {
	if !r.cfg.CompareClocks {
		return
	}
	c, voters := &r.clocks, r.group.Conf.Voters
	var room [2 * roster.MaxVoters]time.Duration
	known := append(room[:0], 0) // each as its distance from this member's
	c.own = int64(wall) - int64(now)
	for id, b := range c.bases {
		switch {
		case now-b.at > ClockAge:
			delete(c.bases, id)
		case id != r.cfg.ID && slices.Contains(voters, id):
			known = append(known, time.Duration(b.wall-c.own))
		}
	}
	if !slices.Contains(voters, r.cfg.ID) { // a learner, or a leader that is leaving
		known = known[1:]
	}
	median := time.Duration(0)
	if n := len(known); n > 0 {
		slices.Sort(known)
		if median = known[n/2]; n%2 == 0 && known[n/2-1].Abs() < median.Abs() {
			median = known[n/2-1]
		}
	}
	agreeing := 0
	for _, id := range voters {
		if r.clockAgrees(id, median) {
			agreeing++
		}
	}
	c.off = -median
	state := ClockAgrees
	switch {
	case agreeing <= len(voters)/2:
		state = ClockNoMajority
	case median.Abs() > MaxClockSkew:
		state = ClockWrong
	}
	if (state == ClockAgrees) != (c.state == ClockAgrees) {
		c.since = now
	}
	c.state = state
}

// clockAgrees reports whether a member's clock is known to be near a median, which is
// counted from this member's own.
func (r *Replica) clockAgrees(id uint64, median time.Duration) bool {
	if id == r.cfg.ID {
		return median.Abs() <= MaxClockSkew
	}
	b, known := r.clocks.bases[id]
	return known && (time.Duration(b.wall-r.clocks.own)-median).Abs() <= MaxClockSkew+b.err
}

// rightClock reports whether a member's clock is known to agree with most voters'.
func (r *Replica) rightClock(id uint64) bool { return r.clockAgrees(id, -r.clocks.off) }

// mayStamp reports whether this leader's clock may go into an entry now.
func (r *Replica) mayStamp(now time.Duration, wall uint64) bool {
	r.judgeClock(now, wall)
	return r.clocks.state == ClockAgrees
}

// stamp is the clock for an entry that does not wait for one: 0 leaves ledger time alone.
func (r *Replica) stamp(now time.Duration, wall uint64) uint64 {
	if r.mayStamp(now, wall) {
		return wall
	}
	return 0
}

// tickClock hands over where this leader's clock is wrong, and answers what has waited
// for too long for clocks that agree.
func (r *Replica) tickClock(now time.Duration, wall uint64) {
	r.judgeClock(now, wall)
	c := &r.clocks
	if !r.leading || c.state == ClockAgrees {
		return
	}
	if c.state == ClockWrong && now-c.since >= clockPatience && !r.handing {
		r.handOver(r.rightClock)
	}
	if now-c.since >= clockGrace {
		r.work.dropQueued(unsynced())
	}
}

// unsynced is the answer while nothing can be stamped.
func unsynced() txnpb.Outcome {
	return txnpb.Outcome{State: txnpb.StateClockUnsynced, Reason: "the clocks of the SFUs that vote do not agree, so that nothing can be stamped: set them right (alarm clock-unsynced) and try again"}
}
