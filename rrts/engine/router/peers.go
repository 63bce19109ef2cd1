package router

import (
	"fmt"
	"slices"
	"time"

	"virtualservicesinc.com/rrts/message"
	"virtualservicesinc.com/rrts/schema/enginepb"
)

// peer is another SFU that is reachable.
type peer struct {
	Peer                  // without Services
	version   uint64      // of its last announcement; 0 is none
	instances []*instance // of ours and its services, in the order in which we met them
}

// Peer is another SFU as this engine sees it.
type Peer struct {
	SFU         uint16
	Incarnation uint64
	// Suspect: nothing was heard of it for a while. It may still answer.
	Suspect bool
	// Draining: it takes no new work.
	Draining bool
	// Name, Type and Software are what it says of itself; empty until it did.
	Name, Type, Software string
	// ReadsBlocks: it reads records that package block made.
	ReadsBlocks bool
	// Services that it is ready to answer, by number.
	Services []uint16
}

// PeerChange says what happened to a Peer.
type PeerChange uint8

const (
	PeerUp        PeerChange = iota // reachable, for the first time or again
	PeerSuspect                     // nothing heard for a while
	PeerRecovered                   // heard again before it was given up
	PeerLost                        // given up; told exactly once for each PeerUp
	PeerAnnounced                   // what it offers, or says of itself, has changed
)

func (c PeerChange) String() string {
	return [...]string{"up", "suspect", "recovered", "lost", "announced"}[c]
}

// PeerEvent is one change of one Peer. A restart of a peer is a PeerLost and a
// PeerUp with another Incarnation.
type PeerEvent struct {
	Change PeerChange
	Peer   Peer
}

// Peers returns the SFUs that are reachable, by number.
func (r *Router) Peers() []Peer {
	all := make([]Peer, 0, len(r.numbers))
	for _, n := range r.numbers {
		all = append(all, r.peers[n].snapshot())
	}
	return all
}

func (p *peer) snapshot() Peer {
	s := p.Peer
	for _, in := range p.instances {
		if in.ready {
			s.Services = append(s.Services, in.svc.desc.Number)
		}
	}
	slices.Sort(s.Services)
	return s
}

func (r *Router) tell(change PeerChange, p *peer, out *[]Output) {
	*out = append(*out, Output{Action: Tell, Event: &PeerEvent{Change: change, Peer: p.snapshot()}})
}

// PeerUp takes in that sfu is reachable. Whatever it held of ours is lost if it was
// reachable before: the streams to it began anew.
func (r *Router) PeerUp(now time.Duration, sfu uint16, incarnation uint64, out *[]Output) {
	r.PeerLost(now, sfu, out)
	if sfu == r.cfg.Self || sfu == 0 || len(r.numbers) >= MaxPeers {
		r.ignored++
		return
	}
	p := &peer{Peer: Peer{SFU: sfu, Incarnation: incarnation}}
	r.peers[sfu] = p
	at, _ := slices.BinarySearch(r.numbers, sfu)
	r.numbers = slices.Insert(r.numbers, at, sfu)
	r.tell(PeerUp, p, out)
	*out = append(*out, Output{Action: Announce, To: sfu, Announcement: r.announcement()})
}

// PeerSuspect takes in that nothing was heard of sfu for a while. Calls that it has
// as a former holder move to the new one.
func (r *Router) PeerSuspect(now time.Duration, sfu uint16, out *[]Output) {
	r.suspect(sfu, true, PeerSuspect, out)
	if p := r.peers[sfu]; p != nil {
		for _, in := range p.instances {
			r.succeed(now, in, out)
		}
	}
}

// PeerRecovered takes in that a suspect was heard.
func (r *Router) PeerRecovered(sfu uint16, out *[]Output) { r.suspect(sfu, false, PeerRecovered, out) }

func (r *Router) suspect(sfu uint16, suspect bool, change PeerChange, out *[]Output) {
	if p := r.peers[sfu]; p != nil && p.Suspect != suspect {
		p.Suspect = suspect
		r.tell(change, p, out)
	}
}

// PeerLost takes in that sfu is gone, with all that was on the way to it and from
// it. Calls that it held move on if their method is idempotent.
func (r *Router) PeerLost(now time.Duration, sfu uint16, out *[]Output) {
	p := r.peers[sfu]
	if p == nil {
		return
	}
	r.tell(PeerLost, p, out)
	delete(r.peers, sfu)
	at, _ := slices.BinarySearch(r.numbers, sfu)
	r.numbers = slices.Delete(r.numbers, at, at+1)
	for _, in := range p.instances {
		at, _ := in.svc.find(sfu)
		in.svc.instances = slices.Delete(in.svc.instances, at, at+1)
	}
	for _, in := range p.instances {
		for c := in.calls.head; c != nil; c = in.calls.head {
			r.displace(c)
			c.maybe = true
			if c.method.Idempotent && c.policy != message.PolicyNamed {
				r.place(now, c, out)
				continue
			}
			r.finish(now, c, Reply{Code: message.Unknown, Detail: fmt.Sprintf("engine: SFU %d was lost with the call", sfu)}, out)
		}
	}
}

