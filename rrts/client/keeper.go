package client

import (
	"slices"
	"time"
)

const (
	// watchTick is how often the keeper looks at connections with requests in flight.
	watchTick = 50 * time.Millisecond
	// pingLooks and suspectLooks are the looks in a row at which nothing had come,
	// before the gateway is asked to show life, and before its requests go elsewhere:
	// a dead machine costs less than a fifth of a second. A gateway answers a Ping
	// whatever its cluster is doing, so an election is not taken for its death.
	pingLooks    = 1
	suspectLooks = 3
	// stuckLooks is for how many looks a gateway may decide nothing, while it answers
	// Pings, before what it holds goes through another one: longer than an election takes.
	// It may be cut off from the leader, and tries until the requests' deadlines. Where
	// nothing is decided by any gateway, each move waits twice as long as the last, up to
	// stuckMost: all gateways try in vain then, and more requests help nobody.
	stuckLooks = 12
	stuckMost  = 16 * stuckLooks
	// deadLooks ends a connection that was suspected and stays silent.
	deadLooks = 20
	// listenBeat is how often a gateway is asked to show life, at the least, while nothing
	// but calls that may wait for long are pending: a machine that died without a word
	// holds up events for two of them at the most.
	listenBeat = 2 * time.Second
	// restLooks is for how many looks with nothing in flight the keeper goes on: a
	// client that sends one request after the other does not wake it each time.
	restLooks = 20
	// stagger is how long a gateway's machine may take to answer at all before another
	// gateway is tried beside it, busy how long one whose machine has answered may take
	// for the rest: it has many to serve, and trying others only makes it more. maxTries
	// is how many run at once.
	stagger  = 50 * time.Millisecond
	busy     = 500 * time.Millisecond
	maxTries = 3
	// spareDelay is how soon, at the most, the spare connection is opened: those who
	// lost their gateway first want one connection at all.
	spareDelay = 500 * time.Millisecond
)

// keep looks after the connections until the Client ends: it opens what is
// missing, asks silent gateways to show life, and sends again what is due.
func (c *Client) keep() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	k := keeper{c: c}
	for {
		select {
		case <-c.ended:
			return
		case <-c.kick:
		case <-timer.C:
		}
		timer.Reset(k.look(time.Now()))
	}
}

// keeper is the state of the goroutine that looks after the connections.
type keeper struct {
	c        *Client
	lastLook time.Time
	idle     int
	lastTry  time.Time
}

// look does what is due and returns when to look again, at the latest.
func (k *keeper) look(now time.Time) time.Duration {
	c := k.c
	var flush, end []*conn
	c.mu.Lock()
	next := idleLook
	if c.watching {
		flush, end = k.watchLocked(now)
		next = watchTick - now.Sub(k.lastLook)
	}
	for _, cn := range c.connsLocked() {
		beat := cn.heartbeat
		if cn.patient > 0 {
			beat = min(beat, listenBeat)
		}
		if due := cn.beat.Add(beat).Sub(now); due > 0 {
			next = min(next, due)
			continue
		}
		if !cn.alive.Swap(false) { // not even an answer to the last Ping
			end = append(end, cn)
			continue
		}
		cn.pingLocked(now)
		flush = append(flush, cn)
		next = min(next, beat)
	}
	if wait := k.dueLocked(now); wait > 0 {
		next = min(next, wait)
	}
	if cn := c.fillLocked(); cn != nil {
		flush = append(flush, cn)
	}
	next = min(next, k.tryLocked(now))
	for _, cn := range c.others {
		if len(cn.pending) == 0 {
			end = append(end, cn)
		}
	}
	c.mu.Unlock()
	for _, cn := range flush {
		cn.fc.Flush()
	}
	for _, cn := range end {
		cn.fc.Close()
	}
	return max(next, time.Millisecond)
}

// idleLook is how often the keeper looks when nothing at all is going on.
const idleLook = time.Minute

