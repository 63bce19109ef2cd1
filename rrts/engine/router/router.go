package router

import (
	"fmt"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// Bounds, with their reasons.
const (
	// MaxCalls bounds the calls that wait for an answer: at some 400 bytes each about
	// 25 MB, far beyond what an engine that keeps up ever needs.
	MaxCalls = 1 << 16
	// MaxParked bounds the calls among them that wait for an instance, so that a
	// cluster without a leader leaves room for calls to everything else.
	MaxParked = 1 << 14
	// MaxPeers bounds the SFUs of a cluster; each costs an announcement per change.
	MaxPeers = 1024
	// MaxOffers bounds the services of one announcement.
	MaxOffers = 1024
	// pause is how long a call leaves an instance alone that refused it, when no news
	// comes first: long against a round trip, short against an election.
	pause = 25 * time.Millisecond
	// callBits is the width of the counter in a call's number; the incarnation stands
	// above it, so that an answer to an earlier life of this SFU meets no call. 2⁴⁰
	// calls are twelve days at a million a second.
	callBits = 40
)

// Call is a request on its way. The caller of Router.Call fills in the exported
// fields and leaves it alone from then on.
type Call struct {
	// Envelope holds Service, Method, Body and what else travels; the router sets
	// Kind, Call, From, To and RemainingMillis.
	Envelope message.Envelope
	Target   uint16 // the SFU to ask; 0 leaves it to the policy
	Any      bool   // any instance, whatever the policy
	Key      uint64 // of PolicyKey
	Timeout  time.Duration
	Plain    bool // the Body holds nothing sensitive, though one of the method may
	// Owner is the caller's own; it comes back with the answer.
	Owner any

	svc     *service
	method  *message.MethodDescriptor
	index   int // of method in svc.desc
	policy  message.Policy
	at      *instance // that holds it; nil while parked
	refused *instance // the last that refused it, not to be asked at once
	hops    int       // refusals since the last pause
	maybe   bool      // an instance was lost with it: it may have been executed
	started time.Duration
	due     time.Duration // when the wheel brings it: deadline or end of a pause
	dead    time.Duration // deadline
	tick    int64         // of the wheel
	links   [kinds]links
}

// Reply is the answer to a call.
type Reply struct {
	// Code is OK if the service answered; then Body holds its reply. Otherwise Detail
	// says why in one line.
	Code   message.Code
	Detail string
	// From is the SFU that answered, 0 if the engine itself did.
	From uint16
	// Body belongs to the receiver.
	Body []byte
}

// Err returns nil for an OK reply and a *message.Error otherwise.
func (r *Reply) Err() error {
	if r.Code == message.OK {
		return nil
	}
	return &message.Error{Code: r.Code, Detail: r.Detail}
}

// Action says what to do with an Output.
type Action uint8

const (
	Deliver  Action = iota // give Envelope to the local instance
	Send                   // send Envelope to SFU To on Lane
	Done                   // hand Reply to Call's owner
	Announce               // send Announcement to SFU To
	Tell                   // tell Event to those who watch peers
)

// Output is one thing that the router wants done. Outputs stand in the order in
// which they must be done.
type Output struct {
	Action       Action
	Lane         message.Lane
	To           uint16
	Call         *Call            // of Done
	Envelope     message.Envelope // of Deliver and Send
	Plain        bool             // of Send: nothing in it is sensitive
	Reply        Reply            // of Done
	Announcement *enginepb.Announcement
	Event        *PeerEvent
}

// Config describes a Router.
type Config struct {
	// Self is this SFU's number. Must be set.
	Self uint16
	// Incarnation numbers the lives of this SFU.
	Incarnation uint64
	// Registry knows every service that may be called. Must be set.
	Registry *message.Registry
	// Name, Type and Software are what announcements say of this SFU.
	Name, Type, Software string
}

// Router is the state machine. Its methods append what is to be done to *out.
type Router struct {
	cfg      Config
	services map[uint16]*service
	order    []*service // by number
	peers    map[uint16]*peer
	numbers  []uint16 // of peers, ascending
	calls    map[uint64]*Call
	learnt   int // services of the site
	parked   int
	wheel    wheel
	last     uint64 // number of the last call
	picks    uint64 // choices made so far
	version  uint64 // of the last announcement
	draining bool
	due      []*Call // reused by Tick
	ignored  uint64
}

// New returns a Router that knows of no instance yet.
func New(cfg Config) *Router {
	r := &Router{cfg: cfg, services: make(map[uint16]*service), peers: make(map[uint16]*peer),
		calls: make(map[uint64]*Call), last: cfg.Incarnation << callBits, version: 1}
	r.wheel.init()
	return r
}

// Outstanding returns how many calls wait for an answer, and how many of them for
// an instance.
func (r *Router) Outstanding() (calls, parked int) { return len(r.calls), r.parked }

// Ignored counts what met nobody: answers to calls that were not, or no longer,
// waiting for them, old announcements, peers beyond MaxPeers.
func (r *Router) Ignored() uint64 { return r.ignored }

// Call takes c in. c is done at once if no waiting could help it.
func (r *Router) Call(now time.Duration, c *Call, out *[]Output) {
	code, detail := r.admit(c)
	if code != message.OK {
		*out = append(*out, Output{Action: Done, Call: c, Reply: Reply{Code: code, Detail: detail}})
		return
	}
	r.last++
	c.Envelope.Kind, c.Envelope.Call, c.Envelope.From = message.KindRequest, r.last, r.cfg.Self
	r.calls[r.last] = c
	c.started, c.dead = now, now+c.Timeout
	c.due = c.dead
	r.wheel.add(c)
	r.place(now, c, out)
}

// admit resolves c's service, method and policy.
func (r *Router) admit(c *Call) (message.Code, string) {
	e := &c.Envelope
	c.svc = r.service(e.Service)
	if c.svc == nil {
		return message.NoMethod, fmt.Sprintf("engine: there is no service %d", e.Service)
	}
	if c.index = c.svc.method(e.Method); c.index < 0 {
		return message.NoMethod, fmt.Sprintf("engine: %s has no method %d", c.svc.desc.Name, e.Method)
	}
	c.method = &c.svc.desc.Methods[c.index]
	if uint64(len(e.Body)) > uint64(c.method.MaxBytes) {
		return message.Invalid, fmt.Sprintf("engine: %s.%s: %d bytes are more than %d", c.svc.desc.Name, c.method.Name, len(e.Body), c.method.MaxBytes)
	}
	switch c.policy = c.svc.desc.Policy; {
	case c.Target != 0:
		c.policy = message.PolicyNamed
	case c.Any:
		c.policy = message.PolicyAny
	}
	switch {
	case c.method.Notice || c.policy == message.PolicyAll:
		return message.Invalid, fmt.Sprintf("engine: %s.%s has no reply, so it cannot be called", c.svc.desc.Name, c.method.Name)
	case c.policy == message.PolicyNamed && c.Target == 0:
		return message.Invalid, fmt.Sprintf("engine: a call of %s.%s must name an SFU", c.svc.desc.Name, c.method.Name)
	case len(r.calls) >= MaxCalls:
		return message.Overloaded, fmt.Sprintf("engine: %d calls are waiting for answers", len(r.calls))
	}
	return message.OK, ""
}

// place gives c to an instance, or parks it until there is one.
func (r *Router) place(now time.Duration, c *Call, out *[]Output) {
	in := r.pick(c)
	switch {
	case in != nil:
		r.give(now, c, in, out)
	case c.policy == message.PolicyNamed:
		r.finish(now, c, Reply{Code: message.Unavailable, Detail: fmt.Sprintf("engine: SFU %d is not reachable", c.Target)}, out)
	case r.parked >= MaxParked:
		r.finish(now, c, Reply{Code: message.Unavailable, Detail: fmt.Sprintf("engine: %d calls are waiting for instances", r.parked)}, out)
	default:
		r.parked++
		c.svc.parked.push(c)
		if c.refused != nil {
			r.wake(c, now+pause)
		}
	}
}

// wake sets the time at which the wheel brings c.
func (r *Router) wake(c *Call, at time.Duration) {
	if at = min(at, c.dead); at != c.due {
		r.wheel.remove(c)
		c.due = at
		r.wheel.add(c)
	}
}

func (r *Router) give(now time.Duration, c *Call, in *instance, out *[]Output) {
	r.picks++
	in.picked = r.picks
	in.outstanding++
	in.calls.push(c)
	c.at = in
	r.wake(c, c.dead)
	c.Envelope.To = in.sfu
	c.Envelope.RemainingMillis = uint32(max(1, (c.dead-now)/time.Millisecond))
	o := Output{Action: Send, To: in.sfu, Lane: c.method.Lane, Envelope: c.Envelope, Plain: c.Plain || !c.method.Sensitive}
	if in.peer == nil {
		o.Action = Deliver
	}
	*out = append(*out, o)
}

// displace takes c from where it stands; it is then neither parked nor in flight.
func (r *Router) displace(c *Call) {
	if c.at == nil {
		c.svc.parked.remove(c)
		r.parked--
		return
	}
	c.at.calls.remove(c)
	c.at.outstanding--
	c.at = nil
}

// finish is the end of c, which was displaced before.
func (r *Router) finish(now time.Duration, c *Call, reply Reply, out *[]Output) {
	if c.maybe && reply.Code.NotExecuted() {
		reply.Detail = fmt.Sprintf("engine: an instance that was asked before may have executed it; the last answered %v: %s", reply.Code, reply.Detail)
		reply.Code = message.Unknown
	}
	delete(r.calls, c.Envelope.Call)
	r.wheel.remove(c)
	c.svc.latency[c.index].Observe(now - c.started)
	*out = append(*out, Output{Action: Done, Call: c, Reply: reply})
}

// Answer takes the answer of SFU from to the call of that number. An answer that
// says that nothing was executed there moves the call to another instance.
func (r *Router) Answer(now time.Duration, from uint16, number uint64, reply Reply, out *[]Output) {
	c := r.calls[number]
	if c == nil || c.at == nil || c.at.sfu != from {
		r.ignored++
		return
	}
	in := c.at
	r.displace(c)
	reply.From = from
	if c.policy == message.PolicyNamed || !moves(reply.Code, c.method.Idempotent) {
		r.finish(now, c, reply, out)
		return
	}
	c.maybe = c.maybe || reply.Code == message.Unknown
	c.refused = in
	if c.hops++; c.hops >= len(c.svc.instances) { // everybody was asked once, more or less
		r.parkRefused(now, c, reply, out)
		return
	}
	r.place(now, c, out)
}

// parkRefused parks a call that nobody wants now, without asking anybody.
func (r *Router) parkRefused(now time.Duration, c *Call, reply Reply, out *[]Output) {
	if r.parked >= MaxParked {
		r.finish(now, c, reply, out)
		return
	}
	r.parked++
	c.svc.parked.push(c)
	r.wake(c, now+pause)
}

// moves reports whether an answer with that code sends the call elsewhere.
func moves(code message.Code, idempotent bool) bool {
	switch code {
	case message.NotLeader, message.Unavailable, message.Draining:
		return true
	case message.Unknown:
		return idempotent
	}
	return false
}

// retry gives the parked calls of svc another chance, in the order in which they
// were parked.
func (r *Router) retry(now time.Duration, svc *service, out *[]Output) {
	waiting := svc.parked.take(nil)
	r.parked -= len(waiting)
	for _, c := range waiting {
		c.refused, c.hops = nil, 0
		r.place(now, c, out)
	}
}

// Tick ends calls whose deadline has passed and retries those whose pause is over.
// It is to be called when Next says so.
func (r *Router) Tick(now time.Duration, out *[]Output) {
	r.due = r.wheel.advance(now, r.due[:0])
	for i, c := range r.due {
		r.due[i] = nil
		r.wheel.add(c) // finish and wake expect it there
		if c.due < c.dead && c.at == nil {
			r.displace(c)
			c.refused, c.hops = nil, 0
			r.wake(c, c.dead)
			r.place(now, c, out)
			continue
		}
		reply := Reply{Code: message.Expired, Detail: fmt.Sprintf("engine: no answer within %v", c.Timeout)}
		if c.at == nil {
			reply = Reply{Code: message.Unavailable, Detail: fmt.Sprintf("engine: no instance of %s within %v", c.svc.desc.Name, c.Timeout)}
		}
		r.displace(c)
		r.finish(now, c, reply, out)
	}
}

// Next returns when Tick is to be called, if any call waits.
func (r *Router) Next() (time.Duration, bool) { return r.wheel.next() }

// Close ends every call that is still waiting: the engine stops.
func (r *Router) Close(now time.Duration, out *[]Output) {
	for _, s := range r.order {
		for _, c := range s.parked.take(nil) {
			r.parked--
			r.finish(now, c, Reply{Code: message.Unavailable, Detail: "engine: this SFU stops"}, out)
		}
		for _, in := range s.instances {
			for c := in.calls.head; c != nil; c = in.calls.head {
				r.displace(c)
				r.finish(now, c, Reply{Code: message.Unknown, Detail: "engine: this SFU stops"}, out)
			}
		}
	}
}
