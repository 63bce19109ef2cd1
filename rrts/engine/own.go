package engine

import (
	"fmt"
	"time"

	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// own is the engine's own service, which has no mailbox.
var own = &served{desc: &enginepb.EngineDescriptor}

// ownAnswers is a method of own on whose lane a refusal travels that belongs to no
// method: the index of Status.
const ownAnswers = 1

// offerOwn makes the engine's own service known, without a Component.
func (e *Engine) offerOwn() {
	e.serve(func(all map[uint16]service) { all[enginepb.EngineService] = service{served: own} })
	w := e.begin()
	w.router.Local(w.now, enginepb.EngineService, true, true, &w.out)
	w.end()
}

// serveOwn answers a request to the engine itself, on the goroutine that brought it.
func (e *Engine) serveOwn(r *request) { enginepb.ServeEngine(ownService{e}, r) }

type ownService struct{ *Engine }

// Announce implements enginepb.EngineHandler. Announcements of peers never come
// this far, and one to oneself says nothing new.
func (ownService) Announce(message.Request, *enginepb.Announcement) {}

// Status implements enginepb.EngineHandler.
func (o ownService) Status(r message.Responder[*enginepb.EngineStatus], _ *enginepb.EngineStatusRequest) {
	s := o.Engine.Status()
	r.Reply(&s)
}

// Restart implements enginepb.EngineHandler.
func (o ownService) Restart(r message.Responder[*enginepb.RestartReply], in *enginepb.RestartRequest) {
	if r.Envelope().Role != message.RoleOperator {
		r.Fail(message.Denied, "engine: only an operator may start a Component anew")
		return
	}
	for _, u := range o.units {
		if u.name != in.Component || !u.apart {
			continue
		}
		if in := u.current.Load(); in != nil {
			in.Renew("an operator asked for it")
			u.state.CompareAndSwap(int32(stateReady), int32(stateFailed)) // who asks next sees that it is not ready
		} else if !u.hurry() {
			r.Fail(message.Unavailable, fmt.Sprintf("engine: %s does not run", u.name))
			return
		}
		r.Reply(&enginepb.RestartReply{})
		return
	}
	r.Fail(message.NotFound, fmt.Sprintf("engine: SFU %d has no Component %q of the site", o.cfg.SFU, in.Component))
}

// Status is the engine's view of itself.
func (e *Engine) Status() enginepb.EngineStatus {
	s := enginepb.EngineStatus{Sfu: uint32(e.cfg.SFU), Name: e.cfg.Name, Type: e.cfg.Type, Software: e.cfg.Software,
		UptimeMillis: uint64((e.clock() - e.born) / time.Millisecond), Draining: e.draining.Load(),
		BlockedBytes: e.counters.blockedBytes.Load(), BlockBytes: e.counters.blockBytes.Load()}
	for _, u := range e.units {
		m := u.box.status()
		c := enginepb.ComponentStatus{Name: u.name, State: state(u.state.Load()).String(), Restarts: u.restarts.Load(),
			MailboxDepth: uint32(m.depth), Handled: m.handled, Refused: m.refused}
		for _, x := range u.all() {
			c.MailboxBound += uint32(x.bound)
			if x.site {
				c.Services = append(c.Services, uint32(x.desc.Number))
			}
		}
		c.Site = u.apart
		c.Failure = u.lastFailure()
		s.Components = append(s.Components, c)
	}
	return s
}

// Stats are counters and latencies, for those who measure.
type Stats struct {
	// Outstanding calls of this engine, and how many of them wait for an instance.
	Outstanding, Parked int
	// Called is how long calls took as their callers here saw it; Served from the
	// arrival of a request in this SFU to its answer.
	Called, Served []router.MethodLatency
	// Malformed and misdirected records came from peers; Denied is what Permit
	// refused; Unsent are answers that found no room even in the backlog; Late are
	// answers that nobody waited for any more; Expired are requests that were too old
	// when their turn came.
	Malformed, Misdirected, Denied, Unsent, Late, Expired uint64
}

// Stats returns the engine's counters.
func (e *Engine) Stats() Stats {
	var s Stats
	e.mu.Lock()
	s.Outstanding, s.Parked = e.router.Outstanding()
	s.Called, s.Late = e.router.Latencies(), e.router.Ignored()
	e.mu.Unlock()
	s.Malformed, s.Misdirected = e.counters.malformed.Load(), e.counters.misdirected.Load()
	s.Denied, s.Unsent = e.counters.denied.Load(), e.counters.unsent.Load()
	for _, u := range e.units {
		s.Expired += u.box.status().expired
		for _, x := range u.all() {
			for i, h := range u.box.latency(x) {
				if h.Count > 0 {
					s.Served = append(s.Served, router.MethodLatency{Service: x.desc.Name, Method: x.desc.Methods[i].Name, Histogram: h})
				}
			}
		}
	}
	return s
}
