package engine

import (
	"errors"
	"slices"

	"virtualservicesinc.com/rrts/engine/router"
	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/message/block"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// errNoLink is what sending says while no Cluster Connector runs.
var errNoLink = errors.New("engine: there is no interconnect")

// link is one connection to the interconnect: the way out, and the Inlet in. One
// that was followed by another is deaf.
type link struct {
	engine    *Engine
	in        *instance // that connected
	transport Transport
}

var _ Inlet = (*link)(nil)

func (e *Engine) connect(in *instance, t Transport) Inlet {
	l := &link{engine: e, in: in, transport: t}
	e.cut(func() bool { e.link.Store(l); return true })
	return l
}

// disconnect cuts the interconnect off if it was in that connected it.
func (e *Engine) disconnect(in *instance) {
	if l := e.link.Load(); l != nil && l.in == in {
		e.cut(func() bool { return e.link.CompareAndSwap(l, nil) })
	}
}

// cut changes the link; if it did, all peers are lost.
func (e *Engine) cut(change func() bool) {
	w := e.begin()
	if change() {
		w.router.LoseAll(w.now, &w.out)
		e.backlog.clear()
	}
	w.end()
}

// transport returns the way out; it is never nil.
func (e *Engine) transport() Transport {
	if l := e.link.Load(); l != nil {
		return l.transport
	}
	return nowhere{}
}

type nowhere struct{}

func (nowhere) Send(uint16, message.Lane, []byte) error { return errNoLink }

// sendRecord sends an encoded Envelope, as a block where that is shorter, may be, and the
// peer reads it. Nothing in a plain one is sensitive.
func (e *Engine) sendRecord(to uint16, lane message.Lane, record []byte, plain bool) error {
	if plain && len(record) >= block.From && e.traits(to).readsBlocks {
		b := scratch.Get().(*[]byte)
		defer release(b)
		if small, ok := block.Make(b, record); ok {
			e.counters.blockBytes.Add(uint64(len(small)))
			e.counters.blockedBytes.Add(uint64(len(record)))
			record = small
		}
	}
	return e.transport().Send(to, lane, record)
}

func (e *Engine) send(env *message.Envelope, to uint16, lane message.Lane, plain bool) error {
	b := scratch.Get().(*[]byte)
	defer release(b)
	*b = env.AppendTo((*b)[:0])
	return e.sendRecord(to, lane, *b, plain)
}

// respond sends an encoded answer. If there is no room it waits in the backlog.
func (e *Engine) respond(to uint16, lane message.Lane, record []byte, plain bool) {
	w := way{to, lane}
	if !e.backlog.behind(w) && !errors.Is(e.sendRecord(to, lane, record, plain), ErrFull) {
		return // sent, or the peer is gone
	}
	if !e.backlog.push(w, record) {
		e.counters.unsent.Add(1)
	}
	e.wakeLoop()
}

func (e *Engine) sendAnnouncement(to uint16, a *enginepb.Announcement) {
	head := message.Envelope{Kind: message.KindNotice, Service: enginepb.EngineService, Method: enginepb.EngineAnnounceMethod, From: e.cfg.SFU, To: to}
	b := scratch.Get().(*[]byte)
	defer release(b)
	*b = a.AppendTo(head.AppendHeader((*b)[:0], a.Size()))
	e.respond(to, message.LaneControl, *b, true)
}

// alive enters the router, unless the link was followed by another.
func (l *link) alive() (*work, bool) {
	w := l.engine.begin()
	if l.engine.link.Load() == l {
		return w, true
	}
	w.end()
	return nil, false
}

// PeerUp implements Inlet.
func (l *link) PeerUp(sfu uint16, incarnation uint64) {
	if w, ok := l.alive(); ok {
		w.router.PeerUp(w.now, sfu, incarnation, &w.out)
		w.end()
	}
}

// PeerSuspect implements Inlet.
func (l *link) PeerSuspect(sfu uint16) {
	if w, ok := l.alive(); ok {
		w.router.PeerSuspect(w.now, sfu, &w.out)
		w.end()
	}
}

// PeerRecovered implements Inlet.
func (l *link) PeerRecovered(sfu uint16) {
	if w, ok := l.alive(); ok {
		w.router.PeerRecovered(sfu, &w.out)
		w.end()
	}
}

// PeerLost implements Inlet.
func (l *link) PeerLost(sfu uint16) {
	if w, ok := l.alive(); ok {
		l.engine.backlog.drop(sfu)
		w.router.PeerLost(w.now, sfu, &w.out)
		w.end()
	}
}

// Deliver implements Inlet. Requests for one mailbox that follow each other enter
// it together, and all answers enter the router together.
func (l *link) Deliver(from uint16, _ message.Lane, records [][]byte) {
	e := l.engine
	if e.link.Load() != l {
		return
	}
	var (
		run     []*request // for the mailbox of its first
		refused []refusal
		answers []message.Envelope
	)
	flush := func() {
		if len(run) > 0 {
			refused = run[0].box.push(run, refused)
			run = run[:0]
		}
	}
	for _, record := range records {
		var env message.Envelope
		if err := open(&env, record); err != nil {
			e.counters.malformed.Add(1)
			continue
		}
		if env.To != e.cfg.SFU {
			e.counters.misdirected.Add(1)
			continue
		}
		env.From = from // authenticated; what the record says is not
		switch env.Kind {
		case message.KindReply, message.KindFailure:
			if env.Kind == message.KindReply {
				env.Code, env.Detail = message.OK, ""
			} else if env.Code == message.OK {
				env.Code = message.Internal
			}
			answers = append(answers, env)
		case message.KindRequest, message.KindNotice:
			r := l.receive(&env)
			if r == nil || len(run) == 0 && r.box.heard(r) {
				continue
			}
			if len(run) > 0 && run[0].box != r.box {
				flush()
			}
			run = append(run, r)
		default:
			e.counters.malformed.Add(1)
		}
	}
	flush()
	for _, x := range refused {
		x.request.refuse(x.code, x.detail)
	}
	if len(answers) > 0 {
		w := e.begin()
		for i := range answers {
			a := &answers[i]
			w.router.Answer(w.now, from, a.Call, router.Reply{Code: a.Code, Detail: a.Detail, Body: a.Body}, &w.out)
		}
		w.end()
	}
}

// open reads a record: an Envelope, or one in a block.
func open(env *message.Envelope, record []byte) error {
	if err := env.Parse(record); err != nil || env.Kind != message.KindBlock {
		return err
	}
	inner, err := block.Open(env.Body, maxRecord)
	if err != nil {
		return err
	}
	return env.Parse(inner) // a block in a block has a kind that nobody answers
}

// receive makes a request of an envelope from outside. It returns nil if that has
// been dealt with.
func (l *link) receive(env *message.Envelope) *request {
	e := l.engine
	if env.Service == enginepb.EngineService && env.Method == enginepb.EngineAnnounceMethod {
		l.announced(env)
		return nil
	}
	r, code, detail := e.request(env)
	if code == message.OK && e.cfg.Permit != nil && env.Service != enginepb.EngineService {
		if !e.cfg.Permit(env.From, e.traits(env.From).sfuType, env.Service, env.Method) {
			e.counters.denied.Add(1)
			code, detail = message.Denied, "engine: an SFU of this type may not send this method here"
		}
	}
	switch {
	case code != message.OK:
		refused := request{env: *env, engine: e, service: own, method: ownAnswers}
		refused.refuse(code, detail)
		return nil
	case r.box == nil:
		e.serveOwn(r)
		return nil
	}
	return r
}

// announced takes in what a peer says of itself. This happens here, in the order
// of the records and of PeerUp and PeerLost, and not in a mailbox: an old
// announcement must never follow a new PeerUp.
func (l *link) announced(env *message.Envelope) {
	a := new(enginepb.Announcement)
	if err := a.Parse(env.Body); err != nil {
		l.engine.counters.malformed.Add(1)
		return
	}
	if w, ok := l.alive(); ok {
		w.router.Announced(w.now, env.From, a, &w.out)
		w.end()
	}
}

// addWatcher makes in be told of peers, first of those that are there.
func (e *Engine) addWatcher(in *instance) {
	w := e.begin()
	e.watchers = append(e.watchers, in)
	peers := w.router.Peers()
	for _, p := range peers {
		in.unit.box.tell(in, PeerEvent{Change: PeerUp, Peer: p})
	}
	w.end()
}

// traits are what a peer said of itself that every message from it or to it asks for.
type traits struct {
	sfuType     string
	readsBlocks bool
}

// traits returns those of a peer; they are zero while it has said nothing.
func (e *Engine) traits(sfu uint16) (t traits) {
	if all := e.peers.Load(); all != nil {
		t = (*all)[sfu]
	}
	return t
}

// tellWatchersLocked brings news of a peer to the Components that asked for it.
func (e *Engine) tellWatchersLocked(event *PeerEvent) {
	all := make(map[uint16]traits)
	for _, p := range e.router.Peers() {
		all[p.SFU] = traits{sfuType: p.Type, readsBlocks: p.ReadsBlocks}
	}
	e.peers.Store(&all)
	for _, in := range e.watchers {
		if !in.unit.box.tell(in, *event) {
			in.fail("does not take the news of peers", "", false)
		}
	}
}

func (e *Engine) removeWatcher(in *instance) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.watchers = slices.DeleteFunc(e.watchers, func(o *instance) bool { return o == in })
}

// Peers lists the other SFUs that are reachable, by number.
func (e *Engine) Peers() []Peer {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.router.Peers()
}