// LoseAll takes in that the whole interconnect is gone.
func (r *Router) LoseAll(now time.Duration, out *[]Output) {
	for len(r.numbers) > 0 {
		r.PeerLost(now, r.numbers[0], out)
	}
}

// Announced takes in what sfu says of itself. Older news than the last is ignored.
func (r *Router) Announced(now time.Duration, sfu uint16, a *enginepb.Announcement, out *[]Output) {
	p := r.peers[sfu]
	if p == nil || a.Version <= p.version || len(a.Offers) > MaxOffers {
		r.ignored++
		return
	}
	p.version, p.Draining = a.Version, a.Draining
	p.Name, p.Type, p.Software, p.ReadsBlocks = a.SfuName, a.SfuType, a.Software, a.ReadsBlocks
	ready := make(map[uint16]bool, len(a.Offers))
	var news, sites []*service // in which parked calls may find something; which were described
	for _, o := range a.Offers {
		if o.Service == 0 || o.Service > 0xffff || o.Holder > 0xffff {
			continue
		}
		svc := r.service(uint16(o.Service))
		var desc *message.ServiceDescriptor
		if o.Site != nil {
			if desc = Described(o.Site); desc == nil || desc.Number != uint16(o.Service) {
				continue
			}
			svc = r.learn(desc)
		}
		if svc == nil {
			continue
		}
		in := svc.add(sfu, p)
		in.offered, in.desc = true, desc
		if desc != nil {
			sites = append(sites, svc)
		}
		ready[uint16(o.Service)] = o.Ready
		if svc.hold(uint16(o.Holder), o.Term) || o.Ready && !in.ready {
			news = append(news, svc)
		}
	}
	for _, in := range p.instances {
		_, in.offered = ready[in.svc.desc.Number]
		in.ready = ready[in.svc.desc.Number]
	}
	for _, svc := range sites {
		svc.merge()
	}
	r.tell(PeerAnnounced, p, out)
	for _, svc := range news {
		r.news(now, svc, out)
	}
}

// Drain tells the cluster that this SFU is about to stop.
func (r *Router) Drain(out *[]Output) {
	if !r.draining {
		r.draining = true
		r.announceAll(out)
	}
}

// Notify returns the SFUs that a notice goes to, by number: `to` itself, or every
// one that offers the service if to is 0.
func (r *Router) Notify(to, number, method uint16, body int, dst []uint16) ([]uint16, *message.MethodDescriptor, *message.Error) {
	svc := r.service(number)
	if svc == nil {
		return dst, nil, message.Errorf(message.NoMethod, "engine: there is no service %d", number)
	}
	m := svc.desc.Method(method)
	switch {
	case m == nil:
		return dst, nil, message.Errorf(message.NoMethod, "engine: %s has no method %d", svc.desc.Name, method)
	case !m.Notice:
		return dst, nil, message.Errorf(message.Invalid, "engine: %s.%s has a reply, so it cannot be a notice", svc.desc.Name, m.Name)
	case uint64(body) > uint64(m.MaxBytes):
		return dst, nil, message.Errorf(message.Invalid, "engine: %s.%s: %d bytes are more than %d", svc.desc.Name, m.Name, body, m.MaxBytes)
	}
	if to == 0 {
		for _, in := range svc.instances {
			if in.offered {
				dst = append(dst, in.sfu)
			}
		}
		return dst, m, nil
	}
	if to == r.cfg.Self {
		if in := svc.instance(to); in == nil || !in.offered {
			return dst, nil, message.Errorf(message.Unavailable, "engine: this SFU has no %s", svc.desc.Name)
		}
	} else if r.peers[to] == nil {
		return dst, nil, message.Errorf(message.Unavailable, "engine: SFU %d is not reachable", to)
	}
	return append(dst, to), m, nil
}

// announceAll tells every peer what this SFU now offers.
func (r *Router) announceAll(out *[]Output) {
	r.version++
	a := r.announcement()
	for _, n := range r.numbers {
		*out = append(*out, Output{Action: Announce, To: n, Announcement: a})
	}
}

// announcement is what this SFU says of itself now. Nobody changes it afterwards.
func (r *Router) announcement() *enginepb.Announcement {
	a := &enginepb.Announcement{Version: r.version, Draining: r.draining,
		SfuName: r.cfg.Name, SfuType: r.cfg.Type, Software: r.cfg.Software, ReadsBlocks: true}
	for _, s := range r.order {
		if in := s.instance(r.cfg.Self); in != nil && in.offered {
			o := enginepb.Offer{Service: uint32(s.desc.Number), Ready: in.ready, Holder: uint32(s.holder), Term: s.term}
			if in.desc != nil {
				o.Site = Describe(in.desc)
			}
			a.Offers = append(a.Offers, o)
		}
	}
	return a
}