// watchLocked judges the connections by what came since the last look. A look that
// comes late says that this process was paused: it counts for nobody.
func (k *keeper) watchLocked(now time.Time) (flush, end []*conn) {
	c := k.c
	since := now.Sub(k.lastLook)
	if since < watchTick {
		return nil, nil
	}
	k.lastLook = now
	fair := since < 2*watchTick
	inUse := len(c.waiting) > 0 || len(c.delayed) > 0
	for _, cn := range c.connsLocked() {
		wanted := len(cn.pending) > cn.patient // an answer, soon
		inUse = inUse || wanted
		if cn.decided || !wanted && !(cn == c.active && len(c.delayed) > 0) {
			cn.decided, cn.stuck = false, 0
		} else if fair {
			cn.stuck++
		}
		if cn == c.active && cn.stuck >= min(stuckLooks<<min(c.moves, 8), stuckMost) && c.spare != nil && c.spare.silent < suspectLooks {
			k.avoidLocked()
		}
		if cn.heard.Swap(false) || !wanted && cn.silent < suspectLooks {
			cn.silent = 0
			continue
		}
		if fair {
			cn.silent++
		}
		switch {
		case cn.silent == pingLooks:
			cn.pingLocked(now)
			flush = append(flush, cn)
		case cn.silent == deadLooks:
			end = append(end, cn)
		case cn.silent >= suspectLooks && cn == c.active && c.spare != nil && c.spare.silent < suspectLooks:
			k.swapLocked()
		}
	}
	if k.idle++; inUse {
		k.idle = 0
	}
	c.watching = k.idle < restLooks
	return flush, end
}

// swapLocked sends what waits at a silent gateway through the other connection.
// The silent one takes its place as the spare; if it does not speak soon it ends.
func (k *keeper) swapLocked() {
	c := k.c
	silent := c.active
	c.log.Warn("the gateway is silent", "gateway", silent.gw.address, "in_flight", len(silent.pending))
	c.active, c.spare = c.spare, silent
	c.moveCallsLocked(silent)
}

// avoidLocked sends what waits at a gateway that decides nothing through the other
// connection, as far as it may be sent twice: of the rest an answer may come.
func (k *keeper) avoidLocked() {
	c := k.c
	stuck := c.active
	c.log.Warn("the gateway decides nothing", "gateway", stuck.gw.address, "in_flight", len(stuck.pending))
	c.moves++
	stuck.stuck, c.spare.stuck = 0, 0
	c.active, c.spare = c.spare, stuck
	var again []*call
	for n, call := range stuck.pending {
		if call.submit || call.method.Idempotent {
			delete(stuck.pending, n)
			again = append(again, call)
		}
	}
	for _, call := range c.delayed { // they need not wait for their next attempt at the other one
		call.notBefore = time.Time{}
	}
	c.againLocked(again)
}

// dueLocked moves calls whose pause is over to those that wait for room. It
// returns how long until the next one, or 0 if there is none.
func (k *keeper) dueLocked(now time.Time) (wait time.Duration) {
	c := k.c
	var due []*call
	c.delayed = slices.DeleteFunc(c.delayed, func(k *call) bool {
		d := k.notBefore.Sub(now)
		switch {
		case k.finished:
		case d <= 0:
			due = append(due, k)
		default:
			if wait == 0 || d < wait {
				wait = d
			}
			return false
		}
		return true
	})
	c.againLocked(due)
	return wait
}

// tryLocked starts tries at gateways, if connections are missing. It returns how
// long until it should be asked again.
func (k *keeper) tryLocked(now time.Time) time.Duration {
	c := k.c
	if c.err != nil {
		return idleLook
	}
	urgent := c.active == nil || c.active.leaving || c.active.silent >= suspectLooks
	if !urgent && (c.spare != nil || c.config.SingleConnection || len(c.gateways) < 2) {
		return idleLook
	}
	if wait := c.spareAfter.Sub(now); !urgent && wait > 0 {
		return wait
	}
	trying, patience := 0, stagger
	for _, g := range c.gateways {
		if g.trying {
			trying++
		}
		if g.trying && g.reached {
			patience = busy
		}
	}
	limit := 1
	if urgent {
		limit = maxTries
	}
	if trying >= limit {
		return idleLook // the end of a try wakes the keeper
	}
	if since := now.Sub(k.lastTry); trying > 0 && since < patience {
		return min(patience-since, stagger)
	}
	g := k.pickLocked()
	if g == nil {
		return idleLook
	}
	if rest := g.notBefore.Sub(now); rest > 0 {
		return rest
	}
	g.trying = true
	k.lastTry = now
	c.run.Go(func() { c.try(g) })
	return stagger
}

// pickLocked returns the gateway to try next: one that leads to an SFU to which
// there is no connection yet, and has rested longest.
func (k *keeper) pickLocked() *gateway {
	c := k.c
	var best *gateway
	for _, g := range c.gateways {
		used := g.trying || slices.ContainsFunc(c.connsLocked(), func(cn *conn) bool {
			return cn.gw == g || cn.sfu == g.sfu && g.sfu != 0
		})
		if !used && (best == nil || g.notBefore.Before(best.notBefore)) {
			best = g
		}
	}
	return best
}
